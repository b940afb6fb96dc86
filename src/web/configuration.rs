//! Configuration: which revision is in force where, and what the one that waits would change.

use super::{
    Ask,
    decide::{differences, offer},
    layout::Page,
    live::Follows,
    notifications,
    shown::{Tone, chip, columns, command, line, moment, name, short, text},
};
use crate::{error::Result, store::Revision};
use maud::{Markup, html};

/// How many characters of the text a page shows; a decision over it shows all.
const MOST: usize = 48_000;

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, now) = (&ask.engine, ask.now);
    let (proposal, newest) = (engine.pending_proposal().await?, engine.store.latest_revision().await?);
    let mut environments = Vec::new();
    for (environment, revision) in engine.store.configured_environments().await? {
        let revision = match revision {
            Some(revision) => engine.store.revision(revision).await?,
            None => None,
        };
        environments.push((environment, revision));
    }
    let notifications = notifications::section(&ask).await?;
    let has_drifted = newest.as_ref().is_some_and(|newest| engine.is_drifted(&newest.sha256));
    let body = html! {
        h1 { "Configuration" }
        p class="lead" { "What is applied counts, not what stands in the file. A change that reaches an environment with approval takes a signature." }
        @if has_drifted {
            p class="notice" {
                (chip(Tone::Asks, "drift"))
                span { "interlock.toml is not what was applied last; " code { "interlock apply" } " stores it." }
            }
        }
        @if let Some(proposal) = &proposal {
            section id="waiting" {
                h2 { "Revision " (proposal.revision) " waits for a signature" }
                (offer("interlock apply", None))
                (differences(&proposal.differences))
            }
        }
        section {
            h2 { "In force" }
            @if environments.is_empty() { p class="nothing" { "Nothing yet: " (command("interlock apply")) } } @else {
                table class="list" {
                    (columns(&["Environment", "Revision", "Text", "Stored"]))
                    tbody { @for (environment, revision) in &environments { tr {
                        th scope="row" { (name(environment)) }
                        (row(revision.as_ref(), now))
                    } } }
                }
            }
        }
        (notifications)
        @if let Some(newest) = &newest {
            section {
                h2 { "Revision " (newest.revision) ", the newest" }
                pre class="document" tabindex="0" { (text(&newest.text, MOST)) }
            }
        }
    };
    Ok(Page { title: "Configuration".into(), section: "/configuration", follows: Follows::Not, body })
}

fn row(revision: Option<&Revision>, now: crate::model::Timestamp) -> Markup {
    html! {
        @match revision {
            Some(revision) => {
                td data-label="Revision" { (revision.revision) }
                td data-label="Text" { (short(&revision.sha256)) }
                td data-label="Stored" { (moment(now, revision.created_at)) " by " (line(&revision.created_by, 40)) }
            }
            None => td colspan="3" { (chip(Tone::Asks, "waits for its first signature")) }
        }
    }
}
