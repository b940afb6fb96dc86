//! The worker's side of the control protocol.

use super::{
    control::{About, Answer, InForce, MAX_LINE, Operation, PROTOCOL, ProbePlan, Refusal, Reply, StateSource, parse},
    state::Saved,
    switch::Switch,
};
use crate::model::{Clock, Epoch, Split, SystemClock};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::Mutex,
};

/// What the control socket's answers come from.
pub struct Commands {
    /// The data plane.
    pub switch: Arc<Switch>,
    /// What is durable; held while it changes.
    pub saved: Mutex<Saved>,
    /// Where it came from.
    pub source: StateSource,
    /// The folder it is in.
    pub dir: PathBuf,
    /// Where customers connect.
    pub listen: SocketAddr,
    /// The holder.
    pub holder: i32,
    /// Workers that ended unasked.
    pub lost: u64,
}

impl Commands {
    /// Answers the lines of one connection, in order.
    pub async fn serve(&self, stream: UnixStream) -> anyhow::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            (&mut read).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Ok(());
            }
            let is_whole = line.ends_with(b"\n");
            let answered = if is_whole { self.answer(&line).await } else { Err(Refusal::new("bad_request", "no whole line within 1 MiB")) };
            let answer = answered.map_or_else(Answer::Error, Answer::Ok);
            let mut reply = serde_json::to_vec(&Reply { v: PROTOCOL, answer })?;
            reply.push(b'\n');
            write.write_all(&reply).await?;
            if !is_whole {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> Result<Value, Refusal> {
        match parse(line)? {
            Operation::Set { split, epoch } => self.set(split, epoch).await,
            Operation::Observe => {
                let Saved { split, epoch, probe, serving_since, .. } = self.saved.lock().await.clone();
                value(InForce { split, epoch, probe, serving_since, state: self.source })
            }
            Operation::Drain { instance, patience_ms } => {
                value(self.switch.drain(&instance, Duration::from_millis(patience_ms.min(24 * 60 * 60 * 1000))).await)
            }
            Operation::Measure => value(self.switch.measure(self.lost)),
            Operation::Probe { path, interval_ms } => self.probe(path, interval_ms).await,
            Operation::Stop => {
                let holder = Pid::from_raw(self.holder).context("no holder").map_err(failed)?;
                kill_process(holder, Signal::TERM).context("telling the holder").map_err(failed)?;
                value(())
            }
            Operation::Version => value(About {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                holder: self.holder,
                worker: std::process::id() as i32,
                listen: self.listen,
                lost_workers: self.lost,
            }),
        }
    }

    async fn set(&self, split: Split, epoch: Epoch) -> Result<Value, Refusal> {
        let mut saved = self.saved.lock().await;
        if epoch < saved.epoch {
            let seen = saved.epoch;
            let message = format!("epoch {epoch} is lower than {seen}, which was seen already");
            return Err(Refusal { seen: Some(seen), ..Refusal::new("stale_epoch", message) });
        }
        let serving_since = split.serving().next().map(|_| saved.serving_since.unwrap_or_else(|| SystemClock.now()));
        let next = Saved { split, epoch, serving_since, ..saved.clone() };
        // Durable first: a worker that ends in between starts again with what its caller was told, or with what came before.
        self.save(&next).await?;
        self.switch.install(&next.split);
        *saved = next;
        value(())
    }

    async fn probe(&self, path: Option<String>, interval_ms: u64) -> Result<Value, Refusal> {
        if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err()) {
            return Err(Refusal::new("bad_request", "the path must begin with `/`"));
        }
        let mut saved = self.saved.lock().await;
        let next = Saved { probe: path.map(|path| ProbePlan { path, interval_ms }), ..saved.clone() };
        self.save(&next).await?;
        self.switch.probe.send_replace(next.probe.clone());
        *saved = next;
        value(())
    }

    /// Saves off the data plane's thread: a slow disk delays the caller, not the customers.
    async fn save(&self, state: &Saved) -> Result<(), Refusal> {
        let (state, dir) = (state.clone(), self.dir.clone());
        let saving = tokio::task::spawn_blocking(move || state.save(&dir));
        saving.await.context("saving the state").and_then(|saved| saved).map_err(failed)
    }
}

fn value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).context("writing the answer").map_err(failed)
}

fn failed(err: anyhow::Error) -> Refusal {
    Refusal::new("failed", format!("{err:#}"))
}
