//! An answer on its way to a client: its head, and its body piece by piece as it comes.

use super::{
    outgoing::{announced, field},
    request::Refused,
    response::Reason,
    server::Body,
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, Version, header, response::Parts};
use http_body::Body as _;
use std::{
    io::{self, IoSlice, Write},
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};
use tokio::io::AsyncWrite;

/// No more of the body is taken while so many bytes wait to be written.
const ENOUGH: usize = 16 * 1024;

/// A piece up to this long is joined with what is around it: the kernel takes one piece more cheaply than a list of two.
const SHORT: usize = 1024;

/// What decides of a request how its answer is written.
#[derive(Debug)]
pub(super) struct Asked {
    is_head: bool,
    is_http_11: bool,
    takes_trailers: bool,
}

impl Asked {
    /// Returns it of a request whose client may read what is said behind a body.
    pub(super) fn of(head: &http::request::Parts, takes_trailers: bool) -> Self {
        Asked { is_head: head.method == Method::HEAD, is_http_11: head.version == Version::HTTP_11, takes_trailers }
    }
}

/// An answer on its way.
pub(super) struct Sending {
    /// What is to be written next, then `piece`, then `tail`.
    bytes: Vec<u8>,
    piece: Bytes,
    tail: &'static [u8],
    body: Body,
    end: End,
    /// How it ended, once no more of the body comes.
    ended: Option<io::Result<()>>,
    /// The trailers that the head has announced to a client that takes them.
    trailers: Vec<HeaderName>,
}

/// How the client knows where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    After(u64),
    Chunked,
    Close,
}

impl Sending {
    /// Returns an answer of which nothing has been sent, and whether another may follow it on the connection.
    pub(super) fn new(response: Response<Body>, asked: &Asked, is_kept: bool) -> (Self, bool) {
        let (head, body) = response.into_parts();
        let has_body = !(asked.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED));
        let end = match body.size_hint().exact() {
            _ if !has_body => End::After(0),
            Some(length) => End::After(length),
            None if asked.is_http_11 => End::Chunked,
            None => End::Close,
        };
        let is_kept = is_kept && end != End::Close && !closes(&head.headers);
        let mut bytes = Vec::with_capacity(1024);
        begin(&mut bytes, &head);
        for (name, value) in &head.headers {
            let is_said_below = *name == header::CONNECTION || *name == header::TRANSFER_ENCODING;
            let is_length = *name == header::CONTENT_LENGTH && (has_body || head.status == StatusCode::NO_CONTENT);
            if !is_said_below && !is_length {
                field(&mut bytes, name, value.as_bytes());
            }
        }
        match end {
            End::After(length) if has_body => _ = write!(bytes, "content-length: {length}\r\n"),
            End::Chunked => field(&mut bytes, &header::TRANSFER_ENCODING, b"chunked"),
            End::After(_) | End::Close => {}
        }
        match (is_kept, asked.is_http_11) {
            (false, _) => field(&mut bytes, &header::CONNECTION, b"close"),
            (true, false) => field(&mut bytes, &header::CONNECTION, b"keep-alive"),
            (true, true) => {}
        }
        bytes.extend_from_slice(b"\r\n");
        let trailers = if end == End::Chunked && asked.takes_trailers { announced(&head.headers) } else { Vec::new() };
        (Sending { bytes, piece: Bytes::new(), tail: b"", body, end, ended: None, trailers }, is_kept)
    }

    /// Sends what there is; ready when all of it is sent, with an error when it cannot come to its end.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>> {
        loop {
            self.fill(cx);
            if self.bytes.is_empty() && self.piece.is_empty() && self.tail.is_empty() {
                return self.ended.take().map_or(Poll::Pending, Poll::Ready);
            }
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                Pin::new(&mut *stream).poll_write(cx, &self.bytes)
            } else {
                let slices = [&self.bytes, &self.piece[..], self.tail].map(IoSlice::new);
                Pin::new(&mut *stream).poll_write_vectored(cx, &slices)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.advance(count),
            }
        }
    }

    fn advance(&mut self, count: usize) {
        let of_bytes = count.min(self.bytes.len());
        if of_bytes == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..of_bytes);
        }
        let of_piece = (count - of_bytes).min(self.piece.len());
        self.piece.advance(of_piece);
        self.tail = &self.tail[count - of_bytes - of_piece..];
    }

    fn fill(&mut self, cx: &mut Context<'_>) {
        while self.ended.is_none() && self.piece.is_empty() && self.tail.is_empty() && self.bytes.len() < ENOUGH {
            if self.end == End::After(0) {
                self.ended = Some(Ok(()));
                break;
            }
            let taken = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.finish(None),
                Poll::Ready(Some(Err(err))) => Err(io::Error::other(err)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.append(data),
                    Err(frame) => self.finish(frame.into_trailers().ok()),
                },
            };
            if taken.is_err() {
                // What was there before goes, and then the client sees that it is not the whole.
                self.ended = Some(taken);
            }
        }
    }

    fn append(&mut self, data: Bytes) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.end {
            End::After(left) => *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?,
            End::Chunked => {
                let _ = write!(self.bytes, "{:x}\r\n", data.len());
                self.tail = b"\r\n";
            }
            End::Close => {}
        }
        if data.len() > SHORT {
            self.piece = data;
        } else {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(std::mem::take(&mut self.tail));
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        match self.end {
            // Shorter than it said: the client must not take it for the whole.
            End::After(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            End::Chunked => {
                self.bytes.extend_from_slice(b"0\r\n");
                let said = trailers.iter().flatten().filter(|(name, _)| self.trailers.contains(name));
                said.for_each(|(name, value)| field(&mut self.bytes, name, value.as_bytes()));
                self.bytes.extend_from_slice(b"\r\n");
            }
            End::Close => {}
        }
        self.ended = Some(Ok(()));
        Ok(())
    }
}

/// Returns the head with which a connection becomes a tunnel.
pub(super) fn switching(head: &Parts) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    begin(&mut bytes, head);
    head.headers.iter().for_each(|(name, value)| field(&mut bytes, name, value.as_bytes()));
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Returns the answer to what is no request.
pub(super) fn refusal(why: Refused) -> Vec<u8> {
    let status = match why {
        Refused::Malformed(_) => StatusCode::BAD_REQUEST,
        Refused::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    let mut bytes = Vec::new();
    begin(&mut bytes, &response.into_parts().0);
    bytes.extend_from_slice(b"content-length: 0\r\nconnection: close\r\n\r\n");
    bytes
}

/// Writes the status, and when it was answered where nobody says so (RFC 9110, 6.6.1).
fn begin(bytes: &mut Vec<u8>, head: &Parts) {
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(head.status.as_str().as_bytes());
    bytes.push(b' ');
    let usual = || head.status.canonical_reason().unwrap_or_default().as_bytes();
    bytes.extend_from_slice(head.extensions.get::<Reason>().map_or_else(usual, |Reason(said)| said));
    bytes.extend_from_slice(b"\r\n");
    if !head.headers.contains_key(header::DATE) {
        field(bytes, &header::DATE, httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    }
}

fn closes(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
