//! What differs, field by field, from the plan that brought what serves: the last one that was approved and worked.

use super::{document::flatten, known::Known};
use crate::{
    model::Plan,
    web::shown::{columns, counted, line},
};
use maud::{Markup, html};
use serde_json::json;
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
                a href={ "/deployments/" (replaced.deployment) } { (replaced.deployment) }
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
