//! Who decides: approvers with their keys, and passkeys that wait to be admitted.

use super::{
    Ask,
    decide::offer,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, command, line, moment, name},
};
use crate::{decisions::passkeys, error::Result};
use maud::html;

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, now) = (&ask.engine, ask.now);
    let (approvers, waiting) = (engine.store.approvers().await?, passkeys::waiting(engine).await?);
    let body = html! {
        h1 { "People" }
        p class="lead" { "Those whose signature decides. Agents drive, and nothing they have signs anything." }
        @if !waiting.is_empty() {
            section {
                h2 { "Waiting to be admitted" }
                ul class="inbox" { @for enrolment in &waiting {
                    @let fingerprint = enrolment.public_key.fingerprint();
                    li {
                        div {
                            strong { (name(&enrolment.name)) ", " (line(&enrolment.role, 60)) }
                            span { (line(enrolment.public_key.kind(), 20)) " " code { (fingerprint) } }
                            span class="quiet" { "compare it with what its person reads to you" }
                        }
                        div { (offer(&format!("interlock approver admit {fingerprint}"), None)) }
                    }
                } }
            }
        }
        section {
            h2 { "Approvers" }
            @if approvers.is_empty() {
                p class="nothing" { (chip(Tone::Asks, "nobody may approve yet")) " The first is enrolled at the terminal, as below." }
            } @else {
                table class="list" {
                    (columns(&["Name", "Role", "Keys"]))
                    tbody { @for approver in &approvers { tr {
                        th scope="row" { (name(&approver.name)) }
                        td data-label="Role" { (line(&approver.role, 60)) }
                        td data-label="Keys" { ul class="plain" { @for held in &approver.keys {
                            li {
                                code { (held.key.fingerprint()) } " " (line(held.key.kind(), 20)) " "
                                @if let Some(at) = held.cloned_at { (chip(Tone::Bad, "cloned, counts no longer")) " " (moment(now, at)) }
                            }
                        } } }
                    } } }
                }
            }
        }
        section {
            h2 { "Enrol somebody" }
            ul class="choices" {
                li { strong { "With a passkey" } (command("interlock approver link NAME")) }
                li { strong { "With a key at the terminal" } (command("interlock approver add NAME --by APPROVER")) }
            }
        }
    };
    Ok(Page { title: "People".into(), section: "/people", follows: Follows::Not, body })
}
