//! Data and hooks around a deployment, told in one process on both databases: what runs when, what stops it, and how far back one can go.

use crate::{database::Database, support::databases::databases, world::Shop};
use interlock::{
    model::{DecisionKind, DecisionVerdict::Approve},
    targets::{
        fake::{Behaviour, Mischief},
        fake_jobs::JobAnswer::{Fails, Hangs, Leaves, Says},
    },
};
use serde_json::{Value, json};

const ADD: (&str, &str) = ("0041_add.sql", "ALTER TABLE users ADD COLUMN nick TEXT;");
const DROP: (&str, &str) = ("0042_drop.sql", "ALTER TABLE users DROP COLUMN email;");
const RENAME: (&str, &str) = ("0042_rename.sql", "ALTER TABLE users RENAME COLUMN mail TO email;");

/// A shop where 1.0.0 serves and 1.1.0 is to come, with a folder of migrations in each.
async fn shop(url: &str, pivots: &[&str], on_rollback: &str) -> (Shop, Database) {
    let shop = Shop::open(url).await;
    let database = Database::of(&shop, pivots, on_rollback).await;
    shop.migration("1.0.0", "0001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, mail TEXT);");
    assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
    shop.migration("1.1.0", "0001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, mail TEXT);");
    (shop, database)
}

fn step<'a>(settled: &'a Value, id: &str) -> &'a Value {
    settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == id).unwrap_or(&Value::Null)
}

fn jobs(shop: &Shop, from: usize) -> Vec<String> {
    let words = |call: &String| call.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let told = ["job ", "start ", "set "];
    shop.staging.log()[from..].iter().filter(|call| told.iter().any(|word| call.starts_with(word))).map(words).collect()
}

#[tokio::test]
async fn everything_runs_in_its_order_and_the_record_shows_backup_and_migrations() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[], "ask").await;
        shop.migration("1.1.0", ADD.0, ADD.1);
        let from = shop.staging.calls();
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let started = shop.staging.running()[0].clone();
        let expected = ["job prepare", "job backup", "job verify", "job migrate", "job hook-start"].map(str::to_owned);
        let after = [format!("start {started}"), "job hook-shift".into(), "set 1.1.0".into(), "job hook-shifted".into()];
        let seen = jobs(&shop, from);
        assert_eq!(seen[..9], [expected.as_slice(), after.as_slice()].concat(), "{seen:?}");
        assert_eq!(seen.last().unwrap(), "job hook-done");
        assert_eq!(data.applied(), ["0001_users.sql", "0041_add.sql"]);

        assert_eq!(settled["migrations"], json!(["0041_add.sql: expand"]), "{settled:#}");
        assert!(settled["rollback"].as_str().unwrap().starts_with("can return to 1.0.0 (dep_1)"), "{settled:#}");
        let backup = settled["backup"].as_str().unwrap();
        assert!(
            backup.contains("backups/1.dump, sha256 ") && backup.contains(", 9 bytes, taken at ") && backup.ends_with("restore rehearsed")
        );
        assert_eq!(step(&settled, "backup")["output"]["backup"]["hashed_here"], true);
        assert_eq!(step(&settled, "migrate")["output"]["history"], json!(["0001_users.sql", "0041_add.sql"]));
        let document = std::fs::read_to_string(shop.engine.workspace.root.join("docs/deployment.md")).unwrap();
        assert!(document.contains("## Data") && document.contains("0041_add.sql") && document.contains("restore rehearsed"), "{document}");
        let written = shop.must("write_runbook", json!({ "deployment": settled["deployment"]["id"] })).await;
        assert_eq!(written["state"], "in_review", "{written:#}");
    }
}

#[tokio::test]
async fn what_the_serving_release_may_still_use_is_not_taken_away_in_the_same_plan() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[], "ask").await;
        shop.migration("1.1.0", DROP.0, DROP.1);
        let directive = shop.order("staging", "1.1.0").await;
        shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": crate::world::JUNIT })).await;
        let refused = shop.call("plan_deployment", json!({ "directive": directive })).await.unwrap_err().body;
        assert_eq!(refused["code"], "contract_migration", "{refused:#}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with("migration `0042_drop.sql` is contract: ") && message.contains("1.0.0, which serves"), "{message}");
        assert!(refused["hint"].as_str().unwrap().contains("pivots = [\"0042_drop.sql\"]"), "{refused:#}");
        assert_eq!(data.applied(), ["0001_users.sql"]);
    }
}

#[tokio::test]
async fn a_database_that_was_migrated_meanwhile_voids_the_plan() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[], "ask").await;
        shop.migration("1.1.0", ADD.0, ADD.1);
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        data.has_run(ADD.0);
        let refused = shop.call("execute_deployment", json!({ "plan": plan })).await.unwrap_err().body;
        assert_eq!(
            (&refused["code"], &refused["details"]["field"]),
            (&json!("stale_plan"), &json!("migrations.0041_add.sql")),
            "{refused:#}"
        );
    }
}

#[tokio::test]
async fn a_migration_that_fails_moves_nothing_and_the_record_says_what_has_run() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[], "ask").await;
        shop.migration("1.1.0", ADD.0, ADD.1);
        shop.migration("1.1.0", "0043_more.sql", "CREATE TABLE orders (id INTEGER PRIMARY KEY);");
        data.breaks_at("0043_more.sql");
        let from = shop.staging.calls();
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        assert_eq!(settled["incidents"][0]["action"], "abort; nothing moved");
        let error = &step(&settled, "migrate")["output"]["error"];
        assert!(error["message"].as_str().unwrap().contains("`history` does not show 0043_more.sql"), "{error:#}");
        assert_eq!(error["details"]["history"], json!(["0001_users.sql", "0041_add.sql"]), "{error:#}");
        assert_eq!(settled["incidents"][0]["rule"], "DEPLOY-001");
        assert_eq!(jobs(&shop, from).last().unwrap(), "job hook-back", "what went back is told");
        assert!(!jobs(&shop, from).iter().any(|call| call.starts_with("start") || call.starts_with("job restore")));
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn an_abort_while_migrations_run_records_how_far_they_came() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[], "ask").await;
        shop.migration("1.1.0", ADD.0, ADD.1);
        shop.migration("1.1.0", "0043_more.sql", "CREATE TABLE orders (id INTEGER PRIMARY KEY);");
        data.goes("migrate", Hangs);
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let from = shop.staging.calls();
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let until = std::time::Instant::now() + crate::world::PATIENCE;
        while jobs(&shop, from).last().is_none_or(|call| call != "job migrate") {
            assert!(std::time::Instant::now() < until, "{:?}", shop.staging.log());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        data.has_run(ADD.0);
        shop.must("rollback_deployment", json!({ "deployment": deployment, "reason": "not now" })).await;
        let settled = shop.settled(&deployment).await;
        assert_eq!((&settled["state"], shop.staging.serving()), (&json!("rolled_back"), vec!["1.0.0".to_owned()]), "{settled:#}");
        let error = &step(&settled, "migrate")["output"]["error"];
        assert_eq!(error["details"]["applied"], json!([ADD.0]), "{error:#}");
        assert!(error["message"].as_str().unwrap().contains("shows 1 of 2 planned migrations"), "{error:#}");
        let document = std::fs::read_to_string(shop.engine.workspace.root.join("docs/deployment.md")).unwrap();
        assert!(document.contains("afterwards the history showed 0041_add.sql"), "{}: {document}", database.name);
    }
}

#[tokio::test]
async fn a_backup_that_does_not_verify_or_says_no_place_stops_before_anything_moves() {
    let wrong_sum = format!("{{\"location\": \"backups/1.dump\", \"sha256\": \"{}\"}}", "0".repeat(64));
    for (program, answer, told) in [
        ("verify", Fails("bad magic".into()), "the backup at `backups/1.dump` does not verify: `verify` ended with exit code 1: bad magic"),
        ("verify", Says("{\"verified\": false}".into()), "does not verify: {\"verified\":false}"),
        ("backup", Says("\n".into()), "no backup: `run` printed no location"),
        ("backup", Says(wrong_sum), "and the file has "),
    ] {
        for database in databases().await {
            let (shop, data) = shop(&database.url, &[], "ask").await;
            shop.migration("1.1.0", ADD.0, ADD.1);
            data.goes(program, answer.clone());
            let settled = shop.deploy("1.1.0").await;
            assert_eq!((&settled["state"], &settled["deployment"]["failure_code"]), (&json!("rolled_back"), &json!("backup_failed")));
            assert_eq!(settled["incidents"][0]["rule"], "DEPLOY-001");
            let summary = settled["incidents"][0]["summary"].as_str().unwrap();
            assert!(summary.contains(told), "{told}: {summary}");
            assert_eq!(settled["incidents"][0]["action"], "abort; nothing moved");
            assert_eq!(data.applied(), ["0001_users.sql"], "nothing is migrated without a backup");
            assert_eq!(shop.staging.serving(), ["1.0.0"]);
        }
    }
}

#[tokio::test]
async fn a_hook_that_fails_or_hangs_before_the_switch_turns_back() {
    for (answer, told) in [(Fails("no".into()), "ended with exit code 1: no"), (Hangs, "did not end within 0.5 s and was killed")] {
        for database in databases().await {
            let (shop, data) = shop(&database.url, &[], "ask").await;
            data.goes("hook-shift", answer.clone());
            let settled = shop.deploy("1.1.0").await;
            assert_eq!((&settled["state"], &settled["incidents"][0]["rule"]), (&json!("rolled_back"), &json!("DEPLOY-001")), "{settled:#}");
            let summary = settled["incidents"][0]["summary"].as_str().unwrap();
            assert!(summary.starts_with("the before_shift hook `hook-shift` ") && summary.contains(told), "{summary}");
            assert_eq!((shop.staging.serving(), shop.staging.running().len()), (vec!["1.0.0".to_owned()], 1));
        }
    }
}

#[tokio::test]
async fn a_hook_that_fails_after_the_switch_is_an_incident_and_moves_nothing() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[], "ask").await;
        data.goes("hook-shifted", Fails("no".into()));
        data.goes("hook-done", Leaves(2));
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert_eq!(
            (&settled["incidents"][0]["rule"], step(&settled, "hook-after-shift")["state"].as_str()),
            (&json!("HOOK"), Some("failed"))
        );
        assert_eq!(settled["incidents"][0]["action"], "none; traffic stays where it is");
        assert_eq!(step(&settled, "hook-after-success")["output"]["hooks"][0]["left_running"], 2);
        assert_eq!(shop.staging.serving(), ["1.1.0"]);
    }
}

/// Takes 1.1.0 to staging past a declared migration; returns how it settled.
async fn past(shop: &Shop, migration: (&str, &str)) -> Value {
    shop.migration("1.1.0", ADD.0, ADD.1);
    shop.migration("1.1.0", migration.0, migration.1);
    shop.deploy("1.1.0").await
}

#[tokio::test]
async fn past_a_migration_that_takes_away_a_person_decides_over_the_restore() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "ask").await;
        let settled = past(&shop, DROP).await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let rollback = settled["rollback"].as_str().unwrap();
        assert!(rollback.starts_with("can return to 1.0.0 until migration 0042_drop.sql; after it only by restoring"), "{rollback}");
        let deployment = settled["deployment"]["id"].clone();
        let refused = shop.call("rollback_deployment", json!({ "deployment": deployment, "reason": "bad" })).await.unwrap_err().body;
        assert_eq!(refused["code"], "past_migration", "{refused:#}");
        assert!(refused["message"].as_str().unwrap().contains("`0042_drop.sql`, and 1.0.0 may not work"), "{refused:#}");
        assert!(refused["hint"].as_str().unwrap().contains(&format!("interlock restore {}", deployment.as_str().unwrap())), "{refused:#}");
        assert_eq!((shop.staging.serving(), refused["who"].as_str()), (vec!["1.1.0".to_owned()], Some("person")));

        let from = shop.staging.calls();
        let signed = shop.sign(DecisionKind::Restore, json!({ "deployment": deployment, "reason": "orders are lost" }), Approve).await;
        let back = back_of(&shop, &deployment).await;
        assert_eq!(back["state"], "succeeded", "{signed:#} {back:#}");
        assert_eq!((data.applied(), shop.staging.serving()), (vec!["0001_users.sql".to_owned()], vec!["1.0.0".to_owned()]));
        let seen = jobs(&shop, from);
        let at = |word: &str| seen.iter().position(|call| call.starts_with(word)).unwrap_or_else(|| panic!("{word}: {seen:?}"));
        assert!(at("set") < at("job restore") && at("job restore") < at("start"), "the new set is ended first: {seen:?}");
        assert_eq!(step(&back, "return-data")["output"]["data"][0]["restored"]["location"], "backups/1.dump", "{back:#}");
    }
}

/// Waits for the way back of a deployment, and returns how it settled.
async fn back_of(shop: &Shop, of: &Value) -> Value {
    let listed = shop.must("list_deployments", json!({})).await;
    let newest = listed["deployments"][0].clone();
    assert_ne!(newest["id"], *of, "{listed:#}");
    shop.settled(&newest["id"]).await
}

#[tokio::test]
async fn a_restore_does_not_touch_a_backup_that_has_changed() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "ask").await;
        let deployment = past(&shop, DROP).await["deployment"]["id"].clone();
        std::fs::write(shop.engine.workspace.root.join("backups/1.dump"), "other rows").unwrap();
        shop.sign(DecisionKind::Restore, json!({ "deployment": deployment, "reason": "orders are lost" }), Approve).await;
        let back = back_of(&shop, &deployment).await;
        assert_eq!(back["state"], "stuck", "{back:#}");
        assert!(back["incidents"][0]["summary"].as_str().unwrap().contains("is not what was taken"), "{back:#}");
        assert_eq!(data.applied().len(), 3, "nothing was restored");
    }
}

#[tokio::test]
async fn down_migrations_go_back_in_order_when_they_lose_nothing() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[RENAME.0], "ask").await;
        shop.migration("1.1.0", "0042_rename.down.sql", "ALTER TABLE users RENAME COLUMN email TO mail;");
        let settled = past(&shop, RENAME).await;
        let deployment = settled["deployment"]["id"].clone();
        assert!(settled["rollback"].as_str().unwrap().contains("by down-migrations"), "{settled:#}");
        shop.sign(DecisionKind::Restore, json!({ "deployment": deployment, "reason": "wrong name" }), Approve).await;
        let back = back_of(&shop, &deployment).await;
        assert_eq!(back["state"], "succeeded", "{back:#}");
        assert_eq!(data.applied(), ["0001_users.sql", "0041_add.sql"], "what was added stays");
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn a_failure_past_the_migration_holds_traffic_where_it_is_and_a_person_turns_it_back() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "ask").await;
        shop.migration("1.1.0", DROP.0, DROP.1);
        // Downtime fires at once when 1.1.0 serves.
        shop.staging.when_serving("1.1.0", |samples| samples.router_failures += 1);
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let held = shop.until("get_deployment", json!({ "deployment": deployment, "detail": true }), "paused").await;
        assert_eq!(held["incidents"][0]["rule"], "DEPLOY-003", "{held:#}");
        assert!(held["incidents"][0]["action"].as_str().unwrap().contains("held; traffic stays where it is"), "{held:#}");
        let choices = held["stuck"]["choices"].to_string();
        let stays =
            "data stays as it is, past migration `0042_drop.sql`, and 1.0.0 may not work with it: `interlock restore dep_2` goes back";
        assert!(choices.contains("roll-back: goes back") && choices.contains(stays), "{choices}");
        assert_eq!(shop.staging.serving(), ["1.1.0"]);
        let asked = json!({ "deployment": deployment, "reason": "downtime" });
        assert_eq!(shop.refused("rollback_deployment", asked).await, "past_migration");

        shop.sign(DecisionKind::Restore, json!({ "deployment": deployment, "reason": "downtime" }), Approve).await;
        let settled = shop.settled(&deployment).await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        assert_eq!((data.applied(), shop.staging.serving()), (vec!["0001_users.sql".to_owned()], vec!["1.0.0".to_owned()]));
        assert_eq!(shop.staging.running().len(), 1);
    }
}

#[tokio::test]
async fn who_lets_it_go_on_past_the_migration_is_not_asked_the_same_again() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "ask").await;
        shop.migration("1.1.0", DROP.0, DROP.1);
        shop.staging.when_serving("1.1.0", |samples| samples.router_failures += 1);
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        shop.until("get_deployment", json!({ "deployment": deployment }), "paused").await;
        // Time for several looks at a counter that only grows.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let lift = json!({ "deployment": deployment, "held": false });
        assert_eq!(shop.refused("hold_deployment", lift).await, "denied_by_policy");
        let lifted = shop.engine.hold(&crate::world::person(), &deployment.as_str().unwrap().into(), false).await.unwrap_err();
        assert_eq!(lifted.code, interlock::error::Code::DeniedByPolicy, "only a signature lets it go on");
        let go_on = json!({ "deployment": deployment, "choice": "mark_done", "reason": "we looked" });
        shop.sign(DecisionKind::Resolve, go_on, Approve).await;
        let settled = shop.settled(&deployment).await;
        assert_eq!((&settled["state"], settled["incidents"].as_array().unwrap().len()), (&json!("succeeded"), 1), "{settled:#}");
        assert_eq!((data.applied().len(), shop.staging.serving()), (2, vec!["1.1.0".to_owned()]));
    }
}

#[tokio::test]
async fn the_signed_plan_may_take_data_back_by_itself() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "automatic").await;
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.0.0".into(), exits: false });
        let settled = past(&shop, DROP).await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        assert!(settled["rollback"].as_str().unwrap().contains("after it by itself, as this plan says"), "{settled:#}");
        assert_eq!((data.applied(), shop.staging.serving()), (vec!["0001_users.sql".to_owned()], vec!["1.0.0".to_owned()]));
        assert_eq!(step(&settled, "migrate")["state"], "undone", "{settled:#}");
    }
}

#[tokio::test]
async fn a_rollback_on_demand_takes_data_back_where_the_signed_plan_says_so() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "automatic").await;
        let deployment = past(&shop, DROP).await["deployment"]["id"].clone();
        let back = shop.must("rollback_deployment", json!({ "deployment": deployment, "reason": "orders are lost" })).await;
        assert_eq!(shop.settled(&back["deployment"]).await["state"], "succeeded");
        assert_eq!((data.applied(), shop.staging.serving()), (vec!["0001_users.sql".to_owned()], vec!["1.0.0".to_owned()]));
    }
}

#[tokio::test]
async fn what_went_back_before_the_switch_leaves_its_migrations_to_a_person() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "ask").await;
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.0.0".into(), exits: false });
        let settled = past(&shop, DROP).await;
        assert_eq!((&settled["state"], data.applied().len()), (&json!("rolled_back"), 3), "{settled:#}");
        let deployment = settled["deployment"]["id"].clone();
        shop.sign(DecisionKind::Restore, json!({ "deployment": deployment, "reason": "1.0.0 needs its column" }), Approve).await;
        let back = back_of(&shop, &deployment).await;
        assert_eq!(back["state"], "succeeded", "{back:#}");
        assert_eq!((data.applied(), shop.staging.serving()), (vec!["0001_users.sql".to_owned()], vec!["1.0.0".to_owned()]));
        assert_eq!(shop.staging.running().len(), 1);
    }
}

#[tokio::test]
async fn a_declared_migration_that_fails_is_a_persons_to_judge() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "ask").await;
        data.breaks_at(DROP.0);
        let settled = past(&shop, DROP).await;
        assert_eq!(settled["state"], "stuck", "{settled:#}");
        assert!(settled["incidents"][0]["action"].as_str().unwrap().contains("a person chooses"), "{settled:#}");
        assert_eq!((data.applied().len(), shop.staging.serving()), (2, vec!["1.0.0".to_owned()]));
    }
}

#[tokio::test]
async fn a_restore_before_the_switch_ends_what_writes_first_and_lets_customers_wait_for_it() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "automatic").await;
        let old = shop.staging.running()[0].clone();
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.0.0".into(), exits: false });
        let from = shop.staging.calls();
        let settled = past(&shop, DROP).await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        let log = shop.staging.log()[from..].to_vec();
        let at = |call: &str| log.iter().position(|seen| seen.starts_with(call)).unwrap_or_else(|| panic!("{call}: {log:#?}"));
        let (stopped, restored, started) = (at(&format!("stop {old}")), at("job restore"), at(&format!("start {old}")));
        assert!(at("hold") < stopped && stopped < restored && restored < started && started < at("let through"), "{log:#?}");
        assert_eq!((data.applied(), shop.staging.serving()), (vec!["0001_users.sql".to_owned()], vec!["1.0.0".to_owned()]));
        assert!(!shop.staging.is_held());
    }
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_done_again_although_the_history_looks_restored() {
    for database in databases().await {
        let (shop, data) = shop(&database.url, &[DROP.0], "automatic").await;
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.0.0".into(), exits: false });
        shop.staging.on_next("job restore", Mischief::Crash);
        let from = shop.staging.calls();
        let settled = past(&shop, DROP).await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        let restores = jobs(&shop, from).iter().filter(|call| *call == "job restore").count();
        assert_eq!((restores, data.applied()), (2, vec!["0001_users.sql".to_owned()]), "{:#?}", jobs(&shop, from));
        assert_eq!((shop.staging.serving(), shop.staging.running().len()), (vec!["1.0.0".to_owned()], 1));
    }
}
