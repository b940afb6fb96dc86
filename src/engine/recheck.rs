//! Checks at execution that everything a plan was approved on is still so: the bindings, the signature, the live world.

use super::{
    Engine,
    bindings::{Drift, Present, drifts},
};
use crate::{
    error::{Code, Error, Result},
    model::{Base, Caller, DecisionKind, DecisionVerdict, EnvironmentName, Plan, PlanState, Purpose, ServiceName, Sha256, quorum::Given},
    targets::release_store::ArtifactError,
};
use serde_json::json;
use std::path::PathBuf;

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
        let (applied, _, spec) = self.service(&plan.environment, &plan.service).await?;
        let config_sha256 =
            applied.config.effective_sha256(&plan.environment, &plan.service).ok_or_else(|| Error::not_found("service", &plan.service))?;
        let directive = self.open_directive(&plan.directive).await?;
        let gates = self.evaluate_gates(&directive).await?;
        let base = self.base(&plan.service, &plan.environment).await?;
        let phase = self.phase_of(&plan.environment).await?;
        // Under another configuration the plan is void anyway, and its commands may be others.
        let migrations = match config_sha256 == plan.config_sha256 {
            true => self.foreseen(&spec, &plan.digest, &plan.version).await?.migrations,
            false => plan.migrations.clone(),
        };
        let present = Present {
            digest: &plan.digest,
            config_sha256: &config_sha256,
            base: base.as_ref(),
            phase_sha256: phase.as_ref().map(|phase| &phase.sha256),
            migrations: &migrations,
            gates: &gates,
        };
        let drifts = drifts(plan, &present);
        let Some(first) = drifts.iter().find(|drift| !matches!(drift, Drift::Gate(_))).or(drifts.first()) else { return Ok(()) };
        let error = refusal(plan, first);
        if matches!(error.code, Code::StalePlan | Code::ApprovalVoid) {
            let from = [PlanState::Planned, PlanState::AwaitingApproval, PlanState::Approved];
            self.store.move_plan(&Caller::server(), &plan.id(), &from, PlanState::Void, Some(&error.message)).await?;
        }
        Err(error)
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
