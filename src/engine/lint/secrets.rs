//! RB009: secrets by their shape.

use super::{Findings, Runbook};
use std::collections::BTreeMap;

/// How secrets begin that have a known shape.
const SHAPES: &[&str] =
    &["-----BEGIN", "AKIA", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk-ant-", "sk_live_", "eyJhbGciOi", "AIza", "npm_"];
/// The shortest word that is judged by its letters alone, and how many bits one of them must carry on average.
const LONG: usize = 24;
const BITS: f64 = 4.0;

pub(super) fn check(runbook: &Runbook<'_>, found: &mut Findings) {
    for (at, line) in runbook.text.lines().enumerate() {
        let shape = secret_in(line).map(str::to_owned).or_else(|| in_address(line)).or_else(|| random(line));
        if let Some(shape) = shape {
            found.block(
                "RB009",
                at + 1,
                format!("this looks like a secret (`{shape}`…)"),
                "name the reference instead, and change the secret",
            );
        }
    }
}

/// Returns the shape of what looks like a secret in a text.
pub(in crate::engine) fn secret_in(text: &str) -> Option<&'static str> {
    text.lines().find_map(|line| SHAPES.iter().find(|shape| line.contains(*shape)).copied().or_else(|| assigned(line)))
}

/// What stands before a value that is to stay secret.
const NAMES: &[&str] = &["password", "passwd", "secret", "api_key", "apikey", "token"];
/// How a reference begins, which is none.
const REFERENCES: &[&str] = &["env:", "file:", "exec:", "<", "$"];

/// Finds `password = hunter2` and its like, wherever in the line; references and empty values are fine.
fn assigned(line: &str) -> Option<&'static str> {
    // Small ASCII letters alone: every place stays what it was.
    let lower = line.to_ascii_lowercase();
    let is_given = |name: &str| lower.match_indices(name).any(|(at, _)| gives(&line[at + name.len()..]));
    NAMES.iter().find(|name| is_given(name)).copied()
}

/// Tells whether a value follows. What is in quotes may have blanks; behind a colon, words without quotes are prose.
fn gives(rest: &str) -> bool {
    let rest = rest.trim_start_matches(['"', '\'', '`']).trim_start();
    let (rest, is_prose) = match (rest.strip_prefix('='), rest.strip_prefix(':')) {
        (Some(rest), _) => (rest.trim(), false),
        (_, Some(rest)) => (rest.trim(), true),
        _ => return false,
    };
    let quoted = rest.chars().next().filter(|first| ['"', '\'', '`'].contains(first)).and_then(|quote| rest[1..].split(quote).next());
    let value = match quoted {
        Some(value) => value,
        None if is_prose && rest.contains(' ') => return false,
        None => rest.split_whitespace().next().unwrap_or_default(),
    };
    value.len() >= 6 && !REFERENCES.iter().any(|reference| value.starts_with(reference))
}

/// Finds `://name:password@host`, and what stands behind `Bearer`.
fn in_address(line: &str) -> Option<String> {
    let with_password = line.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', ' ', '?', '#']).next().unwrap_or_default();
        let said = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
        said.is_some_and(|password| !password.is_empty() && !password.starts_with(['$', '<', '{']))
    });
    let bearer = line.split("Bearer ").nth(1).map(|rest| rest.split([' ', '"', '\'']).next().unwrap_or_default());
    let with_token = bearer.is_some_and(|token| token.len() >= 12 && !token.starts_with(['$', '<', '{']));
    with_password.then(|| "://…:…@".to_owned()).or(with_token.then(|| "Bearer ".to_owned()))
}

/// Finds a long word of small letters, capitals and digits without any order; digests are hexadecimal, and no secrets.
fn random(line: &str) -> Option<String> {
    let mut words = line.split(|character: char| !(character.is_ascii_alphanumeric() || "+_=-".contains(character)));
    let word = words.find(|word| {
        let has = |test: fn(&char) -> bool| word.chars().filter(test).count() >= 3;
        let is_mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit);
        word.len() >= LONG && is_mixed && bits(word) >= BITS
    })?;
    Some(word[..4].to_owned())
}

/// Returns how many bits a character of a word carries on average.
fn bits(word: &str) -> f64 {
    let mut counts: BTreeMap<u8, f64> = BTreeMap::new();
    word.bytes().for_each(|byte| *counts.entry(byte).or_default() += 1.0);
    let all = word.len() as f64;
    counts.values().map(|count| -(count / all) * (count / all).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::secret_in;

    #[test]
    fn a_value_is_found_wherever_it_stands_and_a_reference_is_none() {
        for secret in [
            "password = hunter2hunter2",
            "PASSWORD=\"correct horse battery\"",
            "the token is old; token: abc123def",
            "password = hunter2hunter2 # the old one",
            "no password: ask, and then secret='a b c d'",
            "{\"api_key\": \"k-1 k-2 k-3\"}",
        ] {
            assert!(secret_in(secret).is_some(), "{secret}");
        }
        for fine in [
            "password = env:DB_PASSWORD",
            "token: file:/run/token",
            "password: ask Ann for it",
            "secret = \"<from the vault>\"",
            "password =",
            "passwd: x",
            "TOKEN=$TOKEN interlock get-status",
        ] {
            assert_eq!(secret_in(fine), None, "{fine}");
        }
    }
}
