//! The first days of a release in production: an open item that closes by itself, begins anew and ends.

use crate::{
    support::databases::databases,
    world::{Shop, agent},
};
use interlock::{model::Timestamp, store::NewIncident};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Returns how the close watch over a settled deployment stands, as its directive shows it.
async fn watch(shop: &Shop, settled: &Value) -> Value {
    shop.must("get_status", json!({ "directive": settled["deployment"]["directive"] })).await["close_watch"].take()
}

async fn in_production(shop: &Shop, version: &str) -> Value {
    shop.deploy(version).await;
    shop.deploy_to_production(version).await
}

/// Writes a document about a settled deployment, and returns its text.
async fn written(shop: &Shop, kind: &str, settled: &Value) -> String {
    let asked = json!({ "kind": kind, "deployment": settled["deployment"]["id"] });
    let path = shop.must("write_document", asked).await["path"].take();
    fs::read_to_string(shop.engine.workspace.root.join(path.as_str().unwrap())).unwrap()
}

#[tokio::test]
async fn a_release_in_production_is_watched_closely_until_its_time_has_passed() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let tried = shop.deploy("1.0.0").await;
        assert!(watch(&shop, &tried).await.is_null(), "nobody approves what goes to staging");
        let settled = shop.deploy_to_production("1.0.0").await;
        let open = watch(&shop, &settled).await;
        assert_eq!((&open["state"], &open["because"]), (&json!("open"), &Value::Null), "{open:#}");
        let until = Timestamp(open["until"].as_i64().unwrap());
        let item = |sign: &str, state: &str| format!("- [{sign}] watched closely in its first days: {state} {until}");
        for kind in ["checklist", "post_deploy_report", "handover"] {
            assert!(written(&shop, kind, &settled).await.contains(&item(" ", "open until")), "{kind} on {}", database.name);
        }

        shop.clock.advance(23 * HOUR);
        assert_eq!(watch(&shop, &settled).await, open);
        shop.clock.advance(HOUR);
        let closed = watch(&shop, &settled).await;
        assert_eq!((&closed["state"], &closed["until"]), (&json!("closed"), &open["until"]), "{closed:#}");
        for kind in ["checklist", "post_deploy_report", "handover"] {
            assert!(written(&shop, kind, &settled).await.contains(&item("x", "closed by itself at")), "{kind}");
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_begins_the_close_watch_anew_and_a_way_back_ends_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let longer = "[services.web.monitoring]\nclose_watch = \"48h\"\n";
        shop.configure(&format!("{}\n{longer}", shop.text)).await;
        let first = in_production(&shop, "1.0.0").await;
        shop.clock.advance(47 * HOUR);
        assert_eq!(watch(&shop, &first).await["state"], "open", "as it was configured");
        let incident = NewIncident {
            deployment: first["deployment"]["id"].as_str().unwrap().into(),
            rule: "DEPLOY-003".into(),
            severity: "P0".into(),
            summary: "the router failed a request".into(),
            action: "none".into(),
            evidence: json!({}),
        };
        let incident = shop.engine.store.add_incident(&agent(), incident).await.unwrap();
        shop.clock.advance(2 * HOUR);
        let anew = watch(&shop, &first).await;
        let because = format!("begun anew after {} (DEPLOY-003)", incident.id);
        assert_eq!((&anew["state"], &anew["because"]), (&json!("open"), &json!(because)), "{}: {anew:#}", database.name);
        shop.clock.advance(46 * HOUR);
        assert_eq!(watch(&shop, &first).await["state"], "closed");
        let deployment = first["deployment"]["id"].as_str().unwrap().into();
        for (passed, state) in [(true, "closed"), (false, "open")] {
            shop.engine.store.add_measurement(&agent(), &deployment, "verification", &json!({ "passed": passed })).await.unwrap();
            assert_eq!(watch(&shop, &first).await["state"], state, "a verification that passed is {passed}");
        }
        assert_eq!(watch(&shop, &first).await["because"], "begun anew after a verification that failed");
        shop.clock.advance(48 * HOUR);

        // What takes the place of a release ends it, unless it was closed before.
        let second = in_production(&shop, "1.1.0").await;
        assert_eq!(watch(&shop, &first).await["state"], "closed", "it was over before");
        assert_eq!(watch(&shop, &second).await["state"], "open");
        let asked = json!({ "deployment": second["deployment"]["id"], "reason": "the till is empty" });
        let back = shop.must("rollback_deployment", asked).await["deployment"].take();
        shop.settled(&back).await;
        let ended = watch(&shop, &second).await;
        let because = format!("{} has taken it back", back.as_str().unwrap());
        assert_eq!((&ended["state"], &ended["because"]), (&json!("ended"), &json!(because)), "{ended:#}");

        let third = in_production(&shop, "1.2.0").await;
        let fourth = in_production(&shop, "1.3.0").await;
        let ended = watch(&shop, &third).await;
        let because = format!("{} has taken its place", fourth["deployment"]["id"].as_str().unwrap());
        assert_eq!((&ended["state"], &ended["because"]), (&json!("ended"), &json!(because)), "{ended:#}");
    }
}
