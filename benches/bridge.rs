//! `interlock mcp` as its client has it: lines in, lines out.

use crate::support::workspace::Workspace;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

/// A bridge; ends with its figure.
pub struct Bridge {
    child: Child,
    write: Option<ChildStdin>,
    read: BufReader<ChildStdout>,
    next_id: u64,
}

impl Bridge {
    /// Starts one in a workspace.
    pub fn start(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut command = workspace.interlock(&["mcp"]).into_std();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting the bridge")?;
        let (write, read) = (child.stdin.take(), child.stdout.take().context("its output")?);
        Ok(Bridge { child, write, read: BufReader::new(read), next_id: 1 })
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Begins to speak, and returns when it has answered.
    pub fn initialize(&mut self) -> anyhow::Result<()> {
        let client = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "figures", "version": "1" } });
        self.ask("initialize", client).map(drop)
    }

    /// Makes it ready for calls.
    pub fn handshake(&mut self) -> anyhow::Result<()> {
        self.initialize()?;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
    }

    /// Asks what takes nothing but the way there and back.
    pub fn ping(&mut self) -> anyhow::Result<()> {
        self.ask("ping", json!({})).map(drop)
    }

    /// Calls a tool that must work.
    pub fn tool(&mut self, name: &str, arguments: Value) -> anyhow::Result<Value> {
        let answer = self.ask("tools/call", json!({ "name": name, "arguments": arguments }))?;
        ensure!(answer["isError"] != true, "`{name}` was refused: {answer}");
        Ok(answer)
    }

    fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        loop {
            let mut line = String::new();
            ensure!(self.read.read_line(&mut line)? > 0, "the bridge hung up");
            let mut answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == id {
                ensure!(answer.get("error").is_none(), "`{method}`: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
        }
    }

    fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        let line = format!("{message}\n");
        Ok(self.write.as_mut().context("its input")?.write_all(line.as_bytes())?)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.write.take();
        let _ = self.child.wait();
    }
}
