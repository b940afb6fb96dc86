//! Who may see a page. Host, `Origin` and size were checked before (`server::guard`); here a session stands where other paths take the
//! bearer token, which opens no page. What changes something is a POST from a page of ours, with the session's form token.

use super::{Pages, layout, sessions::Visit};
use crate::model::Sha256;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use form_urlencoded::parse;
use std::{collections::BTreeMap, sync::Arc};

/// The longest form.
const FORM_BYTES: usize = 64 * 1024;

/// Lets whoever has a session pass, and says to everybody else how to get one.
pub async fn with_session(State(pages): State<Arc<Pages>>, request: Request, next: Next) -> Response {
    let address = request.uri().path().to_owned();
    let refused = |status: StatusCode, why: &str| {
        tracing::warn!("refused a request to the page `{address}`: {why}");
        layout::refusal(status, "Not from here", why, None)
    };
    if !is_from_here(&request) {
        return refused(StatusCode::FORBIDDEN, "This request was sent by another site. Open the page by its address instead.");
    }
    let Some(visit) = visit(&pages, request.headers()) else {
        return layout::no_session();
    };
    if request.method() == Method::GET || request.method() == Method::HEAD {
        let mut request = request;
        request.extensions_mut().insert(visit);
        return next.run(request).await;
    }
    if request.method() != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "Pages are read with GET, and changed with the forms on them.");
    }
    // A browser says with every POST where it comes from; what does not say it is none.
    let (origin, host) = (text(request.headers(), header::ORIGIN), text(request.headers(), header::HOST));
    if origin.is_none() || origin != host.map(|host| format!("http://{host}")).as_deref() {
        return refused(StatusCode::FORBIDDEN, "A form counts only when it is sent from the page it stands on.");
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, FORM_BYTES).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "The form is longer than 64 KiB.");
    };
    let form: BTreeMap<String, String> = parse(&body).into_owned().collect();
    // Digests are compared in the same time wherever the tokens differ.
    let digest = |token: &String| Sha256::of(token.as_bytes());
    if form.get("form_token").map(digest) != Some(digest(&visit.form_token)) {
        return refused(StatusCode::FORBIDDEN, "This form belongs to another session. Reload the page it stands on, and send it again.");
    }
    parts.extensions.insert(visit);
    next.run(Request::from_parts(parts, Body::from(body))).await
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
            let mut response = layout::entered(&entered.leads_to);
            let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", pages.cookie_name(), entered.cookie);
            response.headers_mut().insert(header::SET_COOKIE, cookie.parse().expect("hex in a cookie"));
            response
        }
        None => layout::used_link(),
    }
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

/// Tells whether a request comes from a page of ours, from the address bar, or from something that is no browser. To follow a link from
/// elsewhere is fine: it only shows a page, and to whom has a session.
fn is_from_here(request: &Request) -> bool {
    let said = |name: &'static str| text(request.headers(), HeaderName::from_static(name));
    match said("sec-fetch-site") {
        None | Some("same-origin" | "none") => true,
        Some(_) => {
            request.method() == Method::GET && said("sec-fetch-mode") == Some("navigate") && said("sec-fetch-dest") == Some("document")
        }
    }
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
