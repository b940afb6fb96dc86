//! Steps in their order: when each began, how long it took, how often it was tried, and what was waited in between.

use crate::{
    engine::report::Report,
    model::{Deployment, JournalEntry, StepState, Timestamp},
    web::shown::{Tone, chip, columns, lasting, line, name, step_state},
};
use maud::{Markup, html};
use std::time::Duration;

/// A pause between two steps that is worth a word.
const GAP: Duration = Duration::from_secs(2);

/// Returns the steps as a table; each has an address of its own.
pub fn table(deployment: &Deployment, report: &Report, now: Timestamp) -> Markup {
    let begins = deployment.created_at;
    let whole = deployment.settled_at.unwrap_or(now).since(begins).as_millis().max(1);
    let permille = |at: Timestamp| (at.since(begins).as_millis() * 1_000 / whole).min(1_000);
    let mut before: Option<Timestamp> = None;
    let rows: Vec<(&JournalEntry, Option<Duration>)> = report
        .steps
        .iter()
        .map(|entry| {
            let gap = before.zip(entry.started_at).map(|(ended, began)| began.since(ended)).filter(|gap| *gap >= GAP);
            before = entry.ended_at.or(before);
            (entry, gap)
        })
        .collect();
    html! {
        table class="list timeline" {
            (columns(&["Step", "State", "When", "#Began", "#Took"]))
            tbody {
                @for (entry, gap) in &rows {
                    @if let Some(gap) = gap { tr class="gap" { td colspan="5" { "nothing for " (lasting(*gap)) } } }
                    @let is_current = matches!(entry.state, StepState::Executing | StepState::Intent | StepState::Undoing);
                    tr id={ "step-" (entry.step) } class=[is_current.then_some("current")] {
                        th scope="row" {
                            a href={ "#step-" (entry.step) } { (name(&entry.step)) }
                            @if let Some(step) = report.plan.step(&entry.step) { span class="quiet title-of" { (line(&step.title, 200)) } }
                            @if let Some(error) = entry.output["error"]["message"].as_str() { span class="error" { (line(error, 400)) } }
                        }
                        td data-label="State" {
                            (step_state(entry.state))
                            @if entry.attempt > 1 { " " (chip(Tone::Asks, format!("{} tries", entry.attempt))) }
                        }
                        td data-label="When" class="when" {
                            @if let Some(began) = entry.started_at {
                                @let from = permille(began);
                                @let to = permille(entry.ended_at.unwrap_or(now));
                                svg class="bar" viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true" {
                                    rect class="rest" x="0" y="3" width="1000" height="2" {}
                                    rect class="new" x=(from) y="0" width=(to.saturating_sub(from).max(4)) height="8" {}
                                }
                            }
                        }
                        td data-label="Began" class="number" {
                            @match entry.started_at {
                                Some(began) => {
                                    time datetime=(began.to_string()) title=(began.to_string()) { "+" (lasting(began.since(begins))) }
                                },
                                None => "–",
                            }
                        }
                        td data-label="Took" class="number" { @match (entry.started_at, entry.ended_at) {
                            (Some(began), Some(ended)) => (lasting(ended.since(began))),
                            (Some(began), None) => { (lasting(now.since(began))) "…" },
                            _ => "–",
                        } }
                    }
                }
            }
        }
    }
}
