//! The store on both databases: every function, with rows and with NULLs.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod deployments;
mod directives;
mod world;
