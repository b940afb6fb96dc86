//! Gates. (being filled)
pub mod formats;
