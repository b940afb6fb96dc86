//! RB001, RB011 and the digests of RB012: what stands at the head of a runbook.

use super::{Findings, Known, Level, Runbook};
use crate::{
    engine::markdown::Document,
    model::{DeploymentState, Who},
};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// What every runbook says of itself.
const KEYS: &[&str] = &[
    "id",
    "title",
    "service",
    "environment",
    "owner",
    "escalation",
    "strategy",
    "version",
    "plan_sha256",
    "artifact_digest",
    "written_by",
    "last_tested",
    "irreversible_steps",
];
/// How long a run counts as a test (RB011).
const FRESH: Duration = Duration::from_secs(90 * 86_400);

/// The YAML at a runbook's head.
pub(super) struct Front(serde_json::Map<String, Value>);

impl Front {
    /// Reads it; none where there is none, or it is no YAML of names and values.
    pub(super) fn of(document: &Document) -> Option<Front> {
        yaml_serde::from_str(document.front.as_deref()?).ok().map(Front)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(super) fn word(&self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::String(said) => Some(said.trim().to_owned()).filter(|said| !said.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Returns the steps it calls irreversible.
    pub(super) fn irreversible(&self) -> Vec<String> {
        match self.value("irreversible_steps") {
            Some(Value::Array(steps)) => steps.iter().filter_map(|step| step.as_str()).map(str::to_owned).collect(),
            Some(Value::String(steps)) => steps.split(',').map(|step| step.trim().to_owned()).collect(),
            _ => Vec::new(),
        }
    }

    fn tested(&self) -> Option<Test> {
        serde_json::from_value(self.value("last_tested")?.clone()).ok()
    }
}

#[derive(Deserialize)]
struct Test {
    deployment: String,
    environment: Option<String>,
}

pub(super) fn check(runbook: &Runbook<'_>, known: &Known<'_>, found: &mut Findings) {
    let Some(front) = &runbook.front else {
        let fix = "begin with `---`, names and values, and `---`";
        return found.block("RB001", 1, "there is no front matter that can be read as YAML".into(), fix);
    };
    let line_of = |key: &str| {
        let begins = format!("{key}:");
        runbook.text.lines().position(|line| line.starts_with(&begins)).map_or(1, |at| at + 1)
    };
    for key in KEYS {
        let is_there = front.value(key).is_some_and(|value| !matches!(value, Value::Null) && value.as_str() != Some(""));
        if is_there {
            continue;
        }
        let (fix, side) = match *key {
            "owner" | "escalation" => (format!("set it in [services.{}] and apply", known.report.deployment.service), Some(Who::Person)),
            _ => ("name it in the front matter".to_owned(), None),
        };
        found.put("RB001", Level::Block, line_of(key), format!("`{key}` is missing"), &fix, side);
    }
    if let Some(owner) = front.word("owner").filter(|owner| !known.inventory.owners.contains(owner)) {
        let message = format!("nobody in the configuration is called `{owner}`");
        found.put("RB001", Level::Block, line_of("owner"), message, "name the team that owns the service there", Some(Who::Person));
    }
    let (plan, release) = (known.report.plan.sha256(), &known.report.deployment.digest);
    for (key, recorded) in [("plan_sha256", &plan), ("artifact_digest", release)] {
        if let Some(said) = front.word(key).filter(|said| said != &recorded.0) {
            let message = format!("`{said}` is not the recorded digest, {}", recorded.short());
            found.block("RB012", line_of(key), message, "take it from the record");
        }
    }
    tested(front, known, found, line_of("last_tested"));
    for (key, known_names) in [("environment", &known.inventory.environments), ("service", &known.inventory.services)] {
        if let Some(said) = front.word(key).filter(|said| !known_names.contains(said)) {
            let message = format!("the applied configuration has no {key} `{said}`");
            found.block("RB013", line_of(key), message, "name one it has");
        }
    }
}

/// A test that is missing or old keeps a runbook from review only where a plan needs somebody's approval: there it is relied on.
fn tested(front: &Front, known: &Known<'_>, found: &mut Findings, line: usize) {
    let Some(test) = front.tested() else { return };
    let wrong = match known.runs.get(&test.deployment) {
        None => Some(format!("there is no deployment `{}`", test.deployment)),
        Some(run) if run.service != known.report.deployment.service || run.environment != known.report.deployment.environment => {
            Some(format!("`{}` deployed {} to {}", test.deployment, run.service, run.environment))
        }
        Some(run) if test.environment.as_deref().is_some_and(|said| said != run.environment.as_str()) => {
            Some(format!("`{}` was in {}", test.deployment, run.environment))
        }
        Some(run) if run.state != DeploymentState::Succeeded => Some(format!("`{}` is {}", test.deployment, run.state.as_str())),
        Some(run) => {
            run.settled_at.filter(|at| known.now.since(*at) > FRESH).map(|_| format!("`{}` is more than 90 days ago", test.deployment))
        }
    };
    if let Some(message) = wrong {
        let level = if known.report.plan.approval.is_some() { Level::Block } else { Level::Warn };
        found.put("RB011", level, line, message, "deploy, and write it from that run", Some(Who::Agent));
    }
}
