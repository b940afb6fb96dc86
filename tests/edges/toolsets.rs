//! What agents are offered: the same for the list and for a call, on every way in.

use crate::fixtures::*;
use interlock::operations::Toolset;
use serde_json::{Value, json};
use std::path::Path;
use tokio::{io::AsyncWriteExt, net::UnixStream};

async fn asking(server: &TestServer, line: &str) -> Client {
    let mut stream = UnixStream::connect(server.workspace.agent_socket()).await.unwrap();
    stream.write_all(line.as_bytes()).await.unwrap();
    Client::over(stream)
}

async fn listed(agent: &mut Client) -> Vec<String> {
    let tools = agent.ask("tools/list", modern(json!({}))).await["result"]["tools"].take();
    tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// A call of what is not offered says which toolset it is in and what to do.
fn assert_not_offered(body: &Value) {
    assert_eq!((&body["code"], &body["who"]), (&json!("not_offered"), &json!("person")), "{body}");
    assert!(body["message"].as_str().unwrap().contains("toolset `lifecycle`"), "{body}");
    assert!(body["hint"].as_str().unwrap().contains("--toolsets core,lifecycle"), "{body}");
}

#[tokio::test]
async fn an_agent_gets_the_core_unless_it_asks_for_more() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::start(root.path()).await;
    let mut plain = server.agent().await;
    assert_eq!(listed(&mut plain).await, ["get_echo", "execute_slowly", "record_nothing"]);
    let refused = plain.call("get_stage", json!({})).await;
    assert_eq!(refused["isError"], true);
    assert_not_offered(&refused["structuredContent"]);

    let mut more = asking(&server, "toolsets core,lifecycle\n").await;
    assert!(listed(&mut more).await.contains(&"get_stage".to_owned()));
    assert_eq!(more.call("get_stage", json!({})).await["structuredContent"]["state"], "staged");
    let mut other = asking(&server, "toolsets lifecycle\n").await;
    assert_eq!(listed(&mut other).await, ["get_stage"]);
    assert_eq!(other.call("get_echo", json!({"text": "hi"})).await["structuredContent"]["code"], "not_offered");
    // What nobody understands changes nothing.
    assert_eq!(listed(&mut asking(&server, "toolsets everything\n").await).await.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn over_http_and_json_rpc_the_same_is_offered() {
    for (toolsets, is_offered) in [(None, false), (Some(&[Toolset::Core, Toolset::Lifecycle][..]), true)] {
        let root = tempfile::tempdir().unwrap();
        let server = TestServer::offering(root.path(), toolsets).await;
        let (status, body) = server.post("/rpc", &[], r#"{"jsonrpc":"2.0","id":1,"method":"get_stage","params":{}}"#).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200, "{body}");
        let call =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": modern(json!({"name": "get_stage", "arguments": {}}))});
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "get_stage")];
        let over_http = server.mcp(&headers, call).await.pop().unwrap();
        match is_offered {
            true => {
                assert_eq!(answer["result"]["state"], "staged", "{answer}");
                assert_eq!(over_http["result"]["structuredContent"]["state"], "staged", "{over_http}");
            }
            false => {
                assert_not_offered(&answer["error"]["data"]);
                assert_not_offered(&over_http["result"]["structuredContent"]);
            }
        }
        // A person at the command line has everything.
        assert_eq!(server.operator().await.ask("get_stage", json!({})).await["result"]["state"], "staged");
        server.stop().await;
    }
}

#[tokio::test]
async fn nobody_gets_more_than_the_server_allows() {
    let root = tempfile::tempdir().unwrap();
    let server = TestServer::offering(root.path(), Some(&[Toolset::Core])).await;
    let mut agent = asking(&server, "toolsets core,lifecycle\n").await;
    assert!(!listed(&mut agent).await.contains(&"get_stage".to_owned()));
    assert_not_offered(&agent.call("get_stage", json!({})).await["structuredContent"]);
    server.stop().await;
}

#[tokio::test]
async fn the_bridge_asks_for_what_it_was_told() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let _ends = crate::binary::Ends::of(root.path());
    let listed = async |arguments: &[&str]| names(root.path(), arguments).await;
    assert_eq!(listed(&["mcp"]).await.len(), 16);
    assert_eq!(listed(&["mcp", "--toolsets", "lifecycle"]).await[0], "get_metrics");
    assert!(listed(&["mcp", "--toolsets", "core,lifecycle,setup"]).await.len() > 16);
    let (code, _, said) = crate::binary::interlock(root.path(), &["mcp", "--toolsets", "all"], "").await;
    assert!(code == 2 && said.contains("no toolset `all`"), "{code} {said}");
    // Also where there is no server to ask.
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(names(nowhere.path(), &["mcp", "--toolsets", "lifecycle"]).await[0], "get_metrics");
}

async fn names(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let ask = format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": modern(json!({}))}));
    let (code, output, said) = crate::binary::interlock(folder, arguments, &ask).await;
    assert_eq!(code, 0, "{said}");
    let answer: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("`{output}` {said}"));
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}
