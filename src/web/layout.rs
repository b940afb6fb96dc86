//! The frame of every page: head, navigation, foot, and the headers that let nothing from elsewhere in.

use super::{
    live::{Follows, edition},
    sessions::Visit,
    shown::{Tone, chip, command, line},
};
use crate::{
    error::{Code, Error},
    model::{Sha256, text::visible_line},
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use std::sync::LazyLock;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = concat!(include_str!("pages.js"), include_str!("live.js"), include_str!("passkeys.js"));
const ICON: &str = include_str!("icon.svg");

/// A name that changes with the files, so that a browser may keep them.
static EDITION: LazyLock<String> = LazyLock::new(|| Sha256::of([STYLE, SCRIPT, ICON].concat().as_bytes()).short().to_owned());

/// What every answer says to browsers. Nothing is loaded from elsewhere, nothing stands in a frame, and no address of ours is told to
/// others; `same-origin` and not `no-referrer`, with which browsers say `Origin: null` of our own forms.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The parts of the navigation: a key to press after `g`, a word, an address.
pub const SECTIONS: &[(&str, &str, &str)] = &[
    ("h", "Home", "/"),
    ("d", "Directives", "/directives"),
    ("y", "History", "/history"),
    ("r", "Runbooks", "/runbooks"),
    ("m", "Figures", "/figures"),
    ("v", "Ventures", "/ventures"),
    ("f", "Freezes", "/freezes"),
    ("i", "Incidents", "/incidents"),
    ("c", "Configuration", "/configuration"),
    ("p", "People", "/people"),
    ("a", "Audit", "/audit"),
];

/// A page that somebody with a session sees.
pub struct Page {
    /// What stands in the browser's bar.
    pub title: String,
    /// The address of the section it belongs to.
    pub section: &'static str,
    /// Whether and how it changes while somebody looks.
    pub follows: Follows,
    /// What stands between head and foot.
    pub body: Markup,
}

impl Page {
    /// Returns it in its frame.
    pub fn framed(self, visit: &Visit, project: &str, address: &str) -> Response {
        let edition = edition(&self);
        let Page { title, section, follows, body } = self;
        let top = html! {
            nav aria-label="Sections" {
                @for (key, word, address) in SECTIONS {
                    a href=(address) data-key=(key) aria-current=[(*address == section).then_some("page")] { (word) }
                }
            }
            form class="leave" method="post" action="/leave" {
                input type="hidden" name="form_token" value=(visit.form_token);
                span class="quiet" {
                    @match &visit.who { Some(who) => { "signed in as " strong { (line(who.as_str(), 60)) } }, None => "reading session" }
                }
                button type="submit" { "Sign out" }
            }
        };
        let foot = html! {
            span class="keys-hint" { " · press " kbd { "?" } " for keys" }
            @if matches!(follows, Follows::Record | Follows::Runs) { span class="live-hint" { " · this page follows by itself; " a href={ (address) (if address.contains('?') { "&" } else { "?" }) "still=1" } { "stand still" } } }
        };
        let head = html! { @if follows == Follows::Runs { noscript { meta http-equiv="refresh" content="2"; } } };
        sent(StatusCode::OK, &frame(Framed { title: &title, project, head, top, body, foot, follows, edition }))
    }
}

/// What stands in a page's frame.
#[derive(Default)]
struct Framed<'a> {
    title: &'a str,
    project: &'a str,
    /// What its head has beside what every head has.
    head: Markup,
    top: Markup,
    body: Markup,
    foot: Markup,
    follows: Follows,
    edition: String,
}

fn frame(framed: Framed<'_>) -> Markup {
    let Framed { title, project, head, top, body, foot, follows, edition } = framed;
    let live = follows.word();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (visible_line(title, 120)) " · Interlock" }
                link rel="icon" href={ "/icon.svg?" (*EDITION) } type="image/svg+xml";
                link rel="stylesheet" href={ "/style.css?" (*EDITION) };
                script src={ "/pages.js?" (*EDITION) } defer {}
                (head)
            }
            body {
                a class="skip" href="#main" { "Skip to content" }
                header {
                    a class="mark" href="/" {
                        svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
                            path d="M2 17h6l8-10h6" {} path d="M2 7h6l2.2 2.8M13.8 14.2 16 17h6" {}
                        }
                        span { "Interlock" }
                        @if !project.is_empty() { span class="project" { (line(project, 60)) } }
                    }
                    (top)
                }
                @if live.is_some() { div id="following" role="status" {} p id="state" role="status" {} }
                main id="main" tabindex="-1" data-live=[live] data-edition=[live.map(|_| edition)] { (body) }
                footer { "Interlock " (env!("CARGO_PKG_VERSION")) (foot) }
            }
        }
    }
}

/// Returns a page for somebody without a session, or one that is not shown.
pub fn refusal(status: StatusCode, title: &str, why: &str, next: Option<&str>) -> Response {
    let body = html! {
        p { (line(why, 600)) }
        @if let Some(next) = next { p { (command(next)) } }
    };
    alone(status, title, &body)
}

/// Returns a page of one thing, which needs no session.
pub fn alone(status: StatusCode, title: &str, what: &Markup) -> Response {
    let body = html! { section class="alone" { h1 { (line(title, 120)) } (what) } };
    sent(status, &frame(Framed { title, body, ..Framed::default() }))
}

/// Returns what somebody without a session is told, and how a passkey opens one.
pub fn no_session(sign_in: &Markup) -> Response {
    let what = html! {
        p { "Pages are read in a session, which a link from the terminal opens. Run this in the workspace's folder:" }
        p { (command("interlock open")) }
        (sign_in)
    };
    alone(StatusCode::UNAUTHORIZED, "Open Interlock", &what)
}

/// Returns what somebody with a link that opens nothing is told.
pub fn used_link() -> Response {
    let why = "A link opens one session, within ten minutes, and this one does not any more. Ask for a new one:";
    refusal(StatusCode::FORBIDDEN, "This link was used", why, Some("interlock open"))
}

/// Returns the page that a link opens; it leads on by itself.
pub fn entered(leads_to: &str) -> Response {
    let head = html! { meta http-equiv="refresh" content={ "0; url=" (leads_to) }; };
    let body = html! {
        section class="alone" {
            h1 { (chip(Tone::Good, "You are in")) }
            p { "This session reads: it approves nothing, and ends after an hour without use." }
            p { a href=(leads_to) { "Go on" } }
        }
    };
    sent(StatusCode::OK, &frame(Framed { title: "Welcome", head, body, ..Framed::default() }))
}

/// Returns the page that stands in the place of one that could not be made.
pub fn failed(error: &Error) -> Response {
    let status = match error.code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::InvalidArguments => StatusCode::BAD_REQUEST,
        Code::DecisionRefused | Code::DeniedByPolicy | Code::Unauthorized => StatusCode::FORBIDDEN,
        Code::WrongState => StatusCode::CONFLICT,
        Code::DatabaseUnavailable | Code::ServerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let title = match status {
        StatusCode::NOT_FOUND => "Nothing here",
        StatusCode::FORBIDDEN | StatusCode::CONFLICT => "This does not count",
        _ => "This page cannot be shown",
    };
    let said = format!("{} ({}). {}", error.message, error.code, error.hint);
    refusal(status, title, &said, None)
}

fn sent(status: StatusCode, page: &Markup) -> Response {
    with_headers((status, [(header::CACHE_CONTROL, "no-store")], Html(page.0.clone())).into_response())
}

/// Returns bytes as they are recorded, as text that no browser runs.
pub fn raw(media_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = with_headers(([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-store")], bytes).into_response());
    let closed = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, closed);
    response
}

pub(super) fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn kept(media_type: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    with_headers((headers, text).into_response())
}

/// The style sheet.
pub async fn style() -> Response {
    kept("text/css; charset=utf-8", STYLE)
}

/// What keys and live pages need; every page is whole without it.
pub async fn script() -> Response {
    kept("text/javascript; charset=utf-8", SCRIPT)
}

/// The sign in the browser's bar.
pub async fn icon() -> Response {
    kept("image/svg+xml", ICON)
}
