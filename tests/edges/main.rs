//! The edges, through real sockets and the real binary: MCP in both revisions, JSON-RPC, the guard, the bridge.

mod binary;
mod bridge;
#[path = "../support/mcp.rs"]
mod client;
mod fixtures;
mod mcp;
mod refusals;
mod server;
#[path = "../support/socket.rs"]
mod socket;
mod toolsets;
