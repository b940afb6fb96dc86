//! Deployments by the hundred thousand: failures, crashes, holds, freezes, aborts and people's choices in any order.

use super::*;
use crate::model::{DeploymentState::*, Event, StepId};
use proptest::prelude::*;

/// The steps of a deployment; the `pivot`-th, if there is one, cannot be undone.
fn steps(pivot: usize) -> Vec<Step> {
    let actions = [
        ("recheck", Action::Recheck),
        ("start-1", Action::Start { index: 1 }),
        ("verify-instances", Action::VerifyInstances),
        ("shift", Action::Shift),
        ("verify-listener", Action::VerifyListener),
        ("bake", Action::Bake { duration_ms: 1 }),
        ("retire", Action::Retire),
    ];
    let step = |(at, (id, action)): (usize, (&str, Action))| Step {
        id: StepId::from(id),
        title: id.into(),
        undo: None,
        reversibility: if at == pivot && !has_undo(&action) { Reversibility::Pivot } else { Reversibility::Compensable },
        action,
        timeout_ms: 1,
    };
    actions.into_iter().enumerate().map(step).collect()
}

const NO_PIVOT: usize = usize::MAX;

/// What comes next in a world: how a step goes, and what is asked from outside.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// 0 fails, 1 crashes before its effect, 2 crashes after it, 3 is undone in vain; otherwise it works.
    luck: u8,
    aborts: bool,
    held: bool,
    frozen: bool,
    choice: Choice,
}

const CALM: Turn = Turn { luck: 9, aborts: false, held: false, frozen: false, choice: Choice::Retry };

/// A world that applies moves: does steps as told, crashes where told, and remembers what is in force.
struct World<'a> {
    steps: &'a [Step],
    state: DeploymentState,
    journal: Vec<JournalEntry>,
    shifted: bool,
    started: bool,
    undo: bool,
    /// How often something happened: a property that never meets it shows nothing.
    frozen: usize,
    stuck: usize,
}

impl<'a> World<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let entry = |(ordinal, step): (usize, &Step)| JournalEntry {
            ordinal: ordinal as i64,
            step: step.id.clone(),
            state: StepState::Pending,
            attempt: 1,
            started_at: None,
            ended_at: None,
            output: serde_json::Value::Null,
        };
        let journal = steps.iter().enumerate().map(entry).collect();
        World { steps, state: Queued, journal, shifted: false, started: false, undo: false, frozen: 0, stuck: 0 }
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

    /// Tells whether a pivot's outcome is open: there alone an abort waits.
    fn is_in_pivot(&self) -> bool {
        let open = self.steps.iter().find(|step| state_of(&self.journal, step) != StepState::Done);
        open.is_some_and(|step| step.reversibility == Reversibility::Pivot && state_of(&self.journal, step) != StepState::Pending)
    }

    fn turn(&mut self, turn: Turn) {
        self.undo |= turn.aborts && !self.state.is_settled() && self.state != RollingBack;
        let asked = Asked { undo: self.undo, held: turn.held, frozen: turn.frozen, data: false };
        let next = next(self.state, self.steps, &self.journal, asked);
        if self.undo && matches!(self.state, Queued | Running | Paused | Verifying) && !self.is_in_pivot() {
            assert_eq!(next, Move::TurnBack, "abort wins");
        }
        match next {
            Move::Start => self.goes(Event::Started),
            Move::Observe(step) => {
                let happened = match step.action {
                    Action::Start { .. } => self.started,
                    Action::Shift => self.shifted,
                    _ => false,
                };
                self.set(step, if happened { StepState::Done } else { StepState::Pending });
            }
            Move::Do(step) => {
                assert!(!turn.frozen || !is_change(&step.action), "{} while frozen", step.id);
                self.does(step, turn.luck);
            }
            Move::BeginWatch => self.goes(Event::Shifted),
            Move::Pause => self.goes(Event::Held),
            Move::Freeze => {
                self.frozen += 1;
                self.goes(Event::Frozen);
            }
            Move::Resume { watched: false } => self.goes(Event::Released),
            Move::Resume { watched: true } => self.goes(Event::ReleasedToVerifying),
            Move::TurnBack => self.goes(Event::Undo),
            Move::Undo(step) if turn.luck == 3 => {
                self.set(step, StepState::Undoing);
                self.goes(Event::Lost);
            }
            Move::Undo(step) => {
                self.effect(step, false);
                self.set(step, StepState::Undone);
            }
            Move::Finish => self.goes(Event::Finished),
            Move::FinishUndo => self.goes(Event::Undone),
            Move::GiveUp(_) => self.goes(Event::Lost),
            Move::Nothing if self.state == Stuck => self.is_resolved(turn.choice),
            Move::Wait | Move::Nothing => (),
        }
    }

    fn does(&mut self, step: &Step, luck: u8) {
        match luck {
            0 => {
                // A step that fails asks for the way back, as the worker does.
                self.undo = true;
                self.set(step, StepState::Failed);
            }
            1 => self.set(step, StepState::Executing),
            2 => {
                self.effect(step, true);
                self.set(step, StepState::Executing);
            }
            _ => {
                self.effect(step, true);
                self.set(step, StepState::Done);
            }
        }
    }

    /// A person chooses, and tells the truth: what is marked as done was done by hand.
    fn is_resolved(&mut self, choice: Choice) {
        self.stuck += 1;
        let (step, direction) = unknown(self.steps, &self.journal).expect("what is stuck has an open step");
        let Some((state, event)) = chosen(direction, choice) else { return };
        if choice == Choice::MarkDone {
            self.effect(step, direction == Direction::Forward);
        }
        self.set(step, state);
        self.goes(event);
        self.undo &= event == Event::ResumedBack;
    }
}

#[test]
fn an_undisturbed_deployment_succeeds() {
    for pivot in [NO_PIVOT, 0, 6] {
        let steps = steps(pivot);
        let mut world = World::new(&steps);
        for _ in 0..30 {
            world.turn(CALM);
        }
        assert_eq!((world.state, world.shifted), (Succeeded, true));
    }
}

#[test]
fn a_held_deployment_waits_and_goes_on() {
    let steps = steps(NO_PIVOT);
    let mut world = World::new(&steps);
    for _ in 0..10 {
        world.turn(Turn { held: true, ..CALM });
    }
    assert_eq!((world.state, world.started), (Paused, false));
    for _ in 0..30 {
        world.turn(CALM);
    }
    assert_eq!(world.state, Succeeded);
}

#[test]
fn a_freeze_stops_before_each_change_and_never_the_way_back() {
    let steps = steps(NO_PIVOT);
    let frozen = Turn { frozen: true, ..CALM };
    let stops = |until: usize, aborts: bool| {
        let mut world = World::new(&steps);
        (0..until).for_each(|_| world.turn(CALM));
        (0..20).for_each(|_| world.turn(Turn { aborts, ..frozen }));
        let open = steps.iter().find(|step| state_of(&world.journal, step) != StepState::Done).unwrap().id.clone();
        (world.state, open.0, world)
    };
    for (turns, stands_before) in [(0, "recheck"), (2, "start-1"), (3, "shift"), (4, "shift"), (5, "retire"), (8, "retire")] {
        let (state, open, mut world) = stops(turns, false);
        assert_eq!((state, open.as_str()), (Paused, stands_before), "after {turns} turns");
        // It goes on by itself, to where it was: watched when traffic had moved.
        world.turn(CALM);
        assert_eq!(world.state, if stands_before == "retire" { Verifying } else { Running });
        (0..20).for_each(|_| world.turn(CALM));
        assert_eq!(world.state, Succeeded);
        let (state, _, world) = stops(turns, true);
        assert_eq!((state, world.shifted, world.started), (RolledBack, false, false), "aborted after {turns} turns");
    }
}

#[test]
fn a_person_chooses_for_a_pivot_that_failed() {
    let steps = steps(6);
    for (choice, settles) in [(Choice::Retry, Succeeded), (Choice::MarkDone, Succeeded), (Choice::RollBack, RolledBack)] {
        let mut world = World::new(&steps);
        while state_of(&world.journal, &steps[5]) != StepState::Done {
            world.turn(CALM);
        }
        world.turn(Turn { luck: 0, ..CALM });
        world.turn(CALM);
        assert_eq!(world.state, Stuck, "a failure of a pivot never turns back by itself");
        assert_eq!(unknown(&steps, &world.journal).map(|(step, way)| (step.id.as_str(), way)), Some(("retire", Direction::Forward)));
        (0..20).for_each(|_| world.turn(Turn { choice, ..CALM }));
        assert_eq!(world.state, settles, "{choice:?}");
    }
}

#[test]
fn a_person_chooses_for_an_undo_that_failed() {
    let steps = steps(NO_PIVOT);
    for (choice, settles) in [(Choice::Retry, RolledBack), (Choice::MarkDone, RolledBack), (Choice::RollBack, Stuck)] {
        let mut world = World::new(&steps);
        while state_of(&world.journal, &steps[3]) != StepState::Done {
            world.turn(CALM);
        }
        world.turn(Turn { aborts: true, ..CALM });
        world.turn(Turn { luck: 3, ..CALM });
        assert_eq!((world.state, world.shifted), (Stuck, true));
        assert_eq!(unknown(&steps, &world.journal).map(|(step, way)| (step.id.as_str(), way)), Some(("shift", Direction::Back)));
        (0..20).for_each(|_| world.turn(Turn { choice, ..CALM }));
        assert_eq!((world.state, world.shifted), (settles, settles == Stuck), "{choice:?}");
    }
}

fn turns() -> impl Strategy<Value = Turn> {
    (0u8..12, 0u8..30, 0u8..8, 0u8..5, 0usize..3).prop_map(|(luck, aborts, held, frozen, choice)| Turn {
        luck,
        aborts: aborts == 0,
        held: held == 0,
        frozen: frozen == 0,
        choice: Choice::ALL[choice],
    })
}

/// Whatever fails, crashes, is held, frozen, aborted or chosen: no illegal move, it settles, and what is in force agrees with the state.
#[test]
fn every_run_settles_where_its_state_says() {
    use proptest::test_runner::{Config, TestRunner};
    let plans = [NO_PIVOT, 0, 5, 6].map(steps);
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::<&str, usize>::new());
    let run = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(100_000) }).run(
        &(0..plans.len(), prop::collection::vec(turns(), 1..40)),
        |(plan, turns)| {
            let mut world = World::new(&plans[plan]);
            turns.into_iter().for_each(|turn| world.turn(turn));
            for _ in 0..60 {
                if matches!(world.state, Succeeded | RolledBack) {
                    break;
                }
                world.turn(CALM);
            }
            let mut seen = seen.borrow_mut();
            *seen.entry("frozen").or_default() += world.frozen;
            *seen.entry("stuck").or_default() += world.stuck;
            *seen.entry(world.state.as_str()).or_default() += 1;
            match world.state {
                Succeeded => prop_assert!(world.shifted && world.started && !world.undo),
                RolledBack => prop_assert!(!world.shifted && !world.started && world.undo),
                other => prop_assert!(false, "not settled: {other:?}"),
            }
            Ok(())
        },
    );
    run.unwrap();
    let seen = seen.into_inner();
    let often = |what: &str| seen.get(what).copied().unwrap_or_default();
    assert!(["frozen", "stuck", "succeeded", "rolled_back"].iter().all(|what| often(what) > 1000), "{seen:?}");
}
