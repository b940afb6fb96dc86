//! RB003, RB012, RB014, RB016 and RB017: what stands in the words.

use super::{Findings, Runbook, has_word};
use crate::{
    engine::{markdown::Kind, runbook::MARKER},
    model::text::is_hidden,
};

/// Words that stand where something is still to be written.
const PLACEHOLDERS: &[&str] = &["todo", "tbd", "fixme", "xxx", "changeme"];
/// The same, whatever stands beside them.
const FRAGMENTS: &[&str] = &["lorem ipsum", "<your-", "<your_", "<insert", "example.com", "example.org"];
/// Words that leave it to the reader.
const VAGUE: &[&str] = &["as needed", "appropriate", "as appropriate", "if necessary"];
/// Tags that name another thing tomorrow.
const MOVING: &[&str] = &["latest", "edge", "nightly", "stable", "main", "master", "head"];
/// The most words (RB016), and the most in one sentence.
const WORDS: usize = 1_500;
const SENTENCE: usize = 25;

pub(super) fn check(runbook: &Runbook<'_>, found: &mut Findings) {
    for (at, line) in runbook.text.lines().enumerate() {
        let (number, lower) = (at + 1, line.to_lowercase());
        placeholder(number, &lower, found);
        if let Some(said) = moving(&lower) {
            found.block("RB012", number, format!("`{said}` is another version tomorrow"), "name the exact version, or the digest");
        }
        if let Some(hidden) = line.chars().find(|character| is_hidden(*character)) {
            let message = format!("a character that cannot be seen, {}", hidden.escape_unicode());
            found.block("RB017", number, message, "take it out");
        }
    }
    html(runbook, found);
    let lines = runbook.lines();
    let words = |line: &str| line.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    let all: usize = lines.iter().map(|(_, line)| words(line)).sum();
    if all > WORDS {
        found.warn("RB016", 1, format!("{all} words; {WORDS} are the most that are read at night"), "keep what is needed to act");
    }
    for (number, line) in &lines {
        let longest = line.split(['.', '!', '?', ';', ':']).map(words).max().unwrap_or(0);
        if longest > SENTENCE {
            found.warn("RB016", *number, format!("a sentence of {longest} words; {SENTENCE} are the most"), "make two of it");
        }
    }
    figures(runbook, found);
}

fn placeholder(number: usize, lower: &str, found: &mut Findings) {
    let is_bare = |word: &&&str| {
        let words = lower.split(|character: char| character.is_whitespace() || "()[]{}<>\"'`*,;:!?|#".contains(character));
        words.map(|said| said.trim_end_matches('.')).any(|said| said == **word)
    };
    let unwritten = PLACEHOLDERS.iter().find(is_bare).or_else(|| FRAGMENTS.iter().find(|fragment| lower.contains(**fragment)));
    let dots = || lower.split_whitespace().find(|word| ["...", "[...]", "<...>", "(...)", "\"...\""].contains(word));
    if let Some(word) = unwritten.copied().or_else(dots) {
        let message = format!("`{word}` stands where something is still to be written");
        found.block("RB003", number, message, "write it, or take the line out");
    }
    if let Some(vague) = VAGUE.iter().find(|vague| has_word(lower, vague)) {
        found.warn("RB003", number, format!("`{vague}` leaves it to the reader"), "say what, and when");
    }
}

fn moving(lower: &str) -> Option<String> {
    for tag in MOVING {
        let glued = [":", "@"].iter().map(|before| format!("{before}{tag}"));
        let told = ["version", "release", "image", "build", "tag"].iter().filter(|_| *tag == "latest").map(|what| format!("{tag} {what}"));
        // `web:main-2`, `/head/x` and `repo@main:path` are names; a full stop ends a sentence.
        let ends = |rest: &str| !rest.starts_with(['-', '/', '.', ':']) || rest == "." || rest.starts_with(". ");
        let is_said =
            |said: &String| has_word(lower, said) && lower.match_indices(said.as_str()).any(|(at, _)| ends(&lower[at + said.len()..]));
        if let Some(said) = glued.chain(told).find(is_said) {
            return Some(said);
        }
    }
    // `1.x`: any of a row.
    let is_open = |word: &str| {
        word.strip_suffix(".x")
            .is_some_and(|row| !row.is_empty() && row.trim_start_matches('v').chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    lower.split(|character: char| !(character.is_alphanumeric() || character == '.')).find(|word| is_open(word)).map(str::to_owned)
}

fn html(runbook: &Runbook<'_>, found: &mut Findings) {
    let notes_from = found.notes_from;
    runbook.each(&mut |node| match &node.kind {
        // What an agent writes stands in a fence, where HTML is text.
        Kind::Html(html) if node.line < notes_from && html.trim() != MARKER => {
            found.block("RB017", node.line, "raw HTML".into(), "write it as Markdown");
        }
        Kind::Image(address) if address.contains(':') || address.starts_with("//") => {
            found.block("RB017", node.line, "an image from elsewhere".into(), "link to it, or draw it as text");
        }
        _ => (),
    });
}

/// Figures that are watched, and what one of their kind is counted in.
fn figures(runbook: &Runbook<'_>, found: &mut Findings) {
    let watched = ["latency", "error rate", "error ratio", "p50", "p95", "p99", "cpu", "memory", "throughput"];
    let units = ["%", "ms", " s", "min", "rps", "mb", "gb", "mib", "gib", "request", "per second", "/s", "no sample"];
    let section = runbook.section("Verification");
    for (number, line) in section.iter().flat_map(|section| section.blocks).flat_map(|node| node.lines()) {
        let lower = line.to_lowercase();
        let Some(word) = watched.iter().find(|word| has_word(&lower, word)) else { continue };
        let digits = lower.replace(word, "");
        if !digits.contains(|character: char| character.is_ascii_digit()) || !units.iter().any(|unit| lower.contains(unit)) {
            found.warn("RB014", number, format!("`{word}` without a threshold and its unit"), "name both: `p95 below 500 ms`");
        }
    }
}
