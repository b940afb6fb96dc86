//! Reports nobody rests on are kept for 90 days, and not longer.

use crate::{
    support::databases::databases,
    world::{JUNIT, Shop},
};
use interlock::model::Sha256;
use serde_json::json;
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
