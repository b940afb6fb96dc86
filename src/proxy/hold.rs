//! Requests that wait instead of fail while nothing can serve them: so many, and so long, then they are told to come again.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The most requests that wait at a time; each keeps a head and a connection, nothing more.
const MOST: usize = 1024;

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Too many wait already.
    TooMany,
    /// The hold reached its end while it waited.
    TooLong,
}

/// A gate that is open unless told otherwise, and opens by itself.
#[derive(Debug)]
pub struct Hold {
    until: watch::Sender<Option<Instant>>,
    waiting: AtomicUsize,
    most: usize,
}

impl Default for Hold {
    fn default() -> Self {
        Hold::for_at_most(MOST)
    }
}

impl Hold {
    fn for_at_most(most: usize) -> Self {
        Hold { until: watch::Sender::new(None), waiting: AtomicUsize::new(0), most }
    }

    /// Makes requests wait until then, or lets them through.
    pub fn set(&self, until: Option<Instant>) {
        self.until.send_replace(until);
    }

    /// Returns whether a request would wait now. A hold whose time is over holds nobody.
    pub fn is_on(&self) -> bool {
        self.until().is_some()
    }

    /// Returns until when requests wait.
    pub fn until(&self) -> Option<Instant> {
        self.until.borrow().filter(|until| *until > Instant::now())
    }

    /// Returns a place among those that wait; `None` when all are taken.
    pub fn take_place(&self) -> Option<Place<'_>> {
        Place::take(self)
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Returns when the request may go on.
    pub async fn pass(&self) -> Result<(), Held> {
        if !self.is_on() {
            return Ok(());
        }
        let Some(_place) = self.take_place() else { return Err(Held::TooMany) };
        let mut changes = self.until.subscribe();
        loop {
            let Some(until) = *changes.borrow_and_update() else { return Ok(()) };
            tokio::select! {
                biased;
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                () = sleep_until(until) => return Err(Held::TooLong),
            }
        }
    }
}

/// A place among those that wait; free again when the client leaves.
pub struct Place<'a>(&'a Hold);

impl<'a> Place<'a> {
    fn take(hold: &'a Hold) -> Option<Self> {
        let taken = hold.waiting.fetch_update(SeqCst, SeqCst, |waiting| (waiting < hold.most).then_some(waiting + 1));
        // Not `then_some`: a place that is made is given back, also one that was never taken.
        taken.is_ok().then(|| Place(hold))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, time::Duration};

    #[tokio::test]
    async fn requests_wait_until_released_or_too_late() {
        let hold = Arc::new(Hold::for_at_most(2));
        assert_eq!(hold.pass().await, Ok(()));
        hold.set(Some(Instant::now() + Duration::from_secs(600)));
        let waits = |hold: Arc<Hold>| tokio::spawn(async move { hold.pass().await });
        let (one, two) = (waits(hold.clone()), waits(hold.clone()));
        tokio::task::yield_now().await;
        assert_eq!((hold.waiting(), hold.pass().await), (2, Err(Held::TooMany)));
        two.abort();
        let _ = two.await;
        assert_eq!(hold.waiting(), 1, "one that leaves gives its place back");
        hold.set(None);
        assert_eq!(one.await.unwrap(), Ok(()));

        hold.set(Some(Instant::now() + Duration::from_millis(50)));
        assert_eq!(hold.pass().await, Err(Held::TooLong));
        assert_eq!(hold.pass().await, Ok(()), "its time is over: whoever comes now is let through");
        assert_eq!((hold.waiting(), hold.is_on()), (0, false));
    }
}
