//! Canary and rolling deployments, told in one process on both databases.

use crate::{support::databases::databases, world::Shop};
use interlock::model::{DecisionKind, DecisionVerdict};
use interlock::targets::fake::Mischief;
use serde_json::json;
use std::time::Duration;

const ROLLING: &str = "strategy = { kind = \"rolling\", batch = 2 }\ninstances = 3";

const CANARY: &str = "strategy = { kind = \"canary\", weights = [20, 100], watch = \"1s\", watch_at_most = \"2s\" }";

/// Customers of both versions: so many requests in each round, and so many of them answered 500.
fn customers(shop: &Shop, of_each: &'static [(&'static str, u64, u64)]) -> tokio::task::JoinHandle<()> {
    let world = shop.staging.clone();
    tokio::spawn(async move {
        loop {
            for (version, requests, errors) in of_each {
                world.measured(|samples| {
                    let counted = samples.versions.entry((*version).to_owned()).or_default();
                    counted.requests += requests;
                    counted.errors += errors;
                    *counted.latency_ms.entry(5).or_default() += requests;
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Returns who served after each move of traffic since the `from`-th call.
fn moves(shop: &Shop, from: usize) -> Vec<String> {
    shop.staging.log()[from..].iter().filter_map(|call| call.strip_prefix("set ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_rolling_deployment_replaces_instances_batch_by_batch() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, ROLLING).await;
        shop.deploy("1.0.0").await;
        let from = shop.staging.calls();
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let expected = ["1.1.0 1.1.0 1.0.0", "1.1.0 1.1.0 1.1.0", "1.1.0 1.1.0 1.1.0"];
        assert_eq!(moves(&shop, from), expected, "never fewer than three serve");
        let log = shop.staging.log();
        let first = |text: &str| log[from..].iter().position(|call| call.contains(text)).unwrap_or_else(|| panic!("{text}: {log:#?}"));
        assert!(first("set 1.1.0 1.1.0 1.0.0") < first("drain") && first("drain") < first("stop"), "{log:#?}");
        assert_eq!(shop.staging.running().len(), 3);
    }
}

#[tokio::test]
async fn a_batch_that_fails_brings_every_old_instance_back() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, ROLLING).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        // Two starts, one switch, two drains, two stops: then the third instance, alone in its batch, cannot be started.
        shop.staging.on_call(shop.staging.calls() + 8, Mischief::Fail);
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let settled = shop.settled(&started).await;
        assert!(settled["steps"].to_string().contains("retire-2"), "{settled:#}");
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        assert_eq!(shop.staging.serving(), ["1.0.0", "1.0.0", "1.0.0"]);
        assert_eq!(shop.staging.running().len(), 3, "{:?}", shop.staging.running());
    }
}

#[tokio::test]
async fn a_strategy_that_configuration_fixes_cannot_be_asked_away() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, ROLLING).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("staging", "1.1.0").await;
        shop.plan_in_staging(&directive).await;
        let asked = json!({ "directive": directive, "strategy": "blue_green" });
        assert_eq!(shop.refused("plan_deployment", asked).await, "denied_by_policy");
        let planned = shop.must("plan_deployment", json!({ "directive": directive, "strategy": "rolling" })).await;
        assert_eq!(planned["existing"], true, "{planned:#}");
    }
}

#[tokio::test]
async fn an_agent_may_ask_for_a_strategy_where_configuration_leaves_the_choice() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let directive = shop.order("staging", "1.1.0").await;
        let first = shop.plan_in_staging(&directive).await;
        let rolling = shop.must("plan_deployment", json!({ "directive": directive, "strategy": "rolling" })).await;
        assert_ne!(first["plan"], rolling["plan"]);
        assert!(rolling["steps"].to_string().contains("replace-1"), "{rolling:#}");
    }
}

#[tokio::test]
async fn a_canary_that_is_as_good_as_the_old_set_takes_all_traffic() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, CANARY).await;
        shop.deploy("1.0.0").await;
        let from = shop.staging.calls();
        let customers = customers(&shop, &[("1.0.0", 40, 0), ("1.1.0", 10, 0)]);
        let settled = shop.deploy("1.1.0").await;
        customers.abort();
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert_eq!(moves(&shop, from), ["1.1.0 1.0.0", "1.1.0", "1.1.0"]);
        let analysed = settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == "analyse-20").unwrap();
        assert_eq!(analysed["output"]["verdict"], "pass", "{analysed:#}");
    }
}

#[tokio::test]
async fn a_canary_that_answers_worse_goes_back_and_never_has_more_than_its_share() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, CANARY).await;
        shop.deploy("1.0.0").await;
        let from = shop.staging.calls();
        let customers = customers(&shop, &[("1.0.0", 40, 0), ("1.1.0", 10, 4)]);
        let settled = shop.deploy("1.1.0").await;
        customers.abort();
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        assert_eq!(settled["incidents"][0]["rule"], "DEPLOY-002", "{settled:#}");
        assert_eq!(moves(&shop, from)[..2], ["1.1.0 1.0.0", "1.0.0"]);
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn a_canary_beside_an_old_set_that_fails_already_is_not_blamed_for_it() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, CANARY).await;
        shop.deploy("1.0.0").await;
        // Every fourth request fails, before and after: far beyond what is allowed, and no worse than what served.
        let customers = customers(&shop, &[("1.0.0", 40, 10), ("1.1.0", 40, 10)]);
        let settled = shop.deploy("1.1.0").await;
        customers.abort();
        let canary = settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == "analyse-20").unwrap();
        assert_eq!(canary["output"]["verdict"], "pass", "{settled:#}");
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
    }
}

#[tokio::test]
async fn a_canary_with_too_few_requests_is_paused_and_asks_a_person() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, CANARY).await;
        shop.deploy("1.0.0").await;
        // Enough for the limits, too few to say that it is no worse than the old set.
        shop.staging.measured(|samples| {
            for (version, requests) in [("1.0.0", 120), ("1.1.0", 0)] {
                samples.versions.entry(version.into()).or_default().requests = requests;
            }
        });
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let customers = customers(&shop, &[("1.0.0", 1, 0), ("1.1.0", 1, 0)]);
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let asked = json!({ "deployment": started, "detail": true });
        let paused = shop.until("get_deployment", asked, "paused").await;
        customers.abort();
        assert!(paused.to_string().contains("needs "), "{paused:#}");
        let lift = json!({ "deployment": started, "held": false });
        assert_eq!(shop.refused("hold_deployment", lift).await, "denied_by_policy", "what was not judged is not the agent's to pass");
        let commands: Vec<&str> = paused["next_actions"].as_array().unwrap().iter().filter_map(|next| next["command"].as_str()).collect();
        assert!(matches!(commands.as_slice(), [retry, ..] if retry.contains("retry")) && commands.len() == 3, "{paused:#}");
        let choice = |choice: &str| json!({ "deployment": started, "choice": choice, "reason": "nobody came" });
        // Asked again, it is as unknown as before.
        shop.sign(DecisionKind::Resolve, choice("retry"), DecisionVerdict::Approve).await;
        let until = std::time::Instant::now() + crate::world::PATIENCE;
        let is_tried = |seen: &serde_json::Value| {
            seen["steps"].as_array().unwrap().iter().any(|step| step["step"] == "analyse-20" && step["attempt"] == 2)
        };
        let asked = json!({ "deployment": started, "detail": true });
        while !is_tried(&shop.must("get_deployment", asked.clone()).await) {
            assert!(std::time::Instant::now() < until, "it was not judged again");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // Asked once more: steps are read after the state, which in the same answer may still be the one before.
        shop.until("get_deployment", asked, "paused").await;
        let (chosen, settles, serves) =
            if database.name == "sqlite" { ("mark_done", "succeeded", "1.1.0") } else { ("roll_back", "rolled_back", "1.0.0") };
        shop.sign(DecisionKind::Resolve, choice(chosen), DecisionVerdict::Approve).await;
        let settled = shop.settled(&started).await;
        assert_eq!((&settled["state"], shop.staging.serving()), (&json!(settles), vec![serves.to_owned()]), "{settled:#}");
    }
}

#[tokio::test]
async fn a_canary_without_customers_is_judged_by_our_own_requests_and_says_so() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, CANARY).await;
        shop.deploy("1.0.0").await;
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let analysed = settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == "analyse-20").unwrap();
        assert_eq!(analysed["output"]["traffic"], "synthetic", "{analysed:#}");
        assert!(analysed.to_string().contains("our own probes, not customers"), "{analysed:#}");
    }
}
