//! A world in memory for tests: a target and a router that do as told, fail, crash or hang at the n-th call, and remember what served.
//!
//! Instances answer real HTTP on loopback (`/version` and everything else show the version), so that a real probe can ask them.

use super::{
    fake_jobs::{JobAnswer, answered},
    fake_router::FakeRouter,
    *,
};
use crate::model::capacity::{Disk, Holds};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpListener, task::JoinHandle};

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// Nothing is done, and an error comes back.
    Fail,
    /// It is done, and still an error comes back: the caller cannot know.
    Crash,
    /// It never comes back.
    Hang,
    /// Of a start: another process has the port, and the instance ends once it wants to listen.
    TakePort,
}

/// How the instances of a version answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// The status of every answer.
    pub status: u16,
    /// The version it shows.
    pub shows: String,
    /// Whether it ends at once.
    pub exits: bool,
}

/// The world both share. Changing calls are counted from 1, over target and router together; observing is not counted.
#[derive(Clone, Default)]
pub struct FakeWorld(Arc<Mutex<World>>);

#[derive(Default)]
pub(super) struct World {
    pub(super) calls: usize,
    pub(super) mischief: BTreeMap<usize, Mischief>,
    pub(super) on_next: Vec<(String, Mischief)>,
    pub(super) behaviours: BTreeMap<String, Behaviour>,
    pub(super) instances: BTreeMap<InstanceId, (Observed, Option<JoinHandle<()>>)>,
    pub(super) target_epoch: Epoch,
    pub(super) split: Split,
    pub(super) router_epoch: Epoch,
    pub(super) served: Vec<String>,
    pub(super) router_runs: bool,
    pub(super) samples: Samples,
    pub(super) when_serving: BTreeMap<String, Change>,
    pub(super) is_halted: bool,
    pub(super) is_blind: bool,
    pub(super) log: Vec<String>,
    pub(super) shadow: Option<super::fake_router::Shadow>,
    pub(super) held: bool,
    pub(super) jobs: Option<Arc<super::fake_jobs::Jobs>>,
    pub(super) capacity: Option<Option<Capacity>>,
    pub(super) lines: BTreeMap<String, Vec<String>>,
    pub(super) cut: BTreeSet<String>,
}

/// What happens to the router's counters.
type Change = Box<dyn FnOnce(&mut Samples) + Send>;

/// Where fake instances run.
#[derive(Clone, Default)]
pub struct FakeTarget(pub FakeWorld);

impl FakeWorld {
    /// Returns an empty world.
    pub fn new() -> Self {
        FakeWorld::default()
    }

    /// Returns its target.
    pub fn target(&self) -> FakeTarget {
        FakeTarget(self.clone())
    }

    /// Returns its router.
    pub fn router(&self) -> FakeRouter {
        FakeRouter(self.clone())
    }

    /// Says how commands of the configuration go, by their argv; without it every one ends well and says nothing.
    pub fn on_job(&self, jobs: impl Fn(&[String]) -> JobAnswer + Send + Sync + 'static) {
        self.lock().jobs = Some(Arc::new(jobs));
    }

    /// Says what it has left; `None` as a kind that cannot say. Without it there is plenty.
    pub fn has_left(&self, capacity: Option<Capacity>) {
        self.lock().capacity = Some(capacity);
    }

    /// Says what an instance has written in place of its one line.
    pub fn has_written(&self, instance: &str, lines: &[&str]) {
        self.lock().lines.insert(instance.to_owned(), lines.iter().map(|line| line.to_string()).collect());
    }

    /// Says that an instance has written more before its lines than anybody can read.
    pub fn has_written_more(&self, instance: &str) {
        self.lock().cut.insert(instance.to_owned());
    }

    /// Lets the `number`-th changing call go wrong.
    pub fn on_call(&self, number: usize, mischief: Mischief) {
        self.lock().mischief.insert(number, mischief);
    }

    /// Lets the next changing call whose name begins so go wrong.
    pub fn on_next(&self, call: &str, mischief: Mischief) {
        self.lock().on_next.push((call.to_owned(), mischief));
    }

    /// Says how one instance, or all of a version, behave; others answer 200 and show their version.
    pub fn behave(&self, instance_or_version: &str, behaviour: Behaviour) {
        self.lock().behaviours.insert(instance_or_version.to_owned(), behaviour);
    }

    /// Returns how many changing calls were made.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// Returns every changing call, in order: `start web-1`, `set 1.4.0` …
    pub fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// Returns the versions that have served, in order, each time traffic moved.
    pub fn versions(&self) -> Vec<String> {
        self.lock().served.clone()
    }

    /// Returns the versions that get traffic now; none when nothing is deployed.
    pub fn serving(&self) -> Vec<String> {
        self.lock().split.serving().map(|share| share.version.clone()).collect()
    }

    /// Returns the instances that run now.
    pub fn running(&self) -> Vec<InstanceId> {
        self.lock().instances.values().filter(|(observed, _)| observed.running).map(|(observed, _)| observed.instance.clone()).collect()
    }

    /// Tells whether the router was told anything and not stopped since.
    pub fn router_runs(&self) -> bool {
        self.lock().router_runs
    }

    /// Ends an instance as if it had crashed.
    pub fn kill(&self, instance: &InstanceId) {
        if let Some((observed, server)) = self.lock().instances.get_mut(instance) {
            end(observed, server, "signal 9");
        }
    }

    /// Lets an instance crash and its supervisor start it again.
    pub fn restart(&self, instance: &InstanceId) {
        if let Some((observed, _)) = self.lock().instances.get_mut(instance) {
            observed.restarts += 1;
        }
    }

    /// Ends every instance, as a reboot does; the router's split stays.
    pub fn reboot(&self) {
        for (observed, server) in self.lock().instances.values_mut() {
            end(observed, server, "signal 9");
        }
    }

    /// Changes the router's counters.
    pub fn measured(&self, change: impl FnOnce(&mut Samples)) {
        change(&mut self.lock().samples);
    }

    /// Changes the router's counters at the moment a version first gets traffic.
    pub fn when_serving(&self, version: &str, change: impl FnOnce(&mut Samples) + Send + 'static) {
        self.lock().when_serving.insert(version.to_owned(), Box::new(change));
    }

    /// Lets every changing call wait, once it is counted and logged, until [`FakeWorld::go_on`].
    pub fn halt(&self) {
        self.lock().is_halted = true;
    }

    /// Lets the calls that wait go on.
    pub fn go_on(&self) {
        self.lock().is_halted = false;
    }

    /// Lets nobody read the router's counters any more.
    pub fn blind(&self) {
        self.lock().is_blind = true;
    }

    /// Lets the second listener's traffic stay with a version once it is there: the way back from it is broken.
    pub fn stays_with(&self, version: &str) {
        self.lock().shadow.get_or_insert_default().stays_with = Some(version.to_owned());
    }

    /// Tells whether requests wait instead of being answered.
    pub fn is_held(&self) -> bool {
        self.lock().held
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics inside the world")
    }

    /// Counts a call and returns what goes wrong with it, unless it hangs.
    pub(super) async fn call(&self, what: String) -> Option<Mischief> {
        let mischief = {
            let mut world = self.lock();
            world.calls += 1;
            let next = world.on_next.iter().position(|(call, _)| what.starts_with(call.as_str()));
            let next = next.map(|at| world.on_next.remove(at).1);
            world.log.push(what);
            let number = world.calls;
            next.or(world.mischief.get(&number).copied())
        };
        while self.lock().is_halted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match mischief {
            Some(Mischief::Hang) => std::future::pending().await,
            other => other,
        }
    }
}

fn end(observed: &mut Observed, server: &mut Option<JoinHandle<()>>, how: &str) {
    if let Some(server) = server.take() {
        server.abort();
    }
    if observed.running {
        (observed.running, observed.pid, observed.last_exit) = (false, None, Some(how.to_owned()));
    }
}

pub(super) fn planted(mischief: Mischief) -> anyhow::Error {
    anyhow::anyhow!("planted: {mischief:?}")
}

async fn serve(listener: TcpListener, behaviour: Behaviour) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (status, body) = (behaviour.status, format!("hello from {}", behaviour.shows));
        tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

impl FakeTarget {
    async fn job(&self, job: Job) -> Result<JobReport, TargetError> {
        let jobs = self.0.lock().jobs.clone();
        answered(job, jobs.as_deref()).await
    }
}

#[async_trait]
impl Target for FakeTarget {
    fn capabilities(&self) -> Capabilities {
        Capabilities { warm_rollback: true, logs: true, fencing: true, restores: true }
    }

    async fn observe(&self, instance: &InstanceId) -> Result<Option<Observed>, TargetError> {
        Ok(self.0.lock().instances.get(instance).map(|(observed, _)| observed.clone()))
    }

    async fn list(&self) -> Result<Vec<Observed>, TargetError> {
        Ok(self.0.lock().instances.values().map(|(observed, _)| observed.clone()).collect())
    }

    async fn start(&self, lease: &Lease, spec: &InstanceSpec) -> Result<Observed, TargetError> {
        let mischief = self.0.call(format!("start {}", spec.id)).await;
        if let Some(mischief @ Mischief::Fail) = mischief {
            return Err(planted(mischief).into());
        }
        // Bound before the world is locked: nothing may wait while it is.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(anyhow::Error::from)?;
        let mut world = self.0.lock();
        fence(&mut world.target_epoch, lease.epoch)?;
        if !world.instances.get(&spec.id).is_some_and(|(observed, _)| observed.running) {
            let usual = Behaviour { status: 200, shows: spec.version.clone(), exits: false };
            let told = world.behaviours.get(spec.id.as_str()).or_else(|| world.behaviours.get(&spec.version));
            let behaviour = told.cloned().unwrap_or(usual);
            let mut observed = Observed {
                instance: spec.id.clone(),
                version: spec.version.clone(),
                digest: spec.digest.clone(),
                running: true,
                address: listener.local_addr().map_err(anyhow::Error::from)?,
                argv: spec.spec.command.clone(),
                // A process that surely lives: the test itself.
                pid: Some(std::process::id() as i32),
                restarts: 0,
                last_exit: None,
                port_taken: false,
                epoch: lease.epoch,
                run: None,
            };
            let mut server = (!behaviour.exits).then(|| tokio::spawn(serve(listener, behaviour.clone())));
            if behaviour.exits {
                end(&mut observed, &mut server, "exit 1");
            }
            world.instances.insert(spec.id.clone(), (observed, server));
        }
        let (observed, server) = world.instances.get_mut(&spec.id).expect("it was just started");
        let started = observed.clone();
        match mischief {
            Some(Mischief::TakePort) => {
                end(observed, server, "exit 1");
                observed.port_taken = true;
                Ok(started)
            }
            Some(mischief) => Err(planted(mischief).into()),
            None => Ok(started),
        }
    }

    async fn stop(&self, lease: &Lease, instance: &InstanceId, _grace: Duration) -> Result<StopReport, TargetError> {
        let mischief = self.0.call(format!("stop {instance}")).await;
        if let Some(mischief @ Mischief::Fail) = mischief {
            return Err(planted(mischief).into());
        }
        let mut world = self.0.lock();
        fence(&mut world.target_epoch, lease.epoch)?;
        if let Some((observed, server)) = world.instances.get_mut(instance) {
            end(observed, server, "exit 0");
        }
        mischief.map_or(Ok(StopReport { graceful: true }), |mischief| Err(planted(mischief).into()))
    }

    async fn logs(&self, instance: &InstanceId, _from: LogCursor) -> Result<LogPage, TargetError> {
        let usual = || vec![format!("log of {instance}")];
        let world = self.0.lock();
        let lines = world.lines.get(instance.as_str()).cloned().unwrap_or_else(usual);
        Ok(LogPage { lines, next: 0, is_cut: world.cut.contains(instance.as_str()) })
    }

    async fn capacity(&self, _releases: &Path) -> Result<Option<Capacity>, TargetError> {
        const PLENTY: u64 = 1 << 40;
        let disks = vec![Disk { holds: vec![Holds::Releases, Holds::Instances], free_bytes: PLENTY }];
        let (some, used_bytes) = (Some(PLENTY), BTreeMap::new());
        let plenty = Capacity { disks, ports: Some(1000), descriptors_each: some, descriptors: some, memory_bytes: some, used_bytes };
        Ok(self.0.lock().capacity.clone().unwrap_or(Some(plenty)))
    }

    async fn run_job(&self, lease: &Lease, job: Job) -> Result<JobReport, TargetError> {
        let mischief = self.0.call(format!("job {}", job.argv.join(" "))).await;
        fence(&mut self.0.lock().target_epoch, lease.epoch)?;
        match mischief {
            Some(mischief @ Mischief::Fail) => return Err(planted(mischief).into()),
            Some(mischief) => self.job(job).await.and(Err(planted(mischief).into())),
            None => self.job(job).await,
        }
    }

    async fn read_job(&self, job: Job) -> Result<JobReport, TargetError> {
        self.job(job).await
    }
}

fn fence(seen: &mut Epoch, given: Epoch) -> Result<(), TargetError> {
    if given < *seen {
        return Err(TargetError::StaleEpoch { given, seen: *seen });
    }
    *seen = given;
    Ok(())
}
