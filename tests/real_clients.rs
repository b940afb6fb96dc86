//! The official MCP clients against the real binary: each drives whole staging deployments, over stdio and HTTP, in both revisions.

mod clients;

use clients::{Workspace, binary, finish, free_address, runtime};
use interlock::cli::demo::app::{AppRelease, Fault};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

#[tokio::test]
async fn the_python_client_deploys_over_every_transport_and_revision() {
    let Some(python) = runtime("python", "INTERLOCK_PYTHON") else { return };
    deploys(|| Command::new(&python), "drive.py", "python").await;
}

#[tokio::test]
async fn the_typescript_client_deploys_over_every_transport_and_revision() {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    deploys(|| Command::new(&node), "drive.mjs", "typescript").await;
}

async fn deploys(client: impl Fn() -> Command, script: &str, name: &str) {
    let listen = free_address();
    let mut workspace = Workspace::new(listen).await;
    let applied = finish(&mut workspace.interlock(&["apply"])).await;
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let (server, token) = workspace.serve("127.0.0.1:0").await;
    let url = format!("http://{server}/mcp");
    let runs = [("stdio", "2025-11-25"), ("stdio", "2026-07-28"), ("http", "2025-11-25"), ("http", "2026-07-28")];
    for (number, (transport, revision)) in runs.into_iter().enumerate() {
        let version = format!("1.{number}.0");
        let artifact = build(&workspace, &version);
        let mut command = client();
        let address = if transport == "stdio" { binary().display().to_string() } else { url.clone() };
        command.arg(format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"))).args([transport, revision, &address]);
        command.arg(workspace.path()).args([artifact.as_str(), &version, &token]).env("PYTHONDONTWRITEBYTECODE", "1");

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

/// Builds a release of the service; returns its path inside the workspace.
fn build(workspace: &Workspace, version: &str) -> String {
    let artifact = format!("build/{version}");
    AppRelease { version: version.to_owned(), fault: Fault::None }.write(&workspace.path().join(&artifact)).unwrap();
    artifact
}

/// Returns what a customer gets.
async fn served(listen: SocketAddr) -> String {
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").expect("an answer has a head").1.to_owned()
}
