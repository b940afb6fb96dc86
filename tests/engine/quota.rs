//! Gate `quota`: a place without room stops a deployment before anything is started there.

use crate::{support::databases::databases, world::Shop};
use interlock::model::{
    DecisionKind, DecisionVerdict,
    capacity::{Capacity, Disk, Holds},
};
use serde_json::{Value, json};

const MB: u64 = 1 << 20;

async fn gate(shop: &Shop, directive: &str) -> Value {
    let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    checked["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "quota").unwrap().clone()
}

fn has(memory: u64) -> Capacity {
    Capacity {
        disks: vec![Disk { holds: vec![Holds::Releases, Holds::Instances], free_bytes: 1_000 * MB }],
        ports: Some(100),
        descriptors_each: Some(1024),
        descriptors: Some(10_000),
        memory_bytes: Some(memory),
        used_bytes: Default::default(),
    }
}

#[tokio::test]
async fn a_place_without_room_is_not_deployed_to() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&shop.text.replace("[environments.staging.gates]\n", "[environments.staging.gates]\nquota = {}\n")).await;
        let directive = shop.order("staging", "1.0.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        shop.staging.has_left(Some(has(63 * MB)));
        let failed = gate(&shop, &directive).await;
        assert_eq!((&failed["verdict"], &failed["reason"]), (&json!("fail"), &json!("not enough: memory needs 64 MB, has 63 MB")));
        assert_eq!((&failed["who"], &failed["live"]), (&json!("person"), &json!(true)), "{}: {failed:#}", database.name);

        // It is looked at again where the plan is executed, and nothing is started.
        let refused = match shop.call("execute_deployment", json!({ "plan": plan })).await {
            Err(refused) => refused.body,
            Ok(begun) => shop.settled(&begun["deployment"]).await,
        };
        assert!(refused.to_string().contains("memory needs 64 MB, has 63 MB") && shop.staging.serving().is_empty(), "{refused:#}");

        // The positive control: with one megabyte more it goes.
        shop.staging.has_left(Some(has(64 * MB)));
        assert_eq!(gate(&shop, &directive).await["verdict"], "pass");
        assert_eq!(shop.deploy("1.1.0").await["state"], "succeeded");

        // What serves is the measure of the next one.
        let serving = shop.staging.running().pop().unwrap();
        shop.staging.has_left(Some(Capacity { used_bytes: [(serving, 80 * MB)].into(), ..has(64 * MB) }));
        let next = shop.order("staging", "1.2.0").await;
        assert_eq!(gate(&shop, &next).await["reason"], "not enough: memory needs 80 MB, has 64 MB");
    }
}

#[tokio::test]
async fn a_target_that_cannot_say_asks_a_person() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&shop.text.replace("[environments.staging.gates]\n", "[environments.staging.gates]\nquota = {}\n")).await;
        shop.staging.has_left(None);
        let directive = shop.order("staging", "1.0.0").await;
        let open = gate(&shop, &directive).await;
        assert_eq!((&open["verdict"], &open["who"]), (&json!("inconclusive"), &json!("person")), "{open:#}");
        assert_eq!(open["how"], format!("interlock sign-off {directive} quota"));
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "quota" }), DecisionVerdict::Approve).await;
        assert_eq!(gate(&shop, &directive).await["verdict"], "pass", "{}", database.name);
    }
}

#[tokio::test]
async fn room_that_is_seen_at_last_voids_no_approval_that_rests_on_a_persons_word() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&shop.text.replace("alerts = \"off\"\n", "alerts = \"off\"\nquota = {}\n")).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        shop.production.has_left(None);
        let directive = shop.order("production", "1.0.0").await;
        for fact in ["uat", "quota"] {
            shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": fact }), DecisionVerdict::Approve).await;
        }
        let plan = shop.must("plan_deployment", json!({ "directive": directive })).await["plan"].take();
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;

        // What is seen to be short stops, and voids nothing either: with room there is, the same approval holds.
        shop.production.has_left(Some(has(63 * MB)));
        let refused = shop.call("execute_deployment", json!({ "plan": plan })).await.unwrap_err();
        assert_eq!(refused.error.code.as_str(), "gate_failed", "{}: {refused:?}", database.name);
        assert!(shop.production.serving().is_empty());
        shop.production.has_left(Some(has(64 * MB)));
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&deployment).await["state"], "succeeded", "{}", database.name);
    }
}
