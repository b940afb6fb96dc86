//! A watch too short for a second look is judged at its end, and one that sees nothing never passes.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::VersionSamples;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_short_watch_is_judged_at_its_end() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let counted = |errors| VersionSamples { requests: 100, errors, ..VersionSamples::default() };
        shop.staging.when_serving("1.1.0", move |samples| _ = samples.versions.insert("1.1.0".into(), counted(5)));
        assert_eq!(shop.deploy("1.1.0").await["state"], "succeeded", "{}: 5 % are allowed", database.name);
        shop.staging.when_serving("1.2.0", move |samples| _ = samples.versions.insert("1.2.0".into(), counted(50)));

        let settled = shop.deploy("1.2.0").await;

        assert_eq!((&settled["state"], &settled["deployment"]["failure_code"]), (&json!("rolled_back"), &json!("threshold_crossed")));
        assert_eq!(settled["incidents"][0]["rule"], "DEPLOY-002", "{settled:#}");
        assert_eq!(shop.staging.serving(), ["1.1.0"]);
        shop.rest().await;
        let told = shop.must("get_deployment", json!({ "deployment": settled["deployment"]["id"], "detail": true })).await;
        let traffic = &told["traffic"];
        assert_eq!((&traffic["requests"], &traffic["errors"]), (&json!(100), &json!(50)), "what it cost stays known: {told:#}");
    }
}

#[tokio::test]
async fn a_watch_that_sees_nothing_never_passes() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.blind();

        let settled = shop.deploy("1.1.0").await;

        assert_eq!((&settled["state"], &settled["deployment"]["failure_code"]), (&json!("rolled_back"), &json!("router_failed")));
        assert_eq!(shop.staging.serving(), ["1.0.0"], "{}", database.name);
    }
}

#[tokio::test]
async fn a_release_that_was_healthy_and_then_crash_loops_goes_back_before_its_watch_ends() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.configure(&shop.text.replace("bake  = \"100ms\"", "bake  = \"10m\"")).await;
        let deployment = shop.begin("1.1.0", "drain staging-web-dep_1-1").await;
        shop.until("get_deployment", json!({ "deployment": deployment }), "verifying").await;

        let (world, instance) = (shop.staging.clone(), "staging-web-dep_2-1".into());
        let crashing = tokio::spawn(async move {
            loop {
                world.restart(&instance);
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
        let settled = shop.settled(&deployment).await;
        crashing.abort();
        assert_eq!((&settled["state"], &settled["incidents"][0]["rule"]), (&json!("rolled_back"), &json!("DEPLOY-002")), "{settled:#}");
        let summary = settled["incidents"][0]["summary"].as_str().unwrap();
        assert!(summary.contains("1.1.0 ended and was started again "), "{summary}");
        assert_eq!(shop.staging.serving(), ["1.0.0"], "{}", database.name);
    }
}
