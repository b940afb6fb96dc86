//! Asks those who watch a service whether an alert of it fires.

use super::monitoring::TEST_ALERT;
use crate::{
    gates::alerts::{Heard, Said},
    model::ServiceSpec,
    targets::metrics::alerting::{Alertmanager, LoadedRule, firing_series, loaded_rules},
};
use std::time::Duration;

/// Patience with one answer.
pub const ANSWER: Duration = Duration::from_secs(5);

/// What Prometheus is asked where there is no Alertmanager and configuration names no query: silences are unknown to it.
const FIRING: &str = r#"ALERTS{alertstate="firing",service="{service}",environment="{environment}"}"#;

/// Returns what is known of the alerts of a service, and whether one would ever fire.
pub async fn heard(spec: &ServiceSpec, patience: Duration) -> Heard {
    let rules = match &spec.monitoring.watchers.prometheus {
        Some(address) => {
            let loaded = loaded_rules(address, patience).await;
            Some(loaded.map(|rules| rules.iter().filter(|rule| would_fire(rule, spec)).count()))
        }
        None => None,
    };
    Heard { said: said(spec, patience).await, rules }
}

/// Tells whether a rule is evaluated and may be about the service: what it does not say itself, the series it fires for may.
fn would_fire(rule: &LoadedRule, spec: &ServiceSpec) -> bool {
    let may_be = |label: &str, own: &str| label.is_empty() || label == own;
    rule.is_evaluated && may_be(&rule.service, spec.service.as_str()) && may_be(&rule.environment, spec.environment.as_str())
}

/// Returns what everybody who is configured says: Alertmanager, and Prometheus where a query is configured or nobody else is there.
async fn said(spec: &ServiceSpec, patience: Duration) -> Vec<Said> {
    let watchers = &spec.monitoring.watchers;
    let labels = [("service", spec.service.as_str()), ("environment", spec.environment.as_str())];
    let mut said = Vec::new();
    if let Some(address) = &watchers.alertmanager {
        let firing = match Alertmanager::at(address, patience).await {
            // Ours tells of nothing, and ends a moment later.
            Ok(alertmanager) => alertmanager.firing(&labels).await.map(|mut firing| {
                firing.retain(|alert| alert.name != TEST_ALERT);
                firing
            }),
            Err(why) => Err(why),
        };
        said.push(Said { source: "Alertmanager", firing });
    }
    if let Some(address) = &watchers.prometheus
        && (watchers.firing.is_some() || watchers.alertmanager.is_none())
    {
        let firing = firing_series(address, watchers.firing.as_deref().unwrap_or(FIRING), &labels, patience).await;
        said.push(Said { source: "Prometheus", firing });
    }
    said
}
