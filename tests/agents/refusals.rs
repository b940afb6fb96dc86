//! What stops an agent that does not do what it should: each gate of each phase alone. One database is enough: what the record holds, `tests/store` compares.

use crate::{
    desk::{Desk, PHASES, REPORTS, gates_of},
    support::{
        agent::{Agent, Ground, assessment},
        databases::Database,
        shop::text,
    },
};
use interlock::model::DecisionKind;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// Asserts what a refusal says: its code, who can do something about it, and how.
fn says(refusal: &Value, code: &str, who: &str, how: &str) {
    assert_eq!((&refusal["code"], &refusal["who"]), (&json!(code), &json!(who)), "{refusal:#}");
    assert!(text(&refusal["hint"]).contains(how), "not `{how}`: {refusal:#}");
}

/// Returns who mends a gate that stops, and how.
fn remedy(gate: &str) -> (&'static str, &'static str) {
    match gate {
        "tests" | "coverage" | "load" | "vulnerabilities" => ("agent", "mend the cause, commit, build the artifact again"),
        "promoted_from" => ("agent", "deploy the same artifact to `staging` first"),
        "sign_off" => ("person", "interlock sign-off SD-DEPLOY-"),
        "artifact_digest" => ("agent", "build the artifact again"),
        "rollback_ready" => ("person", "put the release's bytes of 1.0.0 back"),
        "secrets" => ("person", "supply what the references in interlock.toml name"),
        "dependencies" => ("person", "start the dependency"),
        "freeze" => ("person", "interlock unfreeze frz_"),
        _ => panic!("a new gate, `{gate}`: say what breaks it"),
    }
}

impl Desk {
    /// Takes a release to an environment, as an agent does that does what it is offered; returns the release's digest.
    async fn delivers(&mut self, environment: &str, version: &str, artifact: &str) -> Value {
        let mut agent = Agent::on(self);
        let (directive, mut seen) = agent.order(environment, version, artifact).await;
        let digest = seen["directive"]["digest"].take();
        agent.drive(&directive, seen, "completed").await;
        digest
    }

    /// Orders a release for production, and begins as the phase wants: with acceptance, unless that is what is left out.
    async fn ordered(&mut self, version: &str, artifact: &str, broken: &str) -> (String, Value) {
        let order = json!({ "service": "web", "environment": "production", "version": version, "artifact": artifact });
        let opened = self.must("create_directive", order).await["directive"].take();
        let directive = text(&opened["id"]);
        if broken != "sign_off" {
            self.signs_off(&directive, "uat").await;
        }
        (directive, opened["digest"].clone())
    }

    /// Runs the checks to their end; returns the gates that do not pass.
    async fn stopped_by(&mut self, directive: &str) -> Vec<Value> {
        let asked = json!({ "directive": directive });
        let mut seen = self.must("run_predeploy_checks", asked.clone()).await;
        while seen["state"] == "checking" {
            seen = self.must("get_status", json!({ "directive": directive, "wait_seconds": 45 })).await;
        }
        let gates = self.must("run_predeploy_checks", asked).await["gates"].take();
        gates.as_array().unwrap().iter().filter(|gate| gate["verdict"] != "pass").cloned().collect()
    }

    /// Breaks what a gate reads, before the order; returns what mends it.
    async fn breaks(&mut self, gate: &str) -> Option<String> {
        if let Some((_, _, name, _, _, bad)) = REPORTS.into_iter().find(|report| report.0 == gate) {
            self.shop.write(&format!("reports/{name}"), bad);
        }
        match gate {
            "secrets" => fs::remove_file(self.shop.root().join("token")).unwrap(),
            "dependencies" => drop(self.dependency.take()),
            "freeze" => {
                let freeze = json!({ "environment": "production", "reason": "inventory" });
                return Some(text(&self.shop.must("freeze", freeze).await["id"]));
            }
            _ => (),
        }
        None
    }

    /// Mends it again.
    async fn mends(&mut self, gate: &str, freeze: Option<String>, dependency: std::net::SocketAddr) {
        if let Some((_, _, name, _, good, _)) = REPORTS.into_iter().find(|report| report.0 == gate) {
            self.shop.write(&format!("reports/{name}"), good);
        }
        self.shop.write("token", "secret");
        if self.dependency.is_none() {
            self.dependency = Some(tokio::net::TcpListener::bind(dependency).await.unwrap());
        }
        if let Some(freeze) = freeze {
            self.sign(DecisionKind::Unfreeze, json!(freeze)).await;
        }
    }
}

/// A folder of the release store, out of reach while this lives.
struct Away(PathBuf);

impl Away {
    fn with(folder: PathBuf) -> Self {
        fs::rename(&folder, folder.with_extension("away")).unwrap();
        Away(folder)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let _ = fs::rename(self.0.with_extension("away"), &self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gate_of_a_phase_stops_it_alone_and_says_who_mends_it_and_how() {
    let mut desk = Desk::open(Database::Sqlite).await;
    let dependency = desk.dependency.as_ref().unwrap().local_addr().unwrap();
    let base = desk.release("1.0.0");
    desk.delivers("staging", "1.0.0", &base).await;
    let serves = desk.delivers("production", "1.0.0", &base).await;
    let tried = desk.release("1.1.0");
    desk.delivers("staging", "1.1.0", &tried).await;
    let (untried, mut count) = (desk.shop.build("1.2.0"), 0);
    for phase in PHASES {
        desk.under(phase).await;
        for gate in gates_of(phase) {
            let freeze = desk.breaks(&gate).await;
            // A commit of its own: what was seen of another one says nothing about this one.
            desk.release("1.1.0");
            let (version, artifact) = if gate == "promoted_from" { ("1.2.0", &untried) } else { ("1.1.0", &tried) };
            let (directive, digest) = desk.ordered(version, artifact, &gate).await;
            let away = match gate.as_str() {
                "artifact_digest" => Some(Away::with(desk.shop.pinned(&digest))),
                "rollback_ready" => Some(Away::with(desk.shop.pinned(&serves))),
                _ => None,
            };
            let stopped = desk.stopped_by(&directive).await;
            let (who, how) = remedy(&gate);
            let told: Vec<(&Value, &Value)> = stopped.iter().map(|stop| (&stop["gate"], &stop["who"])).collect();
            assert_eq!(told, [(&json!(gate), &json!(who))], "{phase}: {stopped:#?}");
            assert!(text(&stopped[0]["how"]).contains(how), "{phase}: not `{how}`: {stopped:#?}");

            let plan = json!({ "directive": directive, "assessment": assessment() });
            if stopped[0]["live"] == true {
                // What may change any moment stops nobody from planning, and everybody from executing.
                let planned = desk.must("plan_deployment", plan).await;
                assert_eq!(planned["blockers"][0]["gate"], json!(gate), "{phase}: {planned:#}");
                desk.sign(DecisionKind::Plan, planned["plan"].clone()).await;
                let refusal = desk.refused("execute_deployment", json!({ "plan": planned["plan"] })).await;
                let code = if gate == "freeze" { "frozen" } else { "gate_failed" };
                says(&refusal, code, who, if gate == "freeze" { "an approver" } else { how });
            } else {
                let refusal = desk.refused("plan_deployment", plan).await;
                says(&refusal, "gate_failed", who, how);
                assert_eq!(refusal["details"]["gates"].as_array().map(Vec::len), Some(1), "{phase}: {refusal:#}");
            }
            drop(away);
            desk.must("cancel_directive", json!({ "directive": directive, "reason": "it was a try" })).await;
            desk.mends(&gate, freeze, dependency).await;
            count += 1;
        }
        // With everything mended nothing stops it.
        desk.release("1.1.0");
        let (directive, _) = desk.ordered("1.1.0", &tried, "").await;
        assert_eq!(desk.stopped_by(&directive).await, [] as [Value; 0], "{phase}");
        let plan = json!({ "directive": directive, "assessment": assessment() });
        assert_eq!(desk.must("plan_deployment", plan).await["state"], "awaiting_approval");
        desk.must("cancel_directive", json!({ "directive": directive, "reason": "it was a try" })).await;
    }
    println!("figure: {count} gates of {} phases, each stopped its phase alone", PHASES.len());
}
