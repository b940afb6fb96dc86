//! Whatever an existing way to deploy deploys to: `deploy.sh`, `kubectl` … wrapped by argv. It is one instance to Interlock.
//!
//! `apply` usually replaces what ran before, so there is no warm set, and the way back is `apply` of what served before.

use super::{
    Capabilities, InstanceSpec, LogCursor, LogPage, Observed, StopReport, Target, TargetError,
    job::{self, Job, JobReport},
    records::{Kept, Records},
};
use crate::model::{
    Epoch, InstanceId, Lease,
    service::{CommandTarget, TargetKind, fill},
};
use anyhow::anyhow;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

/// A reading this young is not taken again: a watch looks often, and a command costs.
const FRESH: Duration = Duration::from_secs(2);

/// Targets wrapped by commands, of one workspace.
pub struct CommandRunner {
    records: Records<Recorded>,
    marks: PathBuf,
    workspace: PathBuf,
    seen: Mutex<Seen>,
}

/// What was read lately.
#[derive(Default)]
struct Seen {
    readings: HashMap<InstanceId, (Instant, Observed)>,
    /// How often something was written down or changed: a reading that was begun before is of another world, however late it ends.
    changes: u64,
}

/// What is known of an instance beside what its command says.
#[derive(Serialize, Deserialize)]
struct Recorded {
    spec: InstanceSpec,
    epoch: Epoch,
    /// Whether `apply` has ended well: until then nobody knows what was done.
    applied: bool,
    /// The process group of the last command that changes something, and its start time: a crash of this server leaves it running.
    running: Option<(u32, u64)>,
}

/// What `observe` prints.
#[derive(Deserialize)]
struct Told {
    running: bool,
    version: Option<String>,
    address: Option<std::net::SocketAddr>,
}

impl Kept for Recorded {
    fn spec(&self) -> &InstanceSpec {
        &self.spec
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl CommandRunner {
    /// Returns the targets whose records lie in `folder`; commands run in the workspace, marked by `marks`.
    pub fn new(folder: PathBuf, marks: PathBuf, workspace: PathBuf) -> Self {
        CommandRunner { records: Records::new(folder), marks, workspace, seen: Mutex::default() }
    }

    fn record(&self, recorded: &Recorded) -> anyhow::Result<()> {
        self.forget(&recorded.spec.id);
        self.records.keep(recorded)
    }

    fn forget(&self, instance: &InstanceId) {
        let mut seen = self.seen.lock().expect("no holder of this lock panics");
        seen.readings.remove(instance);
        seen.changes += 1;
    }

    async fn ask(&self, argv: &[String], recorded: &Recorded) -> Result<JobReport, TargetError> {
        job::run(self.job(argv, recorded)?, |_, _| {}).await
    }

    /// Runs a command that changes something; one of an earlier server that still runs is ended first.
    async fn change(&self, argv: &[String], recorded: &mut Recorded) -> Result<(), TargetError> {
        if let Some((group, start_time)) = recorded.running.take() {
            crate::command::kill_leftover(group, start_time);
        }
        self.forget(&recorded.spec.id);
        let job = Job { deploys: true, ..self.job(argv, recorded)? };
        let noted = |group, start_time| {
            recorded.running = Some((group, start_time));
            if let Err(error) = self.record(recorded) {
                tracing::warn!("{error:#}");
            }
        };
        job::run(job, noted).await?;
        recorded.running = None;
        self.record(recorded)?;
        Ok(())
    }

    fn job(&self, argv: &[String], recorded: &Recorded) -> Result<Job, TargetError> {
        let (spec, target) = (&recorded.spec, kind(&recorded.spec)?);
        Ok(Job {
            argv: filled(argv, spec, recorded.epoch),
            folder: self.workspace.clone(),
            marks: self.marks.clone(),
            env: spec.spec.env.clone(),
            timeout: Duration::from_millis(target.timeout_ms),
            deploys: false,
        })
    }

    async fn look(&self, recorded: &Recorded) -> Result<Observed, TargetError> {
        let spec = &recorded.spec;
        let (fresh, changes) = {
            let seen = self.seen.lock().expect("no holder of this lock panics");
            (seen.readings.get(&spec.id).cloned(), seen.changes)
        };
        if let Some((at, observed)) = fresh
            && at.elapsed() < FRESH
        {
            return Ok(observed);
        }
        // Read after the changes were counted: the caller may have read it long before.
        let applied = self.records.of(&spec.id)?.is_some_and(|recorded| recorded.applied);
        let report = self.ask(&kind(spec)?.observe, recorded).await?;
        let told: Told = serde_json::from_str(report.answer.trim())
            .map_err(|error| anyhow!("`observe` of `{}` prints no {{\"running\": …, \"version\": …}}: {error}", spec.id))?;
        // Another version that runs is not this instance.
        let is_this = told.version.as_deref().is_none_or(|version| version == spec.version);
        let observed = Observed {
            instance: spec.id.clone(),
            version: spec.version.clone(),
            digest: spec.digest.clone(),
            running: told.running && is_this && applied,
            address: told.address.unwrap_or(spec.spec.router.listen()),
            argv: filled(&kind(spec)?.apply, spec, recorded.epoch),
            pid: None,
            restarts: 0,
            last_exit: (!is_this).then(|| format!("version {} runs there", told.version.unwrap_or_default())),
            port_taken: false,
            epoch: recorded.epoch,
            run: None,
        };
        let mut seen = self.seen.lock().expect("no holder of this lock panics");
        if seen.changes == changes {
            seen.readings.insert(spec.id.clone(), (Instant::now(), observed.clone()));
        }
        Ok(observed)
    }
}

#[async_trait]
impl Target for CommandRunner {
    fn capabilities(&self) -> Capabilities {
        Capabilities { warm_rollback: false, logs: true, fencing: true, restores: false }
    }

    async fn observe(&self, instance: &InstanceId) -> Result<Option<Observed>, TargetError> {
        match self.records.of(instance)? {
            Some(recorded) => Ok(Some(self.look(&recorded).await?)),
            None => Ok(None),
        }
    }

    async fn list(&self) -> Result<Vec<Observed>, TargetError> {
        let mut found = Vec::new();
        for recorded in self.records.all()? {
            found.push(self.look(&recorded).await?);
        }
        Ok(found)
    }

    async fn start(&self, lease: &Lease, instance: &InstanceSpec) -> Result<Observed, TargetError> {
        self.records.fence(lease, instance)?;
        let running = self.records.of(&instance.id)?.and_then(|earlier| earlier.running);
        let mut recorded = Recorded { spec: instance.clone(), epoch: lease.epoch, applied: false, running };
        // Written down before anything happens: what may have happened is undone.
        self.record(&recorded)?;
        self.change(&kind(instance)?.apply, &mut recorded).await?;
        recorded.applied = true;
        self.record(&recorded)?;
        self.look(&recorded).await
    }

    async fn stop(&self, lease: &Lease, instance: &InstanceId, _grace: Duration) -> Result<StopReport, TargetError> {
        let Some(mut recorded) = self.records.of(instance)? else { return Ok(StopReport { graceful: true }) };
        self.records.fence(lease, &recorded.spec)?;
        recorded.epoch = lease.epoch;
        self.record(&recorded)?;
        // What has been replaced already is not undone: that would bring it back. What was half applied is.
        if !recorded.applied || self.look(&recorded).await?.running {
            let undo = kind(&recorded.spec)?.undo.clone();
            self.change(&undo, &mut recorded).await?;
            if recorded.applied && self.look(&recorded).await?.running {
                return Err(anyhow!("`undo` ended well, and {} still runs", recorded.spec.version).into());
            }
        }
        self.records.remove(instance)?;
        self.forget(instance);
        Ok(StopReport { graceful: true })
    }

    async fn logs(&self, instance: &InstanceId, from: LogCursor) -> Result<LogPage, TargetError> {
        let Some(recorded) = self.records.of(instance)? else { return Ok(LogPage::default()) };
        let Some(argv) = &kind(&recorded.spec)?.logs else { return Ok(LogPage::default()) };
        let written = job::written(self.job(argv, &recorded)?).await?;
        let lines: Vec<String> = written.text.lines().map(str::to_owned).collect();
        Ok(LogPage { is_cut: written.is_cut, ..LogPage::of_lines(lines, from) })
    }
}

fn kind(spec: &InstanceSpec) -> Result<&CommandTarget, TargetError> {
    match &spec.spec.target {
        TargetKind::Command(target) => Ok(target),
        _ => Err(anyhow!("`{}` is no command target", spec.id).into()),
    }
}

/// Returns an argv with its places filled.
fn filled(argv: &[String], spec: &InstanceSpec, epoch: Epoch) -> Vec<String> {
    let (release, epoch) = (path_text(&spec.release_dir), epoch.to_string());
    let places = [
        ("version", spec.version.as_str()),
        ("release", &release),
        ("digest", &spec.digest.0),
        ("instance", spec.id.as_str()),
        ("service", spec.spec.service.as_str()),
        ("environment", spec.spec.environment.as_str()),
        ("epoch", &epoch),
    ];
    argv.iter().map(|word| fill(word, &places)).collect()
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
