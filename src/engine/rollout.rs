//! What a strategy does: its steps in order, who gets traffic after each, and which old instances are gone by then. Pure.

use crate::model::{
    Action, Base, InstanceId, Reversibility, ServiceSpec, Split, Step, StepId, Strategy, service::TargetKind, split::Share,
};

/// Health checks end at their own deadline; this is what a start may take before (process and port).
const START_MS: u64 = 30_000;
/// A switch is one message to the router; more than this means the router does not answer.
const SHIFT_MS: u64 = 10_000;
/// Smoke checks through the listener.
const VERIFY_MS: u64 = 60_000;
/// Stopping an old set: its grace, and some.
const RETIRE_MS: u64 = 60_000;
/// Checking gates and files again.
const RECHECK_MS: u64 = 60_000;

/// Returns the strategy that will run: where nothing serves, there is nothing to compare with or to replace.
pub fn strategy(spec: &ServiceSpec, asked: Option<Strategy>, base: Option<&Base>) -> Strategy {
    match base {
        Some(_) => spec.rollout.strategy.or(asked).unwrap_or_default(),
        None => Strategy::BlueGreen,
    }
}

/// Returns the steps of one deployment.
pub fn steps(spec: &ServiceSpec, strategy: Strategy, version: &str, base: Option<&Base>) -> Vec<Step> {
    let maker = Maker { spec, version, base };
    let mut steps =
        vec![step("recheck", Action::Recheck, "check approval, bindings, freeze and live gates again".into(), None, RECHECK_MS)];
    match strategy {
        Strategy::BlueGreen => steps.extend(maker.blue_green()),
        Strategy::Canary => steps.extend(maker.canary()),
        Strategy::Rolling => steps.extend(maker.rolling()),
    }
    steps.extend(maker.watch(strategy));
    steps
}

struct Maker<'a> {
    spec: &'a ServiceSpec,
    version: &'a str,
    base: Option<&'a Base>,
}

impl Maker<'_> {
    fn blue_green(&self) -> Vec<Step> {
        let mut steps = self.new_set();
        steps.extend([self.shift(), self.verify_listener()]);
        steps.extend(self.base.is_some().then(|| self.drain()));
        steps
    }

    fn canary(&self) -> Vec<Step> {
        let rollout = &self.spec.rollout;
        let mut steps = self.new_set();
        for percent in rollout.weights.iter().copied().filter(|percent| *percent < 100) {
            let title = format!("give {} {percent} % of {}", self.version, self.spec.front());
            steps.push(step(&format!("shift-{percent}"), Action::ShiftPart { percent }, title, self.back(), SHIFT_MS));
            let action = Action::Analyse { percent, duration_ms: rollout.watch_ms, at_most_ms: rollout.watch_at_most_ms };
            let title = format!("compare {} at {percent} % with the old set for {} s", self.version, rollout.watch_ms / 1000);
            steps.push(step(&format!("analyse-{percent}"), action, title, None, rollout.watch_at_most_ms + VERIFY_MS));
        }
        steps.extend([self.shift(), self.verify_listener(), self.drain()]);
        steps
    }

    fn rolling(&self) -> Vec<Step> {
        let (all, batch) = (self.spec.instances, self.spec.rollout.batch.max(1));
        let mut steps = Vec::new();
        for from in (1..=all).step_by(batch as usize) {
            let to = (from + batch - 1).min(all);
            steps.extend((from..=to).map(|index| self.start(index)));
            let title =
                format!("health, identity {} and smoke on instances {from} to {to}, before any customer reaches them", self.version);
            let patience = self.spec.health.deadline_ms + VERIFY_MS;
            steps.push(step(&format!("verify-instances-{to}"), Action::VerifyBatch { from, to }, title, None, patience));
            let title = format!("{to} of {all} instances of {} serve in place of old ones", self.version);
            steps.push(step(&format!("replace-{to}"), Action::Replace { to }, title, self.back(), SHIFT_MS));
            let title = "let requests on the replaced instances end, and stop these".to_owned();
            let patience = self.spec.drain_ms + RETIRE_MS;
            steps.push(step(&format!("retire-{to}"), Action::RetireReplaced { to }, title, None, patience));
        }
        steps.push(self.verify_listener());
        steps
    }

    fn watch(&self, strategy: Strategy) -> [Step; 2] {
        let warm = match (strategy, self.base) {
            (_, None) => "",
            (Strategy::Rolling, _) => "; the old set is stopped by now",
            _ => " with the old set warm",
        };
        let retire = match self.base {
            Some(_) => "stop the old set; its release stays on disk",
            None => "record it as the verified set that serves",
        };
        let title = format!("watch {} for {} s{warm}", self.version, self.spec.bake_ms / 1000);
        [
            step("bake", Action::Bake { duration_ms: self.spec.bake_ms }, title, None, self.spec.bake_ms + VERIFY_MS),
            step("retire", Action::Retire, retire.into(), None, RETIRE_MS),
        ]
    }

    /// Starts every instance, and verifies each before customers reach it.
    fn new_set(&self) -> Vec<Step> {
        let title = format!("health, identity {} and smoke on each instance, before any customer reaches it", self.version);
        let patience = self.spec.health.deadline_ms + VERIFY_MS;
        let mut steps: Vec<Step> = (1..=self.spec.instances).map(|index| self.start(index)).collect();
        steps.push(step("verify-instances", Action::VerifyInstances, title, None, patience));
        steps
    }

    fn start(&self, index: u32) -> Step {
        let (title, undo) = match (&self.spec.target, self.base) {
            (TargetKind::Ci(target), base) => {
                let way_back = base.map(|base| format!("run it for {}", base.version));
                let title =
                    format!("run workflow `{}` on `{}` for {}, and follow it to its end", target.workflow, target.branch, self.version);
                (title, way_back.unwrap_or_else(|| "a person takes away what answers there".into()))
            }
            _ => (format!("start {}, instance {index} of {}", self.version, self.spec.instances), format!("stop instance {index}")),
        };
        // What changes something, and the look at it afterwards, each have the time that is configured.
        let patience = START_MS + 2 * self.spec.target.timeout_ms();
        step(&format!("start-{index}"), Action::Start { index }, title, Some(undo), patience)
    }

    fn shift(&self) -> Step {
        let title = format!("move all traffic of {} to {} at once", self.spec.front(), self.version);
        step("shift", Action::Shift, title, self.back(), SHIFT_MS)
    }

    fn verify_listener(&self) -> Step {
        let title = format!("identity {} and smoke through {}", self.version, self.spec.front());
        step("verify-listener", Action::VerifyListener, title, None, VERIFY_MS)
    }

    fn drain(&self) -> Step {
        step("drain", Action::Drain, "wait for requests in flight on the old set".into(), None, self.spec.drain_ms + SHIFT_MS)
    }

    fn back(&self) -> Option<String> {
        Some(match self.base {
            Some(base) => format!("all traffic back to {}", base.version),
            None => "no traffic: 503 until something is deployed".into(),
        })
    }
}

/// Returns a step; one with an undo is compensable.
pub(super) fn step(id: &str, action: Action, title: String, undo: Option<String>, timeout_ms: u64) -> Step {
    let reversibility = if undo.is_some() { Reversibility::Compensable } else { Reversibility::Free };
    Step { id: StepId::from(id), action, title, undo, reversibility, timeout_ms }
}

/// Returns who gets traffic once a traffic step is done; `leaving` are the old instances whose places are taken by it.
///
/// A canary's share holds between the sets whatever their sizes; where no old instance is left to take the rest, the new set has all.
pub fn split_after(action: &Action, new: &[Share], old: &[Share], leaving: &[InstanceId]) -> Split {
    let weighed = |shares: &[Share], weight: u32| shares.iter().map(move |share| Share { weight, ..share.clone() }).collect::<Vec<_>>();
    Split(match action {
        Action::ShiftPart { percent } if !old.is_empty() => {
            let (of_new, of_old) = (percent * old.len() as u32, (100 - percent) * new.len() as u32);
            let common = greatest_common_divisor(of_new, of_old).max(1);
            [weighed(new, of_new / common), weighed(old, of_old / common)].concat()
        }
        Action::Replace { .. } => {
            let kept = old.iter().map(|share| Share { weight: u32::from(!leaving.contains(&share.instance)), ..share.clone() });
            weighed(new, 1).into_iter().chain(kept).collect()
        }
        _ => [weighed(new, 1), weighed(old, 0)].concat(),
    })
}

/// Returns how many of `old` instances have given their places when `to` of `all` new ones serve.
pub fn replaced(to: u32, all: usize, old: usize) -> usize {
    if to as usize >= all { old } else { old * to as usize / all }
}

/// Returns the old instances that the steps begun so far have stopped, or were about to.
pub fn retired<'a>(begun: impl Iterator<Item = &'a Action>, all: usize, old: &[InstanceId]) -> &[InstanceId] {
    let stopped = begun.map(|action| match action {
        Action::RetireReplaced { to } => replaced(*to, all, old.len()),
        Action::Retire => old.len(),
        _ => 0,
    });
    &old[..stopped.max().unwrap_or(0)]
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::examples::{base, spec},
        model::service::CommandTarget,
    };
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn ids(strategy: Strategy, spec: &ServiceSpec) -> Vec<String> {
        steps(spec, strategy, "1.1.0", Some(&base("dep_1"))).into_iter().map(|step| step.id.0).collect()
    }

    fn set(name: &str, count: usize) -> Vec<Share> {
        let share = |index: usize| Share {
            instance: InstanceId::from(format!("{name}-{index}").as_str()),
            address: ([127, 0, 0, 1], 1000 + index as u16).into(),
            version: name.into(),
            weight: 1,
        };
        (1..=count).map(share).collect()
    }

    #[test]
    fn a_canary_grows_by_its_weights_and_is_compared_at_each() {
        let ids = ids(Strategy::Canary, &spec());
        let expected =
            ["verify-instances", "shift-10", "analyse-10", "shift-50", "analyse-50", "shift", "verify-listener", "drain", "bake", "retire"];
        assert_eq!(ids[3..], expected);
    }

    #[test]
    fn a_rolling_deployment_verifies_each_batch_before_an_old_instance_goes() {
        let mut spec = spec();
        (spec.instances, spec.rollout.batch) = (3, 2);
        let expected = [
            "recheck",
            "start-1",
            "start-2",
            "verify-instances-2",
            "replace-2",
            "retire-2",
            "start-3",
            "verify-instances-3",
            "replace-3",
            "retire-3",
            "verify-listener",
            "bake",
            "retire",
        ];
        assert_eq!(ids(Strategy::Rolling, &spec), expected);
    }

    #[test]
    fn without_a_set_behind_it_every_strategy_is_one_switch() {
        let mut spec = spec();
        spec.rollout.strategy = Some(Strategy::Canary);
        assert_eq!(strategy(&spec, None, None), Strategy::BlueGreen);
        assert_eq!(strategy(&spec, None, Some(&base("dep_1"))), Strategy::Canary);
    }

    #[test]
    fn what_configuration_fixes_cannot_be_asked_away() {
        let mut spec = spec();
        spec.rollout.strategy = Some(Strategy::Canary);
        assert_eq!(strategy(&spec, Some(Strategy::BlueGreen), Some(&base("dep_1"))), Strategy::Canary);
    }

    #[test]
    fn a_wrapped_way_to_deploy_has_the_time_that_is_configured_for_it() {
        let mut spec = spec();
        let patience = |spec: &ServiceSpec| steps(spec, Strategy::BlueGreen, "1.1.0", None)[1].timeout_ms;
        assert_eq!(patience(&spec), START_MS);
        let argv = || vec!["./deploy.sh".to_owned()];
        let target = CommandTarget { apply: argv(), observe: argv(), undo: argv(), logs: None, timeout_ms: 300_000 };
        spec.target = TargetKind::Command(target);
        assert_eq!(patience(&spec), START_MS + 600_000, "the change, and the look at it afterwards");
    }

    #[test]
    fn old_instances_are_retired_as_far_as_their_places_are_taken() {
        let old: Vec<InstanceId> = set("old", 4).into_iter().map(|share| share.instance).collect();
        let begun = [Action::Replace { to: 2 }, Action::RetireReplaced { to: 1 }];
        assert_eq!(retired(begun.iter(), 2, &old), &old[..2]);
        assert_eq!(retired([Action::Shift].iter(), 2, &old), &[] as &[InstanceId]);
        assert_eq!(retired([Action::Retire].iter(), 2, &old), &old[..]);
    }

    proptest! {
        /// Whatever the sizes of the two sets: the canary's share is exact, and a rolling step never leaves fewer instances than served before.
        #[test]
        fn shares_are_exact_and_capacity_never_shrinks(new in 1usize..12, old in 1usize..12, percent in 1u32..100, to in 1u32..12) {
            let (news, olds) = (set("new", new), set("old", old));
            let weight = |split: &Split, name: &str| -> u64 {
                split.serving().filter(|share| share.version == name).map(|share| u64::from(share.weight)).sum()
            };
            let split = split_after(&Action::ShiftPart { percent }, &news, &olds, &[]);
            let (of_new, of_old) = (weight(&split, "new"), weight(&split, "old"));
            prop_assert_eq!(of_new * 100, u64::from(percent) * (of_new + of_old));

            let to = to.min(new as u32);
            let ids: Vec<InstanceId> = olds.iter().map(|share| share.instance.clone()).collect();
            let serving = |to: u32| {
                let leaving = &ids[..replaced(to, new, old)];
                split_after(&Action::Replace { to }, &news[..to as usize], &olds, leaving).serving().count()
            };
            prop_assert!(serving(to) >= old.min(new), "{} of {old} → {new} at {to}", serving(to));
            prop_assert_eq!(serving(new as u32), new);
        }
    }
}
