//! Operations to call, a server that offers them, and its clients.

use interlock::{
    config::Workspace,
    engine::{Engine, adapters::Adapters},
    error::{Code, Error},
    model::{ServiceSpec, SystemClock},
    operations::{Context, Effect, Entry, NextAction, Operation, Registry, Reply, Toolset},
    rpc::Extra,
    server::{Bound, Hold, Offer, ServeOptions},
    store::Store,
    targets::{Router, Target},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub use crate::client::{Client, initialize, modern};

#[derive(Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// What comes back.
    #[arg(long)]
    text: String,
    /// How often.
    #[arg(long)]
    times: Option<u32>,
}

#[derive(Serialize)]
pub struct Echoed {
    text: String,
    via: Value,
    client: Option<String>,
}

pub struct GetEcho;
impl Operation for GetEcho {
    const NAME: &'static str = "get_echo";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = "Returns the text.\n\n## Parameters";
    type Params = Echo;
    type Output = Echoed;
    async fn run(ctx: &Context, params: Echo) -> Result<Reply<Echoed>, Error> {
        if params.text == "refuse" {
            return Err(Error::new(Code::WrongState, "it is done"));
        }
        let body = Echoed { text: params.text, via: json!(ctx.caller.via), client: ctx.caller.client.clone() };
        let next_actions = vec![NextAction::tool("get_echo", json!({"text": "again"}), "hear it again")];
        Ok(Reply { state: "heard".into(), summary: "heard".into(), guidance: String::new(), next_actions, body })
    }
}

#[derive(Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Each test has gates of its own, by name.
pub static GATES: LazyLock<Mutex<HashMap<String, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

pub fn gate(name: &str) -> Arc<Semaphore> {
    GATES.lock().unwrap().entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
}

#[derive(Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Slowly {
    /// Which test waits.
    #[arg(long)]
    gate: String,
}

/// Says how far it is and waits until it is released.
pub struct ExecuteSlowly;
impl Operation for ExecuteSlowly {
    const NAME: &'static str = "execute_slowly";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Deploys;
    const MANUAL: &'static str = "Waits.";
    type Params = Slowly;
    type Output = Value;
    async fn run(ctx: &Context, params: Slowly) -> Result<Reply<Value>, Error> {
        ctx.progress.tell(1, Some(2), "one");
        gate(&format!("{} begun", params.gate)).add_permits(1);
        gate(&params.gate).acquire().await.unwrap().forget();
        ctx.progress.tell(2, Some(2), "two");
        Ok(Reply { state: "done".into(), summary: "done".into(), guidance: "x".repeat(3000), next_actions: vec![], body: json!({"a": 1}) })
    }
}

pub struct RecordNothing;
impl Operation for RecordNothing {
    const NAME: &'static str = "record_nothing";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = "Records nothing.";
    type Params = Nothing;
    type Output = Value;
    async fn run(_: &Context, _: Nothing) -> Result<Reply<Value>, Error> {
        Ok(Reply { state: "done".into(), summary: "done".into(), guidance: String::new(), next_actions: vec![], body: json!({}) })
    }
}

/// Not in the core.
pub struct GetStage;
impl Operation for GetStage {
    const NAME: &'static str = "get_stage";
    const TOOLSET: Toolset = Toolset::Lifecycle;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = "Shows a stage.";
    type Params = Nothing;
    type Output = Value;
    async fn run(_: &Context, _: Nothing) -> Result<Reply<Value>, Error> {
        Ok(Reply { state: "staged".into(), summary: "seen".into(), guidance: String::new(), next_actions: vec![], body: json!({}) })
    }
}

pub fn entries() -> Vec<Entry> {
    vec![Entry::of::<GetEcho>(), Entry::of::<ExecuteSlowly>(), Entry::of::<RecordNothing>(), Entry::of::<GetStage>()]
}

/// Adapters that no test of the edges reaches.
struct NoAdapters;

impl Adapters for NoAdapters {
    fn target(&self, _: &ServiceSpec) -> Arc<dyn Target> {
        unreachable!("the edges touch no target")
    }

    fn router(&self, _: &ServiceSpec) -> Arc<dyn Router> {
        unreachable!("the edges touch no router")
    }
}

async fn engine(workspace: &Workspace) -> Arc<Engine> {
    let clock = Arc::new(SystemClock);
    let store = Store::open(&workspace.database_url(), clock.clone()).await.unwrap();
    Engine::new(workspace.clone(), store, clock, Box::new(NoAdapters))
}

pub struct TestServer {
    pub workspace: Workspace,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub served: JoinHandle<Result<Hold, Error>>,
}

impl TestServer {
    pub async fn start(root: &Path) -> Self {
        Self::offering(root, None).await
    }

    /// Starts a server that offers agents these toolsets.
    pub async fn offering(root: &Path, toolsets: Option<&[Toolset]>) -> Self {
        std::fs::write(root.join("interlock.toml"), "").unwrap();
        let workspace = Workspace::at(root).unwrap();
        let bound = Bound::bind(&options(root)).await.unwrap();
        let (address, stop) = (bound.address(), CancellationToken::new());
        let registry = Registry::with_entries(entries(), Ok(engine(&workspace).await));
        let registry = Arc::new(match toolsets {
            Some(toolsets) => registry.offering(toolsets),
            None => registry,
        });
        let decide = Extra::new("decide", |ctx, params| Box::pin(async move { Ok(json!({"by": ctx.caller.principal, "params": params})) }));
        let phases = Arc::new([interlock::phases::Prompt {
            name: "phase-06".into(),
            triggers: Vec::new(),
            title: "Deploy".into(),
            description: "How.".into(),
            arguments: vec![interlock::phases::Argument {
                name: "env".into(),
                about: "where".into(),
                default: Some("staging".into()),
                choices: vec!["staging".into(), "production".into()],
            }],
            body: "Do it in {{env}}.".into(),
        }]);
        let served = tokio::spawn(bound.serve(Offer { registry, extras: vec![decide], phases }, stop.clone()));
        TestServer { workspace, address, stop, served }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap().unwrap();
    }

    pub async fn agent(&self) -> Client {
        Client::over(UnixStream::connect(self.workspace.agent_socket()).await.unwrap())
    }

    pub async fn operator(&self) -> Client {
        Client::over(UnixStream::connect(self.workspace.api_socket()).await.unwrap())
    }

    /// POSTs with everything right except what `headers` replaces; an empty value leaves the header out.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let (host, token) = (self.address.to_string(), format!("Bearer {}", self.workspace.token().unwrap()));
        let mut all = vec![
            ("host", host.as_str()),
            ("authorization", &token),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| name == other));
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("POST {path} HTTP/1.1\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        // The server may answer, and close, before it has read an oversized body.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in `{answer}`"));
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Sends an MCP request over HTTP and returns every message of the answer.
    pub async fn mcp(&self, headers: &[(&str, &str)], message: Value) -> Vec<Value> {
        let (status, body) = self.post("/mcp", headers, &message.to_string()).await;
        assert!(status < 300, "{status} {body}");
        body.lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok())
            .filter(Value::is_object)
            .collect()
    }
}

pub fn options(root: &Path) -> ServeOptions {
    ServeOptions { workspace: Workspace::at(root).unwrap(), listen: "127.0.0.1:0".parse().unwrap(), standby: false, toolsets: None }
}
