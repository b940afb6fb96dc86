//! Absolute limits: error rate, p95, crash loop, no success at all. Looked at all the time, each with a floor of requests.

use super::{
    Check, Finding, Sample, Settings, percent,
    statistics::{Share, chance},
};
use crate::{gate::Verdict, time::Timestamp};
use serde::{Deserialize, Serialize};

/// How unlikely it must be that a set as good as the old one looks so bad.
///
/// Apart from the alpha of the comparison: a rail needs this at every look of its whole duration, not at one.
const LEVEL: f64 = 0.01;

/// Since when a limit has been crossed by a set that is worse than the old one. Part of what a restart must find again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rails {
    /// The error rate's.
    pub errors_since: Option<Timestamp>,
    /// p95's.
    pub slow_since: Option<Timestamp>,
}

/// What crossing a limit means beside the old set.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Beside {
    /// Nothing to compare with, or too little of it to excuse anything: the limit alone counts.
    Alone,
    /// Clearly worse than the old set.
    Worse,
    /// The old set crosses the limit too, and is about as bad.
    AsBad,
    /// The old set keeps the limit, and the difference may be chance.
    Unclear,
}

/// A limit on a share of the requests.
struct Limit {
    check: Check,
    /// The share that crosses it.
    share: f64,
    new: Share,
    old: Option<Share>,
    value: String,
    threshold: String,
}

impl Rails {
    /// Judges the newest window; to be called again and again with the present instant.
    ///
    /// Too few requests leave a limit that was being crossed as it was: they say neither good nor bad.
    pub fn look(&mut self, settings: &Settings, now: Timestamp, sample: &Sample) -> Vec<Finding> {
        let (watch, old) = (&settings.watch, sample.old.as_ref());
        let errors = Limit {
            check: Check::ErrorLimit,
            share: f64::from(watch.error_percent) / 100.0,
            new: sample.new.error_share(),
            old: old.map(|old| old.error_share()),
            value: format!("error rate {}", percent(sample.new.error_share().rate())),
            threshold: format!("{} %", watch.error_percent),
        };
        // p95 is above the limit exactly when more than 5 % of the requests take longer; as a share it has an exact test at any count.
        let slow = Limit {
            check: Check::P95Limit,
            share: 0.05,
            new: sample.new.slower_than(watch.p95_ms),
            old: old.map(|old| old.slower_than(watch.p95_ms)),
            value: sample.new.p95_ms().map_or("no p95".into(), |p95| format!("p95 {p95} ms")),
            threshold: format!("{} ms", watch.p95_ms),
        };
        vec![
            lasting(&mut self.errors_since, settings, now, errors),
            lasting(&mut self.slow_since, settings, now, slow),
            crash_loop(settings, sample),
            zero_success(settings, sample),
        ]
    }
}

fn lasting(since: &mut Option<Timestamp>, settings: &Settings, now: Timestamp, limit: Limit) -> Finding {
    let (floor, has) = (settings.watch.min_samples.max(1), limit.new.of as u64);
    let finding = |verdict, sentence: String| Finding::new(limit.check, verdict, limit.value.clone(), limit.threshold.clone(), sentence);
    let seen = format!("{} over {has} requests", limit.value);
    if has < floor {
        return finding(Verdict::Inconclusive, "too few requests for the limit".into()).needing(Some(floor), has);
    }
    if limit.new.rate() <= limit.share {
        *since = None;
        return finding(Verdict::Pass, format!("{seen} keeps the limit of {}", limit.threshold));
    }
    let above = format!("{seen} is above {}", limit.threshold);
    match beside(limit.new, limit.old, limit.share, floor) {
        Beside::AsBad => {
            *since = None;
            finding(Verdict::Pass, format!("{above}, and the old set is no better"))
        }
        Beside::Unclear => {
            *since = None;
            finding(Verdict::Inconclusive, format!("{above}, which may be chance beside the old set"))
        }
        beside => {
            let (lasted, wanted) = (now.since(*since.get_or_insert(now)), settings.watch.sustained_ms);
            let beside = if beside == Beside::Worse { ", worse than the old set," } else { "" };
            let lasted_ms = lasted.as_millis() as u64;
            let sentence = format!("{above}{beside} for {} s of {} s", lasted_ms / 1000, wanted / 1000);
            finding(if lasted_ms >= wanted { Verdict::Fail } else { Verdict::Inconclusive }, sentence)
        }
    }
}

fn crash_loop(settings: &Settings, sample: &Sample) -> Finding {
    let threshold = format!("fewer than {} restarts", settings.crash_loop);
    let finding = |verdict, value: String, sentence: String| Finding::new(Check::CrashLoop, verdict, value, threshold.clone(), sentence);
    let Some(restarts) = sample.new.restarts else {
        return finding(Verdict::Inconclusive, "unknown".into(), "it is not known whether instances were started again".into());
    };
    let value = format!("{restarts} restarts");
    let old = sample.old.as_ref().and_then(|old| old.restarts);
    match old {
        _ if restarts < settings.crash_loop.max(1) => {
            finding(Verdict::Pass, value, format!("instances were started again {restarts} times, no crash loop"))
        }
        Some(old) if old >= restarts => {
            finding(Verdict::Pass, value, format!("instances were started again {restarts} times, those of the old set {old} times"))
        }
        _ => finding(Verdict::Fail, value, format!("crash loop: instances were started again {restarts} times")),
    }
}

fn zero_success(settings: &Settings, sample: &Sample) -> Finding {
    let (floor, share) = (settings.watch.min_samples.max(1), sample.new.error_share());
    let (has, succeeded) = (sample.new.requests, (share.of - share.count) as u64);
    let finding = |verdict, sentence: String| {
        Finding::new(Check::ZeroSuccess, verdict, format!("{succeeded} of {has} requests succeeded"), "any", sentence)
    };
    if succeeded > 0 {
        return finding(Verdict::Pass, format!("{succeeded} of {has} requests succeeded"));
    }
    if has < floor {
        return finding(Verdict::Inconclusive, "no request has succeeded yet".into()).needing(Some(floor), has);
    }
    match beside(share, sample.old.as_ref().map(|old| old.error_share()), 0.0, floor) {
        Beside::Alone | Beside::Worse => finding(Verdict::Fail, format!("none of {has} requests succeeded")),
        Beside::AsBad | Beside::Unclear => {
            finding(Verdict::Pass, format!("none of {has} requests succeeded, and the old set is no better"))
        }
    }
}

/// Compares a share that crosses its limit with the old set's.
fn beside(new: Share, old: Option<Share>, limit: f64, floor: u64) -> Beside {
    match old.filter(|old| old.of >= floor as f64) {
        None => Beside::Alone,
        Some(old) if chance(new, old) <= LEVEL => Beside::Worse,
        Some(old) if old.rate() > limit => Beside::AsBad,
        Some(_) => Beside::Unclear,
    }
}
