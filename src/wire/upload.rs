//! A request's body on its way to an instance, and what is known of its progress.

use super::{incoming::Incoming, server::BoxError};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// A body, streamed and never kept.
#[derive(Debug)]
pub struct Upload {
    source: Source,
    /// A piece that was taken for an instance that never saw it.
    put_back: Option<Bytes>,
    /// None without a body.
    progress: Option<Progress>,
}

#[derive(Debug)]
enum Source {
    Nothing,
    Client(Incoming),
    #[cfg(test)]
    Fed(fed::Fed),
}

/// How far an upload got.
#[derive(Debug, Clone)]
pub struct Progress {
    began: Instant,
    moved_millis: Option<Arc<AtomicU64>>,
}

impl Progress {
    /// Returns the progress of a request that begins now, and of its body if it has one.
    pub fn begin(has_body: bool) -> Self {
        Progress { began: Instant::now(), moved_millis: has_body.then(Arc::default) }
    }

    /// Returns how long nothing has moved.
    pub fn quiet_for(&self) -> Duration {
        let moved = self.moved_millis.as_ref().map_or(0, |millis| millis.load(Relaxed));
        self.began.elapsed().saturating_sub(Duration::from_millis(moved))
    }

    fn moved(&self) {
        if let Some(moved) = &self.moved_millis {
            moved.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
    }
}

impl Upload {
    /// Returns the client's body.
    pub fn of(body: Incoming, progress: Progress) -> Self {
        Upload { source: Source::Client(body), put_back: None, progress: Some(progress) }
    }

    /// Returns no body.
    pub fn none() -> Self {
        Upload { source: Source::Nothing, put_back: None, progress: None }
    }

    /// Takes it out, and leaves none.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Upload::none())
    }

    /// Puts back the first piece.
    pub(super) fn put_back(&mut self, piece: Option<Bytes>) {
        self.put_back = piece;
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(piece) = self.put_back.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let polled: Option<Result<Frame<Bytes>, BoxError>> = match &mut self.source {
            Source::Nothing => None,
            Source::Client(body) => ready!(Pin::new(body).poll_frame(cx)),
            #[cfg(test)]
            Source::Fed(fed) => ready!(fed.poll_frame(cx)),
        };
        if !matches!(polled, Some(Ok(_))) {
            self.source = Source::Nothing;
        }
        if let Some(progress) = &self.progress {
            progress.moved();
        }
        Poll::Ready(polled)
    }

    fn size_hint(&self) -> SizeHint {
        let put_back = self.put_back.as_ref().map_or(0, Bytes::len) as u64;
        let hint = match &self.source {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Client(body) => body.size_hint(),
            #[cfg(test)]
            Source::Fed(fed) => fed.size_hint(),
        };
        hint.exact().map_or_else(SizeHint::default, |length| SizeHint::with_exact(length + put_back))
    }
}

/// Bodies for tests.
#[cfg(test)]
pub(super) mod fed {
    use super::*;
    use tokio::sync::mpsc::{Receiver, Sender, channel, error::SendError};

    type Word = Option<Frame<Bytes>>;

    /// A body that a test feeds.
    #[derive(Debug)]
    pub struct Fed {
        pieces: Receiver<Word>,
        length: Option<u64>,
    }

    /// What feeds it; gone before it has said the end, the body is broken off.
    pub struct Feeder(Sender<Word>);

    impl Upload {
        /// Returns a body that says its length if it is given, and what feeds it.
        pub fn fed(length: Option<u64>) -> (Feeder, Upload) {
            let (feeder, pieces) = channel(1);
            (Feeder(feeder), Upload { source: Source::Fed(Fed { pieces, length }), put_back: None, progress: Some(Progress::begin(true)) })
        }
    }

    impl Feeder {
        /// Sends a piece.
        pub async fn send(&self, piece: Frame<Bytes>) -> Result<(), SendError<Word>> {
            self.0.send(Some(piece)).await
        }

        /// Ends the body.
        pub async fn end(self) {
            let _ = self.0.send(None).await;
        }
    }

    impl Fed {
        pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(Some(piece)) => {
                    let length = piece.data_ref().map_or(0, Bytes::len) as u64;
                    self.length = self.length.map(|left| left.saturating_sub(length));
                    Poll::Ready(Some(Ok(piece)))
                }
                Some(None) => Poll::Ready(None),
                None => Poll::Ready(Some(Err("broken off".into()))),
            }
        }

        pub(super) fn size_hint(&self) -> SizeHint {
            self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }
}
