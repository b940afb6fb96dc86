//! What tells a request that its time is over. Kept by its connection for the next one on the same instance: to sign on and off again for
//! each costs more than to stay signed on.

use super::instance::Endings;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

type Waiting = Pin<Box<WaitForCancellationFutureOwned>>;

/// What a connection keeps between two requests.
#[derive(Default)]
pub struct Ear(Mutex<Option<(Arc<Endings>, Waiting)>>);

impl Ear {
    /// Returns what ends when an instance's requests are told to.
    pub fn listen(self: &Arc<Self>, endings: &Arc<Endings>) -> Told {
        let kept = self.0.lock().expect("nothing panics here").take().filter(|(kept, _)| Arc::ptr_eq(kept, endings));
        let heard = kept.unwrap_or_else(|| (endings.clone(), Box::pin(endings.requests.clone().cancelled_owned())));
        Told { ear: self.clone(), heard: Some(heard) }
    }
}

/// Ends when a request is told that its time is over: made once for the request, and handed on to its body.
pub struct Told {
    ear: Arc<Ear>,
    heard: Option<(Arc<Endings>, Waiting)>,
}

impl Future for Told {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.heard.as_mut().map_or(Poll::Pending, |(_, waiting)| waiting.as_mut().poll(cx))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Ok(mut kept) = self.ear.0.lock() {
            *kept = self.heard.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn each_request_hears_of_its_own_instance_alone() {
        let (ear, one, other) = (Arc::new(Ear::default()), Arc::new(Endings::default()), Arc::new(Endings::default()));
        assert!(ear.listen(&one).now_or_never().is_none());
        let mut told = ear.listen(&one);
        assert!((&mut told).now_or_never().is_none(), "the one kept is as good as a new one");
        one.requests.cancel();
        told.await;
        assert!(ear.listen(&one).now_or_never().is_some());
        assert!(ear.listen(&other).now_or_never().is_none(), "what another instance was told is of no concern");
        other.websockets.cancel();
        assert!(ear.listen(&other).now_or_never().is_none());
    }
}
