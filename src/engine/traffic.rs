//! Moves traffic to the new set, all of it or a share, and remembers the counters it is judged against.

use super::{
    data::is_restoring,
    rollout::{replaced, retired, split_after},
    run::Run,
    steps::{GRACE, StepFailure, leave_old_address},
    watch::{Window, window},
};
use crate::{
    model::{
        Action, DeploymentState, InstanceId, JournalEntry, Plan, Reading, Split, StepState, Timestamp,
        analysis::{Sample, SetSample, Traffic},
        data::DataReturn,
        split::Share,
    },
    targets::{Observed, Samples, share},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the router had counted when traffic moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The reading at the move.
    pub before: Samples,
    /// What the old set did up to then; none where it goes on serving, or where there is none.
    pub old: Option<Window>,
    /// The name the old set is counted under while it goes on serving: it is compared with as it does now.
    #[serde(default)]
    pub beside: Option<String>,
    /// When the new set began to be watched, by the clock that nobody sets.
    #[serde(default)]
    pub read_at: Option<Reading>,
}

impl Baseline {
    /// Returns what the new set, counted under `label`, did since traffic moved, beside the old set; and the downtime.
    pub fn sample(&self, label: &str, restarts: Option<u32>, now: &Samples) -> (Sample, u64) {
        let seen = window(label, &self.before, now);
        let old = match &self.beside {
            Some(beside) => Some(window(beside, &self.before, now).set),
            None => self.old.clone().map(|old| old.set),
        };
        (Sample { new: SetSample { restarts, ..seen.set }, old, traffic: Traffic::Customers }, seen.downtime)
    }
}

impl Run {
    /// Returns the name the new set's requests are counted under.
    pub fn label(&self) -> String {
        self.plan.label(&self.id)
    }

    fn labelled(&self, new: &[Observed]) -> Vec<Share> {
        new.iter().map(|observed| Share { version: self.label(), ..share(observed) }).collect()
    }

    /// Returns the split a traffic step puts in force, from what runs now.
    async fn split_of(&self, action: &Action) -> Result<Split, StepFailure> {
        let mut instances = self.instances();
        let all = instances.len();
        if let Action::Replace { to } = action {
            instances.truncate(*to as usize);
        }
        let new = self.labelled(&self.running(&instances).await?);
        let old: Vec<Share> = self.warm_base().await?.iter().map(share).collect();
        let leaving: &[InstanceId] = match (action, &self.base) {
            (Action::Replace { to }, Some(base)) => &base.instances[..replaced(*to, all, base.instances.len())],
            _ => &[],
        };
        Ok(split_after(action, &new, &old, leaving))
    }

    /// Does a step that moves traffic: one message to the router.
    pub(super) async fn move_traffic(&self, action: &Action) -> Result<Value, StepFailure> {
        let split = self.split_of(action).await?;
        // A router that does not run yet starts counting at zero when it is set.
        let mut before = self.router.measure().await.unwrap_or_default();
        let beside = self.beside(&split);
        // The first rates of the old set are what the new set is compared with, once the old one serves no more.
        let old = self.base.as_ref().filter(|_| beside.is_none()).map(|base| window(&base.version, &Samples::default(), &before));
        self.router.set(&split, self.lease.epoch).await?;
        self.let_through().await?;
        // What an old set that has broken loses up to the switch is not the new set's downtime.
        if let Some(base) = &self.base
            && self.warm_base().await?.len() < base.instances.len()
        {
            before = self.router.measure().await?;
        }
        self.router.probe(self.probe_path(), super::probing::INTERVAL).await?;
        self.note_shift().await?;
        let from = self.base.as_ref().map(|base| &base.version);
        let mut output = json!({ "to": self.plan.version, "from": from, "split": split });
        let baseline =
            serde_json::to_value(Baseline { before, old, beside, read_at: Some(self.engine.clock.reading()) }).expect("counters are JSON");
        output.as_object_mut().expect("an object").extend(baseline.as_object().cloned().expect("an object"));
        Ok(output)
    }

    /// Returns the name of the old set where it goes on serving beside the new one.
    fn beside(&self, split: &Split) -> Option<String> {
        let base = self.base.as_ref()?;
        split.serving().any(|share| base.instances.contains(&share.instance)).then(|| base.version.clone())
    }

    /// Tells whether a traffic step is in force at the router.
    pub(super) async fn is_in_force(&self, action: &Action) -> Result<bool, StepFailure> {
        let (split, _) = self.router.observe().await?;
        // An instance that is gone by now: the step is done again, and says so.
        let Ok(wanted) = self.split_of(action).await else { return Ok(false) };
        let serving = |split: &Split| split.serving().map(|share| (share.instance.clone(), share.weight)).collect::<Vec<_>>();
        Ok(!serving(&split).is_empty() && serving(&split) == serving(&wanted))
    }

    /// Lets requests on the old instances end whose places are taken, and stops these.
    pub(super) async fn retire_replaced(&self, to: u32) -> Result<Value, StepFailure> {
        // They go only while the new ones run that took their places.
        let all = self.instances();
        self.running(&all[..(to as usize).min(all.len())]).await?;
        let base = self.base.as_ref().map_or(&[][..], |base| &base.instances);
        let action = Action::RetireReplaced { to };
        let leaving = retired([&action].into_iter(), all.len(), base);
        let mut drained = leave_old_address(self, leaving).await?;
        drained.extend(self.drain(leaving.iter()).await?);
        let mut stopped = Vec::new();
        for instance in leaving {
            let report = self.target.stop(&self.lease, instance, GRACE).await?;
            stopped.push(json!({ "instance": instance, "graceful": report.graceful }));
        }
        Ok(json!({ "drained": drained, "stopped": stopped }))
    }

    /// Returns what the router had counted at the last move of traffic; none before the first, or while nothing can be read.
    pub(super) async fn baseline(&self) -> Option<Baseline> {
        let journal = self.journal().await.ok()?;
        let entry = self.last_move(&journal)?;
        let of_move = serde_json::from_value(entry.output.clone()).ok();
        of_move.or_else(|| serde_json::from_value(entry.output["baseline"].clone()).ok())
    }

    /// Returns what the router has counted by now: after a crash right at the switch the best that is known.
    pub(super) async fn baseline_now(&self) -> crate::error::Result<Baseline> {
        let failed =
            |error: crate::targets::RouterError| crate::error::Error::new(crate::error::Code::RouterFailed, error.to_string()).after(1);
        let (split, _) = self.router.observe().await.map_err(failed)?;
        Ok(Baseline {
            before: self.router.measure().await.map_err(failed)?,
            old: None,
            beside: self.beside(&split),
            read_at: Some(self.engine.clock.reading()),
        })
    }

    /// Returns when traffic last moved.
    pub(super) fn moved_at(&self, journal: &[JournalEntry]) -> Option<Timestamp> {
        self.last_move(journal)?.ended_at
    }

    fn last_move<'a>(&self, journal: &'a [JournalEntry]) -> Option<&'a JournalEntry> {
        last_move(&self.plan, journal)
    }

    /// Returns the new set's instances that were started so far.
    pub(super) async fn started(&self) -> crate::error::Result<Vec<InstanceId>> {
        let journal = self.journal().await?;
        let is_started = |index: &u32| {
            let action = Action::Start { index: *index };
            let step = self.plan.steps.iter().find(|step| step.action == action);
            journal.iter().any(|entry| Some(&entry.step) == step.map(|step| &step.id) && entry.state == StepState::Done)
        };
        let instances = self.instances();
        Ok((1..=instances.len() as u32).zip(instances).filter(|(index, _)| is_started(index)).map(|(_, instance)| instance).collect())
    }
}

/// Returns the last step done that moved traffic.
fn last_move<'a>(plan: &Plan, journal: &'a [JournalEntry]) -> Option<&'a JournalEntry> {
    let moves = |entry: &&JournalEntry| plan.step(&entry.step).is_some_and(|step| step.action.moves_traffic());
    journal.iter().filter(|entry| entry.state == StepState::Done).rfind(moves)
}

impl super::Engine {
    /// Returns the share of the traffic a deployment's set has by its journal, percent, and when the watch over all of it ends.
    pub(super) async fn last_move(&self, deployment: &crate::model::Deployment) -> crate::error::Result<Option<(u32, Option<Timestamp>)>> {
        let (plan, journal) = (self.plan_of(deployment).await?, self.store.journal(&deployment.id).await?);
        let Some(entry) = last_move(&plan, &journal) else { return Ok(None) };
        let all = plan.steps.iter().filter(|step| matches!(step.action, Action::Start { .. })).count() as u32;
        let share = match plan.step(&entry.step).map(|step| &step.action) {
            Some(Action::ShiftPart { percent }) => *percent,
            Some(Action::Replace { to }) => to * 100 / all.max(1),
            _ => 100,
        };
        let bake = plan.steps.iter().find_map(|step| match step.action {
            Action::Bake { duration_ms } => Some(std::time::Duration::from_millis(duration_ms)),
            _ => None,
        });
        Ok(Some((share, entry.ended_at.zip(bake).filter(|_| share == 100).map(|(at, bake)| at.plus(bake)))))
    }

    /// Returns the old instances a running deployment has stopped on purpose: nothing starts them again behind its back.
    pub(super) async fn retired_by(
        &self,
        deployment: &crate::model::Deployment,
        old: &[InstanceId],
    ) -> crate::error::Result<Vec<InstanceId>> {
        let plan = self.plan_of(deployment).await?;
        let journal = self.store.journal(&deployment.id).await?;
        if deployment.state == DeploymentState::RollingBack {
            // Nothing writes to the data that is being restored.
            let is_silent = plan.steps.iter().any(|step| is_restoring(&journal, step));
            return Ok(if is_silent { old.to_vec() } else { Vec::new() });
        }
        let restores = plan.data_return.as_ref().is_some_and(|planned| matches!(planned.data, DataReturn::Restore { .. }));
        let is_begun = |entry: &JournalEntry| entry.step.as_str() == "return-data" && entry.state != StepState::Pending;
        // Nothing writes to the data that is being restored.
        if restores && journal.iter().any(is_begun) {
            return Ok(old.to_vec());
        }
        let all = plan.steps.iter().filter(|step| matches!(step.action, Action::Start { .. })).count();
        let begun = journal.iter().filter(|entry| entry.state != StepState::Pending);
        let begun = begun.filter_map(|entry| plan.step(&entry.step)).map(|step| &step.action);
        Ok(retired(begun, all, old).to_vec())
    }
}
