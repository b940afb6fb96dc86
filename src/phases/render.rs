//! A phase as a reader sees it: the body with its places filled from the front matter, and the guidance of one step.

use super::{Argument, MAX_GUIDANCE_BYTES, Metric, Phase, PhaseStep, facts::meaning};
use crate::model::{plan::MOST_RISK, text::visible_line};
use std::collections::BTreeMap;

/// The places a body may have; `gates` and `steps` must be there. The name of an argument is a place too.
pub(super) const PLACES: &[&str] = &[
    "arguments",
    "inputs",
    "gates",
    "approval",
    "risk",
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
    /// Returns one line: what it says, what it may be, and what counts when it is left out.
    pub fn describe(&self) -> String {
        let choices = if self.choices.is_empty() { String::new() } else { format!(": {}", self.choices.join(", ")) };
        let default = self.default.as_ref().map(|default| format!("; {default} when left out")).unwrap_or_default();
        format!("{}{choices}{default}", self.about)
    }

    /// Tells whether it may be this word.
    pub fn allows(&self, word: &str) -> bool {
        self.choices.is_empty() || self.choices.iter().any(|choice| choice == word)
    }
}

impl Phase {
    /// Returns the body with every place filled in, arguments by their defaults.
    pub fn render(&self) -> String {
        fill(&self.template(), &self.arguments, &BTreeMap::new()).expect("nothing is given, so nothing is wrong")
    }

    /// Returns the body with every place filled in but those of the arguments, for [`fill`].
    pub fn template(&self) -> String {
        each_place(&self.body, |place| match self.arguments.iter().any(|argument| argument.name == place) {
            true => format!("{{{{{place}}}}}"),
            false => self.filled(place),
        })
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

    fn filled(&self, place: &str) -> String {
        match place {
            "arguments" => list(self.arguments.iter().map(|argument| format!("`{}`: {}", argument.name, argument.describe()))),
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
            "risk" => match self.risk {
                Some(risk) => format!("Risk {risk} of {MOST_RISK}, which every plan under it says."),
                None => "Its risk is not rated.".into(),
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
            unknown => format!("<{unknown}>"),
        }
    }
}

/// Returns a phase's text with its arguments filled in, or what is wrong with one of them. What is given is shown as data, on one line.
pub fn fill(template: &str, arguments: &[Argument], given: &BTreeMap<String, String>) -> Result<String, String> {
    for (name, word) in given {
        let Some(argument) = arguments.iter().find(|argument| argument.name == *name) else {
            let known: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("there is no argument `{}`; there are: {known}", visible_line(name, 40)));
        };
        if !argument.allows(word) {
            return Err(format!("`{name}` is one of {}", argument.choices.join(", ")));
        }
    }
    let filled = |place: &str| {
        let argument = arguments.iter().find(|argument| argument.name == place);
        let word = given.get(place).or(argument.and_then(|argument| argument.default.as_ref()));
        word.map_or_else(|| format!("<{place}>"), |word| visible_line(word, 80))
    };
    Ok(each_place(template, filled))
}

/// Fills places in one walk, so that what is filled in is not filled in again.
fn each_place(body: &str, filled: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(body.len() * 2);
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        rest = after;
        match after.split_once("}}") {
            Some((place, after)) => {
                text.push_str(&filled(place));
                rest = after;
            }
            None => text.push_str("{{"),
        }
    }
    text + rest
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
