//! An operation that only reads leaves every table as it was, in every situation it can be asked about.

use crate::{
    support::databases::{TestDatabase, databases},
    world::Shop,
};
use interlock::{
    model::{DecisionKind, DecisionVerdict},
    operations::{self, Effect},
    targets::fake::Behaviour,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection};
use std::collections::BTreeMap;

#[tokio::test]
async fn every_table_is_the_same_before_and_after_an_operation_that_reads() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let seen = situations(&shop).await;
        let mut calls = 0;
        for entry in operations::all().into_iter().filter(|entry| entry.effect == Effect::Reads) {
            let all_arguments = arguments_of(entry.name, &seen);
            assert!(!all_arguments.is_empty(), "nothing is known to ask `{}`", entry.name);
            for arguments in all_arguments {
                let before = dump(&database).await;
                let _ = shop.call(entry.name, arguments.clone()).await;
                let after = dump(&database).await;
                assert!(before == after, "`{}` {arguments} changed {:?} on {}", entry.name, changed(&before, &after), database.name);
                calls += 1;
            }
        }
        assert!(calls > 20, "only {calls} calls");
        let full = dump(&database).await.into_iter().filter(|(_, rows)| !rows.is_empty()).count();
        assert!(full >= 18, "only {full} tables hold rows: {:?}", dump(&database).await.keys());
    }
}

#[tokio::test]
async fn the_dump_sees_what_other_operations_record() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let seen = situations(&shop).await;
        let (deployment, open) = (&seen.deployments[0], &seen.open);
        let calls = [
            ("create_directive", json!({ "service": "web", "environment": "staging", "version": "9.0.0", "artifact": "interlock.toml" })),
            ("run_predeploy_checks", json!({ "directive": open })),
            ("verify_deployment", json!({ "deployment": deployment })),
            ("write_runbook", json!({ "deployment": deployment })),
            ("cancel_directive", json!({ "directive": open, "reason": "not needed" })),
        ];
        for (operation, arguments) in calls {
            let before = dump(&database).await;
            shop.must(operation, arguments).await;
            let after = dump(&database).await;
            let changed = changed(&before, &after);
            assert!(changed.contains(&"audit_log") && changed.len() > 1, "`{operation}` changed {changed:?} on {}", database.name);
        }
    }
}

/// What there is to ask about.
struct Situations {
    /// Completed, taken back on demand, failed, waiting for approval, not checked yet.
    directives: Vec<String>,
    /// The last of these.
    open: String,
    /// A rollback, the deployment it went back to, the one it took back, one that failed.
    deployments: Vec<Value>,
    runbook: Value,
}

/// Brings the shop through everything that leaves rows: success, failure, rollback, a request that waits, a signature, a runbook.
async fn situations(shop: &Shop) -> Situations {
    shop.must("create_venture", json!({ "name": "Shop", "lifecycle_stage": 22, "workflow_stage": 30 })).await;
    let first = shop.deploy("1.0.0").await;
    let second = shop.deploy("1.1.0").await;
    let asked = json!({ "deployment": second["deployment"]["id"], "reason": "the till is empty" });
    let back = shop.must("rollback_deployment", asked).await["deployment"].take();
    shop.settled(&back).await;
    shop.staging.behave("1.2.0", Behaviour { status: 200, shows: "another".into(), exits: false });
    let failed = shop.deploy("1.2.0").await;
    let waiting = shop.order("production", "1.0.0").await;
    shop.sign(DecisionKind::SignOff, json!({ "directive": waiting, "fact": "uat" }), DecisionVerdict::Approve).await;
    shop.must("run_predeploy_checks", json!({ "directive": waiting })).await;
    assert_eq!(shop.must("plan_deployment", json!({ "directive": waiting })).await["state"], "awaiting_approval");
    let runbook = shop.must("write_runbook", json!({ "deployment": first["deployment"]["id"] })).await["runbook"].take();
    let open = shop.order("staging", "1.3.0").await;
    shop.until("get_status", json!({ "directive": first["deployment"]["directive"] }), "completed").await;
    shop.rest().await;
    let id = |seen: &Value| seen["deployment"]["id"].clone();
    let directive = |seen: &Value| seen["deployment"]["directive"].as_str().unwrap().to_owned();
    Situations {
        directives: vec![directive(&first), directive(&second), directive(&failed), waiting, open.clone()],
        open,
        deployments: vec![back, id(&first), id(&second), id(&failed)],
        runbook,
    }
}

/// Returns everything worth asking an operation, what is refused included.
fn arguments_of(operation: &str, seen: &Situations) -> Vec<Value> {
    let each = |of: &dyn Fn(&Value) -> Value| seen.deployments.iter().map(of).collect::<Vec<Value>>();
    match operation {
        "get_status" => {
            let overviews =
                [json!({}), json!({ "service": "web" }), json!({ "environment": "production" }), json!({ "directive": "SD-NONE" })];
            let waits = json!({ "directive": seen.open, "wait_seconds": 1 });
            let directives = seen.directives.iter().map(|directive| json!({ "directive": directive }));
            directives.chain(overviews).chain([waits, json!({ "wait_seconds": 1, "since": "another" })]).collect()
        }
        "get_deployment" => {
            let plain = each(&|deployment| json!({ "deployment": deployment }));
            let detailed = each(&|deployment| json!({ "deployment": deployment, "detail": true, "wait_seconds": 1, "until": "settled" }));
            plain.into_iter().chain(detailed).chain([json!({ "deployment": "dep_none" })]).collect()
        }
        "list_deployments" => vec![
            json!({}),
            json!({ "service": "web", "environment": "staging", "state": "succeeded", "limit": 1 }),
            json!({ "state": "unheard of" }),
        ],
        "get_runbook" => vec![
            json!({ "runbook": seen.runbook, "comments": true }),
            json!({ "runbook": seen.runbook, "version": 1 }),
            json!({ "runbook": "none" }),
        ],
        "get_venture" => vec![json!({}), json!({ "venture": "shop" }), json!({ "venture": "none" })],
        "get_metrics" => vec![
            json!({}),
            json!({ "days": 1, "by": "service,environment,caller" }),
            json!({ "environment": "staging", "caller": "agent", "format": "csv" }),
            json!({ "days": 0 }),
        ],
        "read_log" => each(&|deployment| json!({ "deployment": deployment, "tail": 5, "grep": "log" })),
        _ => Vec::new(),
    }
}

/// Every row of every table, as text.
type Dump = BTreeMap<String, Vec<String>>;

async fn dump(database: &TestDatabase) -> Dump {
    let is_sqlite = database.file().is_some();
    let mut connection = database.outside().await;
    let tables = if is_sqlite {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
    } else {
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
    };
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    let mut dump = Dump::new();
    for table in tables {
        let row = if is_sqlite {
            let columns = format!("SELECT name FROM pragma_table_info('{table}')");
            let columns: Vec<String> = sqlx::query_scalar(AssertSqlSafe(columns)).fetch_all(&mut connection).await.unwrap();
            columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ',' || ")
        } else {
            format!("CAST(row_to_json({table}) AS TEXT)")
        };
        let rows = format!("SELECT {row} FROM {table} ORDER BY 1");
        dump.insert(table, sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap());
    }
    connection.close().await.unwrap();
    dump
}

fn changed<'a>(before: &'a Dump, after: &Dump) -> Vec<&'a str> {
    before.iter().filter(|(table, rows)| after.get(*table) != Some(rows)).map(|(table, _)| table.as_str()).collect()
}

#[tokio::test]
async fn where_a_person_begins_every_step_no_reading_offers_one_to_an_agent() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        for (version, progression) in [("1.0.0", "assisted"), ("1.1.0", "manual")] {
            // No smoke check is answered so: what failed offers to look at the gates again.
            let text = shop.text.replace("contains = \"hello\"", "contains = \"goodbye\"");
            shop.configure(&format!("{text}\n[environments.staging]\nprogression = \"{progression}\"\n")).await;
            let directive = shop.order("staging", version).await;
            let by_person = async |step: &str, arguments: Value| shop.call_as_person(step, arguments).await.unwrap();
            by_person("record_evidence", json!({ "directive": directive, "kind": "tests", "content": crate::world::JUNIT })).await;
            by_person("run_predeploy_checks", json!({ "directive": directive })).await;
            let plan = by_person("plan_deployment", json!({ "directive": directive })).await["plan"].take();
            let deployment = by_person("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
            let settled = shop.settled(&deployment).await;
            assert_eq!(settled["deployment"]["failure_code"], "smoke_failed", "{}: {settled:#}", database.name);
            let of = |seen: &Value| {
                let mut actions = seen["next_actions"].as_array().unwrap().iter();
                let again = actions.find(|action| action["why"].as_str().unwrap().contains("secrets again")).unwrap();
                (again["who"].clone(), again["tool"].clone(), again["command"].clone())
            };
            let command = json!(format!("interlock run-predeploy-checks --directive {directive}"));
            let expected = match progression {
                "manual" => (json!("person"), Value::Null, command),
                _ => (json!("agent"), json!("run_predeploy_checks"), Value::Null),
            };
            assert_eq!(of(&settled), expected, "{progression}");
            assert_eq!(of(&shop.must("get_status", json!({ "directive": directive })).await), expected, "{progression}");
        }
    }
}
