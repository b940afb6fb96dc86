//! The demo's agent: an MCP client over stdio, through the bridge, like any other. It knows the tools' names and follows what they say.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An MCP client over the stdio of `interlock mcp`.
pub struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    next_id: u64,
    /// Calls made.
    pub calls: u64,
}

/// Returns the bridge's command. It starts the server, whose record is thrown away with the workspace: never the user's own database.
fn bridge(exe: &Path, workspace: &Path) -> Command {
    let mut command = Command::new(exe);
    command.arg("mcp").arg("--workspace").arg(workspace).env_remove("INTERLOCK_DATABASE_URL");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    command
}

impl Agent {
    /// Starts the bridge and shakes hands.
    pub async fn connect(exe: &Path, workspace: &Path) -> anyhow::Result<Self> {
        let mut child = bridge(exe, workspace).spawn().context("starting `interlock mcp`")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the bridge has an output")?).lines();
        let mut agent = Agent { child, input, output, next_id: 0, calls: 0 };
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "interlock-demo-agent", "version": env!("CARGO_PKG_VERSION") },
        });
        agent.request("initialize", hello).await?;
        agent.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
        Ok(agent)
    }

    /// Calls a tool: its result, or the body of the refusal.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> anyhow::Result<Result<Value, Value>> {
        self.calls += 1;
        let result = self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await?;
        let body = result["structuredContent"].clone();
        Ok(if result["isError"] == true { Err(body) } else { Ok(body) })
    }

    /// Calls a tool that must work.
    pub async fn must(&mut self, tool: &str, arguments: Value) -> anyhow::Result<Value> {
        match self.call(tool, arguments).await? {
            Ok(body) => Ok(body),
            Err(refusal) => bail!("`{tool}` was refused: {}: {}", refusal["code"], refusal["message"]),
        }
    }

    /// Closes the bridge's input, and waits for its end.
    pub async fn hang_up(mut self) -> anyhow::Result<()> {
        drop(self.input.take());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the bridge does not end")??;
        anyhow::ensure!(status.success(), "the bridge ended with {status}");
        Ok(())
    }

    async fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await?;
        let answer = async {
            loop {
                let line = self.output.next_line().await?.context("the bridge ended")?;
                let message: Value = serde_json::from_str(&line).with_context(|| format!("the bridge wrote `{line}`"))?;
                if message["id"] == id {
                    return Ok::<Value, anyhow::Error>(message);
                }
            }
        };
        let mut answer = tokio::time::timeout(PATIENCE, answer).await.with_context(|| format!("no answer to `{method}`"))??;
        match answer.get("error") {
            Some(error) => bail!("`{method}` failed: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("the bridge's input is closed")?;
        input.write_all(format!("{message}\n").as_bytes()).await?;
        Ok(input.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_never_writes_into_the_users_database() {
        let command = bridge(Path::new("interlock"), Path::new("/demo"));

        let removed = command.as_std().get_envs().find(|(name, _)| *name == "INTERLOCK_DATABASE_URL");

        assert_eq!(removed.map(|(_, value)| value), Some(None));
    }
}
