//! A backup that is taken, verified and brought back outside of a deployment, by real commands; and the gate that asks for one.

use crate::{
    support::databases::databases,
    world::{PATIENCE, Shop},
};
use interlock::targets::fake_jobs::JobAnswer;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

const VERIFY: &str = r#"verify = ["./verify.sh", "{location}"]"#;
const REHEARSE: &str = r#"rehearse = ["./rehearse.sh", "{location}", "{scratch}"]"#;

fn script(root: &Path, name: &str, body: &str) {
    let path = root.join(name);
    fs::write(&path, format!("#!/bin/sh\nset -e\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn configured(shop: &Shop, commands: &[&str]) -> String {
    let commands: String = commands.iter().map(|command| format!(", {command}")).collect();
    let backup =
        format!("backup = {{ run = [\"./backup.sh\"], restore = [\"./restore.sh\", \"{{location}}\"]{commands}, timeout = \"20s\" }}");
    let gate = "[environments.staging.gates]\nbackup = { age_hours = \"<= 2\" }\n";
    shop.text.replace("keep  = 5", &format!("keep  = 5\n{backup}")).replace("[environments.staging.gates]\n", gate)
}

/// A shop whose data is a file, and whose `restore` would leave a trace.
async fn shop(url: &str, commands: &[&str]) -> Shop {
    let shop = Shop::open(url).await;
    let root = shop.engine.workspace.root.clone();
    shop.configure(&configured(&shop, commands)).await;
    shop.staging.on_job(|_| JobAnswer::Runs);
    shop.production.on_job(|_| JobAnswer::Runs);
    fs::write(root.join("database"), "orders\n").unwrap();
    script(&root, "backup.sh", "cp database backup.1 && echo backup.1");
    script(&root, "verify.sh", "cmp \"$1\" database");
    script(&root, "rehearse.sh", "cp \"$1\" \"$2/database\" && echo \"$2\" > rehearsed.at");
    script(&root, "restore.sh", "touch overwritten");
    shop
}

async fn gate(shop: &Shop, directive: &str) -> Value {
    let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    checked["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "backup").unwrap().clone()
}

#[tokio::test]
async fn a_backup_is_brought_back_in_a_scratch_place_and_counts_while_it_is_young() {
    for database in databases().await {
        let shop = shop(&database.url, &[VERIFY, REHEARSE]).await;
        let root = shop.engine.workspace.root.clone();
        // Where approval is asked, a person runs it: the commands get production's secrets, and agents write in the workspace.
        let production = json!({ "directive": shop.order("production", "1.0.0").await });
        let refused = shop.call("setup_backup", production.clone()).await.unwrap_err().body;
        assert_eq!((&refused["code"], &refused["who"]), (&json!("denied_by_policy"), &json!("person")), "{refused:#}");
        assert!(refused["hint"].as_str().unwrap().starts_with("interlock setup-backup --directive "), "{refused:#}");
        assert_eq!(shop.call_as_person("setup_backup", production).await.unwrap()["state"], "rehearsed");

        let directive = shop.order("staging", "1.0.0").await;
        let open = gate(&shop, &directive).await;
        assert_eq!((&open["verdict"], &open["who"]), (&json!("inconclusive"), &json!("person")), "{}: {open:#}", database.name);
        assert_eq!(open["how"], format!("interlock setup-backup --directive {directive}"));

        let asked = json!({ "directive": directive });
        let proven = shop.must("setup_backup", asked.clone()).await;
        assert_eq!((&proven["state"], &proven["existing"]), (&json!("rehearsed"), &json!(false)), "{proven:#}");
        let backup = &proven["backup"];
        assert_eq!(backup["sha256"], interlock::model::Sha256::of(b"orders\n").0);
        assert_eq!((&backup["size_bytes"], &backup["verified"], &backup["restore_rehearsed"]), (&json!(7), &json!(true), &json!(true)));
        assert_eq!(proven["restored"], json!({ "files": 1, "size_bytes": 7 }));
        let steps: Vec<&str> = proven["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
        assert_eq!(steps, ["run", "verify", "rehearse"]);
        assert!(!root.join("overwritten").exists(), "what overwrites data is never run for a try");
        let scratch = fs::read_to_string(root.join("rehearsed.at")).unwrap();
        assert!(!Path::new(scratch.trim()).exists() && scratch.contains(".interlock/scratch"), "{scratch}");

        let passed = gate(&shop, &directive).await;
        assert_eq!((&passed["verdict"], &passed["live"]), (&json!("pass"), &json!(true)), "{passed:#}");
        let again = shop.must("setup_backup", asked.clone()).await;
        assert_eq!(
            (&again["existing"], &again["proof"]),
            (&json!(true), &proven["proof"]),
            "an answer that was lost can be asked for again"
        );

        shop.clock.advance(Duration::from_secs(2 * 3600 + 1));
        let old = gate(&shop, &directive).await;
        assert_eq!(old["verdict"], "fail", "{old:#}");
        let renewed = shop.must("setup_backup", asked).await;
        assert!(renewed["existing"] == false && renewed["proof"] != proven["proof"], "{renewed:#}");
        assert_eq!(gate(&shop, &directive).await["verdict"], "pass");

        // Other commands have proven nothing yet.
        script(&root, "other.sh", "exit 0");
        shop.configure(&configured(&shop, &[VERIFY, REHEARSE]).replace("./verify.sh", "./other.sh")).await;
        assert_eq!(gate(&shop, &directive).await["verdict"], "inconclusive");
    }
}

#[tokio::test]
async fn what_was_not_brought_back_does_not_count() {
    for database in databases().await {
        let empty = r#"rehearse = ["true", "{location}", "{scratch}"]"#;
        let says_no = r#"rehearse = ["./no.sh", "{location}", "{scratch}"]"#;
        let elsewhere = r#"rehearse = ["./elsewhere.sh", "{location}", "{scratch}"]"#;
        let shop = shop(&database.url, &[]).await;
        let root = shop.engine.workspace.root.clone();
        script(&root, "no.sh", "cp \"$1\" \"$2\" && echo '{\"restored\": false}'");
        script(&root, "elsewhere.sh", "echo '{\"restored\": true}'");
        let directive = shop.order("staging", "1.0.0").await;
        for (commands, state, said) in [
            (&[VERIFY][..], "not_rehearsed", "no `rehearse` is configured"),
            (&[REHEARSE], "not_rehearsed", "no `verify` is configured"),
            (&[VERIFY, empty], "failed", "has restored nothing"),
            (&[VERIFY, says_no], "failed", "has restored nothing"),
            (&[VERIFY, elsewhere], "rehearsed", "restore rehearsed"),
        ] {
            shop.configure(&configured(&shop, commands)).await;
            let seen = shop.must("setup_backup", json!({ "directive": directive })).await;
            assert_eq!(seen["state"], state, "{}: {commands:?}: {seen:#}", database.name);
            assert!(seen["summary"].as_str().unwrap().contains(said), "{seen:#}");
            let expected = if state == "rehearsed" { "pass" } else { "fail" };
            assert_eq!(gate(&shop, &directive).await["verdict"], expected, "{commands:?}");
            assert!(!root.join("overwritten").exists());
        }
    }
}

#[tokio::test]
async fn a_backup_that_cannot_be_taken_says_why_and_nothing_is_executed_without_one() {
    for database in databases().await {
        let shop = shop(&database.url, &[VERIFY, REHEARSE]).await;
        let root = shop.engine.workspace.root.clone();
        let directive = shop.order("staging", "1.0.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let refused = shop.call("execute_deployment", json!({ "plan": plan })).await;
        let ended = match refused {
            Err(refused) => refused.body,
            Ok(begun) => shop.settled(&begun["deployment"]).await,
        };
        assert!(ended.to_string().contains("backup"), "{}: {ended:#}", database.name);
        assert_eq!(shop.staging.serving(), [""; 0], "fails closed");

        script(&root, "backup.sh", "echo no space left >&2; exit 3");
        let other = shop.order("staging", "1.0.1").await;
        let seen = shop.must("setup_backup", json!({ "directive": other })).await;
        assert!(seen["state"] == "failed" && seen["summary"].as_str().unwrap().contains("no space left"), "{seen:#}");
        assert_eq!(gate(&shop, &other).await["verdict"], "fail");

        shop.configure(&shop.text.clone()).await;
        let refused = shop.call("setup_backup", json!({ "directive": other })).await.unwrap_err().body;
        assert_eq!((&refused["code"], &refused["who"]), (&json!("backup_failed"), &json!("person")), "{refused:#}");
    }
}

#[tokio::test]
async fn one_that_takes_long_goes_on_without_its_caller_and_is_waited_for() {
    for database in databases().await {
        let shop = shop(&database.url, &[VERIFY, REHEARSE]).await;
        let root = shop.engine.workspace.root.clone();
        script(&root, "backup.sh", "while [ ! -e go ]; do sleep 0.02; done; echo x >> runs; cp database backup.1 && echo backup.1");
        let directive = shop.order("staging", "1.0.0").await;
        let ask = |seconds: u64| json!({ "directive": directive, "wait_seconds": seconds });
        let first = shop.must("setup_backup", ask(0)).await;
        assert_eq!((&first["state"], &first["existing"]), (&json!("running"), &json!(false)), "{}: {first:#}", database.name);
        let second = shop.must("setup_backup", ask(0)).await;
        assert_eq!((&second["job"], &second["existing"]), (&first["job"], &json!(true)), "one at a time");
        // For another directive the same commands would write over each other's files.
        let other = shop.order("staging", "1.0.1").await;
        let refused = shop.call("setup_backup", json!({ "directive": other, "wait_seconds": 0 })).await.unwrap_err().body;
        assert_eq!(refused["code"], "conflict", "{refused:#}");
        assert!(refused["message"].as_str().unwrap().contains(&directive), "{refused:#}");
        fs::write(root.join("go"), "").unwrap();
        let began = Instant::now();
        let ended = loop {
            let seen = shop.must("setup_backup", ask(45)).await;
            if seen["state"] != "running" {
                break seen;
            }
            assert!(began.elapsed() < PATIENCE, "{seen:#}");
        };
        assert_eq!(ended["state"], "rehearsed", "{ended:#}");
        let counts = shop.must("setup_backup", json!({ "directive": other })).await;
        assert_eq!((&counts["existing"], &counts["proof"]), (&json!(true), &ended["proof"]), "{counts:#}");
        assert_eq!(fs::read_to_string(root.join("runs")).unwrap(), "x\n");
    }
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_refused_before_anything_is_begun() {
    for database in databases().await {
        let shop = shop(&database.url, &[VERIFY, REHEARSE]).await;
        let directive = shop.order("staging", "1.0.0").await;
        let ask = |seconds: u64| json!({ "directive": directive, "wait_seconds": seconds });
        assert_eq!(shop.refused("setup_backup", ask(46)).await, "invalid_arguments", "{}", database.name);
        shop.rest().await;
        assert!(!shop.engine.workspace.root.join("backup.1").exists());
        let id = directive.as_str().into();
        assert!(shop.engine.store.latest_job(&id, interlock::engine::backup_proof::JOB).await.unwrap().is_none());
        // The positive control: one second less.
        shop.must("setup_backup", ask(45)).await;
        assert!(shop.engine.store.latest_job(&id, interlock::engine::backup_proof::JOB).await.unwrap().is_some());
    }
}
