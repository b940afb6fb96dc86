//! Whether a new set does as well as the old one beside it, judged from what the router counted. Pure.
//!
//! Two kinds of judgement. [`Rails`] are absolute limits, looked at all the time; they fire only where the new set is also worse than the
//! old one, so a service that is slow or failing already can still deploy. [`relative`] compares the two sets at planned looks and spends
//! its risk of a false alarm over them. Each says `pass`, `fail` or `inconclusive` with what it saw, and no data is never a pass.
//!
//! Requests are taken as independent. Errors that come in bursts carry less evidence than as many single ones, and the test knows nothing
//! of it: the tolerance and the rails' duration are there for that.

mod figures;
mod rails;
mod relative;
mod spending;
pub mod statistics;

pub use figures::figure;
pub use rails::Rails;
pub use relative::relative;
pub use spending::{Look, Spending};

use super::{gate::Verdict, plan::Watch};
use serde::{Deserialize, Serialize};
use statistics::Share;
use std::collections::BTreeMap;

/// What two sets did over the same window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The set that is judged.
    pub new: SetSample,
    /// The set that served beside it in the same window; none for a first deployment.
    pub old: Option<SetSample>,
    /// Who asked.
    pub traffic: Traffic,
}

/// What one set did over the window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SetSample {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, errors.
    pub errors: u64,
    /// Latency counts: upper bound of the bucket in milliseconds → requests. Buckets are at most 1 % wide, or 1 ms.
    pub latency_ms: BTreeMap<u64, u64>,
    /// How often instances were started again; none when it could not be observed.
    pub restarts: Option<u32>,
}

/// Whose requests a sample counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// Customers'.
    #[default]
    Customers,
    /// Our own probes, where there are no customers; said so wherever it is shown.
    Synthetic,
}

/// What the judgements rest on. Whole numbers, so that a plan can hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The absolute limits, how long they must be crossed, and how many requests make a judgement.
    pub watch: Watch,
    /// Restarts in the window that make a crash loop (3).
    pub crash_loop: u32,
    /// The risk that a release as good as the old one is ever called worse by comparison, in 1/1000 (50), over all looks and measures.
    pub alpha_permille: u32,
    /// How that risk is spent.
    pub spending: Spending,
    /// How much worse still counts as alike.
    pub tolerance: Tolerance,
}

/// The smallest effect that matters: less is alike, and as many requests are asked for as it takes to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Rise of the error rate, in percent of what it was (25).
    pub error_percent: u32,
    /// Rise of the error rate that is nothing, whatever its percentage, in 1/1000 of all requests (10: one percentage point).
    pub error_permille: u32,
    /// Rise of p95, in percent (25).
    pub p95_percent: u32,
    /// Rise of p95 that is nothing, whatever its percentage, milliseconds (10).
    pub p95_ms: u64,
}

impl Tolerance {
    /// Returns the rise of an error rate that still counts as alike.
    fn error_rise(&self, old: f64) -> f64 {
        (old * f64::from(self.error_percent) / 100.0).max(f64::from(self.error_permille) / 1000.0)
    }

    /// Returns the p95 up to which the new set counts as alike.
    fn p95_beside(&self, old_ms: u64) -> u64 {
        (old_ms + old_ms * u64::from(self.p95_percent) / 100).max(old_ms + self.p95_ms)
    }
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Error rate against the absolute limit.
    ErrorLimit,
    /// p95 against the absolute limit.
    P95Limit,
    /// Instances that are started again and again.
    CrashLoop,
    /// Whether any request succeeds.
    ZeroSuccess,
    /// Error rate against the old set's.
    Errors,
    /// p95 against the old set's.
    P95,
    /// A figure from outside against its threshold.
    Metric,
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is judged.
    pub check: Check,
    /// What it says.
    pub verdict: Verdict,
    /// What was measured.
    pub value: String,
    /// What it is held against.
    pub threshold: String,
    /// Requests to the new set, or to the old one where the sentence says so, that would make a verdict; an estimate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub needs: Option<u64>,
    /// Requests there are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub has: Option<u64>,
    /// The figure from outside that is judged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metric: Option<String>,
    /// What was asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<String>,
    /// One sentence for people.
    pub sentence: String,
}

/// All judgements of one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The worst of them: `fail` before `inconclusive` before `pass`.
    pub verdict: Verdict,
    /// Each, worst first.
    pub findings: Vec<Finding>,
    /// Whose requests they rest on.
    pub traffic: Traffic,
}

impl Settings {
    /// Returns these limits with the defaults for the rest.
    pub fn new(watch: Watch) -> Self {
        let tolerance = Tolerance { error_percent: 25, error_permille: 10, p95_percent: 25, p95_ms: 10 };
        Settings { watch, crash_loop: 3, alpha_permille: 50, spending: Spending::Pocock, tolerance }
    }
}

impl Analysis {
    /// Puts the judgements together. None at all is inconclusive.
    pub fn of(mut findings: Vec<Finding>, traffic: Traffic) -> Self {
        findings.sort_by_key(|finding| (severity(finding.verdict), finding.check));
        let verdict = findings.first().map_or(Verdict::Inconclusive, |worst| worst.verdict);
        if traffic == Traffic::Synthetic {
            let of_router = findings.iter_mut().filter(|finding| finding.metric.is_none());
            of_router.for_each(|finding| finding.sentence.push_str(" (our own probes, not customers)"));
        }
        Analysis { verdict, findings, traffic }
    }

    /// Returns the sentences of the judgements that are not a pass, or of all when all are.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        let all_pass = self.verdict == Verdict::Pass;
        self.findings.iter().filter(move |finding| all_pass || finding.verdict != Verdict::Pass).map(|finding| finding.sentence.as_str())
    }
}

impl SetSample {
    /// Returns errors of requests.
    pub fn error_share(&self) -> Share {
        Share::new(self.errors, self.requests)
    }

    /// Returns the requests that took longer than this, of those whose time is known.
    pub fn slower_than(&self, limit_ms: u64) -> Share {
        Share::new(self.latency_ms.iter().filter(|(bound, _)| **bound > limit_ms).map(|(_, count)| count).sum(), self.timed())
    }

    /// Returns how many requests' time is known.
    pub fn timed(&self) -> u64 {
        self.latency_ms.values().sum()
    }

    /// Returns the 95th percentile's bucket; none without requests.
    pub fn p95_ms(&self) -> Option<u64> {
        self.at_rank((self.timed() * 95).div_ceil(100))
    }

    /// Returns the bucket of the request with this rank by time, from 1.
    pub fn at_rank(&self, rank: u64) -> Option<u64> {
        let mut seen = 0;
        self.latency_ms.iter().find_map(|(bound, count)| {
            seen += count;
            (seen >= rank && rank > 0).then_some(*bound)
        })
    }
}

impl Finding {
    fn new(check: Check, verdict: Verdict, value: impl Into<String>, threshold: impl Into<String>, sentence: impl Into<String>) -> Self {
        let (value, threshold, sentence) = (value.into(), threshold.into(), sentence.into());
        Finding { check, verdict, value, threshold, needs: None, has: None, metric: None, asked: None, sentence }
    }

    /// Adds what there is and what it would take, and says so.
    fn needing(mut self, needs: Option<u64>, has: u64) -> Self {
        (self.needs, self.has) = (needs, Some(has));
        match needs {
            Some(needs) => self.sentence.push_str(&format!(": needs {needs}, has {has}")),
            None => self.sentence.push_str(&format!(": has {has}, and no number of requests in sight would tell")),
        }
        self
    }
}

fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 0,
        Verdict::Inconclusive => 1,
        Verdict::Pass => 2,
    }
}

/// Returns `2.35 %`.
fn percent(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
