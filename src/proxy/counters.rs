//! What is counted: per version, and for the proxy as a whole.

use super::control::VersionCount;
use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The proxy's own counters.
#[derive(Debug, Default)]
pub struct Totals {
    /// Its own 502, 503 and 504 while a set was in force, and cut responses.
    pub router_failures: AtomicU64,
    /// Websockets told 1012 and streams ended at drain.
    pub drained: AtomicU64,
    /// Its own requests.
    pub probes: AtomicU64,
    /// Of these, failed.
    pub failed_probes: AtomicU64,
}

/// One version's counters; its instances share them.
#[derive(Debug)]
pub struct VersionCounters {
    requests: AtomicU64,
    errors: AtomicU64,
    latency: Mutex<Histogram<u32>>,
}

impl Default for VersionCounters {
    fn default() -> Self {
        let latency = Histogram::new(2).expect("two digits are a valid precision");
        VersionCounters { requests: AtomicU64::new(0), errors: AtomicU64::new(0), latency: Mutex::new(latency) }
    }
}

impl VersionCounters {
    /// Counts a request that has ended.
    pub fn record(&self, status: Option<u16>, to_head: Option<Duration>) {
        self.requests.fetch_add(1, Relaxed);
        if status.is_some_and(|status| status >= 500) {
            self.errors.fetch_add(1, Relaxed);
        }
        if let Some(to_head) = to_head {
            let millis = u64::try_from(to_head.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            // An hour is the top of the scale, so recording cannot fail.
            let _ = self.latency.lock().expect("nothing panics here").record(millis.clamp(1, 3_600_000));
        }
    }

    /// Returns the counters, with what is in flight, which the instances know.
    pub fn read(&self, in_flight: u64) -> VersionCount {
        let latency = self.latency.lock().expect("nothing panics here");
        let latency_ms: BTreeMap<u64, u64> =
            latency.iter_recorded().map(|bucket| (bucket.value_iterated_to(), u64::from(bucket.count_at_value()))).collect();
        VersionCount { requests: self.requests.load(Relaxed), errors: self.errors.load(Relaxed), in_flight, latency_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_few_buckets_by_their_upper_bound() {
        let counters = VersionCounters::default();
        for micros in [10, 900, 1_001, 250_000, 250_400, 7_200_000_000] {
            counters.record(Some(200), Some(Duration::from_micros(micros)));
        }
        counters.record(Some(503), None);
        let read = counters.read(3);
        assert_eq!((read.requests, read.errors, read.in_flight), (7, 1, 3));
        assert_eq!(read.latency_ms.values().sum::<u64>(), 6);
        assert_eq!(read.latency_ms[&1], 2);
        assert_eq!(read.latency_ms[&2], 1);
        assert!(read.latency_ms.keys().any(|bound| (250..=255).contains(bound)));
    }
}
