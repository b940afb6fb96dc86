//! The formulas, on records small enough to count by hand.

use super::{figure::*, formulas::*, *};
use crate::model::DeploymentState;
use crate::store::SettledDeployment;

const DAY: Duration = Duration::from_secs(86_400);

/// A deployment that was accepted at 1000 s, got traffic at 1100 s, and settled at 1200 s.
fn succeeded(id: &str) -> Run {
    Run {
        deployment: SettledDeployment {
            id: id.into(),
            service: "web".into(),
            environment: "production".into(),
            created_by: "agent".into(),
            state: DeploymentState::Succeeded,
            rollback_of: None,
            created_at: at(1000),
            shifted_at: Some(at(1100)),
            unshifted_at: None,
            settled_at: at(1200),
            undo_requested_at: None,
            undo_requested_by: None,
            rolled_back_by: None,
            taken_back_at: None,
            directive: id.into(),
            directive_completed: true,
            mends: false,
            venture: None,
            committed_at: Some(at(500)),
            measured: None,
        },
        fired: Vec::new(),
        downtime: Some(0),
        was_decided: false,
    }
}

/// One that a trigger turned back after so many seconds with customers; they were back so many seconds later.
fn turned_back(id: &str, rule: &str, after: i64, back_in: i64) -> Run {
    let mut run = succeeded(id);
    let deployment = &mut run.deployment;
    (deployment.state, deployment.directive_completed) = (DeploymentState::RolledBack, false);
    (deployment.undo_requested_at, deployment.undo_requested_by) = (Some(at(1100 + after)), Some("server".into()));
    deployment.unshifted_at = Some(at(1100 + after + back_in));
    run.fired = vec![rule.into()];
    run
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn figure(runs: &[Run], name: &str) -> Figure {
    figures(runs, DAY, &[]).into_iter().find(|figure| figure.name == name).unwrap()
}

/// Value, count and rating.
fn seen(runs: &[Run], name: &str) -> (Option<f64>, usize, Rating) {
    let figure = figure(runs, name);
    (figure.value.map(shown), figure.n, figure.rating)
}

/// So many that succeeded, and so many that a trigger turned back.
fn of(good: usize, bad: usize) -> Vec<Run> {
    let good = (0..good).map(|index| succeeded(&format!("good_{index}")));
    good.chain((0..bad).map(|index| turned_back(&format!("bad_{index}"), "DEPLOY-002", 10, 1))).collect()
}

#[test]
fn nothing_is_known_of_nothing() {
    for figure in figures(&[], DAY, &[]) {
        assert_eq!((figure.value, figure.n, figure.rating), (None, 0, Rating::Unknown), "{}", figure.name);
        assert!(figure.needs.is_some() && figure.spread.is_none(), "{} says what it needs", figure.name);
    }
    assert_eq!(health(&figures(&[], DAY, &[])), Rating::Unknown);
    // The same search sees what is known.
    assert!(figures(&of(1, 0), DAY, &[]).iter().filter(|figure| figure.value.is_some()).count() > 5);
}

#[test]
fn the_success_rate_is_rated_by_the_seeds_thresholds() {
    let rate = |good, bad| seen(&of(good, bad), "deployment_success_rate");
    assert_eq!(rate(99, 1), (Some(99.0), 100, Rating::Green));
    assert_eq!(rate(197, 3), (Some(98.5), 200, Rating::Yellow), "below the target");
    assert_eq!(rate(95, 5), (Some(95.0), 100, Rating::Yellow));
    assert_eq!(rate(189, 11), (Some(94.5), 200, Rating::Red));
    let stuck = Run { deployment: SettledDeployment { state: DeploymentState::Stuck, ..succeeded("a").deployment }, ..succeeded("a") };
    assert_eq!(seen(&[stuck], "deployment_success_rate"), (Some(0.0), 1, Rating::Red));
    let back = SettledDeployment { rollback_of: Some("a".into()), ..succeeded("b").deployment };
    let runs = [succeeded("a"), Run { deployment: back, ..succeeded("b") }];
    assert_eq!(seen(&runs, "deployment_success_rate"), (Some(100.0), 1, Rating::Green), "a way back is no deployment of a release");
}

#[test]
fn any_downtime_is_red_and_what_was_not_measured_is_not_counted() {
    let costing = |downtime| Run { downtime, ..succeeded("a") };
    assert_eq!(seen(&[costing(Some(0)), costing(None)], "downtime"), (Some(0.0), 1, Rating::Green));
    assert_eq!(seen(&[costing(Some(0)), costing(Some(1))], "downtime"), (Some(1.0), 2, Rating::Red));
    assert_eq!(seen(&[costing(None)], "downtime"), (None, 0, Rating::Unknown));
}

#[test]
fn the_time_to_roll_back_is_judged_by_its_slow_ones() {
    let back = |times: &[i64]| {
        let runs: Vec<Run> = times.iter().map(|&time| turned_back("a", "DEPLOY-002", 10, time)).collect();
        figure(&runs, "rollback_time")
    };
    let quick = back(&[1, 2, 3, 4]);
    assert_eq!((quick.value, quick.rating, quick.unit), (Some(4.0), Rating::Green, Unit::Seconds));
    assert_eq!(quick.spread, Some(Spread { p50: 2.0, p95: 4.0, max: 4.0 }));
    let mut times = vec![1; 19];
    times.push(900);
    assert_eq!((back(&times).value, back(&times).spread.unwrap().max), (Some(1.0), 900.0), "one in twenty is beyond the 95th percentile");
    assert_eq!([299, 300, 600, 601].map(|time| back(&[time]).rating), [Rating::Green, Rating::Yellow, Rating::Yellow, Rating::Red]);
    // What never got traffic has none to give back; one taken back on demand is timed by its way back.
    let mut early = turned_back("a", "DEPLOY-001", 10, 1);
    (early.deployment.shifted_at, early.deployment.unshifted_at) = (None, None);
    let on_demand = SettledDeployment { rollback_of: Some("a".into()), ..succeeded("b").deployment };
    let runs = [early, Run { deployment: on_demand, ..succeeded("b") }];
    assert_eq!(seen(&runs, "rollback_time"), (Some(100.0), 1, Rating::Green));
}

#[test]
fn a_clock_that_was_set_back_makes_no_time() {
    let mut run = turned_back("a", "DEPLOY-002", 10, 1);
    run.deployment.unshifted_at = Some(at(1));
    assert_eq!(seen(&[run], "rollback_time"), (None, 0, Rating::Unknown));
}

#[test]
fn triggers_are_counted_by_rule_and_a_completion_is_no_alarm() {
    let mut runs = of(19, 1);
    assert_eq!(seen(&runs, "trigger_activations"), (Some(0.05), 20, Rating::Green));
    runs.push(turned_back("x", "DEPLOY-003", 1, 1));
    let figure = figure(&runs, "trigger_activations");
    assert_eq!((figure.value.map(shown), figure.rating), (Some(0.095), Rating::Green));
    assert_eq!(figure.rules, [("DEPLOY-001", 0), ("DEPLOY-002", 1), ("DEPLOY-003", 1), ("DEPLOY-004", 19)].into());
    assert_eq!(seen(&of(9, 1), "trigger_activations").2, Rating::Red, "0.1 is not below 0.1");
}

#[test]
fn a_way_back_that_needs_a_hand_is_no_automatic_one() {
    let by_itself = turned_back("a", "DEPLOY-002", 10, 1);
    let mut asked = turned_back("b", "DEPLOY-002", 10, 1);
    asked.deployment.undo_requested_by = Some("agent".into());
    let stuck = SettledDeployment { state: DeploymentState::Stuck, ..by_itself.deployment.clone() };
    let stuck = Run { deployment: stuck, ..by_itself.clone() };
    let chosen = Run { was_decided: true, ..by_itself.clone() };
    let mut withdrawn = succeeded("c");
    withdrawn.deployment.rolled_back_by = Some("c".into());

    let success = |runs: &[&Run]| seen(&runs.iter().map(|&run| run.clone()).collect::<Vec<_>>(), "automatic_rollback_success");
    assert_eq!(success(&[&by_itself]), (Some(100.0), 1, Rating::Green));
    assert_eq!(success(&[&by_itself, &stuck]), (Some(50.0), 2, Rating::Red));
    assert_eq!(success(&[&by_itself, &chosen]), (Some(50.0), 2, Rating::Red));
    assert_eq!(success(&[&asked, &withdrawn]), (None, 0, Rating::Unknown));

    let hands = |runs: &[&Run]| seen(&runs.iter().map(|&run| run.clone()).collect::<Vec<_>>(), "manual_intervention");
    assert_eq!(hands(&[&by_itself]), (Some(0.0), 1, Rating::Green));
    assert_eq!(hands(&[&by_itself, &by_itself, &by_itself, &asked]), (Some(25.0), 4, Rating::Red), "25 is not below 25");
    assert_eq!(hands(&[&withdrawn, &chosen]), (Some(100.0), 2, Rating::Red));
    assert_eq!(hands(&[&succeeded("a")]), (None, 0, Rating::Unknown));
}

#[test]
fn the_dora_keys_are_counted_by_hand() {
    let mut runs = of(3, 1);
    // Taken back on demand 400 s after its customers came.
    (runs[0].deployment.rolled_back_by, runs[0].deployment.taken_back_at) = (Some("dep_9".into()), Some(at(1500)));
    runs[1].deployment.committed_at = Some(at(1000));
    runs[2].deployment.committed_at = None;
    runs[2].deployment.mends = true;
    assert_eq!(seen(&runs, "deployment_frequency"), (Some(3.0), 3, Rating::Unrated));
    let lead = figure(&runs, "change_lead_time");
    assert_eq!((lead.value, lead.n, lead.spread), (Some(100.0), 2, Some(Spread { p50: 100.0, p95: 600.0, max: 600.0 })));
    assert_eq!(seen(&runs, "change_failure_rate"), (Some(50.0), 4, Rating::Unrated));
    let recovery = figure(&runs, "failed_deployment_recovery_time");
    assert_eq!((recovery.value, recovery.spread.unwrap().max), (Some(11.0), 400.0));
    assert_eq!(seen(&runs, "deployment_rework_rate"), (Some(25.0), 4, Rating::Unrated));

    let mut aborted = turned_back("a", "DEPLOY-001", 0, 0);
    (aborted.deployment.shifted_at, aborted.deployment.unshifted_at) = (None, None);
    assert_eq!(seen(&[aborted.clone()], "change_failure_rate"), (None, 0, Rating::Unknown), "no customer ever had it");
    assert_eq!(seen(&[aborted], "deployment_frequency"), (Some(0.0), 0, Rating::Unrated), "known to be none");
}

#[test]
fn the_parts_of_a_selection_are_told_apart() {
    let mut runs = of(2, 1);
    runs[1].deployment.created_by = "operator".into();
    runs[2].deployment.service = "api".into();
    let groups = grouped(&runs, By { service: true, environment: false, caller: true }, DAY, &[]);
    let named: Vec<_> = groups.iter().map(|one| (one.group.service.clone().unwrap().0, one.group.caller.unwrap(), one.health())).collect();
    assert_eq!(
        named,
        [
            ("api".into(), Asker::Agent, Rating::Red),
            ("web".into(), Asker::Agent, Rating::Green),
            ("web".into(), Asker::Person, Rating::Green)
        ]
    );
    let (table, left_out) = csv(&groups, 100_000);
    assert_eq!((table.lines().count(), left_out), (1 + 3 * 12, 0));
    assert!(table.contains("web,,person,deployment_success_rate,100,percent,1,,,,>= 99,green\r\n"), "{table}");
    assert!(table.contains("api,,agent,rollback_time,1,seconds,1,1,1,1,p95 < 300,green\r\n"), "{table}");
    assert!(table.contains("api,,agent,monitoring_coverage,,percent,0,,,,,unknown\r\n"), "{table}");
    let (short, left_out) = csv(&groups, 1500);
    assert_eq!((short.lines().count(), left_out), (1 + 12, 2), "{short}");
}

#[test]
fn a_percentile_is_one_of_the_readings() {
    assert_eq!(Spread::of(vec![]), None);
    assert_eq!(Spread::of(vec![7.0]), Some(Spread { p50: 7.0, p95: 7.0, max: 7.0 }));
    let hundred = (1..=100).rev().map(f64::from).collect();
    assert_eq!(Spread::of(hundred), Some(Spread { p50: 50.0, p95: 95.0, max: 100.0 }));
}
