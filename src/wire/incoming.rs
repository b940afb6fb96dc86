//! What a client sends: heads, and bodies, which are lent to whoever answers and come back with what follows them.

use super::{
    left::{Left, Piece},
    request::{Head, Heads, Refused},
    server::BoxError,
};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::tcp::OwnedReadHalf,
    runtime::Handle,
    sync::oneshot,
    time::timeout,
};
use tokio_util::io::poll_read_buf;

/// How much is read at once.
const READ: usize = 16 * 1024;

/// How long the rest of an upload is read that nobody wants (nginx: `lingering_time`).
const LINGERING: Duration = Duration::from_secs(30);

/// How long its client may be silent meanwhile (nginx: `lingering_timeout`).
const SILENT: Duration = Duration::from_secs(5);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A client's side of its connection.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) stream: OwnedReadHalf,
    pub(super) buffer: BytesMut,
    heads: Heads,
}

impl Reading {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Reading { stream, buffer: BytesMut::new(), heads: Heads::default() }
    }

    /// Returns the next head; `None` when the client has left.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Refused>> {
        loop {
            if let Some(head) = self.heads.next(&mut self.buffer)? {
                return Poll::Ready(Ok(Some(head)));
            }
            if !matches!(ready!(self.poll_more(cx)), Ok(1..)) {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Reads more into the buffer; 0 at the end.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.buffer.is_empty() {
            return self.poll_body(cx);
        }
        // Only what has come is kept: thousands of idle connections should weigh little.
        let mut scratch = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        self.buffer = BytesMut::from(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(READ);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.buffer)
    }

    /// Reads until the client leaves, or has been silent or sent what nobody wants for too long: closed before, it could lose its answer.
    pub(super) async fn linger(mut self) {
        let rest = async {
            loop {
                self.buffer = BytesMut::new();
                if !matches!(timeout(SILENT, poll_fn(|cx| self.poll_more(cx))).await, Ok(Ok(1..))) {
                    break;
                }
            }
        };
        let _ = timeout(LINGERING, rest).await;
    }
}

/// A body on its way from a client.
#[derive(Debug)]
pub struct Incoming(Option<Lent>);

/// What comes back of a body: the client's side, and what nobody has read of the body.
pub(super) type Back = (Reading, Left);

#[derive(Debug)]
struct Lent {
    reading: Reading,
    left: Left,
    back: oneshot::Sender<Back>,
    is_begun: bool,
    /// Set by whoever answers when it is too late to say that the body is wanted; none when nobody waits for that.
    is_answered: Option<Arc<AtomicBool>>,
}

impl Incoming {
    /// Returns no body.
    pub fn none() -> Self {
        Incoming(None)
    }

    /// Returns a body, and what gives the client's side back after it.
    pub(super) fn lend(reading: Reading, left: Left, is_answered: Option<Arc<AtomicBool>>) -> (Self, oneshot::Receiver<Back>) {
        let (back, returned) = oneshot::channel();
        (Incoming(Some(Lent { reading, left, back, is_begun: false, is_answered })), returned)
    }

    fn give_back(&mut self) {
        if let Some(Lent { reading, left, back, .. }) = self.0.take() {
            let _ = back.send((reading, left));
        }
    }

    fn fail(&mut self, why: impl Into<BoxError>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(lent) = &mut self.0 {
            // What follows cannot be told from the body any more.
            lent.left = Left::UntilClose;
        }
        self.give_back();
        Poll::Ready(Some(Err(why.into())))
    }
}

impl Lent {
    /// Says that the body is wanted, to a client that waits for it.
    fn ask(&mut self) -> io::Result<()> {
        let is_too_late = |is_answered: Arc<AtomicBool>| is_answered.load(Relaxed);
        if self.is_answered.take().is_none_or(is_too_late) {
            return Ok(());
        }
        match self.reading.stream.as_ref().try_write(CONTINUE) {
            // A client waits for it a second or so, and sends then.
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(count) if count < CONTINUE.len() => Err(io::ErrorKind::WriteZero.into()),
            written => written.map(drop),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(lent) = &mut self.0 else { return Poll::Ready(None) };
            lent.is_begun = true;
            match lent.left.next(&mut lent.reading.buffer) {
                Err(why) => return self.fail(why),
                Ok(Piece::Data(data)) => {
                    if lent.left.is_over() {
                        self.give_back();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Piece::End(trailers)) => {
                    self.give_back();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::Unknown) => {}
            }
            if let Err(err) = lent.ask() {
                return self.fail(err);
            }
            match ready!(lent.reading.poll_body(cx)) {
                Ok(0) => return self.fail("the client broke off"),
                Ok(_) => {}
                Err(err) => return self.fail(err),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |lent| lent.left.size())
    }
}

impl Drop for Incoming {
    /// Reads on where a client still sends what nobody wants any more: it may have read its answer already, and ask on over the same
    /// connection. A body that was never begun goes back at once: its client can still be told.
    fn drop(&mut self) {
        let Some(lent) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) if lent.is_begun => _ = runtime.spawn(discard(lent)),
            _ => Incoming(Some(lent)).give_back(),
        }
    }
}

/// Reads a body to its end, or until its client is silent, and gives the client's side back.
///
/// What is lent becomes a body in here alone: a runtime that ends drops what it has not begun, and that must not come here again.
async fn discard(lent: Lent) {
    let mut body = Incoming(Some(lent));
    let rest = async { while let Ok(Some(Ok(_))) = timeout(SILENT, body.frame()).await {} };
    let _ = timeout(LINGERING, rest).await;
    body.give_back();
}
