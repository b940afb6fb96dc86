//! Alertmanager's API v2, which an alert is sent to and asked for, and Prometheus' list of the rules it has loaded. Plain HTTP; an address
//! may be the reference to one, and is then never shown.

use super::{NoData, configured::Asked, endpoint::Endpoint, prometheus::PrometheusSource};
use crate::{model::monitoring::FiringAlert, targets::http::escaped};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The annotation that tells which text of a rule is loaded.
pub const DIGEST: &str = "interlock_rule";

/// An Alertmanager.
pub struct Alertmanager {
    asked: Asked,
    endpoint: Endpoint,
    timeout: Duration,
}

/// An alert that Alertmanager shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownAlert {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
    /// Whom it tells of it.
    pub receivers: Vec<String>,
}

/// An alert rule that Prometheus has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedRule {
    /// Its name.
    pub name: String,
    /// Its label `service`.
    pub service: String,
    /// Its label `environment`.
    pub environment: String,
    /// Its annotation [`DIGEST`].
    pub digest: String,
    /// Whether its last evaluation went well, or none was made yet.
    pub is_healthy: bool,
    /// Whether it was evaluated, and that went well.
    pub is_evaluated: bool,
}

// https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
#[derive(Deserialize)]
struct Gettable {
    status: Status,
    #[serde(default)]
    receivers: Vec<Named>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default, rename = "startsAt")]
    starts_at: String,
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

// https://prometheus.io/docs/prometheus/latest/querying/api/#rules
#[derive(Deserialize)]
struct Rules {
    data: Groups,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    health: String,
}

impl Alertmanager {
    /// Returns the Alertmanager at an address, which may be the reference to one, or why there is none.
    pub async fn at(address: &str, timeout: Duration) -> Result<Self, String> {
        let (asked, endpoint) = resolved(address).await?;
        Ok(Alertmanager { asked, endpoint, timeout })
    }

    /// Sends an alert; without `endsAt` it is active until Alertmanager forgets it by itself.
    pub async fn send(&self, alert: &Value) -> Result<(), String> {
        let body = Value::from(vec![alert.clone()]).to_string();
        let sent = self.endpoint.post(&self.path("/api/v2/alerts"), &body, self.timeout).await;
        sent.map(|_| ()).map_err(|none| self.asked.said(none.to_string()))
    }

    /// Returns the alerts that have these labels, silenced ones included.
    pub async fn shown(&self, labels: &[(&str, &str)]) -> Result<Vec<ShownAlert>, String> {
        let found = self.alerts(labels, "").await?;
        let shown = |alert: Gettable| ShownAlert {
            state: alert.status.state,
            receivers: alert.receivers.into_iter().map(|receiver| receiver.name).collect(),
        };
        Ok(found.into_iter().map(shown).collect())
    }

    /// Returns the alerts that have these labels and that nothing holds back: no silence, no other alert that inhibits them.
    pub async fn firing(&self, labels: &[(&str, &str)]) -> Result<Vec<FiringAlert>, String> {
        let found = self.alerts(labels, "&active=true&unprocessed=true&silenced=false&inhibited=false").await?;
        // What stands between may not pass the question on whole: the answer is looked through again. An alert that says nothing of whose
        // it is may be this one's.
        let fires = |alert: &Gettable| {
            let is_other = |(name, value): &(&str, &str)| alert.labels.get(*name).is_some_and(|other| other != value);
            alert.status.state != "suppressed" && !labels.iter().any(is_other)
        };
        Ok(found.into_iter().filter(fires).map(|alert| firing(alert.labels, alert.starts_at)).collect())
    }

    async fn alerts(&self, labels: &[(&str, &str)], further: &str) -> Result<Vec<Gettable>, String> {
        let filter = |(name, value): &(&str, &str)| format!("filter={}", escaped(&format!("{name}=\"{value}\"")));
        let filters: Vec<String> = labels.iter().map(filter).collect();
        let path = self.path(&format!("/api/v2/alerts?{}{further}", filters.join("&")));
        let body = self.endpoint.fetch(&path, self.timeout, |_| None).await.map_err(|none| self.asked.said(none.to_string()))?;
        serde_json::from_slice(&body).map_err(|err| malformed(&err))
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.path().trim_end_matches('/'))
    }
}

/// Returns the alert rules that the Prometheus at an address has loaded, or why that is not known.
pub async fn loaded_rules(address: &str, timeout: Duration) -> Result<Vec<LoadedRule>, String> {
    let (asked, endpoint) = resolved(address).await?;
    let path = format!("{}/api/v1/rules?type=alert", endpoint.path().trim_end_matches('/'));
    let body = endpoint.fetch(&path, timeout, |_| None).await.map_err(|none| asked.said(none.to_string()))?;
    let rules: Rules = serde_json::from_slice(&body).map_err(|err| malformed(&err))?;
    let loaded = |mut rule: Rule| LoadedRule {
        service: rule.labels.remove("service").unwrap_or_default(),
        environment: rule.labels.remove("environment").unwrap_or_default(),
        digest: rule.annotations.remove(DIGEST).unwrap_or_default(),
        is_healthy: rule.health != "err",
        is_evaluated: rule.health == "ok",
        name: rule.name,
    };
    Ok(rules.data.groups.into_iter().flat_map(|group| group.rules).map(loaded).collect())
}

/// Returns each series that a query gives on the Prometheus at an address as an alert that fires, or why that is not known.
pub async fn firing_series(address: &str, query: &str, places: &[(&str, &str)], timeout: Duration) -> Result<Vec<FiringAlert>, String> {
    let (asked, _) = resolved(address).await?;
    let source = PrometheusSource::new(&asked.address, query, timeout).map_err(|error| asked.said(error.to_string()))?;
    let series = source.series(places).await.map_err(|none| asked.said(none.to_string()))?;
    Ok(series.into_iter().map(|labels| firing(labels, String::new())).collect())
}

fn firing(mut labels: BTreeMap<String, String>, since: String) -> FiringAlert {
    let mut label = |name: &str| labels.remove(name).unwrap_or_default();
    FiringAlert { name: label("alertname"), severity: label("severity"), since }
}

async fn resolved(address: &str) -> Result<(Asked, Endpoint), String> {
    let asked = Asked::resolved(address, &BTreeMap::new()).await?;
    let endpoint = Endpoint::parse(&asked.address).map_err(|error| match error {
        super::SourceError::Url { why, .. } => format!("its address cannot be fetched from: {why}"),
        other => other.to_string(),
    })?;
    Ok((asked, endpoint))
}

fn malformed(error: &serde_json::Error) -> String {
    NoData::Malformed { message: error.to_string() }.to_string()
}
