//! What differs, field by field, from the plan that brought what serves: the last one that was approved and worked.

use super::known::Known;
use crate::{
    model::Plan,
    web::shown::{columns, counted, line, name},
};
use maud::{Markup, html};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many differences are shown.
const MOST: usize = 60;

/// A field that differs: what it was, and what it becomes.
type Difference = (String, Option<String>, Option<String>);

/// Returns the differences as a table.
pub fn section(known: &Known) -> Markup {
    let Some(base) = &known.base_plan else {
        return html! { p class="nothing" { "Nothing serves there yet, so there is nothing to compare with." } };
    };
    let differences = differences(base, &known.record.plan);
    let (of_steps, others): (Vec<&Difference>, Vec<&Difference>) = differences.iter().partition(|(path, ..)| path.starts_with("steps › "));
    html! {
        p class="quiet" {
            (counted(differences.len(), "field")) " of this plan differ from that of what serves now, "
            @if let Some(replaced) = &known.record.plan.base {
                a href={ "/deployments/" (replaced.deployment) } { (name(&replaced.deployment)) }
            }
            "."
        }
        @if !others.is_empty() { (table(&others)) }
        @if !of_steps.is_empty() { details { summary { (counted(of_steps.len(), "field")) " of its steps" } (table(&of_steps)) } }
    }
}

fn table(differences: &[&Difference]) -> Markup {
    html! {
        table class="list diff" {
            (columns(&["Field", "Was", "Becomes"]))
            tbody {
                @for (path, was, becomes) in differences.iter().take(MOST) {
                    tr {
                        th scope="row" { (line(path, 160)) }
                        td data-label="Was" {
                            @match was { Some(was) => del { (line(was, 200)) }, None => span class="quiet" { "not there" } }
                        }
                        td data-label="Becomes" {
                            @match becomes { Some(becomes) => ins { (line(becomes, 200)) }, None => span class="quiet" { "gone" } }
                        }
                    }
                }
            }
        }
        @if differences.len() > MOST {
            p class="quiet" { "and " (differences.len() - MOST) " more; all of both plans is in their bytes" }
        }
    }
}

fn differences(old: &Plan, new: &Plan) -> Vec<Difference> {
    let fields = |plan: &Plan| {
        let mut fields = Vec::new();
        flatten(&json!(plan), &mut Vec::new(), &mut fields);
        fields.into_iter().collect::<BTreeMap<String, String>>()
    };
    let (old, new) = (fields(old), fields(new));
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let differs = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    differs.map(|path| (path.clone(), old.get(path).cloned(), new.get(path).cloned())).collect()
}

/// Writes every leaf with its path, in the order of the bytes.
fn flatten(value: &Value, path: &mut Vec<String>, fields: &mut Vec<(String, String)>) {
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

    #[test]
    fn every_leaf_is_there_with_its_path() {
        let mut fields = Vec::new();
        flatten(&json!({"a": {"b": [1, {"id": "x", "c": null}]}, "d": [], "e": "\u{202e}"}), &mut Vec::new(), &mut fields);
        let said: Vec<String> = fields.iter().map(|(path, value)| format!("{path}={value}")).collect();
        assert_eq!(said, ["a › b › 1=1", "a › b › x › c=null", "a › b › x › id=x", "d=[]", "e=\u{202e}"]);
    }
}
