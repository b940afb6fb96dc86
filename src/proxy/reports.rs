//! What a proxy answers on its control socket.

use interlock_model::{Epoch, Split, Stickiness, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

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
    /// The last one saved, or the one of the worker before.
    Saved,
    /// The one before: a crash came between the two names' changes.
    Previous,
    /// None: it could not be read, so nothing is in force until the server says what is.
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
    /// The hosts it answers for; empty for every host that no other service of the listener names.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What a returning client is known by.
    #[serde(default)]
    pub stickiness: Stickiness,
    /// Whether its requests are written to the access log; a proxy from before rules were known does not say.
    #[serde(default)]
    pub access_log: Option<bool>,
    /// Whether new requests wait.
    #[serde(default)]
    pub held: bool,
}

/// Answer to `version` and `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The protocol it speaks.
    pub protocol: u32,
    /// The oldest it understands.
    #[serde(default = "first_protocol")]
    pub oldest: u32,
    /// The program's version.
    pub version: String,
    /// The worker's build: another one after an upgrade of the program.
    #[serde(default)]
    pub build: String,
    /// The holder's process id.
    pub holder: i32,
    /// The worker's process id.
    pub worker: i32,
    /// Where customers connect.
    pub listen: SocketAddr,
    /// Workers that ended unasked.
    pub lost_workers: u64,
}

fn first_protocol() -> u32 {
    1
}

/// Answer to `shadow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadowed {
    /// Where the second listener is; none once it is closed.
    pub address: Option<SocketAddr>,
}

/// Answer to `withdraw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// How many services are still on the listener.
    pub left: usize,
}

/// Answer to `upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The process id of the worker that serves now.
    pub worker: i32,
}

/// Who serves now, as the worker before is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heir {
    /// Its process id.
    pub worker: i32,
    /// Its own socket.
    pub control: PathBuf,
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

/// Answer to `measure`: counters since the worker's start, and of the workers it took over from.
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
    /// Of these, failed by the router: not connected, broken off, silent, cut.
    #[serde(default)]
    pub router_errors: u64,
    /// In flight now.
    pub in_flight: u64,
    /// Time to the response's head: upper bound of the bucket in milliseconds → requests.
    pub latency_ms: BTreeMap<u64, u64>,
    /// The first digit of the status → requests; 0 for those without an answer.
    #[serde(default)]
    pub classes: BTreeMap<u16, u64>,
    /// The sum of all times to the head, in microseconds.
    #[serde(default)]
    pub latency_sum_us: u64,
}

impl Measured {
    /// Adds another worker's counters; what it lost is counted elsewhere.
    pub fn add(&mut self, other: &Measured) {
        for (version, count) in &other.versions {
            self.versions.entry(version.clone()).or_default().add(count);
        }
        self.router_failures += other.router_failures;
        self.drained += other.drained;
        self.probes += other.probes;
        self.failed_probes += other.failed_probes;
    }

    /// Returns the same with nothing in flight: what a worker that has ended leaves.
    pub fn ended(mut self) -> Self {
        self.versions.values_mut().for_each(|count| count.in_flight = 0);
        self
    }
}

impl VersionCount {
    fn add(&mut self, other: &VersionCount) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.router_errors += other.router_errors;
        self.in_flight += other.in_flight;
        self.latency_sum_us += other.latency_sum_us;
        other.latency_ms.iter().for_each(|(bound, count)| *self.latency_ms.entry(*bound).or_default() += count);
        other.classes.iter().for_each(|(class, count)| *self.classes.entry(*class).or_default() += count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_two_workers_add_up() {
        let count = VersionCount { requests: 2, in_flight: 1, latency_ms: [(5, 2)].into(), classes: [(2, 2)].into(), ..Default::default() };
        let mut sum = Measured { versions: [("1".into(), count.clone())].into(), router_failures: 1, ..Measured::default() };
        sum.add(&sum.clone().ended());
        let one = &sum.versions["1"];
        assert_eq!((one.requests, one.in_flight, one.latency_ms[&5], one.classes[&2], sum.router_failures), (4, 1, 4, 4, 2));
    }
}
