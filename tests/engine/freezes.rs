//! Freezes: what is frozen does not go on, the way back always does, and only a signature lets it thaw.

use crate::{
    support::databases::databases,
    world::{Shop, agent, person},
};
use interlock::{
    decisions::{self, Question},
    engine::freezing::FreezeRequest,
    model::{DecisionKind, DecisionVerdict::Approve, recurrence::instant_of},
};
use serde_json::{Value, json};
use std::time::Instant;

async fn freeze(shop: &Shop, request: FreezeRequest) -> String {
    shop.engine.freeze(&person(), request).await.unwrap().id
}

fn now(environment: &str) -> FreezeRequest {
    FreezeRequest { environment: Some(environment.into()), reason: "the till is empty".into(), ..Default::default() }
}

async fn planned(shop: &Shop, version: &str) -> (Value, Value) {
    let directive = shop.order("staging", version).await;
    let plan = shop.plan_in_staging(&directive).await["plan"].take();
    (json!({ "directive": directive }), json!({ "plan": plan }))
}

#[tokio::test]
async fn a_freeze_is_refused_to_agents_shown_to_all_and_lifted_by_a_signature() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (directive, plan) = planned(&shop, "1.0.0").await;
        let id = freeze(&shop, FreezeRequest { environment: None, ..now("staging") }).await;

        let refused = shop.call("execute_deployment", plan.clone()).await.unwrap_err().body;
        assert_eq!((&refused["code"], &refused["who"]), (&json!("frozen"), &json!("person")), "{refused:#}");
        let lift = format!("interlock unfreeze {id}");
        assert_eq!(refused["next_actions"][0]["command"], lift, "{refused:#}");
        let status = shop.must("get_status", directive.clone()).await;
        assert_eq!((&status["waiting_on"], &status["next_actions"][0]["command"]), (&json!("person"), &json!(lift)), "{status:#}");
        assert!(status["summary"].as_str().unwrap().contains("the till is empty"), "{status:#}");
        let overview = shop.must("get_status", json!({})).await;
        assert!(overview["places"].as_array().unwrap().iter().all(|place| place["frozen"].as_str().unwrap().contains(&id)), "{overview:#}");
        assert!(overview["next_actions"].to_string().contains(&lift), "{overview:#}");
        assert!(overview.to_string().len() <= 2048, "{overview}");
        assert_eq!(shop.staging.calls(), 0);

        // Lifted in one place, it holds in the others.
        shop.sign(DecisionKind::Unfreeze, json!({ "freeze": id, "environment": "staging" }), Approve).await;
        let listed = shop.engine.freezes().await.unwrap();
        assert_eq!((&listed["freezes"][0]["in_force"], &listed["freezes"][0]["lifted_in"]), (&json!(true), &json!(["staging"])));
        let started = shop.must("execute_deployment", plan).await;
        assert_eq!(shop.settled(&started["deployment"]).await["state"], "succeeded");
        let overview = shop.must("get_status", json!({})).await;
        let frozen: Vec<&Value> = overview["places"].as_array().unwrap().iter().filter(|place| !place["frozen"].is_null()).collect();
        assert!(matches!(frozen.as_slice(), [place] if place["environment"] == "production"), "{overview:#}");
        shop.sign(DecisionKind::Unfreeze, json!(id), Approve).await;
        assert_eq!(shop.engine.freezes().await.unwrap()["freezes"], json!([]));
        let question = Question { kind: DecisionKind::Unfreeze, subject: json!(id), verdict: Approve };
        assert_eq!(shop.signature(&question).await.unwrap_err().code.as_str(), "wrong_state");
    }
}

#[tokio::test]
async fn a_freeze_that_begins_mid_deployment_pauses_it_and_it_goes_on_by_itself() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let (directive, plan) = planned(&shop, "1.1.0").await;
        let deployment = shop.must("execute_deployment", plan).await["deployment"].take();
        let asked = json!({ "deployment": deployment });
        let held = |held: bool| json!({ "deployment": deployment, "held": held });
        shop.must("hold_deployment", held(true)).await;
        shop.until("get_deployment", asked.clone(), "paused").await;
        let id = freeze(&shop, now("staging")).await;
        shop.must("hold_deployment", held(false)).await;
        let until = Instant::now() + crate::world::PATIENCE;
        let paused = loop {
            let seen = shop.must("get_deployment", asked.clone()).await;
            if seen["state"] == "paused" && seen["deployment"]["held_by"].is_null() {
                break seen;
            }
            assert!(Instant::now() < until, "{seen:#}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        let before = shop.staging.log();
        assert!(paused["summary"].as_str().unwrap().contains(&format!("frozen: {id}")), "{paused:#}");
        assert_eq!(paused["next_actions"][0]["command"], format!("interlock unfreeze {id}"), "{paused:#}");
        // It may have been seen between the end of the hold and the look that finds the freeze.
        let status = shop.until("get_status", directive, "paused").await;
        assert_eq!((&status["state"], &status["waiting_on"], &status["safe_to_stop"]), (&json!("paused"), &json!("person"), &json!(true)));
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert_eq!(shop.staging.log(), before, "nothing is changed while it is frozen");

        shop.sign(DecisionKind::Unfreeze, json!(id), Approve).await;
        let settled = shop.settled(&deployment).await;
        assert_eq!((&settled["state"], shop.staging.serving()), (&json!("succeeded"), vec!["1.1.0".to_owned()]), "{settled:#}");
    }
}

#[tokio::test]
async fn the_way_back_is_never_frozen() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let second = shop.deploy("1.1.0").await["deployment"]["id"].take();
        let (_, plan) = planned(&shop, "1.2.0").await;
        let third = shop.must("execute_deployment", plan).await["deployment"].take();
        shop.must("hold_deployment", json!({ "deployment": third, "held": true })).await;
        shop.until("get_deployment", json!({ "deployment": third }), "paused").await;
        freeze(&shop, FreezeRequest { environment: None, ..now("staging") }).await;

        // An abort of what is frozen, and a rollback of what has succeeded.
        shop.must("rollback_deployment", json!({ "deployment": third, "reason": "not now" })).await;
        let settled = shop.settled(&third).await;
        assert_eq!((&settled["state"], shop.staging.serving()), (&json!("rolled_back"), vec!["1.1.0".to_owned()]), "{settled:#}");
        let back = shop.must("rollback_deployment", json!({ "deployment": second, "reason": "the banner" })).await;
        let settled = shop.settled(&back["deployment"]).await;
        assert_eq!((&settled["state"], shop.staging.serving()), (&json!("succeeded"), vec!["1.0.0".to_owned()]), "{settled:#}");
    }
}

#[tokio::test]
async fn a_freeze_that_recurs_holds_whatever_the_clock_does() {
    for database in databases().await {
        // The night in which Zurich's clocks go from 02:00 to 03:00.
        let shop = Shop::open(&database.url).await;
        let it_is = |time: &str| shop.clock.jump_to(instant_of(&format!("2027-03-{time}:00Z"), None).unwrap());
        it_is("27T20:40");
        let nightly = FreezeRequest {
            every: Some("FREQ=DAILY;BYHOUR=2".into()),
            lasts: Some("20m".into()),
            zone: Some("Europe/Zurich".into()),
            ..now("staging")
        };
        freeze(&shop, nightly).await;
        let (_, plan) = planned(&shop, "1.0.0").await;
        let is_frozen = async || match shop.call("execute_deployment", plan.clone()).await {
            Err(refused) => {
                assert_eq!(refused.body["code"], "frozen", "{:#}", refused.body);
                true
            }
            Ok(_) => false,
        };
        let frozen_by_list = async || shop.engine.freezes().await.unwrap()["freezes"][0]["in_force"] == true;
        it_is("28T00:40");
        assert!(!frozen_by_list().await, "{}: 01:40 in Zurich", database.name);
        it_is("28T01:05");
        assert!(frozen_by_list().await && is_frozen().await, "02:05 does not exist; 03:05 is frozen instead");
        it_is("28T02:05");
        assert!(!frozen_by_list().await, "an hour ahead it is over");
        it_is("28T01:05");
        assert!(frozen_by_list().await && is_frozen().await, "and set back it is in force again");

        // In force at once stays in force when the clock is set back before it was declared.
        let id = freeze(&shop, now("staging")).await;
        it_is("27T23:05");
        let listed = shop.engine.freezes().await.unwrap();
        let own = listed["freezes"].as_array().unwrap().iter().find(|freeze| freeze["id"] == json!(id)).cloned().unwrap();
        assert!(own["in_force"] == true && is_frozen().await, "{own:#}");
        shop.sign(DecisionKind::Unfreeze, json!(id), Approve).await;
        assert!(!is_frozen().await, "23:05 the night before: it starts");
    }
}

#[tokio::test]
async fn a_freeze_that_cannot_be_meant_is_refused() {
    let database = databases().await.remove(0);
    let shop = Shop::open(&database.url).await;
    let with = |change: fn(&mut FreezeRequest)| {
        let mut request = now("staging");
        change(&mut request);
        request
    };
    for (request, code) in [
        (with(|request| request.environment = Some("stagnig".into())), "not_found"),
        (with(|request| request.reason = "  ".into()), "invalid_arguments"),
        (with(|request| request.until = Some("2020-01-01T00:00:00Z".into())), "invalid_arguments"),
        (with(|request| request.until = Some("soon".into())), "invalid_arguments"),
        (with(|request| request.from = Some("2099-01-01T00:00".into())), "invalid_arguments"),
        (with(|request| request.every = Some("FREQ=DAILY".into())), "invalid_arguments"),
        (with(|request| request.lasts = Some("1h".into())), "invalid_arguments"),
    ] {
        let refused = shop.engine.freeze(&person(), request.clone()).await.unwrap_err();
        assert_eq!(refused.code.as_str(), code, "{request:?}: {refused:?}");
    }
    assert_eq!(shop.engine.freezes().await.unwrap()["freezes"], json!([]));
    // One that begins later is listed, and not in force.
    let later = with(|request| request.from = Some("2099-01-01T00:00:00Z".into()));
    let id = freeze(&shop, later).await;
    assert_eq!(shop.engine.freezes().await.unwrap()["freezes"][0]["next"], "2099-01-01T00:00:00Z");
    assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
    // What is signed is the freeze where it is lifted: a signature for one place is none for the other.
    let everywhere = freeze(&shop, FreezeRequest { environment: None, ..now("staging") }).await;
    let of = |subject: Value| Question { kind: DecisionKind::Unfreeze, subject, verdict: Approve };
    let here = of(json!({ "freeze": everywhere, "environment": "staging" }));
    let signed = shop.signature(&here).await.unwrap();
    for other in [of(json!(everywhere)), of(json!({ "freeze": everywhere, "environment": "production" })), of(json!(id))] {
        let refused = decisions::decide(&shop.engine, &agent(), &other, &signed).await.unwrap_err();
        assert_eq!(refused.code.as_str(), "decision_refused", "{other:?}");
    }
}
