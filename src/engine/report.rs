//! The post-deploy report, from the record: what was checked, what was seen, what it cost customers.

use super::{Engine, progression::Step, run::Run, traffic::Baseline, watch::window};
use crate::{
    error::Result,
    model::{
        Caller, Deployment, DeploymentState, JournalEntry, Plan, PlannedGate, StepState,
        analysis::Sample,
        data::{BackupEvidence, DataReturn},
    },
    store::Incident,
    targets::Samples,
};
use serde::Serialize;
use serde_json::{Value, json};

/// What a deployment did, as the record has it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The deployment.
    pub deployment: Deployment,
    /// Its plan.
    pub plan: Plan,
    /// Every step with its outcome.
    pub steps: Vec<JournalEntry>,
    /// The gates the plan rested on.
    pub gates: Vec<PlannedGate>,
    /// What went wrong, with evidence.
    pub incidents: Vec<Incident>,
    /// The backup it has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupEvidence>,
    /// The new set's traffic since the switch.
    pub traffic: Traffic,
}

/// The new set's traffic since the switch, from the router's own counters.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Requests that ended, the router's own probes apart.
    pub requests: u64,
    /// Answered with 5xx by the application.
    pub errors: u64,
    /// Errors in percent.
    pub error_percent: Option<f64>,
    /// 95th percentile, milliseconds.
    pub p95_ms: Option<u64>,
    /// Requests the router failed, and failed probes.
    pub downtime: u64,
}

impl Engine {
    /// Returns the report of a deployment; `live` adds the router's present counters where the record has none yet.
    pub async fn report(&self, deployment: &Deployment, live: bool) -> Result<Report> {
        let plan = self.plan_of(deployment).await?;
        let steps = self.store.journal(&deployment.id).await?;
        let after = self.counters_after(deployment, live).await?;
        let traffic = after.and_then(|after| traffic_until(deployment, &plan, &steps, &after)).unwrap_or_default();
        let incidents = self.store.incidents(&deployment.id).await?;
        let backup = super::data::backup_of(&steps);
        Ok(Report { gates: plan.gates.clone(), deployment: deployment.clone(), plan, steps, incidents, backup, traffic })
    }

    /// Returns what customers felt since traffic first moved: the new set beside the old one, and the downtime; none when it never moved.
    pub async fn felt(&self, deployment: &Deployment, live: bool) -> Result<Option<(Sample, u64)>> {
        let (plan, steps) = (self.plan_of(deployment).await?, self.store.journal(&deployment.id).await?);
        let moves = |entry: &&JournalEntry| plan.step(&entry.step).is_some_and(|step| step.action.moves_traffic());
        let first = steps.iter().find(moves).and_then(|entry| serde_json::from_value::<Baseline>(entry.output.clone()).ok());
        let Some(baseline) = first else { return Ok(None) };
        let after = self.counters_after(deployment, live).await?;
        Ok(after.map(|after| baseline.sample(&plan.label(&deployment.id), None, &after)))
    }

    async fn counters_after(&self, deployment: &Deployment, live: bool) -> Result<Option<Samples>> {
        let measured = self.store.measurements(&deployment.id).await?;
        let settled = measured.iter().rev().find(|measurement| measurement.kind == "settled");
        if let Some(measurement) = settled {
            return Ok(serde_json::from_value(measurement.body["router"].clone()).ok());
        }
        if !live {
            return Ok(None);
        }
        let (_, _, spec) = self.service(&deployment.environment, &deployment.service).await?;
        Ok(self.adapters.router(&spec).measure().await.ok())
    }

    /// Checks what serves now, directly and through the listener, and returns what was seen. It never moves traffic.
    pub async fn verify_now(self: &std::sync::Arc<Self>, by: &Caller, deployment: &Deployment) -> Result<Value> {
        let step = Step::of("verify_deployment", json!({ "deployment": deployment.id }));
        self.may_begin(by, &deployment.environment, step).await?;
        let lease =
            crate::model::Lease { environment: deployment.environment.clone(), holder: self.holder.clone(), epoch: deployment.epoch };
        let run = Run::of(self, deployment, lease).await?;
        let mut instances = Vec::new();
        for instance in run.instances() {
            let seen = match run.target.observe(&instance).await {
                Ok(Some(observed)) if observed.running => match run.verify_instance(&observed, &run.plan.version, &run.spec).await {
                    Ok(report) => json!({ "passed": true, "report": report }),
                    Err(failure) => json!({ "passed": false, "code": failure.code, "message": failure.message }),
                },
                _ => json!({ "passed": false, "code": "instance_exited", "message": format!("`{instance}` does not run") }),
            };
            instances.push(seen);
        }
        let listener = match run.verify_listener(&run.plan.version, &run.spec).await {
            Ok(report) => json!({ "passed": true, "report": report }),
            Err(failure) => json!({ "passed": false, "code": failure.code, "message": failure.message }),
        };
        let passed = listener["passed"] == true && instances.iter().all(|instance| instance["passed"] == true) && !instances.is_empty();
        let report = self.report(deployment, true).await?;
        let seen =
            json!({ "passed": passed, "instances": instances, "listener": listener, "traffic": report.traffic, "gates": report.gates });
        self.store.add_measurement(by, &deployment.id, "verification", &seen).await?;
        Ok(seen)
    }
}

/// Returns what a deployment's set did from the switch to this reading; none when traffic never moved to it.
pub(super) fn traffic_until(deployment: &Deployment, plan: &Plan, steps: &[JournalEntry], after: &Samples) -> Option<Traffic> {
    let moves = |entry: &&JournalEntry| plan.step(&entry.step).is_some_and(|step| step.action.moves_traffic());
    let before: Samples = serde_json::from_value(steps.iter().find(moves)?.output["before"].clone()).ok()?;
    let seen = window(&plan.label(&deployment.id), &before, after);
    Some(Traffic {
        requests: seen.set.requests,
        errors: seen.set.errors,
        error_percent: seen.error_percent(),
        p95_ms: seen.set.p95_ms(),
        downtime: seen.downtime,
    })
}

impl Report {
    /// Tells whether every check through the listener was recorded as passed.
    pub fn smoke_passed(&self) -> bool {
        self.step("verify-listener").is_some_and(|entry| entry.state == StepState::Done)
    }

    /// Returns how data goes back with the traffic when a person decides it; none where traffic alone goes back, or nothing takes data back.
    pub fn data_return(&self) -> Option<&DataReturn> {
        super::data_plan::past_data(&self.plan, &self.steps)?.data.as_ref()
    }

    /// Returns a step's row.
    pub fn step(&self, id: &str) -> Option<&JournalEntry> {
        self.steps.iter().find(|entry| entry.step.as_str() == id)
    }

    /// Returns what the rehearsal of the way back has shown, for people.
    pub fn rollback_tested(&self) -> Option<String> {
        Some(super::rehearsal::rehearsal_of(&self.steps)?.summary())
    }

    /// Returns how long the way back took, from the reason to the last undone step.
    pub fn rollback_ms(&self) -> Option<u64> {
        let turned = self.incidents.first().map(|incident| incident.opened_at);
        match self.deployment.state {
            DeploymentState::RolledBack => Some(self.deployment.unshifted_at?.since(turned?).as_millis() as u64),
            _ => None,
        }
    }

    /// Returns the content of `post-deploy/smoke-report.json`.
    pub fn smoke_report(&self) -> Value {
        let deployment = &self.deployment;
        json!({
            "generated_by": "interlock",
            "deployment": deployment.id, "directive": deployment.directive, "plan": deployment.plan,
            "service": deployment.service, "environment": deployment.environment,
            "version": deployment.version, "digest": deployment.digest, "commit": self.plan.commit,
            "state": deployment.state, "smoke_passed": self.smoke_passed(),
            "instances": self.step("verify-instances").map(|entry| &entry.output["instances"]),
            "listener": self.step("verify-listener").map(|entry| &entry.output),
            "migrations": self.plan.migrations, "backup": self.backup, "way_back": self.plan.rollback.summary,
            "rollback_tested": super::rehearsal::rehearsal_of(&self.steps),
            "traffic": self.traffic, "gates": self.gates,
            "incidents": self.incidents.iter().map(|incident| json!({ "rule": incident.rule, "summary": incident.summary, "action": incident.action })).collect::<Vec<_>>(),
            "shifted_at": deployment.shifted_at, "settled_at": deployment.settled_at, "rollback_ms": self.rollback_ms(),
        })
    }

    /// Returns the content of `ci/deploy-logs.txt`: the journal, one line a step.
    pub fn deploy_log(&self) -> String {
        let deployment = &self.deployment;
        let mut lines = vec![
            "# generated by interlock from its record; do not edit".to_owned(),
            format!(
                "{} {} {} {} to {}",
                deployment.id, deployment.directive, deployment.service, deployment.version, deployment.environment
            ),
            format!("plan {} release {} commit {}", deployment.plan, deployment.digest, self.plan.commit.as_deref().unwrap_or("unknown")),
        ];
        for entry in &self.steps {
            let at = entry.started_at.map_or("-".to_owned(), |at| at.to_string());
            let took = match (entry.started_at, entry.ended_at) {
                (Some(start), Some(end)) => format!("{} ms", end.since(start).as_millis()),
                _ => "-".into(),
            };
            lines.push(format!("{at} {} {} ({took}) {}", entry.step, entry.state.as_str(), entry.output));
        }
        lines.extend(
            self.incidents
                .iter()
                .map(|incident| format!("{} incident {}: {} -> {}", incident.opened_at, incident.rule, incident.summary, incident.action)),
        );
        lines.push(format!("state {}", deployment.state.as_str()));
        lines.push(String::new());
        lines.join("\n")
    }
}
