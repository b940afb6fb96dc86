//! What people say of a runbook's lines: shown, and sent from the page by somebody who is signed in. It decides nothing.

use crate::{
    engine::runbook_comments::{Became, COMMENT_CHARS, Commented},
    error::{Error, Result},
    model::{RunbookId, Timestamp, Who},
    store::RunbookVersion,
    web::{
        Ask, Pages,
        access::Form,
        layout,
        sessions::Visit,
        shown::{Tone, chip, line, moment, name, text},
    },
};
use axum::{
    Extension, Router,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use maud::{Markup, html};
use std::sync::Arc;

/// Returns the route that takes them.
pub fn routes(pages: Arc<Pages>) -> Router {
    Router::new().route("/runbooks/{id}/comments", post(add)).with_state(pages)
}

async fn add(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visit: Extension<Visit>,
    Extension(form): Extension<Form>,
) -> Response {
    let added = async {
        let by = pages.acting(&visit).await?;
        let number =
            |field: &str| -> Result<i64> { form.said(field)?.trim().parse().map_err(|_| Error::invalid(format!("`{field}` is a number"))) };
        let id = RunbookId::from(id.as_str());
        pages.engine()?.comment_on_runbook(&by, &id, number("version")?, number("line")?, form.said("comment")?).await
    };
    match added.await {
        // The id is one that there is: nothing else gets here.
        Ok(number) => Redirect::to(&format!("/runbooks/{id}#comment-{number}")).into_response(),
        Err(error) => {
            tracing::info!(code = %error.code, "a comment was refused: {}", error.message);
            layout::failed(&error)
        }
    }
}

/// Shows one comment.
pub fn comment(now: Timestamp, commented: &Commented) -> Markup {
    let said = &commented.comment;
    let (tone, became) = match (commented.became, commented.in_version) {
        (Became::Answered, Some(version)) => (Tone::Good, format!("answered by version {version}")),
        (Became::Unanswered, Some(version)) => (Tone::Bad, format!("version {version} still says it")),
        _ => (Tone::Asks, "open".to_owned()),
    };
    html! {
        aside class="comment" id={ "comment-" (said.number) } aria-label="Comment" {
            p {
                strong { (name(&said.author)) } " on line " (said.line) " of version " (said.version) " "
                (chip(tone, became)) " " span class="quiet" { (moment(now, said.commented_at)) }
            }
            p class="quiet" { code { (line(&said.quote, 200)) } }
            p class="lines" { (text(&said.text, COMMENT_CHARS)) }
            @if commented.side == Who::Server && commented.became != Became::Answered {
                p class="quiet" { "The server writes this line from the record: it changes with the configuration, or with what is deployed next." }
            }
        }
    }
}

/// Returns the form for a comment on the newest version, or what is needed before.
pub fn form(ask: &Ask, id: &RunbookId, newest: &RunbookVersion) -> Markup {
    let Some((who, form_token)) = ask.decider.signed_in() else {
        return html! { p class="quiet" { "Whoever is signed in with a passkey comments here. This session reads." } };
    };
    let chosen = ask.asked("line").and_then(|line| line.parse::<usize>().ok()).unwrap_or(1);
    html! {
        form id="comment" class="comment-form" method="post" action={ "/runbooks/" (id) "/comments" } {
            input type="hidden" name="form_token" value=(form_token);
            input type="hidden" name="version" value=(newest.version);
            label for="line" { "Line" }
            input id="line" name="line" type="number" min="1" max=(newest.text.lines().count()) value=(chosen) required;
            label for="comment-text" { "What should the next version do about it?" }
            textarea id="comment-text" name="comment" rows="3" maxlength=(COMMENT_CHARS) required {}
            div class="buttons" { button type="submit" { "Comment" } }
            p class="quiet" {
                "As " strong { (line(who.as_str(), 60)) } ". The agent reads it with " code { "get_runbook" } ". It publishes nothing."
            }
        }
    }
}
