//! The control protocol: one JSON object per line on a unix socket, `{"v":1,"op":…}`, answered by `{"v":1,"ok":…}` or `{"v":1,"error":…}`.
//!
//! To add an operation: a variant here, an arm in `commands`, a method in `client`.

use crate::model::{Epoch, InstanceId, Split, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// The longest line either side reads.
pub const MAX_LINE: u64 = 1 << 20;

/// What a proxy can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Puts a split in force; answered when it is durable.
    Set {
        /// Who gets the traffic.
        split: Split,
        /// The right it is set by; a lower one than seen is refused.
        epoch: Epoch,
    },
    /// Asks for the split in force.
    Observe,
    /// Waits until nothing is in flight on an instance, then ends what is left.
    Drain {
        /// The instance.
        instance: InstanceId,
        /// How long it may take.
        patience_ms: u64,
    },
    /// Asks for the counters.
    Measure,
    /// Sets or ends the proxy's own requests through its listener.
    Probe {
        /// The path; none ends them.
        path: Option<String>,
        /// How often.
        #[serde(default)]
        interval_ms: u64,
    },
    /// Ends worker and holder.
    Stop,
    /// Asks who answers.
    Version,
}

/// A line to the proxy.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// The protocol's version.
    pub v: u32,
    /// What is asked.
    #[serde(flatten)]
    pub operation: Operation,
}

/// A line from the proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The protocol's version.
    pub v: u32,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; the result.
    Ok(Value),
    /// It was refused.
    Error(Refusal),
}

/// Why a proxy refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `stale_epoch`, `bad_request`, `unknown_version`, `failed`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The epoch seen already, for `stale_epoch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Epoch>,
}

impl Refusal {
    /// Returns a refusal without an epoch.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Refusal { code: code.to_owned(), message: message.into(), seen: None }
    }
}

/// The proxy's own requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePlan {
    /// The path.
    pub path: String,
    /// How often.
    pub interval_ms: u64,
}

/// Where the worker's state came from at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateSource {
    /// There was none: a new proxy.
    New,
    /// The last one saved.
    Saved,
    /// The one before: the last could not be read.
    Previous,
    /// None: neither could be read, so nothing is in force.
    Unreadable,
    /// From before a reboot, when other processes had those addresses: only the epoch was kept.
    EarlierBoot,
}

/// Answer to `observe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// Who gets the traffic.
    pub split: Split,
    /// The epoch it came with.
    pub epoch: Epoch,
    /// Its own requests.
    pub probe: Option<ProbePlan>,
    /// Since when something has been in force without a break.
    pub serving_since: Option<Timestamp>,
    /// Where the worker's state came from.
    pub state: StateSource,
}

/// Answer to `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The protocol it speaks.
    pub protocol: u32,
    /// The program's version.
    pub version: String,
    /// The holder's process id.
    pub holder: i32,
    /// The worker's process id.
    pub worker: i32,
    /// Where customers connect.
    pub listen: SocketAddr,
    /// Workers that ended unasked.
    pub lost_workers: u64,
}

/// Answer to `drain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests that ended by themselves.
    pub completed: u64,
    /// Finite requests cut when patience ended.
    pub cut: u64,
    /// Websockets told 1012, and streams ended.
    pub drained: u64,
    /// How long it took.
    pub millis: u64,
    /// Whether a later `set` gave the instance traffic again, which ends the drain.
    pub revived: bool,
}

/// Answer to `measure`: counters since the worker's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Per version.
    pub versions: BTreeMap<String, VersionCount>,
    /// The proxy's own 502, 503 and 504 while a set was in force, and cut responses.
    pub router_failures: u64,
    /// Websockets told 1012 and streams ended at drain.
    pub drained: u64,
    /// Its own requests.
    pub probes: u64,
    /// Of these, refused, cut, timed out or answered by the proxy itself.
    pub failed_probes: u64,
    /// Workers that ended unasked, since the folder's beginning.
    pub lost_workers: u64,
}

/// One version's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCount {
    /// Requests that ended, the proxy's own apart.
    pub requests: u64,
    /// Of these, answered by the application with 5xx.
    pub errors: u64,
    /// In flight now.
    pub in_flight: u64,
    /// Time to the response's head: upper bound of the bucket in milliseconds → requests.
    pub latency_ms: BTreeMap<u64, u64>,
}

/// Returns what a line asks, or why it cannot be understood.
pub fn parse(line: &[u8]) -> Result<Operation, Refusal> {
    let value: Value = serde_json::from_slice(line).map_err(|err| Refusal::new("bad_request", err.to_string()))?;
    if value.get("v").and_then(Value::as_u64) != Some(PROTOCOL.into()) {
        return Err(Refusal::new("unknown_version", format!("this proxy speaks version {PROTOCOL}")));
    }
    serde_json::from_value(value).map_err(|err| Refusal::new("bad_request", err.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_it_was_written() {
        let operation = Operation::Drain { instance: "a".into(), patience_ms: 5 };
        let line = serde_json::to_vec(&Request { v: PROTOCOL, operation: operation.clone() }).unwrap();
        assert_eq!(parse(&line), Ok(operation));
        assert_eq!(parse(br#"{"v":1,"op":"version"}"#), Ok(Operation::Version));
    }

    #[test]
    fn an_unknown_version_operation_or_line_is_refused() {
        assert_eq!(parse(br#"{"v":2,"op":"version"}"#).unwrap_err().code, "unknown_version");
        assert_eq!(parse(br#"{"op":"version"}"#).unwrap_err().code, "unknown_version");
        assert_eq!(parse(br#"{"v":1,"op":"reboot"}"#).unwrap_err().code, "bad_request");
        assert_eq!(parse(b"{").unwrap_err().code, "bad_request");
    }

    #[test]
    fn an_answer_is_one_flat_object() {
        let reply = Reply { v: PROTOCOL, answer: Answer::Error(Refusal::new("failed", "no")) };
        assert_eq!(serde_json::to_string(&reply).unwrap(), r#"{"v":1,"error":{"code":"failed","message":"no"}}"#);
        assert_eq!(serde_json::from_str::<Reply>(r#"{"v":1,"ok":{}}"#).unwrap().answer, Answer::Ok(serde_json::json!({})));
    }
}
