//! What a proxy takes out of a head, and what it puts in.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request, uri::PathAndQuery};
use std::net::IpAddr;

/// Marks the proxy's own requests; its value is known to the process alone.
pub const PROBE: HeaderName = HeaderName::from_static("x-interlock-probe");

/// Says that an answer is the proxy's own, and why.
pub const ERROR: HeaderName = HeaderName::from_static("x-interlock-error");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

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
pub fn wants_websocket(request: &request::Parts) -> bool {
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

/// Makes the client's head the one for the instance.
pub fn prepare(request: &mut request::Parts, client: &HeaderValue) {
    let websocket = wants_websocket(request);
    let is_chunked = request.headers.contains_key(header::TRANSFER_ENCODING);
    strip(&mut request.headers);
    let headers = &mut request.headers;
    // The server side has asked for the body when it is read; nobody waits for another 100.
    headers.remove(header::EXPECT);
    headers.remove(PROBE);
    if let Some(authority) = request.uri.authority().filter(|_| !headers.contains_key(header::HOST)) {
        headers.extend(HeaderValue::from_str(authority.as_str()).map(|host| (header::HOST, host)));
    }
    let before: Vec<_> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let chain = match before.as_slice() {
        [] => client.clone(),
        before => {
            let chain = [before, &[client.to_str().expect("an address is readable")]].concat().join(", ");
            HeaderValue::from_str(&chain).expect("addresses and readable values make a readable value")
        }
    };
    headers.insert(FORWARDED_FOR, chain);
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if websocket {
        upgrade(headers);
    } else if is_chunked {
        // Said here because the library sends no body of unknown length with a GET unless told.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if request.uri.authority().is_some() || request.uri.path_and_query().is_none() {
        request.uri = Uri::from(request.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    request.version = http::Version::HTTP_11;
}

/// Takes out what concerns one connection only, `Connection`'s own list included.
pub fn strip(headers: &mut HeaderMap) {
    // Most heads have none of them, and a look at the few names there are costs less than a search for each.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
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

    fn prepared(headers: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().uri("http://shop.test/a?b=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        prepare(&mut parts, &address_of([10, 0, 0, 1].into()));
        parts
    }

    #[test]
    fn one_connections_headers_stay_on_it() {
        let parts = prepared(&[
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
            ("x-kept", "yes"),
        ]);
        let names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert_eq!(parts.headers["host"], "shop.test");
        assert_eq!(parts.headers["x-forwarded-for"], "1.2.3.4, 10.0.0.1");
        assert_eq!(parts.headers["x-forwarded-host"], "shop.test");
        assert_eq!(parts.headers["x-forwarded-proto"], "http");
        assert_eq!(parts.headers["x-kept"], "yes");
        assert_eq!(parts.uri, "/a?b=1");
    }

    #[test]
    fn only_a_whole_websocket_request_is_an_upgrade() {
        let asks = [("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(prepared(&asks).headers["connection"], "upgrade");
        for extra in [("content-length", "1"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")] {
            let asks: Vec<_> = asks.into_iter().chain([extra]).collect();
            assert!(!prepared(&asks).headers.contains_key("upgrade"), "{extra:?}");
        }
        assert!(!prepared(&asks[..2]).headers.contains_key("connection"));
    }
}
