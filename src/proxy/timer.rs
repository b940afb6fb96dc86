//! A connection's timer, used by one request after another: to set one for each request and take it back costs more than to let one run
//! on and look, when it goes off, whether anybody had to be woken.

use std::{pin::Pin, sync::Mutex, time::Duration};
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that runs on between requests.
#[derive(Debug, Default)]
pub struct Timer(Mutex<Option<Pin<Box<Sleep>>>>);

impl Timer {
    /// Returns after `longest`, or earlier: whoever waits looks whether it is time, and waits again if not.
    pub async fn wait(&self, longest: Duration) {
        let mut running = Running { timer: self, sleep: self.0.lock().expect("nothing panics here").take() };
        let until = Instant::now() + longest;
        match &mut running.sleep {
            // One that goes off later than it should is set anew; it is one left by a longer wait.
            Some(sleep) if sleep.deadline() > until || sleep.is_elapsed() => sleep.as_mut().reset(until),
            Some(_) => {}
            None => running.sleep = Some(Box::pin(sleep_until(until))),
        }
        if let Some(sleep) = &mut running.sleep {
            sleep.as_mut().await;
        }
    }
}

/// The timer while somebody waits for it; given back however the wait ends.
struct Running<'a> {
    timer: &'a Timer,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Ok(mut kept) = self.timer.0.lock() {
            *kept = self.sleep.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_timer_left_running_wakes_the_next_in_time() {
        let timer = Timer::default();
        let began = Instant::now();
        assert!(timer.wait(Duration::from_secs(600)).now_or_never().is_none());
        timer.wait(Duration::from_millis(30)).await;
        assert!(began.elapsed() >= Duration::from_millis(30), "not before its time, whoever waited before");
        assert!(timer.wait(Duration::from_millis(20)).now_or_never().is_none(), "one that has gone off is set anew");
        timer.wait(Duration::from_secs(600)).await;
        assert!((Duration::from_millis(50)..Duration::from_secs(60)).contains(&began.elapsed()), "the one left running wakes");
    }
}
