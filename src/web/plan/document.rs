//! The exact plan: every field of the bytes whose hash is signed, read back from those bytes and from nothing else, and none left out.

use crate::{
    decisions::Field,
    model::{PlanId, Sha256},
    web::shown::{Tone, chip, count, counted, line},
};
use maud::{Markup, html};

/// Returns the plan's fields, with the hash of the bytes they were read from.
pub fn section(id: &PlanId, bytes: &[u8], fields: &[Field], sha256: &Sha256) -> Markup {
    let is_named_so = id.as_str().strip_prefix("plan_").is_some_and(|prefix| sha256.0.starts_with(prefix));
    html! {
        p class="hash" {
            "sha256 " code class="whole" { (sha256) } " "
            @if is_named_so {
                (chip(Tone::Good, "made from these bytes for this page, and fits the plan's name"))
            } @else { (chip(Tone::Bad, "does not fit the plan's name")) }
        }
        p class="quiet" {
            (counted(fields.len(), "field")) ", all there are, in " (count(bytes.len() as u64)) " bytes of canonical JSON (RFC 8785), "
            a href={ "/plans/" (id) "/bytes" } { "exactly as they are signed" } "; "
            code { "sha256sum" } " over them gives the same. What is no plain character is written as its number."
        }
        dl class="fields" {
            @for field in fields { dt { (line(&field.name(), usize::MAX)) } dd { (line(&field.value, usize::MAX)) } }
        }
    }
}
