//! What prose may not say by itself: thresholds, which stand in the front matter, and operations that are not there. Pure.

use super::{facts::FACTS, lint::OPERATIONS};
use crate::{
    error::Code,
    model::{catalog::GATES, fault::nearest},
};

/// Words that make the number before them a threshold.
const UNITS: &[&str] = &[
    "%", "percent", "ms", "s", "sec", "second", "seconds", "min", "minute", "minutes", "h", "hour", "hours", "day", "days", "week",
    "weeks", "kb", "mb", "gb", "kib", "mib", "gib", "bytes", "requests", "errors",
];

/// Returns every number of a text that has a unit after it or a comparison before it, as it stands there.
pub(super) fn thresholds(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(|c: char| c.is_ascii_digit()).map(|offset| at + offset) {
        let end = text[start..].find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).map_or(text.len(), |offset| start + offset);
        at = end;
        // A digit in a name (`phase-06`, `p95`, `SD-DEPLOY-001`) counts nothing.
        if text[..start].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_') || in_name(&text[..start]) {
            continue;
        }
        let rest = text[end..].trim_start_matches([' ', '\u{a0}']);
        let unit: String = match rest.starts_with('%') {
            true => "%".into(),
            false => rest.chars().take_while(|c| c.is_alphabetic()).collect(),
        };
        let number = text[start..end].trim_end_matches(['.', ',']);
        let compared = text[..start].trim_end().ends_with(['<', '>', '=', '≤', '≥']);
        if UNITS.contains(&unit.to_lowercase().as_str()) {
            found.push(format!("{number} {unit}"));
        } else if compared {
            found.push(number.to_owned());
        }
    }
    found
}

/// Tells whether a text ends in a letter and a hyphen: what follows belongs to a name.
fn in_name(before: &str) -> bool {
    before.strip_suffix('-').and_then(|rest| rest.chars().next_back()).is_some_and(char::is_alphabetic)
}

/// Returns every word that looks like an operation and names nothing there is.
///
/// A word with `_` in it looks like one when it begins with the verb of an operation, or is a letter or two away from one.
pub(super) fn unknown_words(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/' || c == '.' || c == '-';
    let words = text.split(|c: char| !is_word(c)).map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.contains('_') && !word.contains(['/', '.', '-']) && !is_known(word) && looks_like_operation(word)).collect()
}

fn is_known(word: &str) -> bool {
    let is_gate = |kind: &crate::model::catalog::GateKind| kind.name == word || kind.measures.contains(&word);
    OPERATIONS.contains(&word)
        || FACTS.iter().any(|kind| kind.name == word || kind.signed == Some(word) || kind.denied == Some(word))
        || GATES.iter().any(is_gate)
        || Code::ALL.iter().any(|code| code.as_str() == word)
}

fn looks_like_operation(word: &str) -> bool {
    let verb = |name: &str| name.split('_').next().map(str::to_owned);
    OPERATIONS.iter().any(|operation| verb(operation) == verb(word)) || nearest(word, OPERATIONS.iter().copied()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_unit_or_a_comparison_are_thresholds() {
        for (text, expected) in [
            ("errors stay under 5 % for 120 seconds", &["5 %", "120 seconds"][..]),
            ("p95 below 500ms, downtime > 0", &["500 ms", "0"]),
            ("watch for 24-48 hours", &["48 hours"]),
            ("no more than 1.5 GiB", &["1.5 GiB"]),
            ("phase-06 and SD-DEPLOY-001 s, p95 ms, step 3 of 4, HTTP 503", &[]),
            ("{{gates}}", &[]),
        ] {
            assert_eq!(thresholds(text), expected, "{text}");
        }
    }

    #[test]
    fn words_that_look_like_operations_must_be_some() {
        assert_eq!(
            unknown_words("call `get_staus`, then `plan_rollout` or create_directive; see `gate_failed` and `my_table`."),
            ["get_staus", "plan_rollout"]
        );
        assert_eq!(unknown_words("`docs/get_it.md`, rollback_ready, uat_signed"), [""; 0]);
    }
}
