//! The edges, through real sockets and the real binary: MCP in both revisions, JSON-RPC, the guard, the bridge.

use interlock::{
    cli::{Connection, bridge},
    engine::Engine,
    error::{Code, Error},
    operations::{Context, Effect, Entry, NextAction, Operation, Registry, Reply, Toolset},
    rpc::Extra,
    server::{Bound, Offer, Running, ServeOptions, Workspace},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

// --- operations to call ---------------------------------------------------------------------------------------------

#[derive(Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
struct Echo {
    /// What comes back.
    #[arg(long)]
    text: String,
    /// How often.
    #[arg(long)]
    times: Option<u32>,
}

#[derive(Serialize)]
struct Echoed {
    text: String,
    via: Value,
    client: Option<String>,
}

struct GetEcho;
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
struct Nothing {}

/// Each test has gates of its own, by name.
static GATES: LazyLock<Mutex<HashMap<String, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

fn gate(name: &str) -> Arc<Semaphore> {
    GATES.lock().unwrap().entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
}

#[derive(Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
struct Slowly {
    /// Which test waits.
    #[arg(long)]
    gate: String,
}

/// Says how far it is and waits until it is released.
struct ExecuteSlowly;
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

struct RecordNothing;
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

fn entries() -> Vec<Entry> {
    vec![Entry::of::<GetEcho>(), Entry::of::<ExecuteSlowly>(), Entry::of::<RecordNothing>()]
}

fn engine() -> Arc<Engine> {
    Arc::new(Engine)
}

// --- a server and its clients ---------------------------------------------------------------------------------------

struct TestServer {
    workspace: Workspace,
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
}

impl TestServer {
    async fn start(root: &Path) -> Self {
        std::fs::write(root.join("interlock.toml"), "").unwrap();
        let workspace = Workspace::at(root);
        let bound = Bound::bind(&options(root)).await.unwrap();
        let (address, stop) = (bound.address(), CancellationToken::new());
        let registry = Arc::new(Registry::with_entries(entries(), Ok(engine())));
        let decide = Extra {
            name: "decide",
            call: |ctx, params| Box::pin(async move { Ok(json!({"by": ctx.caller.principal, "params": params})) }),
        };
        let prompts = Arc::new([interlock::mcp::PromptText {
            name: "phase-06".into(),
            title: "Deploy".into(),
            description: "How.".into(),
            body: "Do it.".into(),
        }]);
        let served = tokio::spawn(bound.serve(Offer { registry, extras: vec![decide], prompts }, stop.clone()));
        TestServer { workspace, address, stop, served }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap().unwrap();
    }

    async fn agent(&self) -> Client {
        Client::over(UnixStream::connect(self.workspace.agent_socket()).await.unwrap())
    }

    async fn operator(&self) -> Client {
        Client::over(UnixStream::connect(self.workspace.api_socket()).await.unwrap())
    }

    /// POSTs with everything right except what `headers` replaces; an empty value leaves the header out.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
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
    async fn mcp(&self, headers: &[(&str, &str)], message: Value) -> Vec<Value> {
        let (status, body) = self.post("/mcp", headers, &message.to_string()).await;
        assert!(status < 300, "{status} {body}");
        body.lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok())
            .filter(Value::is_object)
            .collect()
    }
}

fn options(root: &Path) -> ServeOptions {
    ServeOptions { workspace: Workspace::at(root), listen: "127.0.0.1:0".parse().unwrap() }
}

type Reader = Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>;

/// Speaks newline-delimited JSON.
struct Client {
    lines: Reader,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    next_id: u64,
}

impl Client {
    fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (read, write) = tokio::io::split(stream);
        Client { lines: BufReader::new(Box::new(read) as Box<dyn AsyncRead + Send + Unpin>).lines(), write: Box::new(write), next_id: 1 }
    }

    async fn send(&mut self, message: Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("an answer in time").unwrap().expect("an answer");
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Calls a tool the way 2026-07-28 does.
    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", modern(json!({"name": tool, "arguments": arguments}))).await["result"].take()
    }

    async fn initialize(&mut self) -> Value {
        let answer = self.ask("initialize", initialize()).await;
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        answer
    }
}

fn initialize() -> Value {
    json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}})
}

fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "new", "version": "2"});
    params
}

// --- MCP ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn agent_sock_speaks_both_revisions() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;

    let mut old = server.agent().await;
    let hello = old.initialize().await;
    assert_eq!((&hello["result"]["protocolVersion"], &hello["result"]["serverInfo"]["name"]), (&json!("2025-11-25"), &json!("interlock")));
    assert!(hello["result"]["instructions"].as_str().unwrap().len() < 1536);
    let echoed = old.ask("tools/call", json!({"name": "get_echo", "arguments": {"text": "hi"}})).await["result"].take();
    assert_eq!(echoed["structuredContent"]["text"], "hi");
    assert_eq!(echoed["structuredContent"]["via"], "mcp_stdio");
    assert_eq!(echoed["structuredContent"]["client"], "old 1");
    assert_eq!(echoed["structuredContent"]["next_actions"][0]["recommended"], true);
    assert_eq!(serde_json::from_str::<Value>(echoed["content"][0]["text"].as_str().unwrap()).unwrap(), echoed["structuredContent"]);
    assert!(echoed.get("resultType").is_none());

    let mut new = server.agent().await;
    let discovered = new.ask("server/discover", modern(json!({}))).await;
    assert!(discovered["result"]["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{discovered}");
    let echoed = new.call("get_echo", json!({"text": "hi"})).await;
    assert_eq!((&echoed["resultType"], &echoed["structuredContent"]["client"]), (&json!("complete"), &json!("new 2")));
    let unknown = new.ask("tools/call", modern(json!({"name": "get_ech", "arguments": {}}))).await;
    assert_eq!(unknown["error"]["code"], -32602);
    assert!(unknown["error"]["message"].as_str().unwrap().contains("get_echo"), "{unknown}");
    // A client that needs no discovery starts with a call.
    assert_eq!(server.agent().await.call("get_echo", json!({"text": "hi"})).await["structuredContent"]["text"], "hi");

    let prompt = new.ask("prompts/get", modern(json!({"name": "phase-06"}))).await;
    assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "Do it.");
    assert_eq!(new.ask("prompts/list", modern(json!({}))).await["result"]["prompts"][0]["name"], "phase-06");
    assert_eq!(new.ask("resources/list", modern(json!({}))).await["result"]["resources"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn tools_are_listed_with_all_four_hints() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let list = server.agent().await.ask("tools/list", modern(json!({}))).await["result"].take();
    let hints: Vec<Value> = list["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            assert!(tool.get("outputSchema").is_none());
            let hints = &tool["annotations"];
            json!([tool["name"], hints["readOnlyHint"], hints["destructiveHint"], hints["idempotentHint"], hints["openWorldHint"]])
        })
        .collect();
    assert_eq!(
        json!(hints),
        json!([
            ["get_echo", true, false, true, false],
            ["execute_slowly", false, true, true, true],
            ["record_nothing", false, false, true, false]
        ])
    );
    assert_eq!((&list["ttlMs"], &list["cacheScope"]), (&json!(60_000), &json!("private")));
    assert_eq!(list["tools"][0]["description"], "Returns the text.");
    assert_eq!(
        list["tools"][0]["inputSchema"],
        json!({"type": "object", "additionalProperties": false, "required": ["text"], "properties": {
            "text": {"type": "string", "description": "What comes back."}, "times": {"type": "integer", "minimum": 0, "description": "How often."}}})
    );
    server.stop().await;
}

#[tokio::test]
async fn http_speaks_both_revisions() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let hello = server.mcp(&[], json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()})).await;
    assert_eq!(hello.last().unwrap()["result"]["protocolVersion"], "2025-11-25");
    let call = |params: Value| json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let old = server.mcp(&[("mcp-protocol-version", "2025-11-25")], call(json!({"name": "get_echo", "arguments": {"text": "hi"}}))).await;
    assert_eq!(old.last().unwrap()["result"]["structuredContent"]["via"], "mcp_http");

    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "get_echo")];
    let new = server.mcp(&headers, call(modern(json!({"name": "get_echo", "arguments": {"text": "hi"}})))).await;
    assert_eq!(new.last().unwrap()["result"]["structuredContent"]["client"], "new 2");
    let (status, body) = server
        .post(
            "/mcp",
            &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")],
            &call(modern(json!({"name": "get_echo"}))).to_string(),
        )
        .await;
    assert_eq!(status, 400, "{body}");
    server.stop().await;
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let mut client = server.agent().await;
    client.initialize().await;
    client.send(json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "execute_slowly", "arguments": {"gate": "progress"}, "_meta": {"progressToken": "t"}}})).await;
    let told = client.hear().await;
    assert_eq!(
        (&told["method"], &told["params"]["message"], &told["params"]["total"]),
        (&json!("notifications/progress"), &json!("one"), &json!(2.0))
    );
    gate("progress").add_permits(1);
    assert_eq!(client.hear().await["params"]["message"], "two");
    let answer = client.hear().await;
    assert_eq!((&answer["id"], &answer["result"]["structuredContent"]["a"]), (&json!(9), &json!(1)));
    assert!(answer["result"]["structuredContent"]["guidance"].as_str().unwrap().len() <= 1024);
    server.stop().await;
}

// --- refusals -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_third_identical_refusal_says_stop_on_every_edge() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let mut agent = server.agent().await;
    for attempts in 1..=2 {
        let refused = agent.call("get_echo", json!({"text": "refuse"})).await;
        assert_eq!((&refused["isError"], &refused["structuredContent"]["attempts"]), (&json!(true), &json!(attempts)));
        assert!(refused["structuredContent"].get("stop_and_tell_user").is_none());
    }
    // Another call in between, and another way in, change nothing: it is the same agent and the same call.
    agent.call("get_echo", json!({"text": "other"})).await;
    let (_, body) = server.post("/rpc", &[], r#"{"jsonrpc":"2.0","id":1,"method":"get_echo","params":{"text":"refuse"}}"#).await;
    let error = serde_json::from_str::<Value>(&body).unwrap()["error"].take();
    assert_eq!((&error["code"], &error["message"]), (&json!(1007), &json!("wrong_state: it is done")));
    assert_eq!((&error["data"]["attempts"], &error["data"]["stop_and_tell_user"]), (&json!(3), &json!(true)));
    // The operator is somebody else.
    let refused = server.operator().await.ask("get_echo", json!({"text": "refuse"})).await;
    assert_eq!(refused["error"]["data"]["attempts"], 1);
    server.stop().await;
}

#[tokio::test]
async fn bad_arguments_are_refused_with_their_name() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let mut agent = server.agent().await;
    let mut message = async |arguments: Value| {
        let refused = agent.call("get_echo", arguments).await["structuredContent"].take();
        assert_eq!(refused["code"], "invalid_arguments");
        refused["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message(json!({})).await, "argument `text` is missing");
    assert_eq!(message(json!({"text": "a", "force": true})).await, "unknown argument `force`, expected `text` or `times`");
    assert_eq!(message(json!({"text": "a", "times": "two"})).await, "argument `times`: invalid type: string \"two\", expected u32");
    assert_eq!(message(json!({"text": "a\u{0}"})).await, "argument `text` holds the control character U+0000 at byte 1");
    assert_eq!(message(json!({"text": "x".repeat(1024 * 1024)})).await, "argument `text` has 1048576 bytes; at most 65536 are taken");

    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "get_echo", "params": {"text": "x".repeat(1024 * 1024)}}).to_string();
    for path in ["/rpc", "/mcp"] {
        let (status, body) = server.post(path, &[], &large).await;
        assert_eq!((status, &serde_json::from_str::<Value>(&body).unwrap()["code"]), (413, &json!("invalid_arguments")));
    }
    server.stop().await;
}

// --- JSON-RPC -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn rpc_answers_calls_batches_and_websockets() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let call = |id: u64, text: &str| json!({"jsonrpc": "2.0", "id": id, "method": "get_echo", "params": {"text": text}});
    let (status, body) = server
        .post("/rpc", &[], &json!([call(1, "a"), call(2, "refuse"), {"jsonrpc": "2.0", "id": 3, "method": "decide"}]).to_string())
        .await;
    let answers: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answers[0]["result"]["via"], &answers[1]["error"]["data"]["code"]), (200, &json!("rpc"), &json!("wrong_state")));
    // What only people may ask is not there for a token.
    assert_eq!(answers[2]["error"]["code"], -32601);

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let token = server.workspace.token().unwrap();
    let upgrade = format!(
        "GET /rpc HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        timeout(PATIENCE, stream.read_line(&mut head)).await.unwrap().unwrap();
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let text = call(7, "socket").to_string();
    assert!(text.len() < 126);
    // One masked text frame whose mask is zero.
    stream.write_all(&[&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()).await.unwrap();
    let mut frame = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!((frame[0], frame[1]), (0x81, 126));
    let mut answer = vec![0; usize::from(u16::from_be_bytes([frame[2], frame[3]]))];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap()["result"]["text"], "socket");
    server.stop().await;
}

#[tokio::test]
async fn api_sock_answers_operations_and_what_people_ask() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let mut operator = server.operator().await;
    assert_eq!(operator.ask("get_echo", json!({"text": "hi"})).await["result"]["via"], "api_socket");
    assert_eq!(operator.ask("decide", json!({"plan": "plan_1"})).await["result"], json!({"by": "operator", "params": {"plan": "plan_1"}}));
    assert_eq!(operator.ask("get_echo", json!(["hi"])).await["error"]["data"]["code"], "invalid_arguments");
    assert_eq!(operator.ask("get_nothing", json!({})).await["error"]["code"], -32601);
    for (line, code) in [("nonsense", -32700), ("{\"a\":1}", -32600)] {
        operator.write.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        assert_eq!(operator.hear().await["error"]["code"], code, "{line}");
    }
    // A slow call does not hold up the next one.
    operator.send(json!({"jsonrpc": "2.0", "id": "slow", "method": "execute_slowly", "params": {"gate": "never"}})).await;
    assert_eq!(operator.ask("record_nothing", json!({})).await["result"]["state"], "done");
    server.stop().await;
}

// --- the guard ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_path_is_guarded() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"get_echo","params":{"text":"hi"}}"#;
    for path in ["/mcp", "/rpc", "/healthz", "/", "/nothing", "/mcp/../rpc"] {
        for (header, value, status) in [
            ("authorization", "", 401),
            ("authorization", "Bearer 0000000000000000000000000000000000000000000000000000000000000000", 401),
            ("authorization", "Basic YTpi", 401),
            ("host", "evil.example", 403),
            ("host", "localhost:1", 403),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
        ] {
            let (got, body) = server.post(path, &[(header, value)], call).await;
            assert_eq!(got, status, "{path} {header}: {value}");
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "unauthorized", "{path} {header}: {value}");
        }
        // The same request with everything right passes the guard.
        let (got, body) = server.post(path, &[("origin", "http://localhost:3000")], call).await;
        assert!(![401, 403].contains(&got), "{path}: {got} {body}");
    }
    server.stop().await;
}

// --- one workspace, one server --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_second_server_is_refused_and_nothing_is_left_behind() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let second = Bound::bind(&options(root.path())).await.err().unwrap();
    assert_eq!(second.code, Code::ServerRunning);
    assert_eq!(Running::of(&server.workspace).unwrap().address, server.address);
    let workspace = server.workspace.clone();
    server.stop().await;
    for path in [workspace.agent_socket(), workspace.api_socket(), workspace.server_file()] {
        assert!(!path.exists(), "{path:?}");
    }
    // A socket that a killed server left is no obstacle.
    std::fs::write(workspace.agent_socket(), "").unwrap();
    TestServer::start(root.path()).await.stop().await;
    let foreign = Bound::bind(&ServeOptions { listen: "0.0.0.0:0".parse().unwrap(), ..options(root.path()) }).await.err().unwrap();
    assert_eq!(foreign.code, Code::InvalidArguments);
}

#[tokio::test]
async fn a_workspace_path_of_200_characters_works() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("x".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    let server = TestServer::start(&deep).await;
    assert_eq!(server.agent().await.call("get_echo", json!({"text": "hi"})).await["structuredContent"]["text"], "hi");
    let folder = server.workspace.agent_socket().parent().unwrap().to_owned();
    server.stop().await;
    std::fs::remove_dir(folder).unwrap();
}

// --- the bridge -----------------------------------------------------------------------------------------------------

/// Runs a bridge beside `test`, which holds the client's end; returns when the bridge has ended.
async fn with_bridge(workspace: &Workspace, test: impl AsyncFnOnce(Client)) {
    let (ours, theirs) = tokio::io::duplex(1024 * 1024);
    let (input, output) = tokio::io::split(theirs);
    let connect = async || match UnixStream::connect(workspace.agent_socket()).await {
        Ok(stream) => {
            let (read, write) = stream.into_split();
            Ok(Connection { read: Box::new(read), write: Box::new(write) })
        }
        Err(_) => Err(Registry::with_entries(entries(), Err(Error::new(Code::NoWorkspace, "none here")))),
    };
    let (ended, ()) = tokio::join!(timeout(PATIENCE * 2, bridge(input, output, connect)), test(Client::over(ours)));
    ended.expect("the bridge ends after the end of input").unwrap();
}

#[tokio::test]
async fn the_bridge_survives_a_server_restart() {
    let root = tempfile::tempdir().unwrap();
    let first = TestServer::start(root.path()).await;
    let workspace = first.workspace.clone();
    with_bridge(&workspace, async |mut client| {
        client.initialize().await;
        assert_eq!(
            client.ask("tools/call", json!({"name": "get_echo", "arguments": {"text": "1"}})).await["result"]["structuredContent"]["text"],
            "1"
        );

        client
            .send(json!({"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": {"name": "execute_slowly", "arguments": {"gate": "restart"}}}))
            .await;
        client
            .send(json!({"jsonrpc": "2.0", "id": "other", "method": "tools/call", "params": {"name": "execute_slowly", "arguments": {"gate": "restart"}}}))
            .await;
        timeout(PATIENCE, gate("restart begun").acquire_many(2)).await.unwrap().unwrap().forget();
        first.stop().await;
        for id in ["other", "slow"] {
            let answer = client.hear().await;
            assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(id), &json!(true)));
            let body = &answer["result"]["structuredContent"];
            assert_eq!(
                (&body["code"], &body["retryable"], &body["next_actions"][0]["tool"]),
                (&json!("server_unavailable"), &json!(true), &json!("execute_slowly"))
            );
        }

        let second = TestServer::start(root.path()).await;
        // The next server knows the client, and the client hears nothing of the second handshake.
        let answer = client.ask("tools/call", json!({"name": "get_echo", "arguments": {"text": "2"}})).await;
        assert_eq!(
            (&answer["result"]["structuredContent"]["text"], &answer["result"]["structuredContent"]["client"]),
            (&json!("2"), &json!("old 1"))
        );
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn without_a_workspace_tools_are_listed_and_calls_say_why() {
    let root = tempfile::tempdir().unwrap();
    let workspace = Workspace::at(root.path());
    with_bridge(&workspace, async |mut client| {
        client.initialize().await;
        assert_eq!(client.ask("tools/list", json!({})).await["result"]["tools"].as_array().unwrap().len(), 3);
        let refused = client.ask("tools/call", json!({"name": "get_echo", "arguments": {"text": "a"}})).await["result"].take();
        assert_eq!((&refused["isError"], &refused["structuredContent"]["code"]), (&json!(true), &json!("no_workspace")));
        assert!(refused["structuredContent"]["hint"].as_str().unwrap().contains("interlock init"));
        client.write.write_all(b"nonsense\n").await.unwrap();
        assert_eq!(client.hear().await["error"]["code"], -32700);

        // Once there is a server, the same client reaches it.
        let server = TestServer::start(root.path()).await;
        assert_eq!(
            client.ask("tools/call", json!({"name": "get_echo", "arguments": {"text": "b"}})).await["result"]["structuredContent"]["text"],
            "b"
        );
        server.stop().await;
    })
    .await;
}

// --- the binary -----------------------------------------------------------------------------------------------------

/// Runs the binary with `input` to its end: exit code, standard output, standard error.
async fn interlock(folder: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(arguments).current_dir(folder).env_remove("INTERLOCK_WORKSPACE").kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Ends the server a test has started by the binary, also when the test fails.
struct Ends(Workspace);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(running) = Running::of(&self.0) {
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_raw(running.pid as i32).unwrap(), rustix::process::Signal::KILL);
        }
    }
}

fn discover() -> String {
    format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": modern(json!({}))}))
}

#[tokio::test]
async fn discovery_and_the_end_of_input_exit_0_and_start_one_server() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let _ends = Ends(Workspace::at(root.path()));
    // Two at once, from cold: one server results.
    let (first, input) = (["mcp"], discover());
    for (code, output, said) in <[_; 2]>::from(tokio::join!(interlock(root.path(), &first, &input), interlock(root.path(), &first, &input)))
    {
        assert_eq!((code, output.lines().count()), (0, 1), "{output} {said}");
        let answer: Value = serde_json::from_str(&output).unwrap();
        assert!(answer["result"]["supportedVersions"].is_array(), "{output}");
    }
    let running = Running::of(&Workspace::at(root.path())).unwrap();
    assert_eq!(interlock(root.path(), &["serve"], "").await.0, i32::from(Code::ServerRunning.exit()));
    assert_eq!(interlock(root.path(), &["mcp"], &discover()).await.0, 0);
    assert_eq!(Running::of(&Workspace::at(root.path())).unwrap(), running);

    let (code, output, said) = interlock(root.path(), &["stop"], "").await;
    assert_eq!(code, 0, "{said}");
    assert!(output.starts_with("stopped the server"), "{output}");
    assert!(!running.is_alive());
    assert!(interlock(root.path(), &["stop"], "").await.1.starts_with("no server runs"));
}

#[tokio::test]
async fn without_a_workspace_the_binary_speaks_mcp() {
    let folder = tempfile::tempdir().unwrap();
    for input in ["", &discover(), &format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()}))] {
        let (code, output, said) = interlock(folder.path(), &["mcp"], input).await;
        assert_eq!((code, output.lines().count()), (0, input.lines().count()), "{output} {said}");
        assert!(output.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["result"].is_object()), "{output}");
    }
    let (code, output, said) = interlock(folder.path(), &["stop"], "").await;
    assert_eq!((code, output.as_str()), (i32::from(Code::NoWorkspace.exit()), ""));
    assert!(said.starts_with("error: no_workspace: "), "{said}");
    let (code, _, said) = interlock(folder.path(), &["stpo"], "").await;
    assert!(code == 2 && said.contains("similar subcommand exists: 'stop'"), "{said}");
}

#[tokio::test]
async fn a_killed_server_is_replaced_under_the_same_client() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let workspace = Workspace::at(root.path());
    let _ends = Ends(workspace.clone());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(["mcp", "--workspace"]).arg(root.path()).kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut client = Client::over(tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap()));
    client.initialize().await;
    let tools = client.ask("tools/list", json!({})).await["result"].take();

    let first = Running::of(&workspace).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(first.pid as i32).unwrap(), rustix::process::Signal::KILL).unwrap();
    timeout(PATIENCE, async {
        while first.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();

    // Whether the bridge has seen the end yet or not: an answer comes, at the latest to the second try.
    let mut answer = client.ask("tools/list", json!({})).await;
    if answer["error"]["data"]["retryable"] == true {
        answer = client.ask("tools/list", json!({})).await;
    }
    assert_eq!(answer["result"], tools);
    assert_ne!(Running::of(&workspace).unwrap(), first);
    drop(client);
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    assert_eq!(interlock(root.path(), &["stop"], "").await.0, 0);
}
