//! Refusals read the same on every edge.

use crate::fixtures::*;
use serde_json::{Value, json};

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
