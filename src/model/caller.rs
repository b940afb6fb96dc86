//! Who calls, and by which way: recorded with everything that is done.

use super::ids::ApproverName;
use serde::{Deserialize, Serialize};

/// Who calls an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The verified name: `agent`, `operator`, `server`.
    pub principal: String,
    /// What kind of caller that is.
    pub kind: CallerKind,
    /// The way in.
    pub via: Via,
    /// What the client calls itself, unverified: `claude-code 2.1`.
    pub client: Option<String>,
}

/// What kind of caller. None of them can decide: a decision is a signature, not a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// An AI agent, or anything that speaks MCP.
    Agent,
    /// Somebody at the command line, or an approver on a page.
    Operator,
    /// The server itself.
    Server,
}

/// The way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// MCP over `agent.sock`, behind the stdio bridge.
    McpStdio,
    /// MCP over Streamable HTTP.
    McpHttp,
    /// JSON-RPC over HTTP or WebSocket.
    Rpc,
    /// JSON-RPC over `api.sock`.
    ApiSocket,
    /// A page in a browser.
    Page,
    /// The server's own work.
    Server,
}

impl Caller {
    /// Returns the server itself, for what it does unasked.
    pub fn server() -> Self {
        Caller { principal: "server".into(), kind: CallerKind::Server, via: Via::Server, client: None }
    }

    /// Returns the approver who uses a page.
    pub fn on_page(name: &ApproverName) -> Self {
        Caller { principal: name.as_str().into(), kind: CallerKind::Operator, via: Via::Page, client: None }
    }
}
