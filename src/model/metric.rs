//! A figure of a service that comes from outside the router, where it is asked for, and what it must be. Pure.

use super::{comparator::Comparator, service::SecretRef, text::visible_line};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv6Addr};

/// A figure that a new set is judged by, beside what the router counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricSpec {
    /// What people call it; unique in its service.
    pub name: String,
    /// Where it is asked for.
    pub source: MetricSource,
    /// What it must be; a figure that is not turns the deployment back.
    pub threshold: Comparator,
    /// Time between two readings while the new set is watched.
    pub interval_ms: u64,
    /// Patience with one reading.
    pub timeout_ms: u64,
}

/// Where a figure is asked for. To add a source: a variant here, one file in `targets/metrics/`, one match arm there.
///
/// An address, and a header's value, may be a secret reference: it is resolved for each reading, and only the reference is ever shown.
/// `{version}`, `{service}`, `{environment}` and `{deployment}` are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricSource {
    /// An instant query to Prometheus, or whatever speaks its HTTP API.
    Prometheus {
        /// `http://host:port`, a path in front of `/api` included.
        address: String,
        /// PromQL that gives one number.
        query: String,
        /// Sent with the request.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// A number in a JSON document.
    Json {
        /// `http://host:port/path`.
        address: String,
        /// Where it stands: RFC 6901; empty for the whole document.
        pointer: String,
        /// Sent with the request.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// What a command prints: argv, no shell, run with the service's variables.
    Command {
        /// The argv.
        run: Vec<String>,
        /// Where in the JSON it prints; without one it prints the number alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pointer: Option<String>,
    },
}

impl MetricSpec {
    /// Says what is held to, on one line: ``checkout errors must be <= 0.5: `sum(…)` on http://127.0.0.1:9090``.
    pub fn summary(&self) -> String {
        format!("{} must be {}: {}", visible_line(&self.name, 60), self.threshold, self.source.summary())
    }

    /// Returns the references to secrets it needs, each with a name for people.
    pub fn secrets(&self) -> impl Iterator<Item = (String, SecretRef)> {
        let (address, headers) = match &self.source {
            MetricSource::Prometheus { address, headers, .. } | MetricSource::Json { address, headers, .. } => {
                (Some(address), Some(headers))
            }
            MetricSource::Command { .. } => (None, None),
        };
        let address = address.map(|address| ("address".to_owned(), address));
        let headers = headers.into_iter().flatten().map(|(name, value)| (name.clone(), value));
        let named = |what: String| format!("{} ({what})", self.name);
        address.into_iter().chain(headers).filter_map(move |(what, value)| Some((named(what), SecretRef::parse(value)?)))
    }
}

impl MetricSource {
    /// Says what is asked, on one line.
    pub fn summary(&self) -> String {
        match self {
            MetricSource::Prometheus { address, query, .. } => format!("`{}` on {}", visible_line(query, 300), visible_line(address, 200)),
            MetricSource::Json { address, pointer, .. } => format!("`{}` of {}", visible_line(pointer, 200), visible_line(address, 200)),
            MetricSource::Command { run, pointer } => {
                let printed = format!("what `{}` prints", visible_line(&run.join(" "), 300));
                pointer.as_ref().map_or(printed.clone(), |pointer| format!("`{}` of {printed}", visible_line(pointer, 200)))
            }
        }
    }
}

/// The parts of `http://host:port/path?query`, or of `https://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// A name or an address, one of IPv6 in brackets.
    pub host: String,
    /// 80 unless it is written; 443 with TLS.
    pub port: u16,
    /// Path and query as written, with their `{places}`.
    pub path: String,
    /// Whether it is asked over TLS.
    pub is_tls: bool,
}

/// Why a text is no address that figures are fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressFault(pub &'static str);

impl HttpAddress {
    /// Reads an address without a user's name and without a fragment.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(AddressFault("it starts with neither `http://` nor `https://`")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(AddressFault("it holds a user name; a secret in an address would be shown"));
        }
        if path.contains('#') {
            return Err(AddressFault("it holds a fragment, which is never sent"));
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AddressFault("its path holds what must be written as `%XX`"));
        }
        let (host, port) = match authority.rfind(':').filter(|at| !authority[*at..].contains(']')) {
            Some(at) => (&authority[..at], authority[at + 1..].parse().ok().filter(|port| *port != 0)),
            None => (authority, Some(if is_tls { 443 } else { 80 })),
        };
        let of_brackets = |host: &str| host.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
        let is_host = match of_brackets(host) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
        };
        let (true, Some(port)) = (is_host, port) else {
            return Err(AddressFault("it names no host, or no port after `:`"));
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(HttpAddress { host: host.to_owned(), port, path, is_tls })
    }

    /// Returns host and port, as the `Host` header has them.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Returns the host as a name or an address alone.
    pub fn name(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// Returns how it is asked: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// Tells whether a text is a JSON pointer (RFC 6901): it is empty or starts with `/`, and `~` stands only in `~0` and `~1`.
pub fn is_pointer(text: &str) -> bool {
    let is_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && is_escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_tls_or_without_and_holds_no_secrets() {
        let parts = |text: &str| HttpAddress::parse(text).map(|address| (address.host, address.port, address.path));
        let expected = ("localhost".into(), 9090, "/prom?x={version}".into());
        assert_eq!(parts("http://localhost:9090/prom?x={version}"), Ok(expected));
        assert_eq!(parts("http://[::1]"), Ok(("[::1]".into(), 80, "/".into())));
        assert_eq!(parts("http://[::1]:81?x"), Ok(("[::1]".into(), 81, "/?x".into())));
        assert_eq!(parts("https://p/"), Ok(("p".into(), 443, "/".into())));
        for wrong in ["", "localhost:9090", "http://", "http:///x", "http://:80/", "http://a:/", "http://a:0/", "http://a:99999/"] {
            assert!(matches!(parts(wrong), Err(AddressFault(_))), "{wrong}");
        }
        for wrong in ["http://ann:secret@a/", "http://a/#x", "http://a/ b", "http://[x]/", "http://[::1/", "http://a b/"] {
            assert!(matches!(parts(wrong), Err(AddressFault(_))), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_is_said_and_a_secret_is_only_named() {
        let headers = [("authorization".to_owned(), "env:PROMETHEUS".to_owned()), ("x-scope".to_owned(), "shop".to_owned())].into();
        let source = MetricSource::Prometheus { address: "file:/run/address".into(), query: "up".into(), headers };
        let threshold = "<= 0.5".parse().unwrap();
        let metric = MetricSpec { name: "checkout errors".into(), source, threshold, interval_ms: 1, timeout_ms: 1 };
        assert_eq!(metric.summary(), "checkout errors must be <= 0.5: `up` on file:/run/address");
        let names: Vec<String> = metric.secrets().map(|(name, _)| name).collect();
        assert_eq!(names, ["checkout errors (address)", "checkout errors (authorization)"]);
        let source = MetricSource::Command { run: vec!["./measure".into(), "{version}".into()], pointer: Some("/a".into()) };
        assert_eq!(source.summary(), "`/a` of what `./measure {version}` prints");
    }
}
