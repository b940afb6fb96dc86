//! What a report names is told; reports nobody rests on are kept for 90 days, and not longer.

use crate::{
    support::databases::databases,
    world::{JUNIT, Shop},
};
use interlock::model::Sha256;
use serde_json::{Value, json};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_report_is_forgotten_after_90_days_unless_a_verdict_rests_on_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let directive = shop.order("staging", "1.0.0").await;
        let unused = JUNIT.replace("\"b\"", "\"c\"");
        let hand_over = async |content: &str| {
            shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": content })).await;
        };
        let is_kept = async |report: &str| shop.engine.store.evidence_body(&Sha256::of(report.as_bytes())).await.unwrap().is_some();
        // Of two reports the newer one is judged: nothing ever rested on the first.
        for report in [unused.as_str(), JUNIT] {
            let number = shop.engine.store.evidence_of(&directive.as_str().into()).await.unwrap().len();
            hand_over(report).await;
            assert_eq!(shop.engine.store.evidence_of(&directive.as_str().into()).await.unwrap().len(), number + 1);
        }
        database.tamper("DELETE FROM verdicts").await;
        shop.must("run_predeploy_checks", json!({ "directive": directive })).await;

        shop.clock.advance(89 * DAY);
        shop.engine.forget_reports().await.unwrap();
        assert!(is_kept(&unused).await && is_kept(JUNIT).await, "{}", database.name);
        shop.clock.advance(DAY);
        shop.engine.forget_reports().await.unwrap();
        assert!(!is_kept(&unused).await && is_kept(JUNIT).await, "{}", database.name);
        assert!(shop.engine.store.audit_verify().await.unwrap().broken.is_none());
    }
}

#[tokio::test]
async fn what_a_report_names_is_told_with_the_verdict_and_after_a_restart() {
    for database in databases().await {
        let mut shop = Shop::open(&database.url).await;
        let directive = shop.order("staging", "1.0.0").await;
        let failing = r#"<testsuite name="web" tests="2"><testcase name="a"/><testcase name="pays twice"><failure message="2 payments"/></testcase></testsuite>"#;
        let told = |reply: &Value| {
            let gate = reply["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "tests").unwrap();
            gate["reason"].as_str().unwrap().to_owned()
        };
        let reply = shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": failing })).await;
        let reason = told(&reply);
        assert!(reason.starts_with("failed is 1, must be <= 0 (`") && reason.contains("pays twice"), "{}: {reason}", database.name);
        shop.restart().await;
        assert_eq!(told(&shop.must("run_predeploy_checks", json!({ "directive": directive })).await), reason);
        let reply = shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": JUNIT })).await;
        assert!(told(&reply).starts_with("claimed evidence of "), "{}", told(&reply));
    }
}
