//! How a service is watched from outside: its own metrics and alerts, and the Prometheus and Alertmanager that watch it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often metrics are scraped and rules evaluated, unless configuration says otherwise: Prometheus' own usual 15 s.
const INTERVAL_MS: u64 = 15_000;
/// How long a release in production is watched closely, unless configuration says otherwise: 24 h, of the 24 to 48 h of the seed
/// `phase-deployment-and-operations`.
const CLOSE_WATCH_MS: u64 = 24 * 60 * 60 * 1000;

/// `[services.X.monitoring]`, joined with `[monitoring]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitoring {
    /// The path where the service shows metrics of its own, behind its listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Alerts beside those that every service has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// How long a release in production is watched closely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_watch_ms: Option<u64>,
    /// What makes a line of its log an error; empty for the words of common loggers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// What makes such a line none after all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// What watches it.
    #[serde(default, skip_serializing_if = "Watchers::is_default")]
    pub watchers: Watchers,
}

/// `[monitoring]`: the same for every service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchers {
    /// `http://host:port` of Prometheus, or the reference to it; asked whether it has loaded the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
    /// `http://host:port` of Alertmanager, or the reference to it; a test alert is sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<String>,
    /// Where Alertmanager sends what fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// PromQL asked of Prometheus: every series of its result is an alert that fires. `{service}` and `{environment}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<String>,
    /// How often metrics are scraped and rules evaluated.
    pub interval_ms: u64,
}

/// An alert that fires now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiringAlert {
    /// Its name, label `alertname`.
    pub name: String,
    /// Its label `severity`; empty where it has none.
    pub severity: String,
    /// Since when, as its source writes it; empty where it does not say.
    pub since: String,
}

/// An alert of the service's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its name; unique in its service.
    pub name: String,
    /// PromQL; it fires while this has a result. `{service}` and `{environment}` are filled in.
    pub expr: String,
    /// How long that must last.
    pub for_ms: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What it says to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody looks within the day.
    Warning,
    /// Somebody is woken.
    Critical,
}

impl Severity {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl Default for Watchers {
    fn default() -> Self {
        Watchers { prometheus: None, alertmanager: None, notify: None, firing: None, interval_ms: INTERVAL_MS }
    }
}

impl Watchers {
    /// Tells whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Watchers::default()
    }
}

impl Monitoring {
    /// Returns how long a release in production is watched closely after its deployment has settled.
    pub fn close_watch(&self) -> Duration {
        Duration::from_millis(self.close_watch_ms.unwrap_or(CLOSE_WATCH_MS))
    }

    /// Tells whether nothing is said: then it stands in no document, and in no hash.
    pub fn is_default(&self) -> bool {
        *self == Monitoring::default()
    }
}
