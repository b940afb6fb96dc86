//! Whose log is read when nobody says whose.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::fake::Behaviour;
use serde_json::{Value, json};

const PAIR: &str = "instances = 2";

async fn log_of(shop: &Shop, settled: &Value) -> Value {
    shop.must("read_log", json!({ "deployment": settled["deployment"]["id"] })).await["source"].take()
}

#[tokio::test]
async fn the_log_of_the_instance_that_failed_comes_first() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, PAIR).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        let ended = Behaviour { status: 200, shows: String::new(), exits: true };
        let other = Behaviour { status: 200, shows: "another".into(), exits: false };
        // Now the one, now the other, so that neither is taken by accident.
        shop.staging.behave("staging-web-dep_2-2", ended);
        shop.staging.behave("staging-web-dep_3-1", other);
        for (version, code, instance) in
            [("1.1.0", "instance_exited", "staging-web-dep_2-2"), ("1.2.0", "wrong_version", "staging-web-dep_3-1")]
        {
            let settled = shop.deploy(version).await;
            assert_eq!((&settled["state"], &settled["deployment"]["failure_code"]), (&json!("rolled_back"), &json!(code)));
            assert_eq!(log_of(&shop, &settled).await, instance, "{version} on {}", database.name);
        }
    }
}

#[tokio::test]
async fn without_a_failure_the_log_of_the_one_that_crashed_comes_first_else_the_newest() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, PAIR).await;
        let settled = shop.deploy("1.0.0").await;
        assert_eq!(log_of(&shop, &settled).await, "staging-web-dep_1-2", "{}: both are well", database.name);
        shop.staging.kill(&"staging-web-dep_1-1".into());
        assert_eq!(log_of(&shop, &settled).await, "staging-web-dep_1-1", "the one that ended");
        shop.staging.restart(&"staging-web-dep_1-2".into());
        assert_eq!(log_of(&shop, &settled).await, "staging-web-dep_1-2", "the one that keeps crashing");
    }
}
