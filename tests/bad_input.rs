//! Bad input: each has its own code, and nothing is recorded or half done.

mod support;

use interlock::operations;
use serde_json::{Map, Value, json};
use std::{fs, time::Instant};
use support::{
    PATIENCE, on_both,
    pages::Reader,
    shop::{APPROVAL, BINARY, Database, Shop, finish, http, line, said, served, text},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

on_both!(
    every_unknown_id_is_not_found,
    every_bad_argument_is_named,
    an_unusable_artifact_opens_nothing,
    five_faults_are_five_lines_and_nothing_is_applied,
    a_second_server_and_a_missing_workspace_are_refused,
    a_workspace_path_of_200_characters_takes_a_whole_deployment,
    a_runbook_of_5_mb_or_10_000_levels_is_refused_at_once_and_said,
);

/// Returns a value that fits an argument's schema, or the text `x`.
fn fitting(schema: &Value) -> Value {
    match (&schema["type"], &schema["enum"]) {
        (_, Value::Array(choices)) => choices[0].clone(),
        (kind, _) if kind.to_string().contains("boolean") => json!(true),
        (kind, _) if kind.to_string().contains("integer") => json!(1),
        (kind, _) if kind.to_string().contains("array") => json!([]),
        _ => json!("x"),
    }
}

/// Returns the required arguments of an operation, each with a value of its type.
fn required(entry: &operations::Entry) -> Map<String, Value> {
    let schema = |name: &str| fitting(&entry.input_schema["properties"][name]);
    entry.required().into_iter().map(|name| (name.to_owned(), schema(name))).collect()
}

async fn every_unknown_id_is_not_found(database: Database) {
    let shop = Shop::open(database).await;
    let artifact = shop.build("1.0.0");
    let order =
        |service: &str, environment: &str| json!({ "service": service, "environment": environment, "version": "1", "artifact": artifact });
    let mut blocked = order("web", "staging");
    blocked["depends_on"] = json!(["SD-DEPLOY-099"]);
    let calls = [
        ("get_status", json!({ "directive": "SD-DEPLOY-099" })),
        ("get_status", json!({ "service": "nothing" })),
        ("get_status", json!({ "environment": "nowhere" })),
        ("create_directive", order("nothing", "staging")),
        ("create_directive", order("web", "nowhere")),
        ("create_directive", blocked),
        ("cancel_directive", json!({ "directive": "SD-DEPLOY-099", "reason": "x" })),
        ("record_evidence", json!({ "directive": "SD-DEPLOY-099", "kind": "tests", "content": "x" })),
        ("run_predeploy_checks", json!({ "directive": "SD-DEPLOY-099" })),
        ("plan_deployment", json!({ "directive": "SD-DEPLOY-099" })),
        ("execute_deployment", json!({ "plan": "plan_0000000000000000" })),
        ("get_deployment", json!({ "deployment": "dep_99" })),
        ("hold_deployment", json!({ "deployment": "dep_99", "held": true })),
        ("verify_deployment", json!({ "deployment": "dep_99" })),
        ("rollback_deployment", json!({ "deployment": "dep_99", "reason": "x" })),
        ("write_runbook", json!({ "deployment": "dep_99" })),
        ("write_runbook", json!({ "directive": "SD-DEPLOY-099" })),
        ("get_runbook", json!({ "runbook": "RB-nowhere" })),
        ("complete_directive", json!({ "directive": "SD-DEPLOY-099" })),
        ("read_log", json!({ "deployment": "dep_99" })),
        ("get_venture", json!({ "venture": "ven_99" })),
        ("get_metrics", json!({ "venture": "ven_99" })),
        ("write_document", json!({ "kind": "status", "directive": "SD-DEPLOY-099" })),
        ("write_document", json!({ "kind": "baseline", "deployment": "dep_99" })),
        ("write_document", json!({ "kind": "incident", "incident": "inc_99" })),
        ("setup_monitoring", json!({ "directive": "SD-DEPLOY-099" })),
        ("setup_backup", json!({ "directive": "SD-DEPLOY-099" })),
        ("trigger_workflow", json!({ "directive": "SD-DEPLOY-099" })),
        ("generate_workflow", json!({ "platform": "github", "service": "nothing", "build": "make", "artifact": "dist" })),
    ];
    for (operation, arguments) in &calls {
        let refusal = shop.refused("not_found", operation, arguments.clone()).await;
        let next = refusal["next_actions"].as_array().unwrap();
        assert_eq!(next.iter().filter(|action| action["recommended"] == true).count(), 1, "{operation}: {refusal:#}");
        assert!(!next.iter().any(|action| action["tool"] == *operation && action["arguments"] == *arguments), "{operation}: {refusal:#}");
    }
    let asked: std::collections::BTreeSet<&str> = calls.iter().map(|(operation, _)| *operation).collect();
    let left: Vec<&str> = operations::all().iter().map(|entry| entry.name).filter(|name| !asked.contains(name)).collect();
    assert_eq!(left, ["list_deployments", "create_venture"], "an operation that takes an id is called with an unknown one");
    // Filters that match nothing are an empty list: what is gone from the configuration still has a history.
    assert_eq!(shop.must("list_deployments", json!({ "service": "nothing" })).await["deployments"], json!([]));
    shop.refused("nothing_to_roll_back", "rollback_deployment", json!({ "service": "web", "environment": "nowhere", "reason": "x" })).await;
    nothing_was_recorded(&shop).await;
}

async fn every_bad_argument_is_named(database: Database) {
    let shop = Shop::open(database).await;
    for entry in operations::all() {
        let good = required(&entry);
        let with = |name: &str, value: Value| {
            let mut arguments = good.clone();
            arguments.insert(name.to_owned(), value);
            Value::Object(arguments)
        };
        let named = async |arguments: Value, name: &str| {
            let refusal = shop.refused("invalid_arguments", entry.name, arguments).await;
            assert!(text(&refusal["message"]).contains(&format!("`{name}`")), "{} {name}: {refusal:#}", entry.name);
        };
        named(with("force", json!(true)), "force").await;
        named(with("\u{202e}x", json!(1)), "\\u{202e}x").await;
        for name in entry.required() {
            let mut arguments = good.clone();
            arguments.remove(name);
            named(Value::Object(arguments), name).await;
            named(with(name, Value::Null), name).await;
        }
        for (name, schema) in entry.input_schema["properties"].as_object().into_iter().flatten() {
            named(with(name, json!({ "a": 1 })), name).await;
            if fitting(schema) != json!("x") {
                named(with(name, json!("seven")), name).await;
            }
            for bad in ["a\u{0}b", "\u{1b}[2J", "a\rb", "\u{7f}"] {
                named(with(name, json!(bad)), name).await;
            }
            named(with(name, json!("x".repeat(1024 * 1024))), name).await;
        }
        for arguments in [json!([1]), json!("x"), json!(7)] {
            let answer = line(&shop.api_socket(), entry.name, arguments).await;
            assert!(answer["error"].is_object(), "{}: {answer}", entry.name);
        }
    }
    // The same on the agent's side, where a line of 1 MB arrives as well.
    for bad in ["a\u{0}b".to_owned(), "x".repeat(1024 * 1024)] {
        let refusal = shop.tool("get_status", json!({ "directive": bad })).await["result"]["structuredContent"].take();
        assert_eq!(refusal["code"], "invalid_arguments", "{refusal:#}");
    }
    let (address, token) = shop.listens();
    let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
    let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": "get_status", "params": { "directive": "a\u{0}" } }).to_string();
    let (_, body) = http(address, "POST", "/rpc", &headers, &asked).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["data"]["code"], "invalid_arguments");
    nothing_was_recorded(&shop).await;
}

async fn an_unusable_artifact_opens_nothing(database: Database) {
    let shop = Shop::open(database).await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("app.json"), "{}").unwrap();
    fs::create_dir_all(shop.root().join("empty/deeper")).unwrap();
    std::os::unix::fs::symlink(outside.path(), shop.root().join("away")).unwrap();
    shop.write("leaks/app.json", "{}");
    std::os::unix::fs::symlink("/etc/passwd", shop.root().join("leaks/passwd")).unwrap();
    shop.write("broken.tar.gz", "this is no archive");
    std::os::unix::fs::symlink("loop", shop.root().join("loop")).unwrap();
    finish(Command::new("mkfifo").arg(shop.root().join("pipe"))).await;
    let away = outside.path().join("app.json");
    for artifact in [
        "missing",
        "",
        ".",
        "empty",
        "away",
        "away/app.json",
        "leaks",
        "../x",
        "/etc/passwd",
        away.to_str().unwrap(),
        ".interlock",
        "broken.tar.gz",
        "loop",
        "pipe",
    ] {
        let order = json!({ "service": "web", "environment": "staging", "version": "1.0.0", "artifact": artifact });
        let refusal = shop.ask("create_directive", order).await.expect_err(artifact);
        assert_eq!(refusal["code"], "invalid_artifact", "`{artifact}`: {refusal:#}");
    }
    for version in ["", " ", "1 0", "a/b", "${HOME}", &"1".repeat(300)] {
        let order = json!({ "service": "web", "environment": "staging", "version": version, "artifact": shop.build("1.0.0") });
        shop.refused("invalid_arguments", "create_directive", order).await;
    }
    // Half of what was built, nothing at all, and a change that is none.
    for (name, value) in [
        ("version", json!("1.0.0")),
        ("artifact", json!(shop.build("1.0.0"))),
        ("title", json!("nothing")),
        ("change", json!("code")),
        ("change", json!("prose")),
        ("change", json!("")),
        ("change", json!(["documentation"])),
    ] {
        shop.refused("invalid_arguments", "create_directive", json!({ "service": "web", "environment": "staging", name: value })).await;
    }
    // A change without a build where nothing serves yet.
    shop.refused("wrong_state", "create_directive", json!({ "service": "web", "environment": "staging", "change": "documentation" })).await;
    assert_eq!(fs::read_dir(shop.releases_dir()).unwrap().count(), 0, "no byte was kept");
    nothing_was_recorded(&shop).await;
}

/// The audit chain is whole, and no directive and no deployment exists.
async fn nothing_was_recorded(shop: &Shop) {
    let overview = shop.must("get_status", json!({})).await;
    assert!(overview.get("open_directives").is_none(), "{overview:#}");
    assert_eq!(shop.must("list_deployments", json!({})).await["deployments"], json!([]));
    shop.must("audit_verify", json!({})).await;
    // The positive control: the same shop takes a good order.
    shop.directive("staging", "9.9.9").await;
}

async fn five_faults_are_five_lines_and_nothing_is_applied(database: Database) {
    let shop = Shop::open(database).await;
    let before = shop.apply().await.unwrap()["revision"].clone();
    let right = shop.read("interlock.toml");
    let faulty = right
        .replace("drain = \"2s\"", "drian = \"2s\"")
        .replace("keep  = 5", "keep  = \"five\"")
        .replace("[environments.production.services.web]", "[environments.production.services.wbe]")
        .replace("phase    = \"phase-06\"", "phase    = \"phase-6\"")
        .replace(&shop.staging.to_string(), "127.0.0.1:99999");
    shop.write("interlock.toml", &faulty);
    let refused = finish(&mut shop.interlock(&["apply"])).await;
    let told = String::from_utf8(refused.stderr.clone()).unwrap();
    assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(2), "invalid_configuration".into()), "{told}");
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("interlock.toml:")).collect();
    assert_eq!(lines.len(), 5, "{told}");
    for key in ["drian", "keep", "wbe", "phase-6", "99999"] {
        assert_eq!(lines.iter().filter(|line| line.contains(key)).count(), 1, "{key}: {told}");
    }
    shop.write("interlock.toml", &(right + "# mended\n"));
    assert_eq!(shop.apply().await.unwrap()["revision"].as_i64(), before.as_i64().map(|before| before + 1), "no revision in between");
}

async fn a_second_server_and_a_missing_workspace_are_refused(database: Database) {
    let shop = Shop::open(database).await;
    let second = finish(&mut shop.interlock(&["serve"])).await;
    assert_eq!((second.status.code(), said(&second.stderr)), (Some(6), "server_running".into()));
    shop.must("get_status", json!({})).await;

    let nowhere = tempfile::tempdir().unwrap();
    let mut asked = String::new();
    for (id, entry) in operations::all().iter().enumerate() {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        });
        let params = json!({ "name": entry.name, "arguments": required(entry), "_meta": meta });
        asked += &format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }));
    }
    fs::write(nowhere.path().join("asked"), asked).unwrap();
    let input = fs::File::open(nowhere.path().join("asked")).unwrap();
    let mut command = Command::new(BINARY);
    let output = finish(
        command
            .args(["mcp", "--toolsets", "core,lifecycle,setup"])
            .current_dir(nowhere.path())
            .env_remove("INTERLOCK_WORKSPACE")
            .stdin(input),
    )
    .await;
    assert!(output.status.success());
    let answers: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), operations::all().len());
    for answer in answers {
        let refusal = &answer["result"]["structuredContent"];
        assert_eq!((&answer["result"]["isError"], &refusal["code"]), (&json!(true), &json!("no_workspace")), "{answer:#}");
        assert!(refusal["next_actions"].to_string().contains("interlock init"), "{answer:#}");
    }
    let mut command = Command::new(BINARY);
    let refused = finish(command.arg("get-status").current_dir(nowhere.path()).env_remove("INTERLOCK_WORKSPACE")).await;
    assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(2), "no_workspace".into()));
}

async fn a_workspace_path_of_200_characters_takes_a_whole_deployment(database: Database) {
    let mut shop = Shop::named(&"x".repeat(200), database);
    shop.write("interlock.toml", &shop.configuration(APPROVAL));
    shop.serve(&[]).await;
    shop.apply().await.unwrap();
    assert_eq!(shop.deploy("1.0.0", &shop.build("1.0.0")).await["state"], "succeeded");
    assert_eq!(shop.deploy("1.1.0", &shop.build("1.1.0")).await["state"], "succeeded");
    assert_eq!(served(shop.staging).await, "hello from 1.1.0\n");
    let back = shop.must("rollback_deployment", json!({ "service": "web", "environment": "staging", "reason": "x" })).await;
    assert_eq!(shop.settled(&text(&back["deployment"])).await["state"], "succeeded");
    assert_eq!(served(shop.staging).await, "hello from 1.0.0\n");
}

async fn a_runbook_of_5_mb_or_10_000_levels_is_refused_at_once_and_said(database: Database) {
    let shop = Shop::open(database).await;
    let deployment = text(&shop.deploy("1.0.0", &shop.build("1.0.0")).await["deployment"]["id"]);
    let write = |notes: &str| json!({ "deployment": deployment, "notes": notes });
    let clear = async || shop.must("write_runbook", write("Look at the till.")).await["version"].as_i64().unwrap();
    assert_eq!(clear().await, 1);
    let log = || fs::read_to_string(shop.logs_dir().join("server.log")).unwrap();
    let began = Instant::now();

    // Five megabytes: every way in says what is too long, and what is taken.
    let (huge, lines) = ("x".repeat(5_000_000), "- a\n".repeat(1_250_000));
    for notes in [&huge, &lines] {
        let answer = line(&shop.api_socket(), "write_runbook", write(notes)).await;
        let said = text(&answer["error"]["message"]);
        assert!(said.starts_with("invalid_arguments: a request has more than "), "{answer}");
        let (address, token) = shop.listens();
        let headers =
            format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n");
        for path in ["/rpc", "/mcp"] {
            let length = write(notes).to_string().len();
            // The server has answered by the head alone: whoever goes on sending may find the connection closed.
            let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n");
            let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut status = String::new();
            timeout(PATIENCE, stream.read_line(&mut status)).await.unwrap().unwrap();
            assert!(status.starts_with("HTTP/1.1 413"), "{path}: {status}");
        }
    }
    assert!(log().contains("refused a request over a socket: a request has more than"), "{}", log());
    for path in ["/rpc", "/mcp"] {
        assert!(log().contains(&format!("refused a request to `{path}`: the request has 5000")), "{}", log());
    }
    let asked =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "write_runbook", "arguments": write(&huge) } });
    fs::write(shop.root().join("asked"), format!("{asked}\n")).unwrap();
    let mut bridge = shop.interlock(&["mcp"]);
    let output = finish(bridge.stdin(fs::File::open(shop.root().join("asked")).unwrap())).await;
    let answer: Value = serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().next().expect("an answer")).unwrap();
    assert!(text(&answer["error"]["message"]).starts_with("invalid_arguments: a request has more than"), "{answer}");

    // Ten thousand levels, in a request that is short enough: the argument is named, the call is counted and stands in the log.
    let deep = ["- ".repeat(10_000), "> ".repeat(10_001), (0..250).map(|level| format!("{}- a\n", "  ".repeat(level))).collect()];
    for notes in &deep {
        for attempt in [1, 2] {
            let refusal = shop.tool("write_runbook", write(notes)).await["result"]["structuredContent"].take();
            assert_eq!((&refusal["code"], &refusal["attempts"]), (&json!("invalid_arguments"), &json!(attempt)), "{refusal:#}");
            let said = text(&refusal["message"]);
            assert!(said.starts_with("`notes` has ") && said.ends_with("at most 8000 are taken"), "{said}");
        }
        let said = format!("refused: `notes` has {} characters", notes.chars().count());
        assert_eq!(log().matches(&said).count(), 2, "{said}: {}", log());
    }
    assert_eq!(clear().await, 2, "nothing of it was written");

    // What is as deep as can be handed in is kept as a draft that says where it is too deep; its page shows it as text.
    let levels = "- ".repeat(3_999);
    let written = shop.must("write_runbook", write(&levels)).await;
    assert_eq!((&written["state"], &written["version"]), (&json!("draft"), &json!(3)), "{written:#}");
    assert!(written["findings"].to_string().contains("stands more than 32 levels deep"), "{written:#}");
    let page = Reader::enter(&shop).await.page("/runbooks/rb_staging_web").await;
    assert!(page.contains("It is shown as text alone: line ") && page.contains("stands more than 32 levels deep"), "{page}");
    assert!(page.len() < 100 * 1024, "{} bytes", page.len());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    shop.must("audit_verify", json!({})).await;
}
