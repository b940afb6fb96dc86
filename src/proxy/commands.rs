//! The worker's side of the control protocol.

use super::{
    control::{
        About, Answer, Heir, InForce, MAX_LINE, Measured, OLDEST, Operation, PROTOCOL, Refusal, Reply, Shadowed, StateSource, parse,
    },
    lineage::{self, Counters, HandedOver, Lineage},
    link::Link,
    metrics,
    routes::Routes,
    shadow::Shadow,
    state::Saved,
    switch::Switch,
};
use anyhow::Context;
use interlock_model::{Epoch, InstanceId, Split};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, watch},
    time::timeout,
};

/// The longest anything waits for requests in flight.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the control socket's answers come from.
pub struct Commands {
    /// The data plane.
    pub routes: Arc<Routes>,
    /// What is durable; held while it changes.
    pub saved: Mutex<Saved>,
    /// Where it came from.
    pub source: StateSource,
    /// The folder it is in.
    pub dir: PathBuf,
    /// This worker's own socket.
    pub own: PathBuf,
    /// The holder.
    pub holder: i32,
    /// This program.
    pub build: String,
    /// Workers that ended unasked.
    pub lost: AtomicU64,
    /// The workers before.
    pub lineage: Mutex<Lineage>,
    /// The way to the holder; held during an upgrade.
    pub link: Mutex<Option<Link>>,
    /// Who has taken over.
    pub heir: watch::Sender<Option<Heir>>,
    /// How long requests in flight may take once another has taken over.
    pub patience_ms: AtomicU64,
}

/// Over which socket a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The proxy's: whichever worker serves.
    Shared,
    /// This worker's own: another worker calls.
    Own,
}

impl Commands {
    /// Answers the lines of one connection, in order.
    pub async fn serve(&self, stream: UnixStream, door: Door) -> anyhow::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        while let Some(line) = next_line(&mut read).await? {
            let is_whole = line.ends_with(b"\n");
            let parsed = if is_whole { parse(&line) } else { Err(Refusal::new("bad_request", "no whole line within 1 MiB")) };
            let (v, answered) = match parsed {
                Ok((_, Operation::HandOver)) if door == Door::Own => return self.hand_over(read, write).await,
                Ok((v, operation)) => (v, self.answer(operation, door).await),
                Err(refusal) => (PROTOCOL, Err(refusal)),
            };
            reply(&mut write, v, answered).await?;
            if !is_whole {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether another worker has taken over.
    pub fn is_retired(&self) -> bool {
        self.heir.borrow().is_some()
    }

    async fn answer(&self, operation: Operation, door: Door) -> Result<Value, Refusal> {
        if self.is_retired() && door == Door::Shared {
            return Err(Refusal::new("retired", "another worker has just taken over; ask again"));
        }
        let forwarded = operation.clone();
        let answered = match operation {
            Operation::Set { service, split, epoch, rules } => self.set(service, split, epoch, rules).await,
            Operation::Hold { service, epoch, for_ms } => self.hold(service, epoch, for_ms).await,
            Operation::Withdraw { service, patience_ms } => self.withdraw(service, patience_ms).await,
            Operation::Observe { service } => self.observe(service).await,
            Operation::Drain { instance, patience_ms } => self.drain(instance, patience_ms).await,
            Operation::Measure { service } => {
                let name = self.saved.lock().await.known_as(service.as_deref()).map_err(bad_request)?;
                value(self.measured(&name).await)
            }
            Operation::Counters => value(self.counters().await),
            Operation::Metrics => value(self.metrics().await),
            Operation::Probe { service, path, interval_ms } => self.probe(service, path, interval_ms).await,
            Operation::Shadow { service, epoch, split, for_ms } => self.shadow(service, epoch, split, for_ms).await,
            Operation::Upgrade { exe, patience_ms } => self.upgrade(exe, patience_ms).await,
            Operation::Inherit { counters } => {
                let counters = serde_json::from_value(counters).map_err(|err| bad_request(err.to_string()))?;
                self.lineage.lock().await.inherit(counters);
                value(())
            }
            Operation::HandOver | Operation::Retire(_) => Err(Refusal::new("bad_request", "only a worker asks another one for that")),
            Operation::Stop => {
                let holder = Pid::from_raw(self.holder).context("no holder").map_err(failed)?;
                kill_process(holder, Signal::TERM).context("telling the holder").map_err(failed)?;
                value(())
            }
            Operation::Hello { .. } | Operation::Version => value(About {
                protocol: PROTOCOL,
                oldest: OLDEST,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                build: self.build.clone(),
                holder: self.holder,
                worker: std::process::id() as i32,
                listen: self.routes.listen,
                lost_workers: self.lost.load(Relaxed),
            }),
        };
        if answered.is_ok() && matches!(forwarded, Operation::Set { .. } | Operation::Hold { .. } | Operation::Withdraw { .. }) {
            self.tell_predecessor(forwarded).await;
        }
        answered
    }

    /// What the worker before still has in flight follows what is in force here.
    async fn tell_predecessor(&self, operation: Operation) {
        let predecessor = self.lineage.lock().await.predecessor.clone();
        if let Some(predecessor) = predecessor
            && let Err(err) = predecessor.pass_on(operation).await
        {
            tracing::debug!("the worker before was not told: {err}");
        }
    }

    async fn observe(&self, service: Option<String>) -> Result<Value, Refusal> {
        let saved = self.saved.lock().await;
        let name = saved.known_as(service.as_deref()).map_err(bad_request)?;
        let found = saved.services.get(&name).cloned().unwrap_or_default();
        let held = self.routes.service(&name).is_some_and(|switch| switch.hold.is_on());
        let (split, epoch, probe, serving_since) = (found.split, found.epoch, found.probe, found.serving_since);
        let (hosts, stickiness, access_log) = (found.hosts, found.stickiness, Some(found.access_log));
        value(InForce { split, epoch, probe, serving_since, state: self.source, hosts, stickiness, access_log, held })
    }

    async fn drain(&self, instance: InstanceId, patience_ms: u64) -> Result<Value, Refusal> {
        let patience = Duration::from_millis(patience_ms).min(LONGEST);
        let predecessor = self.lineage.lock().await.predecessor.clone();
        let switch = self.routes.all().into_iter().map(|(_, switch)| switch).find(|switch| switch.knows(&instance));
        let here = async {
            match &switch {
                Some(switch) => switch.drain(&instance, patience).await,
                None => Default::default(),
            }
        };
        let before = async {
            match &predecessor {
                Some(predecessor) => predecessor.drain(&instance, patience).await.unwrap_or_default(),
                None => Default::default(),
            }
        };
        let (mut report, before) = tokio::join!(here, before);
        report.completed += before.completed;
        report.cut += before.cut;
        report.drained += before.drained;
        report.millis = report.millis.max(before.millis);
        value(report)
    }

    async fn measured(&self, name: &str) -> Measured {
        let before = self.before().await;
        let mut measured = self.routes.service(name).map(|switch| switch.measure(0)).unwrap_or_default();
        measured.add(&lineage::part(&before, name));
        measured.lost_workers = self.lost.load(Relaxed);
        measured
    }

    /// Returns every service's counters, those of the workers before among them.
    pub async fn counters(&self) -> Counters {
        let mut sum = self.before().await;
        let own = self.routes.all().into_iter().map(|(name, switch)| (name, switch.measure(0))).collect();
        lineage::add(&mut sum, &own);
        sum
    }

    async fn before(&self) -> Counters {
        let (counters, was_killed) = self.lineage.lock().await.counters().await;
        if was_killed {
            self.lost.fetch_add(1, Relaxed);
        }
        counters
    }

    async fn metrics(&self) -> String {
        let mut services = Vec::new();
        for (name, switch) in self.routes.all() {
            let split = self.saved.lock().await.services.get(&name).map(|service| service.split.clone()).unwrap_or_default();
            services.push(metrics::Reading { measured: self.measured(&name).await, waiting: switch.hold.waiting() as u64, split, name });
        }
        metrics::text(&self.routes.listen.to_string(), &services, self.routes.unrouted.load(Relaxed))
    }

    async fn shadow(&self, service: Option<String>, epoch: Epoch, split: Option<Split>, for_ms: u64) -> Result<Value, Refusal> {
        let saved = self.saved.lock().await;
        let name = saved.known_as(service.as_deref()).map_err(bad_request)?;
        let rules = saved.services.get(&name).cloned().unwrap_or_default();
        fence(epoch, rules.epoch)?;
        let open = self.routes.shadows.lock().expect("nothing panics here").get(&name).map(|shadow| shadow.epoch);
        fence(epoch, open.unwrap_or(epoch))?;
        let Some(split) = split else {
            self.routes.shadows.lock().expect("nothing panics here").remove(&name);
            return value(Shadowed { address: None });
        };
        let patience = Duration::from_millis(for_ms);
        // One of another right was its holder's: whoever comes after begins anew.
        if open != Some(epoch) {
            let shadow = Shadow::open(&self.routes, &name, epoch, patience).await.context("opening a second listener").map_err(failed)?;
            self.routes.shadows.lock().expect("nothing panics here").insert(name.clone(), shadow);
        }
        let shadows = self.routes.shadows.lock().expect("nothing panics here");
        let shadow = shadows.get(&name).ok_or_else(|| Refusal::new("failed", "the second listener closed meanwhile"))?;
        shadow.change(&split, &rules, patience);
        value(Shadowed { address: Some(shadow.address) })
    }

    /// Gives the state to the worker that takes over; nothing changes until that one serves, or breaks off.
    async fn hand_over(&self, mut read: BufReader<OwnedReadHalf>, mut write: OwnedWriteHalf) -> anyhow::Result<()> {
        let saved = self.saved.lock().await;
        let handed = HandedOver { saved: saved.clone(), probe_secret: self.routes.probe_secret.clone(), counters: self.counters().await };
        reply(&mut write, PROTOCOL, value(handed)).await?;
        let Some(line) = timeout(lineage::PATIENCE, next_line(&mut read)).await.context("waiting for the worker that takes over")?? else {
            return Ok(());
        };
        if let Ok((v, Operation::Retire(heir))) = parse(&line) {
            tracing::info!("worker {} has taken over", heir.worker);
            self.routes.leave();
            self.heir.send_replace(Some(heir));
            drop(saved);
            reply(&mut write, v, value(())).await?;
        }
        Ok(())
    }

    /// Saves off the data plane's thread: a slow disk delays the caller, not the customers.
    pub async fn save(&self, state: &Saved) -> Result<(), Refusal> {
        // The file belongs to whoever serves.
        if self.is_retired() {
            return Ok(());
        }
        let (state, dir) = (state.clone(), self.dir.clone());
        let saving = tokio::task::spawn_blocking(move || state.save(&dir));
        saving.await.context("saving the state").and_then(|saved| saved).map_err(failed)
    }

    /// Returns the service that is known by a name, with the name.
    pub fn found(&self, saved: &Saved, service: Option<&str>) -> Result<(String, Option<Arc<Switch>>), Refusal> {
        let name = saved.known_as(service).map_err(bad_request)?;
        let switch = self.routes.service(&name);
        Ok((name, switch))
    }
}

async fn next_line(read: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    read.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    Ok((!line.is_empty()).then_some(line))
}

async fn reply(write: &mut OwnedWriteHalf, v: u32, answered: Result<Value, Refusal>) -> anyhow::Result<()> {
    let answer = answered.map_or_else(Answer::Error, Answer::Ok);
    let mut line = serde_json::to_vec(&Reply { v, answer })?;
    line.push(b'\n');
    Ok(write.write_all(&line).await?)
}

/// Refuses a lower epoch than one seen.
pub fn fence(given: Epoch, seen: Epoch) -> Result<(), Refusal> {
    if given >= seen {
        return Ok(());
    }
    let message = format!("epoch {given} is lower than {seen}, which was seen already");
    Err(Refusal { seen: Some(seen), ..Refusal::new("stale_epoch", message) })
}

/// Returns an answer as JSON.
pub fn value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).context("writing the answer").map_err(failed)
}

/// Returns the refusal of what cannot be done.
pub fn failed(err: anyhow::Error) -> Refusal {
    Refusal::new("failed", format!("{err:#}"))
}

/// Returns the refusal of what should not have been asked.
pub fn bad_request(why: String) -> Refusal {
    Refusal::new("bad_request", why)
}
