//! Everything a person decides, decided on the pages by somebody who never had a key at the terminal: configuration, further approvers,
//! freezes, sign-offs, runbooks and the way back to an earlier release. The form is the very one that the page has.

mod support;

use serde_json::{Value, json};
use support::{
    authenticator::Authenticator,
    on_both,
    pages::Reader,
    passkeys::{Decider, admitted, enrol, sign_in},
    shop::{APPROVAL, Database, Shop, text},
};

on_both! { whoever_has_a_passkey_alone_decides_everything }

async fn whoever_has_a_passkey_alone_decides_everything(database: Database) {
    let approval = r#"{ role = "chairman", expires = "60m", request_expires = "24h" }"#;
    let asks_uat = |shop: &Shop| shop.configuration(approval).replace("sign_off        = \"off\"", "");
    let shop = Shop::configured(database, asks_uat).await;
    let mut passkey = Authenticator::es256();
    assert!(enrol(&shop, "ada", &mut passkey).await.body.contains("It counts now"));
    let ada = sign_in(&shop, &mut passkey, "/").await;

    // The configuration: its difference, its text, and the page it leads to.
    let inbox = ada.page("/").await;
    assert!(inbox.contains("href=\"/decide/configuration\"") && inbox.contains("Sign the configuration"), "{inbox}");
    shop.refused("configuration_pending", "create_directive", order("production", "1.0.0", &shop.build("1.0.0"))).await;
    let page = decided(&ada, &mut passkey, "/decide/configuration").await;
    assert!(page.contains("environments.production") || page.contains("approval.role"), "{page}");
    assert!(page.contains("What is signed") && page.contains("[environments.production]"), "{page}");
    let configuration = ada.page("/configuration").await;
    assert!(!configuration.contains("waits for"), "{configuration}");

    // Somebody else, by what both see of the key.
    assert!(enrol(&shop, "bob", &mut Authenticator::eddsa()).await.body.contains("does not count yet"));
    let people = ada.page("/people").await;
    let address = linked(&people, "/decide/approver?");
    let page = decided(&ada, &mut passkey, &address).await;
    assert!(page.contains("Compare the fingerprint") && page.contains("name: bob"), "{page}");
    let known = shop.must("approvers", json!({})).await;
    assert_eq!((&known["approvers"][1]["name"], &known["waiting"]), (&json!("bob"), &json!([])), "{known:#}");
    assert_eq!(ada.get(&address).await.status, 404, "it waits no more");

    // A freeze of everything, lifted in one environment and then for good.
    shop.must("freeze", json!({ "reason": "a look at the till" })).await;
    let directive = shop.directive("staging", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    shop.refused("frozen", "execute_deployment", json!({ "plan": plan })).await;
    decided(&ada, &mut passkey, "/decide/unfreeze?freeze=frz_1&in=staging").await;
    assert_eq!(shop.execute(&plan).await["state"], "succeeded");
    decided(&ada, &mut passkey, &linked(&ada.page("/freezes").await, "/decide/unfreeze?")).await;
    assert!(ada.page("/freezes").await.contains("nothing is frozen"));

    // What only a person can know of a release.
    let directive = shop.directive("production", "1.0.0").await;
    shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    let gates = ada.page(&format!("/directives/{directive}")).await;
    let page = decided(&ada, &mut passkey, &linked(&gates, "/decide/sign-off?")).await;
    assert!(page.contains("statement: uat"), "{page}");
    let plan = shop.plan(&directive).await;
    let plan_page = format!("/plans/{plan}");
    let no = Decider::at(&ada, &plan_page).await.decide(&mut passkey, "reject", "not before noon").await;
    assert_eq!(no.status, 303, "{}", no.body);
    shop.refused("approval_rejected", "execute_deployment", json!({ "plan": plan })).await;
    // A yes after all, on the same page.
    decided(&ada, &mut passkey, &plan_page).await;
    let first = shop.execute(&plan).await;
    assert_eq!(first["deployment"]["state"], "succeeded", "{first:#}");

    // A runbook is returned with the reason the agent reads, written again, and published.
    let deployment = text(&first["deployment"]["id"]);
    let written = shop.must("write_runbook", json!({ "deployment": deployment })).await;
    let runbook = format!("/decide/runbook?runbook={}", text(&written["runbook"]));
    let back = Decider::at(&ada, &runbook).await.decide(&mut passkey, "reject", "who is called at night?").await;
    assert_eq!((back.status, back.header("location")), (303, Some(&*format!("/runbooks/{}", text(&written["runbook"])))), "{}", back.body);
    assert_eq!(ada.get(&runbook).await.status, 409, "no version is in review");
    let read = shop.must("get_runbook", json!({ "runbook": written["runbook"], "comments": true })).await;
    assert!(read.to_string().contains("who is called at night?"), "{read:#}");
    shop.must("write_runbook", json!({ "deployment": deployment })).await;
    decided(&ada, &mut passkey, &runbook).await;

    // Back to an earlier release: why comes first, since it is part of what is signed.
    for version in ["1.1.0", "1.2.0"] {
        assert_eq!(shop.deploy(version, &shop.build(version)).await["state"], "succeeded");
    }
    let earlier = text(&shop.must("list_deployments", json!({ "environment": "staging" })).await["deployments"][2]["id"]);
    let address = format!("/decide/rollback?to={earlier}");
    let asks = ada.page(&address).await;
    assert!(asks.contains("Show what is signed") && !asks.contains("data-passkey"), "{asks}");
    let page = decided(&ada, &mut passkey, &format!("{address}&reason=the+till+rounds+wrong")).await;
    assert!(page.contains("further than what served before") && page.contains("-&gt; 1.0.0"), "{page}");
    let went = text(&shop.must("list_deployments", json!({ "environment": "staging" })).await["deployments"][0]["id"]);
    assert_eq!(shop.settled(&went).await["deployment"]["version"], "1.0.0");

    // Whoever is not asked, and what is not so, is told on the page.
    for (address, status) in [
        ("/decide/resolve?deployment=dep_1&choice=retry&reason=why", 409),
        ("/decide/resolve?deployment=dep_1&choice=burn&reason=why", 400),
        ("/decide/resolve?choice=retry", 400),
        ("/decide/restore?deployment=dep_99&reason=why", 404),
        ("/decide/sign-off?directive=SD-DEPLOY-099&fact=uat", 404),
        ("/decide/approver?fingerprint=0000-0000-0000-0000", 404),
        ("/decide/unfreeze?freeze=frz_1", 409),
        ("/decide/configuration", 409),
        ("/decide/everything", 404),
    ] {
        assert_eq!(ada.get(address).await.status, status, "{address}");
    }
    let verified = shop.must("audit_verify", json!({})).await;
    assert!(verified["decisions"].as_u64().is_none_or(|decisions| decisions >= 9), "{verified}");
}

fn order(environment: &str, version: &str, artifact: &str) -> Value {
    json!({ "service": "web", "environment": environment, "version": version, "artifact": artifact })
}

/// Returns the first address in a page that begins so.
fn linked(page: &str, begins: &str) -> String {
    let found = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).find(|address| address.starts_with(begins));
    found.unwrap_or_else(|| panic!("nothing leads to {begins} in {page}")).replace("&amp;", "&")
}

/// Says yes on a page, and returns what the page has shown.
async fn decided(reader: &Reader, passkey: &mut Authenticator, address: &str) -> String {
    let (page, form) = (reader.page(address).await, Decider::at(reader, address).await);
    let decided = form.decide(passkey, "approve", "").await;
    assert_eq!(decided.status, 303, "{address}: {}", decided.body);
    let leads_to = decided.header("location").unwrap().to_owned();
    assert_eq!(reader.get(&leads_to).await.status, 200, "{leads_to}");
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_in_stops_and_goes_back_at_once_and_a_reading_session_does_not() {
    let (shop, key) = Shop::signed(Database::Sqlite, |shop| shop.configuration(APPROVAL)).await;
    let mut passkey = admitted(&shop, &key, "ada").await;
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(shop.deploy(version, &shop.build(version)).await["state"], "succeeded");
    }
    let newest = text(&shop.must("list_deployments", json!({ "environment": "staging" })).await["deployments"][0]["id"]);
    let (reader, ada) = (Reader::enter(&shop).await, sign_in(&shop, &mut passkey, "/").await);
    let page = format!("/deployments/{newest}");
    let back = format!("{page}/rollback");
    let (reads, signed) = (reader.form_token().await, ada.form_token().await);

    // A session that a link has opened has no such form, and what it sends all the same is refused; so is what comes from elsewhere.
    assert!(!reader.page(&page).await.contains(&back) && ada.page(&page).await.contains(&back));
    let fields = [("form_token", reads.as_str()), ("reason", "why"), ("environment", "")];
    let held = format!("{page}/hold");
    for address in [&back, &held, &"/freezes".to_owned()] {
        assert_eq!(reader.post(address, &fields).await.status, 403, "{address}");
        let foreign = [("form_token", signed.as_str()), fields[1], fields[2]];
        assert_eq!(ada.post_from("http://localhost:1", address, &foreign, &[]).await.status, 403, "{address}");
        assert_eq!(ada.post(address, &fields).await.status, 403, "{address}: the form of another session");
        let nothing_said = ada.post(address, &foreign[..1]).await.status;
        assert_eq!(nothing_said, if *address == held { 409 } else { 400 }, "{address}");
    }
    assert!(ada.page("/freezes").await.contains("nothing is frozen"));

    let all = [("form_token", signed.as_str()), ("environment", ""), ("reason", "a <b>look</b>")];
    assert_eq!(ada.post("/freezes", &all).await.status, 303);
    let freezes = ada.page("/freezes").await;
    assert!(freezes.contains("a &lt;b&gt;look&lt;/b&gt;") && freezes.contains("everywhere"), "{freezes}");
    let directive = shop.directive("staging", "1.2.0").await;
    shop.refused("frozen", "execute_deployment", json!({ "plan": shop.plan(&directive).await })).await;

    // The way back is never frozen.
    let gone = ada.post(&back, &[("form_token", signed.as_str()), ("reason", "the till rounds wrong")]).await;
    assert_eq!(gone.status, 303, "{}", gone.body);
    let way_back = gone.header("location").unwrap().strip_prefix("/deployments/").unwrap().to_owned();
    let settled = shop.settled(&way_back).await;
    assert_eq!((&settled["deployment"]["version"], &settled["deployment"]["created_by"]), (&json!("1.0.0"), &json!("ada")), "{settled:#}");
    // What holds everywhere is lifted in one environment, too.
    assert!(
        freezes.contains("interlock unfreeze frz_1 --in staging") && freezes.contains("/decide/unfreeze?freeze=frz_1&amp;in=production"),
        "{freezes}"
    );
}
