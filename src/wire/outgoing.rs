//! A request on its way to an instance: its head, and its body piece by piece as the client sends it.

use super::{
    headers::{Ask, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, PROBE},
    upload::Upload,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use http_body::Body;
use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// No more of the body is taken while so many bytes wait to be written.
const ENOUGH: usize = 16 * 1024;

/// A request on its way.
#[derive(Debug)]
pub struct Outgoing {
    /// What is to be written next; `written` of it has been.
    bytes: Vec<u8>,
    written: usize,
    upload: Upload,
    end: End,
    has_ended: bool,
    /// The trailers that the head has announced.
    trailers: Vec<HeaderName>,
    start: Start,
}

/// How the instance knows where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    After(u64),
    Chunked,
}

/// What of the request can be taken back.
#[derive(Debug)]
enum Start {
    /// All of it: nothing has been written, and this much of the body has been taken.
    Whole(Option<Bytes>),
    Gone,
}

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub enum Halted {
    /// Its client broke off, or sent what cannot be read.
    Client,
    /// The connection to the instance failed.
    Instance(io::Error),
}

impl Outgoing {
    /// Returns a request of which nothing has been sent.
    pub fn new(ask: &Ask, upload: Upload) -> Self {
        let end = match upload.size_hint().exact() {
            Some(length) => End::After(length),
            None => End::Chunked,
        };
        let trailers = if end == End::Chunked { announced(&ask.head.headers) } else { Vec::new() };
        let bytes = written(ask, end);
        Outgoing { bytes, written: 0, upload, end, has_ended: false, trailers, start: Start::Whole(None) }
    }

    /// Sends what there is; ready when all of it is sent.
    pub fn poll_send<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), Halted>> {
        loop {
            self.fill(cx)?;
            if self.written == self.bytes.len() {
                return if self.has_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.written..])) {
                Ok(0) => return Poll::Ready(Err(Halted::Instance(io::ErrorKind::WriteZero.into()))),
                Ok(count) => self.written += count,
                Err(err) => return Poll::Ready(Err(Halted::Instance(err))),
            }
            self.start = Start::Gone;
            if self.written == self.bytes.len() {
                self.bytes.clear();
                self.written = 0;
            }
        }
    }

    /// Returns the body, whole, when nothing of the request has been sent.
    pub fn take_back(&mut self) -> Option<Upload> {
        let Start::Whole(first) = std::mem::replace(&mut self.start, Start::Gone) else { return None };
        let mut upload = self.upload.take();
        upload.put_back(first);
        Some(upload)
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Halted> {
        // What was written goes, or a slow reader would have all of an upload kept.
        if self.written >= ENOUGH {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        while !self.has_ended && self.bytes.len() - self.written < ENOUGH {
            if self.end == End::After(0) {
                self.has_ended = true;
                break;
            }
            // One piece goes with the head and can be put back; what follows waits until the first is written.
            if matches!(self.start, Start::Whole(Some(_))) {
                break;
            }
            match Pin::new(&mut self.upload).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.finish(None)?,
                Poll::Ready(Some(Err(_))) => return Err(Halted::Client),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.append(data)?,
                    Err(frame) => self.finish(frame.into_trailers().ok())?,
                },
            }
        }
        Ok(())
    }

    fn append(&mut self, data: Bytes) -> Result<(), Halted> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.end {
            End::After(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Halted::Client)?;
                self.bytes.extend_from_slice(&data);
            }
            End::Chunked => {
                let _ = write!(self.bytes, "{:x}\r\n", data.len());
                self.bytes.extend_from_slice(&data);
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
        if let Start::Whole(first) = &mut self.start {
            *first = Some(data);
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Halted> {
        if self.end != End::Chunked {
            // Shorter than it said: the instance must not take it for the whole.
            return Err(Halted::Client);
        }
        self.bytes.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            trailers
                .iter()
                .filter(|(name, _)| self.trailers.contains(name))
                .for_each(|(name, value)| field(&mut self.bytes, name, value.as_bytes()));
            // Trailers cannot be put back.
            self.start = Start::Gone;
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.has_ended = true;
        Ok(())
    }
}

/// Returns the head as it is written.
fn written(ask: &Ask, end: End) -> Vec<u8> {
    let Ask { head, forwarded, .. } = ask;
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(head.method.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    let mut has_length = false;
    for (name, value) in &head.headers {
        // How the body ends is said below.
        if *name == header::TRANSFER_ENCODING || (*name == header::CONTENT_LENGTH && end == End::Chunked) {
            continue;
        }
        has_length |= *name == header::CONTENT_LENGTH;
        field(&mut bytes, name, value.as_bytes());
    }
    field(&mut bytes, &FORWARDED_FOR, forwarded.addresses.as_bytes());
    if let Some(host) = &forwarded.host {
        field(&mut bytes, &FORWARDED_HOST, host.as_bytes());
    }
    field(&mut bytes, &FORWARDED_PROTO, b"http");
    match end {
        End::Chunked => field(&mut bytes, &header::TRANSFER_ENCODING, b"chunked"),
        End::After(length) if length > 0 && !has_length => field(&mut bytes, &header::CONTENT_LENGTH, length.to_string().as_bytes()),
        End::After(_) => {}
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

pub(super) fn field(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

/// Returns the trailers that a head says will come. Where a message goes and ends, whom it comes from and how it is read is never said at
/// its end.
pub(super) fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let never = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        FORWARDED_FOR,
        FORWARDED_HOST,
        FORWARDED_PROTO,
        PROBE,
    ];
    let values = headers.get_all(header::TRAILER).into_iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    names.filter(|name| !never.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::prepare;
    use http::{HeaderValue, Request};
    use http_body::Frame;
    use std::future::poll_fn;

    const FORWARDED: &str = "x-forwarded-for: c\r\nx-forwarded-host: a\r\nx-forwarded-proto: http\r\n";

    async fn sent(headers: &[(&'static str, &'static str)], pieces: Vec<Frame<Bytes>>) -> Result<String, Halted> {
        let mut request = Request::put("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let (client, upload) = Upload::fed(head.headers.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap()));
        let feeding = tokio::spawn(async move {
            for piece in pieces {
                let _ = client.send(piece).await;
            }
            client.end().await;
        });
        let mut bytes = Vec::new();
        let mut request = Outgoing::new(&prepare(head, &HeaderValue::from_static("c")), upload);
        poll_fn(|cx| request.poll_send(cx, &mut bytes)).await?;
        feeding.await.unwrap();
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[tokio::test]
    async fn a_body_goes_on_as_its_client_framed_it() {
        let pieces = || vec![Frame::data("ab".into()), Frame::data("".into()), Frame::data("cde".into())];
        let sized = sent(&[("host", "a"), ("content-length", "5")], pieces()).await.unwrap();
        assert_eq!(sized, format!("PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n{FORWARDED}\r\nabcde"));
        let chunked = sent(&[("transfer-encoding", "chunked"), ("host", "a")], pieces()).await.unwrap();
        assert_eq!(
            chunked,
            format!("PUT /x HTTP/1.1\r\nhost: a\r\n{FORWARDED}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        );
        for wrong in ["4", "6"] {
            let sent = sent(&[("content-length", wrong)], pieces()).await;
            assert!(matches!(sent, Err(Halted::Client)), "{wrong}: {sent:?}");
        }
    }

    #[tokio::test]
    async fn only_trailers_that_were_announced_go_on() {
        let trailers = ["x-sum", "x-other", "content-length"].map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")));
        let pieces = vec![Frame::data("a".into()), Frame::trailers(trailers.into_iter().collect())];
        let sent = sent(&[("trailer", "X-Sum, content-length")], pieces).await.unwrap();
        assert!(sent.ends_with("\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n"), "{sent}");
    }
}
