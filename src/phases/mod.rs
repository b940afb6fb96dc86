//! Phases: the contract of one deployment phase, one Markdown file in `prompts/`.
//!
//! The front matter is what the server enforces, the body is guidance; thresholds and steps are rendered into the body, so
//! that each stands in one place. Nothing executes from a phase: `done_when` only names facts that the server computes.
//! To add a phase: a file in `prompts/`, a line in [`FILES`], its name in `config::PHASES`.

mod checklist;
mod facts;
mod lint;
mod load;
mod prose;
mod render;
mod strictest;
mod tasks;
#[cfg(test)]
mod tests;

pub use checklist::Standing;
pub use facts::{FACTS, Fact, FactKind, fact_kind, signable};
pub use lint::{OPERATIONS, lint_together};
pub use load::{parse, recall};
pub use render::fill;
pub use strictest::{Contradiction, strictest};
pub use tasks::{Prompt, tasks};

use crate::{
    error::Code,
    model::{Comparator, GateName, Sha256, Who},
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

/// The built-in phases: file name and text.
const FILES: &[(&str, &str)] = &[
    ("prompts/phase-06.md", include_str!("../../prompts/phase-06.md")),
    ("prompts/stage-22.md", include_str!("../../prompts/stage-22.md")),
    ("prompts/stage-30.md", include_str!("../../prompts/stage-30.md")),
    ("prompts/deployment-operations.md", include_str!("../../prompts/deployment-operations.md")),
    ("prompts/deployment-plan.md", include_str!("../../prompts/deployment-plan.md")),
];

/// The longest guidance a result carries.
pub const MAX_GUIDANCE_BYTES: usize = 1024;

/// The longest text of a phase, places filled in.
pub const MAX_RENDERED_BYTES: usize = 6 * 1024;

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
    /// What one who asks for its text may say.
    pub arguments: Vec<Argument>,
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
    /// What it leaves behind.
    pub outputs: Vec<Output>,
    /// What it is measured by.
    pub metrics: Vec<Metric>,
    /// The role whose approval every plan under it needs, whatever else the environment asks.
    pub approval: Option<String>,
    /// How much is at risk under it, 1 to 5; every plan under it says so.
    pub risk: Option<u8>,
    /// Facts of which any one, where it holds, leaves nothing to do.
    pub skip_when: Vec<String>,
    /// How long it takes.
    pub expected_duration: Option<Durations>,
    /// What proves that it was done.
    pub evidence: Vec<String>,
    /// What to offer after a failure.
    pub on_failure: Vec<Offer>,
    /// The phases that hand over to it.
    pub after: Vec<String>,
    /// The phases it hands over to.
    pub next: Vec<String>,
    /// SHA-256 of its file.
    pub sha256: Sha256,
    /// The text below the front matter, places unfilled.
    pub body: String,
    /// The whole file.
    pub text: String,
}

/// What must be there before a phase starts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What.
    pub name: String,
    /// From whom.
    pub from: Who,
    /// The fact that shows it.
    #[serde(default)]
    pub fact: Option<String>,
}

/// What one who asks for a phase's text may say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it says.
    pub about: String,
    /// What counts when it is left out; without it nothing is filled in.
    #[serde(default)]
    pub default: Option<String>,
    /// The words it may be; any, where none stands here.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// What a phase leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// What.
    pub name: String,
    /// Where it is kept.
    pub kept: String,
}

/// A figure a phase is measured by.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// What is aimed at.
    pub target: Comparator,
    /// Green while this holds.
    pub green: Comparator,
    /// Else yellow while this holds; red beyond.
    pub yellow: Comparator,
    /// What its numbers count: `percent`, `ms`.
    pub unit: String,
}

/// How long a phase takes, by the size of the change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durations {
    /// A small change.
    pub simple: String,
    /// Most changes.
    pub standard: String,
    /// A change of many parts.
    pub complex: String,
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
    /// Facts without which it is not taken: one that does not hold skips it, one that nobody knows is asked for.
    #[serde(default)]
    pub when: Vec<String>,
    /// Facts that all hold when it is done.
    pub done_when: Vec<String>,
    /// How often it may be taken again after it failed.
    #[serde(default)]
    pub rerun: u32,
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
