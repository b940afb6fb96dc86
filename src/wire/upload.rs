//! A request's body on its way to an instance, and what is known of its progress.

use http_body_util::{Either, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body, streamed and never kept.
pub struct Upload {
    body: Either<Incoming, Empty<Bytes>>,
    progress: Arc<Progress>,
}

/// How far an upload got.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    moved_millis: AtomicU64,
    failed: AtomicBool,
}

impl Progress {
    /// Returns the progress of an upload that begins now.
    pub fn begin() -> Arc<Self> {
        Arc::new(Progress { began: Instant::now(), moved_millis: AtomicU64::new(0), failed: AtomicBool::new(false) })
    }

    /// Returns how long nothing has moved.
    pub fn quiet_for(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.moved_millis.load(Relaxed)))
    }

    /// Returns whether the client broke off or sent what cannot be understood.
    pub fn failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

impl Upload {
    /// Returns the client's body.
    pub fn of(body: Incoming, progress: Arc<Progress>) -> Self {
        Upload { body: Either::Left(body), progress }
    }

    /// Returns no body.
    pub fn none(progress: Arc<Progress>) -> Self {
        Upload { body: Either::Right(Empty::new()), progress }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            let millis = u64::try_from(self.progress.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.progress.moved_millis.store(millis, Relaxed);
            if matches!(frame, Some(Err(_))) {
                self.progress.failed.store(true, Relaxed);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
