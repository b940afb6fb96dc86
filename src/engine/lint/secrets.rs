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

/// Finds `password = hunter2` and its like; references and empty values are fine.
fn assigned(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    ["password", "passwd", "secret", "api_key", "apikey", "token"].into_iter().find(|name| {
        let Some(at) = lower.find(name) else { return false };
        let rest = lower[at + name.len()..].trim_start();
        let Some(value) = rest.strip_prefix('=').or_else(|| rest.strip_prefix(':')) else { return false };
        let value = value.trim().trim_matches(['"', '\'', '`']);
        value.len() >= 6
            && !value.contains(' ')
            && !["env:", "file:", "exec:", "<", "$"].iter().any(|reference| value.starts_with(reference))
    })
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
