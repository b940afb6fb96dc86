//! Freezes: where deployments are stopped, until when, and what lifts it.

use super::{
    Ask,
    actions::{asks_why, form},
    decide::offer,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, command, line, moment, name},
};
use crate::{engine::freezing, error::Result};
use maud::html;

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (store, now) = (&ask.engine.store, ask.now);
    let mut standing = Vec::new();
    for freeze in store.standing_freezes(now).await?.into_iter().filter(|freeze| !freeze.is_over(now)) {
        let lifts = store.freeze_lifts(&freeze.id).await?;
        standing.push((freeze.at(now), lifts, freeze));
    }
    let environments = store.configured_environments().await?;
    let body = html! {
        h1 { "Freezes" }
        p class="lead" { "Anybody stops deployments at once; an approver's signature lets them go on. The way back is never frozen." }
        @if standing.is_empty() {
            p class="nothing" { (chip(Tone::Good, "nothing is frozen")) }
        } @else {
            table class="list" {
                (columns(&["Freeze", "Where", "State", "Why", "Declared", "Lifted by"]))
                tbody { @for (in_force, lifts, freeze) in &standing { tr {
                    th scope="row" { (line(&freeze.id, 40)) }
                    td data-label="Where" {
                        @match &freeze.environment { Some(environment) => (name(environment)), None => strong { "everywhere" } }
                        @for (environment, by) in lifts { div class="quiet" { "but " (name(environment)) ", lifted by " (name(by)) } }
                    }
                    td data-label="State" {
                        @match in_force {
                            Some(in_force) => {
                                (chip(Tone::Asks, "in force"))
                                " " @match in_force.until { Some(until) => { "until " (moment(now, until)) }, None => "until it is lifted" }
                            }
                            None => {
                                (chip(Tone::Calm, "not now")) " "
                                @if freeze.recurrence.is_none() { "from " (moment(now, freeze.starts_at)) } @else { "recurs" }
                            }
                        }
                    }
                    td data-label="Why" { (line(&freeze.reason, 300)) }
                    td data-label="Declared" {
                        (line(&freeze.created_by, 60))
                        @if let Some(at) = freeze.created_at { " " span class="quiet" { (moment(now, at)) } }
                    }
                    td data-label="Lifted by" {
                        (offer(&freezing::command(&freeze.id), None))
                        @if freeze.environment.is_none() { @for (environment, _) in &environments {
                            (offer(&format!("{} --in {environment}", freezing::command(&freeze.id)), None))
                        } }
                     }
                } } }
            }
        }
        section {
            h2 { "Stop deployments" }
            ul class="choices" {
                li {
                    strong { "In one environment" }
                    (form(&ask.decider, "/freezes", "Freeze it", &html! {
                        label for="where" { "Environment" }
                        select id="where" name="environment" { @for (environment, _) in &environments { option { (name(environment)) } } }
                        (asks_why("one-why"))
                    }))
                    (command("interlock freeze ENVIRONMENT --reason \"…\""))
                }
                li {
                    strong { "Everywhere" }
                    (form(&ask.decider, "/freezes", "Freeze everything", &html! { input type="hidden" name="environment" value=""; (asks_why("all-why")) }))
                    (command("interlock freeze --all --reason \"…\""))
                }
            }
        }
    };
    Ok(Page { title: "Freezes".into(), section: "/freezes", follows: Follows::Not, body })
}
