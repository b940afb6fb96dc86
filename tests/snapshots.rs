//! What others read, word for word: the tools, the error codes, the command line's help, refusals, a plan and its page for approval.
//! A change here is a change of a contract: look at it, then `INSTA_UPDATE=always cargo test --test snapshots`.

use insta::assert_snapshot;
use interlock::{
    cli, config,
    decisions::{self, Review},
    engine::planner::{PlanInput, plan},
    error::{Code, Error},
    mcp::Handler,
    model::{
        Base, Caller, CallerKind, DecisionKind, GateResult, Guarantees, Plan, Purpose, Sha256, Timestamp, Verdict, Via, canonical_json,
        plan::{PlannedPhase, RequiredApproval},
    },
    operations::{self, Progress, Registry, Toolset, refusal},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// What a list of tools may cost an agent.
const LIST_BYTES: usize = 16 * 1024;

#[tokio::test]
async fn the_tools_are_few_and_cheap() {
    let tools = tools(&[Toolset::Core]).await;
    let list = serde_json::to_string(&tools).unwrap();
    assert!(tools.len() <= 16, "{} tools", tools.len());
    assert!(list.len() <= LIST_BYTES, "the list has {} bytes", list.len());
    let lines: Vec<String> = tools.iter().map(Value::to_string).collect();
    assert_snapshot!("tools", lines.join("\n"));
}

#[tokio::test]
async fn every_toolset_together_is_still_cheap() {
    let tools = tools(&Toolset::ALL).await;
    let list = serde_json::to_string(&tools).unwrap();
    assert_eq!(tools.len(), operations::all().len(), "every operation is in a toolset");
    assert!(list.len() <= 2 * LIST_BYTES, "the list has {} bytes", list.len());
}

#[test]
fn the_codes_are_listed() {
    assert_snapshot!("codes", cli::codes());
}

#[test]
fn the_command_line_explains_itself() {
    assert_snapshot!("help", cli::command().term_width(100).render_long_help());
}

#[tokio::test]
async fn a_refusal_says_what_is_next() {
    let registry = Registry::refusing(Error::new(Code::NoWorkspace, "no `interlock.toml` here or above"));
    let agent = || Caller { principal: "agent".into(), kind: CallerKind::Agent, via: Via::McpStdio, client: None };
    let mut third = Value::Null;
    for _ in 0..3 {
        third = registry.call(agent(), Progress::default(), "get_status", json!({})).await.unwrap_err().body;
    }
    assert_snapshot!("refusal_third_time", pretty(&third));

    let error = Error::new(Code::ApprovalRequired, "`plan_1` waits for a person")
        .hint("a person runs `interlock approve plan_1`; wait with `get_status`")
        .details(json!({ "directive": "SD-DEPLOY-001" }));
    let body = refusal(&error, "execute_deployment", &json!({ "plan": "plan_1" }), 1, |name| name == "get_status");
    assert_snapshot!("refusal_approval", pretty(&body));
}

#[test]
fn a_plan_is_read_before_it_is_approved() {
    let plan = a_plan();
    let document = String::from_utf8(canonical_json(&plan)).unwrap();
    let review = Review {
        advice: Some("quietest hour: no data: no hour of traffic is recorded yet".into()),
        kind: DecisionKind::Plan,
        subject_sha256: Sha256::of(document.as_bytes()),
        document,
        environment: Some("production".into()),
        audit_head: Sha256::of(b"head"),
        role: Some("chairman".into()),
    };
    assert_snapshot!("plan", pretty(&json!(plan)));
    assert_snapshot!("plan_for_approval", decisions::render(&review).unwrap());
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// Asks for the list of tools as a client does.
async fn tools(toolsets: &[Toolset]) -> Vec<Value> {
    let registry = Arc::new(Registry::refusing(Error::new(Code::NoWorkspace, "none")).offering(toolsets));
    let (client, server) = tokio::io::duplex(1 << 20);
    let (read, write) = tokio::io::split(server);
    tokio::spawn(Handler::new(registry, Arc::new([]), Via::McpStdio).serve_stream(read, write));
    let (read, mut write) = tokio::io::split(client);
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    let messages = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {} }),
    ];
    for message in messages {
        write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }
    let mut lines = BufReader::new(read).lines();
    loop {
        let answer: Value = serde_json::from_str(&lines.next_line().await.unwrap().expect("an answer")).unwrap();
        if answer["id"] == 2 {
            return answer["result"]["tools"].as_array().unwrap().clone();
        }
    }
}

const CONFIGURATION: &str = r#"
[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{release}/web", "--port", "{port}"]
health  = { http = "/healthz" }
version = { http = "/version", token = "{version}" }
drain = "30s"
bake  = "10m"

[environments.production]
approval = { role = "chairman" }

[environments.production.services.web]
target = { kind = "local" }
router = { kind = "proxy", listen = "127.0.0.1:8081" }
"#;

fn a_plan() -> Plan {
    let project = config::parse("interlock.toml", CONFIGURATION).unwrap();
    let spec = &project.environments[&"production".into()].services[&"web".into()];
    let gate = |name: &str, rule: &str, value: &str, live: bool| GateResult {
        gate: name.into(),
        rule: rule.into(),
        asked_by: "phase phase-06".into(),
        verdict: Verdict::Pass,
        value: Some(value.into()),
        checked_at: Timestamp(0),
        reason: "it holds".into(),
        evidence_sha256: (!live).then(|| Sha256::of(b"a report")),
        needs: None,
        who: None,
        how: None,
        live,
    };
    plan(PlanInput {
        project: &project.project,
        directive: &"SD-DEPLOY-001".into(),
        purpose: Purpose::Deploy,
        version: "1.4.0",
        commit: Some("c0ffee"),
        digest: &Sha256::of(b"the bytes of 1.4.0"),
        spec,
        config_sha256: Sha256::of(b"the configuration"),
        base: Some(Base { deployment: "dep_1".into(), version: "1.3.0".into(), digest: Sha256::of(b"the bytes of 1.3.0") }),
        attempt: 1,
        phase: Some(PlannedPhase { name: "stage-30".into(), sha256: Sha256::of(b"its file"), risk: Some(4) }),
        gates: &[gate("tests", "failed <= 0", "failed = 0", false), gate("freeze", "none in force", "none", true)],
        strategy: None,
        foreseen: Default::default(),
        data_return: None,
        returns_to: None,
        guarantees: Guarantees { atomic_switch: true, drain_signal: true, measures: true, summary: "switches at one instant".into() },
        assessment: None,
        approval: Some(RequiredApproval { role: "chairman".into(), expires_ms: 3_600_000, signatures: 1, four_eyes: false }),
    })
}
