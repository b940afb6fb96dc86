//! What a person must know of a deployment that is stuck, or asks because a step is neither good nor bad: what is known, which step is
//! not, what is seen of it now, and what each choice would do. What is shown is what is signed.

use super::{
    Engine,
    data_plan::past_data,
    decide::{self, Direction},
    run::Run,
};
use crate::{
    error::{Code, Error, Result},
    model::{
        Action, Caller, Choice, Deployment, DeploymentId, DeploymentState, InstanceId, JournalEntry, Lease, Plan, Step, StepId, StepState,
        text,
    },
    store::Resolution,
};
use serde::Serialize;
use std::sync::Arc;

/// A deployment that is stuck, as it is shown to those who choose.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stuck {
    /// Why.
    pub because: String,
    /// The step whose outcome is unknown, and what was being done to it.
    pub unknown: String,
    /// What is seen of it now.
    pub observed: String,
    /// Every step with what is known of it.
    pub known: Vec<String>,
    /// What each choice does: `retry: …`.
    pub choices: Vec<String>,
}

/// What is chosen, and what it changes.
pub struct Chosen {
    /// As it is shown, and signed.
    pub stuck: Stuck,
    /// What the choice does.
    pub follows: String,
    /// What it changes in the record.
    pub resolution: Resolution,
}

/// Returns what to try when a deployment is stuck.
pub fn hint(id: &DeploymentId) -> String {
    format!("`get_deployment` says what is known; a person chooses: {}", commands(id))
}

/// Returns the command line of a choice.
pub fn command(id: &DeploymentId, choice: Choice) -> String {
    format!("interlock resolve {id} {} --reason \"…\"", choice.word())
}

fn commands(id: &DeploymentId) -> String {
    format!("`interlock resolve {id} CHOICE --reason TEXT` with {}", Choice::ALL.map(Choice::word).join(", "))
}

impl Engine {
    /// Returns what is known of a stuck deployment; none when it is not stuck. Observes, and changes nothing.
    pub async fn stuck(self: &Arc<Self>, deployment: &Deployment) -> Result<Option<Stuck>> {
        if deployment.state != DeploymentState::Stuck && !asks(deployment) {
            return Ok(None);
        }
        let (plan, journal) = (self.plan_of(deployment).await?, self.store.journal(&deployment.id).await?);
        let Some((step, direction)) = decide::unknown(&plan.steps, &journal) else { return Ok(None) };
        let of_step = |choice: Choice| match asks(deployment) {
            true => answers(step, choice),
            false => follows(&plan.steps, &journal, step, direction, choice),
        };
        let of_step = |choice: Choice| Some(of_step(choice)? + &of_data(&plan, &journal, deployment, choice));
        let said = journal.iter().find(|entry| entry.step == step.id).and_then(|entry| entry.output["error"]["message"].as_str());
        let because = deployment.undo_reason.as_deref().or(said).unwrap_or("an outcome cannot be known");
        Ok(Some(Stuck {
            because: text::visible_line(because, 300),
            unknown: match direction {
                Direction::Forward if asks(deployment) => format!("whether `{}` is good: {}", step.id, step.title),
                Direction::Forward => format!("whether `{}` happened: {}", step.id, step.title),
                Direction::Back => format!("whether `{}` is undone: {}", step.id, step.undo.as_deref().unwrap_or(&step.title)),
            },
            observed: self.observed(deployment, step).await,
            known: journal.iter().map(|entry| format!("{}: {}", entry.step, entry.state.as_str())).collect(),
            choices: Choice::ALL.iter().filter_map(|choice| Some(format!("{}: {}", choice.word(), of_step(*choice)?))).collect(),
        }))
    }

    /// Returns what a choice over a stuck deployment would do, bound to what is known now.
    pub async fn choice(self: &Arc<Self>, id: &DeploymentId, choice: Choice, reason: &str) -> Result<Chosen> {
        let deployment = self.deployment(id).await?;
        let Some(stuck) = self.stuck(&deployment).await? else {
            let wrong = Error::new(Code::WrongState, format!("`{id}` is {}, not stuck", deployment.state.as_str()));
            return Err(match (deployment.state, choice) {
                (DeploymentState::Paused, Choice::Retry | Choice::MarkDone) => wrong
                    .hint(format!("nothing is unknown: it goes on when hold and freeze are lifted; see `interlock get-deployment {id}`")),
                (DeploymentState::Queued | DeploymentState::Running | DeploymentState::Paused | DeploymentState::Verifying, _) => {
                    wrong.hint(format!("`interlock rollback-deployment {id} --reason TEXT` takes it back, without a signature"))
                }
                _ => wrong,
            });
        };
        let (plan, journal) = (self.plan_of(&deployment).await?, self.store.journal(id).await?);
        let known = decide::unknown(&plan.steps, &journal);
        let asks = asks(&deployment);
        let follows = known.and_then(
            |(step, direction)| {
                if asks { answers(step, choice) } else { follows(&plan.steps, &journal, step, direction, choice) }
            },
        );
        let follows = follows.map(|follows| follows + &of_data(&plan, &journal, &deployment, choice));
        let (Some((step, direction)), Some(follows)) = (known, follows) else {
            if asks {
                let message = format!("what `{id}` has yet to do changes something: no word can stand for it");
                return Err(Error::new(Code::WrongState, message).hint(format!(
                    "choose `{}` or `{}`",
                    Choice::Retry.word(),
                    Choice::RollBack.word()
                )));
            }
            return Err(Error::new(Code::WrongState, format!("`{id}` is on its way back already")).hint(format!(
                "choose `{}` or `{}`",
                Choice::Retry.word(),
                Choice::MarkDone.word()
            )));
        };
        let (step_to, event) = match asks {
            true => decide::answered(choice),
            false => decide::chosen(direction, choice).expect("what follows a choice is known only where it is one"),
        };
        let resolution = Resolution {
            deployment: id.clone(),
            from: deployment.state,
            seen_at: deployment.updated_at,
            event,
            step: step.id.clone(),
            step_to,
            choice,
            reason: reason.to_owned(),
        };
        Ok(Chosen { stuck, follows, resolution })
    }

    /// Says what is seen of a step's effect now. What cannot be asked is said, too.
    async fn observed(self: &Arc<Self>, deployment: &Deployment, step: &Step) -> String {
        let unreachable = |what: &str, error: String| format!("{what} cannot be asked: {}", text::visible_line(&error, 200));
        let lease = Lease { environment: deployment.environment.clone(), holder: self.holder.clone(), epoch: deployment.epoch };
        let run = match Run::of(self, deployment, lease).await {
            Ok(run) => run,
            Err(error) => return unreachable("the service", error.message),
        };
        match &step.action {
            Action::Start { index } => {
                let instance = InstanceId::of(&run.plan.environment, &run.plan.service, &run.id, *index);
                match run.target.observe(&instance).await {
                    Ok(Some(observed)) if observed.running => format!("`{instance}` runs"),
                    Ok(Some(_)) => format!("`{instance}` is known and does not run"),
                    Ok(None) => format!("there is no `{instance}`"),
                    Err(error) => unreachable("the target", error.to_string()),
                }
            }
            Action::Migrate | Action::ReturnData => run.history_seen().await,
            _ => match run.router.observe().await {
                Ok((split, _)) => {
                    let shares: Vec<String> =
                        split.serving().map(|share| format!("{} ({})", share.instance, text::visible_line(&share.version, 60))).collect();
                    match shares.is_empty() {
                        true => "traffic goes to nothing".into(),
                        false => format!("traffic goes to {}", shares.join(", ")),
                    }
                }
                Err(error) => unreachable("the router", error.to_string()),
            },
        }
    }
}

/// Tells whether the server itself holds it and asks: the step before which it stands could not be judged.
fn asks(deployment: &Deployment) -> bool {
    deployment.state == DeploymentState::Paused && deployment.held_by == Some(Caller::server().principal)
}

/// Says what a choice does where the server asks; none where it is none: what a step changes is not done by saying so.
fn answers(step: &Step, choice: Choice) -> Option<String> {
    let changes =
        step.action.moves_traffic() || matches!(step.action, Action::Retire | Action::RetireReplaced { .. } | Action::Start { .. });
    Some(match choice {
        Choice::MarkDone if changes => return None,
        Choice::Retry => format!("judges `{}` again, and goes on when it is good", step.id),
        Choice::MarkDone => format!("takes your word that `{}` is good, and goes on", step.id),
        Choice::RollBack => "goes back to what served before".to_owned(),
    })
}

/// Says what going back does to data, where it stands past migrations that traffic alone does not go back over.
fn of_data(plan: &Plan, journal: &[JournalEntry], deployment: &Deployment, choice: Choice) -> String {
    let (Choice::RollBack, Some(way)) = (choice, past_data(plan, journal)) else { return String::new() };
    let restore = match (asks(deployment), &way.data) {
        (_, Some(data)) if way.automatic => return format!("; data goes back with it, as the signed plan says: {}", data.title()),
        (_, None) => "nothing takes it back".to_owned(),
        (true, Some(_)) => format!("`interlock restore {}` goes back with its data instead", deployment.id),
        (false, Some(_)) => format!("`interlock restore {}` takes it back afterwards", deployment.id),
    };
    let (until, to) = (way.until.as_deref().unwrap_or_default(), way.to_version.as_deref().unwrap_or("what served before"));
    format!("; data stays as it is, past migration `{until}`, and {to} may not work with it: {restore}")
}

/// Says what a choice does; none where it is none.
fn follows(steps: &[Step], journal: &[JournalEntry], step: &Step, direction: Direction, choice: Choice) -> Option<String> {
    decide::chosen(direction, choice)?;
    let state = |id: &StepId| journal.iter().find(|entry| entry.step == *id).map_or(StepState::Pending, |entry| entry.state);
    let undone = |but: Option<&Step>| {
        let open = |other: &&Step| decide::has_undo(&other.action) && !matches!(state(&other.id), StepState::Pending | StepState::Undone);
        let open = steps.iter().rev().filter(open).filter(|other| but != Some(other)).map(|other| format!("`{}`", other.id));
        let open: Vec<String> = open.collect();
        if open.is_empty() { "nothing is left to undo".to_owned() } else { format!("undoes {}", open.join(", then ")) }
    };
    Some(match (direction, choice) {
        (Direction::Forward, Choice::Retry) => format!("looks whether `{}` happened, does it if not, and goes on", step.id),
        (Direction::Forward, Choice::MarkDone) => format!("takes your word that `{}` happened, and goes on", step.id),
        (_, Choice::RollBack) => format!("goes back: {}", undone(Some(step))),
        (Direction::Back, Choice::Retry) => format!("undoes `{}` again; in all, {}", step.id, undone(None)),
        (Direction::Back, Choice::MarkDone) => format!("takes your word that `{}` is undone; then, {}", step.id, undone(Some(step))),
    })
}
