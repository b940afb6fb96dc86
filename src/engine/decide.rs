//! What a deployment does next: a pure function of its state, its plan and its journal. The same function drives a fresh run and one found after a crash.

use super::data_steps::no_way_back;
use crate::model::{Action, Choice, DeploymentState, Event, JournalEntry, Reversibility, Step, StepState};

/// What was asked of a deployment from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Somebody or a trigger wants it undone. Wins over everything but a pivot under way.
    pub undo: bool,
    /// Somebody holds it.
    pub held: bool,
    /// Its environment is frozen; the way back never is.
    pub frozen: bool,
    /// On the way back data goes back, too: the signed plan says so, or a person has decided it.
    pub data: bool,
}

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move<'a> {
    /// Take it up.
    Start,
    /// Find out whether this step happened.
    Observe(&'a Step),
    /// Do this step.
    Do(&'a Step),
    /// Traffic has moved and shows the new identity: the watch begins.
    BeginWatch,
    /// Stop between two steps until the hold is lifted.
    Pause,
    /// Stop before a step that changes something until the freeze is over.
    Freeze,
    /// Hold and freeze are over.
    Resume {
        /// Whether traffic has moved already.
        watched: bool,
    },
    /// Wait for somebody.
    Wait,
    /// Turn back.
    TurnBack,
    /// Undo this step.
    Undo(&'a Step),
    /// Everything is done.
    Finish,
    /// Everything is undone.
    FinishUndo,
    /// A pivot's outcome cannot be known: a person chooses.
    GiveUp(&'a Step),
    /// Settled.
    Nothing,
}

/// Returns the one thing to do next.
pub fn next<'a>(state: DeploymentState, steps: &'a [Step], journal: &[JournalEntry], asked: Asked) -> Move<'a> {
    let states = states(steps, journal);
    match state {
        DeploymentState::Succeeded | DeploymentState::RolledBack | DeploymentState::Stuck => Move::Nothing,
        DeploymentState::RollingBack => undoing(&states, asked),
        DeploymentState::Queued if asked.undo => Move::TurnBack,
        DeploymentState::Queued => Move::Start,
        DeploymentState::Paused if asked.undo => turn_back(&states, asked),
        DeploymentState::Paused if asked.held || (asked.frozen && waits_for_thaw(&states)) => Move::Wait,
        DeploymentState::Paused => Move::Resume { watched: is_watched(&states) },
        DeploymentState::Running | DeploymentState::Verifying => forward(state, &states, asked),
    }
}

/// Returns every step with its state in the journal.
pub fn states<'a>(steps: &'a [Step], journal: &[JournalEntry]) -> Vec<(&'a Step, StepState)> {
    steps.iter().map(|step| (step, state_of(journal, step))).collect()
}

fn forward<'a>(state: DeploymentState, states: &[(&'a Step, StepState)], asked: Asked) -> Move<'a> {
    let current = states.iter().find(|(step, state)| !is_passed(step, *state));
    if let Some((step, StepState::Intent | StepState::Executing | StepState::Unknown)) = current {
        let in_pivot = step.reversibility == Reversibility::Pivot;
        // Abort wins, except inside a pivot, whose outcome must be known first.
        return if asked.undo && !in_pivot { turn_back(states, asked) } else { Move::Observe(step) };
    }
    // Of a pivot that failed nobody knows how much of it happened: turning back by itself could lose what it did.
    if let Some((step, StepState::Failed)) = current
        && step.reversibility == Reversibility::Pivot
    {
        return Move::GiveUp(step);
    }
    if asked.undo {
        return turn_back(states, asked);
    }
    match current {
        Some((_, StepState::Failed | StepState::Undoing | StepState::Undone)) => Move::TurnBack,
        _ if state == DeploymentState::Running && is_watched(states) => Move::BeginWatch,
        // Traffic on a set that was not seen through the listener is not a place to stop.
        Some((step, _)) if asked.held && step.action != Action::VerifyListener => Move::Pause,
        Some((step, _)) if asked.frozen && is_change(&step.action) => Move::Freeze,
        Some((step, _)) => Move::Do(step),
        None => Move::Finish,
    }
}

/// Turns back, unless that would put an earlier release on data it cannot use, and nobody has decided over the data.
fn turn_back<'a>(states: &[(&'a Step, StepState)], asked: Asked) -> Move<'a> {
    match no_way_back(states) {
        Some(pivot) if !asked.data => Move::GiveUp(pivot),
        _ => Move::TurnBack,
    }
}

fn undoing<'a>(states: &[(&'a Step, StepState)], asked: Asked) -> Move<'a> {
    let is_open = |state: StepState| !matches!(state, StepState::Pending | StepState::Undone);
    // What an earlier release needs of its data is there before it gets traffic.
    if asked.data
        && let Some((step, _)) = states.iter().find(|(step, state)| step.action == Action::Migrate && is_open(*state))
    {
        return Move::Undo(step);
    }
    states
        .iter()
        .rev()
        .find(|(step, state)| has_undo(&step.action) && is_open(*state))
        .map_or(Move::FinishUndo, |(step, _)| Move::Undo(step))
}

/// Tells whether undoing the step changes anything.
pub fn has_undo(action: &Action) -> bool {
    action.moves_traffic() || matches!(action, Action::Start { .. })
}

/// Tells whether a freeze stops before the step: it changes what runs or serves, or checks that nothing forbids the start.
fn is_change(action: &Action) -> bool {
    match action {
        Action::Recheck | Action::Start { .. } | Action::Shift | Action::ShiftPart { .. } | Action::Replace { .. } => true,
        Action::RetireReplaced { .. } | Action::Retire => true,
        Action::Prepare | Action::Backup | Action::Migrate | Action::ReturnData => true,
        Action::Hook { at } => !at.is_after_switch(),
        Action::VerifyInstances | Action::VerifyBatch { .. } | Action::VerifyListener => false,
        // Customers notice nothing of it.
        Action::Rehearse => false,
        Action::Analyse { .. } | Action::Drain | Action::Bake { .. } => false,
    }
}

/// Tells whether what comes after the step may begin.
fn is_passed(step: &Step, state: StepState) -> bool {
    state == StepState::Done || (state == StepState::Failed && step.action.may_fail())
}

fn waits_for_thaw(states: &[(&Step, StepState)]) -> bool {
    states.iter().find(|(step, state)| !is_passed(step, *state)).is_some_and(|(step, _)| is_change(&step.action))
}

/// Returns the step of a stuck deployment whose outcome is unknown, and whether it is on the way back.
pub fn unknown<'a>(steps: &'a [Step], journal: &[JournalEntry]) -> Option<(&'a Step, Direction)> {
    let is = |step: &&Step, wanted: StepState| state_of(journal, step) == wanted;
    let undoing = steps.iter().rev().find(|step| is(step, StepState::Undoing)).map(|step| (step, Direction::Back));
    undoing.or_else(|| steps.iter().find(|step| !is_passed(step, state_of(journal, step))).map(|step| (step, Direction::Forward)))
}

/// Which way a deployment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the new set.
    Forward,
    /// To what served before.
    Back,
}

/// Returns as what the unknown step counts after a person's choice, and how the deployment goes on; `None` where that is no choice.
pub fn chosen(direction: Direction, choice: Choice) -> Option<(StepState, Event)> {
    match (direction, choice) {
        (Direction::Forward, Choice::Retry) => Some((StepState::Unknown, Event::Resumed)),
        (Direction::Forward, Choice::MarkDone) => Some((StepState::Done, Event::Resumed)),
        (Direction::Forward, Choice::RollBack) => Some((StepState::Failed, Event::ResumedBack)),
        (Direction::Back, Choice::Retry) => Some((StepState::Undoing, Event::ResumedBack)),
        (Direction::Back, Choice::MarkDone) => Some((StepState::Undone, Event::ResumedBack)),
        // It is on that way already.
        (Direction::Back, Choice::RollBack) => None,
    }
}

/// Returns the same for a step that asks a person because it can be judged neither good nor bad: the deployment stands before it.
pub fn answered(choice: Choice) -> (StepState, Event) {
    match choice {
        Choice::Retry => (StepState::Pending, Event::Released),
        Choice::MarkDone => (StepState::Done, Event::Released),
        Choice::RollBack => (StepState::Pending, Event::Undo),
    }
}

fn is_watched(states: &[(&Step, StepState)]) -> bool {
    states.iter().any(|(step, state)| step.action == Action::VerifyListener && *state == StepState::Done)
}

fn state_of(journal: &[JournalEntry], step: &Step) -> StepState {
    journal.iter().find(|entry| entry.step == step.id).map_or(StepState::Pending, |entry| entry.state)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
