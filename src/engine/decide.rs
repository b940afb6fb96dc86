//! What a deployment does next: a pure function of its state, its plan and its journal. The same function drives a fresh run and one found after a crash.

use crate::model::{Action, DeploymentState, JournalEntry, Reversibility, Step, StepState};

/// What was asked of a deployment from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Somebody or a trigger wants it undone. Wins over everything but a pivot under way.
    pub undo: bool,
    /// Somebody holds it.
    pub held: bool,
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
    /// The hold is lifted.
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
    let states: Vec<(&Step, StepState)> = steps.iter().map(|step| (step, state_of(journal, step))).collect();
    match state {
        DeploymentState::Succeeded | DeploymentState::RolledBack | DeploymentState::Stuck => Move::Nothing,
        DeploymentState::RollingBack => undoing(&states),
        DeploymentState::Queued if asked.undo => Move::TurnBack,
        DeploymentState::Queued => Move::Start,
        DeploymentState::Paused if asked.undo => Move::TurnBack,
        DeploymentState::Paused if asked.held => Move::Wait,
        DeploymentState::Paused => Move::Resume { watched: is_watched(&states) },
        DeploymentState::Running | DeploymentState::Verifying => forward(state, &states, asked),
    }
}

fn forward<'a>(state: DeploymentState, states: &[(&'a Step, StepState)], asked: Asked) -> Move<'a> {
    let current = states.iter().find(|(_, state)| *state != StepState::Done);
    if let Some((step, StepState::Intent | StepState::Executing | StepState::Unknown)) = current {
        let in_pivot = step.reversibility == Reversibility::Pivot;
        // Abort wins, except inside a pivot, whose outcome must be known first.
        return if asked.undo && !in_pivot { Move::TurnBack } else { Move::Observe(step) };
    }
    if asked.undo {
        return Move::TurnBack;
    }
    match current {
        Some((step, StepState::Failed)) if step.reversibility == Reversibility::Pivot => Move::GiveUp(step),
        Some((_, StepState::Failed | StepState::Undoing | StepState::Undone)) => Move::TurnBack,
        _ if state == DeploymentState::Running && is_watched(states) => Move::BeginWatch,
        // Traffic on a set that was not seen through the listener is not a place to stop.
        Some((step, _)) if asked.held && step.action != Action::VerifyListener => Move::Pause,
        Some((step, _)) => Move::Do(step),
        None => Move::Finish,
    }
}

fn undoing<'a>(states: &[(&'a Step, StepState)]) -> Move<'a> {
    states
        .iter()
        .rev()
        .find(|(step, state)| has_undo(&step.action) && !matches!(state, StepState::Pending | StepState::Undone))
        .map_or(Move::FinishUndo, |(step, _)| Move::Undo(step))
}

/// Tells whether undoing the step changes anything.
pub fn has_undo(action: &Action) -> bool {
    action.moves_traffic() || matches!(action, Action::Start { .. })
}

fn is_watched(states: &[(&Step, StepState)]) -> bool {
    states.iter().any(|(step, state)| step.action == Action::VerifyListener && *state == StepState::Done)
}

fn state_of(journal: &[JournalEntry], step: &Step) -> StepState {
    journal.iter().find(|entry| entry.step == step.id).map_or(StepState::Pending, |entry| entry.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, StepId};
    use proptest::prelude::*;

    fn steps() -> Vec<Step> {
        let step = |id: &str, action| Step {
            id: StepId::from(id),
            action,
            title: id.into(),
            undo: None,
            reversibility: Reversibility::Compensable,
            timeout_ms: 1,
        };
        vec![
            step("recheck", Action::Recheck),
            step("start-1", Action::Start { index: 1 }),
            step("verify-instances", Action::VerifyInstances),
            step("shift", Action::Shift),
            step("verify-listener", Action::VerifyListener),
            step("bake", Action::Bake { duration_ms: 1 }),
            step("retire", Action::Retire),
        ]
    }

    fn entry(step: &Step, ordinal: usize, state: StepState) -> JournalEntry {
        JournalEntry {
            ordinal: ordinal as i64,
            step: step.id.clone(),
            state,
            attempt: 1,
            started_at: None,
            ended_at: None,
            output: serde_json::Value::Null,
        }
    }

    /// A world that applies moves: does steps as told, crashes where told, and remembers what is in force.
    struct World {
        state: DeploymentState,
        journal: Vec<JournalEntry>,
        shifted: bool,
        started: bool,
    }

    impl World {
        fn new(steps: &[Step]) -> Self {
            let journal = steps.iter().enumerate().map(|(at, step)| entry(step, at, StepState::Pending)).collect();
            World { state: DeploymentState::Queued, journal, shifted: false, started: false }
        }

        fn set(&mut self, step: &Step, state: StepState) {
            self.journal.iter_mut().find(|entry| entry.step == step.id).unwrap().state = state;
        }

        fn goes(&mut self, event: Event) {
            self.state = self.state.after(event).unwrap_or_else(|| panic!("{event:?} in {:?}", self.state));
        }

        fn effect(&mut self, step: &Step, done: bool) {
            match step.action {
                Action::Start { .. } => self.started = done,
                Action::Shift => self.shifted = done,
                _ => (),
            }
        }

        /// Makes one move; `luck` says how a step goes: 0 fails, 1 crashes before its effect, 2 crashes after it, otherwise it works.
        fn turn(&mut self, steps: &[Step], asked: Asked, luck: u8) {
            match next(self.state, steps, &self.journal.clone(), asked) {
                Move::Start => self.goes(Event::Started),
                Move::Observe(step) => {
                    let happened = match step.action {
                        Action::Start { .. } => self.started,
                        Action::Shift => self.shifted,
                        _ => false,
                    };
                    self.set(step, if happened { StepState::Done } else { StepState::Pending });
                }
                Move::Do(step) => match luck {
                    0 => self.set(step, StepState::Failed),
                    1 => self.set(step, StepState::Executing),
                    2 => {
                        self.effect(step, true);
                        self.set(step, StepState::Executing);
                    }
                    _ => {
                        self.effect(step, true);
                        self.set(step, StepState::Done);
                    }
                },
                Move::BeginWatch => self.goes(Event::Shifted),
                Move::Pause => self.goes(Event::Held),
                Move::Resume { watched: false } => self.goes(Event::Released),
                Move::Resume { watched: true } => self.goes(Event::ReleasedToVerifying),
                Move::TurnBack => self.goes(Event::Undo),
                Move::Undo(step) => {
                    self.effect(step, false);
                    self.set(step, StepState::Undone);
                }
                Move::Finish => self.goes(Event::Finished),
                Move::FinishUndo => self.goes(Event::Undone),
                Move::GiveUp(_) => self.goes(Event::Lost),
                Move::Wait | Move::Nothing => (),
            }
        }
    }

    #[test]
    fn an_undisturbed_deployment_succeeds() {
        let steps = steps();
        let mut world = World::new(&steps);
        for _ in 0..30 {
            world.turn(&steps, Asked::default(), 9);
        }
        assert_eq!((world.state, world.shifted), (DeploymentState::Succeeded, true));
    }

    #[test]
    fn a_held_deployment_waits_and_goes_on() {
        let steps = steps();
        let mut world = World::new(&steps);
        for _ in 0..10 {
            world.turn(&steps, Asked { held: true, undo: false }, 9);
        }
        assert_eq!((world.state, world.started), (DeploymentState::Paused, false));
        for _ in 0..30 {
            world.turn(&steps, Asked::default(), 9);
        }
        assert_eq!(world.state, DeploymentState::Succeeded);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever fails, crashes, is held or aborted: no illegal move, it settles, and what is in force agrees with the state.
        #[test]
        fn every_run_settles_where_its_state_says(turns in prop::collection::vec((0u8..10, 0u8..12), 1..60)) {
            let steps = steps();
            let mut world = World::new(&steps);
            let mut aborted = false;
            for (luck, ask) in turns {
                if ask == 0 && !world.state.is_settled() {
                    aborted = true;
                }
                world.turn(&steps, Asked { undo: aborted, held: ask == 1 }, luck);
            }
            for _ in 0..60 {
                world.turn(&steps, Asked { undo: aborted, held: false }, 9);
            }
            match world.state {
                DeploymentState::Succeeded => prop_assert!(world.shifted && world.started && !aborted),
                DeploymentState::RolledBack => prop_assert!(!world.shifted && !world.started),
                other => prop_assert!(false, "not settled: {other:?}"),
            }
        }
    }
}
