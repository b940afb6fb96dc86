//! Makes a plan from what is known: pure, so the same input gives the same plan and the same hash.

use crate::model::{
    Action, Base, GateResult, Guarantees, Plan, PlannedGate, Purpose, Reversibility, ServiceSpec, Sha256, Step, StepId,
    plan::{PlannedPhase, RequiredApproval, Rollback, RollbackKind, Strategy, Watch},
};
use crate::model::{DirectiveId, GateName};

/// Health checks end at their own deadline; this is what a start may take before (process and port).
const START_MS: u64 = 30_000;
/// A switch is one message to the router; more than this means the router does not answer.
const SHIFT_MS: u64 = 10_000;
/// Smoke checks through the listener.
const VERIFY_MS: u64 = 60_000;
/// Stopping an old set: its grace, and some.
const RETIRE_MS: u64 = 60_000;
/// Checking gates and files again.
const RECHECK_MS: u64 = 60_000;
/// DEPLOY-002: error rate above which traffic goes back, percent (seed stage-30).
const ERROR_PERCENT: u32 = 5;
/// DEPLOY-002: p95 above which traffic goes back, milliseconds (seed stage-30).
const P95_MS: u64 = 500;
/// DEPLOY-002: how long either must last (seed stage-30).
const SUSTAINED_MS: u64 = 120_000;
/// Requests below which neither is judged.
const MIN_SAMPLES: u64 = 20;

/// Everything a plan is made of.
pub struct PlanInput<'a> {
    /// `[project] name`.
    pub project: &'a str,
    /// The directive.
    pub directive: &'a DirectiveId,
    /// Forward, or back.
    pub purpose: Purpose,
    /// The version that will serve.
    pub version: &'a str,
    /// The commit it was built from.
    pub commit: Option<&'a str>,
    /// The digest of its bytes.
    pub digest: &'a Sha256,
    /// The service as it will run.
    pub spec: &'a ServiceSpec,
    /// SHA-256 of the effective configuration.
    pub config_sha256: Sha256,
    /// What serves now.
    pub base: Option<Base>,
    /// Counted from the record.
    pub attempt: u32,
    /// The phase.
    pub phase: Option<PlannedPhase>,
    /// Every gate's verdict.
    pub gates: &'a [GateResult],
    /// What the router promises.
    pub guarantees: Guarantees,
    /// Whose approval it needs.
    pub approval: Option<RequiredApproval>,
}

/// Returns the plan.
pub fn plan(input: PlanInput<'_>) -> Plan {
    let spec = input.spec;
    let (live, bound): (Vec<_>, Vec<_>) = input.gates.iter().partition(|gate| gate.live);
    Plan {
        schema: 1,
        project: input.project.to_owned(),
        directive: input.directive.clone(),
        service: spec.service.clone(),
        environment: spec.environment.clone(),
        rollback: rollback(&input.purpose, input.base.as_ref()),
        purpose: input.purpose,
        version: input.version.to_owned(),
        commit: input.commit.map(str::to_owned),
        digest: input.digest.clone(),
        steps: steps(spec, input.version, input.base.as_ref()),
        base: input.base,
        attempt: input.attempt,
        strategy: Strategy::BlueGreen,
        config_sha256: input.config_sha256,
        phase: input.phase,
        gates: bound.into_iter().map(planned_gate).collect(),
        live_gates: live.into_iter().map(|gate| gate.gate.clone()).collect::<Vec<GateName>>(),
        command: spec.command.clone(),
        guarantees: input.guarantees,
        watch: Watch {
            error_percent: ERROR_PERCENT,
            p95_ms: P95_MS,
            sustained_ms: SUSTAINED_MS.min(spec.bake_ms),
            min_samples: MIN_SAMPLES,
        },
        approval: input.approval,
    }
}

/// Returns a gate as a plan rests on it.
pub fn planned_gate(gate: &GateResult) -> PlannedGate {
    PlannedGate {
        gate: gate.gate.clone(),
        rule: gate.rule.clone(),
        asked_by: gate.asked_by.clone(),
        verdict: gate.verdict,
        value: gate.value.clone(),
        evidence_sha256: gate.evidence_sha256.clone(),
    }
}

fn rollback(purpose: &Purpose, base: Option<&Base>) -> Rollback {
    match (purpose, base) {
        (_, Some(base)) => Rollback {
            kind: RollbackKind::Traffic,
            to_version: Some(base.version.clone()),
            summary: format!("can return to {} ({}); traffic only, no data is touched", base.version, base.deployment),
        },
        (_, None) => Rollback {
            kind: RollbackKind::Withdraw,
            to_version: None,
            summary: "nothing served before: going back withdraws the service (503)".into(),
        },
    }
}

fn steps(spec: &ServiceSpec, version: &str, base: Option<&Base>) -> Vec<Step> {
    let step = |id: &str, action, title: String, undo: Option<String>, timeout_ms| Step {
        reversibility: if undo.is_some() { Reversibility::Compensable } else { Reversibility::Free },
        id: StepId::from(id),
        action,
        title,
        undo,
        timeout_ms,
    };
    let listen = spec.router.listen();
    let back = match base {
        Some(base) => format!("all traffic back to {}", base.version),
        None => "no traffic: 503 until something is deployed".into(),
    };
    let mut steps =
        vec![step("recheck", Action::Recheck, "check approval, bindings, freeze and live gates again".into(), None, RECHECK_MS)];
    for index in 1..=spec.instances {
        let title = format!("start {version}, instance {index} of {}", spec.instances);
        steps.push(step(&format!("start-{index}"), Action::Start { index }, title, Some(format!("stop instance {index}")), START_MS));
    }
    steps.push(step(
        "verify-instances",
        Action::VerifyInstances,
        format!("health, identity {version} and smoke on each instance, before any customer reaches it"),
        None,
        spec.health.deadline_ms + VERIFY_MS,
    ));
    steps.push(step("shift", Action::Shift, format!("move all traffic of {listen} to {version} at once"), Some(back), SHIFT_MS));
    steps.push(step("verify-listener", Action::VerifyListener, format!("identity {version} and smoke through {listen}"), None, VERIFY_MS));
    if base.is_some() {
        steps.push(step("drain", Action::Drain, "wait for requests in flight on the old set".into(), None, spec.drain_ms + SHIFT_MS));
    }
    steps.push(step(
        "bake",
        Action::Bake { duration_ms: spec.bake_ms },
        format!("watch {version} for {} s with the old set warm", spec.bake_ms / 1000),
        None,
        spec.bake_ms + VERIFY_MS,
    ));
    steps.push(step("retire", Action::Retire, "stop the old set; its release stays on disk".into(), None, RETIRE_MS));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::examples::{base, gate, plan},
        model::Verdict,
    };

    #[test]
    fn the_same_input_gives_the_same_plan() {
        let gates = [gate("tests", Verdict::Pass, false)];
        assert_eq!(plan(&gates, Some(base("dep_1"))).id(), plan(&gates, Some(base("dep_1"))).id());
        assert_ne!(plan(&gates, Some(base("dep_1"))).id(), plan(&gates, Some(base("dep_2"))).id());
        assert_ne!(plan(&gates, None).id(), plan(&[], None).id());
    }

    #[test]
    fn every_instance_is_verified_before_traffic_moves_and_every_change_has_its_undo() {
        let plan = plan(&[], Some(base("dep_1")));
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(ids, ["recheck", "start-1", "start-2", "verify-instances", "shift", "verify-listener", "drain", "bake", "retire"]);
        for step in &plan.steps {
            assert_eq!(step.undo.is_some(), crate::engine::decide::has_undo(&step.action), "{}", step.id);
        }
    }

    #[test]
    fn a_first_deployment_goes_back_to_nothing() {
        let plan = plan(&[], None);
        assert_eq!(plan.rollback.kind, RollbackKind::Withdraw);
        assert!(!plan.steps.iter().any(|step| step.action == Action::Drain), "nothing is in flight on an old set");
    }
}
