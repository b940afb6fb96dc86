//! Checks a runbook against the rules RB001 to RB021 and against the record, and says which side must mend each finding. Pure: what is
//! known of the world is handed in as [`Known`].
//!
//! To add a rule: a row in [`RULES`], a function in the file of its theme, a good and a bad runbook in `corpus_tests.rs`.

mod claims;
mod commands;
#[cfg(test)]
mod corpus_tests;
mod front;
mod inventory;
mod places;
#[cfg(test)]
mod plantings;
mod secrets;
mod shell;
mod steps;
mod words;

pub use inventory::Inventory;
pub(super) use secrets::secret_in;
pub(super) use steps::changed;

use super::{
    citations::{Checked, Mark},
    markdown::{Document, Kind, Node, Section},
    report::Report,
};
use crate::model::{
    DeploymentState, EnvironmentName, PlannedGate, RunbookId, ServiceName, ServiceSpec, Timestamp, Verdict, Who, text::visible_line,
};
use front::Front;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Every rule, with what it asks.
pub const RULES: &[(&str, &str)] = &[
    ("RB001", "the front matter is complete, and a known team owns it"),
    ("RB002", "every section is there, with something in it"),
    ("RB003", "nothing is still to be written"),
    ("RB004", "each step has a command, or says who does it"),
    ("RB005", "each step says how one sees that it worked"),
    ("RB006", "the way back has a command and a check, and covers what each step changes"),
    ("RB007", "commands can be read, have a language, and are not reckless"),
    ("RB008", "commands are those of the recorded run"),
    ("RB009", "no secret stands in it, only references"),
    ("RB010", "links lead somewhere"),
    ("RB011", "the run it rests on succeeded, and not long ago"),
    ("RB012", "versions and digests are exact"),
    ("RB013", "environments, services and hosts are those of the applied configuration"),
    ("RB014", "figures have their unit and threshold"),
    ("RB015", "whoever waits knows how long, and for whom"),
    ("RB016", "it is short enough to be read at night"),
    ("RB017", "nothing hidden, no HTML, no image from elsewhere"),
    ("RB018", "what is called tested names its evidence"),
    ("RB019", "what changed since the last version stands in the history"),
    ("RB020", "nobody tells an AI what to do in it"),
    ("RB021", "what is cited says so"),
];

/// Whether a finding keeps a runbook from review.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It does.
    #[default]
    Block,
    /// It is shown to the reviewer.
    Warn,
}

/// Something a rule has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// `RB001` …
    pub rule: String,
    /// Whether it keeps the runbook from review.
    #[serde(default)]
    pub level: Level,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default)]
    pub fix: String,
    /// Which side can.
    #[serde(alias = "who")]
    pub side: Who,
}

/// What a runbook is held against.
pub struct Known<'a> {
    /// The run it was drafted from.
    pub report: &'a Report,
    /// The service as it ran.
    pub spec: &'a ServiceSpec,
    /// What the applied configuration names.
    pub inventory: &'a Inventory,
    /// What the record has of the deployments that the text names.
    pub runs: BTreeMap<String, Ran>,
    /// The version before it.
    pub before: Option<&'a str>,
    /// What the notes cite, held against the repository.
    pub citations: &'a [Checked],
    /// When it is checked.
    pub now: Timestamp,
}

impl Known<'_> {
    /// Returns the ids that the run it was drafted from has in the record.
    fn ids(&self) -> BTreeSet<String> {
        let Report { deployment, plan, .. } = self.report;
        let runbook = RunbookId::of(&deployment.environment, &deployment.service).to_string();
        let mut ids = BTreeSet::from([deployment.id.to_string(), deployment.plan.to_string(), plan.id().to_string(), runbook]);
        ids.extend([deployment.directive.to_string(), deployment.digest.0.clone(), plan.sha256().0]);
        ids.extend(plan.base.iter().map(|base| base.deployment.to_string()));
        ids.extend(self.evidence(|_| true));
        ids
    }

    /// Returns what shows that something was looked at: the plan with its rehearsal, and the evidence of gates that passed.
    fn shown(&self) -> BTreeSet<String> {
        let plan = &self.report.plan;
        let mut shown: BTreeSet<String> = self.evidence(|gate| gate.verdict == Verdict::Pass).collect();
        shown.extend([plan.id().to_string(), plan.sha256().0]);
        shown
    }

    fn evidence(&self, counts: impl Fn(&PlannedGate) -> bool) -> impl Iterator<Item = String> {
        let counting = self.report.gates.iter().filter(move |gate| counts(gate));
        counting.filter_map(|gate| Some(gate.evidence_sha256.as_ref()?.0.clone()))
    }
}

/// What the record has of a deployment that a runbook names.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// Its service.
    pub service: ServiceName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// How it ended.
    pub state: DeploymentState,
    /// When.
    pub settled_at: Option<Timestamp>,
}

/// Returns everything the rules find; nothing that blocks means it may be reviewed.
pub fn lint(text: &str, known: &Known<'_>) -> Vec<Finding> {
    let (document, notes) = match read(text) {
        Ok(read) => read,
        Err(refused) => {
            let message = refused.to_string();
            let fix = "shorten it, and write it flat".to_owned();
            return vec![Finding { rule: "RB016".into(), level: Level::Block, line: refused.line(), message, fix, side: Who::Agent }];
        }
    };
    let runbook = Runbook { text, document: &document, notes: notes.as_ref().map(|(document, _)| document), front: Front::of(&document) };
    let mut found = Findings { found: Vec::new(), notes_from: notes.as_ref().map_or(usize::MAX, |(_, line)| *line) };
    front::check(&runbook, known, &mut found);
    steps::sections(&runbook, &mut found);
    words::check(&runbook, &mut found);
    steps::check(&runbook, known, &mut found);
    commands::check(&runbook, known, &mut found);
    secrets::check(&runbook, &mut found);
    places::check(&runbook, known, &mut found);
    claims::check(&runbook, known, &mut found);
    citations(&runbook, known, &mut found);
    found.found.sort_by_key(|finding| finding.line);
    found.found.dedup_by(|next, before| next.rule == before.rule && next.line == before.line);
    found.found
}

/// Returns the deployments that a text names, at most fifty.
pub fn deployments_named(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_alphanumeric() || character == '_'));
    words
        .filter(|word| word.strip_prefix("dep_").is_some_and(|rest| !rest.is_empty() && rest.len() <= 40))
        .map(str::to_owned)
        .take(50)
        .collect()
}

/// Returns what a heading is linked as.
pub fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.flat_map(char::to_lowercase).map(|character| if character == ' ' { '-' } else { character }).collect()
}

/// Returns how good it is, from 0 to 100: 20 less for each finding that blocks, 3 for each other.
pub fn score(findings: &[Finding]) -> usize {
    let cost = |finding: &Finding| if finding.level == Level::Block { 20 } else { 3 };
    100_usize.saturating_sub(findings.iter().map(cost).sum())
}

/// Returns the first line that the agent has written; none where nothing is its own. All before it the server writes from the record.
pub fn notes_from(text: &str) -> Option<usize> {
    read(text).ok().and_then(|(_, notes)| notes).map(|(_, line)| line)
}

/// Returns the text's tree, and that of the agent's notes within it with the line they begin in.
fn read(text: &str) -> Result<(Document, Option<(Document, usize)>), super::markdown::TooMuch> {
    let document = Document::read(text, 1)?;
    let sections = document.sections(2);
    let notes = sections.iter().find(|section| section.title().starts_with(super::runbook::NOTES));
    let fenced = notes.and_then(|section| section.blocks.iter().find_map(code_of));
    let notes = fenced.map(|code| Ok((Document::read(code.text, code.from)?, code.from))).transpose()?;
    Ok((document, notes))
}

/// A runbook as the rules see it.
struct Runbook<'a> {
    text: &'a str,
    document: &'a Document,
    /// What the agent has written, which stands fenced in the document.
    notes: Option<&'a Document>,
    front: Option<Front>,
}

impl<'a> Runbook<'a> {
    fn section(&self, title: &str) -> Option<Section<'a>> {
        self.document.sections(2).into_iter().find(|section| section.title().eq_ignore_ascii_case(title))
    }

    /// Visits every node of the text and of the notes; what fences the notes is no code of the runbook.
    fn each(&self, visit: &mut dyn FnMut(&'a Node)) {
        let begins =
            self.notes.map(|_| self.document.sections(2).into_iter().find(|section| section.title().starts_with(super::runbook::NOTES)));
        let notes_from = begins.flatten().map_or(usize::MAX, |section| section.heading.line);
        self.document.each(&mut |node| {
            if node.line <= notes_from {
                visit(node);
            }
        });
        if let Some(notes) = self.notes {
            notes.each(visit);
        }
    }

    /// Returns every line of words, of the text and of the notes.
    fn lines(&self) -> Vec<(usize, String)> {
        let mut lines = Vec::new();
        self.each(&mut |node| {
            if matches!(node.kind, Kind::Paragraph | Kind::Heading(_) | Kind::Cell) {
                lines.extend(node.lines());
            }
        });
        lines
    }

    fn code(&self) -> Vec<Code<'a>> {
        let mut code = Vec::new();
        self.each(&mut |node| code.extend(code_of(node)));
        code
    }
}

/// A block of code.
#[derive(Debug, Clone, Copy)]
struct Code<'a> {
    language: &'a str,
    text: &'a str,
    /// The line its text begins in.
    from: usize,
    /// The line it stands at.
    line: usize,
}

fn code_of(node: &Node) -> Option<Code<'_>> {
    match &node.kind {
        Kind::Code { language, text, from } => Some(Code { language, text, from: *from, line: node.line }),
        _ => None,
    }
}

/// What was found so far.
struct Findings {
    found: Vec<Finding>,
    /// The line the agent's notes begin in.
    notes_from: usize,
}

impl Findings {
    /// Notes what keeps the runbook from review; the agent mends its notes, the server what it drafts.
    fn block(&mut self, rule: &str, line: usize, message: String, fix: &str) {
        self.put(rule, Level::Block, line, message, fix, None);
    }

    fn warn(&mut self, rule: &str, line: usize, message: String, fix: &str) {
        self.put(rule, Level::Warn, line, message, fix, None);
    }

    fn put(&mut self, rule: &str, level: Level, line: usize, message: String, fix: &str, side: Option<Who>) {
        let side = side.unwrap_or(if line >= self.notes_from { Who::Agent } else { Who::Server });
        self.found.push(Finding { rule: rule.into(), level, line, message: visible_line(&message, 300), fix: fix.into(), side });
    }
}

fn citations(runbook: &Runbook<'_>, known: &Known<'_>, found: &mut Findings) {
    let notes_from = found.notes_from;
    for Checked { citation, mark, why } in known.citations.iter().filter(|checked| checked.mark != Mark::Verified) {
        let stands = runbook.text.lines().enumerate().find(|(at, line)| at + 1 >= notes_from && line.contains(&citation.place));
        let line = stands.map_or(1, |(at, _)| at + 1);
        let message = format!("`{}` is {mark}: {why}", visible_line(&citation.place, 200));
        found.put("RB021", Level::Block, line, message, "cite what the commit says, or leave it out", Some(Who::Agent));
    }
}

/// Tells whether a word stands in a text for itself.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        let is_open = |edge: Option<char>, own: Option<char>| !(own.is_some_and(is_part) && edge.is_some_and(is_part));
        is_open(before, word.chars().next()) && is_open(after, word.chars().next_back())
    })
}
