//! A phase as a reader sees it: the body with its places filled from the front matter, and the guidance of one step.

use super::{FACTS, MAX_GUIDANCE_BYTES, Phase, PhaseStep};

/// The places a body may have; `gates` and `steps` must be there.
pub(super) const PLACES: &[&str] = &["inputs", "gates", "steps", "on_failure", "exit", "artifacts", "next"];

impl Phase {
    /// Returns the body with every place filled in.
    pub fn render(&self) -> String {
        PLACES.iter().fold(self.body.clone(), |body, place| match body.contains(&format!("{{{{{place}}}}}")) {
            true => body.replace(&format!("{{{{{place}}}}}"), &self.filled(place)),
            false => body,
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

    fn filled(&self, place: &str) -> String {
        match place {
            "inputs" => list(self.inputs.iter().map(|input| format!("{} (from: {})", input.name, input.from))),
            "gates" => list(self.gates.iter().map(|(gate, thresholds)| {
                let rules: Vec<String> = thresholds.iter().map(|(measure, threshold)| format!("{measure} {threshold}")).collect();
                if rules.is_empty() { format!("`{gate}`") } else { format!("`{gate}`: {}", rules.join(", ")) }
            })),
            "steps" => self.steps.iter().enumerate().map(|(index, step)| checklist_line(index + 1, step)).collect::<Vec<_>>().join("\n"),
            "on_failure" => list(self.on_failure.iter().map(|offer| format!("`{}`: `{}`, {}", offer.when, offer.offer, offer.why))),
            "exit" => list(self.exit.iter().map(|fact| format!("`{fact}`: {}", meaning(fact)))),
            "artifacts" => self.artifacts.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "),
            "next" => self.next.clone().unwrap_or_else(|| "nobody".into()),
            _ => unreachable!("every place is filled"),
        }
    }
}

fn checklist_line(number: usize, step: &PhaseStep) -> String {
    let operation = step.operation.as_ref().map(|operation| format!(", `{operation}`")).unwrap_or_default();
    let facts: Vec<String> = step.done_when.iter().map(|fact| format!("`{fact}`")).collect();
    let guidance = step.guidance.as_ref().map(|text| format!("\n   {}", text.trim())).unwrap_or_default();
    format!("{number}. [ ] **{}** ({}{operation}), done when {}{guidance}", step.title, step.by, facts.join(", "))
}

fn list(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")
}

/// Returns what a fact says.
fn meaning(fact: &str) -> &str {
    FACTS.iter().find(|(name, _)| *name == fact).map_or(fact, |(_, meaning)| meaning)
}
