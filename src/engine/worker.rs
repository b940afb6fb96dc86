//! Walks one deployment: asks [`decide::next`] what to do, writes it down, does it, writes down what came out, and asks again.

use super::{
    Engine,
    decide::{self, Asked, Move},
    failpoint,
    run::Run,
    steps::{self, StepFailure},
    undo,
    watch::Trigger,
};
use crate::{
    error::{Code, Result},
    model::{Action, Caller, Deployment, DeploymentId, Event, Lease, Purpose, Reversibility, Step, StepState, data::HookPoint},
    store::{DeploymentChange, NewIncident, UndoRequest},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tracing::{info, warn};

/// How often a deployment that waits looks whether it may go on.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Walks a deployment in the background; does nothing when this process walks it already.
    pub(crate) fn walk(self: &Arc<Self>, id: DeploymentId, lease: Lease) {
        if !self.walking.lock().expect("no holder of this lock panics").insert(id.clone()) {
            return;
        }
        let engine = Arc::clone(self);
        self.spawn(async move {
            engine.walk_to_the_end(&id, lease).await;
            engine.walking.lock().expect("no holder of this lock panics").remove(&id);
        });
    }

    /// Tells whether a worker of this process walks the deployment.
    pub(crate) fn is_walking(&self, id: &DeploymentId) -> bool {
        self.walking.lock().expect("no holder of this lock panics").contains(id)
    }

    async fn walk_to_the_end(self: &Arc<Self>, id: &DeploymentId, lease: Lease) {
        let mut pause = Duration::from_millis(200);
        while !self.is_stopping() {
            match self.turns(id, &lease).await {
                Ok(()) => return,
                Err(error) if error.code == Code::StaleEpoch => {
                    info!(deployment.id = %id, "another server walks `{id}` now");
                    return;
                }
                // Fail closed: no new step starts while the record cannot be written; what serves goes on serving.
                Err(error) => {
                    warn!(deployment.id = %id, "`{id}` waits {pause:?}: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => (),
                        () = self.stopped() => return,
                    }
                    pause = (pause * 2).min(longest_pause(&error));
                }
            }
        }
    }

    async fn turns(self: &Arc<Self>, id: &DeploymentId, lease: &Lease) -> Result<()> {
        let deployment = self.deployment(id).await?;
        if deployment.state.is_settled() {
            return self.after_settling(&deployment, lease).await;
        }
        let run = Run::of(self, &deployment, lease.clone()).await?;
        loop {
            if self.is_stopping() {
                return Ok(());
            }
            let deployment = run.deployment().await?;
            let journal = run.journal().await?;
            let (asked, undo) = run.asked(&deployment).await?;
            match decide::next(deployment.state, &run.plan.steps, &journal, asked) {
                Move::Start => run.goes(&deployment, Event::Started).await?,
                Move::Observe(step) => run.settle_unknown(step).await?,
                Move::Do(step) => run.do_step(step).await?,
                Move::BeginWatch => run.goes(&deployment, Event::Shifted).await?,
                Move::Pause => run.goes(&deployment, Event::Held).await?,
                Move::Freeze => run.goes(&deployment, Event::Frozen).await?,
                Move::Resume { watched: false } => run.goes(&deployment, Event::Released).await?,
                Move::Resume { watched: true } => run.goes(&deployment, Event::ReleasedToVerifying).await?,
                Move::Wait => run.wait(asked).await?,
                Move::TurnBack => {
                    let reason = undo.as_ref().map_or("a step failed", |undo| undo.reason.as_str()).to_owned();
                    info!(deployment.id = %id, "turning `{id}` back: {reason}");
                    let failure_code = undo.map(|undo| undo.code);
                    run.changes(
                        &deployment,
                        Event::Undo,
                        DeploymentChange { undo_reason: Some(reason), failure_code, ..Default::default() },
                    )
                    .await?;
                    failpoint::reach("turn-back:after").await;
                }
                Move::Undo(step) => run.undo_step(&deployment, step).await?,
                Move::Finish => {
                    run.goes(&deployment, Event::Finished).await?;
                    failpoint::reach("finish:after").await;
                }
                Move::FinishUndo => {
                    undo::let_go(&run).await?;
                    run.goes(&deployment, Event::Undone).await?;
                    failpoint::reach("finish-undo:after").await;
                }
                Move::GiveUp(_) => run.goes(&deployment, Event::Lost).await?,
                Move::Nothing => {
                    info!(deployment.id = %id, "`{id}` is {}", deployment.state.as_str());
                    self.after_settling(&deployment, lease).await?;
                    // A person may have chosen for a stuck one in the meantime.
                    if run.deployment().await?.state.is_settled() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// What passes by itself is tried again soon; for the rest a person must act, who may take hours.
fn longest_pause(error: &crate::error::Error) -> Duration {
    let passes = error.after_seconds.is_some() || error.code == Code::DiskFull;
    Duration::from_secs(if passes { 2 } else { 60 })
}

impl Run {
    async fn goes(&self, deployment: &Deployment, event: Event) -> Result<()> {
        self.changes(deployment, event, DeploymentChange::default()).await
    }

    async fn changes(&self, deployment: &Deployment, event: Event, change: DeploymentChange) -> Result<()> {
        let moved = self.engine.store.transition(&Caller::server(), &self.id, self.lease.epoch, deployment.state, event, change).await?;
        // Not moved: somebody else moved it on, and the next turn reads the new state; or the lease is another's, and this worker ends.
        let ours = |lease: crate::model::Lease| lease.epoch == self.lease.epoch;
        if moved.is_none() && !self.engine.store.lease(&self.plan.environment).await?.is_some_and(ours) {
            return Err(crate::error::Error::new(Code::StaleEpoch, format!("`{}` is walked under another lease now", self.id)));
        }
        Ok(())
    }

    async fn settle_unknown(&self, step: &Step) -> Result<()> {
        use StepState::{Executing, Intent, Pending, Unknown};
        let (to, mut output) = match steps::observe(self, step).await {
            Ok(true) => (StepState::Done, json!({ "observed": "it had happened" })),
            Ok(false) => (Pending, json!({ "observed": "it had not happened" })),
            Err(failure) => return Err(crate::error::Error::new(failure.code, failure.message).after(1)),
        };
        if to == StepState::Done && step.action.moves_traffic() {
            self.note_shift().await.map_err(|failure| crate::error::Error::new(failure.code, failure.message))?;
            // The switch and what is watched of it are two messages: the crash may have come between them.
            let _ = self.router.probe(self.probe_path(), super::probing::INTERVAL).await;
            // Its own reading is lost; what is counted from now on is what the new set is judged by.
            output["baseline"] = serde_json::to_value(self.baseline_now().await?).expect("counters are JSON");
        }
        self.write(step, &[Intent, Executing, Unknown], to, Some(&output)).await
    }

    async fn do_step(&self, step: &Step) -> Result<()> {
        let name = step.id.as_str();
        failpoint::reach(&format!("{name}:before-intent")).await;
        self.write(step, &[StepState::Pending], StepState::Intent, None).await?;
        failpoint::reach(&format!("{name}:after-intent")).await;
        self.write(step, &[StepState::Intent], StepState::Executing, None).await?;
        info!(deployment.id = %self.id, step = name, "{}", step.title);
        let outcome = self.with_limits(step).await;
        failpoint::reach(&format!("{name}:after-effect")).await;
        match outcome {
            Outcome::Done(output) => self.write(step, &[StepState::Executing], StepState::Done, Some(&output)).await?,
            // Turning back undoes it whether it happened or not.
            Outcome::Interrupted => self.interrupted(step).await?,
            Outcome::Failed(failure) if failure.code == Code::StaleEpoch => {
                return Err(crate::error::Error::new(Code::StaleEpoch, failure.message));
            }
            // Neither good nor bad: it stands where it is until a person has looked.
            Outcome::Failed(failure) if failure.code == Code::Inconclusive => self.ask_a_person(step, failure).await?,
            // Frozen since the last turn: nothing has begun, and nothing is to be taken back.
            Outcome::Failed(failure) if failure.code == Code::Frozen && step.action == Action::Recheck => {
                let output = json!({ "waits": failure.message });
                self.write(step, &[StepState::Executing], StepState::Pending, Some(&output)).await?;
            }
            Outcome::Failed(failure) if step.action.may_fail() => self.pass_over(step, failure).await?,
            Outcome::Failed(failure) => self.fail(step, "DEPLOY-001", failure).await?,
            Outcome::Triggered(trigger) => {
                let details = trigger.evidence();
                let failure = StepFailure { code: Code::ThresholdCrossed, message: trigger.reason, details };
                self.fail(step, &trigger.id, failure).await?;
            }
        }
        failpoint::reach(&format!("{name}:after-result")).await;
        Ok(())
    }

    async fn fail(&self, step: &Step, trigger: &str, failure: StepFailure) -> Result<()> {
        let by = Caller::server();
        let shifted = self.deployment().await?.shifted_at.is_some();
        let trigger = if shifted && trigger == "DEPLOY-001" { "DEPLOY-002" } else { trigger };
        if self.stands_past_data().await? {
            return self.stand(step, trigger, failure).await;
        }
        let action = self.action_after_failure(step, shifted).await?;
        let evidence = json!({ "step": step.id, "code": failure.code, "details": failure.details });
        self.open_incident(trigger, &failure.message, &action, evidence).await?;
        let output = json!({ "error": { "code": failure.code, "message": failure.message, "details": failure.details } });
        let reason = format!("{}: {}", step.id, failure.message);
        self.engine.store.request_undo(&by, &self.id, &reason, failure.code.as_str()).await?;
        self.write(step, &[StepState::Executing], StepState::Failed, Some(&output)).await
    }

    pub(super) async fn open_incident(&self, rule: &str, summary: &str, action: &str, evidence: Value) -> Result<()> {
        let severity = if matches!(rule, "DEPLOY-001" | "HOOK") {
            "P2"
        } else if rule == "DEPLOY-002" {
            "P1"
        } else {
            "P0"
        };
        let incident = NewIncident {
            deployment: self.id.clone(),
            rule: rule.to_owned(),
            severity: severity.to_owned(),
            summary: summary.to_owned(),
            action: action.to_owned(),
            evidence,
        };
        self.engine.store.add_incident(&Caller::server(), incident).await?;
        Ok(())
    }

    /// Does the step within its time; an abort, and once traffic has moved a trigger, ends it early.
    async fn with_limits(&self, step: &Step) -> Outcome {
        let limit = Duration::from_millis(step.timeout_ms);
        tokio::select! {
            biased;
            () = self.asked_to_undo(), if step.reversibility != Reversibility::Pivot => Outcome::Interrupted,
            () = self.engine.stopped() => Outcome::Interrupted,
            trigger = self.trigger(step) => Outcome::Triggered(trigger),
            outcome = self.done_and_judged(step, limit) => outcome,
        }
    }

    async fn done_and_judged(&self, step: &Step, limit: Duration) -> Outcome {
        match tokio::time::timeout(limit, steps::perform(self, step)).await {
            Ok(Ok(output)) => match self.judged(step).await {
                Ok(None) => Outcome::Done(output),
                Ok(Some(trigger)) => Outcome::Triggered(trigger),
                Err(failure) => Outcome::Failed(failure),
            },
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(_) => Outcome::Failed(StepFailure::new(Code::StepTimeout, format!("`{}` took longer than {limit:?}", step.id))),
        }
    }

    /// Waits for a trigger: armed from the first move of traffic on, but while traffic is just being moved.
    async fn trigger(&self, step: &Step) -> Trigger {
        let is_silent = matches!(step.action, Action::Retire | Action::Hook { at: HookPoint::AfterSuccess });
        if is_silent || step.action.moves_traffic() || self.is_a_persons().await {
            return std::future::pending().await;
        }
        loop {
            match (self.is_shifted().await, self.baseline().await, self.started().await) {
                (Ok(false), ..) => return std::future::pending().await,
                (_, Some(baseline), Ok(started)) => {
                    return tokio::select! {
                        trigger = self.watched(&baseline, &started) => trigger,
                        trigger = self.crossed() => trigger,
                    };
                }
                // Nothing can be read: it is tried again.
                _ => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }

    async fn is_shifted(&self) -> Result<bool> {
        Ok(self.moved_at(&self.journal().await?).is_some())
    }

    async fn asked_to_undo(&self) {
        let mut changes = self.engine.store.changes();
        loop {
            if let Ok(Some(_)) = self.engine.store.undo_request(&self.id).await {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until something else is asked than `asked`.
    async fn wait(&self, asked: Asked) -> Result<()> {
        let watching = async {
            match self.plan.steps.iter().find(|step| matches!(step.action, Action::Bake { .. })) {
                Some(bake) => self.trigger(bake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.asked_otherwise(&asked) => (),
            () = self.engine.stopped() => (),
            // Held or frozen with traffic on the new set: the triggers stay armed.
            trigger = watching => {
                if self.stands_past_data().await? {
                    return self.stand_held(&trigger).await;
                }
                let by = Caller::server();
                self.open_incident(&trigger.id, &trigger.reason, "traffic back to what served before", trigger.evidence()).await?;
                self.engine.store.request_undo(&by, &self.id, &trigger.reason, Code::ThresholdCrossed.as_str()).await?;
            }
        }
        Ok(())
    }

    /// Returns what is asked of the deployment now. A way back is never frozen.
    async fn asked(&self, deployment: &Deployment) -> Result<(Asked, Option<UndoRequest>)> {
        let store = &self.engine.store;
        let undo = store.undo_request(&self.id).await?;
        let frozen = self.plan.purpose == Purpose::Deploy
            && !store.active_freezes(&self.plan.environment, self.engine.clock.now()).await?.is_empty();
        let data = self.takes_data_back(undo.as_ref());
        Ok((Asked { undo: undo.is_some(), held: deployment.held_by.is_some(), frozen, data }, undo))
    }

    /// Ends when something else is asked. Freezes end by the clock and on other servers, so this looks again and again.
    async fn asked_otherwise(&self, before: &Asked) {
        let mut changes = self.engine.store.changes();
        loop {
            // A database that is lost for a while changes nothing of what was asked.
            if let Ok(deployment) = self.deployment().await
                && let Ok((asked, _)) = self.asked(&deployment).await
                && asked != *before
            {
                return;
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }

    async fn undo_step(&self, deployment: &Deployment, step: &Step) -> Result<()> {
        use StepState::{Done, Executing, Failed, Intent, Undoing, Undone, Unknown};
        let name = step.id.as_str();
        failpoint::reach(&format!("undo-{name}:before-intent")).await;
        self.write(step, &[Intent, Executing, Done, Failed, Unknown, Undoing], Undoing, None).await?;
        failpoint::reach(&format!("undo-{name}:after-intent")).await;
        match undo::undo(self, step).await {
            Ok(output) => {
                failpoint::reach(&format!("undo-{name}:after-effect")).await;
                let mut undone = json!({ "undone": output });
                // What was read when traffic moved stays: from there is counted what it cost customers.
                if let Some(entry) = self.journal().await?.iter().find(|entry| entry.step == step.id && entry.output["before"].is_object())
                {
                    undone["before"] = entry.output["before"].clone();
                }
                self.write(step, &[Undoing], Undone, Some(&undone)).await?;
                failpoint::reach(&format!("undo-{name}:after-result")).await;
                Ok(())
            }
            Err(_) if self.engine.is_stopping() => Ok(()),
            Err(failure) if failure.code == Code::StaleEpoch => Err(crate::error::Error::new(Code::StaleEpoch, failure.message)),
            Err(failure) => {
                let message = format!("`{name}` could not be undone: {}", failure.message);
                self.open_incident("STUCK", &message, "a person chooses", failure.details).await?;
                self.goes(deployment, Event::Lost).await
            }
        }
    }
}

enum Outcome {
    Done(Value),
    Failed(StepFailure),
    Triggered(Trigger),
    Interrupted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn what_passes_by_itself_is_tried_again_soon_and_the_rest_seldom() {
        let longest = |error: Error| longest_pause(&error).as_secs();
        assert_eq!(longest(Error::new(Code::DatabaseUnavailable, "locked")), 2);
        assert_eq!(longest(Error::new(Code::DiskFull, "full")), 2);
        assert_eq!(longest(Error::new(Code::RouterFailed, "no answer").after(1)), 2);
        assert_eq!(longest(Error::new(Code::TargetFailed, "writing `status.md`")), 60);
        assert_eq!(longest(Error::new(Code::ApprovalVoid, "no stored configuration")), 60);
    }
}
