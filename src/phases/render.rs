//! A phase as a reader sees it: the body with its places filled from the front matter, and the guidance of one step.

use super::{Argument, MAX_GUIDANCE_BYTES, Metric, Phase, PhaseStep, facts::meaning};
use crate::model::text::visible_line;
use std::collections::BTreeMap;

/// The places a body may have; `gates` and `steps` must be there. The name of an argument is a place too.
pub(super) const PLACES: &[&str] = &[
    "arguments",
    "inputs",
    "gates",
    "approval",
    "skip_when",
    "steps",
    "on_failure",
    "exit",
    "artifacts",
    "outputs",
    "evidence",
    "metrics",
    "expected_duration",
    "after",
    "next",
];

impl Argument {
    /// Tells whether it may be this word.
    pub fn allows(&self, word: &str) -> bool {
        self.choices.is_empty() || self.choices.iter().any(|choice| choice == word)
    }
}

impl Phase {
    /// Returns the body with every place filled in, arguments by their defaults.
    pub fn render(&self) -> String {
        self.filled_with(&BTreeMap::new())
    }

    /// Returns the body with every place filled in, or what is wrong with an argument.
    pub fn render_with(&self, given: &BTreeMap<String, String>) -> Result<String, String> {
        for (name, word) in given {
            let shown = visible_line(name, 40);
            let Some(argument) = self.arguments.iter().find(|argument| argument.name == *name) else {
                let known: Vec<&str> = self.arguments.iter().map(|argument| argument.name.as_str()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(format!("`{}` has no argument `{shown}`; there are: {known}", self.name));
            };
            if !argument.allows(word) {
                return Err(format!("`{shown}` is one of {}", argument.choices.join(", ")));
            }
        }
        Ok(self.filled_with(given))
    }

    /// Returns what one needs to know to take a step, at most 1 KB.
    pub fn guidance(&self, step: &PhaseStep) -> String {
        let operation = step.operation.as_ref().map(|operation| format!(", `{operation}`")).unwrap_or_default();
        let guidance = step.guidance.as_ref().map(|text| format!("{}\n", text.trim())).unwrap_or_default();
        let facts: Vec<&str> = step.done_when.iter().map(|fact| meaning(fact)).collect();
        let mut text = format!("{} ({}{operation})\n{guidance}Done when {}.", step.title, step.by, facts.join("; and "));
        text.truncate(text.floor_char_boundary(MAX_GUIDANCE_BYTES));
        text
    }

    /// Returns what one needs to know of the current step; where it is not known whether it is taken at all, what is asked first.
    pub fn told(&self, step: &PhaseStep, asked: &[(String, String)]) -> String {
        let whether: Vec<&str> = asked.iter().filter(|(fact, _)| step.when.contains(fact)).map(|(_, question)| question.as_str()).collect();
        if whether.is_empty() {
            return self.guidance(step);
        }
        let mut text = format!("{} ({})\nWhether it is to be done is not known yet. {}.", step.title, step.by, whether.join(". "));
        text.truncate(text.floor_char_boundary(MAX_GUIDANCE_BYTES));
        text
    }

    fn filled_with(&self, given: &BTreeMap<String, String>) -> String {
        // In one walk, so that what is filled in is not filled in again.
        let mut text = String::with_capacity(self.body.len() * 2);
        let mut rest = self.body.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            text.push_str(before);
            match after.split_once("}}") {
                Some((place, after)) => {
                    text.push_str(&self.filled(place, given));
                    rest = after;
                }
                None => {
                    text.push_str("{{");
                    rest = after;
                }
            }
        }
        text + rest
    }

    fn filled(&self, place: &str, given: &BTreeMap<String, String>) -> String {
        match place {
            "arguments" => list(self.arguments.iter().map(|argument| {
                let default = argument.default.as_ref().map(|default| format!(", `{default}` when left out")).unwrap_or_default();
                format!("`{}`: {}{default}", argument.name, argument.about)
            })),
            "inputs" => list(self.inputs.iter().map(|input| {
                let fact = input.fact.as_ref().map(|fact| format!(", shown by `{fact}`")).unwrap_or_default();
                format!("{} (from: {}{fact})", input.name, input.from)
            })),
            "gates" if self.gates.is_empty() => "- none of its own; the server's bind everywhere".into(),
            "gates" => list(self.gates.iter().map(|(gate, thresholds)| {
                let rules: Vec<String> = thresholds.iter().map(|(measure, threshold)| format!("{measure} {threshold}")).collect();
                if rules.is_empty() { format!("`{gate}`") } else { format!("`{gate}`: {}", rules.join(", ")) }
            })),
            "approval" => match &self.approval {
                Some(role) => format!("Every plan needs the approval of `{role}`."),
                None => "A plan needs the approval that the environment asks for.".into(),
            },
            "skip_when" => list(self.skip_when.iter().map(|fact| format!("`{fact}`: {}", meaning(fact)))),
            "steps" => self.steps.iter().enumerate().map(|(index, step)| checklist_line(index + 1, step)).collect::<Vec<_>>().join("\n"),
            "on_failure" => list(self.on_failure.iter().map(|offer| format!("`{}`: `{}`, {}", offer.when, offer.offer, offer.why))),
            "exit" => list(self.exit.iter().map(|fact| format!("`{fact}`: {}", meaning(fact)))),
            "artifacts" => self.artifacts.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "),
            "outputs" => list(self.outputs.iter().map(|output| format!("{} (kept in {})", output.name, output.kept))),
            "evidence" => self.evidence.join(", "),
            "metrics" => list(self.metrics.iter().map(metric_line)),
            "expected_duration" => match &self.expected_duration {
                Some(expected) => {
                    format!("{} for a small change, {} for most, {} for a large one", expected.simple, expected.standard, expected.complex)
                }
                None => "not said".into(),
            },
            "after" => names(&self.after),
            "next" => names(&self.next),
            name => {
                let argument = self.arguments.iter().find(|argument| argument.name == name);
                let given = given.get(name).or(argument.and_then(|argument| argument.default.as_ref()));
                given.map_or_else(|| format!("<{name}>"), |word| visible_line(word, 80))
            }
        }
    }
}

fn checklist_line(number: usize, step: &PhaseStep) -> String {
    let coded = |facts: &[String]| facts.iter().map(|fact| format!("`{fact}`")).collect::<Vec<_>>().join(", ");
    let operation = step.operation.as_ref().map(|operation| format!(", `{operation}`")).unwrap_or_default();
    let when = if step.when.is_empty() { String::new() } else { format!(", only when {}", coded(&step.when)) };
    let rerun = match step.rerun {
        0 => String::new(),
        1 => ", may be taken once more after a failure".into(),
        times => format!(", may be taken {times} times more after failures"),
    };
    let guidance = step.guidance.as_ref().map(|text| format!("\n   {}", text.trim())).unwrap_or_default();
    format!("{number}. [ ] **{}** ({}{operation}){when}, done when {}{rerun}{guidance}", step.title, step.by, coded(&step.done_when))
}

fn metric_line(metric: &Metric) -> String {
    let Metric { name, target, green, yellow, unit } = metric;
    let yellow = if yellow == green { String::new() } else { format!(", yellow {yellow}") };
    format!("`{name}` ({unit}): target {target}, green {green}{yellow}, else red")
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}

fn list(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")
}
