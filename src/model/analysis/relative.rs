//! The new set against the old one beside it, at planned looks.

use super::{
    Check, Finding, Look, Sample, SetSample, Settings, percent,
    statistics::{Share, chance, difference, needed_for_rank_above, rank_above, rank_below, sample_size},
};
use crate::gate::Verdict;

/// How sure a pass is that the rise of the error rate is tolerable: one-sided 95 %.
const PASS_LEVEL: f64 = 0.05;
/// How sure each of the two bounds behind a pass of p95 is. Two independent bounds of 90 % that do not meet are as strict as one
/// test of about 96 %, and never less than 80 %.
const PASS_RANK_LEVEL: f64 = 0.1;
/// The power behind "needs N".
const POWER: f64 = 0.8;
/// Timed requests below which p95 is not compared: the interval would reach from about p90 to the slowest request.
const P95_FLOOR: u64 = 200;
/// Beyond this no number of requests is named.
const MOST: f64 = 1e9;
/// Errors and p95 each get their part of what a look may spend.
const MEASURES: f64 = 2.0;

/// Compares errors and p95 of everything since the new set got its traffic. Without an old set there is nothing to compare, and no finding.
pub fn relative(settings: &Settings, look: Look, sample: &Sample) -> Vec<Finding> {
    let Some(old) = &sample.old else { return Vec::new() };
    let level = settings.spending.at(look, f64::from(settings.alpha_permille) / 1000.0) / MEASURES;
    vec![errors(settings, level, &sample.new, old), p95(settings, level, &sample.new, old)]
}

/// Fails when the new set's errors are more than chance explains and more than is tolerated; passes when the rise is tolerable for sure.
fn errors(settings: &Settings, level: f64, new: &SetSample, old: &SetSample) -> Finding {
    let (new, old) = (new.error_share(), old.error_share());
    let (floor, tolerated) = (settings.watch.min_samples.max(1), settings.tolerance.error_rise(old.rate()));
    let value = format!("{} new, {} old", percent(new.rate()), percent(old.rate()));
    let finding = |verdict, sentence: String| {
        Finding::new(Check::Errors, verdict, value.clone(), format!("at most {} more", points(tolerated)), sentence)
    };
    if let Some(short) = too_few(new.of, old.of, floor, &finding, "errors") {
        return short;
    }
    let (rise, chance) = (new.rate() - old.rate(), chance(new, old));
    let seen = format!("error rate {} of {} requests beside {} of {}", percent(new.rate()), new.of, percent(old.rate()), old.of);
    if chance <= level && rise > tolerated {
        return finding(
            Verdict::Fail,
            format!("{seen} is worse: by chance in {} of cases, and this look allows {}", percent(chance), percent(level)),
        );
    }
    let most = difference(new, old, PASS_LEVEL).1;
    if most <= tolerated {
        return finding(Verdict::Pass, format!("{seen}: with 95 % certainty at most {} more", points(most)));
    }
    let ratio = old.of / new.of;
    let needs = match rise < tolerated {
        true => requests_until(new.of, |of| {
            let (new, old) = (Share { count: new.rate() * of, of }, Share { count: old.rate() * of * ratio, of: of * ratio });
            difference(new, old, PASS_LEVEL).1 <= tolerated
        }),
        false => {
            Some(sample_size(old.rate(), new.rate(), ratio, level, POWER)).filter(|needs| *needs <= MOST).map(|needs| needs.ceil() as u64)
        }
    };
    finding(Verdict::Inconclusive, format!("{seen} may be up to {} more", points(most)))
        .needing(needs.map(|needs| needs.max(new.of as u64 + 1)), new.of as u64)
}

/// Compares order-statistic intervals: fails when even the new set's low bound is above what the old set's high bound allows.
///
/// A bucket's bound stands for its values: at most 1 % or 1 ms too much, well inside any tolerance.
fn p95(settings: &Settings, level: f64, new: &SetSample, old: &SetSample) -> Finding {
    let tolerance = &settings.tolerance;
    let allowed = |old_ms: u64| tolerance.p95_beside(old_ms);
    let shown = |set: &SetSample| set.p95_ms().map_or("none".into(), |p95| format!("{p95} ms"));
    let (value, threshold) =
        (format!("{} new, {} old", shown(new), shown(old)), format!("at most {} % or {} ms more", tolerance.p95_percent, tolerance.p95_ms));
    let finding = |verdict, sentence: String| Finding::new(Check::P95, verdict, value.clone(), threshold.clone(), sentence);
    let floor = settings.watch.min_samples.max(P95_FLOOR);
    if let Some(short) = too_few(new.timed() as f64, old.timed() as f64, floor, &finding, "p95") {
        return short;
    }
    // Either bound may be wrong, so each gets half.
    let (low, high) = (bounds(new, level / 2.0), bounds(old, level / 2.0));
    if let (Some(low), Some(high)) = (low.0, high.1)
        && low > allowed(high)
    {
        return finding(Verdict::Fail, format!("p95 is at least {low} ms beside at most {high} ms on the old set"));
    }
    let (of_new, of_old) = (bounds(new, PASS_RANK_LEVEL), bounds(old, PASS_RANK_LEVEL));
    let (Some(at_most), Some(at_least)) = (of_new.1, of_old.0) else {
        let needs = needed_for_rank_above(0.95, PASS_RANK_LEVEL);
        return finding(Verdict::Inconclusive, "too few requests for p95".into()).needing(Some(needs), new.timed());
    };
    if at_most <= allowed(at_least) {
        return finding(Verdict::Pass, format!("p95 is at most {at_most} ms beside at least {at_least} ms on the old set"));
    }
    // Intervals shrink with the root of the count: so many more until they no longer reach across the distance that there is.
    let (new_ms, limit) = (new.p95_ms().unwrap_or_default() as f64, allowed(old.p95_ms().unwrap_or_default()) as f64);
    let reach = match new_ms <= limit {
        true => (at_most as f64 - new_ms) + (limit - allowed(at_least) as f64),
        false => (new_ms - low.0.unwrap_or_default() as f64) + (allowed(high.1.unwrap_or(at_most)) as f64 - limit),
    };
    let needs = new.timed() as f64 * (reach / (new_ms - limit)).powi(2);
    let needs = (needs <= MOST).then(|| (needs.ceil() as u64).max(new.timed() + 1));
    let sentence = format!("p95 may be up to {at_most} ms beside at least {at_least} ms on the old set");
    finding(Verdict::Inconclusive, sentence).needing(needs, new.timed())
}

/// Returns the bounds between which p95 lies, each with this level; none where there are too few requests for one.
fn bounds(set: &SetSample, level: f64) -> (Option<u64>, Option<u64>) {
    let at = |rank: Option<u64>| rank.and_then(|rank| set.at_rank(rank));
    (at(rank_below(set.timed(), 0.95, level)), at(rank_above(set.timed(), 0.95, level)))
}

fn too_few(new: f64, old: f64, floor: u64, finding: &impl Fn(Verdict, String) -> Finding, what: &str) -> Option<Finding> {
    let short = |of: f64, set: &str| {
        (of < floor as f64).then(|| {
            finding(Verdict::Inconclusive, format!("too few requests to the {set} set to compare {what}")).needing(Some(floor), of as u64)
        })
    };
    short(new, "new").or_else(|| short(old, "old"))
}

/// Returns the smallest number of requests from `from` on that is enough; none when none in sight is.
fn requests_until(from: f64, enough: impl Fn(f64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (from, from);
    while !enough(high) {
        low = high;
        high *= 2.0;
        if high > MOST {
            return None;
        }
    }
    while high - low > 1.0 {
        let middle = ((low + high) / 2.0).floor();
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high.ceil() as u64)
}

/// Returns `1.00 points`.
fn points(rise: f64) -> String {
    format!("{:.2} points", rise * 100.0)
}
