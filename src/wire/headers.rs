//! What a proxy takes out of a head, and what it puts in.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request, uri::PathAndQuery};
use std::net::IpAddr;

/// Marks the proxy's own requests; its value is known to the process alone.
pub const PROBE: HeaderName = HeaderName::from_static("x-interlock-probe");

/// Says that an answer is the proxy's own, and why.
pub const ERROR: HeaderName = HeaderName::from_static("x-interlock-error");

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

// A static, not a constant: a constant would be made anew at each look.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers that `Connection` cannot name away: they say where a message goes and ends, and whom it comes from.
const KEPT: [HeaderName; 5] = [header::HOST, header::CONTENT_LENGTH, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO];

/// Returns whether the request asks for a websocket; no other upgrade is passed on.
fn wants_websocket(request: &request::Parts) -> bool {
    request.method == Method::GET
        && request.version == http::Version::HTTP_11
        && is_websocket(&request.headers)
        && tokens(&request.headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && !request.headers.contains_key(header::TRANSFER_ENCODING)
        && !request.headers.contains_key(header::CONTENT_LENGTH)
}

/// Returns whether `Upgrade` names the websocket protocol and nothing else.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let mut names = tokens(headers, &header::UPGRADE);
    names.next().is_some_and(|name| name.eq_ignore_ascii_case("websocket")) && names.next().is_none()
}

/// Returns a client's address as instances are told it.
pub fn address_of(client: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&client.to_canonical().to_string()).expect("an address makes a readable value")
}

/// What an instance is asked: a client's head, without what concerned its connection alone, and what is said of the client.
#[derive(Debug)]
pub struct Ask {
    /// The head.
    pub head: request::Parts,
    /// Whether the client asks for a websocket.
    pub wants_websocket: bool,
    /// What it said in the header that marks the proxy's own requests.
    pub probe: Option<HeaderValue>,
    /// Written behind the head's own headers: to put them among these costs more than to write them.
    pub(super) forwarded: Forwarded,
}

/// What an instance is told of the client.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) addresses: HeaderValue,
    pub(super) host: Option<HeaderValue>,
}

impl Ask {
    /// Returns a header as the instance sees it.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        if name.eq_ignore_ascii_case(FORWARDED_FOR.as_str()) {
            return Some(&self.forwarded.addresses);
        }
        if name.eq_ignore_ascii_case(FORWARDED_HOST.as_str()) {
            return self.host();
        }
        self.head.headers.get(name)
    }

    /// Returns the host that is asked for.
    pub fn host(&self) -> Option<&HeaderValue> {
        self.forwarded.host.as_ref()
    }
}

/// Which headers a head has of those that are looked for: found in one pass, since most heads have hardly any.
#[derive(Default)]
struct Seen {
    one_connections: bool,
    upgrade: bool,
    expect: bool,
    probe: bool,
    host: bool,
    forwarded: bool,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Self {
        let mut seen = Seen::default();
        for name in headers.keys() {
            match name.as_str() {
                "host" => seen.host = true,
                "upgrade" => (seen.one_connections, seen.upgrade) = (true, true),
                "expect" => seen.expect = true,
                "x-interlock-probe" => seen.probe = true,
                "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => seen.forwarded = true,
                _ => seen.one_connections |= HOP_BY_HOP.contains(name),
            }
        }
        seen
    }
}

/// Makes of a client's head what the instance is asked.
pub fn prepare(mut head: request::Parts, client: &HeaderValue) -> Ask {
    let seen = Seen::of(&head.headers);
    let wants_websocket = seen.upgrade && wants_websocket(&head);
    if seen.one_connections {
        strip_named(&mut head.headers);
    }
    let headers = &mut head.headers;
    if seen.expect {
        // The server side has asked for the body when it is read; nobody waits for another 100.
        headers.remove(header::EXPECT);
    }
    let probe = if seen.probe { headers.remove(PROBE) } else { None };
    if !seen.host
        && let Some(authority) = head.uri.authority()
    {
        headers.extend(HeaderValue::from_str(authority.as_str()).map(|host| (header::HOST, host)));
    }
    let mut addresses = client.clone();
    if seen.forwarded {
        let before: Vec<_> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        if !before.is_empty() {
            let chain = [&before[..], &[client.to_str().expect("an address is readable")]].concat().join(", ");
            addresses = HeaderValue::from_str(&chain).expect("addresses and readable values make a readable value");
        }
        [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO].iter().for_each(|name| _ = headers.remove(name));
    }
    if wants_websocket {
        upgrade(headers);
    }
    let forwarded = Forwarded { addresses, host: headers.get(header::HOST).cloned() };
    if head.uri.authority().is_some() || head.uri.path_and_query().is_none() {
        head.uri = Uri::from(head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    head.version = http::Version::HTTP_11;
    Ask { head, wants_websocket, probe, forwarded }
}

/// Takes out what concerns one connection only, `Connection`'s own list included.
pub fn strip(headers: &mut HeaderMap) {
    // Most heads have none of them, and a look at the few names there are costs less than a search for each.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        strip_named(headers);
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION).filter_map(|token| token.parse().ok()).collect();
    for name in named.iter().filter(|name| !KEPT.contains(name)).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Says that the connection becomes a websocket.
pub fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Returns whether a response may go on for ever.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(headers: &[(&str, &str)]) -> Ask {
        let mut request = http::Request::builder().uri("http://shop.test/a?b=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        prepare(request.body(()).unwrap().into_parts().0, &address_of([10, 0, 0, 1].into()))
    }

    #[test]
    fn one_connections_headers_stay_on_it() {
        let ask = prepared(&[
            ("host", "shop.test"),
            ("connection", "close, x-private"),
            ("connection", "Host, X-Forwarded-For"),
            ("keep-alive", "5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "x"),
            ("expect", "100-continue"),
            ("x-interlock-probe", "guess"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "mine"),
            ("x-forwarded-proto", "https"),
            ("x-kept", "yes"),
        ]);
        let mut names: Vec<_> = ask.head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "x-kept"]);
        assert_eq!(ask.probe.as_ref().unwrap(), "guess");
        assert_eq!(ask.header("X-Forwarded-For").unwrap(), "1.2.3.4, 10.0.0.1");
        assert_eq!(ask.header("x-forwarded-host").unwrap(), "shop.test");
        assert_eq!(ask.header("x-kept").unwrap(), "yes");
        assert_eq!(ask.head.uri, "/a?b=1");
    }

    #[test]
    fn a_host_in_the_target_is_the_host() {
        let ask = prepared(&[]);
        assert_eq!((ask.host().unwrap(), ask.head.headers["host"].as_bytes()), (&HeaderValue::from_static("shop.test"), &b"shop.test"[..]));
        assert_eq!(ask.header("x-forwarded-for").unwrap(), "10.0.0.1");
    }

    #[test]
    fn only_a_whole_websocket_request_is_an_upgrade() {
        let asks = [("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(prepared(&asks).head.headers["connection"], "upgrade");
        for extra in [("content-length", "1"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")] {
            let asks: Vec<_> = asks.into_iter().chain([extra]).collect();
            assert!(!prepared(&asks).head.headers.contains_key("upgrade"), "{extra:?}");
        }
        assert!(!prepared(&asks[..2]).head.headers.contains_key("connection"));
    }
}
