//! Asks those who watch a service whether an alert of it fires.

use super::{Engine, monitoring::TEST_ALERT};
use crate::{
    error::Result,
    gates::{
        Ask,
        alerts::{Heard, Said, evaluate},
    },
    model::{Caller, Deployment, DeploymentState, Directive, ServiceSpec, Verdict},
    targets::metrics::alerting::{Alertmanager, LoadedRule, firing_series, loaded_rules},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Patience with one answer.
pub const ANSWER: Duration = Duration::from_secs(5);

/// What Prometheus is asked where there is no Alertmanager and configuration names no query: silences are unknown to it.
const FIRING: &str = r#"ALERTS{alertstate="firing",service="{service}",environment="{environment}"}"#;

/// The fact that no alert fires after a deployment.
const QUIET: &str = "alerts_quiet";
/// The measurement that says what was heard then.
const AFTER: &str = "alerts_after";

/// Tells whether anybody is named who could say which alerts fire.
pub(super) fn is_asked(spec: &ServiceSpec) -> bool {
    let watchers = &spec.monitoring.watchers;
    watchers.alertmanager.is_some() || watchers.prometheus.is_some()
}

impl Engine {
    /// Asks once more after a deployment that has succeeded whether an alert fires, and records what is new; where the directive's phase
    /// ends with that, somebody can be asked, and none was heard of yet.
    pub async fn ask_alerts_after(&self, by: &Caller, directive: &Directive) -> Result<()> {
        let ends_so = self.phase_for(directive).await?.is_some_and(|phase| phase.exit.iter().any(|fact| fact == QUIET));
        let stands = |deployment: &Deployment| deployment.state == DeploymentState::Succeeded && deployment.rolled_back_by.is_none();
        let (true, Some(deployment)) = (ends_so, self.latest_deployment(directive).await?.filter(stands)) else { return Ok(()) };
        let spec = self.service(&directive.environment, &directive.service).await?.2;
        if !directive.state.is_open() || !is_asked(&spec) || self.quiet_after(&deployment).await? == Some(true) {
            return Ok(());
        }
        let ask = Ask { directive: &directive.id, by: "exit", now: self.present() };
        let heard = evaluate(ask, &heard(&spec, ANSWER).await, &directive.digest, &[]);
        let said = json!({ "verdict": heard.verdict, "reason": heard.reason });
        if self.heard_last(&deployment).await?.is_none_or(|last| last != said) {
            self.store.add_measurement(by, &deployment.id, AFTER, &said).await?;
        }
        Ok(())
    }

    /// Tells whether no alert fired when that was asked last after a deployment; none where nobody could say.
    pub(super) async fn quiet_after(&self, deployment: &Deployment) -> Result<Option<bool>> {
        let verdict = self.heard_last(deployment).await?.and_then(|last| serde_json::from_value(last["verdict"].clone()).ok());
        Ok(match verdict {
            Some(Verdict::Pass) => Some(true),
            Some(Verdict::Fail) => Some(false),
            Some(Verdict::Inconclusive) | None => None,
        })
    }

    async fn heard_last(&self, deployment: &Deployment) -> Result<Option<Value>> {
        let measured = self.store.measurements(&deployment.id).await?;
        Ok(measured.into_iter().rfind(|measurement| measurement.kind == AFTER).map(|last| last.body))
    }
}

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
