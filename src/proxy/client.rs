//! The caller's side of the control protocol: one connection per call.

use super::control::{About, Answer, Drained, InForce, MAX_LINE, Measured, Operation, PROTOCOL, Refusal, Reply, Request};
use crate::model::{Epoch, InstanceId, Split};
use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// How long an answer may take beyond what was asked for: a worker may just be starting again.
const ANSWER: Duration = Duration::from_secs(15);

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
}

impl ProxyClient {
    /// Returns a client of the proxy at this control socket; nothing is opened yet.
    pub fn new(control: impl AsRef<Path>) -> Self {
        ProxyClient { control: control.as_ref().to_owned() }
    }

    /// Puts a split in force; returns when it is durable.
    pub async fn set(&self, split: &Split, epoch: Epoch) -> Result<(), ClientError> {
        self.call(Operation::Set { split: split.clone(), epoch }, ANSWER).await
    }

    /// Returns the split in force.
    pub async fn observe(&self) -> Result<InForce, ClientError> {
        self.call(Operation::Observe, ANSWER).await
    }

    /// Waits until nothing is in flight on the instance, then ends what is left.
    pub async fn drain(&self, instance: &InstanceId, patience: Duration) -> Result<Drained, ClientError> {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.call(Operation::Drain { instance: instance.clone(), patience_ms }, patience.saturating_add(ANSWER)).await
    }

    /// Returns the counters.
    pub async fn measure(&self) -> Result<Measured, ClientError> {
        self.call(Operation::Measure, ANSWER).await
    }

    /// Sets the proxy's own requests, or ends them.
    pub async fn probe(&self, path: Option<&str>, interval: Duration) -> Result<(), ClientError> {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.call(Operation::Probe { path: path.map(str::to_owned), interval_ms }, ANSWER).await
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
        let stream = UnixStream::connect(&self.control).await.map_err(ClientError::NotRunning)?;
        let value =
            match timeout(patience, exchange(stream, operation)).await.map_err(|_| anyhow!("the proxy did not answer in time"))?? {
                Answer::Ok(value) => value,
                Answer::Error(refusal) => return Err(ClientError::Refused(refusal)),
            };
        Ok(serde_json::from_value(value).context("reading the proxy's answer")?)
    }
}

async fn exchange(mut stream: UnixStream, operation: Operation) -> anyhow::Result<Answer> {
    let mut line = serde_json::to_vec(&Request { v: PROTOCOL, operation }).context("writing a request for the proxy")?;
    line.push(b'\n');
    stream.write_all(&line).await.context("asking the proxy")?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(MAX_LINE).read_until(b'\n', &mut answer).await.context("reading the proxy's answer")?;
    if answer.is_empty() {
        return Err(anyhow!("the proxy closed the connection without an answer"));
    }
    Ok(serde_json::from_slice::<Reply>(&answer).context("reading the proxy's answer")?.answer)
}
