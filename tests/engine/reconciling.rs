//! The world is made to agree with the record: not over and over in vain, and not with what nobody asks for.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::fake::Behaviour;
use serde_json::json;
use std::time::Duration;

/// Lets so many seconds pass, and returns how often the environment's lease was taken in them.
async fn leases_in(shop: &Shop, seconds: u32) -> usize {
    let before = shop.engine.store.sequence().await.unwrap();
    for _ in 0..seconds {
        // What cannot be mended is told; every round goes on.
        let _ = shop.engine.look_after().await;
        shop.clock.advance(Duration::from_secs(1));
    }
    let entries = shop.engine.store.audit_entries(before, 10_000).await.unwrap();
    entries.iter().filter(|entry| entry.action == "take_lease").count()
}

#[tokio::test]
async fn what_cannot_be_restored_is_tried_less_and_less_often() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, "instances = 2").await;
        shop.deploy("1.0.0").await;
        assert_eq!(leases_in(&shop, 5).await, 0, "{}: all is as it should be", database.name);
        let (first, second) = ("staging-web-dep_1-1", "staging-web-dep_1-2");
        shop.staging.behave(second, Behaviour { status: 200, shows: "1.0.0".into(), exits: true });
        shop.staging.kill(&second.into());

        let tries = leases_in(&shop, 180).await;

        assert!((3..=12).contains(&tries), "{tries} leases in three minutes on {}", database.name);
        assert_eq!(shop.staging.serving().len(), 1, "the one that is well serves");
        // Something new is looked at at once, whatever the pause.
        shop.staging.kill(&first.into());
        assert!(leases_in(&shop, 2).await >= 1);
        assert_eq!(shop.staging.running(), [first.into()]);
        // What is mended is found by the next try.
        shop.staging.behave(second, Behaviour { status: 200, shows: "1.0.0".into(), exits: false });
        leases_in(&shop, 70).await;
        assert_eq!((shop.staging.running().len(), shop.staging.serving().len()), (2, 2));
        assert_eq!(leases_in(&shop, 5).await, 0);
    }
}

#[tokio::test]
async fn the_router_of_an_address_that_nobody_asks_for_is_drained_and_stopped() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        let (address, elsewhere) = shop.another_address().await;
        shop.configure(&shop.text.replace(&shop.at_staging.to_string(), &address.to_string())).await;
        shop.engine.look_after().await.unwrap();
        assert!(shop.staging.router_runs(), "{}: 1.0.0 serves there", database.name);
        let before = shop.staging.log().len();

        assert_eq!(shop.deploy("1.1.0").await["state"], "succeeded");

        assert_eq!(elsewhere.serving(), ["1.1.0"]);
        // Nobody is cut: the old address is left before what serves there ends.
        let log = shop.staging.log().split_off(before);
        let place = |what: &str| log.iter().position(|call| call == what).unwrap_or_else(|| panic!("no `{what}`: {log:?}"));
        let (left, drained, ended) = (place("set "), place("drain staging-web-dep_1-1"), place("stop staging-web-dep_1-1"));
        assert!(left < drained && drained < ended, "{log:?}");
        assert!(shop.staging.router_runs(), "it is stopped when the world is compared with the record");
        shop.engine.look_after().await.unwrap();
        assert!(!shop.staging.router_runs() && elsewhere.router_runs());

        // The way back leads to the old address, whose router is started again.
        let back = json!({ "service": "web", "environment": "staging", "reason": "the till is empty" });
        let back = shop.must("rollback_deployment", back).await["deployment"].take();
        assert_eq!(shop.settled(&back).await["state"], "succeeded");
        shop.engine.look_after().await.unwrap();
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
        assert!(shop.staging.router_runs() && elsewhere.router_runs(), "the configuration in force names the new one");
    }
}
