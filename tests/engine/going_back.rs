//! The way back: asked for twice, from what serves no more, to bytes that were altered.

use crate::{support::databases::databases, world::Shop};
use interlock::{error::Code, model::Deployment, targets::fake::Mischief};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const ASKED: &str = "the till is empty";

async fn record_of(shop: &Shop, deployment: &Value) -> Deployment {
    shop.engine.deployment(&deployment.as_str().unwrap().into()).await.unwrap()
}

#[tokio::test]
async fn asking_again_for_a_way_back_never_turns_it_round() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let taken = shop.deploy("1.1.0").await["deployment"]["id"].take();
        shop.staging.halt();
        let place = json!({ "service": "web", "environment": "staging", "reason": ASKED });
        let first = shop.must("rollback_deployment", place.clone()).await;
        assert_eq!(first["existing"], false);

        for asked in [json!({ "deployment": first["deployment"], "reason": ASKED }), json!({ "deployment": taken, "reason": ASKED }), place]
        {
            let again = shop.must("rollback_deployment", asked.clone()).await;
            assert_eq!((&again["deployment"], &again["existing"]), (&first["deployment"], &json!(true)), "{asked} on {}", database.name);
        }

        shop.staging.go_on();
        let settled = shop.settled(&first["deployment"]).await;
        assert_eq!((&settled["state"], &settled["deployment"]["version"]), (&json!("succeeded"), &json!("1.0.0")), "{settled:#}");
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn a_way_back_from_what_serves_no_more_is_stale() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let taken = shop.deploy("1.1.0").await["deployment"]["id"].take();
        shop.staging.halt();
        let back = shop.must("rollback_deployment", json!({ "deployment": taken, "reason": ASKED })).await["deployment"].take();
        let plan = shop.engine.plan_of(&record_of(&shop, &back).await).await.unwrap();
        shop.engine.recheck(&plan).await.expect("it starts from what serves");
        shop.staging.go_on();
        shop.settled(&back).await;

        let refused = shop.engine.recheck(&plan).await.unwrap_err();

        assert_eq!(refused.code, Code::StalePlan, "{}: {refused}", database.name);
    }
}

#[tokio::test]
async fn what_served_before_is_not_started_again_from_altered_bytes() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let old = shop.deploy("1.0.0").await["deployment"]["id"].take();
        let digest = record_of(&shop, &old).await.digest;
        // Traffic is on 1.1.0, and its old set does not end what it has in flight.
        shop.staging.on_next("drain staging-web-dep_1-1", Mischief::Hang);
        let deployment = shop.begin("1.1.0", "drain staging-web-dep_1-1").await;
        let bytes = shop.engine.release_dir(&digest).await.unwrap().join("web");
        let sound = fs::read(&bytes).unwrap();
        fs::remove_file(&bytes).unwrap();
        fs::write(&bytes, "something else").unwrap();
        shop.staging.kill(&"staging-web-dep_1-1".into());
        let before = shop.staging.log().len();
        let started = || shop.staging.log()[before..].iter().filter(|call| *call == "start staging-web-dep_1-1").count();

        shop.must("rollback_deployment", json!({ "deployment": deployment, "reason": ASKED })).await;
        shop.until("get_deployment", json!({ "deployment": deployment }), "rolling_back").await;
        // Long enough for several tries of the undo.
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(started(), 0, "{}: {:?}", database.name, shop.staging.log());

        fs::write(&bytes, sound).unwrap();
        let settled = shop.settled(&deployment).await;
        assert_eq!((&settled["state"], started()), (&json!("rolled_back"), 1), "{settled:#}");
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
    }
}
