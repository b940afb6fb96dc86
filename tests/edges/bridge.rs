//! The bridge between a client and servers that come and go.

use crate::fixtures::*;
use interlock::{
    cli::{Connection, bridge},
    config::Workspace,
    error::{Code, Error},
    operations::Registry,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::UnixStream, time::timeout};

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
    let workspace = Workspace::at(root.path()).unwrap();
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
