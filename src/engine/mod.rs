//! The engine: directive → gates → plan → approval → deploy → verify → rollback → runbook, and what it does by itself.
//!
//! What is decided is pure (`decide`, `planner`, `bindings`, `watch`, `gate_rules`, `runbook`); what is done is small and goes
//! through the journal. Only this layer touches a target or a router, and always with a lease in hand.

mod about_document;
pub mod adapters;
mod addresses;
pub mod alerts;
pub mod analyse;
pub mod asked;
pub mod background;
pub mod backup_proof;
pub mod backups;
pub mod bindings;
pub mod change;
pub mod checks;
pub mod ci;
pub mod citations;
mod clocks;
pub mod close_watch;
pub mod commands;
pub mod configuration;
pub mod data;
pub mod data_document;
pub mod data_plan;
pub mod data_steps;
pub mod decide;
pub mod directives;
pub mod dispatch;
pub mod documents;
pub mod down;
mod drift;
mod earlier_logs;
pub mod environment_setup;
#[cfg(test)]
mod examples;
pub mod execute;
pub mod facts;
pub mod failpoint;
pub mod files;
pub mod follow_up;
pub mod freezing;
pub mod further_back;
pub mod gate_rules;
pub mod git;
mod handoff;
pub mod hold;
pub mod hooks;
mod idle;
mod interrupted;
mod judging;
pub mod lint;
pub mod markdown;
pub mod metrics;
pub mod monitoring;
pub mod necessity;
mod notices;
pub mod notify;
pub mod outcome;
pub mod own_gates;
pub mod phase_rules;
mod place_facts;
pub mod planner;
pub mod planning;
pub mod probing;
pub mod progression;
pub mod quiet_hours;
pub mod recheck;
pub mod reconcile;
pub mod rehearsal;
pub mod report;
pub mod restore;
pub mod rollback;
pub mod rollout;
mod room;
pub mod run;
pub mod runbook;
pub mod runbook_comments;
pub mod runbooks;
mod setbacks;
mod silence;
mod starting;
pub mod status;
pub mod steps;
pub mod stuck;
pub mod suspect;
pub mod traffic;
pub mod undo;
pub mod ventures;
pub mod watch;
pub mod worker;
pub mod workflows;

use crate::{
    config::Workspace,
    error::{Error, Result},
    model::{Clock, DeploymentId},
    store::Store,
    targets::release_store::ReleaseStore,
};
use adapters::Adapters;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The engine of one workspace. One server holds one; everything it knows is in the store.
pub struct Engine {
    /// The folder it works for.
    pub workspace: Workspace,
    /// The record.
    pub store: Store,
    /// Where the present comes from.
    pub clock: Arc<dyn Clock>,
    /// Where instances run and what moves traffic.
    pub adapters: Box<dyn Adapters>,
    /// The bytes of releases.
    pub releases: ReleaseStore,
    /// The name under which this server holds leases.
    pub holder: String,
    /// Where its own time begins.
    beginning: clocks::Beginning,
    /// Deployments a worker of this process walks.
    walking: Mutex<HashSet<DeploymentId>>,
    /// What could not be made to agree with the record.
    setbacks: setbacks::Setbacks,
    /// Held while bytes are pinned and not yet named by a directive, so that they are not removed in between.
    pinning: tokio::sync::Mutex<()>,
    /// Held while a file is written and not yet recorded, so that the record has the hash of what stands there.
    placing: tokio::sync::Mutex<()>,
    /// Held while a directive is completed: what it hands on is written once.
    completing: tokio::sync::Mutex<()>,
    /// Held while a backup is begun: two of one place at once are one too many.
    beginning_backup: tokio::sync::Mutex<()>,
    /// What was read of the configuration.
    parsed: configuration::Parsed,
    on_disk: drift::OnDisk,
    recalled: phase_rules::Recalled,
    changed: change::Changed,
    noted_hour: quiet_hours::NotedHour,
    notifying: notify::Notifying,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Engine {
    /// Returns an engine over an open store; nothing runs until [`Engine::start`].
    pub fn new(workspace: Workspace, store: Store, clock: Arc<dyn Clock>, adapters: Box<dyn Adapters>) -> Arc<Self> {
        let releases = ReleaseStore::new(workspace.releases_dir());
        let holder = format!("server-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let beginning = clocks::Beginning { at: clock.now().max(store.recorded_until()), reading: clock.reading() };
        Arc::new(Engine {
            workspace,
            store,
            clock,
            adapters,
            releases,
            holder,
            beginning,
            walking: Mutex::default(),
            setbacks: setbacks::Setbacks::default(),
            pinning: tokio::sync::Mutex::default(),
            placing: tokio::sync::Mutex::default(),
            completing: tokio::sync::Mutex::default(),
            beginning_backup: tokio::sync::Mutex::default(),
            parsed: configuration::Parsed::default(),
            on_disk: drift::OnDisk::default(),
            recalled: phase_rules::Recalled::default(),
            changed: change::Changed::default(),
            noted_hour: quiet_hours::NotedHour::default(),
            notifying: notify::Notifying::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Restores what served, takes up what was left unfinished or unrecorded, and starts the background work.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        // A command that a killed server had started is not waited for; whoever asks next runs it anew.
        for job in self.store.running_jobs().await? {
            // What runs at a CI platform goes on without a server, and is followed again.
            if job.kind == dispatch::KIND {
                let directive = self.directive(&job.directive).await?;
                self.follow(job.id, directive);
                continue;
            }
            let detail = serde_json::json!({ "interrupted": "the server ended" });
            self.store.finish_job(&crate::model::Caller::server(), &job.id, crate::store::JobState::Interrupted, &detail).await?;
        }
        let scratch = crate::gates::observe::scratch_of(&self.workspace.root);
        let (jobs, state) = (self.workspace.jobs_dir(), self.workspace.state_dir());
        let clean = move || {
            crate::command::kill_marked(&jobs);
            backup_proof::clean(&state);
            crate::gates::observe::clean(&scratch)
        };
        self.blocking(clean).await?.map_err(Error::internal)?;
        if let Err(error) = self.reconcile().await {
            tracing::warn!("restoring what served: {error}");
        }
        self.take_up_unfinished(reconcile::Whose::Anybodys).await?;
        self.take_up_unconcluded().await?;
        let (engine, telling) = (Arc::clone(self), Arc::clone(self));
        self.spawn(async move { engine.background().await });
        self.spawn(async move { telling.notify().await });
        Ok(())
    }

    /// Stops the background work and the workers between two steps; deployments go on at the next start.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), self.tasks.wait()).await;
    }

    /// Runs work that outlives the call that asked for it.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Ends when the server stops.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Runs blocking work off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}
