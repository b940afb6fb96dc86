//! Phase 06 from the first check to the completed directive: what it asks for, who supplies it, and what it leaves in the workspace.

mod support;

use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    on_both,
    shop::{APPROVAL, Database, PATIENCE, Shop, text},
};

on_both!(the_phase_asks_until_the_record_holds_every_fact, the_files_agree_with_the_record_and_leave_others_alone);

async fn the_phase_asks_until_the_record_holds_every_fact(database: Database) {
    let strict = |shop: &Shop| {
        let text = shop.configuration(APPROVAL).replace("promoted_from   = \"off\"\n", "").replace("sign_off        = \"off\"\n", "");
        text.replace("phase    = \"phase-06\"", "phase    = \"phase-06\"\nafter    = \"staging\"")
    };
    let (shop, ada) = Shop::signed(database, strict).await;
    let directive = shop.directive("production", "1.0.0").await;
    let signs = async |directive: &str| {
        let subject = json!({ "directive": directive, "fact": "uat" });
        shop.decides(&ada, DecisionKind::SignOff, subject, DecisionVerdict::Approve, None).await.unwrap();
    };
    shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    let status = shop.until(&directive, "gates_failing").await;
    let summary = text(&status["summary"]);
    assert!(summary.contains("promoted_from") && summary.contains("sign_off"), "{status:#}");
    assert!(status["next_actions"].to_string().contains(&format!("interlock sign-off {directive} uat")), "{status:#}");
    let plan = json!({ "directive": directive });
    let refusal = shop.refused("gate_failed", "plan_deployment", plan.clone()).await;
    let gates: Vec<&Value> = refusal["details"]["gates"].as_array().unwrap().iter().map(|gate| &gate["gate"]).collect();
    assert!(gates.contains(&&json!("promoted_from")) && gates.contains(&&json!("sign_off")), "{refusal:#}");

    // Other bytes in staging, and a sign-off of another release, are no promotion and no sign-off.
    shop.deploy("0.9.0", &shop.build("0.9.0")).await;
    let other = shop.directive("production", "0.9.0").await;
    signs(&other).await;
    shop.refused("gate_failed", "plan_deployment", plan.clone()).await;
    assert_eq!(shop.deploy("1.0.0", &shop.build("1.0.0")).await["state"], "succeeded");
    let refusal = shop.refused("gate_failed", "plan_deployment", plan).await;
    assert_eq!(refusal["who"], "person", "only the sign-off is open: {refusal:#}");
    signs(&directive).await;

    let plan = shop.plan(&directive).await;
    shop.approves(&ada, &plan).await.unwrap();
    let deployment = text(&shop.execute(&plan).await["deployment"]["id"]);
    let open = shop.until(&directive, "deployed").await;
    let next = open["next_actions"].as_array().unwrap();
    assert!(next.iter().any(|action| action["tool"] == "write_runbook" && action["recommended"] == true), "{open:#}");
    let asked = shop.must("complete_directive", json!({ "directive": directive })).await;
    assert_eq!(asked["completed"], false, "{asked:#}");
    shop.must("write_runbook", json!({ "deployment": deployment })).await;
    let done = shop.until(&directive, "completed").await;
    assert_eq!(done["next_actions"], json!([]), "the server completed it by itself, and nothing is left: {done:#}");
}

async fn the_files_agree_with_the_record_and_leave_others_alone(database: Database) {
    let (shop, ada) = Shop::signed(database, |shop: &Shop| shop.configuration(APPROVAL)).await;
    shop.write("status.md", "# my own status\n");
    shop.write("post-deploy/smoke-report.json", r#"{ "mine": true }"#);
    let body = shop.deliver(&ada, "1.0.0").await;
    let deployment = &body["deployment"];
    let (id, plan) = (text(&deployment["id"]), text(&deployment["plan"]));
    // Files are written right after the deployment settles; the artifact's row is what says so.
    let began = std::time::Instant::now();
    while !shop.root().join("status.interlock.md").exists() {
        assert!(began.elapsed() < PATIENCE, "no files were written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shop.read("status.md"), "# my own status\n");
    assert_eq!(shop.read("post-deploy/smoke-report.json"), r#"{ "mine": true }"#);
    let status = shop.read("status.interlock.md");
    assert!(status.contains("- Version: 1.0.0\n") && status.contains("- Status: deployed\n") && status.contains(&id), "{status}");

    let smoke: Value = serde_json::from_str(&shop.read("post-deploy/smoke-report.interlock.json")).unwrap();
    for (name, expected) in [
        ("generated_by", &json!("interlock")),
        ("deployment", &deployment["id"]),
        ("plan", &deployment["plan"]),
        ("digest", &deployment["digest"]),
        ("directive", &deployment["directive"]),
        ("state", &json!("succeeded")),
        ("smoke_passed", &json!(true)),
        ("traffic", &body["traffic"]),
        ("shifted_at", &deployment["shifted_at"]),
        ("settled_at", &deployment["settled_at"]),
    ] {
        assert_eq!(&smoke[name], expected, "{name}");
    }
    let log = shop.read("ci/deploy-logs.txt");
    assert!(log.contains(&id) && log.contains(&plan) && log.contains(&text(&deployment["digest"])), "{log}");
    for step in body["steps"].as_array().unwrap() {
        let (name, state) = (text(&step["step"]), text(&step["state"]));
        assert!(log.lines().any(|line| line.contains(&name) && line.contains(&state)), "`{name}: {state}` is missing in\n{log}");
    }
    let document = shop.read("docs/deployment.md");
    assert!(document.contains(&plan) && document.contains("- Approval: chairman"), "{document}");

    let runbook = shop.must("write_runbook", json!({ "deployment": id, "notes": "Look at the banner first." })).await;
    assert_eq!(runbook["state"], "in_review", "{runbook:#}");
    let book = shop.read(&text(&runbook["path"]));
    assert!(book.contains(&id) && book.contains("Look at the banner first.") && book.contains(&text(&deployment["digest"])), "{book}");
    assert_eq!(shop.must("get_runbook", json!({ "runbook": runbook["runbook"] })).await["text"], json!(book));
    // A person publishes it; the second run takes our own files over in place.
    shop.decides(&ada, DecisionKind::Runbook, runbook["runbook"].clone(), DecisionVerdict::Approve, None).await.unwrap();
    let next = text(&shop.deliver(&ada, "1.1.0").await["deployment"]["id"]);
    let began = std::time::Instant::now();
    while !shop.read("status.interlock.md").contains(&next) {
        assert!(began.elapsed() < PATIENCE, "the files were not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!shop.root().join("status.interlock.interlock.md").exists());
    assert!(shop.read("docs/deployment.md").contains("web 1.1.0"));
}
