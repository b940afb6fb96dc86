//! What the record knows about a plan beside the plan itself; none of it is part of what is signed.

use crate::{
    engine::{Engine, git},
    error::Result,
    model::{DecisionKind, Deployment, DeploymentId, Plan, PlanState, ServiceSpec, Sha256, SignedDecision, Timestamp},
    store::{Approvals, DeploymentFilter, EvidenceRecord, PlanRecord},
};
use std::sync::Arc;

/// How many earlier deployments are looked at.
const EARLIER: u32 = 10;

/// What deployments of the place have cost customers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    /// How many are looked at, at most ten.
    pub deployments: usize,
    /// Of how many it is known what they cost.
    pub measured: usize,
    /// Requests that failed at the router, and failed probes, over all of these.
    pub downtime: u64,
    /// How many were taken back, or went back by themselves.
    pub went_back: usize,
}

/// What the record knows about a plan.
pub struct Known {
    /// The plan's record.
    pub record: PlanRecord,
    /// The hash of the plan's bytes, made from them for this page.
    pub sha256: Sha256,
    /// When it was looked at.
    pub now: Timestamp,
    /// Its deployment.
    pub deployment: Option<Deployment>,
    /// The plan that brought what serves.
    pub base_plan: Option<Plan>,
    /// The paths that differ from the commit that serves; none where nobody can say.
    pub changed: Option<Vec<String>>,
    /// What the reports are that its gates rest on.
    pub evidence: Vec<EvidenceRecord>,
    /// What the gates said last.
    pub gates_now: Vec<crate::model::GateResult>,
    /// The service as the configuration has it that the plan is bound to.
    pub spec: Option<ServiceSpec>,
    /// What earlier deployments have cost.
    pub earlier: Earlier,
    /// What the agent's client calls itself.
    pub client: Option<String>,
    /// When few customers are there.
    pub quiet_hours: String,
    /// The decisions over its bytes, and whether each signature holds now.
    pub decisions: Vec<(SignedDecision, bool)>,
    /// What there is of the approvals it needs.
    pub approvals: Approvals,
    /// Why an approval would count for nothing, where something it stands on has changed.
    pub overtaken: Option<String>,
}

impl Known {
    /// Looks everything up.
    pub async fn of(engine: &Arc<Engine>, record: PlanRecord, sha256: Sha256, now: Timestamp) -> Result<Known> {
        let store = &engine.store;
        let plan = &record.plan;
        let of_directive = DeploymentFilter { directive: Some(plan.directive.clone()), ..Default::default() };
        let deployment = store.deployments(&of_directive).await?.0.into_iter().find(|deployment| deployment.plan == record.id);
        let base_plan = match &plan.base {
            Some(base) => plan_of(engine, &base.deployment).await?,
            None => None,
        };
        let commits = base_plan.as_ref().and_then(|base| base.commit.as_deref()).zip(plan.commit.as_deref());
        let changed = match commits {
            Some((from, to)) => git::changed(&engine.workspace.root, from, to).await.ok(),
            None => None,
        };
        let mut decisions = Vec::new();
        for signed in store.decisions_over(&sha256).await? {
            let approver = store.approver(&signed.decision.approver).await?;
            let holds = approver.is_some_and(|approver| approver.has_signed(&signed));
            decisions.push((signed, holds));
        }
        let principals = store.principals().await?;
        Ok(Known {
            deployment,
            base_plan,
            changed,
            evidence: store.evidence_of(&plan.directive).await?,
            gates_now: store.verdicts(&plan.directive).await?,
            spec: engine.planned_spec(plan).await.ok(),
            earlier: earlier(engine, &record).await?,
            client: principals.into_iter().find(|one| one.principal == record.created_by).and_then(|one| one.client),
            quiet_hours: engine.quiet_hours(&plan.service, &plan.environment).await?.summary(),
            decisions,
            overtaken: engine.overtaken(plan).await.ok().flatten().map(|why| why.message),
            approvals: store.approvals(&record, DecisionKind::Plan).await?,
            record,
            sha256,
            now,
        })
    }

    /// Tells whether the time of its request or approval is over.
    pub fn has_run_out(&self) -> bool {
        let until = match self.record.state {
            PlanState::AwaitingApproval => self.record.request_expires_at,
            PlanState::Approved => self.record.approval_expires_at,
            PlanState::Expired => return true,
            _ => None,
        };
        until.is_some_and(|until| until <= self.now)
    }
}

async fn plan_of(engine: &Engine, deployment: &DeploymentId) -> Result<Option<Plan>> {
    let Some(deployment) = engine.store.deployment(deployment).await? else { return Ok(None) };
    Ok(engine.store.plan(&deployment.plan).await?.map(|record| record.plan))
}

async fn earlier(engine: &Engine, record: &PlanRecord) -> Result<Earlier> {
    let plan = &record.plan;
    let (service, environment) = (&plan.service, &plan.environment);
    let filter =
        DeploymentFilter { service: Some(service.clone()), environment: Some(environment.clone()), limit: EARLIER, ..Default::default() };
    let newest = engine.store.deployments(&filter).await?.0;
    let is_earlier = |deployment: &Deployment| deployment.state.is_settled() && deployment.created_at < record.created_at;
    let settled: Vec<Deployment> = newest.into_iter().filter(is_earlier).collect();
    let readings = engine.store.measured_lately(service, environment, "traffic", EARLIER).await?;
    let of_those: Vec<u64> = readings
        .iter()
        .filter(|(id, _)| settled.iter().any(|deployment| deployment.id == *id))
        .filter_map(|(_, body)| body["downtime"].as_u64())
        .collect();
    let went_back = settled.iter().filter(|one| one.rolled_back_by.is_some() || one.undo_reason.is_some()).count();
    Ok(Earlier { deployments: settled.len(), measured: of_those.len(), downtime: of_those.iter().sum(), went_back })
}
