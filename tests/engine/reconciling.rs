//! The world is made to agree with the record: not over and over in vain, and not with what nobody asks for.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::fake::Behaviour;
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
