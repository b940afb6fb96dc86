//! An address that figures are fetched from.

use super::{HEAD, MAX_BYTES, NoData, SourceError};
use crate::{
    model::text::visible_line,
    targets::http::{Get, GetError},
};
use hyper::{Uri, body::Bytes};
use std::{fmt::Write, time::Duration};

/// `http://host:port/path?query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    /// As configured, with its `{places}`.
    path: String,
}

impl Endpoint {
    pub fn parse(url: &str) -> Result<Self, SourceError> {
        let wrong = |why: &str| SourceError::Url { url: visible_line(url, HEAD), why: why.to_owned() };
        if url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
            return Err(SourceError::Https(visible_line(url, HEAD)));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("it does not start with `http://`"))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(wrong("it holds a user name; a secret in an address would be shown"));
        }
        if path.contains('#') {
            return Err(wrong("it holds a fragment, which is never sent"));
        }
        let authority: hyper::http::uri::Authority = authority.parse().map_err(|_| wrong("it names no host"))?;
        let has_port = authority.as_str() != authority.host();
        if authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(wrong("it names no host, or no port after `:`"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // Places are filled later, always with what an address may hold.
        path.replace(['{', '}'], "_").parse::<Uri>().map_err(|err| wrong(&err.to_string()))?;
        Ok(Endpoint { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(80), path })
    }

    /// Returns the address for people.
    pub fn shown(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }

    /// Returns path and query as configured.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the body of a success. A failure's body is handed to `explain` first, which may know better what it says.
    pub async fn fetch(&self, path: &str, timeout: Duration, explain: impl Fn(&[u8]) -> Option<NoData>) -> Result<Bytes, NoData> {
        let host = format!("{}:{}", self.host, self.port);
        let get = Get { host: &host, path, agent: "interlock-metrics", timeout, max_body: MAX_BYTES };
        let name = self.host.trim_matches(['[', ']']);
        let answer = get.from((name, self.port)).await.map_err(|err| match err {
            GetError::Failed(message) => NoData::Unreachable { message },
            GetError::TimedOut(_) => NoData::TimedOut { after_ms: timeout.as_millis() as u64 },
            GetError::TooLarge { limit, .. } => NoData::TooLarge { limit: limit as u64 },
        })?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status @ 300..=399 => Err(NoData::Redirected { status, to: visible_line(&answer.location.unwrap_or_default(), HEAD) }),
            status => Err(explain(&answer.body).unwrap_or_else(|| NoData::BadStatus { status, head: head(&answer.body) })),
        }
    }
}

/// Fills the places of a path or query, each value written as an address may hold it.
pub(super) fn filled(path: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), &escaped(value)))
}

/// Returns the text as a value in a query: everything but RFC 3986's unreserved characters as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut done, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => done.push(byte.into()),
            byte => write!(done, "%{byte:02X}").expect("a string takes all"),
        }
        done
    })
}

/// Returns the beginning of a body, for people.
pub(super) fn head(body: &[u8]) -> String {
    visible_line(&String::from_utf8_lossy(body), HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_http_without_secrets() {
        let shown = |url: &str| Endpoint::parse(url).map(|endpoint| endpoint.shown());
        assert_eq!(shown("http://localhost:9090/prom?x={version}").unwrap(), "http://localhost:9090/prom?x={version}");
        assert_eq!(shown("http://[::1]").unwrap(), "http://[::1]:80/");
        assert!(matches!(shown("https://prometheus/"), Err(SourceError::Https(_))));
        assert!(matches!(shown("HTTPS://prometheus/"), Err(SourceError::Https(_))));
        for wrong in [
            "",
            "localhost:9090",
            "http://",
            "http:///x",
            "http://:80/",
            "http://a:/",
            "http://a:99999/",
            "http://ann:secret@a/",
            "http://a/#x",
            "http://a/ b",
        ] {
            assert!(matches!(shown(wrong), Err(SourceError::Url { .. })), "{wrong}");
        }
    }

    #[test]
    fn places_cannot_change_what_is_asked() {
        assert_eq!(filled("/x?v={version}&w={other}", &[("version", "1&w=2 é/..")]), "/x?v=1%26w%3D2%20%C3%A9%2F..&w={other}");
    }
}
