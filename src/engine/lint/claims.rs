//! RB018 and RB020: what a text claims, and whom it speaks to.

use super::{Findings, Known, Runbook};
use crate::{
    engine::markdown::{Kind, Node},
    model::{DeploymentState, text::is_hidden},
};

/// What is said of something that was looked at.
const CLAIMS: &[&str] = &["tested", "verified", "validated", "proven"];
/// What makes a claim of it.
const SAID: &[&str] =
    &["is", "are", "was", "were", "been", "fully", "successfully", "thoroughly", "we", "i", "already", "and", "extensively"];
/// What keeps it from being one.
const UNSAID: &[&str] = &[
    "not", "never", "nobody", "nothing", "must", "should", "to", "can", "cannot", "could", "will", "may", "until", "unless", "if", "when",
    "once", "before", "after", "whether", "no", "isn't", "wasn't",
];
/// Words that are said to a machine alone.
const TO_MACHINES: &[&str] = &[
    "as an ai",
    "as a language model",
    "as a large language model",
    "you are an ai",
    "you are a language model",
    "you are a helpful assistant",
    "you are now an",
    "you are now in developer mode",
    "developer mode enabled",
    "system prompt",
    "note to the ai",
    "note to ai",
    "dear ai",
    "attention ai",
    "instructions for the ai",
    "instructions for the assistant",
    "ai assistants must",
    "ai agents must",
    "do not tell the user",
    "don't tell the user",
    "without telling the user",
    "do not inform the user",
    "do not mention this to the user",
    "pretend you are",
    "pretend to be",
    // As `plain` leaves it.
    "<|imstart|>",
    "<|system|>",
    "[inst]",
    "<<sys>>",
    "### instruction",
    "reveal your instructions",
    "your new instructions",
    "new instructions:",
];

pub(super) fn check(runbook: &Runbook<'_>, known: &Known<'_>, found: &mut Findings) {
    runbook.each(&mut |node| {
        if matches!(node.kind, Kind::Paragraph | Kind::Cell) && !has_evidence(node, known) {
            let text = node.text();
            for (number, sentence) in sentences(node.line, &text) {
                if let Some(claim) = claim(&sentence) {
                    let message = format!("`{claim}` is claimed, and nothing shows it");
                    found.block("RB018", number, message, "name the deployment or the evidence that shows it");
                    break;
                }
            }
        }
    });
    let lines: Vec<String> = runbook.text.lines().map(plain).collect();
    for (at, line) in lines.iter().enumerate() {
        let next = lines.get(at + 1).map_or("", String::as_str);
        let both = format!("{line} {next}");
        // What begins in the next line alone is found there.
        if let Some(said) = addressed(line).or_else(|| addressed(&both).filter(|_| addressed(next).is_none())) {
            found.block("RB020", at + 1, format!("`{said}` is said to an AI"), "take it out: a runbook speaks to people");
        }
    }
}

/// Returns the sentences of a paragraph with the line each begins in.
fn sentences(first: usize, text: &str) -> Vec<(usize, String)> {
    let (mut found, mut line, mut from) = (Vec::new(), first, first);
    let mut sentence = String::new();
    for character in text.chars() {
        if sentence.trim().is_empty() {
            from = line;
        }
        line += usize::from(character == '\n');
        match character {
            '.' | '!' | '?' | ';' => found.push((from, std::mem::take(&mut sentence))),
            '\n' => sentence.push(' '),
            plain => sentence.push(plain),
        }
    }
    found.push((from, sentence));
    found
}

fn claim(sentence: &str) -> Option<String> {
    let words: Vec<String> = sentence
        .split(|character: char| !(character.is_alphanumeric() || "'-_".contains(character)))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let at = words.iter().enumerate().position(|(at, word)| {
        let before = if at == 0 { "" } else { words[at - 1].as_str() };
        let follows = words.get(at + 1).is_some_and(|next| ["in", "on", "with", "and", "by"].contains(&next.as_str()));
        CLAIMS.contains(&word.as_str()) && (SAID.contains(&before) || at == 0 && follows)
    })?;
    if words[..at].iter().any(|word| UNSAID.contains(&word.as_str())) {
        return None;
    }
    Some(words[at.saturating_sub(1)..=at].join(" "))
}

/// Tells whether a paragraph names what shows it: a run of the service that succeeded, the plan, or evidence that passed a gate.
fn has_evidence(node: &Node, known: &Known<'_>) -> bool {
    let mut said = node.text();
    node.each(&mut |node| {
        if let Kind::Link(address) = &node.kind {
            said.push(' ');
            said.push_str(address);
        }
    });
    let shown = known.shown();
    let service = &known.report.deployment.service;
    let mut words = said.split(|character: char| !(character.is_alphanumeric() || "_-".contains(character)));
    words.any(|word| {
        let is_good = known.runs.get(word).is_some_and(|run| run.state == DeploymentState::Succeeded && &run.service == service);
        is_good || shown.contains(word)
    })
}

/// Returns a line as it is read: in small letters, without what cannot be seen, marks of Markdown, and letters that look like Latin ones.
fn plain(line: &str) -> String {
    let mut said = String::new();
    let mut rest = line;
    // Hidden characters of notes were written as escapes.
    while let Some((before, after)) = rest.split_once("\\u{") {
        said.push_str(before);
        rest = after.split_once('}').map_or(after, |(_, after)| after);
    }
    said.push_str(rest);
    let like = |character: char| match character {
        'а' => 'a',
        'е' => 'e',
        'о' => 'o',
        'р' => 'p',
        'с' => 'c',
        'у' => 'y',
        'х' => 'x',
        'і' => 'i',
        '’' => '\'',
        other => other,
    };
    let seen = said.chars().filter(|character| !is_hidden(*character) && !"*_~`".contains(*character));
    let seen: String = seen.flat_map(char::to_lowercase).map(like).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn addressed(line: &str) -> Option<String> {
    if let Some(said) = TO_MACHINES.iter().find(|said| super::has_word(line, said)) {
        return Some((*said).to_owned());
    }
    let words: Vec<&str> = line.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let one_of = |word: &str, list: &[&str]| list.contains(&word);
    let at = words.iter().enumerate().position(|(at, word)| {
        let near = &words[at + 1..words.len().min(at + 7)];
        let noun = near
            .iter()
            .position(|word| one_of(word, &["instructions", "instruction", "prompt", "prompts", "rules", "guidelines", "guardrails"]));
        let which = noun.map(|noun| {
            near[..noun].iter().any(|word| one_of(word, &["previous", "prior", "above", "earlier", "preceding", "your", "all", "system"]))
        });
        one_of(word, &["ignore", "disregard", "forget", "override", "bypass"]) && which == Some(true)
    })?;
    Some(words[at..words.len().min(at + 5)].join(" "))
}
