//! The formulas, one function each, pure. What each counts, and where it comes from, stands in `docs/metrics.md`.
//!
//! To add one: a function here, a line in [`figures`], a row in `docs/metrics.md`, and a test below.

use super::figure::{Figure, Limits, Spread, Unit, percent};
use crate::{
    model::{Caller, DeploymentState, EnvironmentName, ServiceName, Timestamp},
    store::SettledDeployment,
};
use std::{collections::BTreeMap, time::Duration};

/// A settled deployment with everything else that the record has of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The deployment.
    pub deployment: SettledDeployment,
    /// The rules that fired in it.
    pub fired: Vec<String>,
    /// What it cost customers, in failed requests and probes; none where that was not measured.
    pub downtime: Option<u64>,
    /// Whether a person had to choose how it goes on.
    pub was_decided: bool,
}

/// A service where it runs, and whether it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The service.
    pub service: ServiceName,
    /// Where it runs.
    pub environment: EnvironmentName,
    /// Whether it has a health check, metrics, alerts, and one of them was seen to arrive.
    pub is_covered: bool,
}

/// The triggers that turn a deployment back, and the one that completes its directive.
pub const RULES: [&str; 4] = ["DEPLOY-001", "DEPLOY-002", "DEPLOY-003", "DEPLOY-004"];

const NO_DEPLOYMENT: &str = "a deployment that settled in the window";
const NO_WAY_BACK: &str = "a way back that settled in the window";
const NO_TRIGGER: &str = "a way back that a trigger began in the window";

// Seed stage-30: target at least 99 %, yellow 95 to 98 %, red below 95 %. What lies between 98 and 99 misses the target: yellow.
const SUCCESS: Limits = Limits { target: ">= 99", green: |value| value >= 99.0, yellow: |value| value >= 95.0 };
// Seed stage-30: anything above 0 is red.
const NO_DOWNTIME: Limits = Limits { target: "0", green: |value| value == 0.0, yellow: |_| false };
// Seed stage-30: under 5 minutes, yellow 5 to 10, red above.
const SOON_BACK: Limits = Limits { target: "p95 < 300", green: |value| value < 300.0, yellow: |value| value <= 600.0 };
// Seed stage-30, metrics of its rollback: targets without a yellow band.
const FEW_TRIGGERS: Limits = Limits { target: "< 0.1", green: |value| value < 0.1, yellow: |_| false };
const BACK_BY_ITSELF: Limits = Limits { target: ">= 99", green: |value| value >= 99.0, yellow: |_| false };
const FEW_HANDS: Limits = Limits { target: "< 25", green: |value| value < 25.0, yellow: |_| false };

/// Returns every metric of these runs, which settled in a window of this length, and of these services.
pub fn figures(runs: &[Run], window: Duration, watched: &[Watched]) -> Vec<Figure> {
    vec![
        deployment_success_rate(runs),
        downtime(runs),
        rollback_time(runs),
        monitoring_coverage(watched),
        trigger_activations(runs),
        automatic_rollback_success(runs),
        manual_intervention(runs),
        deployment_frequency(runs, window),
        change_lead_time(runs),
        change_failure_rate(runs),
        failed_deployment_recovery_time(runs),
        deployment_rework_rate(runs),
    ]
}

fn deployment_success_rate(runs: &[Run]) -> Figure {
    let n = forward(runs).count();
    let succeeded = forward(runs).filter(|run| run.has_succeeded()).count();
    Figure::unrated("deployment_success_rate", Unit::Percent, n, percent(succeeded, n), NO_DEPLOYMENT).rated(SUCCESS)
}

fn downtime(runs: &[Run]) -> Figure {
    let measured: Vec<u64> = runs.iter().filter_map(|run| run.downtime).collect();
    let failures = (!measured.is_empty()).then(|| measured.iter().sum::<u64>() as f64);
    let needs = "a deployment that moved traffic through a router that counts";
    Figure::unrated("downtime", Unit::Failures, measured.len(), failures, needs).rated(NO_DOWNTIME)
}

fn rollback_time(runs: &[Run]) -> Figure {
    let figure = duration("rollback_time", runs.iter().filter_map(Run::way_back), "a way back that moved traffic in the window");
    // The slow ones count, not the usual one.
    Figure { value: figure.spread.map(|spread| spread.p95), ..figure }.rated(SOON_BACK)
}

fn monitoring_coverage(watched: &[Watched]) -> Figure {
    let covered = watched.iter().filter(|place| place.is_covered).count();
    let value = percent(covered, watched.len());
    Figure::unrated("monitoring_coverage", Unit::Percent, watched.len(), value, "a service in the configuration in force")
}

fn trigger_activations(runs: &[Run]) -> Figure {
    let n = forward(runs).count();
    let fired = |rule: &str| runs.iter().flat_map(|run| &run.fired).filter(|fired| *fired == rule).count() as u64;
    let mut rules: BTreeMap<&'static str, u64> = RULES.into_iter().map(|rule| (rule, fired(rule))).collect();
    let activations: u64 = rules.values().sum();
    // The fourth completes a directive. It is counted once a directive, turns nothing back, and is no part of the ratio.
    let completed = forward(runs).filter(|run| run.deployment.directive_completed).map(|run| &run.deployment.directive);
    rules.insert(RULES[3], completed.collect::<std::collections::BTreeSet<_>>().len() as u64);
    let ratio = (n > 0).then(|| activations as f64 / n as f64);
    let figure = Figure::unrated("trigger_activations", Unit::PerDeployment, n, ratio, NO_DEPLOYMENT).rated(FEW_TRIGGERS);
    if n > 0 { Figure { rules, ..figure } } else { figure }
}

fn automatic_rollback_success(runs: &[Run]) -> Figure {
    let begun: Vec<&Run> = runs.iter().filter(|run| run.turned_back_by_itself()).collect();
    let back = begun.iter().filter(|run| run.deployment.state == DeploymentState::RolledBack && !run.was_decided).count();
    let value = percent(back, begun.len());
    Figure::unrated("automatic_rollback_success", Unit::Percent, begun.len(), value, NO_TRIGGER).rated(BACK_BY_ITSELF)
}

fn manual_intervention(runs: &[Run]) -> Figure {
    let ways_back: Vec<&Run> = runs.iter().filter(|run| run.is_way_back()).collect();
    let by_hand = ways_back.iter().filter(|run| !run.turned_back_by_itself() || run.was_decided).count();
    let value = percent(by_hand, ways_back.len());
    Figure::unrated("manual_intervention", Unit::Percent, ways_back.len(), value, NO_WAY_BACK).rated(FEW_HANDS)
}

fn deployment_frequency(runs: &[Run], window: Duration) -> Figure {
    let succeeded = forward(runs).filter(|run| run.has_succeeded()).count();
    let days = window.as_secs_f64() / 86_400.0;
    let value = (forward(runs).next().is_some() && days > 0.0).then(|| succeeded as f64 / days);
    Figure::unrated("deployment_frequency", Unit::PerDay, succeeded, value, NO_DEPLOYMENT)
}

fn change_lead_time(runs: &[Run]) -> Figure {
    let lead = |run: &Run| seconds(run.deployment.committed_at?, run.deployment.shifted_at?);
    let times = forward(runs).filter(|run| run.has_succeeded()).filter_map(lead);
    duration("change_lead_time", times, "a successful deployment whose commit is known, by its directive")
}

fn change_failure_rate(runs: &[Run]) -> Figure {
    let n = served(runs).count();
    let failed = served(runs).filter(|run| run.has_failed_in_use()).count();
    let needs = "a deployment that reached customers in the window";
    Figure::unrated("change_failure_rate", Unit::Percent, n, percent(failed, n), needs)
}

fn failed_deployment_recovery_time(runs: &[Run]) -> Figure {
    let recovered = |run: &Run| {
        let back = run.deployment.taken_back_at.or(run.deployment.unshifted_at)?;
        seconds(run.deployment.shifted_at?, back)
    };
    let times = served(runs).filter(|run| run.has_failed_in_use()).filter_map(recovered);
    duration("failed_deployment_recovery_time", times, "a deployment that failed in use and was taken back")
}

fn deployment_rework_rate(runs: &[Run]) -> Figure {
    let n = forward(runs).count();
    let rework = forward(runs).filter(|run| run.deployment.mends).count();
    Figure::unrated("deployment_rework_rate", Unit::Percent, n, percent(rework, n), NO_DEPLOYMENT)
}

fn forward(runs: &[Run]) -> impl Iterator<Item = &Run> {
    runs.iter().filter(|run| run.deployment.rollback_of.is_none())
}

/// Deployments that customers have reached.
fn served(runs: &[Run]) -> impl Iterator<Item = &Run> {
    forward(runs).filter(|run| run.deployment.shifted_at.is_some())
}

fn duration(name: &'static str, times: impl Iterator<Item = f64>, needs: &'static str) -> Figure {
    let times: Vec<f64> = times.collect();
    let n = times.len();
    let spread = Spread::of(times);
    Figure { spread, ..Figure::unrated(name, Unit::Seconds, n, spread.map(|spread| spread.p50), needs) }
}

/// Returns how long that took; none where a clock that was set makes the end earlier than the beginning.
fn seconds(from: Timestamp, to: Timestamp) -> Option<f64> {
    (to >= from).then(|| to.since(from).as_secs_f64())
}

impl Run {
    fn has_succeeded(&self) -> bool {
        self.deployment.state == DeploymentState::Succeeded
    }

    /// Tells whether customers had it and it did not stay: it went back, is stuck, or was taken back later.
    fn has_failed_in_use(&self) -> bool {
        !self.has_succeeded() || self.deployment.rolled_back_by.is_some()
    }

    /// Tells whether the server turned it back, asked by nobody.
    fn turned_back_by_itself(&self) -> bool {
        self.deployment.undo_requested_by.as_deref() == Some(Caller::server().principal.as_str()) && !self.has_succeeded()
    }

    /// Tells whether it is a way back, or turned into one, or was withdrawn.
    fn is_way_back(&self) -> bool {
        let deployment = &self.deployment;
        let withdrawn = deployment.rolled_back_by.as_ref() == Some(&deployment.id);
        let turned = deployment.undo_requested_at.is_some() && !self.has_succeeded();
        deployment.rollback_of.is_some() || turned || withdrawn
    }

    /// Returns how long customers waited for the way back, from when it was asked for to when their traffic was back.
    fn way_back(&self) -> Option<f64> {
        let deployment = &self.deployment;
        match &deployment.rollback_of {
            Some(_) => seconds(deployment.created_at, deployment.shifted_at?),
            None => seconds(deployment.undo_requested_at?, deployment.unshifted_at?),
        }
    }
}
