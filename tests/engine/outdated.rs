//! Gate `outdated`: a list of outdated packages counts with how many were compared, and for the release it was made of.

use crate::{
    support::databases::databases,
    world::{Repository, Shop},
};
use serde_json::{Value, json};
use std::time::Duration;

const CURRENT: &str = include_str!("../fixtures/reports/renovate.json");
const BEHIND: &str = include_str!("../fixtures/reports/renovate-behind.json");
const FAILED_LOOKUP: &str = include_str!("../fixtures/reports/renovate-failed-lookup.json");
const ERROR: &str = include_str!("../fixtures/reports/renovate-error.json");

/// Returns what the gate says once this report is handed over: verdict, value and reason.
async fn judged(shop: &Shop, directive: &str, report: &str) -> (String, Value, String) {
    let evidence = json!({ "directive": directive, "kind": "outdated", "content": report });
    told(&shop.must("record_evidence", evidence).await)
}

fn told(reply: &Value) -> (String, Value, String) {
    let gate = reply["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "outdated").unwrap();
    assert_eq!(gate["verdict"] == "pass", gate["how"].is_null(), "{gate:#}");
    let text = |field: &str| gate[field].as_str().unwrap_or_default().to_owned();
    (text("verdict"), gate["value"].clone(), text("reason"))
}

#[tokio::test]
async fn a_list_of_outdated_packages_counts_with_what_it_was_made_of() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        Repository::of(&shop).commit("package.json", "{}");
        let asked = shop.text.replace("tests = { run = \">= 1\", failed = \"<= 0\" }", "outdated = { majors_behind = \"<= 1\" }");
        assert_ne!(asked, shop.text);
        shop.configure(&asked).await;
        let directive = shop.order("staging", "1.0.0").await;
        let before = told(&shop.must("run_predeploy_checks", json!({ "directive": directive })).await);
        assert_eq!((before.0.as_str(), before.2.as_str()), ("inconclusive", "there is no evidence for `outdated`"));

        // What tools print when everything is current, and when nothing was looked at.
        for empty in ["{}", "[]", r#"{"crate_name":"web","dependencies":[]}"#, r#"{"tool":"npm","outdated":[]}"#] {
            let evidence = json!({ "directive": directive, "kind": "outdated", "content": empty });
            let refused = shop.call("record_evidence", evidence).await.unwrap_err().error;
            assert_eq!(refused.code.as_str(), "invalid_arguments", "{empty}");
            assert!(refused.message.starts_with("the report cannot be read: the report is no outdated report: "), "{}", refused.message);
            assert!(refused.hint.contains("\"examined\": 42"), "{}", refused.hint);
        }
        let unknown = r#"{"tool":"pip","examined":40,"outdated":[],"unknown":["shop-secrets"]}"#;
        for (report, reason) in [
            (r#"{"tool":"npm","examined":0,"outdated":[]}"#, "no comparison of packages that came to its end"),
            (unknown, "came to its end (`1 of 41 could not be compared: shop-secrets`)"),
            (FAILED_LOOKUP, "(`4 of 10 could not be compared: rand, itoa, bitflags …`, `uuid 8.3.2, newest 14.0.3`"),
            (ERROR, "(`1 of 1 could not be compared: Repository has unknown error`)"),
        ] {
            let (verdict, value, told) = judged(&shop, &directive, report).await;
            assert_eq!((verdict.as_str(), value), ("inconclusive", Value::Null), "{report}");
            assert!(told.contains(reason), "not `{reason}`: {told}");
        }

        let (verdict, value, reason) = judged(&shop, &directive, BEHIND).await;
        assert_eq!((verdict.as_str(), value), ("fail", json!("majors_behind = 6")));
        assert!(
            reason.starts_with("majors_behind is 6, must be <= 1 (`uuid 8.3.2, newest 14.0.3`, `attrs 21.4.0, newest 26.1.0`"),
            "{reason}"
        );
        let npm = r#"{"tool":"npm","examined":3,"outdated":[{"name":"uuid","current":"8.3.2","latest":"14.0.3"}]}"#;
        assert_eq!(judged(&shop, &directive, npm).await.1, json!("majors_behind = 6"));
        for good in [CURRENT, r#"{"tool":"npm","examined":3,"outdated":[]}"#] {
            assert_eq!(judged(&shop, &directive, good).await.0, "pass", "{good}");
        }

        // For these bytes, and not for ever.
        let other = shop.order("staging", "1.1.0").await;
        let none = told(&shop.must("run_predeploy_checks", json!({ "directive": other })).await);
        assert_eq!((none.0.as_str(), none.2.as_str()), ("inconclusive", "there is no evidence for `outdated`"));
        shop.clock.advance(Duration::from_secs(25 * 3600));
        let stale = told(&shop.must("run_predeploy_checks", json!({ "directive": directive })).await);
        assert!(stale.0 == "inconclusive" && stale.2.contains("25 h old, and at most 24 h counts"), "{stale:?}");
    }
}
