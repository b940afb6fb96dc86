//! The proxy's two ends: a client's connection, read strictly, and an instance's, with the HTTP library between them.
//!
//! A package of its own because of how it is compiled: the HTTP library's state machines are generic, so they are compiled where their
//! types are named, and all else here is compiled for size. Nothing that this package offers is generic, so they are compiled here, for
//! speed. It knows nothing of services, splits or counters.

mod chunks;
mod download;
pub mod framing;
mod guard;
pub mod headers;
mod outgoing;
mod response;
mod server;
mod upload;
mod upstream;

pub use download::{Download, Upgraded};
pub use guard::Tunnel;
pub use server::{Body, BoxError, Reply, Service, serve};
pub use upload::{Progress, Upload};
pub use upstream::{Connection, Unanswered};
