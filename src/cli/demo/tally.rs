//! What a load counted: requests, failures, wrong answers by version, the largest gap, latencies.

use super::request::Failure;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How many failures are kept in words; all are counted.
const KEPT: usize = 20;

/// What kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// GET over a new connection each time: sees refusals.
    Get,
    /// POST with a streamed body that must come back as it was, over kept connections.
    Post,
    /// A finite stream of server-sent events, all of which must come.
    Events,
    /// GET over one connection that is kept across switches.
    KeepAlive,
    /// A message over an open websocket.
    Websocket,
}

/// Counts of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sent, and settled one way or the other.
    pub requests: u64,
    /// Refused, cut, unanswered, or answered by the router in the application's place.
    pub failed: u64,
    /// Answered by the application, but not rightly.
    pub wrong: u64,
}

/// What was seen of one version, in UTC milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Answers, wrong ones included.
    pub answers: u64,
    /// Wrong answers.
    pub wrong: u64,
    /// The first answer.
    pub first_at: i64,
    /// The last answer.
    pub last_at: i64,
    /// When the last request it answered was sent.
    pub last_started_at: i64,
}

/// What a load counted so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// When it began, UTC milliseconds.
    pub started_at: i64,
    /// How long it ran.
    pub seconds: f64,
    /// All requests.
    pub requests: u64,
    /// All that failed.
    pub failed: u64,
    /// All wrong answers of the application.
    pub wrong: u64,
    /// Websockets told to come back (1012), which is no failure.
    pub restarted: u64,
    /// Per kind.
    pub kinds: BTreeMap<Kind, Counts>,
    /// Per version that answered.
    pub versions: BTreeMap<String, Seen>,
    /// The longest time without any right answer.
    pub largest_gap_ms: f64,
    /// Half of the answers took at most this; streams and websockets left out.
    pub p50_ms: f64,
    /// 95 of 100 answers took at most this.
    pub p95_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// The first failures and wrong answers, in words.
    pub failures: Vec<String>,
}

/// Counts while a load runs.
pub struct Tally {
    began: Instant,
    report: LoadReport,
    last_success: Instant,
    gap: Duration,
    latencies: Histogram<u64>,
}

impl Tally {
    /// Starts counting now.
    pub fn begin() -> Self {
        let began = Instant::now();
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        Tally {
            began,
            report: LoadReport { started_at, ..LoadReport::default() },
            last_success: began,
            gap: Duration::ZERO,
            latencies: Histogram::new_with_bounds(1, 120_000_000, 3).expect("two minutes in three digits is a histogram"),
        }
    }

    /// Counts a right answer.
    pub fn right(&mut self, kind: Kind, version: &str, took: Duration) {
        self.answered(kind, version, took);
        let now = Instant::now();
        self.gap = self.gap.max(now - self.last_success);
        self.last_success = now;
        if !matches!(kind, Kind::Events | Kind::Websocket) {
            self.latencies.saturating_record(took.as_micros() as u64);
        }
    }

    /// Counts a wrong answer of the application.
    pub fn wrong(&mut self, kind: Kind, version: &str, took: Duration, what: &str) {
        self.answered(kind, version, took);
        self.report.wrong += 1;
        self.counts(kind).wrong += 1;
        if let Some(seen) = self.report.versions.get_mut(version) {
            seen.wrong += 1;
        }
        self.keep(format!("{kind:?}: wrong: {what}"));
    }

    /// Counts a request that got no answer of the application.
    pub fn failed(&mut self, kind: Kind, failure: &Failure) {
        self.request(kind);
        self.report.failed += 1;
        self.counts(kind).failed += 1;
        self.keep(format!("{kind:?}: {failure}"));
    }

    /// Counts a websocket that was told to come back.
    pub fn restarted(&mut self) {
        self.report.restarted += 1;
    }

    /// Returns the counts as they stand.
    pub fn report(&self) -> LoadReport {
        let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
        LoadReport {
            seconds: self.began.elapsed().as_secs_f64(),
            largest_gap_ms: self.gap.max(self.last_success.elapsed()).as_secs_f64() * 1000.0,
            p50_ms: milliseconds(self.latencies.value_at_quantile(0.5)),
            p95_ms: milliseconds(self.latencies.value_at_quantile(0.95)),
            mean_ms: self.latencies.mean() / 1000.0,
            min_ms: if self.latencies.is_empty() { 0.0 } else { milliseconds(self.latencies.min()) },
            max_ms: milliseconds(self.latencies.max()),
            ..self.report.clone()
        }
    }

    fn answered(&mut self, kind: Kind, version: &str, took: Duration) {
        self.request(kind);
        if version.is_empty() {
            return;
        }
        let now = self.report.started_at + self.began.elapsed().as_millis() as i64;
        let started = now - took.as_millis() as i64;
        let seen = self.report.versions.entry(version.to_owned()).or_insert(Seen {
            answers: 0,
            wrong: 0,
            first_at: now,
            last_at: now,
            last_started_at: started,
        });
        seen.answers += 1;
        seen.last_at = now;
        seen.last_started_at = seen.last_started_at.max(started);
    }

    fn request(&mut self, kind: Kind) {
        self.report.requests += 1;
        self.counts(kind).requests += 1;
    }

    fn counts(&mut self, kind: Kind) -> &mut Counts {
        self.report.kinds.entry(kind).or_default()
    }

    fn keep(&mut self, words: String) {
        if self.report.failures.len() < KEPT {
            self.report.failures.push(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_wrong_answers_are_counted_apart() {
        let mut tally = Tally::begin();
        tally.right(Kind::Get, "1", Duration::from_millis(3));
        tally.wrong(Kind::Get, "2", Duration::from_millis(3), "500");
        tally.failed(Kind::Post, &Failure::RouterMade(503));

        let report = tally.report();

        assert_eq!((report.requests, report.failed, report.wrong), (3, 1, 1));
        assert_eq!(report.kinds[&Kind::Get], Counts { requests: 2, failed: 0, wrong: 1 });
        assert_eq!((report.versions["1"].wrong, report.versions["2"].wrong), (0, 1));
        assert_eq!(report.failures, ["Get: wrong: 500", "Post: the router answered 503"]);
        assert!((2.9..3.2).contains(&report.p50_ms), "{}", report.p50_ms);
    }
}
