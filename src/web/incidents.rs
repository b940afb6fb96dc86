//! Incidents: what went wrong with customers' traffic, newest first, and what was done by itself.

use super::{
    Ask,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, line, moment},
};
use crate::error::Result;
use maud::html;

/// How many are listed.
const MOST: u32 = 100;

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let incidents = ask.engine.store.latest_incidents(MOST).await?;
    let body = html! {
        h1 { "Incidents" }
        p class="lead" { "Opened by a trigger with its evidence. What a release did to customers is turned back before anybody is asked." }
        @if incidents.is_empty() {
            p class="nothing" { (chip(Tone::Good, "none was opened")) }
        } @else {
            table class="list" {
                (columns(&["Incident", "Rule", "What happened", "Done by itself", "Deployment", "Opened"]))
                tbody { @for incident in &incidents { tr {
                    th scope="row" { a href={ "/deployments/" (incident.deployment) "#" (incident.id) } { (incident.id) } }
                    td data-label="Rule" { (chip(Tone::Bad, html! { (line(&incident.rule, 30)) " " (line(&incident.severity, 10)) })) }
                    td data-label="What happened" { (line(&incident.summary, 400)) }
                    td data-label="Done by itself" { (line(&incident.action, 300)) }
                    td data-label="Deployment" { (incident.deployment) }
                    td data-label="Opened" { (moment(ask.now, incident.opened_at)) }
                } } }
            }
            @if incidents.len() == MOST as usize { p class="quiet" { "The newest " (MOST) "; each deployment's page has its own." } }
        }
    };
    Ok(Page { title: "Incidents".into(), section: "/incidents", follows: Follows::Not, body })
}
