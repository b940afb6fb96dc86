//! Notifications: who is told elsewhere, and how the messages fare. A section of the page Configuration, which says who they are.

use super::{
    Ask,
    shown::{Tone, chip, columns, command, counted, line, moment},
};
use crate::{
    engine::notify::Notified,
    error::Result,
    model::{DestinationKind, Timestamp},
};
use maud::{Markup, html};

/// Makes the section.
pub async fn section(ask: &Ask) -> Result<Markup> {
    let notified = ask.engine.notified().await?;
    Ok(html! {
        section id="notifications" {
            h2 { "Notifications" }
            @if notified.is_empty() {
                p class="nothing" { "Nobody is told elsewhere. " code { "[notify.NAME]" } " in interlock.toml says who, and of what." }
            } @else {
                table class="list" {
                    (columns(&["Destination", "Told of", "Stands", "Arrived last", "Waiting", "Given up"]))
                    tbody { @for one in &notified { (row(one, ask.now)) } }
                }
                p class="quiet" { "Whether one arrives: " (command("interlock notify test NAME")) }
            }
        }
    })
}

fn row(one: &Notified, now: Timestamp) -> Markup {
    let environments: Vec<&str> = one.environments.iter().map(|environment| environment.as_str()).collect();
    html! { tr {
        th scope="row" {
            (line(&one.name, 40)) " "
            span class="quiet" { @match one.kind { Some(DestinationKind::Webhook) => "webhook", Some(DestinationKind::Slack) => "Slack", None => "" } }
        }
        td data-label="Told of" { (one.events.join(", ")) @if !environments.is_empty() { div class="quiet" { "in " (line(&environments.join(", "), 120)) } } }
        td data-label="Stands" {
            (stands(one))
            @if let Some(said) = one.said.as_ref().filter(|_| one.waiting + one.given_up > 0) { div class="quiet" { (line(said, 200)) } }
        }
        td data-label="Arrived last" { @match one.delivered_at { Some(at) => (moment(now, at)), None => "–" } }
        td data-label="Waiting" {
            (one.waiting) @if let Some(since) = one.waiting_since { " " span class="quiet" { "since " (moment(now, since)) } }
        }
        td data-label="Given up" { (one.given_up) }
    } }
}

fn stands(one: &Notified) -> Markup {
    match one {
        Notified { kind: None, .. } => chip(Tone::Calm, "no longer named"),
        Notified { is_gone: true, .. } => chip(Tone::Bad, "wants nothing any more"),
        Notified { waiting: 0, .. } => chip(Tone::Good, "told"),
        _ => chip(Tone::Asks, counted(usize::try_from(one.waiting).unwrap_or_default(), "message") + " on the way"),
    }
}
