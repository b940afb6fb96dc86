//! Bad input and a bad world: each has its own code, and nothing is lost or half done.

mod shop;

use interlock::operations;
use serde_json::{Map, Value, json};
use shop::{APPROVAL, BINARY, PATIENCE, Shop, finish, http, line, served, text};
use sqlx::{AnyConnection, Connection, Executor};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::process::Command;

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

#[tokio::test]
async fn every_unknown_id_is_not_found() {
    let shop = Shop::open().await;
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
    ];
    for (operation, arguments) in &calls {
        let refusal = shop.refused("not_found", operation, arguments.clone()).await;
        let next = refusal["next_actions"].as_array().unwrap();
        assert_eq!(next.iter().filter(|action| action["recommended"] == true).count(), 1, "{operation}: {refusal:#}");
        assert!(!next.iter().any(|action| action["tool"] == *operation && action["arguments"] == *arguments), "{operation}: {refusal:#}");
    }
    let asked: std::collections::BTreeSet<&str> = calls.iter().map(|(operation, _)| *operation).collect();
    let left: Vec<&str> = operations::all().iter().map(|entry| entry.name).filter(|name| !asked.contains(name)).collect();
    assert_eq!(left, ["list_deployments"], "an operation that takes an id is called with an unknown one");
    // Filters that match nothing are an empty list: what is gone from the configuration still has a history.
    assert_eq!(shop.must("list_deployments", json!({ "service": "nothing" })).await["deployments"], json!([]));
    shop.refused("nothing_to_roll_back", "rollback_deployment", json!({ "service": "web", "environment": "nowhere", "reason": "x" })).await;
    nothing_was_recorded(&shop).await;
}

#[tokio::test]
async fn every_bad_argument_is_named() {
    let shop = Shop::open().await;
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
            let answer = line(&shop.workspace.api_socket(), entry.name, arguments).await;
            assert!(answer["error"].is_object(), "{}: {answer}", entry.name);
        }
    }
    // The same on the agent's side, where a line of 1 MB arrives as well.
    for bad in ["a\u{0}b".to_owned(), "x".repeat(1024 * 1024)] {
        let refusal = shop.tool("get_status", json!({ "directive": bad })).await["result"]["structuredContent"].take();
        assert_eq!(refusal["code"], "invalid_arguments", "{refusal:#}");
    }
    let headers = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", shop.read(".interlock/token"));
    let address =
        serde_json::from_str::<Value>(&shop.read(".interlock/server.json")).unwrap()["address"].as_str().unwrap().parse().unwrap();
    let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": "get_status", "params": { "directive": "a\u{0}" } }).to_string();
    let (_, body) = http(address, "POST", "/rpc", &headers, &asked).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["data"]["code"], "invalid_arguments");
    nothing_was_recorded(&shop).await;
}

#[tokio::test]
async fn an_unusable_artifact_opens_nothing() {
    let shop = Shop::open().await;
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
    assert_eq!(fs::read_dir(shop.workspace.releases_dir()).unwrap().count(), 0, "no byte was kept");
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

/// The standard shop whose service is a script of the release: `run PORT`.
fn scripted(shop: &Shop) -> String {
    let command = format!(r#"["{BINARY}", "demo-app", "--release", "{{release}}", "--port", "{{port}}"]"#);
    let configuration = shop.configuration(APPROVAL).replace(&command, r#"["{release}/run", "{port}"]"#);
    configuration.replace("deadline = \"60s\"", "deadline = \"4s\"")
}

fn script(shop: &Shop, folder: &str, lines: &str) -> String {
    shop.write(&format!("{folder}/run"), &format!("#!/bin/sh\n{lines}\n"));
    fs::set_permissions(shop.root().join(folder).join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    folder.to_owned()
}

#[tokio::test]
async fn a_service_that_misbehaves_is_rolled_back_and_no_customer_notices() {
    let mut shop = Shop::named("shop");
    shop.write("interlock.toml", &scripted(&shop));
    shop.serve(&[]).await;
    shop.apply().await.unwrap();
    let app = |version: &str, fault: &str| {
        let folder = format!("build/{version}{fault}");
        shop.write(&format!("{folder}/app.json"), &json!({ "version": version, "fault": fault }).to_string());
        script(&shop, &folder, &format!(r#"exec "{BINARY}" demo-app --release "$(dirname "$0")" --port "$1""#))
    };
    let first = shop.deploy("1.0.0", &app("1.0.0", "none")).await;
    assert_eq!(first["state"], "succeeded", "{first:#}");

    let (stop, asked, wrong) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let customer = tokio::spawn({
        let (stop, asked, wrong, listen) = (stop.clone(), asked.clone(), wrong.clone(), shop.staging);
        async move {
            while !stop.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                if served(listen).await != "hello from 1.0.0\n" {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let cases = [
        ("2.0.1", script(&shop, "build/exits", "exit 3"), "instance_exited"),
        ("2.0.2", script(&shop, "build/hangs", "exec sleep 600"), "unhealthy"),
        ("2.0.3", app("2.0.3", "broken"), "unhealthy"),
        ("2.0.4", app("2.0.4", "wrong"), "smoke_failed"),
        ("2.0.5", app("1.0.0", "none") + "/../1.0.0none", "wrong_state"),
        ("1.0.1", app("1.0.10", "none"), "wrong_version"),
        ("2.0.6", script(&shop, "build/no-interpreter", "#"), "instance_exited"),
    ];
    for (version, artifact, code) in cases {
        if code == "wrong_state" {
            // The very bytes that serve, under another name: there is nothing to deploy.
            let directive = shop.order("staging", version, &artifact).await;
            shop.refused(code, "plan_deployment", json!({ "directive": directive })).await;
            continue;
        }
        let before = asked.load(Ordering::Relaxed);
        let body = shop.deploy(version, &artifact).await;
        let deployment = &body["deployment"];
        assert_eq!((&deployment["state"], &deployment["failure_code"]), (&json!("rolled_back"), &json!(code)), "{version}: {body:#}");
        assert_eq!(deployment["shifted_at"], Value::Null, "{version}: no traffic moved");
        assert_eq!(body["incidents"][0]["rule"], "DEPLOY-001", "{version}: {body:#}");
        assert!(asked.load(Ordering::Relaxed) > before, "{version}: customers asked meanwhile");
        let place = shop.must("get_status", json!({ "environment": "staging" })).await["places"][0].take();
        assert_eq!((&place["serves"], place.get("under_way")), (&json!("1.0.0"), None), "{version}");
    }
    // The positive control: a release that behaves replaces it, and the customer sees that.
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "of {}", asked.load(Ordering::Relaxed));
    let good = shop.deploy("3.0.0", &app("3.0.0", "none")).await;
    assert_eq!(good["state"], "succeeded", "{good:#}");
    let began = std::time::Instant::now();
    while wrong.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < PATIENCE, "the customer never saw 3.0.0");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    customer.await.unwrap();
    shop.must("audit_verify", json!({})).await;
}

#[tokio::test]
async fn a_taken_port_rolls_back_and_the_next_attempt_works() {
    let shop = Shop::open().await;
    let taken = TcpListener::bind(shop.staging).unwrap();
    let directive = shop.directive("staging", "1.0.0").await;
    let failed = shop.execute(&shop.plan(&directive).await).await;
    assert_eq!((&failed["state"], &failed["deployment"]["failure_code"]), (&json!("rolled_back"), &json!("port_taken")), "{failed:#}");
    assert_eq!(failed["deployment"]["shifted_at"], Value::Null);
    drop(taken);
    let second = shop.execute(&shop.plan(&directive).await).await;
    assert_eq!(second["state"], "succeeded", "{second:#}");
    assert_eq!(served(shop.staging).await, "hello from 1.0.0\n");
    // A server whose own port is taken says so.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = Shop::named("other");
    other.write("interlock.toml", "");
    let refused = finish(&mut other.interlock(&["serve", "--listen", &taken.local_addr().unwrap().to_string()])).await;
    assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(1), "port_taken".into()));
}

/// Returns the code of an error on standard error.
fn said(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let line = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error in `{said}`"));
    line.split(':').next().unwrap().to_owned()
}

async fn outside(shop: &Shop) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&shop.workspace.database_url()).await.unwrap()
}

#[tokio::test]
async fn a_locked_database_is_retryable_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    let mut other = outside(&shop).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let order = json!({ "service": "web", "environment": "staging", "version": "2.0.0", "artifact": shop.build("2.0.0") });
    let refusal = shop.refused("database_unavailable", "create_directive", order.clone()).await;
    assert_eq!((&refusal["retryable"], &refusal["next_actions"][0]["arguments"]), (&json!(true), &order), "{refusal:#}");
    assert!(refusal["after_seconds"].is_u64(), "{refusal:#}");
    shop.must("get_status", json!({})).await;
    assert_eq!(served(shop.staging).await, "hello from 1.0.0\n");
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    assert_eq!(shop.must("create_directive", order).await["existing"], false);
    shop.must("audit_verify", json!({})).await;
}

#[tokio::test]
async fn a_read_only_or_newer_database_is_refused() {
    let mut shop = Shop::open().await;
    shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    shop.stop().await;
    let url = shop.workspace.database_url() + "?mode=ro";
    shop.serve(&[("INTERLOCK_DATABASE_URL", &url)]).await;
    let order = json!({ "service": "web", "environment": "staging", "version": "2.0.0", "artifact": shop.build("2.0.0") });
    let refusal = shop.refused("database_unavailable", "create_directive", order.clone()).await;
    assert_eq!(refusal["retryable"], true, "{refusal:#}");
    assert!(shop.must("get_status", json!({})).await["summary"].is_string(), "reading goes on");
    shop.stop().await;

    let mut other = outside(&shop).await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 1)";
    other.execute(newer).await.unwrap();
    for arguments in [&["serve"][..], &["--json", "get-status"], &["apply"]] {
        let refused = finish(&mut shop.interlock(arguments)).await;
        assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(1), "database_newer".into()), "{arguments:?}");
    }
    assert_eq!(served(shop.staging).await, "hello from 1.0.0\n", "what serves goes on without a server");
    other.execute("DELETE FROM _sqlx_migrations WHERE version = 9999").await.unwrap();
    other.close().await.unwrap();
    shop.serve(&[]).await;
    shop.must("audit_verify", json!({})).await;
}

#[tokio::test]
async fn a_full_database_refuses_and_keeps_what_it_has() {
    let shop = Shop::open().await;
    let url = shop.workspace.database_url() + "?max_page_count=240";
    fills_up(shop, async |shop| shop.serve(&[("INTERLOCK_DATABASE_URL", &url)]).await).await;
}

#[tokio::test]
async fn a_file_size_limit_is_a_full_disk_and_ends_no_server() {
    let shop = Shop::open().await;
    fills_up(shop, async |shop| shop.serve_under("ulimit -f 2048").await).await;
}

/// Fills the database until it is refused; then everything that was accepted is there, and nothing else.
async fn fills_up(mut shop: Shop, restart: impl AsyncFn(&mut Shop)) {
    shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    let ready = shop.directive("staging", "2.0.0").await;
    let plan = shop.plan(&ready).await;
    shop.stop().await;
    restart(&mut shop).await;
    let mut accepted = 1;
    let refusal = loop {
        let version = format!("3.0.{accepted}");
        let order = json!({
            "service": "web", "environment": "staging", "version": version, "artifact": shop.build(&version), "description": "x".repeat(60_000),
        });
        match shop.ask("create_directive", order).await {
            Ok(_) => accepted += 1,
            Err(refusal) => break refusal,
        }
        assert!(accepted < 100, "the limit was not reached");
    };
    assert_eq!((&refusal["code"], &refusal["who"]), (&json!("disk_full"), &json!("person")), "{refusal:#}");
    assert!(accepted > 1, "something fitted before");
    let overview = shop.must("get_status", json!({})).await;
    let shown = overview["open_directives"].as_array().unwrap().len() as u64 + overview["more"].as_u64().unwrap_or(0);
    assert_eq!(shown, accepted, "each that was accepted, and no other: {overview:#}");
    assert_eq!(served(shop.staging).await, "hello from 1.0.0\n");
    // With room again, the record is whole and the work goes on.
    shop.stop().await;
    shop.serve(&[]).await;
    shop.must("audit_verify", json!({})).await;
    assert_eq!(shop.execute(&plan).await["state"], "succeeded");
    assert_eq!(served(shop.staging).await, "hello from 2.0.0\n");
}

#[tokio::test]
async fn five_faults_are_five_lines_and_nothing_is_applied() {
    let shop = Shop::open().await;
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

#[tokio::test]
async fn a_second_server_and_a_missing_workspace_are_refused() {
    let shop = Shop::open().await;
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
    let output = finish(command.arg("mcp").current_dir(nowhere.path()).env_remove("INTERLOCK_WORKSPACE").stdin(input)).await;
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

#[tokio::test]
async fn a_workspace_path_of_200_characters_takes_a_whole_deployment() {
    let mut shop = Shop::named(&"x".repeat(200));
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
