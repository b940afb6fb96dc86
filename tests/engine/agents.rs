//! An agent that knows nothing but `next_actions`, and people who sign what they are asked for: every built-in phase to its end, and the
//! ways to leave one out.

use crate::{
    support::{
        agent::{Agent, Ground, assessment},
        databases::databases,
    },
    world::{Repository, Shop},
};
use interlock::model::{DecisionKind, DecisionVerdict::Approve, Sha256};
use serde_json::{Value, json};

/// Returns the shop's configuration with this phase in production.
pub fn under(shop: &Shop, phase: &str) -> String {
    // Nobody waits here until the log of staging has lasted.
    let text = shop.text.replace("alerts = \"off\"\n", "logs = { minutes = \">= 0\" }\n");
    text.replace("[environments.production]\n", &format!("[environments.production]\nphase = \"{phase}\"\n"))
}

/// The agent calls in this process, and the chairman signs.
impl Ground for &Shop {
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Value> {
        Shop::call(self, tool, arguments).await.map_err(|refused| refused.body)
    }

    async fn sign(&mut self, kind: DecisionKind, subject: Value) {
        Shop::sign(self, kind, subject, Approve).await;
    }
}

/// Follows what each reply offers until the directive is completed; returns every step that was shown as skipped.
pub async fn drive(shop: &Shop, directive: &str) -> Vec<String> {
    let mut agent = Agent::on(shop);
    let seen = agent.must("get_status", json!({ "directive": directive })).await;
    agent.drive(directive, seen, "completed").await;
    agent.skipped
}

#[tokio::test]
async fn production_under_the_deployment_plan_is_planned_with_an_assessment_that_is_signed_with_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&under(&shop, "deployment-plan")).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("production", "1.0.0").await;
        shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        let status = shop.must("get_status", json!({ "directive": directive })).await;
        let offered = &status["next_actions"][0];
        assert_eq!((&offered["tool"], offered["arguments"]["assessment"].is_object()), (&json!("plan_deployment"), true), "{status:#}");

        let plan = async |arguments: Value| shop.call("plan_deployment", arguments).await;
        let refused = plan(json!({ "directive": directive })).await.unwrap_err();
        assert_eq!(refused.error.code.as_str(), "invalid_arguments");
        assert!(refused.error.hint.contains("classification"), "{refused:?}");
        // A template sent back as it came says nothing.
        assert_eq!(plan(offered["arguments"].clone()).await.unwrap_err().error.code.as_str(), "invalid_arguments");
        let mut thin = assessment();
        thin["threats"] = json!([]);
        let refused = plan(json!({ "directive": directive, "assessment": thin })).await.unwrap_err();
        assert!(refused.error.message.contains("`threats` has 0 entries"), "{refused:?}");

        let first = plan(json!({ "directive": directive, "assessment": assessment() })).await.unwrap();
        let again = plan(json!({ "directive": directive })).await.unwrap();
        assert_eq!((&again["plan"], &again["existing"]), (&first["plan"], &json!(true)), "what was said stands: {again:#}");
        let mut other = assessment();
        other["risk"] = "high".into();
        let changed = plan(json!({ "directive": directive, "assessment": other })).await.unwrap();
        assert_ne!(changed["sha256"], first["sha256"], "an approval of one is none of the other");
        let id = changed["plan"].as_str().unwrap().into();
        let record = shop.engine.store.plan(&id).await.unwrap().unwrap();
        assert_eq!(serde_json::to_value(record.plan.assessment).unwrap(), other, "{}", database.name);
        // Staging asks nobody, and nothing is assessed there.
        assert!(shop.engine.store.plans_of(&directive.as_str().into()).await.unwrap().len() == 2);
    }
}

#[tokio::test]
async fn every_phase_goes_from_its_directive_to_its_end_by_what_it_offers() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        for (index, phase) in ["phase-06", "stage-22", "stage-30", "deployment-operations", "deployment-plan"].into_iter().enumerate() {
            let version = format!("1.{index}.0");
            shop.configure(&under(&shop, phase)).await;
            shop.deploy(&version).await;
            let directive = shop.order("production", &version).await;
            let skipped = drive(&shop, &directive).await;
            assert_eq!(shop.production.serving(), [version.as_str()], "{phase} on {}", database.name);
            let of = |step: &str| skipped.iter().any(|skipped| skipped.starts_with(step));
            match phase {
                "stage-30" => assert!(of("backup: `keeps_data` does not hold"), "{skipped:?}"),
                "deployment-operations" => assert!(of("setup-backup-recovery") && of("train-operations-team"), "{skipped:?}"),
                _ => assert!(skipped.is_empty(), "{phase}: {skipped:?}"),
            }
            if phase == "deployment-operations" {
                let guidance = interlock::phases::builtin(phase).unwrap().render();
                assert!(["1 to 2 hours", "4 to 8 hours", "1 to 2 days"].iter().all(|said| guidance.contains(said)), "{guidance}");
            }
            // What the phase puts at risk stands in the plan that was signed, and where it was read.
            let plans = shop.engine.store.plans_of(&directive.as_str().into()).await.unwrap();
            let risk = plans[0].plan.phase.as_ref().and_then(|planned| planned.risk);
            assert_eq!(risk, (phase == "stage-30").then_some(4), "{phase}");
            let facts = shop.engine.store.sign_offs(&directive.as_str().into()).await.unwrap();
            let signed: Vec<&str> = facts.iter().map(|sign_off| sign_off.fact.as_str()).collect();
            let expected: &[&str] = match phase {
                "phase-06" => &["alerts", "alerts_after", "uat"],
                "stage-22" => &["infrastructure", "monitoring", "uat"],
                "stage-30" => &["alerts_after", "monitoring", "no_data", "release"],
                "deployment-operations" => &["alerts_after", "monitoring", "no_data", "no_handover", "uat"],
                _ => &["monitoring"],
            };
            assert!(expected.iter().all(|fact| signed.contains(fact)), "{phase}: {signed:?}");
        }
    }
}

#[tokio::test]
async fn what_a_phase_was_given_and_hands_on_is_kept_with_its_directive() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&under(&shop, "phase-06")).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("production", "1.0.0").await;
        let id = directive.as_str().into();
        let of_it = async || shop.engine.store.artifacts(&id).await.unwrap().into_iter().find(|artifact| artifact.name == "handoff");
        let mut agent = Agent::on(&shop);
        let seen = agent.must("get_status", json!({ "directive": directive })).await;
        agent.drive(&directive, seen, "succeeded").await;
        assert!(of_it().await.is_none(), "nothing is handed on before the end: {}", database.name);
        let seen = agent.must("get_status", json!({ "directive": directive })).await;
        agent.drive(&directive, seen, "completed").await;

        let kept = of_it().await.unwrap();
        assert_eq!(kept.path, "docs/handoff/production-web.json");
        let text = std::fs::read_to_string(shop.engine.workspace.root.join(&kept.path)).unwrap();
        assert_eq!(kept.sha256, Sha256::of(text.as_bytes()));
        let handoff: Value = serde_json::from_str(&text).unwrap();
        let phase = &handoff["phase"]["name"];
        assert_eq!(
            (phase, &handoff["received"]["from"], &handoff["handed_on"]["to"]),
            (&json!("phase-06"), &json!(["phase-05"]), &json!(["phase-07", "phase-10"]))
        );
        let gates = handoff["received"]["gates"].as_array().unwrap();
        let sign_off = gates.iter().find(|gate| gate["gate"] == "sign_off").unwrap();
        assert_eq!(sign_off["verdict"], "pass", "{handoff:#}");
        let artifacts = shop.engine.store.artifacts(&id).await.unwrap();
        assert_eq!(handoff["handed_on"]["artifacts"].as_array().unwrap().len(), artifacts.len() - 1, "{handoff:#}");
        let deployment = shop.must("list_deployments", json!({ "environment": "production" })).await["deployments"][0]["id"].take();
        assert_eq!((&handoff["deployment"], &handoff["version"]), (&deployment, &json!("1.0.0")));
    }
}

#[tokio::test]
async fn what_needs_no_deployment_is_skipped_with_its_reason_and_only_by_what_the_record_shows() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let repository = Repository::of(&shop);
        repository.commit("main.rs", "fn main() {}");
        shop.configure(&under(&shop, "deployment-operations")).await;
        shop.deploy("1.0.0").await;
        let first = shop.order("production", "1.0.0").await;
        drive(&shop, &first).await;
        let status = async |directive: &str| shop.must("get_status", json!({ "directive": directive })).await;

        repository.commit("README.md", "# Shop");
        let documented = shop.order("production", "1.1.0").await;
        let seen = status(&documented).await;
        let expected = json!({ "fact": "documentation_only", "reason": "nothing but documentation has changed" });
        assert_eq!((&seen["state"], &seen["should_skip"]), (&json!("nothing_to_deploy"), &expected), "{seen:#}");
        assert_eq!((&seen["can_execute"], &seen["requires_deployment"]), (&json!(false), &json!(false)));
        let done = shop.must("complete_directive", json!({ "directive": documented })).await;
        assert_eq!(done["completed"], true, "{done:#}");
        assert!(done["summary"].as_str().unwrap().ends_with("without a deployment: nothing but documentation has changed"), "{done:#}");
        let skip = shop.engine.store.phase_skip(&documented.as_str().into()).await.unwrap().unwrap();
        assert_eq!((skip.fact.as_str(), skip.by.as_str()), ("documentation_only", "agent"), "{}", database.name);
        assert_eq!(shop.production.serving(), ["1.0.0"]);

        // Code is code, whatever an agent says of it.
        repository.commit("main.rs", "fn main() { loop {} }");
        let code = shop.order("production", "1.2.0").await;
        let seen = status(&code).await;
        assert_eq!((&seen["should_skip"], &seen["requires_deployment"]), (&Value::Null, &json!(true)), "{seen:#}");
        assert_eq!(seen["can_execute"], false, "nobody has accepted it yet");
        let refused = shop.must("complete_directive", json!({ "directive": code })).await;
        assert_eq!(refused["completed"], false, "{refused:#}");
        shop.sign(DecisionKind::SignOff, json!({ "directive": code, "fact": "uat" }), Approve).await;
        assert_eq!(status(&code).await["can_execute"], true);
        shop.sign(DecisionKind::SignOff, json!({ "directive": code, "fact": "documentation_only" }), Approve).await;
        assert_eq!(status(&code).await["should_skip"]["fact"], "documentation_only", "a person may say so");

        repository.begin_again();
        repository.commit("interlock.toml", &shop.text);
        let configured = shop.order("production", "1.3.0").await;
        assert_eq!(status(&configured).await["should_skip"]["fact"], "configuration_only");

        repository.begin_again();
        let again = shop.order("production", "1.0.0").await;
        assert_ne!(again, first);
        let reason = status(&again).await["should_skip"]["reason"].take();
        assert!(reason.as_str().is_some_and(|reason| reason.starts_with("these bytes serve here already: dep_")), "{reason}");
    }
}

#[tokio::test]
async fn a_place_that_nobody_approves_for_serves_development_and_skips_operations() {
    let databases = databases().await;
    let shop = Shop::open(&databases[0].url).await;
    shop.configure(&format!("{}\n[environments.staging]\nphase = \"deployment-operations\"\n", shop.text)).await;
    let directive = shop.order("staging", "1.0.0").await;
    let seen = shop.must("get_status", json!({ "directive": directive })).await;
    assert_eq!((&seen["should_skip"]["fact"], &seen["requires_deployment"]), (&json!("development_only"), &json!(true)), "{seen:#}");
    // It may be deployed all the same, and then nothing skips it any more.
    let plan = shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": crate::world::JUNIT })).await;
    assert!(plan["code"].is_null(), "{plan:#}");
    shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), Approve).await;
    shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    let plan = shop.must("plan_deployment", json!({ "directive": directive })).await["plan"].take();
    let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
    shop.settled(&deployment).await;
    let seen = shop.must("get_status", json!({ "directive": directive })).await;
    assert!(seen["should_skip"].is_null() && seen["state"] != "nothing_to_deploy", "{seen:#}");
}
