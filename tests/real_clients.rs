//! The official MCP clients against the real binary: each drives whole staging deployments, over stdio and HTTP, in both revisions.

mod support;

use serde_json::Value;
use std::process::Stdio;
use support::{
    BINARY,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    on_both,
    required::runtime,
    wire::{finish, served},
    workspace::Workspace,
};
use tokio::process::Command;

on_both!(the_python_client_deploys_over_every_transport_and_revision, the_typescript_client_deploys_over_every_transport_and_revision,);

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
