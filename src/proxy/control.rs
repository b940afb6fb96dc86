//! The control protocol: one JSON object per line on a unix socket, `{"v":2,"op":…}`, answered by `{"v":2,"ok":…}` or `{"v":2,"error":…}`.
//!
//! The version before is understood too, and what is not known in an object is passed over: server and proxy are upgraded one after the
//! other. To add an operation: a variant here, an arm in `commands`, a method in `client`.

pub use super::reports::*;
use interlock_model::{Epoch, InstanceId, Split, Stickiness};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// The version of the protocol.
pub const PROTOCOL: u32 = 2;

/// The oldest version that is understood.
pub const OLDEST: u32 = 1;

/// The longest line either side reads.
pub const MAX_LINE: u64 = 1 << 20;

/// What a proxy can be asked. A call without a service means the only one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// Says who calls and is told who answers.
    Hello {
        /// The protocol the caller speaks.
        protocol: u32,
        /// The caller's build.
        build: String,
    },
    /// Puts a split in force; answered when it is durable.
    Set {
        /// Whose traffic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// Who gets the traffic.
        split: Split,
        /// The right it is set by; a lower one than seen is refused.
        epoch: Epoch,
        /// How its requests are told from other services' and from each other; as before when it is left out.
        #[serde(flatten)]
        rules: Rules,
    },
    /// Asks for the split in force.
    Observe {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Waits until nothing is in flight on an instance, then ends what is left.
    Drain {
        /// The instance.
        instance: InstanceId,
        /// How long it may take.
        patience_ms: u64,
    },
    /// Asks for the counters.
    Measure {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Sets or ends the proxy's own requests through its listener.
    Probe {
        /// To which service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The path; none ends them.
        path: Option<String>,
        /// How often.
        #[serde(default)]
        interval_ms: u64,
    },
    /// Makes new requests wait instead of fail, for so long at most, or lets them through.
    Hold {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The right it is done by.
        epoch: Epoch,
        /// How long at most; 0 lets them through.
        for_ms: u64,
    },
    /// Opens a second listener with a split of its own, or changes that split: for rehearsals, counted apart.
    Shadow {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The right it is done by; a higher one seen closes the listener.
        epoch: Epoch,
        /// Who gets its traffic; none closes it.
        split: Option<Split>,
        /// After how long it closes by itself unless asked again.
        #[serde(default)]
        for_ms: u64,
    },
    /// Takes a service off the listener, after what is in flight.
    Withdraw {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// How long what is in flight may take.
        patience_ms: u64,
    },
    /// Asks for every service's counters as Prometheus reads them.
    Metrics,
    /// Starts another worker, which takes over without a gap.
    Upgrade {
        /// The program it runs; none for the one that is there now.
        exe: Option<PathBuf>,
        /// How long requests in flight may take to end.
        patience_ms: u64,
    },
    /// Between workers: asks for the state, which then stays as it is.
    HandOver,
    /// Between workers, on the same connection: the asker serves now.
    Retire(Heir),
    /// Between workers: asks for every service's counters.
    Counters,
    /// Between workers: the counters of one that ends.
    Inherit {
        /// Per service; kept as it is, because a map by numbers cannot be read inside a tagged object.
        counters: Value,
    },
    /// Ends worker and holder.
    Stop,
    /// Asks who answers.
    Version,
}

/// How a service's requests are told from others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The hosts it answers for: `shop.example.test`, `*.example.test`; empty for every host that no other service of the listener names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// What a returning client is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Stickiness>,
    /// Whether its requests are written to the access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<bool>,
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
    /// `stale_epoch`, `bad_request`, `unknown_version`, `host_taken`, `no_shadow`, `upgrade_failed`, `retired`, `failed`.
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

/// Returns what a line asks and in which version of the protocol, or why it cannot be understood.
pub fn parse(line: &[u8]) -> Result<(u32, Operation), Refusal> {
    let value: Value = serde_json::from_slice(line).map_err(|err| Refusal::new("bad_request", err.to_string()))?;
    let v = value.get("v").and_then(Value::as_u64).and_then(|v| u32::try_from(v).ok());
    let v = v.filter(|v| (OLDEST..=PROTOCOL).contains(v)).ok_or_else(|| unknown_version(value.get("v")))?;
    let operation: Operation = serde_json::from_value(value).map_err(|err| Refusal::new("bad_request", err.to_string()))?;
    match operation {
        Operation::Hello { protocol, .. } if protocol < OLDEST => Err(unknown_version(Some(&protocol.into()))),
        operation => Ok((v, operation)),
    }
}

fn unknown_version(given: Option<&Value>) -> Refusal {
    let given = given.map_or_else(|| "none".to_owned(), Value::to_string);
    Refusal::new(
        "unknown_version",
        format!("this proxy speaks versions {OLDEST} to {PROTOCOL} of the control protocol, the caller {given}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_it_was_written() {
        let operation = Operation::Drain { instance: "a".into(), patience_ms: 5 };
        let line = serde_json::to_vec(&Request { v: PROTOCOL, operation: operation.clone() }).unwrap();
        assert_eq!(parse(&line), Ok((PROTOCOL, operation)));
        let rules = Rules { hosts: Some(vec!["a.test".into()]), stickiness: Some(Stickiness::Cookie), access_log: None };
        let set = Operation::Set { service: Some("web".into()), split: Split::default(), epoch: Epoch(1), rules };
        let line = serde_json::to_string(&Request { v: PROTOCOL, operation: set.clone() }).unwrap();
        assert_eq!(
            line, r#"{"v":2,"op":"set","service":"web","split":[],"epoch":1,"hosts":["a.test"],"stickiness":"cookie"}"#,
            "one flat object"
        );
        assert_eq!(parse(line.as_bytes()), Ok((PROTOCOL, set)));
    }

    #[test]
    fn the_version_before_and_what_is_not_known_are_understood() {
        assert_eq!(parse(br#"{"v":1,"op":"version"}"#), Ok((1, Operation::Version)));
        assert_eq!(parse(br#"{"v":1,"op":"observe"}"#), Ok((1, Operation::Observe { service: None })));
        let set = Operation::Set { service: None, split: Split::default(), epoch: Epoch(3), rules: Rules::default() };
        assert_eq!(parse(br#"{"v":1,"op":"set","split":[],"epoch":3}"#), Ok((1, set.clone())));
        assert_eq!(parse(br#"{"v":2,"op":"set","split":[],"epoch":3,"mood":"good"}"#), Ok((2, set)));
        let hello = |protocol| parse(format!(r#"{{"v":2,"op":"hello","protocol":{protocol},"build":"x"}}"#).as_bytes());
        assert!(hello(1).is_ok() && hello(2).is_ok() && hello(3).is_ok());
        assert_eq!(hello(0).unwrap_err().code, "unknown_version");
    }

    #[test]
    fn an_unknown_version_operation_or_line_is_refused() {
        assert_eq!(parse(br#"{"v":3,"op":"version"}"#).unwrap_err().code, "unknown_version");
        let refusal = parse(br#"{"v":0,"op":"version"}"#).unwrap_err();
        assert_eq!(refusal.message, "this proxy speaks versions 1 to 2 of the control protocol, the caller 0");
        assert_eq!(parse(br#"{"op":"version"}"#).unwrap_err().code, "unknown_version");
        assert_eq!(parse(br#"{"v":1,"op":"reboot"}"#).unwrap_err().code, "bad_request");
        assert_eq!(parse(b"{").unwrap_err().code, "bad_request");
    }

    #[test]
    fn an_answer_is_one_flat_object() {
        let reply = Reply { v: 1, answer: Answer::Error(Refusal::new("failed", "no")) };
        assert_eq!(serde_json::to_string(&reply).unwrap(), r#"{"v":1,"error":{"code":"failed","message":"no"}}"#);
        assert_eq!(serde_json::from_str::<Reply>(r#"{"v":1,"ok":{}}"#).unwrap().answer, Answer::Ok(serde_json::json!({})));
    }
}
