//! The embedded traffic switch as a router: one proxy process pair per listen address, started when it is first needed, and brought to
//! this program's build when it runs another.

use super::{DrainReport, Router, RouterError, Samples, VersionSamples};
use crate::{
    model::{Epoch, Guarantees, InstanceId, Split, Stickiness},
    proxy::{
        self, ClientError, HolderIdentity, ProxyClient, SpawnError,
        build::build_of,
        control::{About, InForce, Measured, Rules},
    },
};
use anyhow::anyhow;
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, time::sleep};

/// How long a proxy may take to end: its requests' 10 s, and some.
const END: Duration = Duration::from_secs(20);

/// How long requests in flight may take when a service leaves a proxy that others use.
const WITHDRAW: Duration = Duration::from_secs(10);

/// How long requests in flight on the worker before may take after an upgrade.
const UPGRADE: Duration = Duration::from_secs(30);

/// How long an address may stay taken by a proxy that is just ending or starting.
const TAKEN: Duration = Duration::from_secs(3);

/// Moves the traffic of one service at one listen address.
#[derive(Clone)]
pub struct ProxyRouter {
    proxy: Arc<Proxy>,
    client: ProxyClient,
    route: Route,
}

/// Which of a listener's requests are a service's, and how returning clients are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// The service's name, unique on its listener.
    pub service: String,
    /// The hosts it answers for; empty for every host that no other service of the listener names.
    pub hosts: Vec<String>,
    /// What a returning client is known by.
    pub stickiness: Stickiness,
    /// Whether its requests are written to the access log.
    pub access_log: bool,
}

/// The process pair at one address.
struct Proxy {
    exe: PathBuf,
    build: String,
    dir: PathBuf,
    listen: SocketAddr,
    control: PathBuf,
    starting: Mutex<()>,
    /// Its build was compared with ours; what could not be upgraded then is not tried again and again.
    compared: AtomicBool,
}

impl ProxyRouter {
    /// Returns the router of the only service at this address; its proxy is started by the first `set`.
    pub fn new(exe: PathBuf, dir: PathBuf, listen: SocketAddr, control: PathBuf) -> Self {
        let client = ProxyClient::new(&control);
        let (build, starting, compared) = (build_of(&exe), Mutex::new(()), AtomicBool::new(false));
        ProxyRouter { proxy: Arc::new(Proxy { exe, build, dir, listen, control, starting, compared }), client, route: Route::default() }
    }

    /// Returns the router of one service at the same address.
    pub fn serving(&self, route: Route) -> Self {
        ProxyRouter { proxy: self.proxy.clone(), client: self.client.about(&route.service), route }
    }

    /// Returns the router of a service whose rules are left as they are.
    pub fn naming(&self, service: &str) -> Self {
        ProxyRouter { proxy: self.proxy.clone(), client: self.client.about(service), route: Route::default() }
    }

    /// Returns whether the proxy runs and answers.
    pub async fn is_running(&self) -> bool {
        self.client.version().await.is_ok()
    }

    /// Starts the proxy when nothing answers on its control socket; a socket file left by a dead one is replaced.
    async fn ensure_running(&self) -> Result<(), RouterError> {
        let Proxy { exe, dir, listen, control, .. } = &*self.proxy;
        let _starting = self.proxy.starting.lock().await;
        let deadline = Instant::now() + TAKEN;
        loop {
            match self.client.hello(&self.proxy.build).await {
                Ok(about) => {
                    self.compare(&about).await;
                    return Ok(());
                }
                // One that speaks only what came before answers so, and still does what is needed.
                Err(ClientError::Refused(_)) => return Ok(()),
                Err(ClientError::NotRunning(_)) => {}
                Err(err) => return Err(router_error(err)),
            }
            match proxy::spawn(exe, dir, *listen, control).await {
                Ok(()) => return Ok(()),
                // By our own proxy, perhaps: one that another server has just started, or one whose worker is just ending.
                Err(SpawnError::PortTaken(_)) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                Err(SpawnError::PortTaken(listen)) => return Err(RouterError::PortTaken(listen)),
                Err(SpawnError::Failed(err)) => return Err(err.context("starting the proxy").into()),
            }
        }
    }

    /// Upgrades a proxy of another build, once; one that cannot be goes on as it is.
    async fn compare(&self, about: &About) {
        if about.build == self.proxy.build || self.proxy.compared.swap(true, Relaxed) {
            return;
        }
        match self.client.upgrade(Some(&self.proxy.exe), UPGRADE).await {
            Ok(upgraded) => tracing::info!("the proxy on {} runs this build now, worker {}", self.proxy.listen, upgraded.worker),
            Err(err) => tracing::warn!("the proxy on {} stays at build `{}`: {err}", self.proxy.listen, about.build),
        }
    }

    /// Returns whether the proxy follows the rules of this route; a route without a name has none.
    fn agrees(&self, in_force: &InForce) -> bool {
        let Route { service, hosts, stickiness, access_log } = &self.route;
        let hosts: BTreeSet<_> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        service.is_empty()
            || (hosts == in_force.hosts.iter().cloned().collect()
                && *stickiness == in_force.stickiness
                && Some(*access_log) == in_force.access_log)
    }

    fn rules(&self) -> Rules {
        if self.route.service.is_empty() {
            return Rules::default();
        }
        let Route { hosts, stickiness, access_log, .. } = self.route.clone();
        Rules { hosts: Some(hosts), stickiness: Some(stickiness), access_log: Some(access_log) }
    }
}

#[async_trait]
impl Router for ProxyRouter {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            atomic_switch: true,
            drain_signal: true,
            measures: true,
            summary: "all new requests move at one instant; those in flight finish on the old set within `drain`; \
                      open websockets are told to reconnect (1012); requests, errors and latency are counted per version"
                .to_owned(),
        }
    }

    async fn set(&self, split: &Split, epoch: Epoch) -> Result<(), RouterError> {
        self.ensure_running().await?;
        self.client.set_with(split, epoch, self.rules()).await.map_err(|err| fenced(err, epoch))
    }

    /// A proxy that does not run has nothing in force; looking does not start it. Rules that have changed are told.
    async fn observe(&self) -> Result<(Split, Epoch), RouterError> {
        self.upgrade().await?;
        match self.client.observe().await {
            Ok(in_force) => {
                // Something to say, and one who understands it.
                if in_force.access_log.is_some() && !in_force.split.0.is_empty() && !self.agrees(&in_force) {
                    self.set(&in_force.split, in_force.epoch).await?;
                }
                Ok((in_force.split, in_force.epoch))
            }
            Err(ClientError::NotRunning(_)) => Ok((Split::default(), Epoch::default())),
            Err(err) => Err(router_error(err)),
        }
    }

    /// A proxy that does not run has nothing in flight.
    async fn drain(&self, instance: &InstanceId, patience: Duration) -> Result<DrainReport, RouterError> {
        match self.client.drain(instance, patience).await {
            Ok(proxy::control::Drained { completed, cut, drained, millis, .. }) => Ok(DrainReport { completed, cut, drained, millis }),
            Err(ClientError::NotRunning(_)) => Ok(DrainReport::default()),
            Err(err) => Err(router_error(err)),
        }
    }

    async fn probe(&self, path: Option<&str>, interval: Duration) -> Result<(), RouterError> {
        self.ensure_running().await?;
        self.client.probe(path, interval).await.map_err(router_error)
    }

    /// Takes the service off its listener; the last one takes the proxy along: then returns when its processes are gone.
    async fn stop(&self) -> Result<(), RouterError> {
        let _starting = self.proxy.starting.lock().await;
        let Some(holder) = HolderIdentity::read(&self.proxy.dir).filter(HolderIdentity::is_alive) else { return Ok(()) };
        if self.client.service().is_some() {
            match self.client.withdraw(WITHDRAW).await {
                Ok(withdrawn) if withdrawn.left > 0 => return Ok(()),
                // One from before has one service only.
                Ok(_) | Err(ClientError::Refused(_) | ClientError::NotRunning(_)) => {}
                Err(err) => return Err(router_error(err)),
            }
        }
        match self.client.stop().await {
            Ok(()) | Err(ClientError::NotRunning(_)) => {}
            Err(err) => return Err(router_error(err)),
        }
        let deadline = Instant::now() + END;
        while holder.is_alive() {
            if Instant::now() >= deadline {
                return Err(anyhow!("the proxy on {} has not ended within {} s", self.proxy.listen, END.as_secs()).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A proxy that does not run is an error here: no counters must never look like good ones.
    async fn measure(&self) -> Result<Samples, RouterError> {
        self.client.measure().await.map(samples).map_err(router_error)
    }

    async fn hold(&self, patience: Duration, epoch: Epoch) -> Result<(), RouterError> {
        self.ensure_running().await?;
        self.client.hold(patience, epoch).await.map_err(|err| fenced(err, epoch))
    }

    async fn shadow(&self, split: &Split, epoch: Epoch, patience: Duration) -> Result<SocketAddr, RouterError> {
        self.ensure_running().await?;
        let shadowed = self.client.shadow(Some(split), epoch, patience).await.map_err(|err| fenced(err, epoch))?;
        shadowed.address.ok_or_else(|| anyhow!("the proxy opened no second listener").into())
    }

    /// A proxy that does not run has none.
    async fn close_shadow(&self, epoch: Epoch) -> Result<(), RouterError> {
        match self.client.shadow(None, epoch, Duration::ZERO).await {
            Ok(_) | Err(ClientError::NotRunning(_)) => Ok(()),
            Err(err) => Err(fenced(err, epoch)),
        }
    }

    /// A proxy that does not run is of the right build when it does.
    async fn upgrade(&self) -> Result<bool, RouterError> {
        if self.proxy.compared.load(Relaxed) {
            return Ok(false);
        }
        let _starting = self.proxy.starting.lock().await;
        match self.client.hello(&self.proxy.build).await {
            Ok(about) => {
                let is_other = about.build != self.proxy.build;
                self.compare(&about).await;
                // Ours runs: nothing changes that but another server.
                self.proxy.compared.store(true, Relaxed);
                Ok(is_other)
            }
            Err(ClientError::NotRunning(_) | ClientError::Refused(_)) => Ok(false),
            Err(err) => Err(router_error(err)),
        }
    }
}

fn fenced(err: ClientError, given: Epoch) -> RouterError {
    match err {
        ClientError::Refused(proxy::control::Refusal { seen: Some(seen), .. }) => RouterError::StaleEpoch { given, seen },
        ClientError::Refused(refusal) if refusal.code == "host_taken" => RouterError::HostTaken(refusal.message),
        other => router_error(other),
    }
}

fn samples(measured: Measured) -> Samples {
    let Measured { versions, router_failures, drained, probes, failed_probes, lost_workers } = measured;
    let version = |count: proxy::control::VersionCount| VersionSamples {
        requests: count.requests,
        errors: count.errors,
        router_errors: count.router_errors,
        in_flight: count.in_flight,
        latency_ms: count.latency_ms,
    };
    let versions = versions.into_iter().map(|(name, count)| (name, version(count))).collect();
    Samples { versions, router_failures, drained, probes, failed_probes, lost_workers }
}

fn router_error(err: ClientError) -> RouterError {
    RouterError::Failed(anyhow::Error::from(err).context("asking the proxy"))
}
