//! The figures of deployments as Prometheus reads them (text format 0.0.4). Base units: seconds, and ratios from 0 to 1. All are gauges, as
//! they look back over a window; what is unknown has no sample.

use crate::engine::{
    metrics::{
        By, GroupFigures, Selection,
        figure::{Figure, Unit},
    },
    notify::Notified,
};
use std::fmt::Write;

/// How far the figures look back.
pub const DAYS: u32 = 30;
/// Each place, and each place by who asked.
pub const BY: [By; 2] = [By { service: true, environment: true, caller: false }, By { service: true, environment: true, caller: true }];

/// A figure, the family that shows it, and what it is.
const FAMILIES: [(&str, &str, &str); 12] = [
    ("deployment_success_rate", "interlock_deployment_success_ratio", "Forward deployments that succeeded"),
    ("downtime", "interlock_downtime_failures", "Requests and probes that the router failed around deployments"),
    ("rollback_time", "interlock_rollback_seconds", "From when a way back was asked for until traffic was back"),
    ("monitoring_coverage", "interlock_monitoring_coverage_ratio", "Services with health, metrics, an alert and a proven alert"),
    ("trigger_activations", "interlock_trigger_activations_per_deployment", "How often a trigger turned a deployment back"),
    ("automatic_rollback_success", "interlock_automatic_rollback_success_ratio", "Ways back begun by a trigger that ended by themselves"),
    ("manual_intervention", "interlock_manual_intervention_ratio", "Ways back that somebody asked for or had to choose in"),
    ("deployment_frequency", "interlock_deployments_per_day", "Successful forward deployments for each day"),
    ("change_lead_time", "interlock_change_lead_time_seconds", "From the commit until its release got customers"),
    ("change_failure_rate", "interlock_change_failure_ratio", "Deployments that customers reached and that did not stay"),
    (
        "failed_deployment_recovery_time",
        "interlock_failed_deployment_recovery_seconds",
        "From a failing release's customers until they were back",
    ),
    ("deployment_rework_rate", "interlock_deployment_rework_ratio", "Forward deployments that mend a failed one"),
];

/// Returns what is looked at.
pub fn selection(now: crate::model::Timestamp) -> Selection {
    Selection::of_days(now, DAYS)
}

/// Returns the text: each family once and whole.
pub fn text(groups: &[GroupFigures]) -> String {
    let mut text = String::new();
    for (figure, family, help) in FAMILIES {
        head(&mut text, family, help);
        for (labels, figure) in of(groups, figure) {
            samples(&mut text, family, &labels, figure);
        }
    }
    head(&mut text, "interlock_trigger_activations", "How often each trigger fired; DEPLOY-004 completes a directive");
    for (labels, figure) in of(groups, "trigger_activations") {
        for (rule, fired) in &figure.rules {
            line(&mut text, "interlock_trigger_activations", &format!("{labels},rule=\"{rule}\""), *fired as f64);
        }
    }
    head(&mut text, "interlock_metric_readings", "How many readings a metric rests on");
    for (name, ..) in FAMILIES {
        for (labels, figure) in of(groups, name) {
            line(&mut text, "interlock_metric_readings", &format!("{labels},metric=\"{name}\""), figure.n as f64);
        }
    }
    text
}

/// Returns how the messages to people elsewhere fare.
pub fn notified(notified: &[Notified]) -> String {
    let mut text = String::new();
    let families = [
        ("interlock_notifications_waiting", "Messages to people elsewhere that wait for their next try"),
        ("interlock_notifications_delivered", "Messages that have arrived in the last 30 days"),
        ("interlock_notifications_given_up", "Messages that were given up in the last 30 days"),
        ("interlock_notification_delivered_timestamp_seconds", "When a message arrived last"),
    ];
    for (number, (family, help)) in families.into_iter().enumerate() {
        let _ = writeln!(text, "# HELP {family} {help}.\n# TYPE {family} gauge");
        for one in notified {
            let values = [Some(one.waiting), Some(one.delivered), Some(one.given_up), one.delivered_at.map(|at| at.0 / 1000)];
            if let Some(value) = values[number] {
                line(&mut text, family, &format!("destination=\"{}\"", one.name), value as f64);
            }
        }
    }
    text
}

fn of<'a>(groups: &'a [GroupFigures], name: &'a str) -> impl Iterator<Item = (String, &'a Figure)> {
    groups.iter().filter_map(move |group| Some((labels(group), group.figures.iter().find(|figure| figure.name == name)?)))
}

fn labels(group: &GroupFigures) -> String {
    let of = &group.group;
    let name = |name: Option<&str>| name.unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let (service, environment) = (of.service.as_ref().map(|name| name.as_str()), of.environment.as_ref().map(|name| name.as_str()));
    let caller = of.caller.map_or("any", |caller| caller.as_str());
    format!("service=\"{}\",environment=\"{}\",caller=\"{caller}\"", name(service), name(environment))
}

fn samples(text: &mut String, family: &str, labels: &str, figure: &Figure) {
    match (figure.spread, figure.value) {
        (Some(spread), _) => {
            for (stat, value) in [("p50", spread.p50), ("p95", spread.p95), ("max", spread.max)] {
                line(text, family, &format!("{labels},stat=\"{stat}\""), value);
            }
        }
        (None, Some(value)) if figure.unit == Unit::Percent => line(text, family, labels, value / 100.0),
        (None, Some(value)) => line(text, family, labels, value),
        (None, None) => {}
    }
}

fn head(text: &mut String, family: &str, help: &str) {
    let _ = writeln!(text, "# HELP {family} {help}; settled in the last {DAYS} days.\n# TYPE {family} gauge");
}

fn line(text: &mut String, family: &str, labels: &str, value: f64) {
    let _ = writeln!(text, "{family}{{{labels}}} {value}");
}
