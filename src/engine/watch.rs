//! Judges the new set from the router's counters while it serves: the triggers DEPLOY-002 and DEPLOY-003. Pure.

use crate::{
    model::{Timestamp, plan::Watch},
    targets::{Samples, VersionSamples},
};
use std::collections::BTreeMap;

/// Two readings of the router, the window between them.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// Requests of the version that ended in the window.
    pub requests: u64,
    /// Of these, answered with 5xx.
    pub errors: u64,
    /// 95th percentile, milliseconds; none without requests.
    pub p95_ms: Option<u64>,
    /// Downtime events: the router's own failures and its failed probes.
    pub downtime: u64,
}

impl Window {
    /// Returns errors as percent of requests; none without requests.
    pub fn error_percent(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 * 100.0 / self.requests as f64)
    }
}

/// Returns what happened to `version` between two readings. A router that was restarted counts from zero again.
pub fn window(version: &str, from: &Samples, to: &Samples) -> Window {
    let none = VersionSamples::default();
    let (before, after) = (from.versions.get(version).unwrap_or(&none), to.versions.get(version).unwrap_or(&none));
    let restarted = after.requests < before.requests || to.lost_workers > from.lost_workers;
    let before = if restarted { &none } else { before };
    let grown = |after: u64, before: u64| if restarted { after } else { after.saturating_sub(before) };
    let counts: BTreeMap<u64, u64> = after
        .latency_ms
        .iter()
        .map(|(bound, count)| (*bound, count.saturating_sub(before.latency_ms.get(bound).copied().unwrap_or(0))))
        .filter(|(_, count)| *count > 0)
        .collect();
    Window {
        requests: after.requests.saturating_sub(before.requests),
        errors: after.errors.saturating_sub(before.errors),
        p95_ms: percentile(&counts, 95),
        downtime: grown(to.router_failures, from.router_failures) + grown(to.failed_probes, from.failed_probes),
    }
}

/// Returns the upper bound of the bucket that holds the percentile; none without counts.
pub fn percentile(counts: &BTreeMap<u64, u64>, percent: u64) -> Option<u64> {
    let total: u64 = counts.values().sum();
    let rank = (total * percent).div_ceil(100);
    let mut seen = 0;
    counts.iter().find_map(|(bound, count)| {
        seen += count;
        (seen >= rank && total > 0).then_some(*bound)
    })
}

/// A trigger that fired: traffic goes back.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Trigger {
    /// `DEPLOY-002` or `DEPLOY-003`.
    pub id: String,
    /// Why, with value and threshold.
    pub reason: String,
}

/// Remembers since when a limit has been crossed.
#[derive(Debug, Clone, Default)]
pub struct Watcher {
    errors_since: Option<Timestamp>,
    slow_since: Option<Timestamp>,
}

impl Watcher {
    /// Looks at the newest window and at the old set's rates before the switch, and returns the trigger that fires, if any.
    ///
    /// Rate limits fire only when they lasted and the new set is worse than the old one was; downtime fires at once.
    pub fn look(&mut self, limits: &Watch, now: Timestamp, new: &Window, old: Option<&Window>) -> Option<Trigger> {
        if new.downtime > 0 {
            return Some(Trigger {
                id: "DEPLOY-003".into(),
                reason: format!("{} requests failed at the router: downtime must be 0", new.downtime),
            });
        }
        if new.requests < limits.min_samples {
            // Too few to judge: neither good nor bad, so a limit that was being crossed stays as it was.
            return None;
        }
        let errors = new.error_percent().unwrap_or(0.0);
        let worse_errors = errors > f64::from(limits.error_percent) && old.and_then(Window::error_percent).is_none_or(|old| errors > old);
        let p95_ms = new.p95_ms.unwrap_or(0);
        let worse_p95 = p95_ms > limits.p95_ms && old.and_then(|old| old.p95_ms).is_none_or(|old| p95_ms > old);
        let lasted = |since: &mut Option<Timestamp>, crossed: bool| {
            if !crossed {
                *since = None;
                return false;
            }
            now.since(*since.get_or_insert(now)).as_millis() as u64 >= limits.sustained_ms
        };
        let seconds = limits.sustained_ms / 1000;
        if lasted(&mut self.errors_since, worse_errors) {
            let reason =
                format!("error rate {errors:.1} % over {} requests, above {} % for {seconds} s", new.requests, limits.error_percent);
            return Some(Trigger { id: "DEPLOY-002".into(), reason });
        }
        if lasted(&mut self.slow_since, worse_p95) {
            let reason = format!("p95 {p95_ms} ms over {} requests, above {} ms for {seconds} s", new.requests, limits.p95_ms);
            return Some(Trigger { id: "DEPLOY-002".into(), reason });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Watch = Watch { error_percent: 5, p95_ms: 500, sustained_ms: 120_000, min_samples: 20 };

    fn seen(requests: u64, errors: u64, p95_ms: u64) -> Window {
        Window { requests, errors, p95_ms: Some(p95_ms), downtime: 0 }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn errors_fire_only_when_they_last() {
        let mut watcher = Watcher::default();
        assert_eq!(watcher.look(&LIMITS, at(0), &seen(100, 10, 5), None), None);
        assert_eq!(watcher.look(&LIMITS, at(119), &seen(100, 10, 5), None), None);
        assert_eq!(watcher.look(&LIMITS, at(120), &seen(100, 10, 5), None).unwrap().id, "DEPLOY-002");
    }

    #[test]
    fn a_recovery_starts_the_count_again() {
        let mut watcher = Watcher::default();
        watcher.look(&LIMITS, at(0), &seen(100, 10, 5), None);
        watcher.look(&LIMITS, at(60), &seen(100, 0, 5), None);
        assert_eq!(watcher.look(&LIMITS, at(121), &seen(100, 10, 5), None), None);
    }

    #[test]
    fn a_service_that_was_as_bad_before_may_still_deploy() {
        let mut watcher = Watcher::default();
        let old = seen(100, 20, 900);
        for second in [0, 200, 400] {
            assert_eq!(watcher.look(&LIMITS, at(second), &seen(100, 10, 800), Some(&old)), None);
        }
    }

    #[test]
    fn slowness_fires_and_few_samples_do_not() {
        let mut watcher = Watcher::default();
        watcher.look(&LIMITS, at(0), &seen(19, 19, 900), None);
        assert_eq!(watcher.look(&LIMITS, at(200), &seen(19, 19, 900), None), None);
        watcher.look(&LIMITS, at(200), &seen(20, 0, 900), None);
        assert!(watcher.look(&LIMITS, at(320), &seen(20, 0, 900), None).unwrap().reason.contains("p95 900 ms"));
    }

    #[test]
    fn downtime_fires_at_once() {
        let window = Window { downtime: 1, ..seen(0, 0, 0) };
        assert_eq!(Watcher::default().look(&LIMITS, at(0), &window, None).unwrap().id, "DEPLOY-003");
    }

    #[test]
    fn a_window_is_the_difference_of_two_readings() {
        let reading = |requests, errors, slow| Samples {
            versions: [(
                "2".to_string(),
                VersionSamples { requests, errors, in_flight: 0, latency_ms: [(10, requests - slow), (600, slow)].into() },
            )]
            .into(),
            ..Samples::default()
        };
        let window = window("2", &reading(100, 1, 0), &reading(200, 11, 10));
        assert_eq!((window.requests, window.errors, window.p95_ms), (100, 10, Some(600)));
        assert_eq!(super::window("9", &reading(100, 1, 0), &reading(200, 11, 10)).p95_ms, None);
    }
}
