//! The official MCP clients against the real binary: each drives whole staging deployments, over stdio and HTTP, in both revisions.

mod support;

use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use support::{
    BINARY,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    on_both,
    required::runtime,
    shop::{APPROVAL, Shop, text},
    wire::{finish, served},
    workspace::Workspace,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

on_both!(
    the_python_client_deploys_over_every_transport_and_revision,
    the_typescript_client_deploys_over_every_transport_and_revision,
    the_python_client_opens_the_page_of_a_decision_and_decides_nothing,
    the_typescript_client_opens_the_page_of_a_decision_and_decides_nothing,
);

async fn the_python_client_deploys_over_every_transport_and_revision(database: Database) {
    let Some(python) = runtime("python", "INTERLOCK_PYTHON") else { return };
    deploys(database, || Command::new(&python), "drive.py", "python").await;
}

async fn the_typescript_client_deploys_over_every_transport_and_revision(database: Database) {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    deploys(database, || Command::new(&node), "drive.mjs", "typescript").await;
}

async fn deploys(database: Database, client: impl Fn() -> Command, script: &str, name: &str) {
    let listen = free_address();
    let times = Times { bake: "2s", ..Times::SHORT };
    let mut workspace = Workspace::new(database, &(service(&demo_app(), times) + &place("staging", listen)));
    workspace.commit();
    workspace.serve(&[]).await.unwrap();
    let applied = finish(&mut workspace.interlock(&["apply"])).await;
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let (server, token) = workspace.listens();
    let url = format!("http://{server}/mcp");
    let runs = [("stdio", "2025-11-25"), ("stdio", "2026-07-28"), ("http", "2025-11-25"), ("http", "2026-07-28")];
    for (number, (transport, revision)) in runs.into_iter().enumerate() {
        let version = format!("1.{number}.0");
        let artifact = workspace.build(&version);
        let mut command = client();
        let address = if transport == "stdio" { BINARY.to_owned() } else { url.clone() };
        command.arg(format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"))).args([transport, revision, &address]);
        command.arg(workspace.root()).stdin(Stdio::null()).args([artifact.as_str(), &version, &token]).env("PYTHONDONTWRITEBYTECODE", "1");

        let output = finish(&mut command).await;

        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {transport} {revision}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("the client prints one JSON line");
        println!("{report}");
        assert_eq!(report["negotiated"], revision, "{report}");
        assert_eq!((&report["client"], &report["settled"]), (&name.into(), &"succeeded".into()), "{report}");
        assert!(report["tools"].as_u64() >= Some(16) && report["progress"].as_u64() > Some(0), "{report}");
        assert_eq!(served(listen).await, format!("hello from {version}\n"));
    }
}

async fn the_python_client_opens_the_page_of_a_decision_and_decides_nothing(database: Database) {
    let Some(python) = runtime("python", "INTERLOCK_PYTHON") else { return };
    opens_the_page(database, &python, "offered.py").await;
}

async fn the_typescript_client_opens_the_page_of_a_decision_and_decides_nothing(database: Database) {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    opens_the_page(database, &node, "offered.mjs").await;
}

/// A client that calls one tool, and shows what it is asked to open.
struct Host {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Host {
    fn calls(shop: &Shop, program: &Path, script: &str, transport: &str, name: &str, tool: &str, arguments: Value) -> Self {
        let (server, token) = shop.listens();
        let address = if transport == "stdio" { BINARY.to_owned() } else { format!("http://{server}/mcp") };
        let script = format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut command = shop.program(program, &[&script, transport, &address]);
        command.arg(shop.root()).args([name, tool, &arguments.to_string(), &token]).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Host { said: BufReader::new(process.stdout.take().unwrap()).lines(), process }
    }

    async fn hears(&mut self) -> Value {
        let line = tokio::time::timeout(support::PATIENCE, self.said.next_line()).await.expect("in time").unwrap();
        serde_json::from_str(&line.expect("the client says what it is asked, and its result")).unwrap()
    }

    async fn answers(&mut self, action: &str) {
        self.process.stdin.as_mut().unwrap().write_all(format!("{action}\n").as_bytes()).await.unwrap();
    }
}

async fn opens_the_page(database: Database, program: &Path, script: &str) {
    let (shop, ada) = Shop::signed(database, |shop| shop.configuration(APPROVAL)).await;
    for (number, transport) in ["stdio", "http"].into_iter().enumerate() {
        let directive = shop.directive("production", &format!("1.{number}.0")).await;
        let call = |name: &str, tool: &str, arguments: Value| Host::calls(&shop, program, script, transport, name, tool, arguments);

        let mut host = call("plans", "plan_deployment", json!({ "directive": directive }));
        let offered = host.hears().await["offered"].take();
        host.answers("accept").await;
        let planned = host.hears().await;
        assert_eq!((&planned["result"]["state"], &planned["revision"]), (&json!("awaiting_approval"), &json!("2026-07-28")), "{planned:#}");
        let plan = text(&planned["result"]["plan"]);
        let page = format!("http://localhost:{}/plans/{plan}", shop.listens().0.port());
        assert_eq!((&offered["mode"], &offered["url"]), (&json!("url"), &json!(page)), "{offered:#}");
        assert_eq!(planned["result"]["next_actions"][0]["page"], page, "{planned:#}");

        for action in ["accept", "decline", "cancel"] {
            let mut host = call(action, "execute_deployment", json!({ "plan": plan }));
            assert_eq!(host.hears().await["offered"]["url"], page);
            host.answers(action).await;
            let told = host.hears().await["result"].take();
            assert_eq!(told["code"], "approval_required", "{told:#}");
            assert!(told["next_actions"].as_array().unwrap().iter().any(|action| action["page"] == page), "{told:#}");
        }

        // The positive control: while the page is open, its reader signs.
        let mut host = call("waits", "execute_deployment", json!({ "plan": plan }));
        assert_eq!(host.hears().await["offered"]["url"], page);
        shop.approves(&ada, &plan).await.unwrap();
        host.answers("accept").await;
        let begun = host.hears().await["result"].take();
        assert_eq!(begun["existing"], false, "{begun:#}");
        assert_eq!(shop.settled(&text(&begun["deployment"])).await["state"], "succeeded");
    }
}
