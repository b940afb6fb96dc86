//! Which gates bind an environment, with which thresholds, and which file asks. Pure; the strictest wins.

use crate::{
    config::{EnvironmentConfig, GateFeed, GateOverride, ProjectConfig},
    error::{Code, Error, Result},
    gates::GateRule,
    model::{
        DirectiveId, GateName, Origin,
        catalog::{GATES, GateSource},
    },
    phases::{self, Phase},
};
use std::collections::BTreeMap;

/// A gate that binds an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// What the gate asks of evidence.
    pub rule: GateRule,
    /// Where its data comes from.
    pub source: GateSource,
    /// How it is fed, if configuration says so.
    pub feed: Option<GateFeed>,
    /// Which file asks for it.
    pub asked_by: String,
}

/// Returns every gate that binds the environment, in the catalog's order.
///
/// The server's own gates bind everywhere. Others bind when the phase, `after` or `[environments.X.gates]` names them; `"off"`
/// takes a phase's gate away again, and counts because only a signed revision is ever in force.
pub fn bindings(
    config: &ProjectConfig,
    environment: &EnvironmentConfig,
    phase: Option<&Phase>,
    directive: &DirectiveId,
) -> Result<Vec<Binding>> {
    let mut bindings = Vec::new();
    for kind in GATES {
        let name = GateName::from(kind.name);
        let in_phase = phase.and_then(|phase| phase.gates.get(&name).map(|thresholds| (phase, thresholds)));
        let overridden = environment.gates.get(&name);
        let own = kind.source == GateSource::Server || (kind.name == "promoted_from" && environment.after.is_some());
        if overridden == Some(&GateOverride::Off) && !own {
            continue;
        }
        // Who says whom to ask wants to be told, where a phase governs what is done.
        let configured = kind.name == "ci" && phase.is_some() && config.ci.as_ref().is_some_and(|ci| !ci.checks.is_empty());
        // A phase governs the first environment, too: there is no earlier one whose logs could be read.
        if kind.name == "logs" && environment.after.is_none() && overridden.is_none() {
            continue;
        }
        if !own && !configured && in_phase.is_none() && overridden.is_none() {
            continue;
        }
        let feed = config.gates.feeds.get(&name);
        let mut asking = Vec::new();
        if let Some((phase, thresholds)) = in_phase {
            asking.push((format!("phase {}", phase.name), thresholds.clone()));
        }
        if let Some(GateOverride::Thresholds(thresholds)) = overridden {
            asking.push((format!("environments.{}.gates", environment.name), thresholds.clone()));
        }
        let asked_by = asking.first().map_or_else(|| if configured { "ci" } else { "server" }.to_owned(), |(asked_by, _)| asked_by.clone());
        if let Some(feed) = feed {
            asking.push(("gates".to_owned(), feed.thresholds.clone()));
        }
        let thresholds = strictest(&name, asking)?;
        let accepted = environment.evidence.clone();
        let can_claim = accepted.contains(&Origin::Claimed);
        let rule = GateRule {
            gate: name,
            directive: directive.clone(),
            thresholds,
            allowed_exit: feed.map_or_else(|| vec![0], |feed| feed.exit.clone()),
            max_age_ms: config.gates.max_age_ms,
            accepted,
            has_command: feed.is_some_and(|feed| feed.command.is_some()),
            can_claim,
        };
        bindings.push(Binding { rule, source: kind.source, feed: feed.cloned(), asked_by });
    }
    Ok(bindings)
}

fn strictest(
    gate: &GateName,
    asking: Vec<(String, BTreeMap<String, crate::model::Comparator>)>,
) -> Result<BTreeMap<String, (crate::model::Comparator, String)>> {
    let asking: Vec<(&str, &BTreeMap<String, crate::model::Comparator>)> =
        asking.iter().map(|(by, thresholds)| (by.as_str(), thresholds)).collect();
    phases::strictest(&asking).map_err(|contradictions| {
        let told: Vec<String> = contradictions.iter().map(ToString::to_string).collect();
        Error::new(Code::InvalidConfiguration, format!("gate `{gate}`: {}", told.join("; ")))
    })
}
