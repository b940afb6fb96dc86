//! Standard input and output without a thread in between: tokio reads and writes them on threads of its own, one more to wake for each line
//! in either direction. What cannot say "not now" (a file, a terminal, an older kernel) is read and written its way.

use rustix::{
    io::{Errno, ReadWriteFlags, fcntl_dupfd_cloexec, preadv2, pwritev2},
    stdio,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Stdin, Stdout, unix::AsyncFd};

/// Where the descriptor itself stands (preadv2(2)).
const HERE: u64 = u64::MAX;

/// Standard input.
pub(super) struct Input {
    threaded: Stdin,
    /// None where it is read the other way.
    ready: Option<AsyncFd<OwnedFd>>,
}

/// Standard output.
pub(super) struct Output {
    threaded: Stdout,
    /// Something went the other way, and is not out yet: what follows may not overtake it.
    is_threaded: bool,
}

/// Returns standard input. The descriptor's own flags stay as they are: others may read from it, before or afterwards. No server that is
/// started meanwhile inherits it.
pub(super) fn input() -> Input {
    // What replaces it is the same for types that may close their descriptor unseen, and asks for `unsafe`; an `OwnedFd` does not.
    #[expect(deprecated)]
    let ready = fcntl_dupfd_cloexec(stdio::stdin(), 0).ok().and_then(|input| AsyncFd::with_interest(input, Interest::READABLE).ok());
    Input { threaded: tokio::io::stdin(), ready }
}

/// Returns standard output.
pub(super) fn output() -> Output {
    Output { threaded: tokio::io::stdout(), is_threaded: false }
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while let Some(input) = &self.ready {
            let mut ready = ready!(input.poll_read_ready(cx))?;
            match preadv2(input, &mut [IoSliceMut::new(buffer.initialize_unfilled())], HERE, ReadWriteFlags::NOWAIT) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => self.ready = None,
            }
        }
        Pin::new(&mut self.threaded).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_threaded
            && let Ok(written @ 1..) = pwritev2(stdio::stdout(), &[IoSlice::new(bytes)], HERE, ReadWriteFlags::NOWAIT)
        {
            return Poll::Ready(Ok(written));
        }
        self.is_threaded = true;
        Pin::new(&mut self.threaded).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_threaded {
            ready!(Pin::new(&mut self.threaded).poll_flush(cx))?;
            self.is_threaded = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
