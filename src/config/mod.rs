//! The project's configuration `interlock.toml`, and the workspace it stands in.
//!
//! A file is read whole or refused whole, with every fault and its place. What comes out has every default filled in;
//! `effective` says which part of it reaches one service in one environment, and that part's hash is what approvals bind.
//! To add a key: read it in the file of its table (`service`, `environment`, `gates`), show it in `template.toml`, and in an example of
//! `docs/reference/configuration.md`, which then gets its row (`tests/docs`).

mod about;
mod ci;
mod data;
mod effective;
mod environment;
mod gates;
mod init;
mod listeners;
mod metrics;
mod monitoring;
mod notify;
mod phases;
mod reader;
mod references;
mod rollout;
mod service;
mod target;
mod workspace;
#[cfg(test)]
mod workspace_tests;

pub use effective::{Change, EnvironmentDifference, difference};
pub use init::template;
pub use phases::{phase_files, with_phases};
pub use reader::Takes;
pub use service::ServiceConfig;
pub use workspace::Workspace;

use crate::{
    error::{Code, Error},
    model::{
        Comparator, Destination, EnvironmentName, Fault, Faults, GateName, Origin, ServiceName, ServiceSpec, ci::CiConfig,
        plan::RequiredApproval,
    },
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::de::DeTable;

/// The phases of Interlock; each is a file in `prompts/`. An environment may name one of them, or an own one of `[phases] dir`.
pub const PHASES: &[&str] = &[DEFAULT_PHASE, "stage-22", "stage-30", "deployment-operations", "deployment-plan"];

/// The phase of an environment with `approval` that names none.
pub const DEFAULT_PHASE: &str = "phase-06";

/// The name of the configuration file.
pub const FILE_NAME: &str = "interlock.toml";

/// A whole configuration, every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectConfig {
    /// `[project] name`.
    pub project: String,
    /// `[services.X]`: what is the same everywhere.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// `[environments.X]`.
    pub environments: BTreeMap<EnvironmentName, EnvironmentConfig>,
    /// `[gates]`.
    pub gates: GatesConfig,
    /// `[ci]`.
    pub ci: Option<CiConfig>,
    /// `[notify]`: who is told elsewhere, by name.
    pub notify: BTreeMap<String, Destination>,
    /// The texts of the project's own phase files, by name, as they were applied.
    pub phases: BTreeMap<String, String>,
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnvironmentConfig {
    /// Its name.
    pub name: EnvironmentName,
    /// The phase that governs it; with `approval` there always is one.
    pub phase: Option<String>,
    /// The environment where the same digest must have succeeded.
    pub after: Option<EnvironmentName>,
    /// Whose approval a plan needs.
    pub approval: Option<ApprovalConfig>,
    /// The origins of evidence that count here.
    pub evidence: BTreeSet<Origin>,
    /// What this environment asks of gates, beyond its phase.
    pub gates: BTreeMap<GateName, GateOverride>,
    /// The services that run here, complete.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Who begins the steps; that it is the server stands in `approval`.
    #[serde(skip_serializing_if = "Progression::is_not_manual")]
    pub progression: Progression,
}

/// `approval = { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalConfig {
    /// The role of those who may approve.
    pub role: String,
    /// How long a given approval may be used.
    pub expires_ms: u64,
    /// How long a request waits for a decision.
    pub request_expires_ms: u64,
    /// What happens once it is given.
    pub on_approval: OnApproval,
    /// How many different people must give it.
    #[serde(skip_serializing_if = "is_one")]
    pub signatures: u32,
    /// Whether none of them may be who asked for the plan.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub four_eyes: bool,
}

impl ApprovalConfig {
    /// Returns what of it a plan is bound to.
    pub fn required(&self) -> RequiredApproval {
        RequiredApproval { role: self.role.clone(), expires_ms: self.expires_ms, signatures: self.signatures, four_eyes: self.four_eyes }
    }
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// What happens once a plan is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnApproval {
    /// Someone calls `execute_deployment`.
    Wait,
    /// The server executes it by itself.
    Execute,
}

/// Who begins the steps on the way to a deployment (seed stage-30).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progression {
    /// A person begins every step.
    Manual,
    /// The agent drives, and a person decides.
    #[default]
    Assisted,
    /// After the approval the server goes on by itself.
    Auto,
}

impl Progression {
    fn is_not_manual(&self) -> bool {
        *self != Progression::Manual
    }
}

/// `[environments.X.gates] NAME = …`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOverride {
    /// The phase's gate does not bind here.
    Off,
    /// The gate binds here, with these thresholds besides the others.
    Thresholds(BTreeMap<String, Comparator>),
}

/// `[gates]`: how gates are fed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatesConfig {
    /// How old evidence may be.
    pub max_age_ms: u64,
    /// Per gate.
    pub feeds: BTreeMap<GateName, GateFeed>,
}

/// How one gate is fed, and the thresholds that hold wherever it binds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateFeed {
    /// Measure → threshold.
    pub thresholds: BTreeMap<String, Comparator>,
    /// The argv that makes the report; without it evidence is handed over.
    pub command: Option<Vec<String>>,
    /// The report's path in the checkout; `-` is standard output.
    pub report: Option<String>,
    /// The report's format.
    pub format: Option<ReportFormat>,
    /// Exit codes that do not speak against a passing report.
    pub exit: Vec<i32>,
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReportFormat {
    /// JUnit XML.
    Junit,
    /// LCOV tracefile.
    Lcov,
    /// SARIF 2.1.0.
    Sarif,
    /// `cargo audit --json`.
    CargoAudit,
    /// The summary of k6.
    K6,
    /// `oha --output-format json`.
    Oha,
    /// The report of Renovate.
    Renovate,
    /// The small format of our own for what is out of date.
    Outdated,
}

impl ReportFormat {
    /// Every format, as configuration writes it.
    pub const ALL: &[(&str, ReportFormat)] = &[
        ("junit", ReportFormat::Junit),
        ("lcov", ReportFormat::Lcov),
        ("sarif", ReportFormat::Sarif),
        ("cargo-audit", ReportFormat::CargoAudit),
        ("k6", ReportFormat::K6),
        ("oha", ReportFormat::Oha),
        ("renovate", ReportFormat::Renovate),
        ("outdated", ReportFormat::Outdated),
    ];
}

impl EnvironmentConfig {
    /// Tells whether this is production: an environment with `approval`.
    pub fn is_production(&self) -> bool {
        self.approval.is_some()
    }
}

impl ProjectConfig {
    /// Returns the environment of this name.
    pub fn environment(&self, name: &EnvironmentName) -> Option<&EnvironmentConfig> {
        self.environments.get(name)
    }
}

/// Reads a configuration, or tells every fault in it.
pub fn parse(file_name: &str, text: &str) -> Result<ProjectConfig, Faults> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let reader = reader::Reader::new(file_name, text, &errors);
    let config = read(&reader, document.get_ref());
    reader.finish()?;
    Ok(config)
}

/// Returns every key that is looked for in this text, and what it takes: `services.*.drain` → a duration.
///
/// What the reference says of keys is held against it.
pub fn keys(text: &str) -> BTreeMap<String, Takes> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let reader = reader::Reader::new(FILE_NAME, text, &errors).keeping_keys();
    read(&reader, document.get_ref());
    reader.keys()
}

/// Reads a configuration; it counts where the reader has found no fault.
fn read<'a>(reader: &'a reader::Reader<'a>, document: &'a DeTable<'a>) -> ProjectConfig {
    let root = reader.root(document);

    let project = root.require("project", "write [project] with a `name`").and_then(|item| {
        let table = item.table()?;
        let name = table.require("name", "write name = \"my-project\"").and_then(|item| item.text().filter(|name| is_name(&item, name)));
        table.close();
        name.map(str::to_owned)
    });
    let mut services = service::services(&root);
    let watchers = monitoring::watchers(&root);
    services.values_mut().flatten().for_each(|service| service.monitoring.watchers = watchers.clone());
    let gates = gates::gates(&root);
    let ci = ci::ci(&root);
    let phases = phases::phases(&root);
    let environments = environment::environments(&root, &environment::Declared { services: &services, ci: ci.as_ref() }, &gates, &phases);
    let notify = notify::notify(&root, environments.keys());
    root.close();

    let services = services.into_iter().filter_map(|(name, service)| Some((name, service?))).collect();
    ProjectConfig { project: project.unwrap_or_default(), services, environments, gates, ci, notify, phases }
}

/// Tells whether a text is a name, and the fault if it is not.
fn is_name(item: &reader::Item<'_>, name: &str) -> bool {
    let mut characters = name.chars();
    let is_name = characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-')
        && name.len() <= 40;
    if !is_name {
        item.fault(format!("`{name}` is no name"), Some("use a-z, 0-9 and `-`, starting with a letter, at most 40 characters".into()));
    }
    is_name
}

impl From<Faults> for Error {
    /// Becomes `invalid_configuration`; every fault stands in the message and in `details.faults`.
    fn from(faults: Faults) -> Self {
        let details = serde_json::json!({ "faults": faults.0.iter().map(Fault::to_string).collect::<Vec<_>>() });
        let count = faults.0.len();
        Error::new(
            Code::InvalidConfiguration,
            format!("{count} fault{} in the configuration:\n{faults}", if count == 1 { "" } else { "s" }),
        )
        .details(details)
    }
}
