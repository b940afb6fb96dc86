//! Phases: the contract of one deployment phase, one Markdown file in `prompts/`.
//!
//! The front matter is what the server enforces, the body is guidance; thresholds and steps are rendered into the body, so
//! that each stands in one place. Nothing executes from a phase: `done_when` only names facts that the server computes.
//! To add a phase: a file in `prompts/`, a line in [`FILES`], its name in `config::PHASES`.

mod load;
mod render;
mod strictest;
#[cfg(test)]
mod tests;

pub use load::parse;
pub use strictest::{Contradiction, strictest};

use crate::{
    error::Code,
    model::{Comparator, GateName, Sha256, Who},
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

/// The built-in phases: file name and text.
const FILES: &[(&str, &str)] = &[("prompts/phase-06.md", include_str!("../../prompts/phase-06.md"))];

/// Every fact a phase may wait for, and what it says. The server computes each from its record.
pub const FACTS: &[(&str, &str)] = &[
    ("uat_signed", "a person has signed user acceptance for exactly this release"),
    ("gates_pass", "every gate that binds here passes"),
    ("secrets_present", "every secret that the service refers to can be resolved"),
    ("plan_ready", "a plan is frozen and still starts from what serves"),
    ("approved", "a person's approval of that plan is in force, or none is needed here"),
    ("deployed", "the release takes all traffic of the service"),
    ("smoke_passed", "every smoke check was answered as said, on the instances and through the listener"),
    ("verified", "the watch with the old set warm has ended well"),
    ("runbook_written", "a runbook without lint faults is drafted from this deployment"),
    ("runbook_published", "a person has published that runbook"),
    ("report_written", "the deploy log and the smoke report lie in the workspace"),
];

/// The longest guidance a result carries.
pub const MAX_GUIDANCE_BYTES: usize = 1024;

/// A phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name: `phase-06`.
    pub name: String,
    /// Its title.
    pub title: String,
    /// One line.
    pub description: String,
    /// Its number in the lifecycle.
    pub phase: u32,
    /// The version of its file.
    pub version: String,
    /// What it is about: `project-rules`.
    pub scope: String,
    /// Who keeps it.
    pub owner: String,
    /// Words that call for it.
    pub triggers: Vec<String>,
    /// What must be there before it starts.
    pub inputs: Vec<Input>,
    /// Gates that bind under it; a gate without thresholds binds all the same.
    pub gates: BTreeMap<GateName, BTreeMap<String, Comparator>>,
    /// Its steps, in order.
    pub steps: Vec<PhaseStep>,
    /// Facts that all hold when it is done.
    pub exit: Vec<String>,
    /// Files that the server writes.
    pub artifacts: Vec<String>,
    /// What to offer after a failure.
    pub on_failure: Vec<Offer>,
    /// What comes after it.
    pub next: Option<String>,
    /// SHA-256 of its file.
    pub sha256: Sha256,
    /// The text below the front matter, places unfilled.
    pub body: String,
}

/// What must be there before a phase starts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What.
    pub name: String,
    /// From whom.
    pub from: Who,
}

/// One step of a phase: a line of a checklist over the record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseStep {
    /// Unique in the phase.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Who takes it.
    pub by: Who,
    /// The operation that takes or shows it.
    #[serde(default)]
    pub operation: Option<String>,
    /// Facts that all hold when it is done.
    pub done_when: Vec<String>,
    /// What the one who takes it should know.
    #[serde(default)]
    pub guidance: Option<String>,
}

/// What to offer after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The failure.
    pub when: Code,
    /// The operation to offer.
    pub offer: String,
    /// Why that one.
    pub why: String,
}

/// A fact as the record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows; the question that settles it.
    Missing(String),
}

static PHASES: LazyLock<Vec<Phase>> = LazyLock::new(|| {
    let load = |(file, text): &(&str, &str)| parse(file, text).expect("built-in phases have no faults; a test reads them all");
    FILES.iter().map(load).collect()
});

/// Returns every built-in phase.
pub fn all() -> &'static [Phase] {
    &PHASES
}

/// Returns the built-in phase of this name.
pub fn builtin(name: &str) -> Option<&'static Phase> {
    PHASES.iter().find(|phase| phase.name == name)
}

impl Phase {
    /// Returns the first step with a fact that does not hold; `None` when every step is done.
    ///
    /// A fact that nobody knows is not taken as done: its step asks.
    pub fn current_step(&self, facts: &BTreeMap<String, Fact>) -> Option<&PhaseStep> {
        let holds = |fact: &String| facts.get(fact) == Some(&Fact::True);
        self.steps.iter().find(|step| !step.done_when.iter().all(holds))
    }

    /// Returns the exit facts that do not hold.
    pub fn open_exits<'a>(&'a self, facts: &'a BTreeMap<String, Fact>) -> impl Iterator<Item = &'a str> {
        self.exit.iter().filter(|fact| facts.get(*fact) != Some(&Fact::True)).map(String::as_str)
    }
}
