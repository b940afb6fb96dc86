//! The text of `interlock.toml` for the one service of a shop.

use super::BINARY;
use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// How long things take in a shop.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a new set may take until it is healthy.
    pub deadline: &'static str,
    /// How long an old set may finish.
    pub drain: &'static str,
    /// How long a new set is watched.
    pub bake: &'static str,
}

impl Times {
    /// For tests that wait for most deployments to settle, and look at something else.
    pub const SHORT: Times = Times { deadline: "60s", drain: "2s", bake: "200ms" };
}

/// Returns the argv of the demo's service, as configuration has it.
pub fn demo_app() -> String {
    format!(r#"["{BINARY}", "demo-app", "--release", "{{release}}", "--port", "{{port}}"]"#)
}

/// Returns the project and its service `web`, which this argv starts.
pub fn service(command: &str, times: Times) -> String {
    let Times { deadline, drain, bake } = times;
    format!(
        r#"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = {command}
health  = {{ http = "/healthz", interval = "20ms", timeout = "5s", successes = 2, deadline = "{deadline}" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "{drain}"
bake  = "{bake}"
keep  = 5
"#
    )
}

/// Returns the service's place in an environment that is configured no further.
pub fn place(environment: &str, listen: SocketAddr) -> String {
    format!(
        r#"
[environments.{environment}.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{listen}" }}
env    = {{ MODE = "live" }}
"#
    )
}

/// Returns an address nobody listens on, below the ports the kernel hands out by itself.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + (std::process::id() as u16 % 100) * 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}
