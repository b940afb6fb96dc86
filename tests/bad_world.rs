//! A bad world: services that misbehave, a taken port, a database that is locked, newer or full. Each has its own code, customers
//! notice nothing, and nothing is lost or half done.

mod support;

use serde_json::{Value, json};
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
use support::{
    on_both,
    shop::{APPROVAL, BINARY, Database, PATIENCE, Shop, demo_app, finish, said, served, text},
};

on_both!(
    a_service_that_fails_is_rolled_back_and_no_customer_notices,
    a_service_that_is_not_what_it_says_is_rolled_back_and_no_customer_notices,
    a_taken_port_rolls_back_and_the_next_attempt_works,
    a_locked_database_is_retryable_and_changes_nothing,
    a_read_only_or_newer_database_is_refused,
    a_server_on_another_database_than_the_records_is_refused,
);

/// The standard shop whose service is a script of the release: `run PORT`.
fn scripted(shop: &Shop) -> String {
    let configuration = shop.configuration(APPROVAL).replace(&demo_app(), r#"["{release}/run", "{port}"]"#);
    configuration.replace("deadline = \"60s\"", "deadline = \"4s\"")
}

fn script(shop: &Shop, folder: &str, lines: &str) -> String {
    shop.write(&format!("{folder}/run"), &format!("#!/bin/sh\n{lines}\n"));
    fs::set_permissions(shop.root().join(folder).join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    folder.to_owned()
}

/// A version, its artifact, and the code it fails with.
type Case = (&'static str, String, &'static str);

fn app(shop: &Shop, version: &str, fault: &str) -> String {
    let folder = format!("build/{version}{fault}");
    shop.write(&format!("{folder}/app.json"), &json!({ "version": version, "fault": fault }).to_string());
    script(shop, &folder, &format!(r#"exec "{BINARY}" demo-app --release "$(dirname "$0")" --port "$1""#))
}

async fn a_service_that_fails_is_rolled_back_and_no_customer_notices(database: Database) {
    let cases = |shop: &Shop| {
        vec![
            ("2.0.1", script(shop, "build/exits", "exit 3"), "instance_exited"),
            ("2.0.2", script(shop, "build/hangs", "exec sleep 600"), "unhealthy"),
            ("2.0.3", app(shop, "2.0.3", "broken"), "unhealthy"),
        ]
    };
    no_customer_notices(database, cases).await;
}

async fn a_service_that_is_not_what_it_says_is_rolled_back_and_no_customer_notices(database: Database) {
    let cases = |shop: &Shop| {
        vec![
            ("2.0.4", app(shop, "2.0.4", "wrong"), "smoke_failed"),
            ("2.0.5", app(shop, "1.0.0", "none") + "/../1.0.0none", "wrong_state"),
            ("1.0.1", app(shop, "1.0.10", "none"), "wrong_version"),
            ("2.0.6", script(shop, "build/no-interpreter", "#"), "instance_exited"),
        ]
    };
    no_customer_notices(database, cases).await;
}

async fn no_customer_notices(database: Database, cases: impl Fn(&Shop) -> Vec<Case>) {
    let shop = Shop::configured(database, scripted).await;
    let first = shop.deploy("1.0.0", &app(&shop, "1.0.0", "none")).await;
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
    for (version, artifact, code) in cases(&shop) {
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
        let offered = body["next_actions"].as_array().unwrap();
        let asks = |what: &str| offered.iter().any(|action| action["tool"] == what || text(&action["why"]).contains(what));
        let leans_on = (asks("run_predeploy_checks"), asks("feature flags"));
        assert_eq!(leans_on, (code == "smoke_failed", code == "smoke_failed"), "{version}: {offered:#?}");
        assert!(asked.load(Ordering::Relaxed) > before, "{version}: customers asked meanwhile");
        let place = shop.must("get_status", json!({ "environment": "staging" })).await["places"][0].take();
        assert_eq!((&place["serves"], place.get("under_way")), (&json!("1.0.0"), None), "{version}");
    }
    // The positive control: a release that behaves replaces it, and the customer sees that.
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "of {}", asked.load(Ordering::Relaxed));
    let good = shop.deploy("3.0.0", &app(&shop, "3.0.0", "none")).await;
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

async fn a_taken_port_rolls_back_and_the_next_attempt_works(database: Database) {
    let shop = Shop::open(database.clone()).await;
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
    let other = Shop::named("other", database);
    other.write("interlock.toml", "");
    let refused = finish(&mut other.interlock(&["serve", "--listen", &taken.local_addr().unwrap().to_string()])).await;
    assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(1), "port_taken".into()));
}

async fn outside(shop: &Shop) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&shop.database.url(shop)).await.unwrap()
}

async fn a_locked_database_is_retryable_and_changes_nothing(database: Database) {
    let lock = match database {
        Database::Sqlite => "BEGIN IMMEDIATE",
        Database::Postgres(_) => "BEGIN; LOCK TABLE audit_head IN EXCLUSIVE MODE",
    };
    let shop = Shop::open(database).await;
    shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    let mut other = outside(&shop).await;
    other.execute(sqlx::raw_sql(lock)).await.unwrap();
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

async fn a_read_only_or_newer_database_is_refused(database: Database) {
    let mut shop = Shop::open(database).await;
    shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    shop.stop().await;
    let url = shop.database.url(&shop);
    let read_only = match shop.database {
        Database::Sqlite => url + "?mode=ro",
        Database::Postgres(_) => url + "&options=-c%20default_transaction_read_only=on",
    };
    shop.serve(&[("INTERLOCK_DATABASE_URL", &read_only)]).await;
    let order = json!({ "service": "web", "environment": "staging", "version": "2.0.0", "artifact": shop.build("2.0.0") });
    let refusal = shop.refused("database_unavailable", "create_directive", order.clone()).await;
    assert_eq!(refusal["retryable"], true, "{refusal:#}");
    assert!(shop.must("get_status", json!({})).await["summary"].is_string(), "reading goes on");
    shop.stop().await;

    let mut other = outside(&shop).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'later', success, checksum, 1 FROM _sqlx_migrations WHERE version = (SELECT MIN(version) FROM _sqlx_migrations)";
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

async fn a_server_on_another_database_than_the_records_is_refused(database: Database) {
    let mut shop = Shop::open(database).await;
    shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    shop.stop().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = interlock::store::sqlite_url(&elsewhere.path().join("other.db")).unwrap();
    for arguments in [&["serve"][..], &["--json", "get-status"], &["apply"]] {
        for (url, why) in [("", "INTERLOCK_DATABASE_URL is not set"), (&other, "other.db")] {
            if url.is_empty() && shop.database == Database::Sqlite {
                continue;
            }
            let refused = finish(shop.interlock(arguments).env("INTERLOCK_DATABASE_URL", url)).await;
            assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(1), "database_elsewhere".into()), "{arguments:?}");
            let told = String::from_utf8(refused.stderr).unwrap();
            assert!(told.contains(why), "{told}");
        }
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "no second record was begun");
    assert_eq!(shop.own_database().exists(), shop.database == Database::Sqlite);
    assert_eq!(served(shop.staging).await, "hello from 1.0.0\n", "what serves goes on");
    // The positive control: with its own database the server starts again and knows what serves.
    shop.serve(&[]).await;
    assert_eq!(shop.must("get_status", json!({ "environment": "staging" })).await["places"][0]["serves"], "1.0.0");
}

#[tokio::test]
async fn a_full_database_refuses_and_keeps_what_it_has() {
    let shop = Shop::open(Database::Sqlite).await;
    let url = shop.database.url(&shop) + "?max_page_count=240";
    fills_up(shop, async |shop| shop.serve(&[("INTERLOCK_DATABASE_URL", &url)]).await).await;
}

#[tokio::test]
async fn a_file_size_limit_is_a_full_disk_and_ends_no_server() {
    let shop = Shop::open(Database::Sqlite).await;
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
