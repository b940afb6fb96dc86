//! Idle connections to one instance. Small on purpose: a connection the instance may have closed is worth less than a new one.

use anyhow::Context;
use interlock_wire::Connection;
use std::{
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// The most idle connections kept for one instance.
const MAX_IDLE: usize = 128;

/// How long a connection may have been idle for a request that can be sent again.
pub const IDLE_REPEATABLE: Duration = Duration::from_secs(20);

/// The same for one that cannot: applications close idle connections after seconds, and a request sent into such a close is lost.
pub const IDLE_ONCE: Duration = Duration::from_secs(1);

const CONNECT: Duration = Duration::from_secs(2);

/// The idle connections of one instance.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<(Connection, Instant)>>);

impl Pool {
    /// Returns the connection used last, if it is open, free, and not idle for longer.
    pub fn take(&self, longest_idle: Duration) -> Option<Connection> {
        let mut idle = self.0.lock().expect("nothing panics here");
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() > longest_idle {
                idle.push((connection, since));
                return None;
            }
            if connection.is_free() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub fn put(&self, connection: Connection) {
        let mut idle = self.0.lock().expect("nothing panics here");
        if idle.len() < MAX_IDLE {
            idle.push((connection, Instant::now()));
        }
    }

    /// Closes what nobody will use any more.
    pub fn expire(&self) {
        self.0
            .lock()
            .expect("nothing panics here")
            .retain(|(connection, since)| connection.is_free() && since.elapsed() <= IDLE_REPEATABLE);
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        self.0.lock().expect("nothing panics here").clear();
    }
}

/// Opens a connection to an instance.
pub async fn connect(address: SocketAddr) -> anyhow::Result<Connection> {
    Ok(timeout(CONNECT, Connection::open(address)).await.context("connecting to the instance")??)
}
