//! What the applied configuration names: the only environments, services, teams and hosts that a runbook may.

use crate::config::EnvironmentConfig;
use serde_json::Value;
use std::collections::BTreeSet;

/// The names of a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Its environments.
    pub environments: BTreeSet<String>,
    /// Its services.
    pub services: BTreeSet<String>,
    /// The teams that own them.
    pub owners: BTreeSet<String>,
    /// Every other word in it: hosts, namespaces, paths.
    pub words: BTreeSet<String>,
}

impl Inventory {
    /// Returns the names of the environments that are in force.
    pub fn of(environments: &[EnvironmentConfig]) -> Inventory {
        let mut inventory = Inventory::default();
        for environment in environments {
            inventory.environments.insert(environment.name.to_string());
            for (service, spec) in &environment.services {
                inventory.services.insert(service.to_string());
                inventory.owners.extend(spec.owner.clone());
            }
            inventory.take(&serde_json::to_value(environment).unwrap_or_default());
        }
        inventory
    }

    /// Takes the words of a document of the record, too.
    pub fn take(&mut self, document: &Value) {
        match document {
            Value::String(said) => {
                let is_part = |character: char| character.is_alphanumeric() || ".-_".contains(character);
                let words = said.split(|character: char| !is_part(character)).filter(|word| !word.is_empty());
                self.words.extend(words.map(str::to_lowercase));
            }
            Value::Array(items) => items.iter().for_each(|item| self.take(item)),
            Value::Object(fields) => fields.values().for_each(|value| self.take(value)),
            _ => (),
        }
    }

    /// Tells whether it names this host.
    pub fn has_host(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        ["localhost", "127.0.0.1", "[::1]", "::1", "0.0.0.0"].contains(&host.as_str()) || self.words.contains(&host)
    }
}
