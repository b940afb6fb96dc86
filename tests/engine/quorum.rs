//! More than one person approves where configuration says so, with either kind of key; a no stops, and who asked does not count.

use crate::{
    passkeys::{Page, approves, refusal},
    support::{authenticator::Authenticator, databases::databases},
    world::{Shop, person},
};
use interlock::{
    decisions::Question,
    error::Code,
    model::{Caller, DecisionKind, DecisionVerdict},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Has production ask for more than a role.
async fn asking(shop: &Shop, more: &str) {
    let text = shop.text.replace("role = \"chairman\"", &format!("role = \"chairman\", {more}"));
    assert_ne!(text, shop.text);
    shop.configure(&text).await;
}

async fn rejects(shop: &Shop, plan: &Value) {
    shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Reject).await;
}

async fn waits_with(shop: &Shop, plan: &Value, of: &str) {
    let refused = shop.call("execute_deployment", json!({ "plan": plan })).await.unwrap_err();
    assert_eq!(refused.body["code"], "approval_required", "{:#}", refused.body);
    assert!(refused.body["message"].as_str().unwrap().contains(of), "{:#}", refused.body);
}

async fn executes(shop: &Shop, plan: &Value) {
    let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
    assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
}

#[tokio::test]
async fn two_different_people_approve_a_no_stops_and_what_is_over_counts_no_longer() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        asking(&shop, "signatures = 2").await;
        let page = Page::of(&shop);
        let mut bob = page.admitted("bob", "chairman", Authenticator::eddsa()).await;
        let mut ada = page.admitted("ada", "chairman", Authenticator::es256()).await;
        shop.deploy("1.0.0").await;
        let plan = shop.plan_in_production("1.0.0").await;
        waits_with(&shop, &plan, "0 of 2").await;
        let first = shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
        assert_eq!(first["approvals"], json!({ "given": ["ada"], "needed": 2 }));
        waits_with(&shop, &plan, "1 of 2").await;
        // One person is one, whatever she signs with.
        refusal(page.decide("ada", &approves(&plan), &mut ada).await, "has approved");
        waits_with(&shop, &plan, "1 of 2").await;

        // A no stops, also one of somebody who has said yes; what was given before it is gone.
        let no = Question { verdict: DecisionVerdict::Reject, ..approves(&plan) };
        page.decide("bob", &no, &mut bob).await.unwrap();
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_rejected");
        page.decide("bob", &approves(&plan), &mut bob).await.unwrap();
        waits_with(&shop, &plan, "1 of 2").await;
        page.decide("ada", &approves(&plan), &mut ada).await.unwrap();
        // An approval that stands is taken back by one no as well.
        rejects(&shop, &plan).await;
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_rejected");
        page.decide("ada", &approves(&plan), &mut ada).await.unwrap();

        // Nobody else came in time: with the next request everybody is asked again.
        let directive = shop.engine.store.plan(&plan.as_str().unwrap().into()).await.unwrap().unwrap().plan.directive;
        shop.clock.advance(Duration::from_secs(25 * 3_600));
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_expired");
        let again = shop.must("plan_deployment", json!({ "directive": directive })).await["plan"].take();
        assert_eq!(again, plan, "{}", database.name);
        page.decide("bob", &approves(&plan), &mut bob).await.unwrap();
        waits_with(&shop, &plan, "1 of 2").await;
        let complete = page.decide("ada", &approves(&plan), &mut ada).await.unwrap();
        assert_eq!(complete["approvals"], json!({ "given": ["bob", "ada"], "needed": 2 }));
        executes(&shop, &plan).await;
        assert_eq!(shop.engine.store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn both_signatures_count_at_execution_and_a_new_plan_has_none() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        asking(&shop, "signatures = 2").await;
        let page = Page::of(&shop);
        let mut bob = page.admitted("bob", "chairman", Authenticator::es256()).await;
        shop.deploy("1.0.0").await;
        let plan = shop.plan_in_production("1.0.0").await;
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
        // A plan in the place of this one begins without any.
        asking(&shop, "signatures = 2, expires = \"50m\"").await;
        let directive = shop.engine.store.plan(&plan.as_str().unwrap().into()).await.unwrap().unwrap().plan.directive;
        let newer = shop.must("plan_deployment", json!({ "directive": directive })).await["plan"].take();
        assert_ne!(newer, plan);
        waits_with(&shop, &newer, "0 of 2").await;
        shop.sign(DecisionKind::Plan, newer.clone(), DecisionVerdict::Approve).await;
        page.decide("bob", &approves(&newer), &mut bob).await.unwrap();
        // One of the two turns out to be cloned before it is executed: then one is left, and that is not enough.
        let other = Question { kind: DecisionKind::SignOff, subject: json!({ "directive": directive, "fact": "uat" }), ..approves(&plan) };
        bob.counter = Some(0);
        refusal(page.decide("bob", &other, &mut bob).await, "counter went back");
        let refused = shop.refused("execute_deployment", json!({ "plan": newer })).await;
        assert_eq!(refused, "approval_required", "{}", database.name);
    }
}

#[tokio::test]
async fn under_four_eyes_who_asked_does_not_count() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        asking(&shop, "four_eyes = true").await;
        let page = Page::of(&shop);
        let mut bob = page.admitted("bob", "chairman", Authenticator::eddsa()).await;
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            shop.deploy(version).await;
        }
        // Asked for by bob, who is somebody on the page: ada approves, and he does not.
        let by = Caller { principal: "bob".into(), ..person() };
        let order = json!({ "service": "web", "environment": "production", "version": "1.0.0", "artifact": shop.build("1.0.0") });
        let directive = shop.call_as(by, "create_directive", order).await.unwrap()["directive"]["id"].take();
        let planned = async |directive: &Value| {
            let asked = json!({ "directive": directive });
            shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), DecisionVerdict::Approve).await;
            shop.must("run_predeploy_checks", asked.clone()).await;
            shop.must("plan_deployment", asked).await["plan"].take()
        };
        let plan = planned(&directive).await;
        refusal(page.decide("bob", &approves(&plan), &mut bob).await, "has asked for");
        waits_with(&shop, &plan, "waits for a person").await;
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
        executes(&shop, &plan).await;

        // Asked for at the command line, by nobody knows whom: of two who approve one is somebody else.
        let order = json!({ "service": "web", "environment": "production", "version": "2.0.0", "artifact": shop.build("2.0.0") });
        let directive = shop.call_as_person("create_directive", order).await.unwrap()["directive"]["id"].take();
        let plan = planned(&directive).await;
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
        waits_with(&shop, &plan, "1 of 2").await;
        page.decide("bob", &approves(&plan), &mut bob).await.unwrap();
        executes(&shop, &plan).await;

        // The positive control: what an agent has asked for, bob approves alone.
        let plan = shop.plan_in_production("3.0.0").await;
        page.decide("bob", &approves(&plan), &mut bob).await.unwrap();
        executes(&shop, &plan).await;
    }
}

#[tokio::test]
async fn how_many_must_sign_is_read_strictly() {
    let databases = databases().await;
    let shop = Shop::open(&databases[0].url).await;
    for wrong in ["signatures = 0", "signatures = 21", "signatures = \"2\"", "four_eyes = false", "four_eyes = 1", "quorum = 2"] {
        let text = shop.text.replace("role = \"chairman\"", &format!("role = \"chairman\", {wrong}"));
        let refused = shop.engine.apply(&person(), &text).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidConfiguration, "{wrong}");
    }
}
