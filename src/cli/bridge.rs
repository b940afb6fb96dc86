//! `interlock mcp`: carries MCP lines between standard input and output and the server's `agent.sock`. Owns nothing.
//!
//! The server is reached (and started) when a request needs it, so a stopped server stays stopped until then. After a loss the
//! calls in flight are answered with a retryable error, and the client's handshake is replayed to the next server unseen.

use super::{
    block_on, launch,
    lines::{Lines, TooLong},
    serve::{asked_toolsets, toolsets},
    standard,
};
use crate::{
    config::Workspace,
    error::{Code, Error},
    mcp::{Handler, LINE_BYTES},
    model::Via,
    operations::{self, Registry, Toolset},
    rpc,
};
use clap::{ArgMatches, Command};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

/// How long answers may still come after the end of input: longer than the longest wait a call may ask for.
const PATIENCE: Duration = Duration::from_secs(50);
const REPLAY: &str = "interlock-bridge-replay";
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

pub(super) fn command(command: Command) -> Command {
    let command = command.about("Speak MCP over standard input and output; what an agent's configuration names");
    command.arg(toolsets("Offer the tools of these: core, lifecycle, setup [default: what the server offers]"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    let given = matches.get_one::<PathBuf>("workspace").cloned();
    let asked = asked_toolsets(matches);
    let refusing = |why| match &asked {
        Some(toolsets) => Registry::refusing(why).asked_for(toolsets),
        None => Registry::refusing(why),
    };
    let connect = async || reach(given.as_deref(), asked.as_deref()).await.map_err(refusing);
    block_on(async { bridge(standard::input(), standard::output(), connect).await.or_else(closed).map_err(Error::internal) })
}

async fn reach(given: Option<&Path>, asked: Option<&[Toolset]>) -> Result<Connection, Error> {
    let workspace = Workspace::find(given)?;
    let (read, mut write) = launch::connect(&workspace, workspace.agent_socket()).await?.into_split();
    if let Some(toolsets) = asked {
        let line = operations::asking_for(toolsets);
        let gone = |err: io::Error| Error::new(Code::ServerUnavailable, format!("the server has gone: {err}"));
        write.write_all(line.as_bytes()).await.map_err(gone)?;
    }
    Ok(Connection { read: Box::new(read), write: Box::new(write) })
}

/// A client that has gone needs no answer.
fn closed(err: io::Error) -> io::Result<()> {
    if err.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(err) }
}

/// The two ends of a connection to a server.
pub struct Connection {
    /// What the server says.
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    /// What it is told.
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Carries lines until the end of `input` and the last answer; `connect` reaches a server, or gives a registry that says why not.
pub async fn bridge(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Unpin,
    connect: impl AsyncFnMut() -> Result<Connection, Registry>,
) -> io::Result<()> {
    let mut bridge = Bridge { connect, output, server: None, pending: BTreeMap::new(), handshake: None };
    let (mut client, mut until) = (Lines::of(input, LINE_BYTES), None);
    while until.is_none() || !bridge.pending.is_empty() {
        tokio::select! {
            // The server's end is seen before the next request is sent to it.
            biased;
            line = Bridge::<(), ()>::heard(&mut bridge.server) => match line {
                Some(line) => bridge.answered(&line).await?,
                None => bridge.lost().await?,
            },
            line = client.next(), if until.is_none() => match line {
                Some(line) => bridge.asked(line).await?,
                None => until = Some(Instant::now() + PATIENCE),
            },
            () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        }
    }
    Ok(())
}

struct Bridge<C, W> {
    connect: C,
    output: W,
    server: Option<Server>,
    /// Requests without an answer, by their id's JSON.
    pending: BTreeMap<String, Request>,
    handshake: Option<Handshake>,
}

struct Server {
    lines: Lines<Box<dyn AsyncRead + Send + Unpin>>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    /// It only says why there is no real one.
    is_makeshift: bool,
}

struct Request {
    id: Value,
    method: String,
    params: Value,
}

/// What tells an answer; what it says is passed on unread.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    method: Option<IgnoredAny>,
    result: Option<IgnoredAny>,
}

/// What a legacy client began with.
struct Handshake {
    initialize: Value,
    is_answered: bool,
    is_initialized: bool,
}

impl<C, W> Bridge<C, W> {
    /// Returns the server's next line; `None` is its end. Waits for ever when there is no server.
    async fn heard(server: &mut Option<Server>) -> Option<Vec<u8>> {
        match server {
            // One that was killed as it wrote leaves a part of a line, which is no answer.
            Some(server) => server.lines.next().await?.ok().filter(|line| line.ends_with(b"\n")),
            None => std::future::pending().await,
        }
    }
}

impl<C: AsyncFnMut() -> Result<Connection, Registry>, W: AsyncWrite + Unpin> Bridge<C, W> {
    async fn asked(&mut self, line: Result<Vec<u8>, TooLong>) -> io::Result<()> {
        let Ok(line) = line else {
            return self
                .say(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": rpc::number(Code::InvalidArguments),
                "message": format!("{}: a request has more than {LINE_BYTES} bytes", Code::InvalidArguments)}}))
                .await;
        };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let Ok(mut message) = serde_json::from_slice::<Value>(&line) else {
            return self.say(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "not JSON"}})).await;
        };
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        match (message.get("id").cloned(), method.as_str()) {
            (Some(id), method) if !method.is_empty() => {
                if method == "initialize" {
                    self.handshake = Some(Handshake { initialize: message.clone(), is_answered: false, is_initialized: false });
                }
                // What stood in the way may be gone: `interlock init` may have run since.
                if method == "tools/call" && self.pending.is_empty() && self.server.as_ref().is_some_and(|server| server.is_makeshift) {
                    self.server = None;
                }
                let params = message.get_mut("params").map(Value::take).unwrap_or_default();
                self.pending.insert(id.to_string(), Request { id, method: method.to_owned(), params });
                if self.server.is_none() {
                    self.open().await;
                }
            }
            (_, "notifications/initialized") => {
                if let Some(handshake) = &mut self.handshake {
                    handshake.is_initialized = true;
                }
            }
            (_, "notifications/cancelled") => {
                self.pending.remove(&message["params"]["requestId"].to_string());
            }
            _ => {}
        }
        let is_sent = match &mut self.server {
            Some(server) => send(&mut server.write, &line).await.is_ok(),
            None => false,
        };
        if is_sent { Ok(()) } else { self.lost().await }
    }

    /// Passes a line of the server on, and notes which request it answers.
    async fn answered(&mut self, line: &[u8]) -> io::Result<()> {
        send(&mut self.output, line).await?;
        if let Ok(Answer { id, method: None, result }) = serde_json::from_slice(line)
            && let Some(request) = self.pending.remove(&id.to_string())
            && let ("initialize", Some(handshake)) = (request.method.as_str(), &mut self.handshake)
        {
            handshake.is_answered = result.is_some();
        }
        Ok(())
    }

    /// Answers what is in flight: the server has gone, and the next request reaches another.
    async fn lost(&mut self) -> io::Result<()> {
        self.server = None;
        for (_, request) in std::mem::take(&mut self.pending) {
            self.say(&request.unavailable()).await?;
        }
        Ok(())
    }

    /// Reaches a server, or stands one up that says why there is none, and replays the handshake.
    async fn open(&mut self) {
        let (connection, is_makeshift) = match (self.connect)().await {
            Ok(connection) => (connection, false),
            Err(registry) => (makeshift(registry), true),
        };
        let mut server = Server { lines: Lines::of(connection.read, ANSWER_BYTES), write: connection.write, is_makeshift };
        let is_ready = match &self.handshake {
            Some(handshake) if handshake.is_answered => server.replay(handshake).await,
            _ => true,
        };
        self.server = is_ready.then_some(server);
    }

    async fn say(&mut self, message: &Value) -> io::Result<()> {
        send(&mut self.output, message.to_string().as_bytes()).await
    }
}

impl Server {
    /// Tells a new server what the client told the old one; the answer is not passed on.
    async fn replay(&mut self, handshake: &Handshake) -> bool {
        let mut initialize = handshake.initialize.clone();
        initialize["id"] = REPLAY.into();
        if send(&mut self.write, initialize.to_string().as_bytes()).await.is_err() {
            return false;
        }
        while let Some(line) = self.lines.next().await {
            let answer: Value = serde_json::from_slice(&line.unwrap_or_default()).unwrap_or_default();
            if answer["id"] == REPLAY {
                let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
                return !handshake.is_initialized || send(&mut self.write, initialized.as_bytes()).await.is_ok();
            }
        }
        false
    }
}

impl Request {
    /// Returns the answer of a server that has gone: a refused call, or an error for everything else.
    fn unavailable(&self) -> Value {
        let error = Error::new(Code::ServerUnavailable, "the server ended before it answered; what it had begun goes on when it is back");
        let is_operation = |name: &str| operations::find(name).is_some();
        if self.method == "tools/call" {
            let name = self.params["name"].as_str().unwrap_or_default();
            let body = operations::refusal(&error, name, &self.params["arguments"], 1, is_operation);
            let mut result = json!({"content": [{"type": "text", "text": body.to_string()}], "structuredContent": body, "isError": true});
            if self.params["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string() {
                result["resultType"] = "complete".into();
            }
            return json!({"jsonrpc": "2.0", "id": self.id, "result": result});
        }
        let body = operations::refusal(&error, &self.method, &self.params, 1, is_operation);
        let message = format!("{}: {error}", error.code);
        json!({"jsonrpc": "2.0", "id": self.id, "error": {"code": rpc::number(error.code), "message": message, "data": body}})
    }
}

/// Serves MCP in this process: tools are listed, and each call is refused with the reason.
fn makeshift(registry: Registry) -> Connection {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(theirs);
    tokio::spawn(Handler::new(Arc::new(registry), Arc::default(), Via::McpStdio).serve_stream(read, write));
    let (read, write) = tokio::io::split(ours);
    Connection { read: Box::new(read), write: Box::new(write) }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    write.write_all(line).await?;
    if !line.ends_with(b"\n") {
        write.write_all(b"\n").await?;
    }
    write.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_server_that_is_killed_as_it_answers_has_not_answered() {
        let (mut client, input) = tokio::io::duplex(4096);
        let (output, mut heard) = tokio::io::duplex(4096);
        let connect = async || {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            tokio::spawn(async move {
                let _ = theirs.read(&mut [0; 4096]).await;
                let _ = theirs.write_all(br#"{"jsonrpc":"2.0","id":1,"result":{"con"#).await;
            });
            let (read, write) = tokio::io::split(ours);
            Ok::<_, Registry>(Connection { read: Box::new(read), write: Box::new(write) })
        };
        client.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n").await.unwrap();
        drop(client);
        bridge(input, output, connect).await.unwrap();
        let mut said = String::new();
        heard.read_to_string(&mut said).await.unwrap();
        let answer: Value = serde_json::from_str(&said).expect("one whole answer");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(rpc::number(Code::ServerUnavailable))));
    }
}
