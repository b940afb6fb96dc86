//! A connection that has become a stream of bytes.

use bytes::BytesMut;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection that has become a stream of bytes.
#[derive(Debug)]
pub struct Upgraded {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Upgraded {
    /// Returns the stream, and what has been read of it already.
    pub(super) fn new(stream: TcpStream, buffer: BytesMut) -> Self {
        Upgraded { stream, buffer }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What came with the head comes first.
        if !self.buffer.is_empty() {
            let count = into.remaining().min(self.buffer.len());
            into.put_slice(&self.buffer.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
