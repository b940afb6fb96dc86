//! The caller's side of the control protocol: one connection per call.

use super::{
    control::{
        About, Answer, Drained, InForce, MAX_LINE, Measured, OLDEST, Operation, PROTOCOL, Refusal, Reply, Request, Rules, Shadowed,
        Upgraded, Withdrawn,
    },
    lineage::Counters,
};
use anyhow::{Context, anyhow};
use interlock_model::{Epoch, InstanceId, Split};
use serde::de::DeserializeOwned;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::{sleep, timeout},
};

/// How long an answer may take beyond what was asked for: a worker may just be starting again.
const ANSWER: Duration = Duration::from_secs(15);

/// How often a call is made again because another worker has just taken over.
const TAKE_OVERS: u32 = 50;

/// Why a proxy did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the control socket.
    #[error("the proxy does not run: {0}")]
    NotRunning(io::Error),
    /// It answered no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The call failed on its way; the same call may work later.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Calls one proxy.
#[derive(Debug, Clone)]
pub struct ProxyClient {
    control: PathBuf,
    service: Option<String>,
}

impl ProxyClient {
    /// Returns a client of the proxy at this control socket, about its only service; nothing is opened yet.
    pub fn new(control: impl AsRef<Path>) -> Self {
        ProxyClient { control: control.as_ref().to_owned(), service: None }
    }

    /// Returns the service it is about; none for the only one.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Returns a client of the same proxy about this service.
    pub fn about(&self, service: &str) -> Self {
        ProxyClient { control: self.control.clone(), service: Some(service.to_owned()) }
    }

    /// Says which build calls, and returns who answers.
    pub async fn hello(&self, build: &str) -> Result<About, ClientError> {
        self.call(Operation::Hello { protocol: PROTOCOL, build: build.to_owned() }, ANSWER).await
    }

    /// Puts a split in force; returns when it is durable.
    pub async fn set(&self, split: &Split, epoch: Epoch) -> Result<(), ClientError> {
        self.set_with(split, epoch, Rules::default()).await
    }

    /// Puts a split and its rules in force; returns when they are durable.
    pub async fn set_with(&self, split: &Split, epoch: Epoch, rules: Rules) -> Result<(), ClientError> {
        self.call(Operation::Set { service: self.service.clone(), split: split.clone(), epoch, rules }, ANSWER).await
    }

    /// Returns the split in force.
    pub async fn observe(&self) -> Result<InForce, ClientError> {
        self.call(Operation::Observe { service: self.service.clone() }, ANSWER).await
    }

    /// Waits until nothing is in flight on the instance, then ends what is left.
    pub async fn drain(&self, instance: &InstanceId, patience: Duration) -> Result<Drained, ClientError> {
        self.call(Operation::Drain { instance: instance.clone(), patience_ms: millis(patience) }, patience.saturating_add(ANSWER)).await
    }

    /// Returns the counters.
    pub async fn measure(&self) -> Result<Measured, ClientError> {
        self.call(Operation::Measure { service: self.service.clone() }, ANSWER).await
    }

    /// Returns every service's counters as Prometheus reads them.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.call(Operation::Metrics, ANSWER).await
    }

    /// Sets the proxy's own requests, or ends them.
    pub async fn probe(&self, path: Option<&str>, interval: Duration) -> Result<(), ClientError> {
        let (service, path) = (self.service.clone(), path.map(str::to_owned));
        self.call(Operation::Probe { service, path, interval_ms: millis(interval) }, ANSWER).await
    }

    /// Makes new requests wait for so long at most; zero lets them through.
    pub async fn hold(&self, patience: Duration, epoch: Epoch) -> Result<(), ClientError> {
        self.call(Operation::Hold { service: self.service.clone(), epoch, for_ms: millis(patience) }, ANSWER).await
    }

    /// Opens a second listener, or puts another split in force on it; `None` closes it. It closes by itself after `patience`.
    pub async fn shadow(&self, split: Option<&Split>, epoch: Epoch, patience: Duration) -> Result<Shadowed, ClientError> {
        let (service, split) = (self.service.clone(), split.cloned());
        self.call(Operation::Shadow { service, epoch, split, for_ms: millis(patience) }, ANSWER).await
    }

    /// Takes the service off the listener, after what is in flight.
    pub async fn withdraw(&self, patience: Duration) -> Result<Withdrawn, ClientError> {
        let service = self.service.clone();
        self.call(Operation::Withdraw { service, patience_ms: millis(patience) }, patience.saturating_add(ANSWER)).await
    }

    /// Has another worker take over, of this program or of the one that is there now.
    pub async fn upgrade(&self, exe: Option<&Path>, patience: Duration) -> Result<Upgraded, ClientError> {
        let operation = Operation::Upgrade { exe: exe.map(Path::to_owned), patience_ms: millis(patience) };
        self.call(operation, ANSWER * 3).await
    }

    /// Passes an operation on to the worker before.
    pub(super) async fn pass_on(&self, operation: Operation) -> Result<(), ClientError> {
        self.call::<serde_json::Value>(operation, ANSWER).await.map(drop)
    }

    /// Returns every service's counters, for the next worker.
    pub(super) async fn counters(&self, patience: Duration) -> Result<Counters, ClientError> {
        self.call(Operation::Counters, patience).await
    }

    /// Asks holder and worker to end; they do so after what is in flight, within 10 s.
    pub async fn stop(&self) -> Result<(), ClientError> {
        self.call(Operation::Stop, ANSWER).await
    }

    /// Returns who answers.
    pub async fn version(&self) -> Result<About, ClientError> {
        self.call(Operation::Version, ANSWER).await
    }

    async fn call<T: DeserializeOwned>(&self, operation: Operation, patience: Duration) -> Result<T, ClientError> {
        let (mut v, mut left) = (PROTOCOL, TAKE_OVERS);
        loop {
            let stream = UnixStream::connect(&self.control).await.map_err(ClientError::NotRunning)?;
            let exchanged = timeout(patience, exchange(stream, v, operation.clone())).await;
            match exchanged.map_err(|_| anyhow!("the proxy did not answer in time"))?? {
                Answer::Ok(value) => return Ok(serde_json::from_value(value).context("reading the proxy's answer")?),
                // A proxy from before: what both know is done in its words.
                Answer::Error(refusal) if refusal.code == "unknown_version" && v > OLDEST => v -= 1,
                Answer::Error(refusal) if refusal.code == "retired" && left > 0 => {
                    left -= 1;
                    sleep(Duration::from_millis(20)).await;
                }
                Answer::Error(refusal) => return Err(ClientError::Refused(refusal)),
            }
        }
    }
}

async fn exchange(mut stream: UnixStream, v: u32, operation: Operation) -> anyhow::Result<Answer> {
    let mut line = serde_json::to_vec(&Request { v, operation }).context("writing a request for the proxy")?;
    line.push(b'\n');
    stream.write_all(&line).await.context("asking the proxy")?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(MAX_LINE).read_until(b'\n', &mut answer).await.context("reading the proxy's answer")?;
    if answer.is_empty() {
        return Err(anyhow!("the proxy closed the connection without an answer"));
    }
    Ok(serde_json::from_slice::<Reply>(&answer).context("reading the proxy's answer")?.answer)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
