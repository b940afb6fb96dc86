//! What people take in hand: holds, and the choices for a deployment that is stuck.

use crate::{
    support::databases::databases,
    world::{Shop, agent, person},
};
use interlock::{
    decisions::{self, Question},
    engine::decide::Direction::{self, Back, Forward},
    model::{Caller, DecisionKind, DecisionVerdict::Approve, Deployment, Event, StepId, StepState},
    store::{Claim, DeploymentChange, TrafficMove},
};
use serde_json::{Value, json};

#[tokio::test]
async fn an_agent_lifts_its_own_hold_and_a_person_any() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let id = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let held = |held: bool| json!({ "deployment": id, "held": held });
        let person_holds = async |is: bool| shop.call_as_person("hold_deployment", held(is)).await.unwrap();

        shop.must("hold_deployment", held(true)).await;
        let paused = shop.until("get_deployment", json!({ "deployment": id }), "paused").await;
        assert_eq!(paused["next_actions"][0]["tool"], "hold_deployment", "{paused:#}");
        assert_eq!(shop.must("hold_deployment", held(true)).await["held"], true, "twice is once");
        // A person takes over: now the agent cannot lift it, nor hold it in the person's place.
        assert_eq!(person_holds(true).await["held"], true);
        for arguments in [held(false), held(true)] {
            let refused = shop.call("hold_deployment", arguments).await.unwrap_err().body;
            assert_eq!(refused["code"], "denied_by_policy", "{}: {refused:#}", database.name);
            assert!(
                refused["next_actions"].to_string().contains(&format!("interlock hold-deployment {} --held false", id.as_str().unwrap()))
            );
        }
        let status = shop.must("get_status", json!({ "directive": directive })).await;
        assert_eq!((&status["waiting_on"], &status["next_actions"][0]["who"]), (&json!("person"), &json!("person")), "{status:#}");
        person_holds(false).await;
        // And an agent's hold a person lifts.
        shop.must("hold_deployment", held(true)).await;
        person_holds(false).await;
        let settled = shop.settled(&id).await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert_eq!(shop.refused("hold_deployment", held(true)).await, "wrong_state");
    }
}

#[tokio::test]
async fn nothing_holds_the_way_back() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let (stuck, _) = left_at(&shop, "1.1.0", "shift", Back, false).await;
        let held = json!({ "deployment": stuck.id, "held": true });
        assert_eq!(shop.refused("hold_deployment", held).await, "wrong_state", "{}", database.name);
    }
}

/// Leaves a deployment at a step as a server does that ends: forward it has failed, on the way back its undo is under way. Steps before
/// it are done.
pub async fn left_at(shop: &Shop, version: &str, step: &str, direction: Direction, is_stuck: bool) -> (Deployment, String) {
    let directive = shop.order("staging", version).await;
    let plan = shop.plan_in_staging(&directive).await["plan"].as_str().unwrap().into();
    let (store, by) = (&shop.engine.store, Caller::server());
    let Claim::New { deployment, lease } = store.claim_deployment(&agent(), &plan, "another-server").await.unwrap() else {
        panic!("`{plan}` cannot be claimed")
    };
    let steps: Vec<StepId> = store.journal(&deployment.id).await.unwrap().into_iter().map(|entry| entry.step).collect();
    let at = steps.iter().position(|known| known.as_str() == step).unwrap();
    for (index, step) in steps.iter().enumerate().take(at + 1) {
        let last = if direction == Forward { StepState::Failed } else { StepState::Undoing };
        for (from, to) in [(StepState::Pending, StepState::Intent), (StepState::Intent, if index == at { last } else { StepState::Done })] {
            assert!(store.write_step(&by, &deployment.id, lease.epoch, step, &[from], to, None).await.unwrap());
        }
    }
    let mut events = vec![Event::Started];
    if direction == Back {
        events.push(Event::Undo);
    }
    if is_stuck {
        events.push(Event::Lost);
    }
    let mut deployment = *deployment;
    for event in events {
        let change = DeploymentChange { undo_reason: (direction == Back).then(|| "it looked wrong".into()), ..Default::default() };
        let moved = store.transition(&by, &deployment.id, lease.epoch, deployment.state, event, change).await.unwrap();
        deployment = moved.unwrap();
    }
    (deployment, directive)
}

fn choice(deployment: &Deployment, choice: &str) -> Question {
    let subject = json!({ "deployment": deployment.id, "choice": choice, "reason": "looked at the shop" });
    Question { kind: DecisionKind::Resolve, subject, verdict: Approve }
}

#[tokio::test]
async fn a_person_chooses_for_a_stuck_deployment_and_it_goes_on() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        for (direction, chosen, settles, serves) in [
            (Forward, "retry", "succeeded", "1.1.0"),
            (Forward, "roll_back", "rolled_back", "1.0.0"),
            (Back, "retry", "rolled_back", "1.0.0"),
            (Back, "mark_done", "rolled_back", "1.0.0"),
        ] {
            let case = format!("{direction:?} {chosen} on {}", database.name);
            let version = format!("1.0.{}", rand::random::<u32>());
            shop.deploy(&version).await;
            let serves = if serves == "1.0.0" { version.clone() } else { format!("{version}-next") };
            let (stuck, _) = left_at(&shop, &format!("{version}-next"), "start-1", direction, true).await;
            let question = choice(&stuck, chosen);
            shop.sign(question.kind, question.subject, Approve).await;

            let settled = shop.settled(&json!(stuck.id)).await;
            assert_eq!((&settled["state"], shop.staging.serving()), (&json!(settles), vec![serves]), "{case}: {settled:#}");
            assert_eq!(shop.staging.running().len(), 1, "{case}");
            let step = settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == "start-1").cloned().unwrap();
            if chosen == "mark_done" {
                assert_eq!(step["output"]["decided"]["by"], "ada", "{case}: {step:#}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_marked_as_done_is_not_done_again() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let (stuck, _) = left_at(&shop, "1.1.0", "recheck", Forward, true).await;
        let question = choice(&stuck, "mark_done");
        shop.sign(question.kind, question.subject, Approve).await;
        let settled = shop.settled(&json!(stuck.id)).await;
        assert_eq!((&settled["state"], shop.staging.serving()), (&json!("succeeded"), vec!["1.1.0".to_owned()]), "{settled:#}");
        let step = &settled["steps"][0];
        assert_eq!((&step["attempt"], &step["output"]["decided"]["choice"]), (&json!(1), &json!("mark_done")), "{}", database.name);
    }
}

#[tokio::test]
async fn a_stuck_deployment_says_what_is_known_and_blocks_until_somebody_chooses() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let (stuck, directive) = left_at(&shop, "1.1.0", "shift", Back, true).await;
        let retry = format!("interlock resolve {} retry --reason \"…\"", stuck.id);

        let seen = shop.must("get_deployment", json!({ "deployment": stuck.id })).await;
        assert_eq!(seen["stuck"]["known"][0], "recheck: done", "{seen:#}");
        assert!(seen["stuck"]["unknown"].as_str().unwrap().contains("`shift` is undone"), "{seen:#}");
        assert!(seen["stuck"]["observed"].as_str().unwrap().contains("(1.0.0)"), "{seen:#}");
        assert_eq!(seen["stuck"]["choices"].as_array().unwrap().len(), 2, "{seen:#}");
        for (operation, arguments) in
            [("get_deployment", json!({ "deployment": stuck.id })), ("get_status", json!({ "directive": directive }))]
        {
            let said = shop.must(operation, arguments).await;
            assert_eq!((&said["state"], &said["next_actions"][0]["who"]), (&json!("stuck"), &json!("person")), "{said:#}");
            assert_eq!(said["next_actions"][0]["command"], retry, "{said:#}");
        }
        let overview = shop.must("get_status", json!({})).await;
        assert!(overview["next_actions"].to_string().contains(&retry.replace('"', "\\\"")), "{overview:#}");
        assert!(overview["places"][0]["under_way"].as_str().unwrap().ends_with("is stuck"), "{overview:#}");

        let other = shop.order("staging", "1.2.0").await;
        let plan = shop.plan_in_staging(&other).await["plan"].take();
        let busy = shop.call("execute_deployment", json!({ "plan": plan })).await.unwrap_err().body;
        assert_eq!((&busy["code"], &busy["who"], &busy["retryable"]), (&json!("conflict"), &json!("person"), &json!(false)), "{busy:#}");
        assert_eq!(shop.refused("rollback_deployment", json!({ "deployment": stuck.id, "reason": "away" })).await, "stuck");

        // What is no choice here, and what is not stuck.
        assert_eq!(shop.signature(&choice(&stuck, "roll_back")).await.unwrap_err().code.as_str(), "wrong_state");
        let first = shop.engine.deployment(&"dep_1".into()).await.unwrap();
        assert_eq!(shop.signature(&choice(&first, "retry")).await.unwrap_err().code.as_str(), "wrong_state");
        let mut silent = choice(&stuck, "retry");
        silent.subject["reason"] = Value::from(" ");
        assert_eq!(shop.signature(&silent).await.unwrap_err().code.as_str(), "invalid_arguments");

        // Bound to what was known: a change voids it, and so does another choice.
        let question = choice(&stuck, "retry");
        let signed = shop.signature(&question).await.unwrap();
        let code = async |question: &Question| decisions::decide(&shop.engine, &person(), question, &signed).await.map_err(|e| e.code);
        assert_eq!(code(&choice(&stuck, "mark_done")).await.unwrap_err().as_str(), "decision_refused");
        assert!(shop.engine.store.note_traffic(&person(), &stuck.id, stuck.epoch, TrafficMove::To).await.unwrap());
        assert_eq!(code(&question).await.unwrap_err().as_str(), "decision_refused", "{}", database.name);
        assert_eq!(shop.must("get_deployment", json!({ "deployment": stuck.id })).await["state"], "stuck");

        // The positive control: over what is known now, it counts, and the environment is free again.
        shop.sign(question.kind, question.subject, Approve).await;
        assert_eq!(shop.settled(&json!(stuck.id)).await["state"], "rolled_back");
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await;
        assert_eq!(shop.settled(&started["deployment"]).await["state"], "succeeded");
    }
}
