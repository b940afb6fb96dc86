//! MCP over `agent.sock` and Streamable HTTP.

use crate::fixtures::*;
use serde_json::{Value, json};

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
    assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "Do it in staging.");
    let given = |env: &str| modern(json!({"name": "phase-06", "arguments": {"env": env}}));
    let prompt = new.ask("prompts/get", given("production")).await;
    assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "Do it in production.");
    let refused = new.ask("prompts/get", given("moon")).await;
    assert_eq!(refused["error"]["message"], "prompt `phase-06`: `env` is one of staging, production", "{refused:#}");
    let all = new.ask("prompts/list", modern(json!({}))).await["result"]["prompts"].take();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["deploy", "roll_back", "investigate_failure", "write_runbook", "phase-06"]);
    let listed = &all[4];
    let argument = json!({"name": "env", "description": "where: staging, production; staging when left out", "required": false});
    assert_eq!(listed["arguments"], json!([argument]));
    let listed = new.ask("resources/list", modern(json!({}))).await["result"]["resources"].take();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["uri"]), (1, &json!("interlock://phases/phase-06")), "{listed}");
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

/// Sessions of the older revision would cost 50 kB each until they idle out: there are none, so there is nothing to cap.
#[tokio::test]
async fn two_thousand_handshakes_over_http_leave_no_session_behind() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "forgetful", "version": "1"}}})
    .to_string();
    let headers = [("accept", "application/json, text/event-stream")];
    let greet = async |times: usize| {
        for _ in 0..times {
            let (status, body) = server.post("/mcp", &headers, &hello).await;
            assert!(status == 200 && body.contains("interlock"), "{status} {body}");
        }
    };
    greet(50).await;
    let before = resident_kilobytes();
    greet(2_000).await;
    let grown = resident_kilobytes().saturating_sub(before);
    assert!(grown < 30_000, "{grown} kB for 2,000 clients that never said goodbye");
    server.stop().await;
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
