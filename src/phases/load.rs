//! Reads a phase's file: front matter between `---` lines, then the body. Every fault is told with its line.

use super::{FACTS, Input, MAX_GUIDANCE_BYTES, Offer, Phase, PhaseStep, render::PLACES};
use crate::model::{
    Comparator, Fault, Faults, GateName, Sha256,
    catalog::{gate_kind, gate_names},
    fault::suggestion,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The operations a phase may name.
const OPERATIONS: &[&str] = &[
    "get_status",
    "create_directive",
    "cancel_directive",
    "record_evidence",
    "run_predeploy_checks",
    "plan_deployment",
    "execute_deployment",
    "get_deployment",
    "hold_deployment",
    "verify_deployment",
    "rollback_deployment",
    "write_runbook",
    "get_runbook",
    "complete_directive",
    "list_deployments",
    "read_log",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
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
    inputs: Vec<Input>,
    #[serde(default)]
    gates: BTreeMap<GateName, BTreeMap<String, String>>,
    steps: Vec<PhaseStep>,
    exit: Vec<String>,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    on_failure: Vec<Offer>,
    #[serde(default)]
    next: Option<String>,
}

/// Reads a phase, or tells its faults: the first one where the front matter has another shape, else all of them.
pub fn parse(file: &str, text: &str) -> Result<Phase, Faults> {
    let mut check = Check { file, text, faults: Vec::new() };
    let Some((front, body)) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) else {
        check.fault(1, "", "has no front matter", Some("start with `---`, the front matter, and `---`".into()));
        return Err(Faults(check.faults));
    };
    let front: FrontMatter = match yaml_serde::from_str(front) {
        Ok(front) => front,
        Err(err) => {
            // The front matter starts one line below the file.
            let line = err.location().map_or(1, |location| location.line() + 1);
            check.fault(line, "", &err.to_string(), None);
            return Err(Faults(check.faults));
        }
    };
    let gates = check.gates(&front.gates);
    check.steps(&front.steps);
    check.facts("exit", &front.exit);
    for offer in &front.on_failure {
        check.operation(&format!("on_failure.{}", offer.when), &format!("when: {}", offer.when), &offer.offer);
    }
    check.artifacts(&front.artifacts);
    check.body(body);

    let FrontMatter { name, title, description, phase, version, scope, owner, triggers, inputs, steps, exit, artifacts, .. } = front;
    let phase = Phase {
        name,
        title,
        description,
        phase,
        version,
        scope,
        owner,
        triggers,
        inputs,
        gates,
        steps,
        exit,
        artifacts,
        on_failure: front.on_failure,
        next: front.next,
        sha256: Sha256::of(text.as_bytes()),
        body: body.trim_start().to_owned(),
    };
    for step in &phase.steps {
        // Guidance is cut to its limit, so one that fills it was longer.
        if phase.guidance(step).len() >= MAX_GUIDANCE_BYTES - 3 {
            let line = check.line_of(&format!("id: {}", step.id));
            check.fault(line, &format!("steps.{}", step.id), "has more guidance than a result carries", Some("shorten it".into()));
        }
    }
    check.faults.sort_by_key(|fault| fault.line);
    if check.faults.is_empty() { Ok(phase) } else { Err(Faults(check.faults)) }
}

/// The faults of a file whose shape is right.
struct Check<'a> {
    file: &'a str,
    text: &'a str,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn gates(&mut self, gates: &BTreeMap<GateName, BTreeMap<String, String>>) -> BTreeMap<GateName, BTreeMap<String, Comparator>> {
        let mut read = BTreeMap::new();
        for (gate, thresholds) in gates {
            let (key, line) = (format!("gates.{gate}"), self.line_of(&format!("{gate}:")));
            let Some(kind) = gate_kind(gate.as_str()) else {
                self.fault(line, &key, "unknown gate", suggestion(gate.as_str(), gate_names()));
                continue;
            };
            let mut comparators = BTreeMap::new();
            for (measure, threshold) in thresholds {
                if !kind.measures.contains(&measure.as_str()) {
                    self.fault(line, &format!("{key}.{measure}"), "unknown measure", suggestion(measure, kind.measures.iter().copied()));
                }
                match threshold.parse::<Comparator>() {
                    Ok(comparator) => drop(comparators.insert(measure.clone(), comparator)),
                    Err(reason) => self.fault(line, &format!("{key}.{measure}"), &reason, None),
                }
            }
            read.insert(gate.clone(), comparators);
        }
        read
    }

    fn steps(&mut self, steps: &[PhaseStep]) {
        let mut ids = BTreeSet::new();
        for step in steps {
            let (key, place) = (format!("steps.{}", step.id), format!("id: {}", step.id));
            let line = self.line_of(&place);
            if !ids.insert(&step.id) {
                self.fault(line, &key, "stands here twice", None);
            }
            if step.done_when.is_empty() {
                self.fault(line, &key, "is never done", Some("name a fact in `done_when`".into()));
            }
            self.facts_at(line, &format!("{key}.done_when"), &step.done_when);
            if let Some(operation) = &step.operation {
                self.operation(&key, &place, operation);
            }
        }
        if steps.is_empty() {
            self.fault(self.line_of("steps:"), "steps", "is empty", None);
        }
    }

    fn facts(&mut self, key: &str, facts: &[String]) {
        let line = self.line_of(&format!("{key}:"));
        if facts.is_empty() {
            self.fault(line, key, "is empty: nothing would end the phase", None);
        }
        self.facts_at(line, key, facts);
    }

    fn facts_at(&mut self, line: usize, key: &str, facts: &[String]) {
        for fact in facts.iter().filter(|fact| !FACTS.iter().any(|(name, _)| name == fact)) {
            self.fault(line, key, &format!("unknown fact `{fact}`"), suggestion(fact, FACTS.iter().map(|(name, _)| *name)));
        }
    }

    fn operation(&mut self, key: &str, place: &str, operation: &str) {
        if !OPERATIONS.contains(&operation) {
            let hint = suggestion(operation, OPERATIONS.iter().copied());
            self.fault(self.line_of(place), key, &format!("unknown operation `{operation}`"), hint);
        }
    }

    fn artifacts(&mut self, artifacts: &[String]) {
        for path in artifacts.iter().filter(|path| path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part == "..")) {
            self.fault(self.line_of("artifacts:"), "artifacts", &format!("`{path}` leads out of the workspace"), None);
        }
    }

    fn body(&mut self, body: &str) {
        let places: Vec<&str> = body.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(place, _)| place).collect();
        for place in places.iter().filter(|place| !PLACES.contains(place)) {
            let hint = suggestion(place, PLACES.iter().copied());
            self.fault(self.line_of(&format!("{{{{{place}}}}}")), "", &format!("unknown place `{{{{{place}}}}}`"), hint);
        }
        for place in ["gates", "steps"].iter().filter(|place| !places.contains(place)) {
            self.fault(1, "", &format!("the body does not show `{{{{{place}}}}}`"), None);
        }
    }

    /// Returns the first line that holds a text as a whole word; the first line of the file when none does.
    fn line_of(&self, needle: &str) -> usize {
        let is_there = |line: &str| {
            line.match_indices(needle).any(|(start, _)| {
                let before = line[..start].chars().next_back();
                let after = line[start + needle.len()..].chars().next();
                let is_word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
                !is_word(before) && (needle.ends_with(':') || !is_word(after))
            })
        };
        self.text.lines().position(is_there).map_or(1, |index| index + 1)
    }

    fn fault(&mut self, line: usize, key: &str, message: &str, hint: Option<String>) {
        self.faults.push(Fault { file: self.file.to_owned(), line, column: None, key: key.to_owned(), message: message.to_owned(), hint });
    }
}
