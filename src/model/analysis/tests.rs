//! What analysis says: tables, laws that always hold, and how often it is wrong when it is run thousands of times.

use super::*;
use crate::time::Timestamp;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const WATCH: Watch = Watch { error_percent: 5, p95_ms: 500, sustained_ms: 120_000, min_samples: 20 };

fn settings() -> Settings {
    Settings::new(WATCH)
}

fn set(requests: u64, errors: u64, latency_ms: u64) -> SetSample {
    SetSample { requests, errors, latency_ms: [(latency_ms, requests)].into(), restarts: Some(0) }
}

fn beside(new: SetSample, old: SetSample) -> Sample {
    Sample { new, old: Some(old), traffic: Traffic::Customers }
}

fn alone(new: SetSample) -> Sample {
    Sample { new, old: None, traffic: Traffic::Customers }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

/// Returns what a check says after it was looked at from second 0 to this second, with always the same sample.
fn rail(check: Check, sample: &Sample, seconds: i64) -> (Verdict, String) {
    let mut rails = Rails::default();
    rails.look(&settings(), at(0), sample);
    let found = rails.look(&settings(), at(seconds), sample).into_iter().find(|finding| finding.check == check).unwrap();
    (found.verdict, found.sentence)
}

fn compared(check: Check, sample: &Sample, look: Look) -> Finding {
    relative(&settings(), look, sample).into_iter().find(|finding| finding.check == check).unwrap()
}

const FIRST: Look = Look { number: 1, of: 5 };

#[test]
fn an_absolute_limit_fires_when_it_is_crossed_for_its_duration() {
    for (check, bad, good) in [(Check::ErrorLimit, set(100, 6, 5), set(100, 5, 5)), (Check::P95Limit, set(100, 0, 501), set(100, 0, 500))] {
        assert_eq!(rail(check, &alone(bad.clone()), 119).0, Verdict::Inconclusive);
        assert_eq!(rail(check, &alone(bad), 120).0, Verdict::Fail);
        assert_eq!(rail(check, &alone(good), 1000).0, Verdict::Pass);
    }
    assert_eq!(rail(Check::ErrorLimit, &alone(set(100, 6, 5)), 30).1, "error rate 6.00 % over 100 requests is above 5 % for 30 s of 120 s");
}

#[test]
fn a_recovery_starts_the_duration_again_and_silence_does_not() {
    let mut rails = Rails::default();
    let mut look = |seconds, sample: SetSample| rails.look(&settings(), at(seconds), &alone(sample))[0].verdict;
    look(0, set(100, 50, 5));
    look(60, set(100, 0, 5));
    assert_eq!(look(121, set(100, 50, 5)), Verdict::Inconclusive);
    assert_eq!(look(180, set(3, 0, 5)), Verdict::Inconclusive);
    assert_eq!(look(241, set(100, 50, 5)), Verdict::Fail);
}

#[test]
fn what_is_bad_already_may_still_deploy() {
    let old = set(1000, 300, 900);
    for (check, new) in [(Check::ErrorLimit, set(200, 62, 5)), (Check::P95Limit, set(200, 0, 950)), (Check::ZeroSuccess, set(200, 140, 5))]
    {
        let (verdict, sentence) = rail(check, &beside(new, old.clone()), 1000);
        assert_eq!(verdict, Verdict::Pass, "{sentence}");
    }
    // Much worse than bad is still worse.
    assert_eq!(rail(Check::ErrorLimit, &beside(set(200, 120, 5), old), 120).0, Verdict::Fail);
    // An old set that was hardly asked excuses nothing.
    assert_eq!(rail(Check::ErrorLimit, &beside(set(200, 120, 5), set(19, 19, 5)), 120).0, Verdict::Fail);
    // A good old set, and too little to tell: not yet.
    assert_eq!(rail(Check::ErrorLimit, &beside(set(50, 3, 5), set(50, 2, 5)), 1000).0, Verdict::Inconclusive);
}

#[test]
fn no_success_at_all_fires_at_once_and_only_with_enough_requests() {
    assert_eq!(rail(Check::ZeroSuccess, &alone(set(20, 20, 5)), 0).0, Verdict::Fail);
    assert_eq!(rail(Check::ZeroSuccess, &alone(set(20, 19, 5)), 0).0, Verdict::Pass);
    let (verdict, sentence) = rail(Check::ZeroSuccess, &alone(set(19, 19, 5)), 0);
    assert_eq!((verdict, sentence.as_str()), (Verdict::Inconclusive, "no request has succeeded yet: needs 20, has 19"));
    assert_eq!(rail(Check::ZeroSuccess, &beside(set(50, 50, 5), set(100, 100, 5)), 0).0, Verdict::Pass);
}

#[test]
fn a_crash_loop_fires_at_once_unless_the_old_set_loops_too() {
    let crashing = |restarts| SetSample { restarts, ..set(100, 0, 5) };
    assert_eq!(rail(Check::CrashLoop, &alone(crashing(Some(2))), 0).0, Verdict::Pass);
    assert_eq!(rail(Check::CrashLoop, &alone(crashing(Some(3))), 0).0, Verdict::Fail);
    assert_eq!(rail(Check::CrashLoop, &alone(crashing(None)), 0).0, Verdict::Inconclusive);
    assert_eq!(rail(Check::CrashLoop, &beside(crashing(Some(3)), crashing(Some(4))), 0).0, Verdict::Pass);
    assert_eq!(rail(Check::CrashLoop, &beside(crashing(Some(5)), crashing(Some(4))), 0).0, Verdict::Fail);
}

#[test]
fn errors_are_compared_with_the_old_set() {
    for (new, old, verdict) in [
        (set(1000, 10, 5), set(9000, 90, 5), Verdict::Pass),
        (set(1000, 30, 5), set(9000, 90, 5), Verdict::Fail),
        (set(1000, 0, 5), set(9000, 2000, 5), Verdict::Pass),
        (set(100, 1, 5), set(900, 9, 5), Verdict::Inconclusive),
        (set(19, 19, 5), set(900, 9, 5), Verdict::Inconclusive),
        (set(900, 9, 5), set(19, 0, 5), Verdict::Inconclusive),
        // A fifth more than a high rate is alike, as with p95.
        (set(9000, 1890, 5), set(9000, 1800, 5), Verdict::Pass),
        // Surely worse, and by so little that it does not matter.
        (set(1_000_000, 5_000, 5), set(1_000_000, 4_000, 5), Verdict::Pass),
        // Far over the tolerance, and chance explains it.
        (set(20, 1, 5), set(1000, 0, 5), Verdict::Inconclusive),
    ] {
        let found = compared(Check::Errors, &beside(new, old), FIRST);
        assert_eq!(found.verdict, verdict, "{}", found.sentence);
    }
}

#[test]
fn what_is_not_clear_says_how_many_requests_would_make_it() {
    let few = compared(Check::Errors, &beside(set(100, 1, 5), set(900, 9, 5)), FIRST);
    let (needs, has) = (few.needs.unwrap(), few.has.unwrap());
    assert!(few.sentence.ends_with(&format!(": needs {needs}, has 100")) && has == 100, "{}", few.sentence);
    // As many, at the same rates, do it; a tenth fewer do not.
    let again =
        |requests: u64| compared(Check::Errors, &beside(set(requests, requests / 100, 5), set(requests * 9, requests * 9 / 100, 5)), FIRST);
    assert_eq!(again(needs.next_multiple_of(100)).verdict, Verdict::Pass);
    assert_eq!(again(needs * 9 / 10 / 100 * 100).verdict, Verdict::Inconclusive);
    let none = compared(Check::Errors, &beside(set(0, 0, 5), set(900, 9, 5)), FIRST);
    assert_eq!((none.needs, none.has), (Some(20), Some(0)));
    assert_eq!(none.sentence, "too few requests to the new set to compare errors: needs 20, has 0");
}

#[test]
fn p95_is_compared_by_its_interval() {
    let spread = |count: u64, factor: u64| SetSample {
        requests: count * 100,
        latency_ms: (1..=100).map(|step| (step * factor, count)).collect(),
        restarts: Some(0),
        errors: 0,
    };
    for (new, old, verdict) in [
        (spread(10, 1), spread(10, 1), Verdict::Pass),
        (spread(10, 2), spread(10, 1), Verdict::Fail),
        (spread(1, 2), spread(10, 1), Verdict::Inconclusive),
        // 5 % more is alike.
        (spread(100, 20), spread(100, 19), Verdict::Pass),
        // 40 % more than 3 ms is nothing.
        (set(1000, 0, 7), set(1000, 0, 5), Verdict::Pass),
    ] {
        let found = compared(Check::P95, &beside(new, old), FIRST);
        assert_eq!(found.verdict, verdict, "{}", found.sentence);
    }
    let short = compared(Check::P95, &beside(spread(1, 2), spread(10, 1)), FIRST);
    assert_eq!(short.sentence, "too few requests to the new set to compare p95: needs 200, has 100");
    let close = compared(Check::P95, &beside(spread(3, 13), spread(3, 10)), FIRST);
    assert!(close.verdict == Verdict::Inconclusive && close.needs.is_some_and(|needs| needs > 300), "{}", close.sentence);
}

#[test]
fn nothing_to_compare_with_leaves_the_limits_alone() {
    assert_eq!(relative(&settings(), FIRST, &alone(set(1000, 10, 5))), []);
    let mut rails = Rails::default();
    let judged = |findings| Analysis::of(findings, Traffic::Customers);
    assert_eq!(judged(rails.look(&settings(), at(0), &alone(set(1000, 10, 5)))).verdict, Verdict::Pass);
    assert_eq!(judged(rails.look(&settings(), at(0), &alone(SetSample::default()))).verdict, Verdict::Inconclusive);
    assert_eq!(judged(Vec::new()).verdict, Verdict::Inconclusive);
}

#[test]
fn the_worst_judgement_comes_first_and_probes_are_named() {
    let sample = Sample { traffic: Traffic::Synthetic, ..beside(set(1000, 40, 5), set(1000, 5, 5)) };
    let mut findings = Rails::default().look(&settings(), at(0), &sample);
    findings.extend(relative(&settings(), FIRST, &sample));
    let analysis = Analysis::of(findings, sample.traffic);
    assert_eq!((analysis.verdict, analysis.findings[0].check), (Verdict::Fail, Check::Errors));
    assert_eq!(analysis.sentences().count(), 1);
    assert!(analysis.findings.iter().all(|finding| finding.sentence.ends_with(" (our own probes, not customers)")));
}

#[test]
fn a_look_that_was_not_planned_fails_nothing() {
    let sample = beside(set(1000, 30, 5), set(9000, 90, 5));
    assert_eq!(compared(Check::Errors, &sample, Look { number: 5, of: 5 }).verdict, Verdict::Fail);
    assert_eq!(compared(Check::Errors, &sample, Look { number: 6, of: 5 }).verdict, Verdict::Inconclusive);
}

fn any_set() -> impl Strategy<Value = SetSample> {
    (0u64..3000, 0u64..3000, proptest::collection::btree_map(1u64..2000, 1u64..200, 0..12))
        .prop_map(|(requests, errors, latency_ms)| SetSample { requests, errors: errors.min(requests), latency_ms, restarts: Some(0) })
}

proptest! {
    #[test]
    fn no_data_is_never_a_pass(old in any_set(), number in 1u32..6) {
        let sample = beside(SetSample::default(), old);
        let mut findings = Rails::default().look(&settings(), at(0), &sample);
        findings.extend(relative(&settings(), Look { number, of: 5 }, &sample));
        prop_assert!(findings.iter().all(|finding| finding.verdict == Verdict::Inconclusive));
    }

    #[test]
    fn no_old_data_is_never_a_pass_of_a_comparison(new in any_set(), number in 1u32..6) {
        let found = relative(&settings(), Look { number, of: 5 }, &beside(new, SetSample::default()));
        prop_assert!(found.iter().all(|finding| finding.verdict == Verdict::Inconclusive));
    }

    #[test]
    fn two_sets_are_never_both_worse(one in any_set(), two in any_set(), number in 1u32..6) {
        let look = Look { number, of: 5 };
        let (there, back) = (relative(&settings(), look, &beside(one.clone(), two.clone())), relative(&settings(), look, &beside(two, one)));
        for (there, back) in there.into_iter().zip(back) {
            prop_assert!(there.verdict != Verdict::Fail || back.verdict != Verdict::Fail);
        }
    }

    #[test]
    fn more_errors_are_never_better(new in any_set(), old in any_set(), more in 1u64..500) {
        let worse = SetSample { errors: (new.errors + more).min(new.requests), ..new.clone() };
        let verdict = |set: SetSample| severity(compared(Check::Errors, &beside(set, old.clone()), FIRST).verdict);
        prop_assert!(verdict(worse) <= verdict(new));
    }

    #[test]
    fn slower_is_never_better(new in any_set(), old in any_set(), factor in 2u64..5) {
        let slower = SetSample { latency_ms: new.latency_ms.iter().map(|(ms, count)| (ms * factor, *count)).collect(), ..new.clone() };
        let verdict = |set: SetSample| severity(compared(Check::P95, &beside(set, old.clone()), FIRST).verdict);
        prop_assert!(verdict(slower) <= verdict(new));
    }

    #[test]
    fn whatever_is_asked_is_answered(new in any_set(), old in proptest::option::of(any_set()), number in 0u32..9, of in 0u32..9) {
        let sample = Sample { new, old, traffic: Traffic::Customers };
        let mut findings = Rails::default().look(&settings(), at(0), &sample);
        findings.extend(relative(&settings(), Look { number, of }, &sample));
        for finding in findings {
            prop_assert!(finding.verdict == Verdict::Inconclusive || finding.needs.is_none());
            prop_assert!(finding.needs.zip(finding.has).is_none_or(|(needs, has)| needs > has), "{}", finding.sentence);
        }
    }
}

/// Returns how many of `of` requests fail, each with this probability: by the gaps between failures, so that rare ones cost little.
fn failures(random: &mut StdRng, of: u64, rate: f64) -> u64 {
    let (mut seen, mut failed) = (0.0, 0);
    loop {
        seen += ((1.0 - random.random::<f64>()).ln() / (1.0 - rate).ln()).floor() + 1.0;
        if seen > of as f64 {
            return failed;
        }
        failed += 1;
    }
}

/// Runs 5 looks of 200 new and 600 old requests each; returns how many of `runs` fail at any look, judged by `fails`.
fn alarms(seed: u64, runs: u32, new_rate: f64, old_rate: f64, fails: impl Fn(Look, &Sample) -> bool) -> u32 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut alarms = 0;
    for _ in 0..runs {
        let (mut new, mut old) = (SetSample::default(), SetSample::default());
        let is_alarm = (1..=5).any(|number| {
            (new.requests, old.requests) = (new.requests + 200, old.requests + 600);
            new.errors += failures(&mut random, 200, new_rate);
            old.errors += failures(&mut random, 600, old_rate);
            fails(Look { number, of: 5 }, &beside(new.clone(), old.clone()))
        });
        alarms += u32::from(is_alarm);
    }
    alarms
}

/// Without a tolerance the test alone has to hold the level.
fn strict(look: Look, sample: &Sample) -> bool {
    let mut settings = settings();
    (settings.tolerance.error_percent, settings.tolerance.error_permille) = (0, 0);
    relative(&settings, look, sample).iter().any(|finding| finding.verdict == Verdict::Fail)
}

#[test]
fn false_alarms_over_all_looks_stay_within_alpha() {
    const RUNS: u32 = 2000;
    // 5 % and three standard errors of 2,000 runs.
    let most = RUNS as f64 * 0.05 + 3.0 * (RUNS as f64 * 0.05 * 0.95).sqrt();
    for (seed, rate) in [(1, 0.002), (2, 0.01), (3, 0.2)] {
        let found = alarms(seed, RUNS, rate, rate, strict);
        println!("error rate {rate}: {found} false alarms in {RUNS} runs");
        assert!(f64::from(found) <= most, "{found} of {RUNS} at {rate}");
    }
    // The same harness sees a level that is not spread over the looks: 5 % at each of five (14.2 % for a two-sided z-test,
    // Armitage, McPherson, Rowe, *JRSS A* 132 (1969), table 2).
    let careless = alarms(3, RUNS, 0.2, 0.2, |_, sample| {
        statistics::chance(sample.new.error_share(), sample.old.as_ref().unwrap().error_share()) <= 0.05
    });
    println!("5 % at each look: {careless} false alarms in {RUNS} runs");
    assert!(f64::from(careless) > most, "{careless} of {RUNS}");
}

#[test]
fn a_tripled_error_rate_is_caught() {
    const RUNS: u32 = 1000;
    let fails = |look, sample: &Sample| relative(&settings(), look, sample).iter().any(|finding| finding.verdict == Verdict::Fail);
    let caught = alarms(4, RUNS, 0.03, 0.01, fails);
    println!("1 % to 3 %, 1,000 new and 3,000 old requests: caught in {caught} of {RUNS} runs");
    assert!(caught >= 900, "{caught} of {RUNS}");
}

/// Runs 300 s of both sets, 4 and 16 requests a second; the rails look every 15 s, the comparison every 60 s. Returns (failed, passed).
fn bakes(seed: u64, runs: u32, rates: (f64, f64), millis: (f64, f64)) -> (u32, u32) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut failed, mut passed) = (0, 0);
    for _ in 0..runs {
        let mut sample = beside(set(0, 0, 5), set(0, 0, 5));
        let (mut rails, mut last) = (Rails::default(), Vec::new());
        for second in (15..=300).step_by(15) {
            serve(&mut random, &mut sample.new, 60, rates.0, millis.0);
            serve(&mut random, sample.old.as_mut().unwrap(), 240, rates.1, millis.1);
            last = rails.look(&settings(), at(second), &sample);
            if second % 60 == 0 {
                last.extend(relative(&settings(), Look { number: second as u32 / 60, of: 5 }, &sample));
            }
            if last.iter().any(|finding| finding.verdict == Verdict::Fail) {
                break;
            }
        }
        match Analysis::of(last, Traffic::Customers).verdict {
            Verdict::Fail => failed += 1,
            Verdict::Pass => passed += 1,
            Verdict::Inconclusive => {}
        }
    }
    (failed, passed)
}

fn serve(random: &mut StdRng, set: &mut SetSample, requests: u64, rate: f64, mean_ms: f64) {
    set.requests += requests;
    set.errors += failures(random, requests, rate);
    for _ in 0..requests {
        *set.latency_ms.entry((-mean_ms * (1.0 - random.random::<f64>()).ln()) as u64 + 1).or_default() += 1;
    }
}

#[test]
fn a_whole_bake_is_right_nearly_always() {
    const RUNS: u32 = 100;
    for (seed, what, rates, millis) in
        [(5, "good", (0.005, 0.005), (40.0, 40.0)), (6, "failing and slow already", (0.2, 0.2), (400.0, 400.0))]
    {
        let (failed, passed) = bakes(seed, RUNS, rates, millis);
        println!("{what}, and no worse: {failed} failed, {passed} passed of {RUNS}");
        assert!(failed <= RUNS / 20 && passed >= RUNS / 2, "{what}: {failed} failed, {passed} passed of {RUNS}");
    }
    for (seed, what, rates, millis) in [
        (7, "errors", (0.06, 0.005), (40.0, 40.0)),
        (8, "twice as slow", (0.005, 0.005), (80.0, 40.0)),
        (9, "both bad, worse", (0.4, 0.2), (400.0, 400.0)),
    ] {
        let (failed, passed) = bakes(seed, RUNS, rates, millis);
        println!("{what}: {failed} failed, {passed} passed of {RUNS}");
        assert!(failed >= RUNS * 95 / 100 && passed == 0, "{what}: {failed} of {RUNS}");
    }
}
