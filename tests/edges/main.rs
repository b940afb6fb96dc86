//! The edges, through real sockets and the real binary: MCP in both revisions, JSON-RPC, the guard, the bridge.

mod binary;
mod bridge;
mod fixtures;
mod mcp;
mod refusals;
mod server;
mod toolsets;
