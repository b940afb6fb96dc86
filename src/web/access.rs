//! Who may see a page. Host, `Origin` and size were checked before (`server::guard`); here a session stands where other paths take the
//! bearer token, which opens no page. What changes something is a POST from a page of ours, with the session's form token; what somebody
//! without a session may do is a POST from a page of ours, too.

use super::{Pages, layout, passkeys, sessions::Visit};
use crate::{
    decisions::passkeys::SignedIn,
    error::{Error, Result},
    model::Sha256,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use form_urlencoded::parse;
use std::{collections::HashMap, sync::Arc};

/// The longest form.
const FORM_BYTES: usize = 64 * 1024;

/// What a form holds.
#[derive(Clone)]
pub struct Form(HashMap<String, String>);

impl Form {
    /// Returns a field; refused where the form has none of that name.
    pub fn said(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| Error::invalid(format!("the form has no `{name}`")).hint("load the page again"))
    }
}

/// Lets whoever has a session pass, and says to everybody else how to get one.
pub async fn with_session(State(pages): State<Arc<Pages>>, mut request: Request, next: Next) -> Response {
    if !is_from_here(&request) {
        return from_elsewhere(&request);
    }
    let visit = match visit(&pages, request.headers()) {
        Some(visit) => match pages.holds(&visit).await {
            Ok(holds) => holds.then_some(visit),
            // Whether it is over nobody can say now, so nothing is shown.
            Err(error) => return layout::failed(&error),
        },
        None => None,
    };
    let Some(visit) = visit else {
        let host = text(request.headers(), header::HOST).unwrap_or_default();
        let leads_to = if reads(&request) { request.uri().path_and_query().map_or("/", |address| address.as_str()) } else { "/" };
        return layout::no_session(&passkeys::sign_in(&pages, host, leads_to));
    };
    if reads(&request) {
        request.extensions_mut().insert(visit);
        return next.run(request).await;
    }
    let (mut request, form) = match sent(request).await {
        Ok(sent) => sent,
        Err(refused) => return refused,
    };
    // Digests are compared in the same time wherever the tokens differ.
    let digest = |token: &str| Sha256::of(token.as_bytes());
    if form.said("form_token").ok().map(digest) != Some(digest(&visit.form_token)) {
        return refused(&request, StatusCode::FORBIDDEN, "This form belongs to another session. Reload its page, and send it again.");
    }
    request.extensions_mut().insert(visit);
    request.extensions_mut().insert(form);
    next.run(request).await
}

/// Lets pass what somebody without a session may do: look, and send a form from a page of ours.
pub async fn without_session(request: Request, next: Next) -> Response {
    if !is_from_here(&request) {
        return from_elsewhere(&request);
    }
    if reads(&request) {
        return next.run(request).await;
    }
    match sent(request).await {
        Ok((mut request, form)) => {
            request.extensions_mut().insert(form);
            next.run(request).await
        }
        Err(refused) => refused,
    }
}

fn reads(request: &Request) -> bool {
    request.method() == Method::GET || request.method() == Method::HEAD
}

fn refused<B>(request: &axum::http::Request<B>, status: StatusCode, why: &str) -> Response {
    tracing::warn!("refused a request to the page `{}`: {why}", request.uri().path());
    layout::refusal(status, "Not from here", why, None)
}

/// Returns the form of a request that a page of ours has sent.
async fn sent(request: Request) -> Result<(Request, Form), Response> {
    if request.method() != Method::POST {
        return Err(refused(&request, StatusCode::METHOD_NOT_ALLOWED, "Pages are read with GET, and changed with the forms on them."));
    }
    // A browser says with every POST where it comes from; what does not say it is none.
    let (origin, host) = (text(request.headers(), header::ORIGIN), text(request.headers(), header::HOST));
    if origin.is_none() || origin != host.map(|host| format!("http://{host}")).as_deref() {
        return Err(refused(&request, StatusCode::FORBIDDEN, "A form counts only when it is sent from the page it stands on."));
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, FORM_BYTES).await;
    let request = Request::from_parts(parts, Body::empty());
    match bytes {
        Ok(bytes) => Ok((request, Form(parse(&bytes).into_owned().collect()))),
        Err(_) => Err(refused(&request, StatusCode::PAYLOAD_TOO_LARGE, "The form is longer than 64 KiB.")),
    }
}

/// Opens a session by a link's key, for whom a browser shows the page at once: what only fetches ahead uses no link up.
pub async fn enter(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    let headers = request.headers();
    let fetched_ahead = ["sec-purpose", "purpose", "x-moz"].iter().any(|name| headers.contains_key(*name));
    if request.method() != Method::GET || fetched_ahead {
        return layout::refusal(StatusCode::BAD_REQUEST, "Not yet", "A link is used by opening it.", None);
    }
    let query = request.uri().query().unwrap_or_default();
    let key = parse(query.as_bytes()).find(|(name, _)| name == "key").map(|(_, key)| key.into_owned());
    let (Some(key), Some(host)) = (key, text(headers, header::HOST)) else { return layout::used_link() };
    match pages.doors.enter(&key, host) {
        Some(entered) => {
            // The page goes on by itself instead of redirecting: a browser that came from elsewhere would not show a strict cookie on
            // the way it is redirected.
            with_cookie(layout::entered(&entered.leads_to), &pages, &entered.cookie)
        }
        None => layout::used_link(),
    }
}

/// Opens the session of somebody whose passkey has answered, in the place of the one this browser had, and leads to a page.
pub fn admit(pages: &Pages, headers: &HeaderMap, who: &SignedIn, leads_to: &str) -> Response {
    if let Some(before) = cookie(pages, headers) {
        pages.doors.leave(before);
    }
    let opened = pages.doors.admit(text(headers, header::HOST).unwrap_or_default(), &who.name, who.clones);
    with_cookie(Redirect::to(leads_to).into_response(), pages, &opened)
}

fn with_cookie(mut response: Response, pages: &Pages, opened: &str) -> Response {
    let cookie = format!("{}={opened}; Path=/; HttpOnly; SameSite=Strict", pages.cookie_name());
    response.headers_mut().insert(header::SET_COOKIE, cookie.parse().expect("hex in a cookie"));
    response
}

/// Ends a session.
pub async fn leave(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    if let Some(cookie) = cookie(&pages, &headers) {
        pages.doors.leave(cookie);
    }
    let mut response = Redirect::to("/").into_response();
    let gone = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", pages.cookie_name());
    response.headers_mut().insert(header::SET_COOKIE, gone.parse().expect("a cookie of ours"));
    response
}

impl Pages {
    /// Tells whether a session is still in force. That of somebody of whom a passkey was seen to be cloned since it began is ended here.
    pub(super) async fn holds(&self, visit: &Visit) -> Result<bool> {
        if let Some(who) = &visit.who
            && self.engine()?.store.clones_of(who).await? != visit.clones
        {
            tracing::warn!("a session of `{who}` is over: a passkey of theirs was cloned since it began");
            self.doors.end(&visit.session);
        }
        Ok(self.doors.holds(visit))
    }
}

/// Tells whether a request comes from a page of ours, from the address bar, or from something that is no browser. To follow a link from
/// elsewhere is fine: it only shows a page.
fn is_from_here(request: &Request) -> bool {
    let said = |name: &'static str| text(request.headers(), HeaderName::from_static(name));
    match said("sec-fetch-site") {
        None | Some("same-origin" | "none") => true,
        Some(_) => {
            request.method() == Method::GET && said("sec-fetch-mode") == Some("navigate") && said("sec-fetch-dest") == Some("document")
        }
    }
}

fn from_elsewhere(request: &Request) -> Response {
    refused(request, StatusCode::FORBIDDEN, "This request was sent by another site. Open the page by its address instead.")
}

fn visit(pages: &Pages, headers: &HeaderMap) -> Option<Visit> {
    pages.doors.visit(cookie(pages, headers)?, text(headers, header::HOST)?)
}

/// Returns the one cookie of ours.
fn cookie<'a>(pages: &Pages, headers: &'a HeaderMap) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == pages.cookie_name()).map(|(_, value)| value);
    let cookie = ours.next()?;
    ours.next().is_none().then_some(cookie)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
