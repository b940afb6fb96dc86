//! Freezes a plan: looks at what serves and what the gates say, and opens the approval request where the environment asks for one.

use super::{
    Engine,
    data_plan::refuse_contract,
    necessity::EMERGENCY_ROLLBACK,
    planner::{PlanInput, plan},
    progression::Step,
};
use crate::{
    config::ApprovalConfig,
    error::{Code, Error, Result},
    model::{
        Assessment, Caller, Directive, DirectiveState, GateResult, PlanState, Purpose, ServiceSpec, Strategy, Verdict, plan::PlannedPhase,
        service::RouterKind, text,
    },
    phases::Phase,
    store::PlanRecord,
};
use serde_json::json;
use std::time::Duration;

/// What a caller may choose of a plan.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The strategy, where the applied configuration fixes none.
    pub strategy: Option<Strategy>,
    /// What the agent has thought through; what it said before, when left out.
    pub assessment: Option<Assessment>,
}

/// A plan with what stands in its way.
pub struct Planned {
    /// The plan's record.
    pub record: PlanRecord,
    /// Whether the same plan stood already.
    pub existing: bool,
    /// Live gates that would stop it now.
    pub blockers: Vec<GateResult>,
    /// Every gate's verdict.
    pub gates: Vec<GateResult>,
}

impl Engine {
    /// Returns the frozen plan for a directive.
    pub async fn plan_deployment(&self, by: &Caller, directive: &Directive, wanted: Wanted) -> Result<Planned> {
        let step = Step::of("plan_deployment", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        if directive.nothing_built {
            return Err(Error::new(
                Code::WrongState,
                format!("nothing was built for `{}`: it is about a commit and deploys nothing", directive.id),
            )
            .hint("call `complete_directive`; or build it, and call `create_directive` with `version` and `artifact`"));
        }
        let asked = wanted.strategy;
        self.refuse_unmet_dependencies(directive).await?;
        let plans = self.store.plans_of(&directive.id).await?;
        let plans: Vec<&PlanRecord> = plans.iter().filter(|record| record.plan.purpose == Purpose::Deploy).collect();
        if let Some(rejected) = plans.iter().find(|record| record.state == PlanState::Rejected) {
            let reason = text::visible(rejected.reason.as_deref().unwrap_or("no reason was given"), 500);
            return Err(Error::new(Code::ApprovalRejected, format!("`{}` was rejected: {reason}", rejected.id))
                .hint("mend it in a new directive, or ask an approver to approve the rejected plan after all"));
        }
        let (applied, environment, spec) = self.service(&directive.environment, &directive.service).await?;
        refuse_other_strategy(&spec, asked)?;
        let gates = self.judge(by, directive).await?;
        let (live, bound): (Vec<_>, Vec<_>) = gates.iter().cloned().partition(|gate| gate.live);
        let failing: Vec<&GateResult> = bound.iter().filter(|gate| gate.verdict != Verdict::Pass).collect();
        if !failing.is_empty() {
            return Err(gates_refusal(&failing));
        }
        // Whoever plans again without a word leaves standing what was said.
        let said = plans.iter().max_by_key(|record| record.created_at).and_then(|record| record.plan.assessment.clone());
        let assessment = wanted.assessment.or(said);
        self.refuse_unassessed(directive, assessment.as_ref()).await?;
        let base = self.base(&directive.service, &directive.environment).await?;
        if base.as_ref().is_some_and(|base| base.digest == directive.digest) {
            let deployment = base.map(|base| base.deployment.to_string()).unwrap_or_default();
            return Err(Error::new(Code::WrongState, format!("these bytes serve already, since `{deployment}`"))
                .hint("there is nothing to deploy; call `complete_directive`, or cancel the directive"));
        }
        let foreseen = self.foreseen(&spec, &directive.digest, &directive.version).await?;
        refuse_contract(&spec, base.as_ref(), &foreseen.migrations)?;
        let phase = self.phase_of(&directive.environment).await?;
        if let Some(phase) = &phase {
            self.store.keep_phase(by, &phase.name, &phase.sha256, &phase.text).await?;
        }
        let spent = plans.iter().filter(|record| matches!(record.state, PlanState::Used | PlanState::Void)).count();
        let approval = environment.approval.clone();
        let plan = plan(PlanInput {
            project: &applied.config.project,
            directive: &directive.id,
            purpose: Purpose::Deploy,
            version: &directive.version,
            commit: directive.commit.as_deref(),
            digest: &directive.digest,
            spec: &spec,
            config_sha256: applied
                .config
                .effective_sha256(&directive.environment, &directive.service)
                .ok_or_else(|| Error::not_found("service", &directive.service))?,
            base,
            attempt: spent as u32 + 1,
            phase: phase.map(|phase| PlannedPhase { name: phase.name, sha256: phase.sha256, risk: phase.risk }),
            gates: &gates,
            strategy: asked,
            foreseen,
            data_return: None,
            returns_to: None,
            guarantees: self.adapters.router(&spec).guarantees(),
            assessment,
            approval: approval.as_ref().map(ApprovalConfig::required),
        });
        let state = if approval.is_some() { PlanState::AwaitingApproval } else { PlanState::Planned };
        let request_expires_at = approval.map(|approval| self.present().plus(Duration::from_millis(approval.request_expires_ms)));
        let id = plan.id();
        // A newer plan takes the place of the older ones: nobody is asked to decide over what will not run.
        for older in plans.iter().filter(|record| record.id != id) {
            let open = [PlanState::Planned, PlanState::AwaitingApproval, PlanState::Approved];
            self.store.move_plan(by, &older.id, &open, PlanState::Void, Some(&format!("replaced by {id}"))).await?;
        }
        let (mut record, existing) = self.store.save_plan(by, &plan, state, request_expires_at).await?;
        if existing {
            record = self.plan_record(&id).await?;
        }
        if let (PlanState::Expired, Some(until)) = (record.state, request_expires_at) {
            self.store.reopen_request(by, &id, until).await?;
            record = self.plan_record(&id).await?;
        }
        let active = [DirectiveState::Active];
        self.store.set_directive_state(by, &directive.id, &active, DirectiveState::InProgress, None).await?;
        let blockers = live.into_iter().filter(|gate| gate.verdict != Verdict::Pass).collect();
        Ok(Planned { record, existing, blockers, gates })
    }

    /// Tells whether a plan in this environment needs an assessment: where a person approves, under a phase that waits for one.
    pub async fn needs_assessment(&self, directive: &Directive, phase: Option<&Phase>) -> Result<bool> {
        let asks = phase.is_some_and(|phase| phase.asked_facts().any(|fact| fact == "assessed"));
        Ok(asks && self.service(&directive.environment, &directive.service).await?.1.is_production())
    }

    async fn refuse_unassessed(&self, directive: &Directive, assessment: Option<&Assessment>) -> Result<()> {
        let faults = assessment.map(Assessment::faults).unwrap_or_default();
        if !faults.is_empty() {
            return Err(Error::invalid(format!("the assessment cannot be decided over: {}", faults.join("; "))));
        }
        let phase = self.phase_for(directive).await?;
        if assessment.is_none() && self.needs_assessment(directive, phase.as_ref()).await? {
            let message = format!(
                "`{}` asks for an assessment of what goes to `{}`",
                phase.map_or_else(String::new, |phase| phase.name),
                directive.environment
            );
            let shape = json!({ "directive": directive.id, "assessment": Assessment::template() });
            return Err(Error::new(Code::InvalidArguments, message).hint(format!("call `plan_deployment` with your own words: {shape}")));
        }
        Ok(())
    }

    pub(super) async fn refuse_unmet_dependencies(&self, directive: &Directive) -> Result<()> {
        for id in &directive.depends_on {
            let needed = self.directive(id).await?;
            if needed.state != DirectiveState::Completed {
                return Err(Error::new(
                    Code::GateFailed,
                    format!("`{}` depends on `{id}`, which is {}", directive.id, needed.state.as_str()),
                )
                .hint("complete that directive first"));
            }
            if !self.has_brought_something(&needed).await? {
                let message = format!("`{}` depends on `{id}`, which was closed during a way back and brought nothing", directive.id);
                return Err(Error::new(Code::GateFailed, message).hint("order it again, and a new directive that depends on that"));
            }
        }
        Ok(())
    }

    /// Tells whether a completed directive is more than an order that a way back has closed.
    pub(super) async fn has_brought_something(&self, completed: &Directive) -> Result<bool> {
        Ok(self.store.phase_skip(&completed.id).await?.is_none_or(|skip| skip.fact != EMERGENCY_ROLLBACK))
    }
}

/// Configuration is what a person applied; a caller may choose only where it leaves the choice.
fn refuse_other_strategy(spec: &ServiceSpec, asked: Option<Strategy>) -> Result<()> {
    let is_external = matches!(spec.router, RouterKind::External { .. });
    if is_external && matches!(asked, Some(Strategy::Canary | Strategy::Rolling)) {
        let message = format!("the router of `{}` in `{}` is external: it cannot share out traffic", spec.service, spec.environment);
        return Err(Error::new(Code::DeniedByPolicy, message).hint("leave `strategy` out"));
    }
    match (spec.rollout.strategy, asked) {
        (Some(fixed), Some(asked)) if fixed != asked => {
            let (fixed, asked) = (fixed.as_str(), asked.as_str());
            let message =
                format!("the applied configuration says `{fixed}` for `{}` in `{}`, not `{asked}`", spec.service, spec.environment);
            Err(Error::new(Code::DeniedByPolicy, message).hint("leave `strategy` out; a person changes it with `interlock apply`"))
        }
        _ => Ok(()),
    }
}

/// Returns the refusal that lists gates which do not pass: each with what it needs, who can supply it and how.
pub fn gates_refusal(gates: &[&GateResult]) -> Error {
    let names: Vec<String> = gates.iter().map(|gate| format!("{} is {} ({})", gate.gate, gate.verdict, gate.reason)).collect();
    let error = Error::new(Code::GateFailed, names.join("; ")).details(json!({ "gates": gates }));
    match gates.first().and_then(|gate| Some((gate.who?, gate.how.clone()?))) {
        Some((who, how)) => error.who(who).hint(how),
        None => error,
    }
}
