//! A clock that somebody sets in the middle of it: what lasts, lasts as long as it should, and what is over stays over.

use crate::{support::databases::databases, world::Shop};
use interlock::{
    model::{DecisionKind, DecisionVerdict},
    targets::{VersionSamples, fake::Behaviour},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const HOUR_MS: i64 = 60 * 60 * 1000;
const WATCH: Duration = Duration::from_secs(3);

/// A shop where 1.0.0 serves, and the next release is watched for [`WATCH`].
async fn watching(url: &str) -> Shop {
    let shop = Shop::open(url).await;
    shop.deploy("1.0.0").await;
    shop.configure(&shop.text.replace("bake  = \"100ms\"", "bake  = \"3s\"")).await;
    shop
}

/// Begins a deployment, and returns it when its watch has begun, with the moment.
async fn begun(shop: &Shop, version: &str) -> (Value, Instant) {
    let directive = shop.order("staging", version).await;
    let plan = shop.plan_in_staging(&directive).await["plan"].take();
    let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
    shop.until("get_deployment", json!({ "deployment": deployment }), "verifying").await;
    (deployment, Instant::now())
}

fn watched_ms(settled: &Value) -> u64 {
    let steps = settled["steps"].as_array().unwrap();
    let bake = steps.iter().find(|step| step["step"] == "bake").unwrap();
    bake["output"]["watched_ms"].as_u64().unwrap_or_else(|| panic!("{bake:#}"))
}

#[tokio::test]
async fn a_clock_that_is_set_makes_a_watch_neither_shorter_nor_longer() {
    for database in databases().await {
        let shop = watching(&database.url).await;
        for (number, hour) in [(1, HOUR_MS), (2, -HOUR_MS), (3, -HOUR_MS)] {
            let (deployment, began) = begun(&shop, &format!("1.{number}.0")).await;
            shop.clock.set_on(hour);
            let settled = shop.settled(&deployment).await;
            assert_eq!(settled["state"], "succeeded", "{}, {hour}: {settled:#}", database.name);
            assert!(
                watched_ms(&settled) >= WATCH.as_millis() as u64 && began.elapsed() > WATCH / 3,
                "{}, {hour}: {settled:#}",
                database.name
            );
        }
        // The control: where an hour really passes, the watch is over.
        let (deployment, began) = begun(&shop, "1.4.0").await;
        shop.clock.advance(Duration::from_secs(3600));
        shop.until("get_deployment", json!({ "deployment": deployment }), "succeeded").await;
        println!("figure: {}: an hour's watch was over after {:?}", database.name, began.elapsed());
        assert!(watched_ms(&shop.settled(&deployment).await) > HOUR_MS as u64);
    }
}

#[tokio::test]
async fn a_watch_that_a_crash_interrupts_goes_on_and_a_reboot_begins_it_again() {
    for database in databases().await {
        let mut shop = watching(&database.url).await;
        for (number, hour) in [(1, HOUR_MS), (2, -HOUR_MS)] {
            let (deployment, began) = begun(&shop, &format!("1.{number}.0")).await;
            shop.rest().await;
            shop.clock.set_on(hour);
            shop.restart().await;
            let settled = shop.settled(&deployment).await;
            assert_eq!(settled["state"], "succeeded", "{}, {hour}: {settled:#}", database.name);
            assert!(watched_ms(&settled) >= WATCH.as_millis() as u64 && began.elapsed() > WATCH / 3, "{}: {settled:#}", database.name);
        }
        let (deployment, _) = begun(&shop, "1.3.0").await;
        shop.clock.advance(WATCH - Duration::from_millis(1));
        shop.rest().await;
        shop.clock.reboot();
        let again = Instant::now();
        shop.restart().await;
        let settled = shop.settled(&deployment).await;
        assert_eq!(settled["state"], "succeeded", "{}: {settled:#}", database.name);
        assert!(again.elapsed() >= WATCH, "{}: what was watched before is not known any more", database.name);
    }
}

#[tokio::test]
async fn a_limit_crossed_for_a_moment_has_not_lasted_an_hour() {
    for database in databases().await {
        let shop = watching(&database.url).await;
        let counted = |requests, errors| VersionSamples { requests, errors, ..VersionSamples::default() };
        shop.staging.when_serving("1.1.0", move |samples| _ = samples.versions.insert("1.1.0".into(), counted(300, 30)));
        let (deployment, began) = begun(&shop, "1.1.0").await;
        // Counters are read four times a second: once before the clock is set, and once after.
        tokio::time::sleep(Duration::from_millis(600)).await;
        shop.clock.set_on(HOUR_MS);
        tokio::time::sleep(Duration::from_millis(600)).await;
        let was_in_time = began.elapsed() < WATCH;
        shop.staging.measured(|samples| _ = samples.versions.insert("1.1.0".into(), counted(30_000, 30)));
        let settled = shop.settled(&deployment).await;
        assert!(settled["state"] == "succeeded" || !was_in_time, "{}: {settled:#}", database.name);
    }
}

#[tokio::test]
async fn an_approval_that_is_over_is_not_revived_and_one_that_is_not_is_good() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let over = approved(&shop, "1.0.0").await;
        shop.clock.advance(Duration::from_secs(61 * 60));
        // Nobody has looked at it since.
        shop.clock.set_on(-2 * HOUR_MS);
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": over })).await, "approval_expired", "{}", database.name);

        shop.deploy("1.1.0").await;
        let good = approved(&shop, "1.1.0").await;
        shop.clock.advance(Duration::from_secs(59 * 60));
        shop.clock.set_on(-2 * HOUR_MS);
        let deployment = shop.must("execute_deployment", json!({ "plan": good })).await["deployment"].take();
        assert_eq!(shop.settled(&deployment).await["state"], "succeeded", "{}", database.name);
    }
}

/// Returns a plan for production that the chairman has approved, for an hour.
async fn approved(shop: &Shop, version: &str) -> Value {
    let directive = shop.order("production", version).await;
    let asked = json!({ "directive": directive });
    shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), DecisionVerdict::Approve).await;
    shop.must("run_predeploy_checks", asked.clone()).await;
    let plan = shop.must("plan_deployment", asked).await["plan"].take();
    shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
    plan
}

#[tokio::test]
async fn what_should_serve_is_tried_again_although_the_clock_was_set_back() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let instance = "staging-web-dep_1-1";
        let behave = |exits| shop.staging.behave(instance, Behaviour { status: 200, shows: "1.0.0".into(), exits });
        behave(true);
        shop.staging.kill(&instance.into());
        let _ = shop.engine.look_after().await;
        behave(false);
        shop.clock.set_on(-HOUR_MS);
        for _ in 0..5 {
            shop.clock.advance(Duration::from_secs(1));
            let _ = shop.engine.look_after().await;
        }
        assert_eq!(shop.staging.running(), [instance.into()], "{}", database.name);
    }
}
