//! The edges, through real sockets and the real binary: MCP in both revisions, JSON-RPC, the guard, the bridge.

mod binary;
mod bridge;
#[path = "../support/mcp.rs"]
mod client;
mod fixtures;
mod mcp;
mod refusals;
#[allow(dead_code)]
#[path = "../support/required.rs"]
mod required;
mod server;
#[path = "../support/socket.rs"]
mod socket;
mod toolsets;
