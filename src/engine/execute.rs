//! Takes a plan up: checks it, claims the environment, and hands it to a worker. The call returns at once.

use super::{Engine, failpoint, progression::Step};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, DecisionKind, Deployment, DeploymentState, DirectiveState, EnvironmentName, PlanId, PlanState, Purpose, Who},
    store::{Approvals, Claim, PlanRecord},
};
use serde_json::json;
use std::sync::Arc;

impl Engine {
    /// Returns a plan's record, with a request or approval whose time is over marked as expired.
    pub async fn plan_record(&self, id: &PlanId) -> Result<PlanRecord> {
        let record = self.store.plan(id).await?.ok_or_else(|| Error::not_found("plan", id))?;
        let now = self.present();
        let over = match record.state {
            PlanState::AwaitingApproval => record.request_expires_at.is_some_and(|at| at <= now),
            PlanState::Approved => record.approval_expires_at.is_some_and(|at| at <= now),
            _ => false,
        };
        if !over {
            return Ok(record);
        }
        let reason = if record.state == PlanState::Approved { "the approval was not used in time" } else { "nobody decided in time" };
        self.store.move_plan(&Caller::server(), id, &[record.state], PlanState::Expired, Some(reason)).await?;
        self.store.plan(id).await?.ok_or_else(|| Error::not_found("plan", id))
    }

    /// Starts a plan; a plan executed before answers with its deployment and `true`.
    pub async fn execute(self: &Arc<Self>, by: &Caller, id: &PlanId) -> Result<(Deployment, bool)> {
        let record = self.plan_record(id).await?;
        let step = Step::of("execute_deployment", json!({ "plan": id }));
        self.may_begin(by, &record.plan.environment, step).await?;
        if let (Purpose::Rollback { of }, PlanState::Planned) = (&record.plan.purpose, record.state) {
            return Err(Error::new(Code::WrongState, format!("`{id}` is the way back from `{of}`")).hint("call `rollback_deployment`"));
        }
        match record.state {
            PlanState::Used => (),
            PlanState::Planned | PlanState::Approved => {
                self.refuse_while_busy(&record.plan.environment).await?;
                self.recheck(&record.plan).await?;
            }
            PlanState::AwaitingApproval => {
                let Approvals { given, needed, .. } = self.store.approvals(&record, DecisionKind::Plan).await?;
                let error = not_ready(&record, PlanState::AwaitingApproval);
                return Err(match needed {
                    ..=1 => error,
                    _ => Error { message: format!("{}: it has {} of {needed} approvals", error.message, given.len()), ..error },
                });
            }
            other => return Err(not_ready(&record, other)),
        }
        self.claim(by, &record).await
    }

    /// Refuses with `conflict` while a deployment is unsettled in the environment.
    pub(crate) async fn refuse_while_busy(&self, environment: &EnvironmentName) -> Result<()> {
        let occupying = self.store.occupying().await?;
        match occupying.into_iter().find(|deployment| &deployment.environment == environment) {
            Some(busy) => Err(conflict(&busy)),
            None => Ok(()),
        }
    }

    /// Claims the environment for a plan that is ready, and starts the worker.
    pub(crate) async fn claim(self: &Arc<Self>, by: &Caller, record: &PlanRecord) -> Result<(Deployment, bool)> {
        failpoint::reach("claim:before").await;
        match self.store.claim_deployment(by, &record.id, &self.holder).await? {
            Claim::New { deployment, lease } => {
                failpoint::reach("claim:after").await;
                let open = [DirectiveState::Active];
                self.store.set_directive_state(by, &record.plan.directive, &open, DirectiveState::InProgress, None).await?;
                self.walk(deployment.id.clone(), lease);
                Ok((*deployment, false))
            }
            Claim::Existing(deployment) => Ok((*deployment, true)),
            Claim::Busy(deployment) => Err(conflict(&deployment)),
            Claim::NoPlan => Err(Error::not_found("plan", &record.id)),
            Claim::PlanNotReady(state) => Err(not_ready(record, state)),
        }
    }
}

fn conflict(busy: &Deployment) -> Error {
    let message = format!("`{}` is {} in `{}`: one deployment per environment", busy.id, busy.state.as_str(), busy.environment);
    let error = Error::new(Code::Conflict, message).details(json!({ "deployment": busy.id, "state": busy.state }));
    match busy.state {
        // Waiting does not help: it holds its environment until a person has chosen.
        DeploymentState::Stuck => Error { after_seconds: None, ..error }.who(Who::Person).hint(super::stuck::hint(&busy.id)),
        _ => error,
    }
}

fn not_ready(record: &PlanRecord, state: PlanState) -> Error {
    let id = &record.id;
    let reason = record.reason.as_deref().unwrap_or("no reason was given");
    match state {
        PlanState::AwaitingApproval => Error::new(Code::ApprovalRequired, format!("`{id}` waits for a person"))
            .hint(format!("a person runs `interlock approve {id}`; wait with `get_status`"))
            .details(json!({ "directive": record.plan.directive })),
        PlanState::Rejected => {
            Error::new(Code::ApprovalRejected, format!("`{id}` was rejected: {}", crate::model::text::visible(reason, 500)))
        }
        PlanState::Expired => Error::new(Code::ApprovalExpired, format!("`{id}` is expired: {reason}")),
        PlanState::Void => Error::new(Code::ApprovalVoid, format!("`{id}` is void: {reason}")),
        _ => Error::new(Code::WrongState, format!("`{id}` is {}", state.as_str())),
    }
}
