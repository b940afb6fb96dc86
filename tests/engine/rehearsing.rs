//! The way back is tried before customers are moved: what it shows stands in the record, and a broken one stops the deployment.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::fake::Behaviour;
use serde_json::{Value, json};

fn rehearsal(settled: &Value) -> &Value {
    &settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == "rehearse").expect("a rehearsal")["output"]
}

async fn shop(url: &str) -> Shop {
    let shop = Shop::open_with(url, "instances = 2").await;
    assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
    shop
}

#[tokio::test]
async fn traffic_goes_there_and_back_before_customers_move() {
    for database in databases().await {
        let shop = shop(&database.url).await;
        let from = shop.staging.calls();
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let moves = rehearsal(&settled)["rehearsal"]["moves"].as_array().unwrap();
        let seen: Vec<_> = moves.iter().map(|moved| (moved["to"].as_str().unwrap(), moved["answers"].as_u64().unwrap())).collect();
        assert_eq!(seen, [("1.0.0", 2), ("1.1.0", 2), ("1.0.0", 2)]);
        let shown = settled["rollback_tested"].as_str().unwrap();
        assert!(shown.starts_with("1.0.0 → 1.1.0 → 1.0.0 before the switch, back in "), "{shown}");
        let log = shop.staging.log()[from..].to_vec();
        let at = |call: &str| log.iter().position(|seen| seen.starts_with(call)).unwrap_or_else(|| panic!("{call}: {log:#?}"));
        assert!(at("rehearse 1.1.0") < at("set 1.1.0"), "{log:#?}");
        let document = std::fs::read_to_string(shop.engine.workspace.root.join("docs/deployment.md")).unwrap();
        assert!(document.contains(&format!("- rehearsed: {shown}")), "{document}");
    }
}

/// The positive control: a rehearsal sees a way back that does not work.
#[tokio::test]
async fn a_broken_way_back_stops_the_deployment_before_customers_move() {
    for database in databases().await {
        let shop = shop(&database.url).await;
        shop.staging.stays_with("1.1.0");
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(
            (&settled["state"], &settled["deployment"]["failure_code"]),
            (&json!("rolled_back"), &json!("rehearsal_failed")),
            "{settled:#}"
        );
        let summary = settled["incidents"][0]["summary"].as_str().unwrap();
        assert!(summary.starts_with("the way back does not work: on a second listener, moved to 1.0.0, /version shows "), "{summary}");
        assert_eq!(
            (&settled["incidents"][0]["rule"], &settled["incidents"][0]["action"]),
            (&json!("DEPLOY-001"), &json!("abort; nothing moved"))
        );
        assert_eq!(shop.staging.serving(), ["1.0.0"; 2]);
        assert!(!shop.staging.versions().contains(&"1.1.0".to_owned()), "no customer was sent there");
    }
}

#[tokio::test]
async fn an_old_set_that_is_broken_already_proves_nothing_and_keeps_no_release_from_repairing_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        let old = shop.staging.running()[0].clone();
        shop.staging.kill(&old);
        shop.staging.behave(old.as_str(), Behaviour { status: 500, shows: "an error".into(), exits: false });
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let shown = settled["rollback_tested"].as_str().unwrap();
        assert!(shown.starts_with("not proven: 1.0.0 is broken already: "), "{shown}");
        assert_eq!(rehearsal(&settled)["rehearsal"]["proven"], false);
    }
}
