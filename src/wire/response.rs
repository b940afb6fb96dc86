//! The head of an instance's answer, and where its body ends (RFC 9112, 6.3).

use super::{chunks::Chunks, left::Left};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// The longest head of an answer.
const MAX_HEAD: usize = 400 * 1024;

/// The most headers of an answer.
const MAX_HEADERS: usize = 100;

/// How much is read at once.
pub const ROOM: usize = 8 * 1024;

/// The same where answers are large: 64 KiB and a head in one go.
pub const LARGE_ROOM: usize = 72 * 1024;

/// What an instance calls its status, where that is not the usual name.
#[derive(Debug, Clone)]
pub struct Reason(pub Bytes);

/// An answer's head.
#[derive(Debug)]
pub struct Answer {
    head: Response<()>,
    left: Left,
    is_kept: bool,
}

impl Answer {
    /// Joins it with the body made of what is left, and whether the connection can be used again after it.
    pub fn with_body<B>(self, body: impl FnOnce(Left, bool) -> B) -> Response<B> {
        let Answer { head, left, is_kept } = self;
        head.map(|()| body(left, is_kept))
    }
}

/// Returns how much is to be read at once of the next answer on a connection, after one with such a body.
pub fn room_after(left: &Left) -> usize {
    match left {
        Left::Sized(length) if *length > ROOM as u64 => LARGE_ROOM,
        _ => ROOM,
    }
}

/// Reads an answer's head, with so much room at once, and leaves what follows it in the buffer. What only announces an answer (1xx) is
/// passed over.
pub fn poll_read(
    cx: &mut Context<'_>,
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    room: usize,
    method: &Method,
) -> Poll<io::Result<Answer>> {
    loop {
        if let Some(answer) = read(buffer, method).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))? {
            return Poll::Ready(Ok(answer));
        }
        if buffer.len() >= MAX_HEAD {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too long a head")));
        }
        // Whoever waits for an answer holds no room for it yet.
        ready!(stream.poll_read_ready(cx))?;
        buffer.reserve(room);
        if ready!(poll_read_buf(Pin::new(&mut *stream), cx, buffer))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Where a header's value is in its head.
#[derive(Clone, Copy, Default)]
struct Mark {
    name: (usize, usize),
    value: (usize, usize),
}

fn read(buffer: &mut BytesMut, method: &Method) -> Result<Option<Answer>, &'static str> {
    while !buffer.is_empty() {
        let mut marks = [Mark::default(); MAX_HEADERS];
        let (length, count, version, status, reason) = {
            let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut []);
            let config = httparse::ParserConfig::default();
            let length = match config.parse_response_with_uninit_headers(&mut response, buffer, &mut headers) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(_) => return Err("a head that cannot be read"),
            };
            // What httparse has found lies in the buffer.
            let place = |bytes: &[u8]| {
                let start = bytes.as_ptr() as usize - buffer.as_ptr() as usize;
                (start, start + bytes.len())
            };
            for (mark, header) in marks.iter_mut().zip(response.headers.iter()) {
                *mark = Mark { name: place(header.name.as_bytes()), value: place(header.value) };
            }
            let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("no status")?;
            let canonical = status.canonical_reason().unwrap_or_default();
            let reason = response.reason.filter(|reason| !reason.is_empty() && *reason != canonical).map(|reason| place(reason.as_bytes()));
            (length, response.headers.len(), response.version, status, reason)
        };
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            buffer.advance(length);
            continue;
        }
        let bytes = buffer.split_to(length).freeze();
        let reason = reason.map(|(start, end)| bytes.slice(start..end));
        return answer(&bytes, &marks[..count], version == Some(1), status, reason, method).map(Some);
    }
    Ok(None)
}

fn answer(
    bytes: &Bytes,
    marks: &[Mark],
    is_http_11: bool,
    status: StatusCode,
    reason: Option<Bytes>,
    method: &Method,
) -> Result<Answer, &'static str> {
    let (mut length, mut is_chunked, mut is_kept, mut closes) = (None, false, is_http_11, false);
    let mut headers = HeaderMap::with_capacity(marks.len() + 1);
    for Mark { name, value } in marks {
        let name = HeaderName::from_bytes(&bytes[name.0..name.1]).map_err(|_| "a header's name that is none")?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.0..value.1)).map_err(|_| "a header's value that is none")?;
        if name == header::CONTENT_LENGTH {
            let said = length_of(&value).ok_or("a length that is not a number")?;
            if length.replace(said).is_some_and(|before| before != said) {
                return Err("two lengths");
            }
            headers.insert(name, HeaderValue::from(said));
            continue;
        } else if name == header::TRANSFER_ENCODING {
            // Another coding would reach the client without its name.
            if is_chunked || !is_http_11 || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err("a coding other than chunked");
            }
            is_chunked = true;
        } else if name == header::CONNECTION {
            for token in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                is_kept |= token.eq_ignore_ascii_case("keep-alive");
                closes |= token.eq_ignore_ascii_case("close");
            }
        }
        headers.append(name, value);
    }
    let left = match status {
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Left::Sized(0),
        _ if *method == Method::HEAD => Left::Sized(0),
        _ if is_chunked => {
            headers.remove(header::CONTENT_LENGTH);
            Left::Chunked(Chunks::of_instance())
        }
        _ => length.map_or(Left::UntilClose, Left::Sized),
    };
    // A length beside a coding may be somebody's attempt to have the end read in two ways.
    is_kept &= !(closes || matches!(left, Left::UntilClose) || status == StatusCode::SWITCHING_PROTOCOLS || is_chunked && length.is_some());
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.version_mut() = if is_http_11 { Version::HTTP_11 } else { Version::HTTP_10 };
    *head.headers_mut() = headers;
    if let Some(reason) = reason {
        head.extensions_mut().insert(Reason(reason));
    }
    Ok(Answer { head, left, is_kept })
}

/// Reads a length; the same one said more than once, in a list, is one.
fn length_of(value: &HeaderValue) -> Option<u64> {
    let mut lengths = value.to_str().ok()?.split(',').map(|digits| {
        let digits = digits.trim();
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten()
    });
    let first = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(method: Method, head: &str) -> Result<Option<(String, bool)>, &'static str> {
        let answer = read(&mut head.into(), &method)?;
        Ok(answer.map(|answer| (format!("{:?}", answer.left).split(' ').next().unwrap_or_default().to_owned(), answer.is_kept)))
    }

    fn get(head: &str) -> Result<Option<(String, bool)>, &'static str> {
        said(Method::GET, head)
    }

    fn is(left: &str, is_kept: bool) -> Result<Option<(String, bool)>, &'static str> {
        Ok(Some((left.to_owned(), is_kept)))
    }

    #[test]
    fn where_an_answer_ends_is_what_its_head_says() {
        assert_eq!(get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), is("Sized(5)", true));
        assert_eq!(get("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 5\r\n\r\n"), is("Sized(5)", true));
        assert_eq!(get("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), is("Chunked(Chunks", true));
        assert_eq!(get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"), is("Chunked(Chunks", false));
        assert_eq!(get("HTTP/1.1 200 OK\r\n\r\n"), is("UntilClose", false));
        for status in ["101", "204", "304"] {
            let is_kept = status != "101";
            assert_eq!(get(&format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n")), is("Sized(0)", is_kept), "{status}");
        }
        assert_eq!(said(Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), is("Sized(0)", true));
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_tokens_say() {
        assert_eq!(get("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n"), is("Sized(0)", false));
        assert_eq!(get("HTTP/1.1 200 OK\r\nconnection: close, keep-alive\r\ncontent-length: 0\r\n\r\n"), is("Sized(0)", false));
        assert_eq!(get("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"), is("Sized(0)", false));
        assert_eq!(get("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n"), is("Sized(0)", true));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_answer() {
        for headers in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 6",
            "content-length: +5",
            "content-length: ",
            "content-length: 99999999999999999999",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: identity",
            "no colon",
            "bad name: x",
        ] {
            assert!(get(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n")).is_err(), "{headers}");
        }
        assert!(get("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(get("HTTP/1.1 20 OK\r\n\r\n").is_err());
        assert!(get(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1))).is_err());
    }

    #[test]
    fn announcements_are_passed_over_and_half_a_head_waits() {
        let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
        assert_eq!(get(head), is("Sized(1)", true));
        assert!((0..head.len()).all(|cut| get(&head[..cut]) == Ok(None)));
    }

    #[test]
    fn what_follows_the_head_stays_in_the_buffer() {
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 1\r\n\r\nxyz");
        let answer = read(&mut buffer, &Method::GET).unwrap().unwrap();
        assert_eq!((answer.head.headers().get_all("set-cookie").iter().count(), &buffer[..]), (2, &b"xyz"[..]));
    }
}
