//! The exact plan: every field of the bytes whose hash is signed, read back from those bytes and from nothing else.

use crate::{
    model::{PlanId, Sha256},
    web::shown::{Tone, chip, count, line},
};
use maud::{Markup, html};
use serde_json::Value;

/// How many characters of fields a page shows; of more it says how many, and where all of them are.
const MOST: usize = 24_000;

/// Returns the plan's fields, with the hash of the bytes they were read from.
pub fn section(id: &PlanId, bytes: &[u8], sha256: &Sha256) -> Markup {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let is_named_so = id.as_str().strip_prefix("plan_").is_some_and(|prefix| sha256.0.starts_with(prefix));
    let mut fields = Vec::new();
    flatten(&document, &mut Vec::new(), &mut fields);
    let mut room = MOST;
    let shown = fields.iter().take_while(|(path, value)| {
        let needs = path.len() + value.chars().count();
        let fits = room >= needs;
        room = room.saturating_sub(needs);
        fits
    });
    let shown: Vec<_> = shown.collect();
    html! {
        p class="hash" {
            "sha256 " code class="whole" { (sha256) } " "
            @if is_named_so {
                (chip(Tone::Good, "made from these bytes for this page, and fits the plan's name"))
            } @else { (chip(Tone::Bad, "does not fit the plan's name")) }
        }
        p class="quiet" {
            (count(bytes.len() as u64)) " bytes of canonical JSON (RFC 8785), "
            a href={ "/plans/" (id) "/bytes" } { "exactly as they are signed" } "; "
            code { "sha256sum" } " over them gives the same."
        }
        @if shown.len() < fields.len() {
            p class="notice" {
                (chip(Tone::Bad, format!("longer than a page: {} of {} fields stand here", shown.len(), fields.len())))
                span { "Read all of it before you sign." }
            }
        }
        dl class="fields" {
            @for (path, value) in &shown { dt { (line(path, 200)) } dd { (line(value, usize::MAX)) } }
        }
    }
}

/// Writes every leaf with its path, in the order of the bytes.
pub fn flatten(value: &Value, path: &mut Vec<String>, fields: &mut Vec<(String, String)>) {
    let mut inside = |name: String, value: &Value| {
        path.push(name);
        flatten(value, path, fields);
        path.pop();
    };
    match value {
        Value::Object(entries) if !entries.is_empty() => entries.iter().for_each(|(name, value)| inside(name.clone(), value)),
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                // What has a name is found again by it where its place in the list has changed.
                let named = ["id", "gate", "name"].iter().find_map(|field| item[field].as_str());
                inside(named.map_or_else(|| (at + 1).to_string(), str::to_owned), item);
            }
        }
        leaf => {
            let said = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            fields.push((path.join(" › "), said));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_leaf_is_there_with_its_path() {
        let mut fields = Vec::new();
        flatten(&json!({"a": {"b": [1, {"id": "x", "c": null}]}, "d": [], "e": "\u{202e}"}), &mut Vec::new(), &mut fields);
        let said: Vec<String> = fields.iter().map(|(path, value)| format!("{path}={value}")).collect();
        assert_eq!(said, ["a › b › 1=1", "a › b › x › c=null", "a › b › x › id=x", "d=[]", "e=\u{202e}"]);
    }
}
