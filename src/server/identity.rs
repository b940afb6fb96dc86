//! Which server runs in a workspace: `server.json`, where a process is its id and its start time, since ids come back.

use crate::config::Workspace;
use serde::{Deserialize, Serialize};
use std::{fs, io, net::SocketAddr};

/// The server that runs in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process id.
    pub pid: u32,
    /// When that process started, in the kernel's ticks since boot.
    pub start_time: u64,
    /// The loopback address of `/mcp`, `/rpc` and `/healthz`.
    pub address: SocketAddr,
    /// Its version.
    pub version: String,
}

impl Running {
    /// Returns this process as the server at `address`.
    pub fn this(address: SocketAddr) -> Self {
        let pid = std::process::id();
        Running { pid, start_time: start_time_of(pid).unwrap_or_default(), address, version: env!("CARGO_PKG_VERSION").into() }
    }

    /// Returns the server of a workspace, if its process is alive.
    pub fn of(workspace: &Workspace) -> Option<Self> {
        let running: Running = serde_json::from_slice(&fs::read(workspace.server_file()).ok()?).ok()?;
        running.is_alive().then_some(running)
    }

    /// Tells whether exactly this process is alive.
    pub fn is_alive(&self) -> bool {
        start_time_of(self.pid) == Some(self.start_time)
    }

    /// Writes `server.json`, and the address as Prometheus finds it; each whole or not at all.
    pub(super) fn write(&self, workspace: &Workspace) -> io::Result<()> {
        let whole = |path: std::path::PathBuf, text: Vec<u8>| {
            let new = path.with_extension("json.new");
            fs::write(&new, text)?;
            fs::rename(new, path)
        };
        let found = serde_json::json!([{ "targets": [self.address.to_string()] }]);
        whole(workspace.discovery_file(), found.to_string().into_bytes())?;
        whole(workspace.server_file(), serde_json::to_vec_pretty(self)?)
    }
}

/// Returns when a process started, in ticks since boot; `None` when there is none.
pub fn start_time_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything; 22 is the field's number, 2 the name's.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_id_and_its_start() {
        let this = Running::this("127.0.0.1:1".parse().unwrap());
        assert!(this.start_time > 0 && this.is_alive());
        assert!(!Running { start_time: this.start_time + 1, ..this }.is_alive());
    }
}
