//! A directive whose release was taken back is open again, and says what is to be done.

use crate::{
    support::databases::databases,
    world::{Shop, person},
};
use interlock::{
    model::{DirectiveState, Epoch, Lease},
    targets::{Router, Target, fake::Behaviour},
};
use serde_json::{Value, json};
use std::time::Duration;

async fn state_of(shop: &Shop, directive: &Value) -> DirectiveState {
    shop.engine.store.directive(&directive.as_str().unwrap().into()).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_release_that_went_back_can_be_planned_again_as_get_status_says() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.0.0".into(), exits: false });
        let settled = shop.deploy("1.1.0").await;
        let directive = settled["deployment"]["directive"].clone();

        assert_eq!(state_of(&shop, &directive).await, DirectiveState::Active, "{}: {settled:#}", database.name);
        let status = shop.must("get_status", json!({ "directive": directive })).await;
        assert_eq!((&status["state"], &status["deployment"]), (&json!("rolled_back"), &settled["deployment"]["id"]));
        let offers = status["next_actions"].as_array().unwrap();
        let again = offers.iter().find(|action| action["tool"] == "plan_deployment").unwrap_or_else(|| panic!("{status:#}"));

        // The release was sound: what it showed was not.
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.1.0".into(), exits: false });
        let planned = shop.must("plan_deployment", again["arguments"].clone()).await;
        assert_eq!(state_of(&shop, &directive).await, DirectiveState::InProgress);
        let started = shop.must("execute_deployment", json!({ "plan": planned["plan"] })).await;
        assert_eq!(shop.settled(&started["deployment"]).await["state"], "succeeded");
        shop.until("get_status", json!({ "directive": directive }), "completed").await;
    }
}

#[tokio::test]
async fn a_release_withdrawn_before_it_was_completed_leaves_its_directive_open() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let settled = shop.deploy_to_production("1.0.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let directive = settled["deployment"]["directive"].clone();
        assert_eq!(state_of(&shop, &directive).await, DirectiveState::InProgress, "{}: no runbook yet", database.name);

        let id = &settled["deployment"]["id"];
        shop.must("rollback_deployment", json!({ "deployment": id, "reason": "the till is empty" })).await;
        let told = shop.must("get_deployment", json!({ "deployment": id })).await;
        assert_eq!(told["summary"], format!("{} succeeded and was withdrawn", id.as_str().unwrap()), "not by itself: {told:#}");

        assert_eq!(state_of(&shop, &directive).await, DirectiveState::Active);
        let status = shop.must("get_status", json!({ "directive": directive })).await;
        assert_eq!(status["state"], "rolled_back", "{status:#}");
        assert!(status["next_actions"].as_array().unwrap().iter().any(|action| action["tool"] == "plan_deployment"), "{status:#}");
        assert_eq!(shop.production.serving(), [""; 0]);
    }
}

#[tokio::test]
async fn a_withdrawal_goes_on_where_the_place_was_looked_after_meanwhile() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let settled = shop.deploy_to_production("1.0.0").await;
        let lease = shop.engine.store.lease(&"production".into()).await.unwrap().unwrap();
        // The background has the router under a lease that comes after the withdrawal's first one.
        let router = shop.production.router();
        let (split, _) = router.observe().await.unwrap();
        router.set(&split, Epoch(lease.epoch.0 + 2)).await.unwrap();

        let asked = json!({ "deployment": settled["deployment"]["id"], "reason": "the till is empty" });
        shop.must("rollback_deployment", asked).await;
        assert_eq!(shop.production.serving(), [""; 0], "{}", database.name);
        assert_eq!(shop.engine.store.lease(&"production".into()).await.unwrap().unwrap().epoch, Epoch(lease.epoch.0 + 2));
    }
}

#[tokio::test]
async fn a_place_is_taken_down_where_it_was_looked_after_meanwhile() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        assert_eq!(shop.deploy_to_production("1.0.0").await["state"], "succeeded");
        let lease = shop.engine.store.lease(&"production".into()).await.unwrap().unwrap();
        let later = Lease { epoch: Epoch(lease.epoch.0 + 2), ..lease.clone() };
        // The background holds an instance under a lease that comes after the first one of whoever takes the place down.
        let target = shop.production.target();
        let observed = target.list().await.unwrap().into_iter().find(|observed| observed.running).unwrap();
        target.stop(&later, &"production-web-nobody".into(), Duration::ZERO).await.unwrap();

        let stopped = shop.engine.down(&person(), &"production".into()).await.unwrap();
        assert!(stopped.contains(&observed.instance.to_string()), "{}: {stopped:?}", database.name);
        let names: std::collections::BTreeSet<_> = stopped.iter().collect();
        assert_eq!(names.len(), stopped.len(), "each is named once: {stopped:?}");
        assert!(shop.engine.store.serving(&"web".into(), &"production".into()).await.unwrap().is_none());
        assert_eq!(shop.engine.store.lease(&"production".into()).await.unwrap().unwrap().epoch, later.epoch);
    }
}
