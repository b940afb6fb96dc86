//! Takes data back: what a person decides, or the signed plan; and why a deployment stands where it is until then.

use super::{
    Engine,
    data::backup_of,
    data_plan::{past_data, refusal},
    data_steps::no_way_back,
    decide,
    run::Run,
    steps::StepFailure,
    watch::Trigger,
};
use crate::{
    error::{Code, Error, Result},
    model::{
        Caller, Choice, DeploymentId, DeploymentState, JournalEntry, Plan, Reversibility, Step, StepState,
        data::{DataReturn, PlannedReturn},
    },
    store::UndoRequest,
};
use serde_json::{Value, json};

/// The code of an undo request that a person has decided together with the data: it takes that back, too.
pub const RESTORE: &str = "restore";

/// What a person signs to take data back.
pub enum Restore {
    /// A deployment that is settled is taken back by this plan.
    Plan(Box<Plan>),
    /// A deployment that stands past its migrations turns back, and its data with it.
    TurnBack(Box<Value>),
}

impl Run {
    /// Tells whether data goes back on the way back: the signed plan says so, or a person has decided it.
    pub(super) fn takes_data_back(&self, undo: Option<&UndoRequest>) -> bool {
        let rollback = &self.plan.rollback;
        rollback.data.is_some() && (rollback.automatic || undo.is_some_and(|undo| undo.code == RESTORE))
    }

    /// Tells whether going back by itself would put an earlier release on data it cannot use.
    pub(super) async fn stands_past_data(&self) -> Result<bool> {
        let journal = self.journal().await?;
        let states = decide::states(&self.plan.steps, &journal);
        Ok(no_way_back(&states).is_some() && !self.takes_data_back(self.engine.store.undo_request(&self.id).await?.as_ref()))
    }

    /// Tells whether a person has signed that it goes on as it is: counters that only grow would say the same again and again.
    pub(super) async fn is_a_persons(&self) -> bool {
        let is_passed = |entry: &JournalEntry| {
            let judges = self.plan.step(&entry.step).is_some_and(|step| step.reversibility != Reversibility::Pivot);
            judges && entry.output["decided"]["choice"] == serde_json::json!(Choice::MarkDone)
        };
        let is_decided = |journal: Vec<JournalEntry>| journal.iter().any(is_passed);
        matches!(self.stands_past_data().await, Ok(true)) && self.journal().await.is_ok_and(is_decided)
    }

    /// Says what is done by itself about a step that failed.
    pub(super) async fn action_after_failure(&self, step: &Step, shifted: bool) -> Result<String> {
        let journal = self.journal().await?;
        let has_migrated = journal.iter().any(|entry| entry.step.as_str() == "migrate" && entry.state == StepState::Done);
        Ok(match past_data(&self.plan, &journal) {
            _ if step.reversibility == Reversibility::Pivot => "none: how much of it happened is not known, and a person chooses".into(),
            Some(way) if way.automatic => "traffic and data back to what served before".into(),
            _ if shifted => "traffic back to what served before".into(),
            Some(way) => {
                format!("abort; traffic did not move, and what the migrations did stays: {}", refusal(&self.id, &self.plan, way).hint)
            }
            None if has_migrated => "abort; traffic did not move, and what the migrations added stays".into(),
            None => "abort; nothing moved".into(),
        })
    }

    /// Stands where it is although a trigger has fired while somebody holds it.
    pub(super) async fn stand_held(&self, trigger: &Trigger) -> Result<()> {
        // Counters that only grow cross again at every look: while a person is asked already, the same is said once.
        let is_asked = self.deployment().await?.held_by == Some(Caller::server().principal);
        // A person may have answered while this look was under way. Looked at last: who is asked no longer by then has answered.
        if self.is_a_persons().await {
            return Ok(());
        }
        let is_known = self.engine.store.incidents(&self.id).await?.iter().any(|incident| incident.rule == trigger.id);
        if is_asked && is_known {
            return Ok(());
        }
        let hint = refusal(&self.id, &self.plan, &self.plan.rollback).hint;
        self.open_incident(&trigger.id, &trigger.reason, &format!("held; traffic stays where it is: {hint}"), trigger.evidence()).await?;
        self.hold_as_server().await
    }

    /// Stands where it is after a failure that would otherwise turn it back, and asks a person.
    pub(super) async fn stand(&self, step: &Step, trigger: &str, failure: StepFailure) -> Result<()> {
        let hint = refusal(&self.id, &self.plan, &self.plan.rollback).hint;
        let action = format!("held; traffic stays where it is, for the data does not go back by itself: {hint}");
        let evidence = json!({ "step": step.id, "code": failure.code, "details": failure.details });
        self.open_incident(trigger, &failure.message, &action, evidence).await?;
        self.ask_a_person(step, failure).await
    }
}

impl Engine {
    /// Returns what a person signs to take a deployment's data back, traffic included.
    pub async fn restore_of(&self, id: &DeploymentId) -> Result<Restore> {
        let deployment = self.deployment(id).await?;
        let plan = self.plan_of(&deployment).await?;
        let journal = self.store.journal(id).await?;
        let Some(way) = past_data(&plan, &journal) else {
            return Err(Error::new(Code::WrongState, format!("`{id}` has run no migration past which traffic alone does not go back"))
                .hint("call `rollback_deployment`"));
        };
        let Some(data) = way.data.clone() else { return Err(refusal(id, &plan, way)) };
        let backup = match &data {
            DataReturn::Restore { .. } => Some(
                backup_of(&journal)
                    .ok_or_else(|| Error::new(Code::BackupFailed, format!("`{id}` has recorded no backup that could be restored")))?,
            ),
            DataReturn::Down { .. } => None,
        };
        let planned = PlannedReturn { of: id.clone(), data, loses: way.loses.clone(), backup };
        match deployment.state {
            DeploymentState::Succeeded | DeploymentState::RolledBack => {
                let approval = self.required_approval(&deployment.environment).await?;
                Ok(Restore::Plan(Box::new(self.way_back(&deployment, Some(planned), approval).await?)))
            }
            DeploymentState::Running | DeploymentState::Paused | DeploymentState::Verifying => Ok(Restore::TurnBack(Box::new(json!({
                "deployment": id, "service": deployment.service, "environment": deployment.environment, "version": deployment.version,
                "plan": deployment.plan, "returns_to": way.to_version, "this": planned.data.title(), "data": planned,
            })))),
            state => Err(Error::new(Code::WrongState, format!("`{id}` is {}", state.as_str())).hint(match state {
                DeploymentState::Stuck => "a person first chooses how it settles",
                _ => "wait until it is settled with `get_deployment`",
            })),
        }
    }

    /// Refuses a way back that takes data back unless the plan that was signed says so, or a person has decided it.
    pub(super) async fn check_return(&self, plan: &Plan) -> Result<()> {
        let Some(planned) = &plan.data_return else { return Ok(()) };
        let of = self.plan_of(&self.deployment(&planned.of).await?).await?;
        if of.rollback.automatic && of.rollback.data.as_ref() == Some(&planned.data) {
            return Ok(());
        }
        let role = plan.approval.as_ref().map(|approval| approval.role.as_str());
        match self.is_signed(crate::model::DecisionKind::Restore, plan, role).await? {
            true => Ok(()),
            false => Err(Error::new(Code::ApprovalRequired, format!("nobody has signed that `{}` takes data back", plan.id()))
                .hint(format!("an approver runs `interlock restore {} --reason TEXT`", planned.of))),
        }
    }
}
