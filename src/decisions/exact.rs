//! Exactly what is signed: every field of a JSON document, read from its bytes, in characters that look like nothing else. Whoever puts the
//! fields together again has the same bytes.

use crate::error::{Error, Result};
use serde_json::Value;
use std::fmt::Write;

/// From how many characters on a text says how long it is.
const LONG: usize = 200;

/// A value of a document, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// `steps.1.title`: names and places, counted from 1; what is no plain name is a JSON string.
    pub path: String,
    /// JSON, printable ASCII alone: every other character is its `\u202e`.
    pub value: String,
    /// How long a long text is, in characters and lines.
    pub length: Option<(usize, usize)>,
}

impl Field {
    /// Returns where it stands, and how long it is where it is long.
    pub fn name(&self) -> String {
        match self.length {
            Some((characters, lines)) => format!("{} ({characters} characters, {lines} lines)", self.path),
            None => self.path.clone(),
        }
    }
}

/// Returns every field of a JSON document, in its order. What is empty is a field, too.
pub fn fields(document: &str) -> Result<Vec<Field>> {
    let mut found = Vec::new();
    add(&serde_json::from_str(document).map_err(Error::internal)?, "", &mut found);
    Ok(found)
}

fn add(value: &Value, path: &str, found: &mut Vec<Field>) {
    let below = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match value {
        Value::Object(entries) if !entries.is_empty() => entries.iter().for_each(|(name, value)| add(value, &below(&step(name)), found)),
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(at, item)| add(item, &below(&(at + 1).to_string()), found));
        }
        Value::String(text) => {
            let length = (text.chars().count(), text.split('\n').count());
            let length = Some(length).filter(|(characters, lines)| *characters > LONG || *lines > 1);
            found.push(Field { path: path.to_owned(), value: quoted(text), length });
        }
        leaf => found.push(Field { path: path.to_owned(), value: leaf.to_string(), length: None }),
    }
}

/// Returns a name as a part of a path: as it is, unless it could be read as something else.
fn step(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
    if is_plain { name.to_owned() } else { quoted(name) }
}

/// Returns a JSON string of printable ASCII.
fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => shown.extend(['\\', character]),
            '\n' => shown.push_str("\\n"),
            ' '..='~' => shown.push(character),
            other => other.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(shown, "\\u{unit:04x}");
            }),
        }
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_there_in_characters_that_look_like_nothing_else() {
        let document = r#"{"a":{"b":[1,{"c":null,"id":"x"}],"x.y":true},"d":[],"e":"p\u0430y\u202e\ud83d\ude00\n\"","é":{}}"#;
        let said: Vec<String> = fields(document).unwrap().iter().map(|field| format!("{}: {}", field.name(), field.value)).collect();
        let expected = [
            "a.b.1: 1",
            "a.b.2.c: null",
            r#"a.b.2.id: "x""#,
            r#"a."x.y": true"#,
            "d: []",
            r#"e (7 characters, 2 lines): "p\u0430y\u202e\ud83d\ude00\n\"""#,
            r#""\u00e9": {}"#,
        ];
        assert_eq!(said, expected);
        assert!(fields("no JSON").is_err());
    }
}
