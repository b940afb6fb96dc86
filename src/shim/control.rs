//! The shim's control socket: one JSON line in, one out. Every call that changes something carries the epoch.

use super::spec::Status;
use crate::model::Epoch;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{path::Path, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};
use tokio_util::task::TaskTracker;

/// The version of this protocol.
pub const VERSION: u32 = 1;
/// No request or reply is longer.
const MAX_BYTES: u64 = 64 << 10;

/// What a shim is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The protocol's version.
    pub v: u32,
    /// What to do.
    #[serde(flatten)]
    pub op: Op,
}

/// What a shim can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Says how the instance is.
    Status,
    /// Says which Interlock it is.
    Version,
    /// Remembers the epoch: lower ones are refused from now on.
    Fence {
        /// The caller's epoch.
        epoch: Epoch,
    },
    /// Ends the instance, then the shim.
    Stop {
        /// The caller's epoch.
        epoch: Epoch,
        /// How long the instance may take by itself.
        grace_ms: u64,
    },
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// How the instance is.
    Status(Box<Status>),
    /// Which Interlock this is.
    Version {
        /// The package's version.
        version: String,
    },
    /// The epoch is remembered.
    Fenced,
    /// The instance has ended.
    Stopped {
        /// Whether it ended by itself within the grace.
        graceful: bool,
    },
    /// A higher epoch was seen already.
    StaleEpoch {
        /// The epoch of the call.
        given: Epoch,
        /// The highest seen.
        seen: Epoch,
    },
    /// The request cannot be understood.
    Refused {
        /// Why.
        message: String,
    },
}

/// A request that waits for its reply.
pub struct Command {
    /// What is asked.
    pub op: Op,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// Serves the socket until dropped; requests come out of the channel. The tracker ends when every reply is written.
pub fn serve(path: PathBuf) -> Result<(mpsc::Receiver<Command>, TaskTracker)> {
    let mut listener = bind(&path).with_context(|| format!("listening on `{}`", path.display()))?;
    let (sender, receiver) = mpsc::channel(8);
    let tracker = TaskTracker::new();
    let connections = tracker.clone();
    tokio::spawn(async move {
        let mut look = tokio::time::interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                biased;
                () = sender.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(answer(stream, sender.clone()))),
                    // Out of descriptors; the next look comes when there may be some.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                // A runtime folder may be emptied at a logout; the instance lives on and must stay reachable.
                _ = look.tick() => if !path.exists() && let Ok(again) = bind(&path) {
                    listener = again;
                },
            }
        }
    });
    Ok((receiver, tracker))
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(err),
        _ => UnixListener::bind(path),
    }
}

async fn answer(stream: UnixStream, commands: mpsc::Sender<Command>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(512, reader.take(MAX_BYTES));
    let read = reader.read_line(&mut line);
    if !matches!(tokio::time::timeout(Duration::from_secs(10), read).await, Ok(Ok(read)) if read > 0) {
        return;
    }
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(Request { v: VERSION, op }) => {
            let (reply, replied) = oneshot::channel();
            // A shim that ends says nothing: the caller sees the connection close and looks again.
            if commands.send(Command { op, reply }).await.is_err() {
                return;
            }
            match replied.await {
                Ok(reply) => reply,
                Err(_) => return,
            }
        }
        Ok(Request { v, .. }) => Reply::Refused { message: format!("this shim speaks version {VERSION}, not {v}") },
        Err(err) => Reply::Refused { message: err.to_string() },
    };
    let mut bytes = serde_json::to_vec(&reply).expect("a reply is JSON");
    bytes.push(b'\n');
    let _ = tokio::time::timeout(Duration::from_secs(10), writer.write_all(&bytes)).await;
}

/// Asks the shim behind a socket and waits at most `patience` for the answer.
pub async fn call(path: &Path, op: Op, patience: Duration) -> Result<Reply> {
    let exchange = async {
        let (reader, mut writer) = UnixStream::connect(path).await?.into_split();
        let mut line = serde_json::to_vec(&Request { v: VERSION, op })?;
        line.push(b'\n');
        writer.write_all(&line).await?;
        let mut reply = String::new();
        BufReader::new(reader.take(MAX_BYTES)).read_line(&mut reply).await?;
        serde_json::from_str(&reply).context("the shim's answer is cut")
    };
    tokio::time::timeout(patience, exchange).await.context("the shim does not answer in time")?.context("asking the shim")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_documented() {
        let request: Request = serde_json::from_str(r#"{"v":1,"op":"stop","epoch":7,"grace_ms":500}"#).unwrap();
        assert_eq!(request, Request { v: 1, op: Op::Stop { epoch: Epoch(7), grace_ms: 500 } });
        assert_eq!(serde_json::to_string(&Request { v: 1, op: Op::Status }).unwrap(), r#"{"v":1,"op":"status"}"#);
        assert!(serde_json::from_str::<Request>(r#"{"v":1,"op":"stop","grace_ms":500}"#).is_err(), "a stop without an epoch");
    }
}
