//! Asks those who watch a service whether an alert of it fires.

use super::monitoring::TEST_ALERT;
use crate::{
    gates::alerts::Said,
    model::ServiceSpec,
    targets::metrics::alerting::{Alertmanager, firing_series},
};
use std::time::Duration;

/// Patience with one answer.
pub const ANSWER: Duration = Duration::from_secs(5);

/// What Prometheus is asked where there is no Alertmanager and configuration names no query: silences are unknown to it.
const FIRING: &str = r#"ALERTS{alertstate="firing",service="{service}",environment="{environment}"}"#;

/// Returns what everybody who is configured says: Alertmanager, and Prometheus where a query is configured or nobody else is there.
pub async fn said(spec: &ServiceSpec, patience: Duration) -> Vec<Said> {
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
