//! What somebody who is signed in does at once, without a signature: hold a deployment, have it go back, stop deployments. Nothing here
//! lets anything go on: another program on this machine may be shown the session's cookie, and can stop things with it at most.

use super::{
    Pages,
    access::Form,
    layout,
    passkeys::{Decider, signed_in},
    sessions::Visit,
    shown::line,
};
use crate::{
    engine::freezing::FreezeRequest,
    error::{Code, Error, Result},
    model::{Caller, DeploymentId, decision::ApproverKey},
    store::HeldKey,
};
use axum::{
    Extension, Router,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use maud::{Markup, html};
use std::sync::Arc;

type Shared = State<Arc<Pages>>;
type Visited = Extension<Visit>;
type Sent = Extension<Form>;

/// Returns the routes.
pub fn routes(pages: Arc<Pages>) -> Router {
    let router = Router::new().route("/deployments/{id}/hold", post(hold)).route("/deployments/{id}/rollback", post(roll_back));
    router.route("/freezes", post(freeze)).with_state(pages)
}

async fn hold(State(pages): Shared, Path(id): Path<String>, visit: Visited) -> Response {
    let held = async {
        let (id, by) = (DeploymentId::from(id), pages.acting(&visit).await?);
        pages.engine()?.hold(&by, &id, true).await?;
        Ok(format!("/deployments/{id}"))
    };
    led(held.await)
}

async fn roll_back(State(pages): Shared, Path(id): Path<String>, visit: Visited, Extension(form): Sent) -> Response {
    let went = async {
        let (id, by) = (DeploymentId::from(id), pages.acting(&visit).await?);
        let (deployment, _) = pages.engine()?.roll_back(&by, &id, why(&form)?).await?;
        Ok(format!("/deployments/{}", deployment.id))
    };
    led(went.await)
}

async fn freeze(State(pages): Shared, visit: Visited, Extension(form): Sent) -> Response {
    let frozen = async {
        let environment = form.said("environment")?;
        let request = FreezeRequest {
            environment: (!environment.is_empty()).then(|| environment.into()),
            reason: why(&form)?.to_owned(),
            ..FreezeRequest::default()
        };
        pages.engine()?.freeze(&pages.acting(&visit).await?, request).await?;
        Ok("/freezes".to_owned())
    };
    led(frozen.await)
}

fn why(form: &Form) -> Result<&str> {
    match form.said("reason")?.trim() {
        "" => Err(Error::invalid("`reason` is empty: say why, people and agents read it")),
        reason => Ok(reason),
    }
}

fn led(done: Result<String>) -> Response {
    match done {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(error) => {
            tracing::info!(code = %error.code, "an action on a page was refused: {}", error.message);
            layout::failed(&error)
        }
    }
}

impl Pages {
    /// Returns who is signed in and acts; refused where none of their passkeys counts any more, and for a session that a link has opened.
    pub(super) async fn acting(&self, visit: &Visit) -> Result<Caller> {
        let who = signed_in(visit)?;
        let approver = self.engine()?.store.approver(who).await?;
        let counts = |held: &HeldKey| held.cloned_at.is_none() && matches!(held.key, ApproverKey::Passkey(_));
        match approver.is_some_and(|approver| approver.keys.iter().any(counts)) {
            true => Ok(Caller::on_page(who)),
            false => Err(Error::new(Code::Unauthorized, format!("no passkey of `{who}` counts any more")).hint("sign in with another one")),
        }
    }
}

/// Returns the form of an action, around what it asks; nothing for a session that reads.
pub fn form(decider: &Decider, action: &str, word: &str, asks: &Markup) -> Markup {
    html! {
        @if let Some((_, form_token)) = decider.signed_in() {
            form class="act" method="post" action=(action) {
                input type="hidden" name="form_token" value=(form_token);
                (asks)
                button type="submit" { (line(word, 60)) }
            }
        }
    }
}

/// Returns the field of a reason.
pub fn asks_why(id: &str) -> Markup {
    html! { label for=(id) { "Why" } input id=(id) name="reason" type="text" maxlength="500" required; }
}
