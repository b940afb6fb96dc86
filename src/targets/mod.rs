//! Where instances run and what moves traffic: the two traits every adapter implements.
//!
//! To add a kind of target: a variant of `model::service::TargetKind`, one file here, one match arm where adapters are made.

use crate::model::{Epoch, Guarantees, InstanceId, Lease, ServiceSpec, Sha256, Split, capacity::Capacity, ci::CiRun, split::Share};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
pub mod capacity;
pub mod ci;
pub mod ci_runner;
pub mod command;
pub mod external;
pub mod fake;
pub mod fake_jobs;
pub mod fake_router;
mod http;
pub mod job;
pub mod local;
pub mod metrics;
pub mod notify;
pub mod probe;
pub mod proxy_router;
mod records;
mod release_archive;
mod release_files;
pub mod release_store;
mod tls;

use job::{Job, JobReport};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where instances run.
#[async_trait]
pub trait Target: Send + Sync {
    /// Returns what this kind can do.
    fn capabilities(&self) -> Capabilities;

    /// Returns what is known of an instance now; `None` when there is no trace of it.
    async fn observe(&self, instance: &InstanceId) -> Result<Option<Observed>, TargetError>;

    /// Returns every instance of this target that is alive or left a trace.
    async fn list(&self) -> Result<Vec<Observed>, TargetError>;

    /// Makes the instance run as said; safe twice: one that already runs as said is left alone.
    async fn start(&self, lease: &Lease, instance: &InstanceSpec) -> Result<Observed, TargetError>;

    /// Ends the instance: SIGTERM to its group, SIGKILL after `grace`; safe twice, and fine when it is gone already.
    async fn stop(&self, lease: &Lease, instance: &InstanceId, grace: Duration) -> Result<StopReport, TargetError>;

    /// Lets go of an instance that was taken back, by this target or, where it could not, by a person who has said so: nothing of it is
    /// waited for any more. Fine when there is no trace of it.
    async fn forget(&self, _instance: &InstanceId) -> Result<(), TargetError> {
        Ok(())
    }

    /// Returns a page of an instance's log, already redacted.
    async fn logs(&self, instance: &InstanceId, from: LogCursor) -> Result<LogPage, TargetError>;

    /// Returns what is left where instances run, and where the server keeps releases; `None` where this kind cannot say.
    async fn capacity(&self, _releases: &Path) -> Result<Option<Capacity>, TargetError> {
        Ok(None)
    }

    /// Runs a command of the configuration beside the instances: one that prepares, changes data or hooks into a deployment's course.
    async fn run_job(&self, _lease: &Lease, job: Job) -> Result<JobReport, TargetError> {
        job::run(job, |_, _| {}).await
    }

    /// Runs a command that only reads: nobody needs a lease for it.
    async fn read_job(&self, job: Job) -> Result<JobReport, TargetError> {
        job::run(job, |_, _| {}).await
    }
}

/// What moves traffic.
#[async_trait]
pub trait Router: Send + Sync {
    /// Returns what it promises; printed in every plan.
    fn guarantees(&self) -> Guarantees;

    /// Moves traffic at one instant; returns when it is in force and durable. A lower epoch than one seen is refused.
    async fn set(&self, split: &Split, epoch: Epoch) -> Result<(), RouterError>;

    /// Returns the split in force and the epoch it came with.
    async fn observe(&self) -> Result<(Split, Epoch), RouterError>;

    /// Waits until no request is in flight on the instance, at most `patience`; then ends what is left and counts it.
    async fn drain(&self, instance: &InstanceId, patience: Duration) -> Result<DrainReport, RouterError>;

    /// Probes itself through its own listener at this interval; `None` stops that. The probes are counted apart.
    async fn probe(&self, path: Option<&str>, interval: Duration) -> Result<(), RouterError>;

    /// Ends the router; fine when it does not run.
    async fn stop(&self) -> Result<(), RouterError>;

    /// Returns the counters of everything since the router's start, per version; two readings give a window.
    async fn measure(&self) -> Result<Samples, RouterError>;

    /// Makes new requests wait, at most so long, while no set can serve; zero lets them through again.
    async fn hold(&self, _patience: Duration, _epoch: Epoch) -> Result<(), RouterError> {
        Err(RouterError::Unsupported("make requests wait"))
    }

    /// Puts a split in force on a second listener of this machine alone, opened when there is none, and returns its address. It is counted
    /// apart, and closes by itself after `patience` or when a higher epoch comes.
    async fn shadow(&self, _split: &Split, _epoch: Epoch, _patience: Duration) -> Result<SocketAddr, RouterError> {
        Err(RouterError::Unsupported("open a second listener"))
    }

    /// Closes the second listener; fine when there is none.
    async fn close_shadow(&self, _epoch: Epoch) -> Result<(), RouterError> {
        Ok(())
    }

    /// Replaces a router that runs another build of this program by this one, without a gap; returns whether it did.
    async fn upgrade(&self) -> Result<bool, RouterError> {
        Ok(false)
    }
}

/// What a kind of target can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The old set can be kept running beside the new one.
    pub warm_rollback: bool,
    /// It can show logs.
    pub logs: bool,
    /// It refuses a lower epoch by itself.
    pub fencing: bool,
    /// What should run and does not may be started again without being asked.
    pub restores: bool,
}

/// What is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Its id.
    pub id: InstanceId,
    /// The version, for `{version}`.
    pub version: String,
    /// The release's digest.
    pub digest: Sha256,
    /// The folder with the release's bytes, for `{release}`.
    pub release_dir: PathBuf,
    /// The service's effective configuration.
    pub spec: ServiceSpec,
}

/// What is known of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Its id.
    pub instance: InstanceId,
    /// The version it was started with.
    pub version: String,
    /// The release it was started from.
    pub digest: Sha256,
    /// Whether a supervised process runs now (identity checked by boot id, pid and start time).
    pub running: bool,
    /// Where it listens.
    pub address: SocketAddr,
    /// The argv it was started with, places filled; secrets are never in argv.
    pub argv: Vec<String>,
    /// Its process id, while it runs.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it last ended: `exit 3`, `signal 9`.
    pub last_exit: Option<String>,
    /// Whether its port was another process's when it last ended by itself; one that is stopped and started is given another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub port_taken: bool,
    /// The highest epoch its shim has seen.
    pub epoch: Epoch,
    /// The newest run that deploys it, where CI does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<CiRun>,
}

/// How a stop went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReport {
    /// Whether it ended by itself within the grace.
    pub graceful: bool,
}

/// How a drain went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// Requests that ended by themselves.
    pub completed: u64,
    /// Finite requests that were cut when patience ended.
    pub cut: u64,
    /// Websockets that were told 1012, and streams ended.
    pub drained: u64,
    /// How long it took.
    pub millis: u64,
}

/// A router's counters since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Per version.
    pub versions: std::collections::BTreeMap<String, VersionSamples>,
    /// Router-made 502, 503 and 504 while a set was serving, and cut responses: downtime.
    pub router_failures: u64,
    /// Websockets told 1012 and streams ended at drain; not downtime.
    pub drained: u64,
    /// The router's own probes through the listener: sent.
    pub probes: u64,
    /// The router's own probes through the listener: failed.
    pub failed_probes: u64,
    /// Workers that ended without being told to.
    pub lost_workers: u64,
}

/// One version's counters since the router's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VersionSamples {
    /// Requests that ended, probes apart.
    pub requests: u64,
    /// Of these, answered by the application with 5xx.
    pub errors: u64,
    /// Of these, failed by the router: the instance not reached, broken off, silent, or the answer cut.
    #[serde(default)]
    pub router_errors: u64,
    /// In flight now.
    pub in_flight: u64,
    /// Latency counts: upper bound of the bucket in milliseconds → requests; differences of two readings give a window's p95.
    pub latency_ms: std::collections::BTreeMap<u64, u64>,
}

/// From where a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogCursor {
    /// The last so many lines.
    Tail(usize),
    /// This byte offset.
    Offset(u64),
}

/// A page of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Lines, oldest first.
    pub lines: Vec<String>,
    /// Where the next page starts.
    pub next: u64,
    /// Whether more was written before it than anybody can read.
    pub is_cut: bool,
}

impl LogPage {
    /// Returns the page of a log that is kept as lines: the cursor counts lines.
    fn of_lines(mut lines: Vec<String>, from: LogCursor) -> Self {
        let next = lines.len() as u64;
        let skipped = match from {
            LogCursor::Tail(wanted) => lines.len().saturating_sub(wanted),
            LogCursor::Offset(line) => usize::try_from(line).unwrap_or(usize::MAX).min(lines.len()),
        };
        LogPage { lines: lines.split_off(skipped), next, is_cut: false }
    }
}

/// Why a target could not do something.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Another server has taken over.
    #[error("epoch {given} is lower than {seen}, which was seen already")]
    StaleEpoch {
        /// The epoch of the call.
        given: Epoch,
        /// The epoch already seen.
        seen: Epoch,
    },
    /// The process ended by itself.
    #[error("instance `{instance}` ended: {how}")]
    Exited {
        /// Which.
        instance: InstanceId,
        /// `exit 3`, `signal 9`.
        how: String,
    },
    /// A secret reference could not be resolved.
    #[error("{0}")]
    Secret(String),
    /// Anything else: the message says what; the same call may work later.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Why a router could not do something.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Another server has taken over.
    #[error("epoch {given} is lower than {seen}, which was seen already")]
    StaleEpoch {
        /// The epoch of the call.
        given: Epoch,
        /// The epoch already seen.
        seen: Epoch,
    },
    /// The listen address is taken by another process.
    #[error("`{0}` is taken by another process")]
    PortTaken(SocketAddr),
    /// Another service has the host, or the whole listener.
    #[error("{0}")]
    HostTaken(String),
    /// This kind of router has no such thing.
    #[error("this router cannot {0}")]
    Unsupported(&'static str),
    /// Anything else: the message says what; the same call may work later.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Returns a share of full weight for a running instance.
pub fn share(observed: &Observed) -> Share {
    Share { instance: observed.instance.clone(), address: observed.address, version: observed.version.clone(), weight: 1 }
}
