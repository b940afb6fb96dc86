//! The store on both databases: every function, with rows and with NULLs.

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod control;
mod decisions;
mod deployments;
mod directives;
mod functions;
mod metrics;
mod open;
mod outbox;
mod phases;
mod records;
mod standing;
mod ventures;
mod world;
