//! Reads a phase's file: front matter between `---` lines, then the body. Every fault is told with its line.

use super::{Argument, Durations, Input, Metric, Offer, Output, Phase, PhaseStep, lint::Check};
use crate::model::{Comparator, Faults, GateName, Sha256};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontMatter {
    name: String,
    title: String,
    description: String,
    phase: u32,
    version: String,
    scope: String,
    owner: String,
    #[serde(default)]
    triggers: Vec<String>,
    #[serde(default)]
    arguments: Vec<Argument>,
    #[serde(default)]
    inputs: Vec<Input>,
    #[serde(default)]
    pub(super) gates: BTreeMap<GateName, BTreeMap<String, String>>,
    steps: Vec<PhaseStep>,
    exit: Vec<String>,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    outputs: Vec<Output>,
    #[serde(default)]
    metrics: Vec<Metric>,
    #[serde(default)]
    approval: Option<String>,
    #[serde(default)]
    risk: Option<u8>,
    #[serde(default)]
    skip_when: Vec<String>,
    #[serde(default)]
    expected_duration: Option<Durations>,
    #[serde(default)]
    evidence: Vec<String>,
    #[serde(default)]
    on_failure: Vec<Offer>,
    #[serde(default)]
    after: Vec<String>,
    #[serde(default)]
    next: Vec<String>,
}

/// Reads a phase, or tells its faults: the first one where the front matter has another shape, else all of them.
pub fn parse(file: &str, text: &str) -> Result<Phase, Faults> {
    let mut check = Check::of(file, text);
    match read(&mut check, text) {
        Some((phase, gates)) => check.phase(&phase, &gates).map(|()| phase),
        None => Err(Faults(check.faults)),
    }
}

/// Reads a phase that was without faults once: what later rules say against it does not take it away from those who go by it.
pub fn recall(text: &str) -> Option<Phase> {
    read(&mut Check::of("", text), text).map(|(phase, _)| phase)
}

type Written = BTreeMap<GateName, BTreeMap<String, String>>;

fn read(check: &mut Check<'_>, text: &str) -> Option<(Phase, Written)> {
    let Some((front, body)) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) else {
        check.fault(1, "", "has no front matter", Some("start with `---`, the front matter, and `---`".into()));
        return None;
    };
    let front: FrontMatter = match yaml_serde::from_str(front) {
        Ok(front) => front,
        Err(err) => {
            // The front matter starts one line below the file.
            let line = err.location().map_or(1, |location| location.line() + 1);
            check.fault(line, "", &err.to_string(), None);
            return None;
        }
    };
    let FrontMatter { name, title, description, phase, version, scope, owner, triggers, arguments, inputs, gates, steps, exit, .. } = front;
    let comparators = |thresholds: &BTreeMap<String, String>| -> BTreeMap<String, Comparator> {
        thresholds.iter().filter_map(|(measure, threshold)| Some((measure.clone(), threshold.parse().ok()?))).collect()
    };
    let phase = Phase {
        name,
        title,
        description,
        phase,
        version,
        scope,
        owner,
        triggers,
        arguments,
        inputs,
        gates: gates.iter().map(|(gate, thresholds)| (gate.clone(), comparators(thresholds))).collect(),
        steps,
        exit,
        artifacts: front.artifacts,
        outputs: front.outputs,
        metrics: front.metrics,
        approval: front.approval,
        risk: front.risk,
        skip_when: front.skip_when,
        expected_duration: front.expected_duration,
        evidence: front.evidence,
        on_failure: front.on_failure,
        after: front.after,
        next: front.next,
        sha256: Sha256::of(text.as_bytes()),
        body: body.trim_start().to_owned(),
        text: text.to_owned(),
    };
    Some((phase, gates))
}
