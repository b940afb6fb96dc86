//! JSON-RPC, the guard, and one server per workspace.

use crate::{fixtures::*, socket::Socket};
use interlock::{
    error::Code,
    server::{Bound, Running, ServeOptions},
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

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

    let mut socket = Socket::open(server.address, &server.workspace.token().unwrap()).await;
    socket.send(&call(7, "socket")).await;
    assert_eq!(socket.hear().await["result"]["text"], "socket");
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

#[tokio::test]
async fn every_path_is_guarded() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"get_echo","params":{"text":"hi"}}"#;
    for path in ["/mcp", "/rpc", "/healthz", "/metrics", "/nothing", "/mcp/../rpc"] {
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
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["run"], "no socket is left behind, only the empty folder for those of proxies and shims");
    std::fs::remove_dir_all(folder).unwrap();
}
