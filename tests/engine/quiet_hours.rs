//! When few customers are there: what the router has counted hour by hour, beside a plan and never in it.

use crate::{support::databases::databases, world::Shop};
use interlock::{
    decisions::{Question, render, review},
    model::{DecisionKind, DecisionVerdict::Approve},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Lets so many hours pass in which customers come; few of them in one hour of each day.
async fn hours(shop: &Shop, count: u32) {
    for _ in 0..count {
        let of_day = shop.clock_hour();
        shop.production.measured(|samples| {
            samples.versions.entry("1.0.0".into()).or_default().requests += if of_day == 3 { 12 } else { 100 + of_day };
        });
        shop.clock.advance(Duration::from_secs(60 * 60));
        shop.engine.note_hour().await.unwrap();
    }
}

async fn plan(shop: &Shop, directive: &str) -> Value {
    shop.must("plan_deployment", json!({ "directive": directive })).await
}

#[tokio::test]
async fn a_plan_is_accompanied_by_the_quietest_hour_and_is_the_same_plan_without_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.begin_an_hour();
        let staged = shop.deploy("1.0.0").await;
        assert_eq!(staged["state"], "succeeded");
        shop.deploy_to_production("1.0.0").await;
        shop.engine.note_hour().await.unwrap();
        shop.deploy("1.1.0").await;
        let directive = shop.order("production", "1.1.0").await;
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), Approve).await;
        shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        let first = plan(&shop, &directive).await;
        assert_eq!(first["quietest"], "no data: no hour of traffic is recorded yet", "{}: {first:#}", database.name);

        hours(&shop, 24).await;
        let again = plan(&shop, &directive).await;
        assert!(
            again["quietest"].as_str().unwrap().starts_with("no suggestion: 23 of 24 hours"),
            "the first is where counting begins: {again:#}"
        );
        hours(&shop, 30).await;
        let known = plan(&shop, &directive).await;
        let quietest = known["quietest"].as_str().unwrap();
        assert!(quietest.starts_with("03:00 to 04:00 UTC, 12 requests on average, beside 123 at 23:00, over "), "{quietest}");
        assert_eq!((&known["plan"], &known["sha256"], &known["existing"]), (&first["plan"], &first["sha256"], &json!(true)));

        // Who approves reads it, below what is signed; an hour more makes it no other document.
        let question = Question { kind: DecisionKind::Plan, subject: known["plan"].clone(), verdict: Approve };
        let read = review(&shop.engine, &question).await.unwrap();
        let page = render(&read).unwrap();
        let (signed, advice) = page.split_once(&format!("sha256 {}\n", read.subject_sha256)).unwrap();
        assert!(advice.contains(quietest) && !signed.contains("quietest") && !read.document.contains("quietest"), "{page}");
        hours(&shop, 1).await;
        assert_eq!(review(&shop.engine, &question).await.unwrap().subject_sha256, read.subject_sha256);
        shop.sign(DecisionKind::Plan, known["plan"].clone(), Approve).await;
    }
}
