//! The audit log: who did what, each entry chained to the one before, and the whole chain held against itself on request.

use super::{
    Ask,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, count, line, moment, short},
};
use crate::error::{Error, Result};
use maud::html;

const ON_A_PAGE: i64 = 60;

/// Makes the page; `verify` walks the whole chain.
pub async fn page(ask: Ask) -> Result<Page> {
    let (store, now) = (&ask.engine.store, ask.now);
    let (newest, head) = store.audit_head().await?;
    let upto = match ask.asked("before").map(str::parse::<i64>) {
        None => newest,
        Some(Ok(before)) => (before - 1).clamp(0, newest),
        Some(Err(_)) => return Err(Error::invalid("`before` is the number of an entry")),
    };
    let from = (upto - ON_A_PAGE).max(0);
    let mut entries = store.audit_entries(from, ON_A_PAGE as u32).await?;
    entries.retain(|entry| entry.seq <= upto);
    entries.reverse();
    let verified = match ask.asked("verify") {
        Some(_) => Some(store.audit_verify().await?),
        None => None,
    };
    let body = html! {
        h1 { "Audit" }
        p class="lead" { (count(newest as u64)) " entries, each with the hash of the one before; the head is " (short(&head)) "." }
        form method="get" class="filter" { input type="hidden" name="verify" value="1"; button type="submit" { "Verify the whole chain" } }
        @if let Some(report) = &verified {
            p class="notice" {
                @match &report.broken {
                    None => {
                        (chip(Tone::Good, "the chain holds"))
                        span {
                            (count(report.entries as u64)) " entries, and every head that a signature names, up to "
                            (short(&report.head))
                        }
                    }
                    Some(broken) => {
                        (chip(Tone::Bad, "the chain is broken"))
                        span { "entry " (broken.seq) ": " (line(&broken.why, 300)) }
                    }
                }
            }
        }
        table class="list audit" {
            (columns(&["#Entry", "When", "Who", "Did", "To", "Facts"]))
            tbody { @for entry in &entries { tr id={ "entry-" (entry.seq) } {
                td data-label="Entry" class="number" { a href={ "#entry-" (entry.seq) } { (entry.seq) } }
                td data-label="When" { (moment(now, entry.at)) }
                td data-label="Who" {
                    (line(&entry.by.principal, 60))
                    @if let Some(client) = &entry.by.client { div class="claimed" { "calls itself " (line(client, 60)) } }
                }
                td data-label="Did" { code { (line(&entry.action, 60)) } }
                td data-label="To" { (line(&entry.subject, 100)) }
                td data-label="Facts" class="facts" { details { summary { "facts" } code { (line(&entry.detail.to_string(), 600)) } } }
            } } }
        }
        @if from > 0 { p { a href={ "/audit?before=" (from + 1) } { "Older" } } }
    };
    Ok(Page { title: "Audit".into(), section: "/audit", follows: Follows::Not, body })
}
