//! Passkeys on the pages: somebody makes one by a link, signs in with one, and decides with one over what the page shows. Each begins with
//! a form and ends with what the authenticator has signed; what counts is decided where every decision is, and no session counts for it.

use super::{
    Pages,
    access::{self, Form},
    decide, is_page, layout,
    sessions::Visit,
    shown::{Tone, chip, command, line},
};
use crate::{
    decisions::passkeys::{DecisionAsked, Enrolled, Invited, Passkeys},
    engine::asked::Asked,
    error::{Code, Error, Result},
    model::{ApproverName, Caller, DecisionKind, Sha256},
};
use axum::{
    Extension, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use maud::{Markup, html};
use serde_json::{Value, json};
use std::sync::Arc;

type Shared = State<Arc<Pages>>;
type Sent = Extension<Form>;

/// Returns the routes for which no session is needed: the link, or the passkey itself, stands in its place.
pub fn outside(pages: Arc<Pages>) -> Router {
    let router = Router::new()
        .route("/enrol", get(invited).post(begin_enrolment))
        .route("/enrol/answer", post(finish_enrolment))
        .route("/sign-in", post(begin_sign_in))
        .route("/sign-in/answer", post(finish_sign_in));
    router.route_layer(middleware::from_fn(access::without_session)).with_state(pages)
}

/// Returns the routes of a session.
pub fn inside(pages: Arc<Pages>) -> Router {
    let router = Router::new().route("/decide/{id}", post(begin_decision));
    router.route("/decide/{id}/answer", post(finish_decision)).with_state(pages)
}

/// Returns the host at which browsers give passkeys to these pages, as they write it.
pub fn host(port: u16) -> String {
    if port == 80 { "localhost".to_owned() } else { format!("localhost:{port}") }
}

impl Pages {
    /// Returns the passkeys of this server, for a page that is open at the host they belong to.
    fn passkeys_at(&self, headers: &HeaderMap) -> Result<&Passkeys> {
        let is_there = headers.get(header::HOST).is_some_and(|at| at.as_bytes() == host(self.port).as_bytes());
        match &self.passkeys {
            Some(passkeys) if is_there => Ok(passkeys),
            _ => Err(Error::invalid("passkeys belong to the name `localhost`, not to an address")
                .hint(format!("open http://{}", host(self.port)))),
        }
    }
}

async fn invited(State(pages): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "link").map(|(_, token)| token.into_owned());
    let token = token.unwrap_or_default();
    if pages.passkeys_at(&headers).is_err() {
        let address = format!("/enrol?link={token}");
        let address = if is_page(&address) { &address } else { "/enrol" };
        return layout::alone(StatusCode::OK, "Not at this address", &elsewhere(pages.port, address));
    }
    answered(async { Ok(invitation(&pages.passkeys_at(&headers)?.invited(&token).await?, &token)) }.await)
}

async fn begin_enrolment(State(pages): Shared, headers: HeaderMap, Extension(form): Sent) -> Response {
    let begun = async {
        let asked = pages.passkeys_at(&headers)?.begin_enrolment(form.said("link")?).await?;
        Ok(asks(&asked.handle, &asked.options))
    };
    answered(begun.await)
}

async fn finish_enrolment(State(pages): Shared, headers: HeaderMap, Extension(form): Sent) -> Response {
    let made = async { pages.passkeys_at(&headers)?.finish_enrolment(form.said("handle")?, &answer(&form)?).await };
    answered(made.await.map(|made| enrolled(&made)))
}

async fn begin_sign_in(State(pages): Shared, headers: HeaderMap) -> Response {
    let asked = pages.passkeys_at(&headers).map(Passkeys::begin_sign_in);
    answered(asked.map(|asked| asks(&asked.handle, &asked.options)))
}

async fn finish_sign_in(State(pages): Shared, headers: HeaderMap, Extension(form): Sent) -> Response {
    let signed_in = async {
        let leads_to = form.said("to").ok().filter(|to| is_page(to)).unwrap_or("/");
        let who = pages.passkeys_at(&headers)?.finish_sign_in(form.said("handle")?, &answer(&form)?).await?;
        Ok(access::admit(&pages, &headers, &who, leads_to))
    };
    answered(signed_in.await)
}

async fn begin_decision(
    State(pages): Shared,
    Path(kind): Path<String>,
    visit: Extension<Visit>,
    headers: HeaderMap,
    Extension(form): Sent,
) -> Response {
    let begun = async {
        let asked = asked(&kind, &form)?;
        let verdict = serde_json::from_value(json!(form.said("verdict")?));
        let verdict = verdict.map_err(|_| Error::invalid("`verdict` is `approve` or `reject`"))?;
        let reason = form.said("reason").ok().map(str::trim).filter(|reason| !reason.is_empty());
        let asked = DecisionAsked {
            question: decide::question(&asked, pages.engine()?, verdict).await?,
            shown_sha256: Sha256(form.said("sha256")?.to_owned()),
            reason: reason.map(str::to_owned),
            approver: signed_in(&visit)?.clone(),
        };
        let asked = pages.passkeys_at(&headers)?.begin_decision(&asked).await?;
        Ok(asks(&asked.handle, &asked.options))
    };
    answered(begun.await)
}

async fn finish_decision(
    State(pages): Shared,
    Path(kind): Path<String>,
    visit: Extension<Visit>,
    headers: HeaderMap,
    Extension(form): Sent,
) -> Response {
    let decided = async {
        let (asked, by) = (asked(&kind, &form)?, Caller::on_page(signed_in(&visit)?));
        pages.passkeys_at(&headers)?.finish_decision(&by, form.said("handle")?, &answer(&form)?).await?;
        Ok(Redirect::to(&asked.leads_to()).into_response())
    };
    answered(decided.await)
}

fn asked(kind: &str, form: &Form) -> Result<Asked> {
    Asked::read(kind, |field| form.said(field).ok())
}

/// Returns who is signed in; refused for a session that a link has opened.
pub fn signed_in(visit: &Visit) -> Result<&ApproverName> {
    let reads = || Error::new(Code::Unauthorized, "a link has opened this session: it reads").hint("sign in with your passkey, then go on");
    visit.who.as_ref().ok_or_else(reads)
}

fn answer(form: &Form) -> Result<Value> {
    serde_json::from_str(form.said("answer")?).map_err(|error| Error::invalid(format!("`answer` is no JSON: {error}")))
}

/// What the script hands to the browser.
fn asks(handle: &str, options: &Value) -> Response {
    layout::raw("application/json", json!({ "handle": handle, "options": options }).to_string().into_bytes())
}

fn answered(made: Result<Response>) -> Response {
    made.unwrap_or_else(|error| {
        tracing::info!(code = %error.code, "a passkey's form was refused: {}", error.message);
        layout::failed(&error)
    })
}

/// What a session may do by passkey on the page it looks at.
pub struct Decider {
    form_token: String,
    who: Option<ApproverName>,
    port: u16,
    is_there: bool,
}

impl Decider {
    /// Returns it for this session.
    pub fn of(pages: &Pages, visit: &Visit) -> Self {
        let is_there = visit.host == host(pages.port) && pages.passkeys.is_some();
        Decider { form_token: visit.form_token.clone(), who: visit.who.clone(), port: pages.port, is_there }
    }

    /// Returns it for a session that only reads.
    #[cfg(test)]
    pub fn reading() -> Self {
        Decider { form_token: String::new(), who: None, port: 7000, is_there: true }
    }

    /// Returns who is signed in, and what a form of that session carries.
    pub fn signed_in(&self) -> Option<(&ApproverName, &str)> {
        self.who.as_ref().map(|who| (who, self.form_token.as_str()))
    }

    /// Returns the form that has this decided over the document of this hash, or what is needed before. Without JavaScript there is none.
    pub fn form(&self, asked: &Asked, sha256: &Sha256) -> Markup {
        self.form_with(asked, sha256, verbs(asked.kind()))
    }

    /// Returns the form of a yes alone: after a no, for one.
    pub fn form_of_yes(&self, asked: &Asked, sha256: &Sha256) -> Markup {
        self.form_with(asked, sha256, (verbs(asked.kind()).0, None))
    }

    fn form_with(&self, asked: &Asked, sha256: &Sha256, (yes, no): (&str, Option<&str>)) -> Markup {
        let page = asked.page();
        let Some(who) = &self.who else {
            return if self.is_there { sign_in_form(&page, "Sign in to decide here") } else { elsewhere(self.port, &page) };
        };
        html! {
            form class="passkey" method="post" action=(asked.action()) data-passkey="sign" hidden {
                input type="hidden" name="form_token" value=(self.form_token);
                input type="hidden" name="sha256" value=(sha256.0);
                @for (field, value) in asked.fields() { input type="hidden" name=(field) value=(value); }
                @if no.is_some() {
                    label for="reason" { "Reason " span class="quiet" { "(a no needs one)" } }
                    textarea id="reason" name="reason" rows="3" maxlength="4000" {}
                }
                div class="buttons" {
                    button class="main" name="verdict" value="approve" type="submit" { (yes) }
                    @if let Some(no) = no { button name="verdict" value="reject" type="submit" { (no) } }
                }
                p role="status" class="quiet" { "The passkey of " strong { (line(who.as_str(), 60)) } " signs it." }
            }
        }
    }
}

/// Returns the words of yes and no; most of what is not wanted is simply not signed.
fn verbs(kind: DecisionKind) -> (&'static str, Option<&'static str>) {
    match kind {
        DecisionKind::Plan => ("Approve", Some("Reject")),
        DecisionKind::Configuration => ("Put in force", None),
        DecisionKind::SignOff => ("Sign off", None),
        DecisionKind::Runbook => ("Publish", Some("Return")),
        DecisionKind::Approver => ("Admit", None),
        DecisionKind::Unfreeze => ("Lift", None),
        DecisionKind::Resolve => ("Choose", None),
        DecisionKind::Restore => ("Take data back", None),
        DecisionKind::Rollback => ("Go back", None),
    }
}

/// Returns what somebody without a session may do by passkey.
pub fn sign_in(pages: &Pages, at: &str, leads_to: &str) -> Markup {
    if at != host(pages.port) {
        return elsewhere(pages.port, leads_to);
    }
    html! {
        (sign_in_form(leads_to, "Sign in with a passkey"))
        p class="quiet" { "Approvers make a passkey by a link: " code { "interlock approver link NAME" } "." }
    }
}

fn sign_in_form(leads_to: &str, words: &str) -> Markup {
    html! {
        form class="passkey" method="post" action="/sign-in" data-passkey="sign" hidden {
            input type="hidden" name="to" value=(leads_to);
            div class="buttons" { button class="main" type="submit" { (words) } }
            p role="status" class="quiet" {}
        }
    }
}

fn elsewhere(port: u16, address: &str) -> Markup {
    let url = format!("http://{}{address}", host(port));
    html! { p { "Browsers give passkeys to a name and not to an address. Yours work at " a href=(url) { (line(&url, 400)) } "." } }
}

fn invitation(invited: &Invited, token: &str) -> Response {
    let Invited { name, role, counts_at_once } = invited;
    let (who, role) = (html! { strong { (line(name.as_str(), 60)) } }, html! { strong { (line(role, 60)) } });
    let admitted = if *counts_at_once { "" } else { " --by APPROVER" };
    let at_terminal = format!("interlock approver add {name} --role {}{admitted}", invited.role);
    let what = html! {
        p { "The browser makes a passkey for " (who) ", who decides as " (role) ": with a fingerprint, a face, a PIN, or a security key." }
        p {
            @if *counts_at_once {
                (who) " is the first approver, so it counts at once."
            }
            @else { "It counts once an approver has compared its fingerprint and signed it." }
        }
        form class="passkey" method="post" action="/enrol" data-passkey="make" hidden {
            input type="hidden" name="link" value=(token);
            div class="buttons" { button class="main" type="submit" { "Make the passkey" } }
            p role="status" class="quiet" { "The link is used up when the passkey is made." }
        }
        noscript {
            p { "A passkey needs JavaScript. At the terminal a key under a passphrase does the same:" }
            p { (command(&at_terminal)) }
        }
    };
    layout::alone(StatusCode::OK, "Make your passkey", &what)
}

fn enrolled(made: &Enrolled) -> Response {
    let Enrolled { enrolment, fingerprint, waits } = made;
    let what = html! {
        p { (chip(Tone::Good, "made")) " for " strong { (line(enrolment.name.as_str(), 60)) } ", " (line(&enrolment.role, 60)) }
        p { "Its fingerprint:" }
        p { code class="fingerprint" { (fingerprint) } }
        @if *waits {
            p { (chip(Tone::Asks, "does not count yet")) " Tell an approver the fingerprint. They compare it and admit it within a day, on the page People or at the terminal:" }
            p { (command(&format!("interlock approver admit {fingerprint}"))) }
        } @else {
            p { "It counts now. " a href="/" { "Sign in with it" } "." }
        }
    };
    layout::alone(StatusCode::OK, "Your passkey is made", &what)
}
