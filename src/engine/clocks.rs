//! Which clock says what. Calendars (freezes, what is shown) go by the clock that people set; what lasts goes by the one nobody sets.

use super::{Engine, run::Run};
use crate::model::{Reading, Timestamp};
use std::time::Duration;

/// Where an engine's own time begins.
pub(super) struct Beginning {
    /// The present then, and never before the newest entry of the record: a clock that was set back revives nothing.
    pub at: Timestamp,
    /// The other clock, at the same moment.
    pub reading: Reading,
}

impl Engine {
    /// Returns an instant that only ever goes on, as fast as time does, for measuring how long something lasts.
    pub(crate) fn steadily(&self) -> Timestamp {
        self.beginning.at.plus(self.clock.reading().since(&self.beginning.reading).unwrap_or_default())
    }

    /// Returns the present for what expires. It follows a clock that is set forward, and is not fooled by one that is set back.
    pub(crate) fn present(&self) -> Timestamp {
        self.clock.now().max(self.steadily())
    }
}

impl Run {
    /// Waits until an instant of [`Engine::steadily`].
    pub(super) async fn until(&self, until: Timestamp) {
        while self.engine.steadily() < until {
            let left = until.since(self.engine.steadily()).min(Duration::from_millis(200));
            tokio::time::sleep(left.max(Duration::from_millis(5))).await;
        }
    }

    /// Returns for how long the set that got the last traffic has been watched. Of what was before a reboot nothing is known.
    pub(super) async fn watched_for(&self) -> Duration {
        let moved = self.baseline().await.and_then(|baseline| baseline.read_at);
        moved.and_then(|moved| self.engine.clock.reading().since(&moved)).unwrap_or_default()
    }
}
