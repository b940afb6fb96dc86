//! The one guard before every TCP path: Host, Origin and size; then the bearer token, in whose place pages have a session. There is no switch.

use crate::{
    error::{Code, Error},
    model::Sha256,
    operations::{REQUEST_BYTES, refusal},
};
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::{net::IpAddr, sync::Arc};

/// What a request is held against.
#[derive(Clone)]
pub struct Guard {
    /// The port we listen on.
    pub port: u16,
    /// SHA-256 of the token: comparing digests takes the same time wherever they differ.
    pub token: Arc<Sha256>,
}

/// What stands in a request's way: the status, and why.
type Refusal = (StatusCode, Error);

/// Lets a request pass that is sent to this server, from this machine, and not too long; answers 403 or 413 to every other. For every path.
pub async fn place(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    answered(guard.check_place(&request).and_then(|()| guard.check_size(&request)), request, next).await
}

/// Lets a request pass that carries the bearer token, or answers 401. For every path but the pages, where `web` asks for a session.
pub async fn token(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    answered(guard.check_token(&request), request, next).await
}

async fn answered(checked: Result<(), Refusal>, request: Request, next: Next) -> Response {
    match checked {
        Ok(()) => next.run(request).await,
        Err((status, error)) => {
            tracing::warn!(code = %error.code, "refused a request to `{}`: {}", request.uri().path(), error.message);
            let body = Json(refusal(&error, "", &Value::Null, 1, |_| false));
            let mut response = (status, body).into_response();
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

impl Guard {
    fn check_place(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        let refuse = |status, message: &str| Err((status, Error::new(Code::Unauthorized, message)));
        let is_ours =
            |host: &str| host.parse().is_ok_and(|host: Authority| is_loopback(&host) && host.port_u16().unwrap_or(80) == self.port);
        if !only(headers, header::HOST).is_some_and(is_ours) || !request.uri().authority().is_none_or(|host| is_ours(host.as_str())) {
            return refuse(StatusCode::FORBIDDEN, "the `Host` is not this server's loopback address");
        }
        if headers.contains_key(header::ORIGIN) && !only(headers, header::ORIGIN).is_some_and(is_loopback_origin) {
            return refuse(StatusCode::FORBIDDEN, "the `Origin` is not on this machine");
        }
        Ok(())
    }

    fn check_token(&self, request: &Request) -> Result<(), Refusal> {
        let refuse = |message: &str| Err((StatusCode::UNAUTHORIZED, Error::new(Code::Unauthorized, message)));
        let token = only(request.headers(), header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match token {
            None => refuse("no bearer token"),
            Some((_, token)) if Sha256::of(token.trim().as_bytes()) != *self.token => refuse("the bearer token is wrong"),
            Some(_) => Ok(()),
        }
    }

    fn check_size(&self, request: &Request) -> Result<(), Refusal> {
        match only(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
            Some(length) if length > REQUEST_BYTES as u64 => {
                let error = Error::invalid(format!("the request has {length} bytes; at most {REQUEST_BYTES} are taken"));
                Err((StatusCode::PAYLOAD_TOO_LARGE, error))
            }
            _ => Ok(()),
        }
    }
}

/// Returns a header that is there exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_loopback_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.and_then(|host| host.parse().ok()).is_some_and(|host: Authority| is_loopback(&host))
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_plain = !authority.as_str().contains('@');
    is_plain && (host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_passes() {
        let guard = Guard { port: 7000, token: Arc::new(Sha256::of(b"secret")) };
        let status = |host: &str, origin: &str, token: &str| {
            let mut request = Request::builder().uri("/mcp").header("host", host).header("authorization", token);
            if !origin.is_empty() {
                request = request.header("origin", origin);
            }
            let request = request.body(axum::body::Body::empty()).unwrap();
            guard.check_place(&request).and_then(|()| guard.check_token(&request)).map_or_else(|(status, _)| status.as_u16(), |()| 200)
        };
        for host in ["127.0.0.1:7000", "localhost:7000", "LOCALHOST:7000", "[::1]:7000", "127.8.8.8:7000"] {
            assert_eq!(status(host, "", "Bearer secret"), 200, "{host}");
        }
        for host in [
            "evil.example:7000",
            "localhost:7001",
            "localhost",
            "localhost.evil.example:7000",
            "127.0.0.1.nip.io:7000",
            "a@localhost:7000",
            "",
        ] {
            assert_eq!(status(host, "", "Bearer secret"), 403, "{host}");
        }
        for origin in ["http://localhost:3000", "https://127.0.0.1"] {
            assert_eq!(status("localhost:7000", origin, "bearer secret"), 200, "{origin}");
        }
        for origin in ["null", "https://evil.example", "http://localhost.evil.example", "http://localhost@evil.example", "file://localhost"]
        {
            assert_eq!(status("localhost:7000", origin, "Bearer secret"), 403, "{origin}");
        }
        for token in ["", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Basic secret", "secret"] {
            assert_eq!(status("localhost:7000", "", token), 401, "{token}");
        }
    }
}
