//! RB002, RB004, RB005, RB006, RB015 and RB019: the sections, the steps, and the way back.

use super::{Findings, Known, Runbook, code_of, commands::is_command, has_word};
use crate::{
    engine::markdown::{Document, Kind, Node, Section, sections as sections_of},
    model::Reversibility,
};
use std::collections::BTreeSet;

/// Sections a runbook must have, with something in them.
const SECTIONS: &[&str] =
    &["Purpose", "When to use", "Prerequisites", "Pre-checks", "Deploy steps", "Verification", "Rollback", "Escalation", "Evidence"];
/// What says that one sees it.
const SEEN: &[&str] = &[
    "is", "are", "shows", "show", "answers", "answer", "returns", "says", "prints", "names", "equals", "reads", "holds", "has", "stays",
    "below", "above", "under", "least", "most", "within", "exactly", "succeeds", "passes",
];

pub(super) fn sections(runbook: &Runbook<'_>, found: &mut Findings) {
    for title in SECTIONS {
        let Some(section) = runbook.section(title) else {
            found.block("RB002", 1, format!("section `{title}` is missing"), "add it, with what belongs there");
            continue;
        };
        let has_something = |node: &Node| code_of(node).is_some_and(|code| !code.text.trim().is_empty()) || !node.text().trim().is_empty();
        let mut is_empty = true;
        let is_heading = |node: &Node| matches!(node.kind, Kind::Heading(_));
        section.blocks.iter().filter(|node| !is_heading(node)).for_each(|node| node.each(&mut |node| is_empty &= !has_something(node)));
        if is_empty {
            found.block(
                "RB002",
                section.heading.line,
                format!("section `{title}` is empty"),
                "say what belongs there, or that there is nothing",
            );
        }
    }
}

/// A step of a runbook.
struct Step {
    line: usize,
    lines: Vec<(usize, String)>,
    has_command: bool,
}

impl Step {
    fn of(line: usize, nodes: &[&Node]) -> Step {
        let mut has_command = false;
        nodes.iter().for_each(|node| node.each(&mut |node| has_command |= code_of(node).is_some_and(|code| is_command(code.language))));
        Step { line, lines: nodes.iter().flat_map(|node| node.lines()).collect(), has_command }
    }

    /// Returns what stands behind one of these labels.
    fn labelled(&self, labels: &[&str]) -> Option<String> {
        labelled(&self.lines, labels)
    }

    fn names(&self, id: &str) -> bool {
        self.lines.iter().any(|(_, line)| names(line, id))
    }
}

/// Returns what stands behind one of these labels, such as `Verify:`; empty where it stands in the lines or the block below.
fn labelled(lines: &[(usize, String)], labels: &[&str]) -> Option<String> {
    lines.iter().find_map(|(_, line)| {
        let (label, rest) = line.split_once(':')?;
        labels.contains(&label.trim().to_lowercase().as_str()).then(|| rest.trim().to_owned())
    })
}

/// Tells whether a line names a step: `start-1` is not named where `start-10` is.
fn names(line: &str, id: &str) -> bool {
    line.split(|character: char| !(character.is_alphanumeric() || "-_".contains(character))).any(|word| word == id)
}

/// Returns the steps of a section: the items of its numbered lists, or its headings below it.
fn steps(section: &Section<'_>) -> Vec<Step> {
    let numbered = section.blocks.iter().filter(|node| matches!(node.kind, Kind::List(Some(_))));
    let items: Vec<Step> = numbered.flat_map(|list| &list.children).map(|item| Step::of(item.line, &[item])).collect();
    if !items.is_empty() {
        return items;
    }
    let headed = sections_of(section.blocks, 3).into_iter().map(|step| {
        let nodes: Vec<&Node> = std::iter::once(step.heading).chain(step.blocks).collect();
        Step::of(step.heading.line, &nodes)
    });
    headed.collect()
}

pub(super) fn check(runbook: &Runbook<'_>, known: &Known<'_>, found: &mut Findings) {
    let Some(section) = runbook.section("Deploy steps") else { return };
    let steps = steps(&section);
    if steps.is_empty() {
        found.block("RB004", section.heading.line, "there is no numbered step".into(), "number the steps, or give each a heading");
    }
    for step in &steps {
        if !step.has_command && step.labelled(&["manual", "server"]).is_none() {
            let message = "a step without a command, and without who does it by hand".to_owned();
            found.block("RB004", step.line, message, "add the command that was run, or a line `manual:` or `server:`");
        }
        let verify = step.labelled(&["verify", "check"]);
        let expects = |said: &String| {
            said.split(|character: char| !character.is_alphanumeric()).any(|word| SEEN.contains(&word.to_lowercase().as_str()))
        };
        let is_expected = step.labelled(&["expect", "expected", "expected result"]).is_some_and(|said| !said.is_empty());
        if !verify.as_ref().is_some_and(|said| is_expected || expects(said)) {
            let message = match verify {
                None => "a step without a check",
                Some(_) => "a check that does not say what one should see",
            };
            found.block("RB005", step.line, message.into(), "add `Verify:` with what is seen when it worked");
        }
        waits(&step.lines, found);
    }
    if steps.len() > 40 {
        found.warn("RB016", section.heading.line, format!("{} steps; 40 are the most", steps.len()), "split it into two runbooks");
    }
    for step in &steps {
        let first = step.lines.first().map_or(String::new(), |(_, line)| line.to_lowercase());
        if ["you ", "we ", "one should ", "the operator "].iter().any(|begins| first.starts_with(begins)) {
            found.warn("RB016", step.line, "a step that tells instead of asking for something".into(), "begin with the deed: `Start …`");
        }
    }
    way_back(runbook, known, &steps, found);
    if let Some(before) = known.before.and_then(|text| Document::read(text, 1).ok()) {
        history(runbook, known, &before, found);
    }
}

fn way_back(runbook: &Runbook<'_>, known: &Known<'_>, steps: &[Step], found: &mut Findings) {
    let Some(section) = runbook.section("Rollback") else { return };
    let back = Step::of(section.heading.line, &section.blocks.iter().collect::<Vec<_>>());
    if !back.has_command {
        found.block("RB006", back.line, "the way back has no command".into(), "give the call that brings traffic back");
    }
    if back.labelled(&["verify", "check"]).is_none_or(|said| said.is_empty() && back.labelled(&["expect", "expected"]).is_none()) {
        found.block("RB006", back.line, "the way back has no check".into(), "add `Verify:` with what is seen when it worked");
    }
    waits(&back.lines, found);
    let irreversible = runbook.front.as_ref().map(|front| front.irreversible()).unwrap_or_default();
    for planned in known.report.plan.steps.iter().filter(|step| step.reversibility != Reversibility::Free) {
        let id = planned.id.as_str();
        let is_pivot = planned.reversibility == Reversibility::Pivot;
        let is_undone = || {
            let said = ["if it fails", "on failure", "undo", "rollback"];
            back.names(id) || steps.iter().any(|step| step.names(id) && step.labelled(&said).is_some_and(|said| !said.is_empty()))
        };
        if irreversible.iter().any(|named| named == id) || !is_pivot && is_undone() {
            continue;
        }
        let (message, fix) = match is_pivot {
            true => (format!("nothing leads back past `{id}`, and the front matter does not say so"), "name it in `irreversible_steps`"),
            false => (format!("nothing says how `{id}` is undone"), "add `If it fails:` to its step"),
        };
        found.block("RB006", back.line, message, fix);
    }
}

fn waits(lines: &[(usize, String)], found: &mut Findings) {
    for (number, line) in lines {
        let lower = line.to_lowercase();
        let has_number = line.contains(|character: char| character.is_ascii_digit());
        if ["wait", "waits", "sleep"].iter().any(|word| has_word(&lower, word)) && !has_number {
            found.warn("RB015", *number, "nobody says how long to wait".into(), "name the time, and what comes after it");
        }
        let has = |words: &[&str]| words.iter().any(|word| has_word(&lower, word));
        if has(&["approval"]) && has(&["wait", "waits", "needs", "requires", "get", "ask"]) && !has(&["of", "by", "from", "no"]) {
            found.warn("RB015", *number, "nobody says whose approval".into(), "name the role");
        }
    }
}

/// Returns the plan's steps that a document names among its deploy steps.
fn named(document: &Document) -> BTreeSet<String> {
    let sections = document.sections(2);
    let section = sections.iter().find(|section| section.title().eq_ignore_ascii_case("Deploy steps"));
    let mut named = BTreeSet::new();
    for step in section.map(steps).unwrap_or_default() {
        let first = step.lines.first().map_or("", |(_, line)| line);
        named.extend(first.split([':', ' ']).next().map(str::to_owned));
    }
    named
}

/// Returns the steps that came or went between two versions' texts.
pub(in crate::engine) fn changed(before: &str, now: impl IntoIterator<Item = String>) -> Vec<String> {
    let before = Document::read(before, 1).map(|document| named(&document)).unwrap_or_default();
    let now: BTreeSet<String> = now.into_iter().collect();
    before.symmetric_difference(&now).cloned().collect()
}

fn history(runbook: &Runbook<'_>, known: &Known<'_>, before: &Document, found: &mut Findings) {
    let (then, now) = (named(before), named(runbook.document));
    let told = runbook.section("History");
    let lines: Vec<String> = told.iter().flat_map(|section| section.blocks).flat_map(Node::lines).map(|(_, line)| line).collect();
    for id in then.symmetric_difference(&now).filter(|id| !lines.iter().any(|line| names(line, id))) {
        let what = if now.contains(id) { "is new" } else { "is gone" };
        let line = told.map_or(1, |section| section.heading.line);
        let since = known.before.map_or("", |_| " since the version before");
        found.warn("RB019", line, format!("step `{id}` {what}{since}, and the history does not say so"), "name it in the history");
    }
}
