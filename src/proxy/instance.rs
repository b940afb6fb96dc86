//! One instance as the proxy sees it: what is in flight on it, whether it drains, and the claim each request holds on it.

use super::{
    access::Record,
    counters::{Totals, VersionCounters},
    pool::Pool,
    sticky,
};
use interlock_model::{InstanceId, split::Share};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One instance.
#[derive(Debug)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The version it runs.
    pub version: String,
    /// Its version's id as clients see it.
    pub release: String,
    /// Its version's counters.
    pub counters: Arc<VersionCounters>,
    /// Idle connections to it.
    pub pool: Pool,
    /// How its requests ended.
    pub ended: Ended,
    /// Told whenever something that a drain waits for may have changed.
    pub changed: Notify,
    in_flight: AtomicU64,
    is_draining: AtomicBool,
    endings: Mutex<Arc<Endings>>,
}

/// How requests ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// By themselves.
    pub completed: AtomicU64,
    /// Cut.
    pub cut: AtomicU64,
    /// Websockets told 1012, and streams ended.
    pub drained: AtomicU64,
}

/// What tells requests in flight that their time is over.
#[derive(Debug, Clone, Default)]
pub struct Endings {
    /// Websockets: soon.
    pub websockets: CancellationToken,
    /// Everything else: when patience ends.
    pub requests: CancellationToken,
}

impl Instance {
    /// Returns an instance with nothing in flight.
    pub fn new(share: &Share, counters: Arc<VersionCounters>) -> Self {
        Instance {
            id: share.instance.clone(),
            address: share.address,
            version: share.version.clone(),
            release: sticky::release_id(&share.version),
            counters,
            pool: Pool::default(),
            ended: Ended::default(),
            changed: Notify::new(),
            in_flight: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            endings: Mutex::default(),
        }
    }

    /// Returns whether this is the instance a share means.
    pub fn is(&self, share: &Share) -> bool {
        self.id == share.instance && self.address == share.address && self.version == share.version
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }

    /// Returns whether new requests stay away.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(SeqCst)
    }

    /// Keeps new requests away and returns what ends those in flight.
    pub fn begin_drain(&self) -> Arc<Endings> {
        self.is_draining.store(true, SeqCst);
        self.pool.clear();
        self.endings()
    }

    /// Returns what ends the requests in flight.
    pub fn endings(&self) -> Arc<Endings> {
        self.endings.lock().expect("nothing panics here").clone()
    }

    /// Lets new requests in again; a drain under way ends without cutting anything.
    pub fn revive(&self) {
        if self.is_draining.swap(false, SeqCst) {
            // What an ended drain has told must not end what comes now; what it has not told still reaches those that wait for it.
            let mut endings = self.endings.lock().expect("nothing panics here");
            let kept = |token: &CancellationToken| if token.is_cancelled() { CancellationToken::new() } else { token.clone() };
            *endings = Arc::new(Endings { websockets: kept(&endings.websockets), requests: kept(&endings.requests) });
            drop(endings);
            self.changed.notify_waiters();
        }
    }

    /// Counts a request in; to be kept only when the instance turns out to be in force still.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, SeqCst);
    }

    /// Counts a request out.
    pub fn leave(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.changed.notify_waiters();
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, or the client left.
    Completed,
    /// Cut by the proxy or by a dying instance.
    Cut,
    /// A websocket told 1012, or a stream ended.
    Drained,
    /// It never reached the instance and is tried on another.
    Elsewhere,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Cut => "cut",
            Outcome::Drained => "drained",
            Outcome::Elsewhere => "elsewhere",
        }
    }
}

/// A request's hold on its instance: counted until the body of the response has ended.
#[derive(Debug)]
pub struct Claim {
    /// The instance.
    pub instance: Arc<Instance>,
    /// What tells it that its time is over.
    pub endings: Arc<Endings>,
    totals: Arc<Totals>,
    is_synthetic: bool,
    started: Instant,
    status: Option<u16>,
    to_head: Option<Duration>,
    outcome: Outcome,
    is_router_error: bool,
    record: Option<Record>,
    body_bytes: u64,
}

impl Claim {
    /// Returns the hold of a request that was counted in by `Instance::enter`.
    pub fn entered(instance: Arc<Instance>, totals: Arc<Totals>, is_synthetic: bool) -> Self {
        let endings = instance.endings();
        let (started, outcome) = (Instant::now(), Outcome::Completed);
        Claim {
            instance,
            endings,
            totals,
            is_synthetic,
            started,
            status: None,
            to_head: None,
            outcome,
            is_router_error: false,
            record: None,
            body_bytes: 0,
        }
    }

    /// Notes that the instance has answered.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.to_head = Some(self.started.elapsed());
    }

    /// Tells whether the application answered with 5xx.
    pub fn is_server_error(&self) -> bool {
        self.status.is_some_and(|status| status >= 500)
    }

    /// Notes how the request ended.
    pub fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Notes that the router could not serve it.
    pub fn failed(&mut self) {
        self.is_router_error = true;
    }

    /// Has the request written down when it has ended.
    pub fn record(&mut self, record: Option<Record>) {
        self.record = record;
    }

    /// Notes how many bytes of the body went on.
    pub fn passed(&mut self, bytes: usize) {
        self.body_bytes += bytes as u64;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let ended = &self.instance.ended;
        match self.outcome {
            Outcome::Elsewhere => {}
            Outcome::Completed => _ = ended.completed.fetch_add(1, Relaxed),
            Outcome::Cut => {
                ended.cut.fetch_add(1, Relaxed);
                if !self.is_synthetic {
                    self.totals.router_failures.fetch_add(1, Relaxed);
                }
            }
            Outcome::Drained => {
                ended.drained.fetch_add(1, Relaxed);
                self.totals.drained.fetch_add(1, Relaxed);
            }
        }
        if self.outcome != Outcome::Elsewhere && !self.is_synthetic {
            self.instance.counters.record(self.status, self.to_head);
            if self.is_router_error || self.outcome == Outcome::Cut {
                self.instance.counters.record_router_error();
            }
        }
        if let Some(record) = self.record.take() {
            record.ended(self.status, Some(&self.instance), self.outcome.word(), self.body_bytes);
        }
        self.instance.leave();
    }
}
