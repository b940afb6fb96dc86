//! The pages in a real browser: Chromium with a virtual authenticator makes a passkey, signs in with it and decides with it. Without
//! Chromium the suite says on one line that it is skipped.

mod support;

use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::json;
use support::{
    chromium::Browser,
    pages::Reader,
    shop::{APPROVAL, Database, Shop, text},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_made_signs_in_and_decides_in_chromium() {
    let Some(browser) = Browser::open().await else { return };
    let (shop, ada) = Shop::signed(Database::Sqlite, |shop| shop.configuration(APPROVAL)).await;
    let origin = Reader::stranger(&shop).origin();

    let link = shop.must("enrolment_link", json!({ "name": "ada", "role": "chairman" })).await;
    browser.go(&format!("{origin}/enrol?link={}", text(&link["token"]))).await;
    browser.until("Make the passkey").await;
    browser.picture("enrol").await;
    browser.click("form[data-passkey] button").await;
    browser.until("Your passkey is made").await;
    browser.picture("enrolled").await;
    let waiting = shop.must("approvers", json!({})).await["waiting"][0].take();
    let enrolment: interlock::decisions::Enrolment = serde_json::from_value(waiting.clone()).unwrap();
    browser.until(&format!("interlock approver admit {}", enrolment.public_key.fingerprint())).await;
    shop.decides(&ada, DecisionKind::Approver, waiting, DecisionVerdict::Approve, None).await.unwrap();
    assert_eq!(browser.complaints().await, [""; 0]);

    let plan = shop.plan(&shop.directive("production", "1.0.0").await).await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.until("Sign in with a passkey").await;
    browser.picture("sign-in").await;
    browser.click("form[data-passkey] button").await;
    browser.until("signed in as ada").await;
    browser.until("The passkey of ada signs it.").await;
    browser.picture("plan").await;
    // The one complaint is that of the page without a session, which is answered with 401.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.contains("401")), "{complaints:?}");

    browser.click("button[value=reject]").await;
    browser.until("a refusal needs a reason").await;
    assert_eq!(browser.complaints().await.len(), 1, "the answer is 403");
    browser.type_into("#reason", "not on a Friday").await;
    browser.click("button[value=reject]").await;
    browser.until("Rejected by ada: not on a Friday").await;
    shop.refused("approval_rejected", "execute_deployment", json!({ "plan": plan })).await;

    let plan = shop.plan(&shop.directive("production", "2.0.0").await).await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.until("The passkey of ada signs it.").await;
    browser.click("button[value=approve]").await;
    browser.until("Approved by ada").await;
    browser.picture("approved").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    assert_eq!(shop.execute(&plan).await["deployment"]["state"], "succeeded");

    // At the address no passkey is offered, and the page leads to where they are.
    browser.go(&format!("{}/plans/{plan}", origin.replace("localhost", "127.0.0.1"))).await;
    browser.until(&format!("Yours work at {origin}/plans/{plan}")).await;
    browser.picture("by-address").await;
    browser.close().await;
}
