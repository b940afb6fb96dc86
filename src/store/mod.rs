//! What is remembered: the only place with SQL. One text for SQLite and PostgreSQL, one file per group of queries.
//!
//! To add a function: put it in the file of its group, take `by: &Caller` when it changes anything, do the work between
//! [`Store::write`] and [`Write::commit`] (which appends the audit entry in the same transaction; [`Write::commit_moved`] where a
//! fenced update may move nothing), and test it on both databases in `tests/store/`. To add a table: a new file in `migrations/`; an applied one never changes.

/// Which deployments occupy their environments: those that are to go on by themselves, and those that are stuck. The same for whoever
/// claims a place and whoever shows it.
macro_rules! occupies {
    () => {
        "(state IN ('queued', 'running', 'paused', 'verifying', 'rolling_back') OR (state = 'stuck' AND resolved_at IS NULL))"
    };
}

mod address;
mod approvals;
mod approvers;
mod artifacts;
mod audit;
mod connections;
mod decisions;
mod deployments;
mod directives;
mod dossiers;
mod enrolment_links;
mod error;
mod evidence;
mod freezes;
mod incidents;
mod jobs;
mod journal;
mod leases;
mod measurements;
mod metrics;
mod open;
mod outbox;
mod phases;
mod plans;
mod proofs;
mod query;
mod refusals;
mod releases;
mod revisions;
mod runbook_comments;
mod runbooks;
mod serving;
mod stages;
mod standing;
mod transitions;
mod ventures;
mod verdicts;

pub use address::database_address;
pub use approvals::Approvals;
pub use approvers::{Approver, HeldKey};
pub use artifacts::{Artifact, NewArtifact};
pub use audit::{AuditEntry, AuditReport, Broken, Principal};
pub use decisions::{DecisionEffect, RecordDecisionError, SignOff};
pub use deployments::{Claim, DeploymentFilter};
pub use directives::NewDirective;
pub use dossiers::{CommandRun, CommandRuns, Dossier};
pub use enrolment_links::{EnrolmentLink, LinkUse};
pub use error::{Result, StoreError};
pub use evidence::{EvidenceRecord, NewEvidence};
pub use freezes::{Freeze, Frozen, InForce, NewFreeze};
pub use incidents::{Incident, NewIncident};
pub use jobs::{Job, JobState};
pub use measurements::Measurement;
pub use metrics::{MetricsScope, SettledDeployment};
pub use open::{file_of as sqlite_file, sqlite_url};
pub use outbox::{Delivery, Tally, Told, Untold};
pub use phases::PhaseSkip;
pub use plans::PlanRecord;
pub use proofs::{NewProof, Proof, ProofKind};
pub use revisions::Revision;
pub use runbook_comments::{MOST_COMMENTS, NewRunbookComment, RunbookComment};
pub use runbooks::{NewRunbookVersion, Runbook, RunbookReview, RunbookState, RunbookVersion};
pub use serving::ServingSet;
pub use stages::{Completion, Stage, StageWork};
pub use standing::{Configuration, InPlace, Revisions, Standing, Survey};
pub use transitions::{DeploymentChange, Resolution, TrafficMove, UndoRequest};
pub use ventures::Venture;

use crate::model::{Caller, Clock, Sha256, Timestamp, notice};
use connections::{Connections, Transaction};
use query::{Read, sql};
use sqlx::AnyConnection;
use std::{fmt::Display, sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// How long a change waits for its turn among the changes of this process.
const TURN: Duration = Duration::from_secs(20);

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    connections: Arc<Connections>,
    kind: Kind,
    clock: Arc<dyn Clock>,
    /// Changes of this process queue here, fairly, instead of fighting over the database's lock.
    turn: Arc<Mutex<()>>,
    sequence: watch::Sender<i64>,
    /// When the newest entry of the record was made that was there at the opening.
    recorded_until: Timestamp,
}

/// Where the two databases differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// Takes the write lock at once on SQLite, where a transaction that reads first could not be upgraded later.
    fn begin_write(self) -> &'static str {
        match self {
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN",
        }
    }

    /// Begins a transaction that sees one state of the database throughout.
    fn begin_snapshot(self) -> &'static str {
        match self {
            Kind::Sqlite => "BEGIN",
            Kind::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

impl Store {
    /// Returns the number of the newest audit entry, and wakes its holder after each change this process commits.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.shared.sequence.subscribe()
    }

    /// Closes all connections; every later call answers `Unavailable`.
    pub async fn close(&self) {
        self.shared.connections.close().await;
    }

    /// Returns what asks on whichever connection is free.
    fn pool(&self) -> &Connections {
        &self.shared.connections
    }

    /// Returns when the newest entry of the record was made that was there at the opening; 1970 for an empty one.
    pub fn recorded_until(&self) -> Timestamp {
        self.shared.recorded_until
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Begins a change. The audit head is updated first: from here on this is the only change in progress.
    async fn write(&self) -> Result<Write> {
        let turn = self.turn().await?;
        let mut tx = self.shared.connections.begin(self.shared.kind.begin_write()).await?;
        let head = sql("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, hash")
            .one(&mut *tx)
            .await?
            .ok_or_else(|| StoreError::Altered("the audit log's head".into()))?;
        Ok(Write {
            seq: head.read("seq")?,
            previous: head.read("hash")?,
            at: self.now(),
            tx,
            entries: Vec::new(),
            store: self.clone(),
            is_told: false,
            _turn: turn,
        })
    }

    /// Waits for a change's turn among those of this process.
    async fn turn(&self) -> Result<OwnedMutexGuard<()>> {
        let turn = tokio::time::timeout(TURN, self.shared.turn.clone().lock_owned()).await;
        turn.map_err(|_| StoreError::Unavailable(anyhow::anyhow!("other changes take too long")))
    }
}

/// A change in progress. Dropped without [`Write::commit`], nothing of it remains.
struct Write {
    tx: Transaction,
    at: Timestamp,
    seq: i64,
    previous: Sha256,
    /// What the audit log will say of it, with the hash of each entry.
    entries: Vec<(audit::Linked, Sha256)>,
    store: Store,
    /// Whether people elsewhere are told of it, whatever it is.
    is_told: bool,
    // Dropped after the transaction: the next change begins when this one is over.
    _turn: OwnedMutexGuard<()>,
}

impl Write {
    /// Returns the connection the change runs on.
    fn on(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    /// Commits a fenced change and tells so; with no row moved somebody else won, and nothing remains of it.
    async fn commit_moved(self, moved: u64, by: &Caller, action: &str, subject: impl Display, detail: serde_json::Value) -> Result<bool> {
        if moved == 0 {
            return Ok(false);
        }
        self.commit(by, action, subject, detail).await?;
        Ok(true)
    }

    /// Links an audit entry and goes on: what follows is another change in the same commit.
    async fn go_on(&mut self, by: &Caller, action: &str, subject: impl Display, detail: serde_json::Value) -> Result<()> {
        self.link(by, action, subject, detail).await?;
        self.seq += 1;
        Ok(())
    }

    /// Links an audit entry to the one before; the entries of a change are appended when it is committed.
    async fn link(&mut self, by: &Caller, action: &str, subject: impl Display, detail: serde_json::Value) -> Result<()> {
        let is_told = std::mem::take(&mut self.is_told) || notice::is_told(action, &detail);
        let entry = AuditEntry {
            seq: self.seq,
            at: self.at,
            by: by.clone(),
            action: action.to_owned(),
            subject: subject.to_string(),
            detail,
            previous_hash: self.previous.clone(),
        };
        let entry = audit::Linked::of(entry);
        self.previous = entry.hash();
        self.entries.push((entry, self.previous.clone()));
        if is_told {
            outbox::note(self).await?;
        }
        Ok(())
    }

    /// Appends the audit entries and commits.
    async fn commit(mut self, by: &Caller, action: &str, subject: impl Display, detail: serde_json::Value) -> Result<()> {
        self.link(by, action, subject, detail).await?;
        let (seq, hash, at) = (self.seq, self.previous.clone(), self.at);
        let entries = std::mem::take(&mut self.entries);
        audit::append(self.on(), entries).await?;
        audit::finish(self.on(), (seq, &hash), by, at).await?;
        // In a task of its own: a caller that stops waiting must not lose the wake-up of a change that was committed.
        let committed = tokio::spawn(async move {
            let Write { tx, seq, store, .. } = self;
            tx.commit().await?;
            store.shared.sequence.send_if_modified(|newest| std::mem::replace(newest, seq.max(*newest)) < seq);
            Ok::<_, sqlx::Error>(())
        });
        Ok(committed.await.map_err(|error| StoreError::Other(error.into()))??)
    }
}
