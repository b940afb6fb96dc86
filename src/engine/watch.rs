//! Judges the new set from the router's counters while it serves: the triggers DEPLOY-002 and DEPLOY-003. Pure.

use crate::{
    model::{
        Timestamp, Verdict,
        analysis::{Finding, Rails, Sample, SetSample, Settings},
    },
    targets::{Samples, VersionSamples},
};

/// Two readings of the router, the window between them.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// What one set did in the window.
    pub set: SetSample,
    /// Downtime events: the router's own failures and its failed probes.
    pub downtime: u64,
}

impl Window {
    /// Returns errors as percent of requests; none without requests.
    pub fn error_percent(&self) -> Option<f64> {
        (self.set.requests > 0).then(|| self.set.errors as f64 * 100.0 / self.set.requests as f64)
    }
}

/// Returns what happened to `version` between two readings. A router that was restarted counts from zero again.
pub fn window(version: &str, from: &Samples, to: &Samples) -> Window {
    let none = VersionSamples::default();
    let (before, after) = (from.versions.get(version).unwrap_or(&none), to.versions.get(version).unwrap_or(&none));
    let restarted = after.requests < before.requests || to.lost_workers > from.lost_workers;
    let before = if restarted { &none } else { before };
    let grown = |after: u64, before: u64| if restarted { after } else { after.saturating_sub(before) };
    let latency_ms = after
        .latency_ms
        .iter()
        .map(|(bound, count)| (*bound, count.saturating_sub(before.latency_ms.get(bound).copied().unwrap_or(0))))
        .filter(|(_, count)| *count > 0)
        .collect();
    let requests = after.requests.saturating_sub(before.requests);
    Window {
        set: SetSample { requests, errors: after.errors.saturating_sub(before.errors), latency_ms, restarts: None },
        downtime: grown(to.router_failures, from.router_failures) + grown(to.failed_probes, from.failed_probes),
    }
}

/// A trigger that fired: traffic goes back.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Trigger {
    /// `DEPLOY-002` or `DEPLOY-003`.
    pub id: String,
    /// Why, with value and threshold.
    pub reason: String,
    /// The judgements it rests on; none where the reason says all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Trigger {
    /// Returns a trigger that rests on no judgement of figures.
    pub fn new(id: &str, reason: String) -> Self {
        Trigger { id: id.to_owned(), reason, findings: Vec::new() }
    }

    /// Returns what it rests on, for the record; nothing where the reason says all.
    pub fn evidence(&self) -> serde_json::Value {
        if self.findings.is_empty() { serde_json::Value::Null } else { serde_json::json!({ "findings": self.findings }) }
    }
}

/// Looks at the newest sample, and returns the trigger that fires, if any.
///
/// Downtime fires at once; a limit only when it lasted and the new set is worse than the old one.
pub fn trigger(rails: &mut Rails, settings: &Settings, now: Timestamp, sample: &Sample, downtime: u64) -> Option<Trigger> {
    if downtime > 0 {
        return Some(Trigger::new("DEPLOY-003", format!("{downtime} requests failed at the router: downtime must be 0")));
    }
    let findings = rails.look(settings, now, sample);
    let failed = findings.into_iter().find(|finding| finding.verdict == Verdict::Fail)?;
    Some(Trigger { findings: vec![failed.clone()], ..Trigger::new("DEPLOY-002", failed.sentence) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::Watch;

    fn settings() -> Settings {
        Settings::new(Watch { error_percent: 5, p95_ms: 500, sustained_ms: 120_000, min_samples: 20 })
    }

    fn set(requests: u64, errors: u64, p95_ms: u64) -> SetSample {
        SetSample { requests, errors, latency_ms: [(p95_ms, requests)].into(), restarts: Some(0) }
    }

    fn looked(rails: &mut Rails, seconds: i64, new: SetSample, old: Option<SetSample>) -> Option<Trigger> {
        trigger(rails, &settings(), Timestamp(seconds * 1000), &Sample { new, old, ..Sample::default() }, 0)
    }

    #[test]
    fn errors_fire_only_when_they_last() {
        let mut rails = Rails::default();
        assert_eq!(looked(&mut rails, 0, set(100, 10, 5), None), None);
        assert_eq!(looked(&mut rails, 119, set(100, 10, 5), None), None);
        assert_eq!(looked(&mut rails, 120, set(100, 10, 5), None).unwrap().id, "DEPLOY-002");
    }

    #[test]
    fn a_recovery_starts_the_count_again() {
        let mut rails = Rails::default();
        looked(&mut rails, 0, set(100, 10, 5), None);
        looked(&mut rails, 60, set(100, 0, 5), None);
        assert_eq!(looked(&mut rails, 121, set(100, 10, 5), None), None);
    }

    #[test]
    fn a_service_that_was_as_bad_before_may_still_deploy() {
        let mut rails = Rails::default();
        for second in [0, 200, 400] {
            assert_eq!(looked(&mut rails, second, set(100, 10, 800), Some(set(100, 20, 900))), None);
        }
    }

    #[test]
    fn slowness_fires_and_few_samples_do_not() {
        let mut rails = Rails::default();
        looked(&mut rails, 0, set(19, 1, 900), None);
        assert_eq!(looked(&mut rails, 200, set(19, 1, 900), None), None);
        looked(&mut rails, 200, set(20, 0, 900), None);
        assert!(looked(&mut rails, 320, set(20, 0, 900), None).unwrap().reason.contains("p95 900 ms"));
    }

    #[test]
    fn downtime_fires_at_once() {
        let fired = trigger(&mut Rails::default(), &settings(), Timestamp(0), &Sample::default(), 1);
        assert_eq!(fired.unwrap().id, "DEPLOY-003");
    }

    #[test]
    fn a_window_is_the_difference_of_two_readings() {
        let reading = |requests, errors, slow| Samples {
            versions: [(
                "2".to_string(),
                VersionSamples { requests, errors, latency_ms: [(10, requests - slow), (600, slow)].into(), ..VersionSamples::default() },
            )]
            .into(),
            ..Samples::default()
        };
        let window = window("2", &reading(100, 1, 0), &reading(200, 11, 10)).set;
        assert_eq!((window.requests, window.errors, window.p95_ms()), (100, 10, Some(600)));
        assert_eq!(super::window("9", &reading(100, 1, 0), &reading(200, 11, 10)).set.p95_ms(), None);
    }
}
