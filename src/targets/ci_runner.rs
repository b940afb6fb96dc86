//! A service whose environment is deployed by a CI workflow: each change is a run that is started at the platform and followed to its end.
//! It is one instance to Interlock.
//!
//! A run replaces what was there, so the way back is a run of the same workflow for what served before. No run is started while another
//! one of the place may still do something, and one that was ordered is looked for before another one is.

use super::{
    Capabilities, InstanceSpec, LogCursor, LogPage, Observed, StopReport, Target, TargetError,
    ci::{
        ordered::{End, Ordered},
        platform,
    },
    records::{Kept, Records},
};
use crate::model::{
    Clock, Epoch, InstanceId, Lease, Timestamp,
    ci::{CiFault, Dispatch},
    service::{CiTarget, TargetKind, fill},
};
use anyhow::anyhow;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// A run is asked after this soon, then less and less often.
const SOON: Duration = Duration::from_millis(500);
/// A deployment takes minutes, and a platform counts questions.
const SELDOM: Duration = Duration::from_secs(20);
/// A run that failed is not begun again before: an undo is tried again every few seconds.
const AGAIN: Duration = Duration::from_secs(60);
/// How long a connection to what a run has deployed may take.
const CONNECT: Duration = Duration::from_secs(5);
/// So many lines are kept of what was said of an instance's runs.
const LINES: usize = 200;

/// Targets deployed by CI, of one workspace.
pub struct CiRunner {
    records: Records<Recorded>,
    clock: Arc<dyn Clock>,
}

/// What is known of an instance.
#[derive(Clone, Serialize, Deserialize)]
struct Recorded {
    spec: InstanceSpec,
    epoch: Epoch,
    /// Which run of its place its newest one is, counted from 1; 0 while there is none. The highest one is what the place shows.
    turn: u64,
    /// Its newest run.
    run: Option<Ordered>,
    /// What its first run replaced.
    replaces: Option<InstanceId>,
    /// What was seen of its runs, oldest first.
    said: Vec<String>,
}

impl Kept for Recorded {
    fn spec(&self) -> &InstanceSpec {
        &self.spec
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Recorded {
    fn ended(&self) -> Option<End> {
        self.run.as_ref().and_then(Ordered::ended)
    }

    /// Tells whether a run of it may still do something.
    fn may_run(&self) -> bool {
        self.run.is_some() && self.ended().is_none()
    }

    /// Notes a line, unless it was the last one.
    fn say(&mut self, now: Timestamp, line: String) {
        if self.said.last().is_none_or(|last| last.split_once(' ').is_none_or(|(_, last)| last != line)) {
            self.said.push(format!("{now} {line}"));
            let spare = self.said.len().saturating_sub(LINES);
            self.said.drain(..spare);
        }
    }

    /// Returns the platform's id of its newest run.
    fn shown(&self) -> Option<String> {
        Some(self.run.as_ref()?.run.as_ref()?.id.clone())
    }

    /// Returns the order of its newest run.
    fn dispatch(&self) -> Result<Dispatch, TargetError> {
        let (target, epoch) = (kind(&self.spec)?, self.epoch.to_string());
        let places = [
            ("version", self.spec.version.as_str()),
            ("digest", &self.spec.digest.0),
            ("instance", self.spec.id.as_str()),
            ("service", self.spec.spec.service.as_str()),
            ("environment", self.spec.spec.environment.as_str()),
            ("epoch", &epoch),
        ];
        Ok(Dispatch {
            workflow: target.workflow.clone(),
            branch: target.branch.clone(),
            environment: self.spec.spec.environment.to_string(),
            inputs: target.inputs.iter().map(|(name, value)| (name.clone(), fill(value, &places))).collect(),
            name: self.run.as_ref().map(|run| run.name.clone()).unwrap_or_default(),
        })
    }

    fn story(&self) -> String {
        self.run.as_ref().map_or("nothing was ordered".to_owned(), Ordered::story)
    }
}

impl CiRunner {
    /// Returns the targets whose records lie in `folder`.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        CiRunner { records: Records::new(folder), clock }
    }

    /// Makes a run of the instance deploy it: the one that was ordered for it already, else a new one, after whatever else runs there.
    async fn deploy(&self, recorded: &mut Recorded) -> Result<(), TargetError> {
        for mut other in self.records.of_place(&recorded.spec)? {
            if other.spec.id != recorded.spec.id && other.may_run() {
                self.follow(&mut other).await?;
            }
        }
        match &recorded.run {
            Some(run) if run.end.is_none() || (run.ended() != Some(End::Succeeded) && !run.is_said) => (),
            Some(Ordered { end: Some((End::Failed, at)), .. })
                if self.clock.reading().since(at).is_some_and(|ago| ago < AGAIN.min(patience(&recorded.spec))) =>
            {
                return Err(anyhow!("{}; another one is not begun at once", recorded.story()).into());
            }
            _ => self.order(recorded).await?,
        }
        let followed = self.follow(recorded).await;
        if let Some(run) = &mut recorded.run
            && run.end.is_some()
        {
            run.is_said = true;
            self.records.keep(recorded)?;
        }
        followed?;
        match recorded.ended() {
            Some(End::Succeeded) => Ok(()),
            _ => Err(anyhow!("workflow `{}`: {}", kind(&recorded.spec)?.workflow, recorded.story()).into()),
        }
    }

    /// Starts a run. It is written down before: what was started is never forgotten.
    async fn order(&self, recorded: &mut Recorded) -> Result<(), TargetError> {
        let target = kind(&recorded.spec)?;
        let refused = |fault: CiFault| TargetError::Failed(anyhow!("the CI platform started nothing: {fault}; {}", fault.remedy().1));
        let platform = platform(&target.access).await.map_err(refused)?;
        // Whoever does not answer a question is given no order.
        platform.branch(&target.branch).await.map_err(refused)?;
        let last = self.records.of_place(&recorded.spec)?.iter().map(|other| other.turn).max().unwrap_or(0);
        let before = (recorded.turn, recorded.run.replace(Ordered::new(self.clock.reading())));
        recorded.turn = last + 1;
        let order = recorded.dispatch()?;
        let line = format!("ordering `{}` of workflow `{}` on `{}`", order.name, order.workflow, order.branch);
        recorded.say(self.clock.now(), line);
        self.records.keep(recorded)?;
        let answer = platform.dispatch(&order).await;
        let run = recorded.run.as_mut().expect("it was just ordered");
        match answer {
            Ok(shown) => (run.is_taken, run.run) = (true, shown),
            // It may have arrived: the run is looked for by its name.
            Err(fault) if may_have_arrived(&fault) => run.fault = Some(fault.to_string()),
            Err(fault) => {
                let error = refused(fault);
                (recorded.turn, recorded.run) = before;
                recorded.say(self.clock.now(), error.to_string());
                self.records.keep(recorded)?;
                return Err(error);
            }
        }
        let line = recorded.story();
        recorded.say(self.clock.now(), line);
        self.records.keep(recorded)?;
        Ok(())
    }

    /// Follows the newest run of an instance to its end. One whose end cannot be seen in time is an error, and may still do something.
    async fn follow(&self, recorded: &mut Recorded) -> Result<(), TargetError> {
        let (patience, began, mut pause) = (patience(&recorded.spec), self.clock.reading(), SOON);
        loop {
            self.ask(recorded).await?;
            if !recorded.may_run() {
                return Ok(());
            }
            let left = patience.saturating_sub(self.clock.reading().since(&began).unwrap_or(patience));
            if left.is_zero() {
                let (story, seconds) = (recorded.story(), patience.as_secs_f32());
                return Err(anyhow!("no end was seen within {seconds} s: {story}; it may still deploy").into());
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(SELDOM);
        }
    }

    /// Asks how the newest run stands, and writes down what is new.
    async fn ask(&self, recorded: &mut Recorded) -> Result<(), TargetError> {
        let (target, patience) = (kind(&recorded.spec)?, patience(&recorded.spec));
        if !recorded.may_run() {
            return Ok(());
        }
        let (order, id) = (recorded.dispatch()?, recorded.shown());
        let asked = match platform(&target.access).await {
            Ok(platform) => platform.run(&order, id.as_deref()).await,
            Err(fault) => Err(fault),
        };
        let run = recorded.run.as_mut().expect("there is a run");
        run.note(asked, self.clock.reading(), patience);
        let line = recorded.story();
        recorded.say(self.clock.now(), line);
        self.records.keep(recorded)?;
        Ok(())
    }

    /// Has a run cancelled that is not wanted any more, and follows it to its end.
    async fn end(&self, recorded: &mut Recorded) -> Result<(), TargetError> {
        self.ask(recorded).await?;
        if let Some(id) = recorded.shown().filter(|_| recorded.may_run()) {
            let cancelled = match platform(&kind(&recorded.spec)?.access).await {
                Ok(platform) => platform.cancel(&id).await,
                Err(fault) => Err(fault),
            };
            // A run that does not let itself be cancelled is waited for.
            let line = match cancelled {
                Ok(()) => format!("run {id} is asked to end"),
                Err(fault) => format!("run {id} could not be asked to end: {fault}"),
            };
            recorded.say(self.clock.now(), line);
        }
        self.follow(recorded).await
    }

    /// Returns what an instance's record says of it.
    fn seen(&self, recorded: &Recorded) -> Result<Observed, TargetError> {
        let is_newest = self.newest(&recorded.spec)?.is_some_and(|newest| newest.spec.id == recorded.spec.id);
        let has_deployed = recorded.ended() == Some(End::Succeeded);
        let last_exit = match (is_newest, has_deployed) {
            (true, true) => None,
            (false, true) => Some("a later run has deployed another release, or may have".to_owned()),
            (_, false) => Some(recorded.story()),
        };
        let spec = &recorded.spec;
        Ok(Observed {
            instance: spec.id.clone(),
            version: spec.version.clone(),
            digest: spec.digest.clone(),
            running: is_newest && has_deployed,
            address: spec.spec.router.listen(),
            argv: Vec::new(),
            pid: None,
            restarts: 0,
            last_exit,
            port_taken: false,
            epoch: recorded.epoch,
            run: recorded.run.as_ref().and_then(|run| run.run.clone()),
        })
    }

    /// Returns the instance whose run was the last one at its place.
    fn newest(&self, spec: &InstanceSpec) -> Result<Option<Recorded>, TargetError> {
        let place = self.records.of_place(spec)?;
        Ok(place.into_iter().filter(|recorded| recorded.turn > 0).max_by_key(|recorded| recorded.turn))
    }

    /// Takes back what an instance's runs have deployed, or may have: a run for what it replaced.
    async fn take_back(&self, lease: &Lease, recorded: &Recorded) -> Result<(), TargetError> {
        let replaced = match &recorded.replaces {
            Some(replaced) => self.records.of(replaced)?,
            None => None,
        };
        match replaced {
            Some(mut replaced) => {
                replaced.epoch = lease.epoch;
                self.deploy(&mut replaced).await
            }
            None => {
                let address = recorded.spec.spec.router.listen();
                match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                    Ok(Ok(_)) => Err(anyhow!(
                        "{} still answers at {address}: nothing served before it, and no run takes it away; end it there by hand",
                        recorded.spec.version
                    )
                    .into()),
                    // Nobody answers there: there is nothing to take away.
                    _ => Ok(()),
                }
            }
        }
    }
}

#[async_trait]
impl Target for CiRunner {
    /// What is kept of a run is no log of the service.
    fn capabilities(&self) -> Capabilities {
        Capabilities { warm_rollback: false, logs: false, fencing: true, restores: false }
    }

    async fn observe(&self, instance: &InstanceId) -> Result<Option<Observed>, TargetError> {
        self.records.of(instance)?.map(|recorded| self.seen(&recorded)).transpose()
    }

    async fn list(&self) -> Result<Vec<Observed>, TargetError> {
        self.records.all()?.iter().map(|recorded| self.seen(recorded)).collect()
    }

    async fn start(&self, lease: &Lease, instance: &InstanceSpec) -> Result<Observed, TargetError> {
        self.records.fence(lease, instance)?;
        let mut recorded = match self.records.of(&instance.id)? {
            Some(recorded) => Recorded { spec: instance.clone(), epoch: lease.epoch, ..recorded },
            None => {
                let place = self.records.of_place(instance)?;
                let deployed = place.into_iter().filter(|other| other.ended() == Some(End::Succeeded));
                let replaces = deployed.max_by_key(|other| other.turn).map(|other| other.spec.id);
                Recorded { spec: instance.clone(), epoch: lease.epoch, turn: 0, run: None, replaces, said: Vec::new() }
            }
        };
        self.records.keep(&recorded)?;
        if !self.seen(&recorded)?.running {
            self.deploy(&mut recorded).await?;
        }
        self.seen(&recorded)
    }

    async fn stop(&self, lease: &Lease, instance: &InstanceId, _grace: Duration) -> Result<StopReport, TargetError> {
        let Some(mut recorded) = self.records.of(instance)? else { return Ok(StopReport { graceful: true }) };
        self.records.fence(lease, &recorded.spec)?;
        recorded.epoch = lease.epoch;
        self.records.keep(&recorded)?;
        if recorded.may_run() {
            self.end(&mut recorded).await?;
        }
        // What has been replaced already is not taken back: that would replace what serves. What was never begun is not, either.
        let is_owed = match self.newest(&recorded.spec)? {
            Some(newest) if newest.spec.id == *instance => recorded.ended() != Some(End::NeverBegan),
            // The way back was begun before, and has not come to its end.
            Some(newest) => Some(&newest.spec.id) == recorded.replaces.as_ref() && newest.ended() != Some(End::Succeeded),
            None => false,
        };
        if is_owed {
            self.take_back(lease, &recorded).await?;
        }
        self.records.remove(instance)?;
        Ok(StopReport { graceful: true })
    }

    /// What a run of it may still do is a person's to know, and what served before it serves again by their word.
    async fn forget(&self, instance: &InstanceId) -> Result<(), TargetError> {
        let Some(recorded) = self.records.of(instance)? else { return Ok(()) };
        let replaced = recorded.replaces.as_ref().map(|replaced| self.records.of(replaced)).transpose()?.flatten();
        if let Some(mut replaced) = replaced.filter(|replaced| replaced.ended() != Some(End::Succeeded))
            && let Some(run) = &mut replaced.run
        {
            run.end = Some((End::Succeeded, self.clock.reading()));
            replaced.say(self.clock.now(), "a person says that it serves again".into());
            self.records.keep(&replaced)?;
        }
        Ok(self.records.remove(instance)?)
    }

    /// Returns what was seen of its runs, with their addresses: what they print stays at the platform.
    async fn logs(&self, instance: &InstanceId, from: LogCursor) -> Result<LogPage, TargetError> {
        let lines = self.records.of(instance)?.map(|recorded| recorded.said).unwrap_or_default();
        Ok(LogPage::of_lines(lines, from))
    }
}

/// Tells whether an order may have been taken by whoever gave this answer, or none.
fn may_have_arrived(fault: &CiFault) -> bool {
    match fault {
        CiFault::TimedOut { .. } | CiFault::Unreachable(_) | CiFault::Malformed(_) => true,
        CiFault::Refused { status, .. } => *status >= 500,
        _ => false,
    }
}

fn kind(spec: &InstanceSpec) -> Result<&CiTarget, TargetError> {
    match &spec.spec.target {
        TargetKind::Ci(target) => Ok(target),
        _ => Err(anyhow!("`{}` is no ci target", spec.id).into()),
    }
}

fn patience(spec: &InstanceSpec) -> Duration {
    Duration::from_millis(spec.spec.target.timeout_ms())
}
