//! What stops an agent that does not do what it should: each gate of each phase alone; a step too early, twice, or for another
//! directive; a fact nobody supplied. One database is enough: what the record holds, `tests/store` compares.

use crate::{
    desk::{Desk, PHASES, REPORTS, gates_of},
    support::{
        agent::{Agent, Ground, actions, assessment},
        databases::Database,
        shop::text,
    },
};
use interlock::model::DecisionKind;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Asserts what a refusal says: its code, who can do something about it, and how.
fn says(refusal: &Value, code: &str, who: &str, how: &str) {
    assert_eq!((&refusal["code"], &refusal["who"]), (&json!(code), &json!(who)), "{refusal:#}");
    assert!(text(&refusal["hint"]).contains(how), "not `{how}`: {refusal:#}");
}

/// Returns who mends a gate that stops, and how.
fn remedy(gate: &str) -> (&'static str, &'static str) {
    match gate {
        "tests" | "coverage" | "load" | "vulnerabilities" | "outdated" => ("agent", "mend the cause, commit, build the artifact again"),
        "promoted_from" => ("agent", "deploy the same artifact to `staging` first"),
        "sign_off" => ("person", "interlock sign-off SD-DEPLOY-"),
        "artifact_digest" => ("agent", "build the artifact again"),
        "rollback_ready" => ("person", "put the release's bytes of 1.0.0 back"),
        "secrets" => ("person", "on the machine of the server: "),
        "dependencies" => ("person", "start what is to listen at"),
        "freeze" => ("person", "interlock unfreeze frz_"),
        "alerts" => ("person", "interlock sign-off SD-DEPLOY-"),
        "quota" => ("person", "make room where the instances run"),
        "logs" => ("server", "wait until then"),
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
        for (gate, fact) in [("sign_off", "uat"), ("alerts", "alerts")] {
            if broken != gate {
                self.signs_off(&directive, fact).await;
            }
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
            desk.under_but(phase, &gate).await;
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
            desk.under(phase).await;
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

/// Returns what a phase asks before a plan, and after the deployment: who supplies it, and how.
fn first_asked(phase: &str) -> (&'static str, &'static str, &'static [&'static str]) {
    match phase {
        "phase-06" => ("agent", "run_predeploy_checks", &["alerts_quiet", "runbook_written"]),
        "stage-22" => ("person", "interlock sign-off", &["monitoring_active", "runbook_published"]),
        "stage-30" => ("agent", "run_predeploy_checks", &["monitoring_active", "alerts_quiet", "runbook_written"]),
        "deployment-operations" => {
            ("person", "interlock sign-off", &["monitoring_active", "alerts_quiet", "runbook_written", "team_trained"])
        }
        _ => ("agent", "run_predeploy_checks", &["monitoring_active"]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_early_twice_or_for_another_directive_changes_nothing_and_says_what_does() {
    let mut desk = Desk::open(Database::Sqlite).await;
    let built = ["2.0.0", "2.1.0", "2.2.0"].map(|version| (version, desk.release(version)));
    for (version, artifact) in &built {
        desk.delivers("staging", version, artifact).await;
    }
    desk.delivers("production", "2.0.0", &built[0].1).await;
    for (turn, phase) in PHASES.into_iter().enumerate() {
        desk.under(phase).await;
        let (who, how, open) = first_asked(phase);
        let ((version, artifact), (other_version, other_artifact)) = (&built[(turn + 1) % 3], &built[(turn + 2) % 3]);
        // Nothing was ordered before it, and then once.
        desk.release(version);
        says(&desk.refused("run_predeploy_checks", json!({ "directive": "SD-DEPLOY-999" })).await, "not_found", "agent", "get_status");
        let order = json!({ "service": "web", "environment": "production", "version": version, "artifact": artifact });
        let directive = text(&desk.must("create_directive", order.clone()).await["directive"]["id"]);
        let again = desk.must("create_directive", order).await;
        assert_eq!((&again["directive"]["id"], &again["existing"]), (&json!(directive), &json!(true)), "{phase}");
        let (of, plan) = (json!({ "directive": directive }), json!({ "directive": directive, "assessment": assessment() }));

        // Too early: the plan before its gates, the end before the beginning.
        says(&desk.refused("plan_deployment", plan.clone()).await, "gate_failed", who, how);
        let early = desk.must("complete_directive", of.clone()).await;
        assert_eq!(early["completed"], false, "{phase}: {early:#}");
        assert!(early["missing"].as_array().unwrap().contains(&json!("deployed: missing")), "{phase}: {early:#}");
        says(&desk.refused("write_runbook", json!({ "deployment": "dep_999" })).await, "not_found", "agent", "get_status");

        // For another directive: what was signed for that one is nothing for this one.
        let (other, _) = desk.ordered(other_version, other_artifact, "").await;
        if gates_of(phase).contains(&"sign_off".to_owned()) {
            let stopped = desk.stopped_by(&directive).await;
            assert!(stopped.iter().any(|gate| gate["gate"] == "sign_off" && gate["who"] == "person"), "{phase}: {stopped:#?}");
        }
        for fact in ["uat", "alerts"] {
            desk.signs_off(&directive, fact).await;
        }
        for checked in [&directive, &other] {
            assert_eq!(desk.stopped_by(checked).await, [] as [Value; 0], "{phase}");
        }
        let theirs = desk.must("plan_deployment", json!({ "directive": other, "assessment": assessment() })).await["plan"].take();
        let planned = desk.must("plan_deployment", plan.clone()).await;
        let ours = text(&planned["plan"]);
        assert_eq!(desk.must("plan_deployment", plan.clone()).await["existing"], true, "{phase}: planned twice is planned once");
        desk.sign(DecisionKind::Plan, theirs.clone()).await;
        let refusal = desk.refused("execute_deployment", json!({ "plan": ours })).await;
        says(&refusal, "approval_required", "person", &format!("interlock approve {ours}"));
        assert_eq!(actions(&refusal)[0]["command"], json!(format!("interlock approve {ours}")), "{refusal:#}");

        // Twice: one deployment.
        desk.sign(DecisionKind::Plan, json!(ours)).await;
        let begun = desk.must("execute_deployment", json!({ "plan": ours })).await;
        let again = desk.must("execute_deployment", json!({ "plan": ours })).await;
        assert_eq!((&again["deployment"], &again["existing"]), (&begun["deployment"], &json!(true)), "{phase}");
        let settled = json!({ "deployment": begun["deployment"], "wait_seconds": 45, "until": "settled" });
        assert_eq!(desk.must("get_deployment", settled).await["state"], "succeeded", "{phase}");
        says(&desk.refused("execute_deployment", json!({ "plan": theirs })).await, "stale_plan", "agent", "plan_deployment");

        // A fact that nobody supplied: the end waits for it, and says who and how.
        desk.signs_off(&other, "monitoring").await;
        if phase == "deployment-operations" {
            // Each answer asks a few things at a time.
            desk.signs_off(&directive, "no_data").await;
        }
        let asked = desk.must("complete_directive", of.clone()).await;
        assert_eq!(asked["completed"], false, "{phase}: {asked:#}");
        let missing: BTreeSet<&str> = asked["missing"].as_array().unwrap().iter().map(|fact| fact.as_str().unwrap()).collect();
        assert!(open.iter().all(|fact| missing.contains(format!("{fact}: missing").as_str())), "{phase}: {asked:#}");
        let offered = json!(actions(&asked)).to_string();
        for fact in open {
            let how = match *fact {
                "monitoring_active" => format!("interlock sign-off {directive} monitoring"),
                "alerts_quiet" => format!("interlock sign-off {directive} alerts_after"),
                "runbook_written" | "runbook_published" => "write_runbook".to_owned(),
                // Whether anybody takes over is asked before they are trained.
                _ => format!("interlock sign-off {directive} no_handover"),
            };
            assert!(offered.contains(&how), "{phase}: {fact}: not `{how}`: {asked:#}");
        }

        let seen = desk.must("get_status", of.clone()).await;
        Agent::on(&mut desk).drive(&directive, seen, "completed").await;
        assert_eq!(desk.must("complete_directive", of.clone()).await["completed"], true, "{phase}: completed twice is completed");
        says(&desk.refused("plan_deployment", plan).await, "wrong_state", "agent", "create a new directive");
        desk.must("cancel_directive", json!({ "directive": other, "reason": "it was a try" })).await;
    }
}
