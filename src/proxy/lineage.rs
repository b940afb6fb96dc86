//! The workers before this one: what they counted, and what is still in flight on them.

use super::{
    client::{ClientError, ProxyClient},
    control::{Answer, Heir, MAX_LINE, Measured, Operation, PROTOCOL, Reply, Request},
    state::Saved,
};
use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::unix::net::SocketAddr as UnixAddress,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// How long one worker may keep another waiting.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Counters by service.
pub type Counters = BTreeMap<String, Measured>;

/// What a worker hands to the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandedOver {
    /// What is in force.
    pub saved: Saved,
    /// What marks the proxy's own requests: those under way may reach either worker.
    pub probe_secret: String,
    /// What was counted so far.
    pub counters: Counters,
}

/// Returns a worker's own socket: beside the control socket, and no longer a name.
pub fn own_socket(control: &Path, worker: i32) -> PathBuf {
    control.with_file_name(format!("w-{worker}.sock"))
}

/// Returns the path a socket was bound to.
pub fn path_of(address: &UnixAddress) -> Option<PathBuf> {
    address.as_pathname().map(Path::to_owned)
}

/// What earlier workers have counted.
#[derive(Default)]
pub struct Lineage {
    /// The one before, while it still ends what is in flight.
    pub predecessor: Option<ProxyClient>,
    /// Its last reading, should it be killed.
    last: Counters,
    inherited: Counters,
}

impl Lineage {
    /// Returns the lineage of a worker that takes over.
    pub fn of(predecessor: &Path, counters: Counters) -> Self {
        Lineage { predecessor: Some(ProxyClient::new(predecessor)), last: counters, inherited: Counters::default() }
    }

    /// Returns what all before have counted, and whether one of them turned out to have been killed.
    pub async fn counters(&mut self) -> (Counters, bool) {
        let mut was_killed = false;
        if let Some(predecessor) = &self.predecessor {
            match predecessor.counters(PATIENCE).await {
                Ok(counters) => self.last = counters,
                Err(ClientError::NotRunning(_)) => {
                    was_killed = true;
                    self.predecessor = None;
                    let last = std::mem::take(&mut self.last);
                    self.inherit(last);
                }
                Err(err) => tracing::warn!("the worker before does not say what it counts: {err}"),
            }
        }
        let mut sum = self.inherited.clone();
        if self.predecessor.is_some() {
            add(&mut sum, &self.last);
        }
        (sum, was_killed)
    }

    /// Keeps what a worker that ends has counted.
    pub fn inherit(&mut self, counters: Counters) {
        self.predecessor = None;
        self.last.clear();
        let ended = counters.into_iter().map(|(service, measured)| (service, measured.ended())).collect();
        add(&mut self.inherited, &ended);
    }
}

/// Returns one service's part; what was counted before it had a name is its own.
pub fn part(counters: &Counters, service: &str) -> Measured {
    let mut sum = counters.get(service).cloned().unwrap_or_default();
    if let Some(unnamed) = counters.get("").filter(|_| !service.is_empty() && counters.len() <= 2) {
        sum.add(unnamed);
    }
    sum
}

/// Adds counters service by service.
pub fn add(sum: &mut Counters, more: &Counters) {
    more.iter().for_each(|(service, measured)| sum.entry(service.clone()).or_default().add(measured));
}

/// A take-over under way: the worker before changes nothing until it is told to retire, or this is dropped.
pub struct Takeover {
    /// What it handed over.
    pub handed: HandedOver,
    stream: BufReader<UnixStream>,
}

impl Takeover {
    /// Asks the worker before for its state.
    pub async fn begin(predecessor: &Path) -> anyhow::Result<Self> {
        let mut stream = BufReader::new(UnixStream::connect(predecessor).await.context("connecting to the worker before")?);
        let answer = timeout(PATIENCE, ask(&mut stream, Operation::HandOver)).await.context("waiting for the worker before")??;
        Ok(Takeover { handed: serde_json::from_value(answer).context("reading what was handed over")?, stream })
    }

    /// Tells it that this one serves now.
    pub async fn finish(mut self, heir: Heir) -> anyhow::Result<()> {
        timeout(PATIENCE, ask(&mut self.stream, Operation::Retire(heir))).await.context("waiting for the worker before")??;
        Ok(())
    }
}

async fn ask(stream: &mut BufReader<UnixStream>, operation: Operation) -> anyhow::Result<serde_json::Value> {
    let mut line = serde_json::to_vec(&Request { v: PROTOCOL, operation })?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut answer).await?;
    if answer.is_empty() {
        bail!("the worker before has ended");
    }
    match serde_json::from_slice::<Reply>(&answer)?.answer {
        Answer::Ok(value) => Ok(value),
        Answer::Error(refusal) => Err(anyhow!(refusal.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::VersionCount;

    fn counted(requests: u64, in_flight: u64) -> Counters {
        let count = VersionCount { requests, in_flight, ..VersionCount::default() };
        [("web".to_owned(), Measured { versions: [("1".to_owned(), count)].into(), ..Measured::default() })].into()
    }

    #[tokio::test]
    async fn counters_of_a_worker_that_was_killed_stay_as_last_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut lineage = Lineage::of(&dir.path().join("gone.sock"), counted(7, 2));
        let (counters, was_killed) = lineage.counters().await;
        let one = &part(&counters, "web").versions["1"];
        assert_eq!((one.requests, one.in_flight, was_killed), (7, 0, true));
        assert_eq!(lineage.counters().await, (counters, false), "lost once");
        lineage.inherit(counted(5, 0));
        assert_eq!(part(&lineage.counters().await.0, "web").versions["1"].requests, 12);
    }

    #[test]
    fn what_was_counted_without_a_name_is_its_services_own() {
        let mut counters = counted(7, 0);
        counters.insert(String::new(), counted(3, 0)["web"].clone());
        assert_eq!(part(&counters, "web").versions["1"].requests, 10);
        assert_eq!(part(&counters, "").versions["1"].requests, 3);
    }
}
