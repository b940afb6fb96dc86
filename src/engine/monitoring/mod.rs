//! Monitoring of a service: the files that set it up, checked by the tools that read them, and the proof that an alert arrives.
//!
//! [`rules`], [`scrape`] and [`dashboard`] are pure; [`check`] asks `promtool` and `amtool`; [`prove`] fires a test alert and waits until
//! Alertmanager shows it. Nothing counts as checked or proven that was not seen: coverage is what the record holds.

pub mod check;
pub mod dashboard;
mod difference;
mod prove;
pub mod rules;
pub mod scrape;
mod text;

pub use prove::{AlertProof, Coverage, TEST_ALERT};

use super::{Engine, progression::Step};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Directive, EnvironmentName, ServiceName, ServiceSpec, Sha256},
};
use check::Checked;
use difference::Difference;
use scrape::Server;
use serde::Serialize;
use serde_json::json;

/// The folder of everything generated here.
const FOLDER: &str = "monitoring";

/// A file as it is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// What it is, as artifacts know it.
    pub kind: &'static str,
    /// Its path in the workspace.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// A file that was written.
#[derive(Debug, Clone, Serialize)]
pub struct Written {
    /// What it is.
    pub kind: &'static str,
    /// Where it stands: beside a file of that name that is not ours.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// How many bytes.
    pub size_bytes: u64,
    /// What has changed against the file of ours that stood there.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What setting up has done and seen.
#[derive(Debug, Clone, Serialize)]
pub struct Setup {
    /// The files.
    pub files: Vec<Written>,
    /// Which tool has checked what, and what none has checked.
    pub checked_by: Vec<Checked>,
    /// What is watched, and whether an alert was seen to arrive.
    pub coverage: Coverage,
    /// What the test alert has shown; none where no Alertmanager is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertProof>,
    /// Whether that was proven a moment ago, for the same rules, and not tried again.
    pub existing: bool,
}

/// Returns every file of a service, with those of its environment, where these services are.
pub fn generated(spec: &ServiceSpec, services: &[&ServiceSpec], server: Server<'_>) -> Vec<Generated> {
    let (environment, service) = (&spec.environment, &spec.service);
    let file = |kind, name: String, text| Generated { kind, path: format!("{FOLDER}/{environment}/{name}"), text };
    vec![
        file("alert_rules", format!("{service}.alerts.yml"), rules::file(spec)),
        file("scrape_configuration", "prometheus.yml".into(), scrape::prometheus(environment, services, server)),
        file("alert_routes", "alertmanager.yml".into(), scrape::alertmanager(environment, services)),
        file("dashboard", format!("{service}.dashboard.json"), dashboard::file(spec)),
    ]
}

impl Engine {
    /// Writes the monitoring of a directive's service, once the tools that are there have nothing against it, and proves that an alert
    /// arrives where an Alertmanager is configured. What a tool refuses is not written.
    pub async fn set_up_monitoring(&self, by: &Caller, directive: &Directive) -> Result<Setup> {
        let step = Step::of("setup_monitoring", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        let (environment, service) = (&directive.environment, &directive.service);
        let spec = self.service(environment, service).await?.2;
        let files = self.monitoring_files(environment, service).await?;
        let (checked_by, refused) = self.checked(&files).await?;
        if let Some(refused) = refused {
            let message = format!("{} refuses the {} it would be given: {}", refused.tool, refused.what, refused.said);
            let details = serde_json::json!({ "checked_by": checked_by });
            let hint = "mend what it names in [monitoring], `monitoring` or `metrics` of the service, then `interlock apply`";
            return Err(Error::new(Code::InvalidConfiguration, message).hint(hint).details(details));
        }
        let mut written = Vec::new();
        for file in files {
            let placed = self.place_artifact(&directive.id, file.kind, &file.path, &file.text).await?;
            written.push(Written {
                kind: file.kind,
                path: placed.path,
                sha256: Sha256::of(file.text.as_bytes()),
                size_bytes: file.text.len() as u64,
                difference: Difference::between(placed.before.as_deref(), &file.text),
            });
        }
        let (alert, existing) = self.prove_alert(by, directive, &spec).await?;
        let coverage = self.coverage(&spec).await?;
        Ok(Setup { files: written, checked_by, coverage, alert, existing })
    }

    /// Returns the files of a service as the configuration in force gives them.
    pub async fn monitoring_files(&self, environment: &EnvironmentName, service: &ServiceName) -> Result<Vec<Generated>> {
        let (_, config, spec) = self.service(environment, service).await?;
        let services: Vec<&ServiceSpec> = config.services.values().collect();
        let (discovery, token) = (self.workspace.discovery_file(), self.workspace.token_file());
        Ok(generated(&spec, &services, Server { discovery: &discovery, token: &token }))
    }
}

#[cfg(test)]
mod tests;
