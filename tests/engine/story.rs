//! From directive to verified production and its runbook, and back, on both databases.

use crate::{
    support::databases::databases,
    world::{JUNIT, Shop},
};
use interlock::{
    model::{DecisionKind, DecisionVerdict::*},
    targets::fake::Behaviour,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_release_goes_from_directive_to_production_and_its_runbook() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;

        let directive = shop.order("staging", "1.0.0").await;
        let asked = json!({ "directive": directive });
        assert_eq!(shop.must("get_status", asked.clone()).await["state"], "open");
        assert_eq!(shop.must("run_predeploy_checks", asked.clone()).await["state"], "gates_failing");
        assert_eq!(shop.refused("plan_deployment", asked.clone()).await, "gate_failed");
        let recorded = shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": JUNIT })).await;
        assert_eq!(recorded["state"], "checked", "{recorded:#}");
        let planned = shop.must("plan_deployment", asked.clone()).await;
        assert_eq!(planned["state"], "planned", "{planned:#}");
        let plan = json!({ "plan": planned["plan"] });
        let started = shop.must("execute_deployment", plan.clone()).await;
        let settled = shop.settled(&started["deployment"]).await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert!(settled["steps"].as_array().unwrap().iter().all(|step| step["state"] == "done"), "{settled:#}");
        let again = shop.must("execute_deployment", plan).await;
        assert_eq!((&again["deployment"], &again["existing"]), (&started["deployment"], &json!(true)));
        shop.until("get_status", asked, "completed").await;
        assert_eq!((shop.staging.versions(), shop.staging.running().len()), (vec!["1.0.0".to_owned()], 1));
        assert_eq!(shop.production.versions(), [""; 0]);

        let directive = shop.order("production", "1.0.0").await;
        let asked = json!({ "directive": directive });
        let checked = shop.must("run_predeploy_checks", asked.clone()).await;
        assert_eq!(checked["next_actions"][0]["command"], format!("interlock sign-off {directive} uat"), "{checked:#}");
        assert_eq!(shop.refused("plan_deployment", asked.clone()).await, "gate_failed");
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), Approve).await;
        shop.must("run_predeploy_checks", asked.clone()).await;
        let planned = shop.must("plan_deployment", asked.clone()).await;
        assert_eq!(planned["state"], "awaiting_approval", "{planned:#}");
        let plan = json!({ "plan": planned["plan"] });
        let refused = shop.call("execute_deployment", plan.clone()).await.unwrap_err().body;
        assert_eq!(refused["code"], "approval_required");
        let wait = refused["next_actions"].as_array().unwrap().iter().find(|action| action["tool"] == "get_status");
        assert_eq!(wait.unwrap()["arguments"], json!({ "directive": directive, "wait_seconds": 45 }), "{refused:#}");
        let waits = shop.must("get_status", asked.clone()).await;
        assert_eq!((&waits["waiting_on"], &waits["safe_to_stop"]), (&json!("person"), &json!(true)));
        assert_eq!(shop.production.calls(), 0, "nothing is touched before the signature");
        shop.sign(DecisionKind::Plan, planned["plan"].clone(), Approve).await;
        let started = shop.must("execute_deployment", plan).await;
        let settled = shop.settled(&started["deployment"]).await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert_eq!(shop.production.serving(), ["1.0.0"]);

        shop.until("get_status", asked.clone(), "deployed").await;
        let open = shop.must("complete_directive", asked.clone()).await;
        assert_eq!((&open["completed"], &open["missing"]), (&json!(false), &json!(["runbook_written: missing"])), "{open:#}");
        let written = shop.must("write_runbook", json!({ "deployment": started["deployment"], "notes": "Watch the till." })).await;
        assert_eq!(written["state"], "in_review", "{written:#}");
        let runbook = json!({ "runbook": written["runbook"] });
        assert!(shop.must("get_runbook", runbook.clone()).await["text"].as_str().unwrap().contains("Watch the till."));
        shop.sign(DecisionKind::Runbook, written["runbook"].clone(), Approve).await;
        assert_eq!(shop.must("get_runbook", runbook).await["state"], "published");
        let completed = shop.must("complete_directive", asked.clone()).await;
        assert_eq!((&completed["state"], &completed["completed"]), (&json!("completed"), &json!(true)), "{completed:#}");
        assert_eq!(shop.must("get_status", asked).await["next_actions"], json!([]));

        let audit = shop.engine.store.audit_verify().await.unwrap();
        assert!(audit.broken.is_none() && audit.entries > 40, "{audit:?}");
    }
}

#[tokio::test]
async fn a_rejected_plan_stays_refused_and_its_reason_reaches_the_agent() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("production", "1.0.0").await;
        let asked = json!({ "directive": directive });
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), Approve).await;
        shop.must("run_predeploy_checks", asked.clone()).await;
        let plan = shop.must("plan_deployment", asked.clone()).await["plan"].take();

        shop.sign(DecisionKind::Plan, plan.clone(), Reject).await;

        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_rejected");
        let refused = shop.call("plan_deployment", asked.clone()).await.unwrap_err().body;
        assert!(refused["message"].as_str().unwrap().contains("not this week"), "{refused:#}");
        assert_eq!(shop.must("get_status", asked).await["state"], "rejected");
        assert_eq!(shop.production.calls(), 0);
    }
}

#[tokio::test]
async fn a_rollback_on_demand_goes_one_back_and_never_further() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            assert_eq!(shop.deploy(version).await["state"], "succeeded");
        }
        let asked = json!({ "service": "web", "environment": "staging", "reason": "the till is empty" });

        let first = shop.must("rollback_deployment", asked.clone()).await;
        let settled = shop.settled(&first["deployment"]).await;
        let second = shop.must("rollback_deployment", asked).await;

        assert_eq!((&settled["state"], &settled["deployment"]["version"]), (&json!("succeeded"), &json!("1.1.0")), "{settled:#}");
        assert_eq!((&first["existing"], &second["existing"]), (&json!(false), &json!(true)));
        assert_eq!(first["deployment"], second["deployment"]);
        let mut versions = shop.staging.versions();
        versions.dedup();
        assert_eq!(versions, ["1.0.0", "1.1.0", "1.2.0", "1.1.0"]);
        assert_eq!(shop.staging.running().len(), 1);
        let listed = shop.must("list_deployments", json!({})).await;
        let states: Vec<&Value> = listed["deployments"].as_array().unwrap().iter().map(|deployment| &deployment["version"]).collect();
        assert_eq!(states, ["1.1.0", "1.2.0", "1.1.0", "1.0.0"]);
    }
}

#[tokio::test]
async fn a_release_that_shows_another_version_never_gets_traffic() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.0.0".into(), exits: false });

        let settled = shop.deploy("1.1.0").await;

        assert_eq!((&settled["state"], &settled["deployment"]["failure_code"]), (&json!("rolled_back"), &json!("wrong_version")));
        assert_eq!(settled["incidents"][0]["rule"], "DEPLOY-001");
        assert_eq!((shop.staging.versions(), shop.staging.running().len()), (vec!["1.0.0".to_owned()], 1));
    }
}
