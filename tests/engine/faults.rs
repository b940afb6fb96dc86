//! A deployment with one call to the world that goes wrong, for every call there is: it settles, and one whole set serves.

use crate::{support::databases::databases, world::Shop};
use interlock::{store::sqlite_url, targets::fake::Mischief};

#[tokio::test]
async fn whatever_call_fails_one_whole_set_serves_afterwards() {
    let mut outcomes = Vec::new();
    for mischief in [Mischief::Fail, Mischief::Crash] {
        for number in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let shop = Shop::open(&sqlite_url(&folder.path().join("interlock.db")).unwrap()).await;
            shop.deploy("1.0.0").await;
            let before = shop.staging.calls();
            shop.staging.on_call(before + number, mischief);

            let settled = shop.deploy("1.1.0").await;

            if shop.staging.calls() < before + number {
                assert!(number > 5, "a deployment makes more than {number} calls: {:?}", shop.staging.log());
                break;
            }
            let state = settled["state"].as_str().unwrap().to_owned();
            let expected = match state.as_str() {
                "succeeded" => "1.1.0",
                "rolled_back" => "1.0.0",
                _ => panic!("call {number}, {mischief:?}: {settled:#}"),
            };
            assert_eq!(shop.staging.serving(), [expected], "call {number}, {mischief:?}: {:?}", shop.staging.log());
            assert_eq!(shop.staging.running().len(), 1, "call {number}, {mischief:?}: {:?}", shop.staging.log());
            let serving = shop.engine.store.serving(&"web".into(), &"staging".into()).await.unwrap().unwrap();
            assert_eq!((serving.version.as_str(), serving.instances), (expected, shop.staging.running()), "call {number}, {mischief:?}");
            outcomes.push(state);
        }
    }
    // Failures that change nothing would prove nothing.
    assert!(outcomes.iter().any(|state| state == "rolled_back"), "{outcomes:?}");
}

#[tokio::test]
async fn an_instance_that_loses_its_port_before_it_listens_gets_another() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        shop.staging.on_next("start", Mischief::TakePort);
        let settled = shop.deploy("1.1.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert_eq!(shop.staging.log().iter().filter(|call| *call == "start staging-web-dep_2-1").count(), 2);
        let step = settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == "verify-instances").unwrap();
        assert_eq!(step["output"]["instances"][0]["ports_lost"], 1, "{step:#}");

        // Whoever loses every one is told so, and customers stay where they are.
        for _ in 0..4 {
            shop.staging.on_next("start", Mischief::TakePort);
        }
        let settled = shop.deploy("1.2.0").await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        assert_eq!(shop.staging.serving(), ["1.1.0"]);
    }
}
