//! Decisions in a real browser that do not go straight through: two signatures, a request that ran out of time, a plan that was overtaken while
//! somebody read it; and a runbook that goes to and fro between a person in Chromium and an agent over MCP. Without Chromium the suite says
//! on one line that it is skipped.

mod support;

use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::{Value, json};
use support::{
    chromium::Browser,
    pages::Reader,
    passkeys::{Decider, admitted, sign_in},
    shop::{Approver, Database, Shop, text},
};

const OF_TWO: &str = r#"{ role = "chairman", expires = "60m", request_expires = "24h", on_approval = "wait", signatures = 2 }"#;

/// Somebody in Chromium whose passkey lies in its authenticator.
async fn seated(browser: &Browser, shop: &Shop, by: &Approver, name: &str) -> String {
    let origin = Reader::stranger(shop).origin();
    let link = shop.must("enrolment_link", json!({ "name": name, "role": "chairman" })).await;
    browser.go(&format!("{origin}/enrol?link={}", text(&link["token"]))).await;
    browser.click("form[data-passkey] button").await;
    browser.until("Your passkey is made").await;
    let waiting = shop.must("approvers", json!({})).await["waiting"][0].take();
    shop.decides(by, DecisionKind::Approver, waiting, DecisionVerdict::Approve, None).await.unwrap();
    browser.go(&origin).await;
    browser.until("Sign in with a passkey").await;
    browser.click("form[data-passkey] button").await;
    browser.until(&format!("signed in as {name}")).await;
    // That the page without a session was answered with 401.
    browser.complaints().await;
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signatures_make_an_approval_and_what_is_over_or_overtaken_takes_none() {
    let Some(browser) = Browser::open().await else { return };
    let (shop, key) = Shop::signed(Database::Sqlite, |shop| shop.configuration(OF_TWO)).await;
    let origin = seated(&browser, &shop, &key, "ada").await;
    let mut bobs = admitted(&shop, &key, "bob").await;
    let plan = shop.plan(&shop.directive("production", "1.0.0").await).await;
    let of_plan = format!("/plans/{plan}");

    browser.go(&format!("{origin}{of_plan}")).await;
    browser.until("0 of 2 signatures are there.").await;
    browser.click("button[value=approve]").await;
    browser.until("1 of 2 signatures are there: ada.").await;
    browser.picture("one-of-two").await;
    shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;
    // The same once more adds nothing.
    browser.click("button[value=approve]").await;
    browser.until("`ada` has approved").await;
    shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;
    let bob = sign_in(&shop, &mut bobs, "/").await;
    let said = Decider::at(&bob, &of_plan).await.decide(&mut bobs, "approve", "").await;
    assert_eq!(said.status, 303, "{}", said.body);
    assert_eq!(shop.execute(&plan).await["deployment"]["state"], "succeeded");

    // While ada reads, the configuration changes: what she signs is over nothing.
    let plan = shop.plan(&shop.directive("production", "2.0.0").await).await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.until("The passkey of ada signs it.").await;
    let brief = OF_TWO.replace("signatures = 2", "signatures = 1").replace("24h", "8s");
    shop.write("interlock.toml", &shop.configuration(&brief).replace("keep  = 5", "keep  = 4"));
    shop.apply_signed(&key).await;
    browser.click("button[value=approve]").await;
    browser.until("`configuration` was").await;
    browser.picture("overtaken").await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.until("An approval would count for nothing.").await;
    let refusal = shop.ask("execute_deployment", json!({ "plan": plan })).await.unwrap_err();
    assert!(text(&refusal["code"]).starts_with("approval_"), "{refusal:#}");

    // The request runs out before her open page; the page says so when it is opened again.
    let plan = shop.plan(&shop.directive("production", "3.0.0").await).await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.until("The passkey of ada signs it.").await;
    loop {
        let refusal = shop.ask("execute_deployment", json!({ "plan": plan })).await.unwrap_err();
        if refusal["code"] == "approval_expired" {
            break;
        }
        assert_eq!(refusal["code"], "approval_required", "{refusal:#}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    browser.click("button[value=approve]").await;
    browser.until("expired").await;
    browser.picture("expired").await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.until("Nobody decided, or used the decision, in time.").await;
    let refusal = shop.ask("execute_deployment", json!({ "plan": plan })).await.unwrap_err();
    assert!(text(&refusal["code"]).starts_with("approval_"), "{refusal:#}");

    // The positive control: asked again and in time, the same page decides.
    shop.write("interlock.toml", &shop.configuration(&OF_TWO.replace("signatures = 2", "signatures = 1")));
    shop.apply_signed(&key).await;
    let plan = shop.plan(&shop.directive("production", "4.0.0").await).await;
    browser.go(&format!("{origin}/plans/{plan}")).await;
    browser.click("button[value=approve]").await;
    browser.until("Approved by ada").await;
    assert_eq!(shop.execute(&plan).await["deployment"]["state"], "succeeded");
    browser.close().await;
}

/// Calls a tool as an agent does, over MCP.
async fn agent(shop: &Shop, tool: &str, arguments: Value) -> Value {
    let mut reply = shop.tool(tool, arguments).await;
    assert_ne!(reply["result"]["isError"], true, "{tool}: {reply:#}");
    reply["result"]["structuredContent"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_goes_to_and_fro_between_a_person_in_chromium_and_an_agent_over_mcp() {
    let Some(browser) = Browser::open().await else { return };
    let (shop, key) = Shop::signed(Database::Sqlite, |shop| shop.configuration(support::shop::APPROVAL)).await;
    let origin = seated(&browser, &shop, &key, "ada").await;
    let deployment = shop.deliver(&key, "1.0.0").await["deployment"]["id"].take();
    let write = async |notes: &str| agent(&shop, "write_runbook", json!({ "deployment": deployment, "notes": notes })).await;
    let written = write("Restart the till once and look.").await;
    let runbook = text(&written["runbook"]);
    let read = async |comments: bool| agent(&shop, "get_runbook", json!({ "runbook": runbook, "comments": comments })).await;
    let page = format!("{origin}/runbooks/{runbook}");

    // Ada reads it, and says what is missing of the very line.
    let book = text(&read(false).await["text"]);
    let line = book.lines().position(|line| line == "Restart the till once and look.").unwrap() + 1;
    browser.go(&format!("{page}?line={line}")).await;
    browser.until("What should the next version do about it?").await;
    browser.type_into("#comment-text", "look where?").await;
    browser.click(".comment-form button").await;
    browser.until("look where?").await;
    browser.picture("runbook-comment").await;
    let asked = read(true).await;
    assert_eq!((&asked["line_comments"][0]["text"], &asked["line_comments"][0]["became"]), (&json!("look where?"), &json!("open")));

    // The agent answers with the next version; ada sees what changed, and returns it with a reason.
    assert_eq!(write("Restart the till once and look at its last receipt.").await["version"], 2);
    browser.go(&page).await;
    browser.until("answered by version 2").await;
    browser.until("What changed since version 1").await;
    browser.picture("runbook-difference").await;
    browser.go(&format!("{origin}/decide/runbook?runbook={runbook}")).await;
    browser.type_into("#reason", "who is called when it stays dark?").await;
    browser.click("button[value=reject]").await;
    browser.until("returned").await;
    let returned = read(true).await;
    assert_eq!((&returned["state"], &returned["comments"][0]["reason"]), (&json!("returned"), &json!("who is called when it stays dark?")));

    // The third version answers that too, and is published by her signature alone.
    assert_eq!(write("Restart the till once and look at its last receipt. If it stays dark, call the owner.").await["version"], 3);
    browser.go(&format!("{origin}/decide/runbook?runbook={runbook}")).await;
    browser.until("The passkey of ada signs it.").await;
    assert_eq!(read(false).await["state"], "in_review");
    browser.click("button[value=approve]").await;
    browser.until("published").await;
    browser.picture("runbook-published").await;
    assert_eq!(read(false).await["state"], "published");
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbooks_page_follows_and_changes_no_decision_under_its_reader() {
    let Some(browser) = Browser::open().await else { return };
    let (shop, key) = Shop::signed(Database::Sqlite, |shop| shop.configuration(support::shop::APPROVAL)).await;
    let origin = seated(&browser, &shop, &key, "ada").await;
    let mut bobs = admitted(&shop, &key, "bob").await;
    let bob = sign_in(&shop, &mut bobs, "/").await;
    let token = bob.form_token().await;
    let deployment = shop.deliver(&key, "1.0.0").await["deployment"]["id"].take();
    let write = async |notes: &str| agent(&shop, "write_runbook", json!({ "deployment": deployment, "notes": notes })).await;
    let runbook = text(&write("Restart the till once and look.").await["runbook"]);
    let page = format!("/runbooks/{runbook}");
    let says = async |version: &str, words: &str| {
        let fields = [("form_token", token.as_str()), ("version", version), ("line", "1"), ("comment", words)];
        assert_eq!(bob.post(&format!("{page}/comments"), &fields).await.status, 303, "{words}");
    };
    let read = "const copy = document.querySelector('main').cloneNode(true); copy.querySelectorAll('time').forEach((age) => age.remove());
        return copy.textContent";
    let forms = async || browser.run("return document.querySelectorAll('main form[data-passkey]').length").await;
    let following = async || browser.run("return document.querySelector('#following').textContent").await;

    // While ada writes why, a comment comes in: it is there without loading, and her words, the form and her place in it stay.
    browser.go(&format!("{origin}{page}")).await;
    browser.until("The passkey of ada signs it.").await;
    browser.type_into("#reason", "who is called").await;
    browser.run("window.loaded = 'once'; window.form = document.querySelector('form[data-passkey]')").await;
    says("1", "which till?").await;
    browser.until("which till?").await;
    let stays = "const reason = document.querySelector('#reason');
        return [window.loaded, window.form?.isConnected, reason.value, document.activeElement === reason, reason.form === window.form]";
    assert_eq!(browser.run(stays).await, json!(["once", true, "who is called", true, true]));
    assert_eq!(following().await, "");

    // The agent writes another version: what she reads and signs stays as it is, is said to have changed, and counts for nothing.
    let before = browser.run(read).await;
    assert_eq!(write("Restart the till once and look at its last receipt.").await["version"], 2);
    browser.until("What is shown here has changed since").await;
    browser.picture("runbook-held").await;
    assert_eq!((browser.run(read).await, browser.run(stays).await), (before, json!(["once", true, "who is called", true, true])));
    browser.complaints().await;
    browser.click("button[value=approve]").await;
    browser.until("what stands now is not what the page has shown").await;
    assert_eq!(agent(&shop, "get_runbook", json!({ "runbook": runbook })).await["state"], "in_review");
    assert!(browser.complaints().await.iter().all(|complaint| complaint.contains("403")));

    // Once she has left the form the page goes on, with the new version, and without a form over bytes that she has not loaded.
    browser.run("const reason = document.querySelector('#reason'); reason.value = ''; reason.focus(); reason.blur()").await;
    browser.until("What changed since version 1").await;
    browser.until("What is to be decided came in while you read.").await;
    assert_eq!((forms().await, following().await, browser.run("return window.loaded").await), (json!(0), json!(""), json!("once")));
    says("2", "and the one upstairs?").await;
    browser.until("and the one upstairs?").await;
    assert_eq!(forms().await, 0);
    browser.picture("runbook-followed").await;

    // The positive control: loaded again it has the form, which publishes; the page of somebody else shows that without being loaded.
    browser.click(".action p a").await;
    browser.until("The passkey of ada signs it.").await;
    assert_eq!((forms().await, browser.run("return window.loaded ?? 'again'").await), (json!(1), json!("again")));
    browser.run("window.loaded = 'twice'").await;
    let said = Decider::at(&bob, &page).await.decide(&mut bobs, "approve", "").await;
    assert_eq!(said.status, 303, "{}", said.body);
    browser.until("bob published it").await;
    assert_eq!((forms().await, browser.run("return window.loaded").await), (json!(0), json!("twice")));
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}
