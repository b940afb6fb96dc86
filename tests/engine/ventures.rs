//! A venture through the operations, on both databases: from its stage's directive to the next stage, and what keeps it where it is.

use crate::{support::databases::databases, world::Shop};
use interlock::{
    model::{DecisionKind, DecisionVerdict},
    targets::fake::Behaviour,
};
use serde_json::{Value, json};

async fn create(shop: &Shop) {
    let venture = json!({ "name": "Corner Shop", "lifecycle_stage": 22, "workflow_stage": 30 });
    let created = shop.must("create_venture", venture.clone()).await;
    assert_eq!((&created["venture"]["id"], &created["existing"]), (&json!("corner-shop"), &json!(false)), "{created:#}");
    assert_eq!(shop.must("create_venture", venture).await["existing"], true);
}

/// Stage numbers in both lifecycles, and how the work there stands.
async fn stands(shop: &Shop) -> Vec<(i64, String)> {
    let seen = shop.must("get_venture", json!({})).await;
    assert!(seen.to_string().len() < 8 * 1024);
    let stages = seen["stages"].as_array().unwrap().iter();
    stages.map(|one| (one["stage"]["number"].as_i64().unwrap(), one["status"].as_str().unwrap().to_owned())).collect()
}

fn at(vision: i64, workflow: i64, status: &str) -> Vec<(i64, String)> {
    vec![(vision, status.into()), (workflow, status.into())]
}

#[tokio::test]
async fn a_completed_directive_takes_its_venture_one_stage_further() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        assert_eq!(shop.refused("get_venture", json!({})).await, "not_found");
        create(&shop).await;
        shop.deploy("1.0.0").await;
        assert_eq!(stands(&shop).await, at(22, 30, "not_started"), "{}: staging carries no stage", database.name);

        let settled = shop.deploy_to_production("1.0.0").await;
        let directive = settled["deployment"]["directive"].clone();
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        // Deployed, and not completed: the stage needs a runbook.
        let status = shop.must("complete_directive", json!({ "directive": directive })).await;
        assert_eq!((&status["completed"], &status["missing"]), (&json!(false), &json!(["runbook_written: missing"])), "{status:#}");
        let seen = shop.must("get_venture", json!({ "venture": "corner-shop" })).await;
        assert_eq!((&seen["state"], &seen["active"], &seen["health"]), (&json!("in_progress"), &json!(true), &json!("green")), "{seen:#}");
        assert_eq!(seen["stages"][0]["missing_artifacts"], json!(["deployment_runbook"]));
        assert_eq!((&seen["stages"][0]["directive"], &seen["next_actions"][0]["tool"]), (&directive, &json!("get_status")));

        let written = shop.must("write_runbook", json!({ "deployment": settled["deployment"]["id"] })).await;
        assert_eq!(written["state"], "in_review", "{written:#}");
        let done = shop.must("complete_directive", json!({ "directive": directive })).await;
        assert_eq!(done["completed"], true, "{done:#}");
        assert_eq!(stands(&shop).await, at(23, 31, "not_started"), "{}", database.name);
        let passed = shop.must("get_venture", json!({})).await["passed"].take();
        let passed: Vec<(&Value, &Value, &Value)> =
            passed.as_array().unwrap().iter().map(|work| (&work["stage"], &work["status"], &work["health"])).collect();
        assert_eq!(passed, [(&json!(22), &json!("completed"), &json!("green")), (&json!(30), &json!("completed"), &json!("green"))]);
        shop.must("complete_directive", json!({ "directive": directive })).await;
        assert_eq!(stands(&shop).await, at(23, 31, "not_started"), "asking again moves nothing");
    }
}

#[tokio::test]
async fn a_rejected_or_failed_deployment_leaves_the_stage_blocked() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        create(&shop).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("production", "1.0.0").await;
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), DecisionVerdict::Approve).await;
        shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        let plan = shop.must("plan_deployment", json!({ "directive": directive })).await["plan"].take();
        assert_eq!(stands(&shop).await, at(22, 30, "in_progress"));
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Reject).await;
        assert_eq!(stands(&shop).await, at(22, 30, "blocked"), "{}: rejected", database.name);
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
        assert_eq!(stands(&shop).await, at(22, 30, "in_progress"));
        shop.production.behave("1.0.0", Behaviour { status: 200, shows: "another".into(), exits: false });
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&deployment).await["state"], "rolled_back");
        shop.rest().await;
        assert_eq!(stands(&shop).await, at(22, 30, "blocked"), "failed");
        let seen = shop.must("get_venture", json!({})).await;
        assert_eq!((&seen["state"], &seen["health"]), (&json!("blocked"), &json!("red")), "{seen:#}");
        let work = shop.engine.store.stage_work("corner-shop").await.unwrap();
        assert!(work.iter().all(|work| work.health.as_deref() == Some("red")), "{work:?}");
    }
}

#[tokio::test]
async fn a_stage_is_never_skipped() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        create(&shop).await;
        for leap in [
            json!({ "name": "Corner Shop", "lifecycle_stage": 21 }),
            json!({ "name": "Corner Shop", "workflow_stage": 29 }),
            json!({ "name": "Late", "lifecycle_stage": 23 }),
            json!({ "name": "Late", "workflow_stage": 31 }),
        ] {
            assert_eq!(shop.refused("create_venture", leap.clone()).await, "stage_skipped", "{leap}");
        }
        let refused = shop.call("create_venture", json!({ "name": "Corner Shop", "lifecycle_stage": 1 })).await.unwrap_err().body;
        assert!(refused["message"].as_str().unwrap().contains("stands at stage 22 of vision_v2, not at 1"), "{refused:#}");
        for wrong in [
            json!({ "name": " " }),
            json!({ "name": "x", "lifecycle_stage": 0 }),
            json!({ "name": "x", "workflow_stage": 41 }),
            json!({ "name": "x", "venture": "../x" }),
        ] {
            assert_eq!(shop.refused("create_venture", wrong.clone()).await, "invalid_arguments", "{wrong}");
        }
        assert_eq!(shop.refused("create_venture", json!({ "name": "Other", "venture": "corner-shop" })).await, "wrong_state");
        assert_eq!(stands(&shop).await, at(22, 30, "not_started"), "{}", database.name);
        let nobodys =
            json!({ "service": "web", "environment": "staging", "version": "9.0.0", "artifact": "interlock.toml", "venture": "none" });
        assert_eq!(shop.refused("create_directive", nobodys).await, "not_found");
    }
}

/// The shop's configuration with staging under the phase of stage 22.
fn under_stage_22(shop: &Shop) -> String {
    format!("{}\n[environments.staging]\nphase = \"stage-22\"\n", shop.text)
}

#[tokio::test]
async fn a_directive_under_a_stages_phase_is_that_stages_work_and_no_other() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&under_stage_22(&shop)).await;
        shop.must("create_venture", json!({ "name": "Early", "lifecycle_stage": 21, "workflow_stage": 5 })).await;
        shop.must("create_venture", json!({ "name": "Ready", "lifecycle_stage": 22, "workflow_stage": 4 })).await;
        let order = |venture: Option<&str>| {
            let mut order = json!({ "service": "web", "environment": "staging", "version": "1.0.0", "artifact": "interlock.toml" });
            if let Some(venture) = venture {
                order["venture"] = json!(venture);
            }
            order
        };
        // The active one is the furthest in the workflow.
        for early in [None, Some("early")] {
            let refused = shop.call("create_directive", order(early)).await.unwrap_err().body;
            assert_eq!(refused["code"], "stage_skipped", "{}: {refused:#}", database.name);
            let said = "`early` stands at stage 21 of vision_v2; `stage-22` is the work of stage 22, and no stage is skipped";
            assert_eq!(refused["message"], said);
        }
        let ready = shop.must("create_directive", order(Some("ready"))).await;
        assert_eq!(ready["directive"]["venture"], "ready", "{ready:#}");
        let work = shop.engine.store.stage_work("ready").await.unwrap();
        let carried: Vec<_> = work.iter().map(|work| (work.lifecycle.as_str(), work.stage, work.status.as_str())).collect();
        assert_eq!(carried, [("vision_v2", 22, "in_progress")], "stage 4 of the workflow asks for no directive");
        assert_eq!(shop.engine.store.stage_work("early").await.unwrap(), []);
    }
}
