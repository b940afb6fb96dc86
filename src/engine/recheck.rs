//! Checks at execution that everything a plan was approved on is still so: the bindings, the signature, the live world.

use super::{
    Engine,
    bindings::{Drift, Present, drifts},
};
use crate::{
    error::{Code, Error, Result},
    model::{
        Base, Caller, DecisionKind, DecisionVerdict, EnvironmentName, GateResult, Plan, PlanState, Purpose, ServiceName, ServiceSpec,
        Sha256, data::PlannedMigration, quorum::Given,
    },
    targets::release_store::ArtifactError,
};
use serde_json::json;
use std::path::PathBuf;

/// What a plan stands on, as it is now.
struct Ground {
    spec: ServiceSpec,
    config_sha256: Sha256,
    base: Option<Base>,
    phase_sha256: Option<Sha256>,
}

impl Ground {
    fn present<'a>(&'a self, plan: &'a Plan, migrations: &'a [PlannedMigration], gates: &'a [GateResult]) -> Present<'a> {
        let (config_sha256, base, phase_sha256) = (&self.config_sha256, self.base.as_ref(), self.phase_sha256.as_ref());
        Present { digest: &plan.digest, config_sha256, base, phase_sha256, migrations, gates }
    }
}

impl Engine {
    /// Refuses unless the plan still fits the present; a plan that no longer does is void from then on.
    ///
    /// A rollback needs no approval and no gates: only its bytes, and what it starts from, are checked.
    pub async fn recheck(&self, plan: &Plan) -> Result<()> {
        self.release_dir(&plan.digest).await?;
        if matches!(plan.purpose, Purpose::Rollback { .. }) {
            let base = self.base(&plan.service, &plan.environment).await?;
            return match base == plan.base {
                true => {
                    self.check_further_back(plan).await?;
                    self.check_return(plan).await
                }
                false => Err(Error::new(Code::StalePlan, format!("`{}` starts from what no longer serves", plan.id()))),
            };
        }
        self.check_signature(plan).await?;
        let directive = self.open_directive(&plan.directive).await?;
        let gates = self.evaluate_gates(&directive).await?;
        let ground = self.ground(plan).await?;
        // Under another configuration the plan is void anyway, and its commands may be others.
        let migrations = match ground.config_sha256 == plan.config_sha256 {
            true => self.foreseen(&ground.spec, &plan.digest, &plan.version).await?.migrations,
            false => plan.migrations.clone(),
        };
        let drifts = drifts(plan, &ground.present(plan, &migrations, &gates));
        let Some(first) = drifts.iter().find(|drift| !matches!(drift, Drift::Gate(_))).or(drifts.first()) else { return Ok(()) };
        let error = refusal(plan, first);
        if matches!(error.code, Code::StalePlan | Code::ApprovalVoid) {
            let from = [PlanState::Planned, PlanState::AwaitingApproval, PlanState::Approved];
            self.store.move_plan(&Caller::server(), &plan.id(), &from, PlanState::Void, Some(&error.message)).await?;
        }
        Err(error)
    }

    /// Returns why nobody needs to approve a plan any more: the configuration, the phase or what serves is another than it starts from.
    /// To look runs no gate and changes nothing; execution looks at all of it.
    pub async fn overtaken(&self, plan: &Plan) -> Result<Option<Error>> {
        let drifts = drifts(plan, &self.ground(plan).await?.present(plan, &plan.migrations, &[]));
        let is_ground = |drift: &&Drift| match drift {
            Drift::Base { .. } => true,
            Drift::Field { field, .. } => field == "configuration" || field == "phase",
            Drift::Gate(_) => false,
        };
        Ok(drifts.iter().find(is_ground).map(|drift| refusal(plan, drift)))
    }

    async fn ground(&self, plan: &Plan) -> Result<Ground> {
        let (applied, _, spec) = self.service(&plan.environment, &plan.service).await?;
        let config_sha256 = applied.config.effective_sha256(&plan.environment, &plan.service);
        Ok(Ground {
            config_sha256: config_sha256.ok_or_else(|| Error::not_found("service", &plan.service))?,
            spec,
            base: self.base(&plan.service, &plan.environment).await?,
            phase_sha256: self.phase_of(&plan.environment).await?.map(|phase| phase.sha256),
        })
    }

    /// Checks again that a person's key signed exactly this plan.
    async fn check_signature(&self, plan: &Plan) -> Result<()> {
        let Some(required) = &plan.approval else { return Ok(()) };
        match self.is_signed(DecisionKind::Plan, plan, Some(&required.role)).await? {
            true => Ok(()),
            false => Err(Error::new(Code::ApprovalRequired, format!("no `{}` has signed `{}`", required.role, plan.id()))
                .details(json!({ "directive": plan.directive }))),
        }
    }

    /// Tells whether as many approvers as it needs have signed exactly this plan, by decisions of this kind, and nobody has refused it since.
    pub(super) async fn is_signed(&self, kind: DecisionKind, plan: &Plan, role: Option<&str>) -> Result<bool> {
        let subject = plan.sha256();
        let mut given: Vec<Given> = Vec::new();
        for signed in self.store.decisions_in_request(plan).await? {
            let decision = &signed.decision;
            let is_over_it = decision.subject_sha256 == subject && decision.environment.as_ref() == Some(&plan.environment);
            let counts = decision.verdict == DecisionVerdict::Reject || decision.kind == kind;
            if is_over_it
                && counts
                && let Some(approver) = self.store.approver(&decision.approver).await?
                && role.is_none_or(|role| approver.role == role)
                && approver.has_signed(&signed)
            {
                given.push((decision.approver.clone(), decision.verdict));
            }
        }
        let Some(required) = &plan.approval else {
            return Ok(given.last().is_some_and(|(_, verdict)| *verdict == DecisionVerdict::Approve));
        };
        let Some(record) = self.store.plan(&plan.id()).await? else { return Ok(false) };
        let asked_by = self.store.approvals(&record, kind).await?.asked_by;
        Ok(required.counting(&asked_by, &given).len() >= required.needed(&asked_by))
    }

    /// Returns what serves now, as a plan's base.
    pub async fn base(&self, service: &ServiceName, environment: &EnvironmentName) -> Result<Option<Base>> {
        let serving = self.store.serving(service, environment).await?;
        Ok(serving.map(|set| Base { deployment: set.deployment, version: set.version, digest: set.digest }))
    }

    /// Returns the folder with a release's bytes after checking every one of them.
    pub async fn release_dir(&self, digest: &Sha256) -> Result<PathBuf> {
        let (releases, wanted) = (self.releases.clone(), digest.clone());
        self.blocking(move || releases.verify(&wanted)).await?.map_err(artifact_error)
    }
}

/// Returns the refusal for a release or artifact that cannot be used.
pub fn artifact_error(error: ArtifactError) -> Error {
    match error {
        ArtifactError::Changed(_) | ArtifactError::NotPinned(_) => Error::new(Code::ArtifactChanged, error.to_string()),
        ArtifactError::DiskFull(_) => Error::new(Code::DiskFull, error.to_string()),
        other => Error::new(Code::InvalidArtifact, other.to_string()),
    }
}

fn refusal(plan: &Plan, drift: &Drift) -> Error {
    match drift {
        Drift::Base { planned, present } => {
            Error::new(Code::StalePlan, format!("`{}` starts from {planned}, but {present} serves now", plan.id()))
                .details(json!({ "field": "base", "planned": planned, "present": present }))
        }
        Drift::Field { field, planned, present } => {
            let code = if plan.approval.is_some() { Code::ApprovalVoid } else { Code::StalePlan };
            Error::new(code, format!("`{field}` was {planned} in `{}`, and is {present} now", plan.id()))
                .details(json!({ "field": field, "planned": planned, "present": present }))
        }
        Drift::Gate(gate) => {
            let code = if gate.gate.as_str() == "freeze" { Code::Frozen } else { Code::GateFailed };
            let error = Error::new(code, format!("gate `{}` says {}: {}", gate.gate, gate.verdict, gate.reason));
            let error = match (code, gate.who, &gate.how) {
                (Code::Frozen, _, Some(how)) => error.hint(format!("an approver runs `{how}`; or wait until the freeze ends")),
                (_, Some(who), Some(how)) => error.who(who).hint(how),
                _ => error,
            };
            error.details(json!({ "gates": [gate] }))
        }
    }
}
