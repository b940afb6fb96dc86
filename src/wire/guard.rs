//! A client's connection behind the strict reader: the HTTP library sees only heads that have passed it whole.
//!
//! What is refused is replaced by bytes no parser takes, so that the library itself answers 400 and closes, after any request before it.

use super::framing::{Framing, Refused};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long a head may take from its first byte.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// What is joined before it is written, in bytes.
const SHORT: usize = 1024;

const REFUSAL: &[u8] = b"\0\r\n\r\n";

/// Set when the connection has become a tunnel: its bytes are no requests any more.
pub type Tunnel = Arc<AtomicBool>;

/// A client's connection.
pub struct Guard<S> {
    stream: S,
    framing: Framing,
    tunnel: Tunnel,
    /// Bytes read; `given..cleared` may go on, what is behind waits for its end.
    buffer: Vec<u8>,
    given: usize,
    cleared: usize,
    is_refused: bool,
    head_patience: Duration,
    head_deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Guard<S> {
    /// Returns the guarded connection.
    pub fn new(stream: S, tunnel: Tunnel, head_patience: Duration) -> Self {
        let framing = Framing::default();
        Guard { stream, framing, tunnel, buffer: Vec::new(), given: 0, cleared: 0, is_refused: false, head_patience, head_deadline: None }
    }

    fn clear_what_passes(&mut self) {
        if self.tunnel.load(Relaxed) {
            self.cleared = self.buffer.len();
        }
        while self.cleared < self.buffer.len() && !self.is_refused {
            match self.framing.check(&self.buffer[self.cleared..]) {
                Ok(0) => break,
                Ok(passed) => self.cleared += passed,
                Err(Refused::Malformed(why)) => self.refuse(why),
                Err(Refused::TooLarge) => {
                    self.cleared = self.buffer.len();
                    self.is_refused = true;
                }
            }
        }
    }

    fn refuse(&mut self, why: &'static str) {
        tracing::debug!("refused a request: {why}");
        self.buffer.truncate(self.cleared);
        self.buffer.extend_from_slice(REFUSAL);
        self.cleared = self.buffer.len();
        self.is_refused = true;
    }

    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let count = into.remaining().min(self.cleared - self.given);
        into.put_slice(&self.buffer[self.given..self.given + count]);
        self.given += count;
        if self.given == self.buffer.len() {
            // Freed, not kept: thousands of idle connections should weigh little.
            self.buffer = Vec::new();
            (self.given, self.cleared) = (0, 0);
        } else if self.given == self.cleared {
            self.buffer.drain(..self.given);
            (self.given, self.cleared) = (0, 0);
        }
    }

    /// Reads straight to where it is wanted what passes whole, as nearly all does; keeps back what does not. Returns whether something went on.
    fn poll_through(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<bool>>
    where
        S: AsyncRead + Unpin,
    {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let come = &into.filled()[before..];
        let mut passed = 0;
        while passed < come.len() {
            match self.framing.check(&come[passed..]) {
                Ok(0) => break,
                Ok(more) => passed += more,
                // Seen again, and refused, where it is kept.
                Err(_) => break,
            }
        }
        let is_end = come.is_empty();
        self.buffer.extend_from_slice(&come[passed..]);
        into.set_filled(before + passed);
        Poll::Ready(Ok(passed > 0 || is_end))
    }

    fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.buffer.is_empty() || !self.framing.is_between_requests() {
            self.head_deadline = None;
            return Poll::Pending;
        }
        let deadline = || Box::pin(sleep_until(Instant::now() + self.head_patience));
        self.head_deadline.get_or_insert_with(deadline).as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guard = &mut *self;
        if guard.buffer.is_empty() && !guard.is_refused && !guard.tunnel.load(Relaxed) {
            guard.head_deadline = None;
            if ready!(guard.poll_through(cx, into))? {
                return Poll::Ready(Ok(()));
            }
        }
        loop {
            guard.clear_what_passes();
            if guard.given < guard.cleared {
                guard.head_deadline = None;
                guard.give(into);
                return Poll::Ready(Ok(()));
            }
            if guard.is_refused {
                return Poll::Ready(Ok(()));
            }
            if guard.tunnel.load(Relaxed) {
                return Pin::new(&mut guard.stream).poll_read(cx, into);
            }
            let mut scratch = [std::mem::MaybeUninit::uninit(); 16 * 1024];
            let mut read = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut guard.stream).poll_read(cx, &mut read) {
                Poll::Ready(result) => {
                    result?;
                    if read.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    guard.buffer.extend_from_slice(read.filled());
                }
                Poll::Pending => {
                    ready!(guard.poll_head_deadline(cx));
                    guard.refuse("too slow a head");
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // A head with a short body: the kernel takes one piece more cheaply than a list of two.
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total <= SHORT {
            let (mut joined, mut filled) = ([0; SHORT], 0);
            for slice in slices {
                joined[filled..filled + slice.len()].copy_from_slice(slice);
                filled += slice.len();
            }
            return self.poll_write(cx, &joined[..total]);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_head_goes_on_whole_and_a_slow_one_not_at_all() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut guard = Guard::new(server, Tunnel::default(), Duration::from_millis(300));
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut bytes = [0; 256];
        assert!(guard.read(&mut bytes).now_or_never().is_none(), "half a head stays behind");
        client.write_all(b"Host: a\r\n\r\n").await.unwrap();
        let count = guard.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let idle = tokio::time::timeout(Duration::from_millis(600), guard.read(&mut bytes)).await;
        assert!(idle.is_err(), "idling is not slowness");
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let count = guard.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], REFUSAL);
        assert_eq!(guard.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_tunnel_passes_anything() {
        let (mut client, server) = tokio::io::duplex(1024);
        let tunnel = Tunnel::default();
        let mut guard = Guard::new(server, tunnel.clone(), HEAD_DEADLINE);
        tunnel.store(true, Relaxed);
        client.write_all(b"\0\n\n").await.unwrap();
        let mut bytes = [0; 16];
        assert_eq!(guard.read(&mut bytes).await.unwrap(), 3);
    }
}
