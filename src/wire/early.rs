//! A connection to an instance that may answer before it has read the request's end, and hang up: its answer is still read.
//!
//! Such a hang-up makes the next write fail, and the HTTP library would give up with the answer unread in the kernel. So a failed write
//! waits for a while instead of failing: reading goes on, and brings the answer or the connection's end by itself.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a failed write waits.
const HELD: Duration = Duration::from_secs(5);

/// A connection whose failed writes leave time to read.
pub struct Early<S> {
    stream: S,
    held: Option<(io::ErrorKind, Pin<Box<Sleep>>)>,
}

impl<S> Early<S> {
    /// Returns the connection.
    pub fn new(stream: S) -> Self {
        Early { stream, held: None }
    }

    fn hold<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(err)) if matches!(err.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.held = Some((err.kind(), Box::pin(sleep(HELD))));
                self.poll_held(cx).map(Err)
            }
            other => other,
        }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some((kind, patience)) = &mut self.held else { return Poll::Pending };
        ready!(patience.as_mut().poll(cx));
        Poll::Ready((*kind).into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Early<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Early<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.is_some() {
            return self.poll_held(cx).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.hold(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // Most requests are a head and nothing else, and the kernel takes one piece more cheaply than a list of one.
        if let [one] = bytes {
            return self.poll_write(cx, one);
        }
        if self.held.is_some() {
            return self.poll_held(cx).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.hold(cx, written)
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
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    /// Answers after the first byte, and hangs up with the rest unread.
    async fn hasty() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            stream.read_u8().await.unwrap();
            stream.write_all(b"413").await.unwrap();
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[0; 4096]).await.unwrap();
        stream
    }

    async fn write_on(mut stream: impl AsyncWrite + Unpin) -> io::Error {
        loop {
            if let Err(err) = stream.write_all(&[0; 4096]).await {
                return err;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_before_the_requests_end_is_read_before_the_write_fails() {
        // Without it the write fails first, while the answer waits to be read.
        write_on(hasty().await).await;

        let (mut read, write) = tokio::io::split(Early::new(hasty().await));
        let mut answer = [0; 3];
        tokio::select! {
            biased;
            err = write_on(write) => panic!("the write failed before the answer was read: {err}"),
            read = read.read_exact(&mut answer) => assert_eq!((read.unwrap(), &answer), (3, b"413")),
        }
    }
}
