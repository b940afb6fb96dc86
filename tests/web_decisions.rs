//! Everything a person decides, decided on the pages by somebody who never had a key at the terminal: configuration, further approvers,
//! freezes, sign-offs, runbooks and the way back to an earlier release. The form is the very one that the page has.

mod support;

use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};
use support::{
    PATIENCE,
    authenticator::Authenticator,
    on_both,
    pages::Reader,
    passkeys::{Decider, admitted, enrol, sign_in},
    shop::{APPROVAL, Database, Shop, served, text},
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

/// What a service with a database is configured with; `FIGURE` is a file that says how long its queue is.
const WITH_DATA: &str = r#"
backup     = { run = ["./backup.sh"], verify = ["./verify.sh", "{location}"], restore = ["./restore.sh", "{location}"], on_rollback = "ask", timeout = "20s" }
migrations = { dir = "migrations", run = ["./migrate.sh", "{release}"], history = ["cat", "history"], dialect = "sqlite", pivots = ["0002_drop.sql", "0003_drop.sql", "0004_drop.sql"], timeout = "20s" }
metrics    = [{ name = "queue", source = { kind = "command", run = ["cat", "FIGURE"] }, threshold = "<= 10" }]"#;

/// A shop with a database in files and scripts that keep it.
async fn shop_with_data() -> Shop {
    let mut shop = Shop::named("shop", Database::Sqlite);
    let figure = shop.root().join("figure").display().to_string();
    let keys = format!("keep  = 5{}", WITH_DATA.replace("FIGURE", &figure));
    shop.write("interlock.toml", &shop.configuration(APPROVAL).replace("keep  = 5", &keys));
    for (name, body) in [
        (
            "backup.sh",
            "n=$(ls backups | wc -l); cat database history > /dev/null; tar -cf backups/$n.tar database history; echo backups/$n.tar",
        ),
        ("verify.sh", "tar -tf \"$1\" > /dev/null; echo '{\"restored\": true}'"),
        ("restore.sh", "tar -xf \"$1\""),
        (
            "migrate.sh",
            "for file in \"$1\"/migrations/*.sql; do name=$(basename \"$file\"); grep -qx \"$name\" history && continue
             cat \"$file\" >> database && echo \"$name\" >> history || exit 1; done",
        ),
    ] {
        shop.write(name, &format!("#!/bin/sh\nset -e\n{body}\n"));
        fs::set_permissions(shop.root().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(shop.root().join("backups")).unwrap();
    shop.write("history", "");
    shop.write("database", "");
    shop.write("figure", "3");
    shop.serve(&[]).await;
    shop.apply().await.unwrap();
    shop
}

/// Begins a release with so many migrations in staging; returns its deployment.
async fn begun_with(shop: &Shop, version: &str, migrations: usize) -> String {
    let artifact = shop.build(version);
    for (number, sql) in
        ["CREATE TABLE users (id INTEGER);", "DROP TABLE users;", "DROP TABLE tills;", "DROP TABLE shops;"].iter().enumerate()
    {
        if number < migrations {
            let name = if number == 0 { "0001_users.sql".to_owned() } else { format!("000{}_drop.sql", number + 1) };
            shop.write(&format!("{artifact}/migrations/{name}"), sql);
        }
    }
    let plan = shop.plan(&shop.order("staging", version, &artifact).await).await;
    text(&shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"])
}

/// Looks at a deployment until it is in a state.
async fn until(shop: &Shop, deployment: &str, state: &str) -> Value {
    let began = std::time::Instant::now();
    loop {
        let seen = shop.must("get_deployment", json!({ "deployment": deployment, "detail": true })).await;
        if seen["state"] == state {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "{deployment} is not {state}: {seen:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_choice_over_a_paused_or_stuck_deployment_is_signed_on_its_page() {
    let shop = shop_with_data().await;
    let mut passkey = Authenticator::es256();
    assert!(enrol(&shop, "ada", &mut passkey).await.body.contains("It counts now"));
    let (ada, reader) = (sign_in(&shop, &mut passkey, "/").await, Reader::enter(&shop).await);
    let first = begun_with(&shop, "1.0.0", 1).await;
    assert_eq!(shop.settled(&first).await["state"], "succeeded");

    // A choice is signed over what is known and the reason; a session alone chooses nothing.
    let choose = async |passkey: &mut Authenticator, deployment: &str, begins: &str| {
        let page = ada.page(&format!("/deployments/{deployment}")).await;
        let address = linked(&page, begins);
        let asks = ada.page(&address).await;
        assert!(asks.contains("Show what is signed") && !asks.contains("data-passkey"), "{asks}");
        let address = format!("{address}&reason=looked+at+the+till");
        let read = reader.page(&address).await;
        assert!(read.contains("Sign in to decide here") && !read.contains("data-passkey=\"sign\" action=\"/decide"), "{read}");
        let page = decided(&ada, passkey, &address).await;
        assert!(page.contains("looked at the till") && page.contains(deployment), "{page}");
        page
    };
    let paused = async |version: &str, migrations: usize| {
        fs::remove_file(shop.root().join("figure")).unwrap();
        let deployment = begun_with(&shop, version, migrations).await;
        until(&shop, &deployment, "paused").await;
        deployment
    };
    let answers = || served(shop.staging);

    // Paused, because a figure is not known: judged again when it is, taken at somebody's word, or taken back.
    let deployment = paused("1.1.0", 1).await;
    shop.write("figure", "3");
    let page = choose(&mut passkey, &deployment, &format!("/decide/resolve?deployment={deployment}&amp;choice=retry")).await;
    assert!(page.contains("judges `"), "{page}");
    assert_eq!((shop.settled(&deployment).await["state"].take(), answers().await), (json!("succeeded"), "hello from 1.1.0\n".into()));
    let deployment = paused("1.2.0", 1).await;
    choose(&mut passkey, &deployment, &format!("/decide/resolve?deployment={deployment}&amp;choice=mark-done")).await;
    assert_eq!((shop.settled(&deployment).await["state"].take(), answers().await), (json!("succeeded"), "hello from 1.2.0\n".into()));
    shop.write("figure", "3");
    let deployment = paused("1.3.0", 1).await;
    choose(&mut passkey, &deployment, &format!("/decide/resolve?deployment={deployment}&amp;choice=roll-back")).await;
    assert_eq!((shop.settled(&deployment).await["state"].take(), answers().await), (json!("rolled_back"), "hello from 1.2.0\n".into()));

    // Past a migration that takes away, data goes back with the traffic: while it stands there and asks, and once it has succeeded.
    shop.write("figure", "3");
    let deployment = paused("2.0.0", 2).await;
    assert!(shop.read("history").contains("0002_drop.sql"));
    choose(&mut passkey, &deployment, &format!("/decide/restore?deployment={deployment}")).await;
    assert_eq!((shop.settled(&deployment).await["state"].take(), answers().await), (json!("rolled_back"), "hello from 1.2.0\n".into()));
    assert_eq!(shop.read("history"), "0001_users.sql\n");
    shop.write("figure", "3");
    let deployment = begun_with(&shop, "2.1.0", 3).await;
    assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
    choose(&mut passkey, &deployment, &format!("/decide/restore?deployment={deployment}")).await;
    let newest = async || text(&shop.must("list_deployments", json!({ "environment": "staging" })).await["deployments"][0]["id"]);
    assert_eq!(shop.settled(&newest().await).await["state"], "succeeded");
    assert_eq!((shop.read("history"), answers().await), ("0001_users.sql\n".into(), "hello from 1.2.0\n".into()));
    assert!(!ada.page(&format!("/deployments/{deployment}")).await.contains("/decide/restore"), "it went back already");

    // Stuck, because the backup is not what was taken: tried again when it is, and settled.
    let deployment = begun_with(&shop, "2.2.0", 4).await;
    assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
    let backup = fs::read_dir(shop.root().join("backups")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let whole = fs::read(&backup).unwrap();
    fs::write(&backup, "other rows").unwrap();
    choose(&mut passkey, &deployment, &format!("/decide/restore?deployment={deployment}")).await;
    let stuck = newest().await;
    until(&shop, &stuck, "stuck").await;
    fs::write(&backup, whole).unwrap();
    let page = choose(&mut passkey, &stuck, &format!("/decide/resolve?deployment={stuck}&amp;choice=retry")).await;
    assert!(page.contains("return-data"), "{page}");
    let settled = shop.settled(&stuck).await;
    assert_eq!((&settled["state"], answers().await), (&json!("succeeded"), "hello from 1.2.0\n".into()), "{settled:#}");
    assert_eq!(shop.read("history"), "0001_users.sql\n");
    shop.must("audit_verify", json!({})).await;
}
