//! The head of a client's request, read strictly: whatever two parsers could read in two ways is refused (request smuggling). Pure: bytes
//! in, requests out.

use super::{chunks::Chunks, left::Left};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts};
use std::mem::MaybeUninit;

/// The longest head.
const MAX_HEAD: usize = 64 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 100;

/// Why a head is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Ambiguous or malformed: answered 400.
    Malformed(&'static str),
    /// Too large a head: answered 431.
    TooLarge,
}

/// A request, as far as its head tells.
#[derive(Debug)]
pub struct Head {
    /// The head as it came.
    pub parts: Parts,
    /// Its body.
    pub left: Left,
    /// Whether another request may follow it.
    pub is_kept: bool,
    /// Whether its client waits until it is told that its body is wanted.
    pub awaits_continue: bool,
    /// Whether its client reads what is said behind an answer's body.
    pub takes_trailers: bool,
}

/// Reads one head after the other.
#[derive(Debug, Default)]
pub struct Heads {
    /// Bytes already looked at for line ends.
    scanned: usize,
}

impl Heads {
    /// Takes the next head out of the buffer; `None` before it is whole.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Head>, Refused> {
        // Some clients end a body with one more line end than it has.
        while buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.scanned = 0;
        }
        let Some(end) = self.end(buffer)? else {
            return if buffer.len() >= MAX_HEAD { Err(Refused::TooLarge) } else { Ok(None) };
        };
        self.scanned = 0;
        if end > MAX_HEAD { Err(Refused::TooLarge) } else { read(buffer.split_to(end).freeze()).map(Some) }
    }

    /// Returns where the head ends, if it has come to its end.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        for at in memchr::memchr3_iter(b'\n', b'\r', 0, &bytes[self.scanned..]) {
            let at = self.scanned + at;
            match bytes[at] {
                0 => return Err(Refused::Malformed("a zero byte in the head")),
                b'\r' if bytes.get(at + 1).is_some_and(|next| *next != b'\n') => return Err(Refused::Malformed("a bare carriage return")),
                b'\r' => {}
                _ if at == 0 || bytes[at - 1] != b'\r' => return Err(Refused::Malformed("a bare line feed")),
                _ if bytes[..at].ends_with(b"\r\n\r") => return Ok(Some(at + 1)),
                _ => {}
            }
        }
        // What follows a carriage return is not known before it is there.
        self.scanned = bytes.len() - usize::from(bytes.ends_with(b"\r"));
        Ok(None)
    }
}

const fn no<T>(why: &'static str) -> Result<T, Refused> {
    Err(Refused::Malformed(why))
}

fn read(bytes: Bytes) -> Result<Head, Refused> {
    let mut found = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    // A folded line is refused too: nobody sends them any more, and not everybody reads them.
    match request.parse_with_uninit_headers(&bytes, &mut found) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooLarge),
        _ => return no("a head that cannot be read"),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return no("a request line that cannot be read");
    };
    let is_http_11 = version == 1;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    let mut connection = Connection::default();
    for one in request.headers.iter() {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(one.name.as_bytes()), HeaderValue::from_maybe_shared(bytes.slice_ref(one.value)))
        else {
            return no("a header that cannot be read");
        };
        match name {
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING if headers.contains_key(&name) => {
                return no("a header twice that says where the request goes or ends");
            }
            header::CONNECTION => connection.said(&value),
            _ => {}
        }
        headers.append(name, value);
    }
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    match host {
        None if is_http_11 => return no("no host"),
        Some(host) if !is_host(host) => return no("a host that is none"),
        _ => {}
    }
    if method == "CONNECT" || !is_target(method, target, host) {
        return no("a target that is none, or another than the host");
    }
    let left = left(&headers, is_http_11)?;
    let says =
        |name, what: &str| headers.get(name).is_some_and(|value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(what.as_bytes()));
    let awaits_continue = is_http_11 && !left.is_over() && says(header::EXPECT, "100-continue");
    let takes_trailers = is_http_11 && says(header::TE, "trailers");
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method.as_bytes()), Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()))) else {
        return no("a request line that cannot be read");
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = uri;
    parts.version = if is_http_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.headers = headers;
    Ok(Head { parts, left, is_kept: (is_http_11 || connection.keeps) && !connection.closes, awaits_continue, takes_trailers })
}

/// What is said in `Connection` of whether it is kept.
#[derive(Default)]
struct Connection {
    keeps: bool,
    closes: bool,
}

impl Connection {
    fn said(&mut self, value: &HeaderValue) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.closes |= token.eq_ignore_ascii_case(b"close");
            self.keeps |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Returns where the body ends.
fn left(headers: &HeaderMap, is_http_11: bool) -> Result<Left, Refused> {
    match (headers.get(header::CONTENT_LENGTH), headers.get(header::TRANSFER_ENCODING)) {
        (Some(_), Some(_)) => no("a length and a coding"),
        (None, None) => Ok(Left::Sized(0)),
        (None, Some(coding)) if is_http_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Left::Chunked(Chunks::of_client())),
        (None, Some(_)) => no("a coding other than chunked"),
        (Some(length), None) => match length.as_bytes() {
            digits if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) => {
                no("a length that is not a number")
            }
            digits => Ok(Left::Sized(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))),
        },
    }
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%~".contains(byte))
}

fn is_target(method: &str, target: &str, host: Option<&[u8]>) -> bool {
    if target.contains('#') {
        return false;
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return true;
    }
    let Some((scheme, rest)) = target.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && is_host(authority.as_bytes())
        && host.is_none_or(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::left::Piece;
    use proptest::prelude::*;

    /// Targets and bodies.
    type Requests = Vec<(String, Vec<u8>)>;

    /// Reads requests that come `step` bytes at a time; returns them, and how much is left over.
    fn read(stream: &[u8], step: usize) -> Result<(Requests, usize), String> {
        let (mut heads, mut buffer, mut come, mut requests) = (Heads::default(), BytesMut::new(), 0, Requests::new());
        let mut body = None;
        loop {
            let before = (buffer.len(), body.is_some());
            match &mut body {
                None => {
                    if let Some(head) = heads.next(&mut buffer).map_err(|why| format!("{why:?}"))? {
                        requests.push((head.parts.uri.to_string(), Vec::new()));
                        body = Some(head.left);
                    }
                }
                Some(left) => match left.next(&mut buffer)? {
                    Piece::Data(data) => requests.last_mut().unwrap().1.extend_from_slice(&data),
                    Piece::End(_) => body = None,
                    Piece::Unknown => {}
                },
            }
            if (buffer.len(), body.is_some()) == before {
                if come == stream.len() {
                    return Ok((requests, buffer.len()));
                }
                let next = (come + step).min(stream.len());
                buffer.extend_from_slice(&stream[come..next]);
                come = next;
            }
        }
    }

    const GOOD: [&str; 8] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /x?y=1 HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 0\r\n\r\n",
    ];

    #[test]
    fn plain_requests_are_read_however_they_are_cut() {
        let all = GOOD.concat();
        for step in [1, 2, 3, 7, 64, all.len()] {
            let (requests, left) = read(all.as_bytes(), step).unwrap();
            let bodies: Vec<_> = requests.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect();
            assert_eq!((bodies.concat(), requests.len(), left), ("abcabc0123456789".to_owned(), GOOD.len(), 0), "step {step}");
            assert_eq!((requests[1].0.as_str(), requests[6].0.as_str()), ("/x?y=1", "http://a/x"));
        }
    }

    #[test]
    fn a_head_without_an_end_is_too_large() {
        let too_large = Err("TooLarge".to_owned());
        let stream = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(MAX_HEAD));
        assert_eq!(read(stream.as_bytes(), 4096), too_large);
        assert_eq!(read(format!("{stream}\r\n\r\n").as_bytes(), stream.len() + 4), too_large);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
        assert_eq!(read(many.as_bytes(), 4096), too_large);
    }

    #[test]
    fn a_connection_is_kept_as_its_client_wishes() {
        for (line, connection, expected) in [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "Connection: x, Close\r\n", false),
            ("HTTP/1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let head = Heads::default().next(&mut format!("GET / {line}\r\nHost: a\r\n{connection}\r\n").as_str().into()).unwrap().unwrap();
            assert_eq!(head.is_kept, expected, "{line} {connection}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_however_they_are_cut(tail in ".{0,60}", which in 0..GOOD.len(), at in 0..80usize, step in 1..9usize) {
            let mut stream = GOOD[which].as_bytes().to_vec();
            let at = at.min(stream.len());
            stream.splice(at..at, tail.bytes());
            let (whole, cut) = (read(&stream, stream.len()), read(&stream, step));
            prop_assert_eq!(whole.is_ok(), cut.is_ok());
            if let (Ok(whole), Ok(cut)) = (whole, cut) {
                prop_assert_eq!(whole, cut);
            }
        }
    }
}
