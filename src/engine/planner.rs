//! Makes a plan from what is known: pure, so the same input gives the same plan and the same hash.

use super::{
    data_plan::{self, Foreseen},
    data_steps::{self, Around},
    rehearsal, rollout,
};
use crate::model::{
    Assessment, Base, DeploymentId, DirectiveId, GateName, GateResult, Guarantees, Plan, PlannedGate, Purpose, ServiceSpec, Sha256,
    Strategy,
    data::PlannedReturn,
    plan::{PlannedPhase, RequiredApproval, Watch},
};

/// DEPLOY-002: error rate above which traffic goes back, percent (seed stage-30).
pub(super) const ERROR_PERCENT: u32 = 5;
/// DEPLOY-002: p95 above which traffic goes back, milliseconds (seed stage-30).
pub(super) const P95_MS: u64 = 500;
/// DEPLOY-002: how long either must last (seed stage-30).
pub(super) const SUSTAINED_MS: u64 = 120_000;
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
    /// The strategy the caller asks for, where configuration fixes none.
    pub strategy: Option<Strategy>,
    /// What stands before it in its database; nothing for a way back.
    pub foreseen: Foreseen,
    /// The data that a way back takes back with it.
    pub data_return: Option<PlannedReturn>,
    /// The earlier deployment whose release a person has decided to bring back.
    pub returns_to: Option<DeploymentId>,
    /// What the router promises.
    pub guarantees: Guarantees,
    /// Whose approval it needs.
    /// What the agent has thought through.
    pub assessment: Option<Assessment>,
    /// Whose approval it needs, if any.
    pub approval: Option<RequiredApproval>,
}

/// Returns the plan.
pub fn plan(input: PlanInput<'_>) -> Plan {
    let spec = input.spec;
    let (live, bound): (Vec<_>, Vec<_>) = input.gates.iter().partition(|gate| gate.live);
    let strategy = match &input.purpose {
        Purpose::Deploy => rollout::strategy(spec, input.strategy, input.base.as_ref()),
        // The way back is one switch: a bad release keeps no share of the traffic.
        Purpose::Rollback { .. } => Strategy::BlueGreen,
    };
    // What is wrong outside was there before, or is what is gone back from: the way back goes on.
    let metrics = if input.purpose == Purpose::Deploy { spec.metrics.clone() } else { Vec::new() };
    let rollback = match &input.data_return {
        Some(returned) => data_plan::after_return(returned, input.version),
        None => data_plan::rollback(spec, input.base.as_ref(), &input.foreseen),
    };
    let around = Around {
        spec,
        purpose: &input.purpose,
        migrations: &input.foreseen.migrations,
        rollback: &rollback,
        data_return: input.data_return.as_ref(),
    };
    let mut rollout = rollout::steps(spec, strategy, input.version, input.base.as_ref());
    if let (Purpose::Deploy, Some(base)) = (&input.purpose, &input.base) {
        rollout = rehearsal::with_rehearsal(rollout, spec, input.version, base);
    }
    let steps = data_steps::with_data(rollout, &around);
    Plan {
        schema: 1,
        project: input.project.to_owned(),
        directive: input.directive.clone(),
        service: spec.service.clone(),
        environment: spec.environment.clone(),
        rollback,
        purpose: input.purpose,
        version: input.version.to_owned(),
        commit: input.commit.map(str::to_owned),
        digest: input.digest.clone(),
        migrations: input.foreseen.migrations,
        data_return: input.data_return,
        returns_to: input.returns_to,
        steps,
        base: input.base,
        attempt: input.attempt,
        strategy,
        config_sha256: input.config_sha256,
        phase: input.phase,
        gates: bound.into_iter().map(planned_gate).collect(),
        live_gates: live.into_iter().map(|gate| gate.gate.clone()).collect::<Vec<GateName>>(),
        command: spec.command.clone(),
        guarantees: input.guarantees,
        watch: Watch {
            error_percent: ERROR_PERCENT,
            p95_ms: P95_MS,
            sustained_ms: match strategy {
                Strategy::Canary => SUSTAINED_MS.min(spec.bake_ms).min(spec.rollout.watch_ms),
                _ => SUSTAINED_MS.min(spec.bake_ms),
            },
            min_samples: MIN_SAMPLES,
        },
        metrics,
        assessment: input.assessment,
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

#[cfg(test)]
mod tests {
    use crate::{
        engine::examples::{base, gate, plan},
        model::{Action, Verdict, plan::RollbackKind},
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
