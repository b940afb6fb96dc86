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
    router_errors: AtomicU64,
    /// By the first digit of the status; without one at 0.
    classes: [AtomicU64; 6],
    latency_sum_us: AtomicU64,
    latency: Mutex<Histogram<u32>>,
}

impl Default for VersionCounters {
    fn default() -> Self {
        VersionCounters {
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            router_errors: AtomicU64::new(0),
            classes: Default::default(),
            latency_sum_us: AtomicU64::new(0),
            latency: Mutex::new(Histogram::new(2).expect("two digits are a valid precision")),
        }
    }
}

impl VersionCounters {
    /// Counts a request that has ended.
    pub fn record(&self, status: Option<u16>, to_head: Option<Duration>) {
        self.requests.fetch_add(1, Relaxed);
        if status.is_some_and(|status| status >= 500) {
            self.errors.fetch_add(1, Relaxed);
        }
        self.classes[status.map_or(0, |status| usize::from(status / 100).min(5))].fetch_add(1, Relaxed);
        if let Some(to_head) = to_head {
            let micros = u64::try_from(to_head.as_micros()).unwrap_or(u64::MAX);
            self.latency_sum_us.fetch_add(micros, Relaxed);
            // An hour is the top of the scale, so recording cannot fail.
            let _ = self.latency.lock().expect("nothing panics here").record(micros.div_ceil(1000).clamp(1, 3_600_000));
        }
    }

    /// Counts a request that the router failed.
    pub fn record_router_error(&self) {
        self.router_errors.fetch_add(1, Relaxed);
    }

    /// Returns the counters, with what is in flight, which the instances know.
    pub fn read(&self, in_flight: u64) -> VersionCount {
        let latency = self.latency.lock().expect("nothing panics here");
        let latency_ms: BTreeMap<u64, u64> =
            latency.iter_recorded().map(|bucket| (bucket.value_iterated_to(), u64::from(bucket.count_at_value()))).collect();
        let classes = (0..).zip(&self.classes).map(|(class, count)| (class, count.load(Relaxed))).filter(|(_, count)| *count > 0).collect();
        VersionCount {
            requests: self.requests.load(Relaxed),
            errors: self.errors.load(Relaxed),
            router_errors: self.router_errors.load(Relaxed),
            in_flight,
            latency_ms,
            classes,
            latency_sum_us: self.latency_sum_us.load(Relaxed),
        }
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
        counters.record(None, None);
        counters.record_router_error();
        let read = counters.read(3);
        assert_eq!((read.requests, read.errors, read.in_flight), (8, 1, 3));
        assert_eq!(read.latency_ms.values().sum::<u64>(), 6);
        assert_eq!((read.router_errors, read.classes), (1, [(0, 1), (2, 6), (5, 1)].into()));
        assert_eq!(read.latency_sum_us, 7_200_502_311);
        assert_eq!(read.latency_ms[&1], 2);
        assert_eq!(read.latency_ms[&2], 1);
        assert!(read.latency_ms.keys().any(|bound| (250..=255).contains(bound)));
    }
}
