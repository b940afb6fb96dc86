//! Whoever is killed wherever a deployment stands: it settles, customers get what the record says, nothing unverified, nothing unsupervised.
//!
//! The server is killed at every failpoint of every strategy, on the way forward and on the way back; the proxy's worker and an instance's
//! shim are killed while the server stands there; and the server is killed once more while it recovers. Traffic runs all the time, over every kind of request.
//!
//! `INTERLOCK_KILL_SEEDS=n` runs all of it n times, with other times; `INTERLOCK_CRASH_ONLY` one case by part of its description.

mod answers;
mod cases;
mod commands;
mod controls;
mod double;
mod kills;
mod lanes;
mod promises;
mod shop;
mod standby;
#[path = "../support/mod.rs"]
mod support;
mod walk;
