//! The steps around a rollout that prepare it, change data and hook into it, and past which of them nothing turns back by itself. Pure.

use super::rollout::step;
use crate::model::{
    Action, Purpose, Reversibility, ServiceSpec, Step, StepState,
    data::{DataReturn, HookPoint, PlannedMigration, PlannedReturn},
    plan::Rollback,
};

/// Between a command's own limit, which names it, and that of its step.
const SLACK_MS: u64 = 30_000;

/// What the steps around a rollout come from.
pub struct Around<'a> {
    /// The service.
    pub spec: &'a ServiceSpec,
    /// Forward, or back.
    pub purpose: &'a Purpose,
    /// What runs.
    pub migrations: &'a [PlannedMigration],
    /// The way back.
    pub rollback: &'a Rollback,
    /// The data that is taken back first.
    pub data_return: Option<&'a PlannedReturn>,
}

/// Adds to a rollout's steps those that prepare it, change data, and hook into it.
pub fn with_data(rollout: Vec<Step>, around: &Around<'_>) -> Vec<Step> {
    let Around { spec, purpose, migrations, rollback, data_return } = around;
    let data = &spec.data;
    let hook = |at: HookPoint| {
        let hooks = data.hooks.as_ref()?;
        let count = hooks.at(at).len() as u64;
        let title = format!("run the {} hooks ({count})", at.as_str());
        let id = format!("hook-{}", at.as_str().replace('_', "-"));
        (count > 0).then(|| step(&id, Action::Hook { at }, title, None, hooks.timeout_ms * count + SLACK_MS))
    };
    let mut first = Vec::new();
    match purpose {
        Purpose::Deploy => {
            first.extend(data.prepare.as_ref().map(|prepare| {
                step("prepare", Action::Prepare, "run the command that prepares it".into(), None, prepare.timeout_ms + SLACK_MS)
            }));
            first.extend(data.backup.as_ref().map(|backup| {
                let checked =
                    if backup.verify.is_some() { "take a backup, and have it verified" } else { "take a backup; nothing verifies it" };
                step("backup", Action::Backup, checked.into(), None, 2 * backup.timeout_ms + SLACK_MS)
            }));
            first.extend(migrate(spec, migrations, rollback));
            first.extend(hook(HookPoint::BeforeStart));
        }
        Purpose::Rollback { .. } => first.extend(data_return.map(|planned| {
            let limit = 24 * 3_600_000;
            let taken = step("return-data", Action::ReturnData, planned.data.title(), None, limit);
            Step { reversibility: Reversibility::Pivot, ..taken }
        })),
    }
    let is_forward = **purpose == Purpose::Deploy;
    let mut steps = Vec::new();
    let mut has_moved = false;
    for step in rollout {
        if step.action.moves_traffic() && !has_moved && is_forward {
            has_moved = true;
            steps.extend(hook(HookPoint::BeforeShift));
        }
        let action = step.action.clone();
        steps.push(step);
        match action {
            Action::Recheck => steps.append(&mut first),
            Action::VerifyListener if is_forward => steps.extend(hook(HookPoint::AfterShift)),
            _ => (),
        }
    }
    steps.extend(hook(if is_forward { HookPoint::AfterSuccess } else { HookPoint::AfterRollback }));
    steps
}

fn migrate(spec: &ServiceSpec, migrations: &[PlannedMigration], rollback: &Rollback) -> Option<Step> {
    let configured = spec.data.migrations.as_ref()?;
    let names: Vec<String> = migrations.iter().map(|migration| format!("{} ({})", migration.name, migration.class)).collect();
    let shown = match names.len() {
        0 => return None,
        1..=3 => names.join(", "),
        count => format!("{}, … {} ({count} in all)", names[..2].join(", "), names[count - 1]),
    };
    let undo = rollback.data.as_ref().filter(|_| rollback.automatic).map(DataReturn::title);
    let is_pivot = rollback.until.is_some() && undo.is_none();
    let step = step("migrate", Action::Migrate, format!("run migrations {shown}"), undo, configured.timeout_ms + SLACK_MS + SLACK_MS);
    Some(if is_pivot { Step { reversibility: Reversibility::Pivot, ..step } } else { step })
}

/// Returns the step behind which going back by itself would put a release on data it cannot use.
pub fn no_way_back<'a>(states: &[(&'a Step, StepState)]) -> Option<&'a Step> {
    let is_begun = |state: StepState| !matches!(state, StepState::Pending | StepState::Undone);
    let has_moved = states.iter().any(|(step, state)| step.action.moves_traffic() && is_begun(*state));
    let is_final = |(step, state): &&(&Step, StepState)| {
        let is_done = step.reversibility == Reversibility::Pivot && *state == StepState::Done;
        is_done && (step.action == Action::ReturnData || (step.action == Action::Migrate && has_moved))
    };
    states.iter().find(is_final).map(|(step, _)| *step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            data_plan::rollback,
            decide::{self, Asked, Move},
            examples::{base, foreseen, with_data as with},
        },
        model::{DeploymentState, JournalEntry, data::OnRollback},
    };

    fn steps(spec: &ServiceSpec, strategy: crate::model::Strategy, purpose: &Purpose) -> Vec<Step> {
        let (base, foreseen) = (base("dep_1"), foreseen());
        let rollback = rollback(spec, Some(&base), &foreseen);
        let rollout = crate::engine::rollout::steps(spec, strategy, "1.1.0", Some(&base));
        with_data(rollout, &Around { spec, purpose, migrations: &foreseen.migrations, rollback: &rollback, data_return: None })
    }

    #[test]
    fn data_comes_before_the_start_and_hooks_stand_at_their_points_in_every_strategy() {
        use crate::model::Strategy::{BlueGreen, Canary, Rolling};
        let spec = with(OnRollback::Ask, &[]);
        for strategy in [BlueGreen, Canary, Rolling] {
            let steps = steps(&spec, strategy, &Purpose::Deploy);
            let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
            assert_eq!(ids[..6], ["recheck", "prepare", "backup", "migrate", "hook-before-start", "start-1"], "{strategy:?}");
            let at = |id: &str| ids.iter().position(|other| *other == id).unwrap_or_else(|| panic!("{id}: {ids:?}"));
            let moves = steps.iter().position(|step| step.action.moves_traffic()).unwrap();
            assert_eq!((at("hook-before-shift") + 1, at("hook-after-shift")), (moves, at("verify-listener") + 1), "{strategy:?}");
            assert_eq!((at("hook-after-success") + 1, at("retire") + 2), (ids.len(), ids.len()), "{strategy:?}");
            assert!(steps.iter().all(|step| step.timeout_ms > 0), "{strategy:?}");
        }
        let back = steps(&spec, BlueGreen, &Purpose::Rollback { of: "dep_2".into() });
        let ids: Vec<&str> = back.iter().map(|step| step.id.as_str()).collect();
        assert_eq!((ids[1], *ids.last().unwrap()), ("start-1", "hook-after-rollback"), "a way back touches no data: {ids:?}");
    }

    fn journal(steps: &[Step], done: &str, last: StepState) -> Vec<JournalEntry> {
        let at = steps.iter().position(|step| step.id.as_str() == done).unwrap();
        let state = |index: usize| match index.cmp(&at) {
            std::cmp::Ordering::Less => StepState::Done,
            std::cmp::Ordering::Equal => last,
            std::cmp::Ordering::Greater => StepState::Pending,
        };
        let entry = |(index, step): (usize, &Step)| JournalEntry {
            ordinal: index as i64,
            step: step.id.clone(),
            state: state(index),
            attempt: 1,
            started_at: None,
            ended_at: None,
            output: serde_json::Value::Null,
        };
        steps.iter().enumerate().map(entry).collect()
    }

    /// Wherever a deployment is asked to turn back: past a pivot and with traffic moved it never does without its data.
    #[test]
    fn nothing_turns_back_past_a_pivot_without_its_data() {
        use StepState::{Done, Executing};
        let all = steps(&with(OnRollback::Ask, &[]), crate::model::Strategy::BlueGreen, &Purpose::Deploy);
        let moved = |id: &str| {
            all.iter().position(|step| step.id.as_str() == id).unwrap() >= all.iter().position(|step| step.id.as_str() == "shift").unwrap()
        };
        for step in &all {
            for last in [Executing, Done] {
                let journal = journal(&all, step.id.as_str(), last);
                let asked = Asked { undo: true, ..Asked::default() };
                let next = decide::next(DeploymentState::Running, &all, &journal, asked);
                match (step.id.as_str(), last) {
                    ("migrate", Executing) => assert!(matches!(next, Move::Observe(_)), "a pivot's outcome is known first: {next:?}"),
                    (id, _) if moved(id) => {
                        assert!(matches!(&next, Move::GiveUp(pivot) if pivot.id.as_str() == "migrate"), "{id}: {next:?}")
                    }
                    (id, _) => assert_eq!(next, Move::TurnBack, "{id}"),
                }
                let decided = decide::next(DeploymentState::Running, &all, &journal, Asked { data: true, ..asked });
                assert!(!matches!(decided, Move::GiveUp(_)), "{}: {decided:?}", step.id);
            }
        }
        let failed = journal(&all, "migrate", StepState::Failed);
        let asked = Asked { undo: true, ..Asked::default() };
        assert!(matches!(decide::next(DeploymentState::Running, &all, &failed, asked), Move::GiveUp(_)));
    }

    #[test]
    fn data_is_back_before_an_earlier_release_gets_traffic() {
        let all = steps(&with(OnRollback::Automatic, &[]), crate::model::Strategy::BlueGreen, &Purpose::Deploy);
        let mut journal = journal(&all, "bake", StepState::Executing);
        let asked = Asked { undo: true, data: true, ..Asked::default() };
        let mut undone = Vec::new();
        while let Move::Undo(step) = decide::next(DeploymentState::RollingBack, &all, &journal, asked) {
            undone.push(step.id.to_string());
            journal.iter_mut().find(|entry| entry.step == step.id).unwrap().state = StepState::Undone;
        }
        assert_eq!(undone, ["migrate", "shift", "start-1"]);
    }

    #[test]
    fn a_hook_that_failed_after_the_switch_is_passed_over_and_one_before_it_is_not() {
        let all = steps(&with(OnRollback::Automatic, &[]), crate::model::Strategy::BlueGreen, &Purpose::Deploy);
        let next = |id: &str| decide::next(DeploymentState::Verifying, &all, &journal(&all, id, StepState::Failed), Asked::default());
        assert!(matches!(next("hook-after-shift"), Move::Do(step) if step.id.as_str() == "drain"));
        assert_eq!(next("hook-after-success"), Move::Finish);
        assert_eq!(next("hook-before-shift"), Move::TurnBack);
    }
}
