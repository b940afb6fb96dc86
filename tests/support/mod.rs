//! What tests share: the two databases.

pub mod databases;
