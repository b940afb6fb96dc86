//! What is wrong in a file a person wrote: every fault at once, each on one line with its place.

use super::text::visible_line;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One fault in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file, as the caller names it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<usize>,
    /// The key with its path, `services.web.health`; empty for a fault of the whole file.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// Every fault of a file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Fault {
    /// Writes one line, whatever stood in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", visible_line(&self.file, 200), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", visible_line(&self.key, 200))?;
        }
        f.write_str(&visible_line(&self.message, 400))?;
        match &self.hint {
            Some(hint) => write!(f, "; {}", visible_line(hint, 400)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Fault::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Returns the word of `known` that `word` most likely means.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|other| (strsim::damerau_levenshtein(word, other), other));
    distances.filter(|(distance, other)| *distance <= 2 && *distance < other.chars().count()).min().map(|(_, other)| other)
}

/// Returns ``did you mean `health`?``, or else the whole list.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}
