//! What evidence counts, and what each verdict says: by the dozen, and over generated sets.

use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000_000);
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const HOUR: i64 = 3_600_000;

fn rule(gate: &str, thresholds: &[(&str, &str)]) -> GateRule {
    let threshold = |(name, text): &(&str, &str)| (name.to_string(), (text.parse().unwrap(), "phase phase-06".to_string()));
    GateRule {
        gate: gate.into(),
        directive: "SD-DEPLOY-001".into(),
        thresholds: thresholds.iter().map(threshold).collect(),
        allowed_exit: vec![],
        max_age_ms: 24 * HOUR as u64,
        accepted: [Origin::Observed, Origin::Attested, Origin::Person].into(),
        has_command: true,
        can_claim: false,
    }
}

fn tests_rule() -> GateRule {
    rule("tests", &[("failed", "<= 0"), ("run", ">= 1")])
}

fn measures(values: &[(&str, f64)]) -> Measures {
    Measures { values: values.iter().map(|(name, value)| (name.to_string(), *value)).collect(), notes: vec![] }
}

fn passing() -> Measures {
    measures(&[("run", 10.0), ("failed", 0.0), ("skipped", 0.0)])
}

fn digest() -> Sha256 {
    Sha256::of(b"artifact")
}

/// Judges one observed, passing piece of evidence after `change`.
fn judged(rule: &GateRule, measures: &Measures, change: impl FnOnce(&mut EvidenceView<'_>)) -> GateResult {
    let (sha256, digest) = (Sha256::of(b"report"), digest());
    let mut view = observed(&sha256, &digest, measures);
    change(&mut view);
    evaluate(rule, &[view], Some(COMMIT), &digest, NOW)
}

fn observed<'a>(sha256: &'a Sha256, digest: &'a Sha256, measures: &'a Measures) -> EvidenceView<'a> {
    EvidenceView {
        origin: Origin::Observed,
        sha256,
        measures: Some(measures),
        fault: None,
        exit_code: Some(0),
        commit: Some(COMMIT),
        digest,
        recorded_at: Timestamp(NOW.0 - HOUR),
    }
}

#[test]
fn fresh_observed_evidence_within_every_threshold_passes() {
    let result = judged(&tests_rule(), &passing(), |_| {});
    assert_eq!(result.verdict, Verdict::Pass);
    assert_eq!(result.rule, "failed <= 0, run >= 1");
    assert_eq!(result.value.as_deref(), Some("failed = 0, run = 10"));
    assert_eq!((result.needs, result.who, result.how, result.live), (None, None, None, false));
    assert_eq!(result.evidence_sha256, Some(Sha256::of(b"report")));
    assert_eq!(result.asked_by, "phase phase-06");
}

#[test]
fn a_failure_names_value_threshold_and_the_way_on() {
    let failed = Measures { notes: vec!["a::b `x`".into()], ..measures(&[("run", 10.0), ("failed", 2.0)]) };
    let result = judged(&tests_rule(), &failed, |view| view.exit_code = Some(100));
    assert_eq!(result.verdict, Verdict::Fail);
    assert_eq!(result.reason, "failed is 2, must be <= 0 (`a::b 'x'`)");
    assert_eq!((result.needs.as_deref(), result.who), (Some("failed <= 0"), Some(Who::Agent)));
    assert!(result.how.unwrap().ends_with("`create_directive` for it, then `run_predeploy_checks`"));
}

#[test]
fn what_does_not_stand_is_inconclusive_and_says_why() {
    let (other, measures) = (Sha256::of(b"other"), passing());
    let reason = |change: &dyn Fn(&mut EvidenceView<'_>)| {
        let (sha256, digest) = (Sha256::of(b"report"), digest());
        let mut view = observed(&sha256, &digest, &measures);
        change(&mut view);
        let result = evaluate(&tests_rule(), &[view], Some(COMMIT), &digest, NOW);
        assert_eq!((result.verdict, result.evidence_sha256), (Verdict::Inconclusive, None));
        assert!(result.needs.is_some() && result.who.is_some());
        assert_eq!(result.how.unwrap(), "call `run_predeploy_checks` with `{\"directive\": \"SD-DEPLOY-001\"}`");
        result.reason
    };
    assert!(reason(&|view| view.origin = Origin::Claimed).contains("claimed, and only observed, person, attested counts"));
    assert!(reason(&|view| view.commit = Some("ffff")).contains("for the commit ffff, not for 0123456789ab"));
    assert!(reason(&|view| view.commit = None).contains("for no commit"));
    assert!(reason(&|view| view.recorded_at = Timestamp(NOW.0 - 25 * HOUR)).contains("25 h old, and at most 24 h"));
    assert!(reason(&|view| view.recorded_at = Timestamp(NOW.0 + 1)).contains("in the future"));

    let (sha256, digest) = (Sha256::of(b"report"), digest());
    let foreign = evaluate(&tests_rule(), &[observed(&sha256, &other, &measures)], Some(COMMIT), &digest, NOW);
    assert!(foreign.reason.contains("for the artifact"), "{}", foreign.reason);
    assert_eq!(evaluate(&tests_rule(), &[], Some(COMMIT), &digest, NOW).reason, "there is no evidence for `tests`");
}

#[test]
fn the_edges_of_age_count() {
    assert_eq!(judged(&tests_rule(), &passing(), |view| view.recorded_at = NOW).verdict, Verdict::Pass);
    assert_eq!(judged(&tests_rule(), &passing(), |view| view.recorded_at = Timestamp(NOW.0 - 24 * HOUR)).verdict, Verdict::Pass);
    let stale = judged(&tests_rule(), &passing(), |view| view.recorded_at = Timestamp(NOW.0 - 24 * HOUR - 1));
    assert_eq!(stale.verdict, Verdict::Inconclusive);
}

#[test]
fn evidence_that_says_nothing_is_inconclusive() {
    let nothing = |gate: &str, thresholds: &[(&str, &str)], values: &[(&str, f64)], reason: &str| {
        let result = judged(&rule(gate, thresholds), &measures(values), |_| {});
        assert_eq!(result.verdict, Verdict::Inconclusive, "{reason}");
        assert!(result.reason.contains(reason), "{} / {reason}", result.reason);
        assert!(result.evidence_sha256.is_some() && result.how.is_some());
    };
    nothing("tests", &[("failed", "<= 0")], &[("run", 0.0), ("failed", 0.0), ("skipped", 9.0)], "0 tests");
    nothing("load", &[("error_percent", "<= 1")], &[("requests", 0.0), ("error_percent", 0.0)], "0 requests");
    nothing("coverage", &[("lines_percent", ">= 0")], &[("lines", 0.0)], "0 lines");
    nothing("vulnerabilities", &[("critical", "<= 0")], &[("scanned", 0.0), ("critical", 0.0)], "no scan");
    nothing("outdated", &[("majors_behind", "<= 1")], &[("examined", 0.0), ("majors_behind", 0.0)], "no comparison of packages");
    nothing("outdated", &[("withdrawn", "<= 0")], &[("examined", 9.0), ("majors_behind", 0.0)], "not say `withdrawn`");
    nothing("load", &[("p95_ms", "<= 500"), ("error_percent", "<= 1")], &[("requests", 5.0), ("error_percent", 0.0)], "not say `p95_ms`");
    nothing("load", &[("p95_ms", "<= 500")], &[("requests", 5.0), ("p95_ms", f64::NAN)], "not say `p95_ms`");
}

#[test]
fn a_broken_threshold_fails_even_where_another_has_no_value() {
    let rule = rule("load", &[("p95_ms", "<= 500"), ("error_percent", "<= 1")]);
    assert_eq!(judged(&rule, &measures(&[("requests", 5.0), ("error_percent", 9.0)]), |_| {}).verdict, Verdict::Fail);
}

#[test]
fn unreadable_reports_say_their_fault() {
    let result = judged(&tests_rule(), &passing(), |view| view.fault = Some("the command ran longer than 30 min"));
    assert_eq!((result.verdict, result.reason.as_str()), (Verdict::Inconclusive, "the command ran longer than 30 min"));
    let result = judged(&tests_rule(), &passing(), |view| view.measures = None);
    assert_eq!((result.verdict, result.reason.as_str()), (Verdict::Inconclusive, "the report cannot be read"));
}

#[test]
fn a_passing_report_of_a_failing_command_is_not_believed() {
    let exit = |rule: &GateRule, code| judged(rule, &passing(), |view| view.exit_code = code);
    let refused = exit(&tests_rule(), Some(1));
    assert_eq!(refused.verdict, Verdict::Inconclusive);
    assert!(refused.reason.contains("exited with 1"));
    assert!(refused.how.unwrap().contains("`interlock apply`"));
    assert_eq!(exit(&tests_rule(), None).verdict, Verdict::Inconclusive);
    let lenient = GateRule { allowed_exit: vec![0, 1], ..tests_rule() };
    assert_eq!(exit(&lenient, Some(1)).verdict, Verdict::Pass);
    assert_eq!(exit(&lenient, Some(2)).verdict, Verdict::Inconclusive);
}

#[test]
fn the_latest_that_stands_decides_alone() {
    let (sha256, digest, good, bad) = (Sha256::of(b"report"), digest(), passing(), measures(&[("run", 10.0), ("failed", 1.0)]));
    let (old, new) = (Timestamp(NOW.0 - 2 * HOUR), Timestamp(NOW.0 - HOUR));
    let view = |measures, recorded_at| EvidenceView { recorded_at, ..observed(&sha256, &digest, measures) };
    let verdict = |views: &[EvidenceView<'_>]| evaluate(&tests_rule(), views, Some(COMMIT), &digest, NOW).verdict;
    assert_eq!(verdict(&[view(&bad, new), view(&good, old)]), Verdict::Fail);
    assert_eq!(verdict(&[view(&bad, old), view(&good, new)]), Verdict::Pass);
    assert_eq!(verdict(&[view(&good, new), view(&bad, new)]), Verdict::Fail);
    assert_eq!(verdict(&[view(&good, old), EvidenceView { measures: None, ..view(&good, new) }]), Verdict::Inconclusive);
    // What does not stand does not hide what does.
    assert_eq!(verdict(&[view(&good, old), EvidenceView { origin: Origin::Claimed, ..view(&bad, new) }]), Verdict::Pass);
}

#[test]
fn claiming_is_never_offered_where_it_cannot_count() {
    let asked = |rule: GateRule| evaluate(&rule, &[], Some(COMMIT), &digest(), NOW);
    let bare = GateRule { has_command: false, ..tests_rule() };
    let with_claimed: BTreeSet<_> = [Origin::Claimed, Origin::Observed].into();

    let configure = asked(bare.clone());
    assert_eq!(configure.who, Some(Who::Person));
    assert!(configure.how.unwrap().contains("configure a `command` for `tests` in `[gates]`"));
    // Neither the flag nor the origin alone is enough.
    assert_eq!(asked(GateRule { can_claim: true, ..bare.clone() }).who, Some(Who::Person));
    assert_eq!(asked(GateRule { accepted: with_claimed.clone(), ..bare.clone() }).who, Some(Who::Person));

    let claim = asked(GateRule { can_claim: true, accepted: with_claimed.clone(), ..bare });
    assert_eq!(claim.who, Some(Who::Agent));
    assert!(claim.how.unwrap().contains("`record_evidence` with `{\"directive\": \"SD-DEPLOY-001\", \"kind\": \"tests\""));
    assert!(asked(GateRule { accepted: [Origin::Person].into(), ..tests_rule() }).how.unwrap().contains("interlock apply"));
    assert!(asked(GateRule { can_claim: true, accepted: with_claimed, ..tests_rule() }).how.unwrap().contains("run_predeploy_checks"));
}

#[test]
fn a_gate_without_threshold_or_accepted_origin_never_passes() {
    assert_eq!(judged(&rule("tests", &[]), &passing(), |_| {}).verdict, Verdict::Inconclusive);
    let closed = GateRule { accepted: BTreeSet::new(), ..tests_rule() };
    let result = judged(&closed, &passing(), |_| {});
    assert!(result.verdict == Verdict::Inconclusive && result.reason.contains("only nothing counts"), "{}", result.reason);
}

#[test]
fn a_directive_without_commit_is_bound_by_its_artifact_alone() {
    let (sha256, digest, good) = (Sha256::of(b"report"), digest(), passing());
    let view = EvidenceView { commit: None, ..observed(&sha256, &digest, &good) };
    assert_eq!(evaluate(&tests_rule(), &[view], None, &digest, NOW).verdict, Verdict::Pass);
}

#[test]
fn values_are_rounded_for_reading_but_never_across_the_threshold() {
    let rule = rule("coverage", &[("lines_percent", ">= 80")]);
    let value = |percent| judged(&rule, &measures(&[("lines", 9.0), ("lines_percent", percent)]), |_| {}).value.unwrap();
    assert_eq!(value(71.428_571), "lines_percent = 71.43");
    assert_eq!(value(79.9999), "lines_percent = 79.9999");
    assert_eq!(value(80.0001), "lines_percent = 80");
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::Claimed), Just(Origin::Attested), Just(Origin::Person), Just(Origin::Observed)]
}

/// One generated piece of evidence: every way in which it may count or not.
#[derive(Debug, Clone)]
struct Any {
    origin: Origin,
    age: i64,
    same_commit: bool,
    same_digest: bool,
    fault: bool,
    exit: Option<i32>,
    run: Option<f64>,
    failed: Option<f64>,
}

fn any_evidence() -> impl Strategy<Value = Any> {
    let number = || prop_oneof![Just(None), Just(Some(0.0)), Just(Some(1.0)), Just(Some(7.0)), Just(Some(f64::NAN))];
    let exit = prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    let age = prop_oneof![-2i64..3, 20i64..30];
    let often = || prop::bool::weighted(0.8);
    (origin(), age, often(), often(), prop::bool::weighted(0.2), exit, number(), number()).prop_map(
        |(origin, age, same_commit, same_digest, fault, exit, run, failed)| Any {
            origin,
            age,
            same_commit,
            same_digest,
            fault,
            exit,
            run,
            failed,
        },
    )
}

impl Any {
    /// Says in other words than the evaluator whether this may carry a pass.
    fn may_pass(&self, accepted: &BTreeSet<Origin>) -> bool {
        let stands = accepted.contains(&self.origin) && (0..=24).contains(&self.age) && self.same_commit && self.same_digest;
        let ended = self.exit == Some(0) || (self.exit.is_none() && self.origin != Origin::Observed);
        stands && ended && !self.fault && self.run.is_some_and(|run| run >= 1.0) && self.failed == Some(0.0)
    }
}

proptest! {
    #[test]
    fn nothing_but_counting_evidence_ever_passes(
        all in prop::collection::vec(any_evidence(), 0..6),
        accepted in prop::collection::btree_set(origin(), 0..4),
        has_command: bool,
        can_claim: bool,
    ) {
        let (digest, other, sha256) = (digest(), Sha256::of(b"other"), Sha256::of(b"report"));
        let measures: Vec<_> = all.iter().map(|one| {
            let values = [("run", one.run), ("failed", one.failed)];
            measures(&values.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect::<Vec<_>>())
        }).collect();
        let views: Vec<_> = all.iter().zip(&measures).map(|(one, measures)| EvidenceView {
            origin: one.origin,
            sha256: &sha256,
            measures: Some(measures),
            fault: one.fault.then_some("broken"),
            exit_code: one.exit,
            commit: Some(if one.same_commit { COMMIT } else { "ffff" }),
            digest: if one.same_digest { &digest } else { &other },
            recorded_at: Timestamp(NOW.0 - one.age * HOUR),
        }).collect();
        let rule = GateRule { accepted: accepted.clone(), has_command, can_claim, ..tests_rule() };
        let result = evaluate(&rule, &views, Some(COMMIT), &digest, NOW);

        prop_assert!(result.verdict != Verdict::Pass || all.iter().any(|one| one.may_pass(&accepted)));
        prop_assert_eq!(result.verdict == Verdict::Pass, result.how.is_none());
        prop_assert!(accepted.contains(&Origin::Claimed) || !result.how.as_deref().unwrap_or_default().contains("record_evidence"));
        prop_assert_eq!(&result, &evaluate(&rule, &views, Some(COMMIT), &digest, NOW));
        // The control: one fresh counting piece passes beside any of these.
        let good = passing();
        let with_good: Vec<_> = views.into_iter().chain([EvidenceView { recorded_at: NOW, ..observed(&sha256, &digest, &good) }]).collect();
        let verdict = evaluate(&rule, &with_good, Some(COMMIT), &digest, NOW).verdict;
        prop_assert!(verdict == Verdict::Pass || !accepted.contains(&Origin::Observed));
    }
}
