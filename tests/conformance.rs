//! The official conformance suite and the Inspector against the real binary: what a server can pass as it is, and everything that a
//! revision requires, against a build with the suite's fixtures. The suite sends no token, so a relay adds it, and only it.

mod support;

use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};
use support::{
    BINARY,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    mcp::{Client, modern},
    required::runtime,
    wire::{DEADLINE, finish},
    workspace::Workspace,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
};

/// The scenarios that a server without the suite's own test tools can pass, by revision.
const SCENARIOS: &[(&str, &[&str])] = &[
    (
        "2025-11-25",
        &[
            "server-initialize",
            "server-session-lifecycle",
            "ping",
            "tools-list",
            "server-sse-polling",
            "server-sse-multiple-streams",
            "resources-list",
            "prompts-list",
            "dns-rebinding-protection",
        ],
    ),
    (
        "2026-07-28",
        &[
            "tools-list",
            "server-sse-multiple-streams",
            "resources-list",
            "sep-2164-resource-not-found",
            "prompts-list",
            "dns-rebinding-protection",
            "caching",
            "http-header-validation",
            "input-required-result-missing-input-response",
            "input-required-result-unsupported-methods",
            "input-required-result-ignore-extra-params",
            "input-required-result-validate-input",
        ],
    ),
];

/// What each revision requires: how many scenarios, and how many more are run and never scored.
const REQUIRED: &[(&str, usize, usize)] = &[("2026-07-28", 37, 13), ("2025-11-25", 30, 3)];

/// Scenarios of the list that find nothing to check where a server keeps no sessions: they must not fail, and they prove little.
const WITHOUT_CHECKS: &[(&str, &str)] =
    &[("2025-11-25", "server-session-lifecycle"), ("2025-11-25", "server-sse-polling"), ("2025-11-25", "server-sse-multiple-streams")];

/// A server behind a relay.
struct Relayed {
    workspace: Workspace,
    /// Where the relay listens.
    address: SocketAddr,
    relaying: JoinHandle<()>,
}

impl Relayed {
    /// Starts this program in a workspace of its own.
    async fn start(program: &Path) -> Self {
        // The server's own port on another loopback address: `Host` stays true through the relay, and the suite's forged ones stay forged.
        let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = relay.local_addr().unwrap();
        let mut workspace = workspace();
        let serve = workspace.program(program, &["serve", "--listen", &format!("127.0.0.2:{}", address.port())]);
        workspace.start(serve).await.unwrap();
        let (server, token) = workspace.listens();
        Relayed { workspace, address, relaying: tokio::spawn(relay_all(relay, server, token)) }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

/// Returns the program with the suite's fixtures.
///
/// An example, under a name of its own: in the same target folder the libraries are there already, and the program that other tests use
/// stays as it is.
fn program_with_fixtures() -> PathBuf {
    let profile = Path::new(BINARY).parent().expect("a program lies in a folder");
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--features", "conformance-fixtures", "--example", "conformance"]);
    cargo.args(profile.ends_with("release").then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let built = cargo.env("CARGO_TARGET_DIR", profile.parent().expect("a profile's folder lies in the target folder")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    profile.join("examples/conformance")
}

/// What the suite says at its end: of each scenario how many checks passed and failed, and which scenarios are never scored.
fn summary(said: &str) -> (BTreeMap<&str, (usize, usize)>, BTreeSet<&str>) {
    let (_, end) = said.split_once("=== SUMMARY ===").unwrap_or_else(|| panic!("no summary: {said}"));
    let (scored, unscored) = end.split_once("Not scored for").unwrap_or((end, ""));
    let ran = scored.lines().filter_map(|line| {
        let (scenario, counts) = line.trim_start_matches(['✓', '✗', ' ']).split_once(": ")?;
        let (passed, failed) = counts.split_once(" passed, ")?;
        Some((scenario, (passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?)))
    });
    let unscored =
        unscored.lines().skip(1).filter_map(|line| line.trim_start_matches(['✓', '✗', ' ']).split_once(" (")).map(|(name, _)| name);
    (ran.filter(|(scenario, _)| *scenario != "Total").collect(), unscored.collect())
}

#[tokio::test]
async fn every_required_scenario_passes_against_a_build_with_the_suites_fixtures() {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    let program = tokio::task::spawn_blocking(program_with_fixtures).await.unwrap();
    let server = Relayed::start(&program).await;
    for (revision, required, more) in REQUIRED.iter().copied() {
        let mut command = Command::new(&node);
        command.args([&suite(), "server", "--url", &format!("http://{}/mcp", server.address), "--requirements", revision]);
        let output = finish(command.current_dir(server.workspace.root()).stdin(Stdio::null())).await;

        let said = String::from_utf8_lossy(&output.stdout);
        let (ran, unscored) = summary(&said);
        let (scored, others): (Vec<_>, Vec<_>) = ran.into_iter().partition(|(scenario, _)| !unscored.contains(scenario));
        println!(
            "figure: conformance {revision}: {} required scenarios ran, and {} that are not scored: {others:?}",
            scored.len(),
            others.len()
        );
        assert_eq!((scored.len(), others.len()), (required, more), "{revision}: {said}");
        assert!(scored.iter().any(|(scenario, _)| *scenario == "completion-complete"), "{scored:?}");
        let wrong: Vec<_> = scored.iter().filter(|(_, (passed, failed))| *passed == 0 || *failed > 0).collect();
        assert!(wrong.is_empty() && output.status.success(), "{revision}: {wrong:?}\n{said}");
    }
}

#[tokio::test]
async fn the_suites_fixtures_are_in_no_other_build() {
    // What names the first of them; here in two, so that no test holds it whole.
    let name = ["test_simple", "_text"].concat();
    let holds = |program: &Path| {
        let bytes = std::fs::read(program).unwrap();
        bytes.windows(name.len()).any(|window| window == name.as_bytes())
    };
    assert!(!holds(Path::new(BINARY)), "`{name}` is in {BINARY}");
    let workspace = workspace();
    let mut bridge = workspace.interlock(&["mcp"]);
    let mut bridge = bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut client = Client::over(tokio::io::join(bridge.stdout.take().unwrap(), bridge.stdin.take().unwrap()));
    for (method, list) in [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources")] {
        let listed = client.ask(method, modern(json!({}))).await["result"][list].take();
        let names: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(!names.is_empty() && names.iter().all(|name| !name.starts_with("test")), "{names:?}");
    }
    if runtime("node", "INTERLOCK_NODE").is_some() {
        // The positive control; it is built already, or will be.
        let program = tokio::task::spawn_blocking(program_with_fixtures).await.unwrap();
        assert!(holds(&program), "{program:?} has the fixtures");
    }
}

#[tokio::test]
async fn the_conformance_scenarios_of_a_server_without_fixtures_pass() {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    let server = Relayed::start(Path::new(BINARY)).await;

    let mut failed = Vec::new();
    for (revision, scenarios) in SCENARIOS.iter().copied() {
        for scenario in scenarios.iter().copied() {
            let mut command = Command::new(&node);
            command.args([&suite(), "server", "--url", &format!("http://{}/mcp", server.address), "--scenario", scenario]);
            let output = finish(command.args(["--spec-version", revision]).current_dir(server.workspace.root()).stdin(Stdio::null())).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let is_empty = !said.contains("Passed: ") || said.contains("Passed: 0/");
            if !output.status.success() || is_empty && !WITHOUT_CHECKS.contains(&(revision, scenario)) {
                failed.push(format!("{revision} {scenario}:\n{said}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} scenarios failed\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test]
async fn the_inspector_finds_nothing_wrong_with_the_tools() {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    let workspace = workspace();
    for era in ["legacy", "modern"] {
        let mut command = Command::new(&node);
        command.arg(format!("{}/.bin/mcp-inspector", modules())).args([
            "--cli",
            "--strict",
            "--protocol-era",
            era,
            "--method",
            "tools/list",
        ]);
        command.arg("-e").arg(format!("INTERLOCK_WORKSPACE={}", workspace.root().display())).arg(BINARY).arg("mcp");
        let output = finish(
            command.env("MCP_CATALOG_PATH", workspace.root().join("catalog.json")).current_dir(workspace.root()).stdin(Stdio::null()),
        )
        .await;

        let (list, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{era}: {said}");
        let list: serde_json::Value = serde_json::from_str(&list).unwrap_or_else(|err| panic!("{era}: {err}: {list}"));
        assert!(list["tools"].as_array().is_some_and(|tools| tools.len() >= 16), "{era}: {list}");
    }
}

#[tokio::test]
async fn the_relay_adds_the_token_and_changes_nothing_else() {
    let (relay, server) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = relay.local_addr().unwrap();
    tokio::spawn(relay_all(relay, server.local_addr().unwrap(), "secret".into()));
    let first = "POST /mcp HTTP/1.1\r\nHost: evil.example.com\r\norigin: http://evil.example.com\r\ncontent-length: 5\r\n\r\nGET /";
    let second = "GET /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n";

    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all([first, second].concat().as_bytes()).await.unwrap();
    let (mut seen, wanted) =
        (Vec::new(), [first, second].concat().replace(" HTTP/1.1\r\n", " HTTP/1.1\r\nauthorization: Bearer secret\r\n"));
    let mut accepted = server.accept().await.unwrap().0;
    while seen.len() < wanted.len() {
        let read = tokio::time::timeout(DEADLINE, accepted.read_buf(&mut seen)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
    }
    accepted.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    drop(accepted);

    assert_eq!(String::from_utf8(seen).unwrap(), wanted);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
}

fn workspace() -> Workspace {
    let workspace = Workspace::new(Database::Sqlite, &(service(&demo_app(), Times::SHORT) + &place("staging", free_address())));
    workspace.commit();
    workspace
}

fn suite() -> String {
    format!("{}/@modelcontextprotocol/conformance/dist/index.js", modules())
}

fn modules() -> String {
    std::env::var("INTERLOCK_NODE_MODULES").expect("INTERLOCK_NODE comes with INTERLOCK_NODE_MODULES")
}

async fn relay_all(listener: TcpListener, server: SocketAddr, token: String) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(relay_one(client, server, token.clone()));
    }
}

/// Carries one connection's bytes, with the token in the head of each request. The suite sends bodies with a length only.
async fn relay_one(client: TcpStream, server: SocketAddr, token: String) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        to_client.shutdown().await
    });
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut from_client, &mut buffer).await? {
        let line = head.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        to_server.write_all(&head[..line]).await?;
        to_server.write_all(format!("authorization: Bearer {token}\r\n").as_bytes()).await?;
        to_server.write_all(&head[line..]).await?;
        let body = content_length(&head);
        while buffer.len() < body {
            if from_client.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        to_server.write_all(&buffer.drain(..body).collect::<Vec<_>>()).await?;
    }
    to_server.shutdown().await?;
    back.await?
}

/// Takes the next request's head, with the empty line after it, from the buffer; `None` at the end of the connection.
async fn read_head(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(buffer.drain(..end + 4).collect()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(!head.contains("\r\ntransfer-encoding:"), "the relay carries bodies with a length only: {head}");
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0)
}
