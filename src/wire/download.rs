//! The body of an instance's answer, read as it is wanted, and the connection it comes on.

use super::{
    left::{Left, Piece},
    response,
    server::BoxError,
    upgraded::Upgraded,
    upstream::Connection,
};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    net::{TcpStream, tcp::OwnedReadHalf},
    task::JoinHandle,
};
use tokio_util::io::poll_read_buf;

/// The most that is read at once.
const READ: usize = 64 * 1024;

/// No more room than that is kept with a connection nobody uses.
const KEPT: usize = 16 * 1024;

/// A body on its way to a client.
#[derive(Debug)]
pub struct Download {
    stream: Stream,
    buffer: BytesMut,
    left: Left,
    is_kept: bool,
    /// How much is to be read at once of the next answer.
    room: usize,
}

#[derive(Debug)]
enum Stream {
    Whole(TcpStream),
    /// The rest of the request is still being sent beside it, or none any more; `true` when its client broke off.
    Beside(OwnedReadHalf, Option<JoinHandle<bool>>),
    /// Given away.
    Gone,
}

impl Download {
    /// Returns the body whose request has been sent.
    pub(super) fn new(stream: TcpStream, buffer: BytesMut, left: Left, is_kept: bool) -> Self {
        let room = response::room_after(&left);
        Download { stream: Stream::Whole(stream), buffer, left, is_kept, room }
    }

    /// Returns the body of an answer to a request that is still being sent: ended with it, unless the answer comes to its own end first.
    pub(super) fn beside(stream: OwnedReadHalf, buffer: BytesMut, left: Left, sending: JoinHandle<bool>) -> Self {
        Download { stream: Stream::Beside(stream, Some(sending)), buffer, left, is_kept: false, room: response::ROOM }
    }

    /// Returns the connection when the body has come to its end and another request can be sent on it.
    pub fn release(&mut self) -> Option<Connection> {
        if !self.is_kept || !self.is_end_stream() || !self.buffer.is_empty() {
            return None;
        }
        let Stream::Whole(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else { return None };
        let mut buffer = std::mem::take(&mut self.buffer);
        // The room of a large answer stays whole, however little of it the buffer says it has.
        if self.room > response::ROOM || buffer.capacity() > KEPT {
            buffer = BytesMut::new();
        }
        Some(Connection::of(stream, buffer, self.room))
    }

    /// Returns the connection as a stream of bytes, after an answer with which it became one.
    pub fn upgraded(mut self) -> Option<Upgraded> {
        let Stream::Whole(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else { return None };
        Some(Upgraded::new(stream, std::mem::take(&mut self.buffer)))
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = if let Left::Sized(left) = self.left { usize::try_from(left).unwrap_or(READ).min(READ) } else { KEPT };
        // One byte more than there should be: what fills all the room may not be all there is, and is asked for once more.
        self.buffer.reserve(room + 1);
        match &mut self.stream {
            Stream::Whole(stream) => poll_read_buf(Pin::new(stream), cx, &mut self.buffer),
            Stream::Beside(stream, sending) => {
                if let Some(task) = sending
                    && let Poll::Ready(ended) = Pin::new(task).poll(cx)
                {
                    *sending = None;
                    // Nobody is there any more for whom the instance answers.
                    if ended.unwrap_or(false) {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                }
                poll_read_buf(Pin::new(stream), cx, &mut self.buffer)
            }
            Stream::Gone => Poll::Ready(Ok(0)),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = &mut *self;
        loop {
            match body.left.next(&mut body.buffer)? {
                Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Piece::End(trailers) => return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
                Piece::Unknown => {}
            }
            if ready!(body.poll_more(cx))? == 0 {
                if matches!(body.left, Left::UntilClose) {
                    body.left = Left::Sized(0);
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Err("the instance broke off".into())));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.size()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Stream::Beside(_, Some(sending)) = &self.stream
            && !self.is_end_stream()
        {
            sending.abort();
        }
    }
}
