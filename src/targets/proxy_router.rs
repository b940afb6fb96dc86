//! The embedded traffic switch as a router: one proxy process pair per listen address, started when it is first needed.

use super::{DrainReport, Router, RouterError, Samples, VersionSamples};
use crate::{
    model::{Epoch, Guarantees, InstanceId, Split},
    proxy::{self, ClientError, HolderIdentity, ProxyClient, SpawnError, control::Measured},
};
use anyhow::anyhow;
use async_trait::async_trait;
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, time::sleep};

/// How long a proxy may take to end: its requests' 10 s, and some.
const END: Duration = Duration::from_secs(20);

/// How long an address may stay taken by a proxy that is just ending or starting.
const TAKEN: Duration = Duration::from_secs(3);

/// Moves the traffic of one listen address.
pub struct ProxyRouter {
    exe: PathBuf,
    dir: PathBuf,
    listen: SocketAddr,
    control: PathBuf,
    client: ProxyClient,
    starting: Mutex<()>,
}

impl ProxyRouter {
    /// Returns the router of the proxy at this address; it is started by the first `set`.
    pub fn new(exe: PathBuf, dir: PathBuf, listen: SocketAddr, control: PathBuf) -> Self {
        let client = ProxyClient::new(&control);
        ProxyRouter { exe, dir, listen, control, client, starting: Mutex::new(()) }
    }

    /// Returns whether the proxy runs and answers.
    pub async fn is_running(&self) -> bool {
        self.client.version().await.is_ok()
    }

    /// Starts the proxy when nothing answers on its control socket; a socket file left by a dead one is replaced.
    async fn ensure_running(&self) -> Result<(), RouterError> {
        let _starting = self.starting.lock().await;
        let deadline = Instant::now() + TAKEN;
        loop {
            match self.client.version().await {
                Ok(_) => return Ok(()),
                Err(ClientError::NotRunning(_)) => {}
                Err(err) => return Err(router_error(err)),
            }
            match proxy::spawn(&self.exe, &self.dir, self.listen, &self.control).await {
                Ok(()) => return Ok(()),
                // By our own proxy, perhaps: one that another server has just started, or one whose worker is just ending.
                Err(SpawnError::PortTaken(_)) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                Err(SpawnError::PortTaken(listen)) => return Err(RouterError::PortTaken(listen)),
                Err(SpawnError::Failed(err)) => return Err(err.context("starting the proxy").into()),
            }
        }
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
        self.client.set(split, epoch).await.map_err(|err| match err {
            ClientError::Refused(proxy::control::Refusal { seen: Some(seen), .. }) => RouterError::StaleEpoch { given: epoch, seen },
            other => router_error(other),
        })
    }

    /// A proxy that does not run has nothing in force; looking does not start it.
    async fn observe(&self) -> Result<(Split, Epoch), RouterError> {
        match self.client.observe().await {
            Ok(in_force) => Ok((in_force.split, in_force.epoch)),
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

    /// Returns when both processes are gone.
    async fn stop(&self) -> Result<(), RouterError> {
        let _starting = self.starting.lock().await;
        let Some(holder) = HolderIdentity::read(&self.dir).filter(HolderIdentity::is_alive) else { return Ok(()) };
        match self.client.stop().await {
            Ok(()) | Err(ClientError::NotRunning(_)) => {}
            Err(err) => return Err(router_error(err)),
        }
        let deadline = Instant::now() + END;
        while holder.is_alive() {
            if Instant::now() >= deadline {
                return Err(anyhow!("the proxy on {} has not ended within {} s", self.listen, END.as_secs()).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A proxy that does not run is an error here: no counters must never look like good ones.
    async fn measure(&self) -> Result<Samples, RouterError> {
        self.client.measure().await.map(samples).map_err(router_error)
    }
}

fn samples(measured: Measured) -> Samples {
    let Measured { versions, router_failures, drained, probes, failed_probes, lost_workers } = measured;
    let version = |count: proxy::control::VersionCount| VersionSamples {
        requests: count.requests,
        errors: count.errors,
        in_flight: count.in_flight,
        latency_ms: count.latency_ms,
    };
    let versions = versions.into_iter().map(|(name, count)| (name, version(count))).collect();
    Samples { versions, router_failures, drained, probes, failed_probes, lost_workers }
}

fn router_error(err: ClientError) -> RouterError {
    RouterError::Failed(anyhow::Error::from(err).context("asking the proxy"))
}
