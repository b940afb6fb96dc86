//! The pages in a real browser: Chromium with a virtual authenticator makes a passkey, signs in with it and decides with it. Without
//! Chromium the suite says on one line that it is skipped.

mod support;

use interlock::{
    decisions::Enrolment,
    model::{DecisionKind, DecisionVerdict},
};
use serde_json::json;
use support::{
    authenticator::Authenticator,
    chromium::Browser,
    pages::Reader,
    passkeys::enrol,
    required,
    shop::{APPROVAL, Database, Shop, text},
};

/// The pictures of the book: the page, the picture's name, and how much of the page it shows.
const BOOK: &[(&str, &str, u64)] =
    &[("", "home", 430), ("plans", "plan", 380), ("deployments", "deployment", 470), ("runbooks", "runbook", 480)];

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
    let enrolment: Enrolment = serde_json::from_value(waiting.clone()).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody_in_both_themes_at_both_widths() {
    let modules = std::env::var_os("INTERLOCK_NODE_MODULES").map(std::path::PathBuf::from);
    let axe = modules.map(|modules| modules.join("axe-core/axe.min.js")).filter(|axe| axe.is_file());
    let Some(axe) = required::found("node", axe, "no axe-core: run `.ci/setup` and read target/ci/env") else { return };
    let (axe, Some(browser)) = (std::fs::read_to_string(axe).unwrap(), Browser::open().await) else { return };
    let shop = Shop::open(Database::Sqlite).await;
    let origin = Reader::stranger(&shop).origin();

    // The first approver has a passkey alone, and puts the configuration in force with it: with the keyboard alone.
    let link = shop.must("enrolment_link", json!({ "name": "ada", "role": "chairman" })).await;
    browser.go(&format!("{origin}/enrol?link={}", text(&link["token"]))).await;
    browser.click("form[data-passkey] button").await;
    browser.until("It counts now").await;
    browser.go(&format!("{origin}/decide/configuration")).await;
    browser.click("form[data-passkey] button").await;
    browser.until("The passkey of ada signs it.").await;
    assert!(browser.faults(&axe).await.is_empty(), "{:#?}", browser.faults(&axe).await);
    browser.picture("configuration-waits").await;
    let mut pressed = 0;
    while browser.run("return document.activeElement?.textContent").await != "Put in force" {
        assert!(pressed < 60, "Tab never comes to the button");
        browser.press("\u{e004}").await;
        pressed += 1;
    }
    browser.press("\u{e007}").await;
    browser.until("In force").await;
    let is_open = async || browser.run("return document.querySelector('dialog[open]') !== null").await == true;
    browser.press("?").await;
    browser.until("these keys").await;
    browser.press("\u{e00c}").await;
    while is_open().await {}
    browser.press("gf").await;
    browser.until("nothing is frozen").await;

    let addresses = furnished(&shop).await;
    browser.complaints().await;
    let (mut looked, mut faults) = (0, Vec::new());
    for address in &addresses {
        browser.go(&format!("{origin}{address}")).await;
        for (width, theme) in [(1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")] {
            browser.look(width, theme).await;
            faults.extend(browser.faults(&axe).await.into_iter().map(|fault| format!("{address} {theme} {width}: {fault}")));
            looked += 1;
        }
        let name = address.trim_start_matches('/').split(['?', '/']).next().unwrap_or_default();
        browser.picture(&format!("page-{}", if name.is_empty() { "home" } else { name })).await;
        if let Some((_, shown, height)) = BOOK.iter().find(|(page, ..)| *page == name) {
            browser.for_the_book(shown, *height).await;
        }
        // Whoever has no JavaScript reads the same: every heading and every cell.
        let read = "const said = (one) => { const copy = one.cloneNode(true); copy.querySelectorAll('time').forEach((age) => age.remove());
                return copy.textContent; };
            return [...document.querySelectorAll('main h1, main h2, main td, main .command')].filter((one) => one.checkVisibility()).map(said)";
        let with = browser.run(read).await;
        browser.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        browser.go(&format!("{origin}{address}")).await;
        let without = browser.run(read).await;
        browser.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await;
        assert_eq!(with, without, "{address}");
    }
    println!("figure: axe-core: {} violations in {looked} looks at {} pages", faults.len(), addresses.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(browser.complaints().await, [""; 0], "what the policy of the pages forbids");

    // The positive control: a picture without words and words that nobody can read are found, and a script that was smuggled in is refused.
    let plant = "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=\"/icon.svg\"><p style=\"\">grey</p>');
        const words = document.querySelector('main p:last-child'); words.style.color = '#ddd'; words.style.background = '#eee';
        const script = document.createElement('script'); script.textContent = 'alert(1)'; document.body.append(script);";
    browser.run(plant).await;
    let found = browser.faults(&axe).await.join("\n");
    assert!(found.contains("image-alt") && found.contains("color-contrast"), "{found}");
    let complaints = browser.complaints().await.join("\n");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
    browser.close().await;
}

/// Fills the record with something of each kind; returns the address of every page.
async fn furnished(shop: &Shop) -> Vec<String> {
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(shop.deploy(version, &shop.build(version)).await["state"], "succeeded");
    }
    let newest = text(&shop.must("list_deployments", json!({ "environment": "staging" })).await["deployments"][0]["id"]);
    let back = shop.must("rollback_deployment", json!({ "deployment": newest, "reason": "the till rounds wrong" })).await;
    shop.settled(&text(&back["deployment"])).await;
    let runbook = text(&shop.must("write_runbook", json!({ "deployment": newest })).await["runbook"]);
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    assert!(enrol(shop, "bob", &mut Authenticator::eddsa()).await.body.contains("does not count yet"));
    let waiting: Enrolment = serde_json::from_value(shop.must("approvers", json!({})).await["waiting"][0].take()).unwrap();
    shop.must("freeze", json!({ "environment": "staging", "reason": "a look at the till" })).await;
    let fixed =
        ["/", "/directives", "/history", "/runbooks", "/figures", "/ventures", "/freezes", "/incidents", "/configuration", "/people"];
    let of_one = [
        format!("/plans/{plan}"),
        format!("/deployments/{newest}"),
        format!("/directives/{directive}"),
        format!("/runbooks/{runbook}"),
        format!("/decide/approver?fingerprint={}", waiting.public_key.fingerprint()),
        "/decide/unfreeze?freeze=frz_1".into(),
        format!("/decide/rollback?to={newest}"),
        "/audit?verify=1".into(),
    ];
    fixed.map(str::to_owned).into_iter().chain(of_one).collect()
}
