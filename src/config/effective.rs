//! What of a configuration reaches one service in one environment, and what a new revision changes there.

use super::{EnvironmentConfig, ProjectConfig};
use crate::model::{EnvironmentName, ServiceName, Sha256};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a new revision changes in one environment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvironmentDifference {
    /// The environment.
    pub environment: EnvironmentName,
    /// What changes, by path.
    pub changes: Vec<Change>,
    /// Whether an approver must decide: `approval` is set before or after.
    pub needs_approval: bool,
}

/// One changed value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// Where: `environments.production.services.web.drain_ms`.
    pub path: String,
    /// What it was; none when it is new.
    pub old: Option<String>,
    /// What it becomes; none when it goes.
    pub new: Option<String>,
}

impl ProjectConfig {
    /// Returns everything that changes what happens to a service in an environment.
    ///
    /// Of the environment named in `after`, that is the address where the same service is measured.
    pub fn effective(&self, environment: &EnvironmentName, service: &ServiceName) -> Option<Value> {
        let environment = self.environments.get(environment)?;
        let specification = environment.services.get(service)?;
        let earlier = environment.after.as_ref().and_then(|after| self.environments.get(after)?.services.get(service));
        let mut effective = json!({
            "project": self.project,
            "environment": without_services(environment),
            "service": specification,
            "after_listen": earlier.map(|earlier| earlier.router.listen()),
            "gates": self.gates,
        });
        if let Some(ci) = &self.ci {
            effective["ci"] = json!(ci);
        }
        if let Some(hosts) = earlier.map(|earlier| &earlier.hosts).filter(|hosts| !hosts.is_empty()) {
            effective["after_hosts"] = json!(hosts);
        }
        if let Some(sha256) = self.own_phase_of(environment) {
            effective["phase_sha256"] = json!(sha256);
        }
        Some(effective)
    }

    /// Returns the hash of the own phase file that governs an environment; none where the phase is Interlock's.
    fn own_phase_of(&self, environment: &EnvironmentConfig) -> Option<Sha256> {
        let text = self.phases.get(environment.phase.as_ref()?)?;
        Some(Sha256::of(text.as_bytes()))
    }

    /// Returns the SHA-256 of [`ProjectConfig::effective`]: `config_sha256` of plans.
    pub fn effective_sha256(&self, environment: &EnvironmentName, service: &ServiceName) -> Option<Sha256> {
        self.effective(environment, service).map(|effective| Sha256::of_canonical(&effective))
    }

    /// Returns everything that changes what happens in an environment: its own part, the environments before it, the gates, and who is
    /// told of it elsewhere.
    ///
    /// An unknown environment gives `null`. The paths are those of the file, so that a difference reads like it.
    pub fn effective_environment(&self, environment: &EnvironmentName) -> Value {
        let following = |name: &EnvironmentName| self.environments.get(name)?.after.clone();
        let chain = std::iter::successors(Some(environment.clone()), following);
        let chain: Vec<(String, &EnvironmentConfig)> =
            chain.filter_map(|name| Some((name.0.clone(), self.environments.get(&name)?))).collect();
        if chain.is_empty() {
            return Value::Null;
        }
        let phases: Map<String, Value> = chain
            .iter()
            .filter_map(|(_, environment)| Some((environment.phase.clone()?, json!(self.own_phase_of(environment)?))))
            .collect();
        let environments: Map<String, Value> = chain.into_iter().map(|(name, environment)| (name, json!(environment))).collect();
        let mut effective = json!({ "project": { "name": self.project }, "environments": environments, "gates": self.gates });
        if let Some(ci) = &self.ci {
            effective["ci"] = json!(ci);
        }
        let told: Map<String, Value> =
            self.notify.values().filter(|told| told.is_told_of(environment)).map(|told| (told.name.clone(), json!(told))).collect();
        if !told.is_empty() {
            effective["notify"] = json!(told);
        }
        if !phases.is_empty() {
            effective["phases"] = json!({ "files": phases });
        }
        effective
    }
}

fn without_services(environment: &EnvironmentConfig) -> Value {
    let mut value = json!(environment);
    value.as_object_mut().expect("an environment is an object").remove("services");
    value
}

/// Returns what a new configuration changes, per environment that it changes.
pub fn difference(old: Option<&ProjectConfig>, new: &ProjectConfig) -> Vec<EnvironmentDifference> {
    let of = |config: &ProjectConfig| config.environments.keys().cloned().collect::<BTreeSet<_>>();
    let names = &of(new) | &old.map(of).unwrap_or_default();
    let changed = |environment: EnvironmentName| {
        let changes = changes(
            &old.map(|old| flat(&old.effective_environment(&environment))).unwrap_or_default(),
            &flat(&new.effective_environment(&environment)),
        );
        let is_production = |config: &ProjectConfig| config.environments.get(&environment).is_some_and(EnvironmentConfig::is_production);
        let needs_approval = is_production(new) || old.is_some_and(is_production);
        (!changes.is_empty()).then_some(EnvironmentDifference { environment, changes, needs_approval })
    };
    names.into_iter().filter_map(changed).collect()
}

fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Change> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |path: &String| Change { path: path.clone(), old: old.get(path).cloned(), new: new.get(path).cloned() };
    paths.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

/// Returns every leaf by its path; lists are leaves, and so are empty tables, which say something by being there.
fn flat(value: &Value) -> BTreeMap<String, String> {
    fn walk(value: &Value, path: &str, leaves: &mut BTreeMap<String, String>) {
        match value {
            Value::Null => (),
            Value::Object(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    walk(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, leaves);
                }
            }
            Value::String(text) => drop(leaves.insert(path.to_owned(), text.clone())),
            other => drop(leaves.insert(path.to_owned(), other.to_string())),
        }
    }
    let mut leaves = BTreeMap::new();
    walk(value, "", &mut leaves);
    leaves
}
