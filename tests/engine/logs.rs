//! Whose log is read when nobody says whose, and the gate that reads the logs of the environment before.

use crate::{support::databases::databases, world::Shop};
use interlock::{
    model::{DecisionKind, DecisionVerdict},
    targets::fake::Behaviour,
};
use serde_json::{Value, json};
use std::time::Duration;

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

async fn gate(shop: &Shop, directive: &str) -> Value {
    let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    checked["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "logs").unwrap().clone()
}

#[tokio::test]
async fn an_error_in_the_log_of_staging_stops_production() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, PAIR).await;
        let text = shop.text.replace("tests = \"off\"\n", "tests = \"off\"\nlogs = { minutes = \">= 5\" }\n");
        let own = "\n[services.web.monitoring]\nerrors = [\"ERROR\"]\nexcept = [\"cache is cold\"]\n";
        shop.configure(&format!("{text}{own}")).await;
        let directive = shop.order("production", "1.0.0").await;
        let open = gate(&shop, &directive).await;
        assert_eq!((&open["verdict"], &open["who"]), (&json!("inconclusive"), &json!("agent")), "not there yet: {open:#}");
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        let early = gate(&shop, &directive).await;
        assert_eq!((&early["verdict"], &early["who"]), (&json!("inconclusive"), &json!("server")), "{early:#}");
        shop.clock.advance(Duration::from_secs(301));
        let passed = gate(&shop, &directive).await;
        let said = json!("0 of 2 lines of `dep_1` are errors");
        assert_eq!((&passed["verdict"], &passed["reason"], &passed["live"]), (&json!("pass"), &said, &json!(true)), "{passed:#}");

        // A log of which the beginning is gone is no log without errors.
        let (cut, whole) = (shop.order("production", "1.0.1").await, shop.deploy("1.0.1").await);
        let instance = format!("staging-web-{}-1", whole["deployment"]["id"].as_str().unwrap());
        shop.staging.has_written_more(&instance);
        shop.clock.advance(Duration::from_secs(301));
        let open = gate(&shop, &cut).await;
        assert_eq!((&open["verdict"], &open["who"]), (&json!("inconclusive"), &json!("person")), "{open:#}");
        assert!(open["reason"].as_str().unwrap().contains("has written more than is read"), "{open:#}");

        // The same release with one line that is an error, of the second instance.
        shop.staging.has_written("staging-web-dep_1-2", &["INFO up", "ERROR cache is cold", "ERROR no\u{1b}[31m orders\u{202e}"]);
        let failed = gate(&shop, &directive).await;
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            failed["verdict"] == "fail" && reason.starts_with("1 of 4 lines of `dep_1` are errors: staging-web-dep_1-2 wrote "),
            "{failed:#}"
        );
        assert!(!reason.contains('\u{202e}') && !reason.contains('\u{1b}') && !reason.contains("cold"), "{reason}");
        assert_eq!(failed["who"], "agent", "{}", database.name);

        // Nothing written is nothing known, until a person says it.
        shop.staging.has_written("staging-web-dep_1-1", &[]);
        shop.staging.has_written("staging-web-dep_1-2", &[]);
        let silent = gate(&shop, &directive).await;
        assert_eq!((&silent["verdict"], &silent["how"]), (&json!("inconclusive"), &json!(format!("interlock sign-off {directive} logs"))));
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "logs" }), DecisionVerdict::Approve).await;
        assert_eq!(gate(&shop, &directive).await["verdict"], "pass");
    }
}

#[tokio::test]
async fn the_minutes_of_a_successor_say_nothing_about_the_log_before() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&shop.text.replace("tests = \"off\"\n", "tests = \"off\"\nlogs = { minutes = \">= 5\" }\n")).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        shop.clock.advance(Duration::from_secs(121));
        assert_eq!(shop.deploy("1.1.0").await["state"], "succeeded");
        shop.clock.advance(Duration::from_secs(301));
        let before = gate(&shop, &shop.order("production", "1.0.0").await).await;
        let said = (&before["verdict"], &before["value"], &before["who"]);
        let expected = (&json!("inconclusive"), &json!("0 of 1 lines, 2 minutes"), &json!("agent"));
        assert_eq!(said, expected, "{}: {before:#}", database.name);
        // No waiting makes it longer.
        assert!(before["how"].as_str().unwrap().starts_with("deploy the same artifact to `staging` again"), "{before:#}");
        // The positive control: the one that is there has stood as long as it takes.
        assert_eq!(gate(&shop, &shop.order("production", "1.1.0").await).await["verdict"], "pass");
    }
}
