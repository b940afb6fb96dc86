//! What a client's user can pick as a prompt: every phase, and the four tasks of everyday work in `prompts/tasks/*.md`.

use super::{Argument, Phase};
use serde::Deserialize;
use std::sync::LazyLock;

/// The tasks: file name and text.
const FILES: &[(&str, &str)] = &[
    ("prompts/tasks/deploy.md", include_str!("../../prompts/tasks/deploy.md")),
    ("prompts/tasks/roll_back.md", include_str!("../../prompts/tasks/roll_back.md")),
    ("prompts/tasks/investigate_failure.md", include_str!("../../prompts/tasks/investigate_failure.md")),
    ("prompts/tasks/write_runbook.md", include_str!("../../prompts/tasks/write_runbook.md")),
];

/// A text that guides an agent, with places for what is said when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// `phase-06`, `roll_back`.
    pub name: String,
    /// For people.
    pub title: String,
    /// One line.
    pub description: String,
    /// Words that call for it.
    #[serde(default)]
    pub triggers: Vec<String>,
    /// What may be said of it; each stands in the body as `{{name}}`.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// The guidance, Markdown.
    #[serde(skip)]
    pub body: String,
}

impl From<&Phase> for Prompt {
    fn from(phase: &Phase) -> Self {
        Prompt {
            name: phase.name.clone(),
            title: phase.title.clone(),
            description: phase.description.clone(),
            triggers: phase.triggers.clone(),
            arguments: phase.arguments.clone(),
            body: phase.template(),
        }
    }
}

static TASKS: LazyLock<Vec<Prompt>> = LazyLock::new(|| FILES.iter().map(|(file, text)| read(file, text)).collect());

/// Returns the tasks of everyday work.
pub fn tasks() -> &'static [Prompt] {
    &TASKS
}

fn read(file: &str, text: &str) -> Prompt {
    let (front, body) =
        text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).unwrap_or_else(|| panic!("{file}: no front matter"));
    let prompt: Prompt = yaml_serde::from_str(front).unwrap_or_else(|err| panic!("{file}: {err}; a test reads them all"));
    Prompt { body: body.trim_start().to_owned(), ..prompt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phases::{MAX_RENDERED_BYTES, fill, prose};
    use std::collections::BTreeMap;

    #[test]
    fn a_task_names_only_what_there_is_and_states_no_threshold() {
        assert_eq!(tasks().len(), 4);
        for task in tasks() {
            let text = fill(&task.body, &task.arguments, &BTreeMap::new()).unwrap();
            assert!(text.len() <= MAX_RENDERED_BYTES && !text.contains("{{") && !text.contains('<'), "{}: {text}", task.name);
            let argument = |argument: &Argument| task.body.contains(&format!("{{{{{}}}}}", argument.name)) && argument.default.is_some();
            assert!(task.arguments.iter().all(argument), "{}: each argument has its place and what counts without it", task.name);
            assert_eq!((prose::unknown_words(&text), prose::thresholds(&text)), (vec![], vec![]), "{}", task.name);
        }
    }
}
