//! What may not stand in a phase's file, beyond its shape. Each rule is one method of [`Check`]; each tells file, line and what to write instead.
//!
//! A step can be reached when nothing that must hold before it ends the phase first. It cannot when
//! - its `when` names a fact of `skip_when`: where that holds, the whole phase is skipped;
//! - steps before it that are always taken bring every fact of its own `done_when`: it is done before anybody comes to it;
//! - steps before it that are always taken bring every fact of `exit`: the phase is over.
//!
//! Steps go round in a circle when a `when` needs a fact that only its own step or a later one brings. Phases go round when `next` leads
//! from one back to itself.

use super::{MAX_GUIDANCE_BYTES, MAX_RENDERED_BYTES, Phase, PhaseStep, facts::FACTS, prose, render::PLACES};
use crate::model::{
    Comparator, Fault, Faults, GateName,
    catalog::{gate_kind, gate_names},
    fault::suggestion,
    plan::MOST_RISK,
};
use std::collections::{BTreeMap, BTreeSet};

/// The operations a phase may name.
pub const OPERATIONS: &[&str] = &[
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
    "setup_monitoring",
    "setup_backup",
];

/// How often a step may be taken again.
const MOST_RERUNS: u32 = 3;

/// The units of `expected_duration`.
const UNITS: &[&str] = &["minutes", "hours", "days"];

/// The faults of a file whose shape is right.
pub(super) struct Check<'a> {
    file: &'a str,
    text: &'a str,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Check<'a> {
    pub(super) fn of(file: &'a str, text: &'a str) -> Self {
        Check { file, text, faults: Vec::new() }
    }

    /// Tells every fault of a phase, in the order of the lines.
    pub(super) fn phase(mut self, phase: &Phase, gates: &BTreeMap<GateName, BTreeMap<String, String>>) -> Result<(), Faults> {
        self.names(phase);
        self.gates(gates);
        self.steps(&phase.steps);
        self.circles(&phase.steps);
        self.reach(phase);
        self.exit(phase);
        self.facts("skip_when", &phase.skip_when);
        for input in &phase.inputs {
            self.facts_at(self.line_of(&format!("name: {}", input.name)), "inputs", input.fact.as_slice());
        }
        for offer in &phase.on_failure {
            self.operation(&format!("on_failure.{}", offer.when), &format!("when: {}", offer.when), &offer.offer);
        }
        self.artifacts(&phase.artifacts);
        self.metrics(phase);
        self.durations(phase);
        self.places(phase);
        self.prose(phase);
        self.sizes(phase);
        self.faults.sort_by_key(|fault| fault.line);
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }

    fn names(&mut self, phase: &Phase) {
        let is_name = |name: &str| {
            let fits = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
            name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() <= 40 && name.chars().all(fits)
        };
        let named = [("name", &phase.name)].into_iter().chain(phase.approval.iter().map(|role| ("approval", role)));
        let handing = phase.after.iter().map(|name| ("after", name)).chain(phase.next.iter().map(|name| ("next", name)));
        for (key, name) in named.chain(handing).filter(|(_, name)| !is_name(name)).collect::<Vec<_>>() {
            let hint = "use a-z, 0-9 and `-`, starting with a letter, at most 40 characters";
            self.fault(self.line_of(&format!("{key}:")), key, &format!("`{name}` is no name"), Some(hint.into()));
        }
        if phase.risk.is_some_and(|risk| !(1..=MOST_RISK).contains(&risk)) {
            self.fault(self.line_of("risk:"), "risk", "is not 1 to 5", None);
        }
        for argument in &phase.arguments {
            let line = self.line_of(&format!("name: {}", argument.name));
            let key = format!("arguments.{}", argument.name);
            if PLACES.contains(&argument.name.as_str()) {
                self.fault(line, &key, "is the name of a place the server fills", Some("give it another name".into()));
            }
            if let Some(default) = argument.default.as_ref().filter(|default| !argument.allows(default)) {
                let hint = suggestion(default, argument.choices.iter().map(String::as_str));
                self.fault(line, &key, &format!("`{default}` is none of its choices"), hint);
            }
        }
    }

    fn gates(&mut self, gates: &BTreeMap<GateName, BTreeMap<String, String>>) {
        for (gate, thresholds) in gates {
            let (key, line) = (format!("gates.{gate}"), self.line_of(&format!("{gate}:")));
            let Some(kind) = gate_kind(gate.as_str()) else {
                self.fault(line, &key, "unknown gate", suggestion(gate.as_str(), gate_names()));
                continue;
            };
            for (measure, threshold) in thresholds {
                if !kind.measures.contains(&measure.as_str()) {
                    self.fault(line, &format!("{key}.{measure}"), "unknown measure", suggestion(measure, kind.measures.iter().copied()));
                }
                if let Err(reason) = threshold.parse::<Comparator>() {
                    self.fault(line, &format!("{key}.{measure}"), &reason, None);
                }
            }
        }
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
            self.facts_at(line, &format!("{key}.when"), &step.when);
            self.facts_at(line, &format!("{key}.done_when"), &step.done_when);
            if step.rerun > MOST_RERUNS {
                let hint = format!("at most {MOST_RERUNS}: customers wait for the last one");
                self.fault(line, &format!("{key}.rerun"), &format!("{} is too often", step.rerun), Some(hint));
            }
            if let Some(operation) = &step.operation {
                self.operation(&key, &place, operation);
            }
        }
        if steps.is_empty() {
            self.fault(self.line_of("steps:"), "steps", "is empty", None);
        }
    }

    fn circles(&mut self, steps: &[PhaseStep]) {
        for (index, step) in steps.iter().enumerate() {
            for fact in &step.when {
                let bring = |step: &&PhaseStep| step.done_when.contains(fact);
                let Some(by) = steps[index..].iter().find(bring).filter(|_| !steps[..index].iter().any(|step| bring(&step))) else {
                    continue;
                };
                let who = if by.id == step.id { "itself".to_owned() } else { format!("step `{}`, which comes later", by.id) };
                let message = format!("goes round: waits for `{fact}`, which only {who} brings");
                let hint = "wait for a fact of an earlier step, or change their order";
                self.fault(self.line_of(&format!("id: {}", step.id)), &format!("steps.{}.when", step.id), &message, Some(hint.into()));
            }
        }
    }

    fn reach(&mut self, phase: &Phase) {
        let mut brought: BTreeSet<&String> = BTreeSet::new();
        for step in &phase.steps {
            let holds_before = |facts: &[String]| !facts.is_empty() && facts.iter().all(|fact| brought.contains(fact));
            let why = if let Some(fact) = step.when.iter().find(|fact| phase.skip_when.contains(fact)) {
                Some(format!("is never reached: where `{fact}` holds, `skip_when` skips the whole phase"))
            } else if holds_before(&phase.exit) {
                Some("is never reached: the steps before it bring every fact of `exit`, and the phase is over".to_owned())
            } else if holds_before(&step.done_when) {
                Some("is never reached: the steps before it bring every fact of its `done_when`".to_owned())
            } else {
                None
            };
            if let Some(why) = why {
                let line = self.line_of(&format!("id: {}", step.id));
                self.fault(line, &format!("steps.{}", step.id), &why, Some("take it out, or name a fact of its own".into()));
            }
            if step.when.is_empty() {
                brought.extend(&step.done_when);
            }
        }
    }

    fn exit(&mut self, phase: &Phase) {
        let line = self.line_of("exit:");
        if phase.exit.is_empty() {
            self.fault(line, "exit", "is empty: nothing would end the phase", None);
        }
        self.facts_at(line, "exit", &phase.exit);
        for fact in phase.exit.iter().filter(|fact| phase.skip_when.contains(fact)) {
            let hint = "a fact that skips the phase cannot be what it works for";
            self.fault(line, "exit", &format!("`{fact}` stands in `skip_when` too"), Some(hint.into()));
        }
    }

    fn facts(&mut self, key: &str, facts: &[String]) {
        self.facts_at(self.line_of(&format!("{key}:")), key, facts);
    }

    fn facts_at(&mut self, line: usize, key: &str, facts: &[String]) {
        for fact in facts.iter().filter(|fact| !FACTS.iter().any(|kind| kind.name == **fact)) {
            self.fault(line, key, &format!("unknown fact `{fact}`"), suggestion(fact, FACTS.iter().map(|kind| kind.name)));
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

    fn metrics(&mut self, phase: &Phase) {
        for metric in &phase.metrics {
            let (line, key) = (self.line_of(&format!("name: {}", metric.name)), format!("metrics.{}", metric.name));
            if phase.metrics.iter().filter(|other| other.name == metric.name).count() > 1 {
                self.fault(line, &key, "stands here twice", None);
            }
            if metric.green.strictest(metric.yellow) != Some(metric.green) {
                let message = format!("`yellow` {} is not wider than `green` {}", metric.yellow, metric.green);
                self.fault(line, &key, &message, Some("green is the narrower one; what is neither is red".into()));
            }
            if metric.target.strictest(metric.green) != Some(metric.target) {
                let message = format!("`target` {} is not within `green` {}", metric.target, metric.green);
                self.fault(line, &key, &message, Some("what meets the target is green".into()));
            }
        }
    }

    fn durations(&mut self, phase: &Phase) {
        let Some(durations) = &phase.expected_duration else { return };
        for (size, text) in [("simple", &durations.simple), ("standard", &durations.standard), ("complex", &durations.complex)] {
            let words: Vec<&str> = text.split(' ').collect();
            let is_number = |word: &str| word.parse::<u32>().is_ok_and(|number| number > 0);
            let is_good = match words[..] {
                [one, unit] => is_number(one) && UNITS.contains(&unit),
                [one, "to", other, unit] => is_number(one) && is_number(other) && UNITS.contains(&unit),
                _ => false,
            };
            if !is_good {
                let hint = "write \"30 minutes\", \"4 to 8 hours\" or \"1 to 2 days\"";
                let key = format!("expected_duration.{size}");
                self.fault(self.line_of("expected_duration:"), &key, &format!("`{text}` is no duration"), Some(hint.into()));
            }
        }
    }

    fn places(&mut self, phase: &Phase) {
        let places: Vec<&str> = phase.body.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(place, _)| place).collect();
        let known: Vec<&str> = PLACES.iter().copied().chain(phase.arguments.iter().map(|argument| argument.name.as_str())).collect();
        for place in places.iter().filter(|place| !known.contains(place)) {
            let hint = suggestion(place, known.iter().copied());
            self.fault(self.line_of(&format!("{{{{{place}}}}}")), "", &format!("unknown place `{{{{{place}}}}}`"), hint);
        }
        for place in ["gates", "steps"].iter().filter(|place| !places.contains(place)) {
            let hint = format!("write `{{{{{place}}}}}` on a line of its own: it shows what the front matter says");
            self.fault(1, "", &format!("the body does not show `{{{{{place}}}}}`"), Some(hint));
        }
    }

    /// The body line by line, and what stands in prose in the front matter.
    fn prose(&mut self, phase: &Phase) {
        let body_at = self.text.lines().count() - phase.body.lines().count();
        let body = phase.body.lines().enumerate().map(|(index, line)| (body_at + index + 1, String::new(), line.to_owned()));
        let guidance = phase.steps.iter().filter_map(|step| {
            let key = format!("steps.{}.guidance", step.id);
            Some((self.line_of(&format!("id: {}", step.id)), key, step.guidance.clone()?))
        });
        let offers = phase.on_failure.iter().map(|offer| {
            let line = self.line_of(&format!("when: {}", offer.when));
            (line, format!("on_failure.{}", offer.when), offer.why.clone())
        });
        for (line, key, text) in body.chain(guidance).chain(offers).collect::<Vec<_>>() {
            for threshold in prose::thresholds(&text) {
                let hint = "write it once, in the front matter, and let a place like `{{gates}}` or `{{metrics}}` show it";
                self.fault(line, &key, &format!("the prose states a threshold, `{threshold}`"), Some(hint.into()));
            }
            for word in prose::unknown_words(&text) {
                let hint = suggestion(word, OPERATIONS.iter().copied());
                self.fault(line, &key, &format!("unknown operation `{word}`"), hint);
            }
        }
    }

    fn sizes(&mut self, phase: &Phase) {
        for step in &phase.steps {
            // Guidance is cut to its limit, so one that fills it was longer.
            if phase.guidance(step).len() >= MAX_GUIDANCE_BYTES - 3 {
                let line = self.line_of(&format!("id: {}", step.id));
                self.fault(line, &format!("steps.{}", step.id), "has more guidance than a result carries", Some("shorten it".into()));
            }
        }
        let rendered = phase.render().len();
        if rendered > MAX_RENDERED_BYTES {
            let message = format!("has {rendered} bytes when it is shown, and may have {MAX_RENDERED_BYTES}");
            self.fault(1, "", &message, Some("shorten it".into()));
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

    pub(super) fn fault(&mut self, line: usize, key: &str, message: &str, hint: Option<String>) {
        self.faults.push(Fault { file: self.file.to_owned(), line, column: None, key: key.to_owned(), message: message.to_owned(), hint });
    }
}

/// Tells what is wrong between phases, each with the name of its file: one name for two, and a `next` that leads from one back to itself.
pub fn lint_together(phases: &[(&str, &Phase)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, (file, phase)) in phases.iter().enumerate() {
        let mut check = Check::of(file, &phase.text);
        if let Some((other, _)) = phases[..index].iter().find(|(_, other)| other.name == phase.name) {
            let hint = "give it another name, and name that in `phase = …`";
            check.fault(check.line_of("name:"), "name", &format!("`{}` is there already: {other}", phase.name), Some(hint.into()));
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut ahead: Vec<&str> = phase.next.iter().map(String::as_str).collect();
        while let Some(name) = ahead.pop() {
            if seen.insert(name) && name != phase.name {
                ahead.extend(
                    phases.iter().filter(|(_, other)| other.name == name).flat_map(|(_, other)| other.next.iter().map(String::as_str)),
                );
            }
        }
        if seen.contains(phase.name.as_str()) {
            let message = format!("goes round: `{}` comes after itself", phase.name);
            check.fault(check.line_of("next:"), "next", &message, Some("break the circle".into()));
        }
        faults.append(&mut check.faults);
    }
    faults
}
