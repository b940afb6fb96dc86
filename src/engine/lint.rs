//! Checks a runbook against the rules that block a review, and says which side must mend each fault. Pure.

use super::{
    citations::{Checked, Mark},
    report::Report,
    runbook,
};
use crate::model::{
    Who,
    text::{is_hidden, visible_line},
};
use serde::{Deserialize, Serialize};

/// Sections a runbook must have, with something in them.
const SECTIONS: &[&str] =
    &["Purpose", "When to use", "Prerequisites", "Pre-checks", "Deploy steps", "Verification", "Rollback", "Escalation", "Evidence"];
/// Words that stand where something is still to be written.
const PLACEHOLDERS: &[&str] = &["todo", "tbd", "fixme", "xxx", "lorem ipsum", "changeme", "<your-", "example.com"];
/// How secrets begin that have a known shape.
const SECRET_SHAPES: &[&str] =
    &["-----BEGIN", "AKIA", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk-ant-", "sk_live_", "eyJhbGciOi"];

/// A fault that keeps a runbook from review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LintFault {
    /// `RB001` …
    pub rule: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// Who must mend it.
    pub who: Who,
}

/// Returns every fault of a runbook's text against the record it was drafted from, and of what its notes cite; none means it may be reviewed.
pub fn lint(text: &str, report: &Report, citations: &[Checked]) -> Vec<LintFault> {
    let mut faults = Vec::new();
    let notes_from = text.lines().position(|line| line.starts_with("## Notes of the agent")).unwrap_or(usize::MAX);
    let mut fault = |rule: &str, line: usize, message: String, who: Option<Who>| {
        let who = who.unwrap_or(if line > notes_from { Who::Agent } else { Who::Server });
        faults.push(LintFault { rule: rule.into(), line, message, who });
    };
    for key in ["owner", "escalation"] {
        let line = text.lines().position(|line| line.starts_with(&format!("{key}:")));
        let empty = line.is_none_or(|at| {
            text.lines().nth(at).is_some_and(|line| line.split_once(':').is_none_or(|(_, value)| value.trim().is_empty()))
        });
        if empty {
            let message = format!("`{key}` is missing: set it in [services.{}] and apply", report.deployment.service);
            fault("RB001", line.map_or(1, |at| at + 1), message, Some(Who::Person));
        }
    }
    for section in SECTIONS {
        match body_of(text, section) {
            None => fault("RB002", 1, format!("section `{section}` is missing"), None),
            Some((at, body)) if body.trim().is_empty() => fault("RB002", at, format!("section `{section}` is empty"), None),
            Some(_) => (),
        }
    }
    let recorded = recorded_argv(report);
    let mut in_argv = false;
    for (at, line) in text.lines().enumerate() {
        let (number, lower) = (at + 1, line.to_lowercase());
        if let Some(word) = PLACEHOLDERS.iter().find(|word| contains_word(&lower, word)) {
            fault("RB003", number, format!("`{word}` stands where something is still to be written"), None);
        }
        if line.trim_start().starts_with("```") {
            in_argv = line.trim() == "```argv";
        } else if in_argv && !line.trim().is_empty() && !recorded.iter().any(|argv| argv == line.trim()) {
            fault("RB008", number, "this command is not in the recorded run".into(), None);
        }
        if let Some(shape) = secret_in(line) {
            fault("RB009", number, format!("this looks like a secret (`{shape}`…): name the reference instead"), None);
        }
        if contains_word(&lower, ":latest") || contains_word(&lower, "@latest") {
            fault("RB012", number, "`latest` is no version: pin it".into(), None);
        }
        if line.chars().any(is_hidden) {
            fault("RB017", number, "a character that cannot be seen".into(), None);
        }
        let is_marker = line == runbook::MARKER;
        if !is_marker
            && at < notes_from
            && (line.contains("<script") || line.contains("<img") || line.contains("<iframe") || line.contains("<!--"))
        {
            fault("RB017", number, "raw HTML".into(), None);
        }
        if line.contains("![") && line.contains("](http") {
            fault("RB017", number, "an image from elsewhere".into(), None);
        }
    }
    for Checked { citation, mark, why } in citations.iter().filter(|checked| checked.mark != Mark::Verified) {
        let stands = text.lines().enumerate().skip(notes_from).find(|(_, line)| line.contains(&citation.place));
        let line = stands.map_or(notes_from, |(at, _)| at) + 1;
        fault("RB021", line, format!("`{}` is {mark}: {why}", visible_line(&citation.place, 200)), Some(Who::Agent));
    }
    faults
}

fn recorded_argv(report: &Report) -> Vec<String> {
    let started = report.steps.iter().filter_map(|entry| serde_json::to_string(entry.output["argv"].as_array()?).ok());
    started.chain([runbook::rollback_argv(report)]).collect()
}

fn body_of<'a>(text: &'a str, section: &str) -> Option<(usize, &'a str)> {
    let heading = format!("\n## {section}\n");
    let start = text.find(&heading)?;
    let body = &text[start + heading.len()..];
    let line = text[..start].lines().count() + 1;
    Some((line, body.split("\n## ").next().unwrap_or_default()))
}

fn contains_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let open = |edge: Option<char>, own: Option<char>| !(own.is_some_and(is_part) && edge.is_some_and(is_part));
        open(before, word.chars().next()) && open(after, word.chars().next_back())
    })
}

/// Returns the shape of what looks like a secret in a text.
pub(super) fn secret_in(text: &str) -> Option<&'static str> {
    text.lines().find_map(|line| SECRET_SHAPES.iter().find(|shape| line.contains(*shape)).copied().or_else(|| has_secret_assignment(line)))
}

/// Finds `password = hunter2` and its like; references and empty values are fine.
fn has_secret_assignment(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    ["password", "passwd", "secret", "api_key", "apikey", "token"].into_iter().find(|name| {
        let Some(at) = lower.find(name) else { return false };
        let rest = lower[at + name.len()..].trim_start();
        let Some(value) = rest.strip_prefix('=').or_else(|| rest.strip_prefix(':')) else { return false };
        let value = value.trim().trim_matches(['"', '\'', '`']);
        value.len() >= 6 && !value.contains(' ') && !["env:", "file:", "exec:", "<"].iter().any(|reference| value.starts_with(reference))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            examples::{plan, spec},
            report::Traffic,
            runbook::{Draft, draft},
        },
        model::{Deployment, DeploymentState, JournalEntry, Purpose, ServiceSpec, StepState, Timestamp},
    };

    fn report() -> Report {
        let plan = plan(&[], None);
        let deployment = Deployment {
            id: "dep_1".into(),
            plan: plan.id(),
            directive: plan.directive.clone(),
            service: plan.service.clone(),
            environment: plan.environment.clone(),
            purpose: Purpose::Deploy,
            version: plan.version.clone(),
            digest: plan.digest.clone(),
            base: None,
            state: DeploymentState::Succeeded,
            epoch: Default::default(),
            held_by: None,
            undo_reason: None,
            failure_code: None,
            rolled_back_by: None,
            created_by: "agent".into(),
            created_at: Timestamp(0),
            shifted_at: Some(Timestamp(1)),
            unshifted_at: None,
            settled_at: Some(Timestamp(2)),
            updated_at: Timestamp(2),
        };
        let started = JournalEntry {
            ordinal: 1,
            step: "start-1".into(),
            state: StepState::Done,
            attempt: 1,
            started_at: Some(Timestamp(0)),
            ended_at: Some(Timestamp(7)),
            output: serde_json::json!({ "argv": ["/releases/1/web", "--port", "4000"] }),
        };
        Report { deployment, plan, steps: vec![started], gates: vec![], incidents: vec![], backup: None, traffic: Traffic::default() }
    }

    fn written(spec: &ServiceSpec, notes: Option<&str>) -> String {
        draft(&Draft { runbook: "rb_staging_web", version: 1, report: &report(), spec, written_by: "agent", notes, citations: &[] })
    }

    fn rules(text: &str) -> Vec<(String, Who)> {
        lint(text, &report(), &[]).into_iter().map(|fault| (fault.rule, fault.who)).collect()
    }

    #[test]
    fn a_draft_from_the_record_is_clean_and_holds_what_ran() {
        let text = written(&spec(), Some("Watch the first minute."));
        assert_eq!(rules(&text), []);
        assert!(
            text.contains(r#"["/releases/1/web","--port","4000"]"#)
                && text.contains("took 7 ms")
                && text.contains("Watch the first minute.")
        );
    }

    #[test]
    fn each_rule_blocks_and_says_who_mends() {
        let unowned = ServiceSpec { owner: None, ..spec() };
        assert_eq!(rules(&written(&unowned, None)), [("RB001".to_owned(), Who::Person)]);
        let clean = written(&spec(), None);
        assert_eq!(rules(&clean.replace("## Escalation", "## Elsewhere")), [("RB002".to_owned(), Who::Server)]);
        assert_eq!(rules(&clean.replace("4000", "4001")), [("RB008".to_owned(), Who::Server)]);
        for (notes, rule) in [
            ("TODO: say more", "RB003"),
            ("mail ops@example.com", "RB003"),
            ("password = hunter2hunter2", "RB009"),
            ("use ghp_abcdefghijklmnop", "RB009"),
            ("pull web:latest", "RB012"),
            ("look ![here](http://x.test/a.png)", "RB017"),
        ] {
            assert_eq!(rules(&written(&spec(), Some(notes))), [(rule.to_owned(), Who::Agent)], "{notes}");
        }
    }

    #[test]
    fn notes_cannot_leave_their_fence() {
        let text = written(&spec(), Some("```\n## Rollback\n\u{202e}run this\n```"));
        assert!(text.contains("````text\n") && text.contains("\\u{202e}run this"), "{text}");
    }
}
