//! The pages in a real browser: Chromium with a virtual authenticator makes a passkey, signs in with it and decides with it. Without
//! Chromium the suite says on one line that it is skipped.

mod support;

use interlock::{
    decisions::Enrolment,
    model::{DecisionKind, DecisionVerdict},
};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    PATIENCE,
    authenticator::Authenticator,
    chromium::Browser,
    configuration::{Times, demo_app, place, service},
    pages::Reader,
    passkeys::enrol,
    required,
    shop::{APPROVAL, Database, Shop, served, text},
    workspace::signal,
};

/// The pictures of the book: the page, the picture's name, and how much of the page it shows.
const BOOK: &[(&str, &str, u64)] =
    &[("", "home", 430), ("plans", "plan", 380), ("deployments", "deployment", 512), ("runbooks", "runbook", 480)];

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
    // However long the second key takes; what is no section ends the wait.
    browser.press("gz").await;
    browser.press("f").await;
    browser.press("g").await;
    browser.press("f").await;
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
    assert_eq!(shop.deploy("1.0.0", &shop.build("1.0.0")).await["state"], "succeeded");
    let staging = shop.staging;
    let customers = tokio::spawn(async move {
        loop {
            served(staging).await;
        }
    });
    assert_eq!(shop.deploy("1.1.0", &shop.build("1.1.0")).await["state"], "succeeded");
    customers.abort();
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

/// Notes in the page when each step first stood there, and when it first stood there as done.
const NOTES: &str = "window.noted = {};
    const note = () => { for (const row of document.querySelectorAll('tr[id^=step-]')) {
        const step = window.noted[row.id.slice(5)] ??= { there: Date.now() };
        if (row.querySelector('[data-label=State]').textContent.includes('done')) step.done ??= Date.now(); } };
    note(); new MutationObserver(note).observe(document.querySelector('main'), { childList: true, subtree: true });
    return Date.now();";

/// What somebody reads, without how long ago it was.
const READ: &str = "const said = (one) => { const copy = one.cloneNode(true); copy.querySelectorAll('time').forEach((age) => age.remove());
        return copy.textContent; };
    return [...document.querySelectorAll('main h1, main h2, main td, main th, main p, main .command')]
        .filter((one) => one.checkVisibility()).map(said);";

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_followed_within_a_second_also_when_the_server_was_away() {
    let Some(browser) = Browser::open().await else { return };
    let times = Times { bake: "3s", ..Times::SHORT };
    let both = |shop: &Shop| service(&demo_app(), times) + &place("staging", shop.staging);
    let mut shop = Shop::configured(Database::Sqlite, both).await;
    let (address, _) = shop.listens();
    let origin = Reader::stranger(&shop).origin();
    let link = shop.must("enrolment_link", json!({ "name": "ada", "role": "chairman" })).await;
    browser.go(&format!("{origin}/enrol?link={}", text(&link["token"]))).await;
    browser.click("form[data-passkey] button").await;
    browser.until("It counts now").await;

    // Home follows, too: what happens there was not there when it was opened.
    browser.go(&origin).await;
    browser.click("form[data-passkey] button").await;
    browser.until("signed in as ada").await;
    assert_eq!(shop.deploy("1.0.0", &shop.build("1.0.0")).await["state"], "succeeded");
    browser.until("1 of 1 place serve").await;

    let customers = tokio::spawn({
        let staging = shop.staging;
        async move {
            let (mut answered, mut failed) = (0, Vec::new());
            loop {
                match served(staging).await {
                    body if body.starts_with("hello from ") => answered += 1,
                    other => failed.push(other),
                }
                if answered % 200 == 0 {
                    println!("{answered} customers so far, {} refused", failed.len());
                }
                assert!(failed.is_empty(), "{failed:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });

    // It is held where it is until the page is there, so that most of it happens under somebody's eyes.
    let begun = async |version: &str| {
        let directive = shop.directive("staging", version).await;
        let started = shop.must("execute_deployment", json!({ "plan": shop.plan(&directive).await })).await;
        let deployment = text(&started["deployment"]);
        shop.must("hold_deployment", json!({ "deployment": deployment, "held": true })).await;
        browser.go(&format!("{origin}/deployments/{deployment}")).await;
        deployment
    };
    let titled = async |word: &str| {
        let began = std::time::Instant::now();
        while !browser.run("return document.querySelector('main .title')?.textContent ?? ''").await.as_str().unwrap().contains(word) {
            assert!(began.elapsed() < PATIENCE, "the page never says `{word}`");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let deployment = begun("2.0.0").await;
    titled("paused").await;
    browser.type_into("#back-why", "the till rounds wrong").await;
    let opened = browser.run(NOTES).await.as_i64().unwrap();
    shop.must("hold_deployment", json!({ "deployment": deployment, "held": false })).await;
    let settled = shop.settled(&deployment).await;
    assert_eq!(settled["state"], "succeeded", "{settled:#}");
    titled("succeeded").await;
    let noted = browser.run("return window.noted").await;
    let mut behind = Vec::new();
    for step in settled["steps"].as_array().unwrap() {
        let id = step["step"].as_str().unwrap();
        for (event, at) in [("there", &step["started_at"]), ("done", &step["ended_at"])] {
            // What had happened when the page was opened was in it from the start.
            let Some(at) = at.as_i64().filter(|at| *at > opened) else { continue };
            let seen = noted[id][event].as_i64().unwrap_or_else(|| panic!("`{id}` was never {event}: {noted:#}"));
            behind.push((seen - at, format!("{id} {event}")));
        }
    }
    behind.sort();
    let (slowest, median) = (behind.last().expect("steps happened while the page was open"), &behind[behind.len() / 2]);
    println!(
        "figure: a page shows a step {} ms behind the record in the median, {} ms at most ({}), n = {}",
        median.0,
        slowest.0,
        slowest.1,
        behind.len()
    );
    assert!(behind.len() >= 8, "{behind:?}");
    assert!(slowest.0 <= 1_000, "{behind:?}");
    // What somebody types, and where they are, is theirs; what a reader hears is the state alone.
    assert_eq!(
        browser.run("return document.activeElement.id + ': ' + document.activeElement.value").await,
        "back-why: the till rounds wrong"
    );
    assert!(browser.run("return document.querySelector('#state').textContent").await.as_str().unwrap().contains("2.0.0 in staging"));
    assert_eq!(browser.complaints().await.iter().filter(|complaint| !complaint.contains("401")).count(), 0);
    // What was kept for them follows once they have left it.
    browser.run("const why = document.querySelector('#back-why'); why.value = ''; why.blur()").await;
    let began = std::time::Instant::now();
    while browser.run("return document.querySelector('#actions').textContent").await.as_str().unwrap().contains("Let it go on") {
        assert!(began.elapsed() < PATIENCE, "the page does not follow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let began = std::time::Instant::now();
    while browser.run("return document.querySelector('.live-hint') !== null").await == true {
        assert!(began.elapsed() < PATIENCE, "the page of a settled deployment comes to no end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let with = browser.run(READ).await;
    browser.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.go(&format!("{origin}/deployments/{deployment}")).await;
    assert_eq!(with, browser.run(READ).await, "whoever has no JavaScript reads the same");
    browser.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await;

    // A server that says nothing for a while: the page says so, and goes on by itself.
    let deployment = begun("3.0.0").await;
    titled("paused").await;
    let server = interlock::server::Running::of(&shop).expect("a server runs").pid as i32;
    signal(server, rustix::process::Signal::STOP);
    browser.until("The connection to the server is lost").await;
    browser.picture("connection-lost").await;
    signal(server, rustix::process::Signal::CONT);
    let says =
        async |words: &str| browser.run("return document.querySelector('#following').textContent").await.as_str().unwrap().contains(words);
    let began = std::time::Instant::now();
    while says("is lost").await {
        assert!(began.elapsed() < PATIENCE, "the page does not find the server again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!says("signed out").await);
    shop.must("hold_deployment", json!({ "deployment": deployment, "held": false })).await;
    titled("succeeded").await;

    // A server that was killed has forgotten its sessions: the page says both, keeps what it showed, and is back after one touch.
    let deployment = begun("4.0.0").await;
    titled("paused").await;
    browser.complaints().await;
    shop.kill_server().unwrap();
    shop.ended().await.unwrap();
    browser.until("The connection to the server is lost").await;
    let restarted = shop.interlock(&["serve", "--listen", &address.to_string()]);
    shop.start(restarted).await.unwrap();
    browser.until("You are signed out").await;
    browser.until("4.0.0 in staging").await;
    let forbidden: Vec<String> = browser.complaints().await.into_iter().filter(|one| one.contains("Content Security Policy")).collect();
    assert_eq!(forbidden, [""; 0]);
    browser.click("#following a").await;
    browser.until("Sign in with a passkey").await;
    browser.click("form[data-passkey] button").await;
    browser.until("signed in as ada").await;
    shop.must("hold_deployment", json!({ "deployment": deployment, "held": false })).await;
    titled("succeeded").await;
    assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
    assert!(!customers.is_finished(), "a customer was refused: {:?}", customers.await);
    customers.abort();
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_somebody_decides_on_says_that_it_has_changed_and_stays() {
    let Some(browser) = Browser::open().await else { return };
    let (shop, ada) = Shop::signed(Database::Sqlite, |shop| shop.configuration(APPROVAL)).await;
    let origin = Reader::stranger(&shop).origin();
    let plan = shop.plan(&shop.directive("production", "1.0.0").await).await;
    browser.go(&text(&shop.must("open", json!({ "to": format!("/plans/{plan}") })).await["url"])).await;
    browser.until(&format!("interlock approve {plan}")).await;
    browser.run("window.stays = document.querySelector('main'); window.reads = stays.textContent").await;
    let following = async || browser.run("return document.querySelector('#following').textContent").await;

    // What happens elsewhere is nothing to this page.
    shop.deploy("2.0.0", &shop.build("2.0.0")).await;
    assert_eq!(following().await, "");
    shop.approves(&ada, &plan).await.unwrap();
    browser.until("What is shown here has changed since").await;
    let stays: Value =
        browser.run("return document.querySelector('main') === window.stays && window.stays.textContent === window.reads").await;
    assert_eq!(stays, true, "what somebody reads before they decide stays as it is");
    browser.picture("changed").await;
    browser.click("#following a").await;
    browser.until("Approved by ada").await;
    assert_eq!(following().await, "");
    assert_eq!(browser.complaints().await, [""; 0]);
    assert!(origin.starts_with("http://localhost"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployments_page_prints_as_a_proof_on_two_sheets() {
    let Some(browser) = Browser::open().await else { return };
    let feeds = r#"
[gates]
tests    = { run = ">= 1", failed = "<= 0", command = ["cat", "junit.xml"], report = "-", format = "junit" }
coverage = { lines_percent = ">= 80", command = ["cat", "lcov.info"], report = "-", format = "lcov" }
load     = { p95_ms = "<= 500", command = ["cat", "load.json"], report = "-", format = "k6" }
"#;
    let asks = |shop: &Shop| {
        let on = ["tests           ", "coverage        ", "load            ", "promoted_from   ", "sign_off        "];
        let text = shop.configuration(APPROVAL).replace("phase    = \"phase-06\"", "phase    = \"phase-06\"\nafter    = \"staging\"");
        on.iter().fold(text, |text, gate| text.replace(&format!("{gate}= \"off\"\n"), "")) + feeds
    };
    let (shop, ada) = Shop::signed(Database::Sqlite, asks).await;
    shop.write(
        "junit.xml",
        r#"<testsuites><testsuite name="a" tests="2" failures="0"><testcase name="b"/><testcase name="c"/></testsuite></testsuites>"#,
    );
    shop.write("lcov.info", "SF:src/till.rs\nDA:1,1\nDA:2,1\nLF:2\nLH:2\nend_of_record\n");
    shop.write("load.json", include_str!("fixtures/reports/k6-summary-export.json"));
    shop.commit();
    let mut delivered = json!({});
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(shop.deploy(version, &shop.build(version)).await["state"], "succeeded");
        let directive = shop.directive("production", version).await;
        shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        let uat = json!({ "directive": directive, "fact": "uat" });
        shop.decides(&ada, DecisionKind::SignOff, uat, DecisionVerdict::Approve, None).await.unwrap();
        shop.until(&directive, "checked").await;
        let plan = shop.plan(&directive).await;
        shop.approves(&ada, &plan).await.unwrap();
        delivered = shop.execute(&plan).await;
        assert_eq!(delivered["state"], "succeeded", "{delivered:#}");
        for _ in 0..20 {
            assert!(served(shop.production).await.starts_with("hello from "));
        }
    }
    let deployment = &delivered["deployment"];
    let page = format!("/deployments/{}", text(&deployment["id"]));
    browser.go(&text(&shop.must("open", json!({ "to": page })).await["url"])).await;
    browser.until("On whose word").await;
    let sheets = browser.printed("proof").await;
    println!("figure: the proof of a deployment takes {sheets} sheets of A4");
    assert!((1..=2).contains(&sheets), "{sheets} sheets");

    // What stands on them: who, which bytes, on what evidence, what customers felt, every step, and when; and nothing else.
    browser.cdp("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
    let on_paper = browser.run("return document.body.innerText").await.as_str().unwrap().to_owned();
    let shown = "return [...document.querySelectorAll('nav, form, button, input, select, #log, pre')].filter((one) => one.checkVisibility()).map((one) => one.outerHTML)";
    assert_eq!(browser.run(shown).await, json!([]));
    let instants = "return [...document.querySelectorAll('.lead time')].map((one) => [getComputedStyle(one).fontSize, getComputedStyle(one, '::after').content])";
    let instants = browser.run(instants).await;
    assert!(
        instants[0][0] == "0px" && instants[0][1].as_str().is_some_and(|at| at.starts_with("\"20") && at.ends_with("Z\"")),
        "{instants}"
    );
    let mut expected =
        vec![text(&deployment["digest"]), text(&deployment["plan"]), "none measured".into(), "signature verified now".into()];
    expected.extend(["tests", "coverage", "load", "promoted_from", "sign_off", "ada approved", "rehearsed:"].map(str::to_owned));
    expected.extend(delivered["steps"].as_array().unwrap().iter().map(|step| text(&step["step"])));
    for said in &expected {
        assert!(on_paper.contains(said), "`{said}` is not on paper: {on_paper}");
    }
    assert!(expected.len() > 18, "{expected:?}");
    let evidence =
        browser.run("return [...document.querySelectorAll('.gates a')].map((one) => getComputedStyle(one, '::after').content)").await;
    assert!(evidence.as_array().unwrap().len() >= 3 && evidence.to_string().contains("/evidence/"), "{evidence}");
    let sheet = json!({ "width": 690, "height": 1000, "deviceScaleFactor": 1, "mobile": false });
    browser.cdp("Emulation.setDeviceMetricsOverride", sheet).await;
    assert!(browser.run("return document.documentElement.scrollWidth").await.as_u64().unwrap() <= 690, "something is wider than the sheet");

    // The positive control: without the style of paper it takes more.
    browser.run("for (const rule of [...document.styleSheets[0].cssRules]) if (rule.media?.mediaText === 'print') rule.media.mediaText = 'speech'").await;
    let otherwise = browser.printed("proof-control").await;
    assert!(otherwise > 2, "{otherwise} sheets");
    browser.close().await;
}
