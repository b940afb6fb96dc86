//! The proxy's two ends: a client's connection, read strictly, and an instance's.
//!
//! Both are driven by whoever waits for them: one task a client, no channel for an answer. Bytes are read by parsers of their own, each the
//! twin of another (`request` and `response`, `incoming` and `download`, `reply` and `outgoing`), and what they share is `left` and `chunks`:
//! where a body ends. A package of its own because of how it is compiled: for speed, where all else here is compiled for size. What is
//! generic, or an async function, is compiled where it is used: so nothing is that every request goes through. It knows nothing of
//! services, splits or counters.

mod chunks;
mod download;
pub mod headers;
mod incoming;
mod left;
mod outgoing;
mod reply;
pub mod request;
mod response;
mod server;
#[cfg(test)]
mod server_tests;
mod upgraded;
mod upload;
mod upstream;

pub use download::Download;
pub use incoming::Incoming;
pub use left::{Left, Piece};
pub use server::{Answering, Body, BoxError, Reply, Service, serve};
pub use upgraded::Upgraded;
pub use upload::{Progress, Upload};
pub use upstream::{Connection, Unanswered};
