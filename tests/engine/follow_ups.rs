//! What a failed deployment leaves behind, on both databases.

use crate::{
    support::databases::databases,
    world::{JUNIT, Shop},
};
use interlock::{
    model::{DecisionKind, DecisionVerdict::Approve, DirectiveState},
    targets::fake::Behaviour,
};
use serde_json::json;

/// It ends at once, so that no test waits for its health.
fn broken(version: &str) -> Behaviour {
    Behaviour { status: 200, shows: version.into(), exits: true }
}

#[tokio::test]
async fn a_failure_leaves_a_directive_that_the_mended_release_takes_over() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.behave("1.1.0", broken("1.1.0"));
        assert_eq!(shop.deploy("1.1.0").await["state"], "rolled_back");
        let drafts = shop.engine.store.follow_ups().await.unwrap();
        assert_eq!((drafts.len(), drafts[0].depth, drafts[0].title.as_str()), (1, 1, "mend web 1.1.0 in staging"));
        let overview = shop.must("get_status", json!({})).await;
        assert!(overview["open_directives"].to_string().contains(drafts[0].id.as_str()), "{overview:#}");
        let draft = shop.must("get_status", json!({ "directive": drafts[0].id })).await;
        assert_eq!((&draft["state"], &draft["next_actions"][0]["tool"]), (&json!("draft"), &json!("create_directive")), "{draft:#}");
        assert!(draft["summary"].as_str().unwrap().contains("dep_2"), "{draft:#}");

        let taken = shop.order("staging", "1.1.1").await;
        assert_eq!(taken, drafts[0].id.to_string(), "the release that mends it is ordered by the same directive");
        let directive = shop.engine.store.directive(&taken.as_str().into()).await.unwrap().unwrap();
        assert!(directive.description.contains("Mends dep_2"), "{}", directive.description);
        let plan = shop.plan_in_staging(&taken).await["plan"].take();
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&started).await["state"], "succeeded");
        // The directive whose release failed has nothing left to do.
        shop.until("get_status", json!({ "directive": directive.follows }), "cancelled").await;
    }
}

#[tokio::test]
async fn a_taken_over_directive_that_is_given_up_still_carries_the_failure() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.behave("1.1.0", broken("1.1.0"));
        shop.deploy("1.1.0").await;
        let taken = shop.order("staging", "1.1.1").await;
        shop.plan_in_staging(&taken).await;
        let given_up = shop.must("cancel_directive", json!({ "directive": taken, "reason": "not this one" })).await;
        assert_eq!(given_up["state"], "draft", "{given_up:#}");
        let drafts = shop.engine.store.follow_ups().await.unwrap();
        assert_eq!((drafts[0].id.as_str(), drafts[0].depth), (taken.as_str(), 1));

        // What was planned for the release that was given up stays with it; another order carries the failure on.
        let next = shop.order("staging", "1.1.2").await;
        let directive = async |id: &str| shop.engine.store.directive(&id.into()).await.unwrap().unwrap();
        let (left, order) = (directive(&taken).await, directive(&next).await);
        assert_eq!((left.state, left.version.as_str()), (DirectiveState::Cancelled, "1.1.1"), "{}", database.name);
        assert_eq!((order.depth, order.follows, order.description.contains("Mends dep_2")), (1, left.follows, true), "{next}");
        assert_eq!(shop.refused("plan_deployment", json!({ "directive": next })).await, "gate_failed", "its evidence is of other bytes");

        // One under which something was recorded, and nothing planned, becomes the next order with what was recorded.
        shop.must("record_evidence", json!({ "directive": next, "kind": "tests", "content": JUNIT })).await;
        shop.must("cancel_directive", json!({ "directive": next, "reason": "nor this one" })).await;
        assert_eq!(shop.order("staging", "1.1.3").await, next);
        assert_eq!(shop.refused("plan_deployment", json!({ "directive": next })).await, "gate_failed");
        let plan = shop.plan_in_staging(&next).await["plan"].take();
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&started).await["deployment"]["version"], "1.1.3");
    }
}

#[tokio::test]
async fn what_somebody_takes_back_is_no_failure_of_the_release() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let started = shop.begin("1.1.0", "set 1.1.0").await;
        shop.must("rollback_deployment", json!({ "deployment": started, "reason": "not now" })).await;
        shop.settled(&started).await;
        assert!(shop.engine.store.follow_ups().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn after_three_follow_ups_the_environment_freezes_until_a_person_has_looked() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        for number in 1..=4 {
            assert!(shop.engine.store.standing_freezes(shop.engine.clock.now()).await.unwrap().is_empty(), "before failure {number}");
            let version = format!("1.{number}.0");
            shop.staging.behave(&version, broken(&version));
            assert_eq!(shop.deploy(&version).await["state"], "rolled_back");
        }
        let freezes = shop.engine.store.standing_freezes(shop.engine.clock.now()).await.unwrap();
        assert_eq!(freezes.len(), 1);
        assert!(freezes[0].reason.contains("failed 4 times in a row"), "{}", freezes[0].reason);
        let mended = shop.order("staging", "2.0.0").await;
        let plan = shop.plan_in_staging(&mended).await["plan"].take();
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "frozen");
        shop.sign(DecisionKind::Unfreeze, json!(freezes[0].id), Approve).await;
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&started).await["state"], "succeeded");
        assert!(shop.engine.store.follow_ups().await.unwrap().is_empty(), "a success ends the row");
    }
}
