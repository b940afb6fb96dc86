//! Instants in UTC milliseconds, and the clocks that hand them in: the one that people set, and the one that nobody sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// An instant, UTC milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the instant `later` after this one.
    pub fn plus(self, later: Duration) -> Self {
        Timestamp(self.0.saturating_add(millis(later)))
    }

    /// Returns the instant `earlier` before this one.
    pub fn minus(self, earlier: Duration) -> Self {
        Timestamp(self.0.saturating_sub(millis(earlier)))
    }

    /// Returns how long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Returns `14:32Z`.
    pub fn hour_minute(self) -> String {
        self.format("%H:%MZ")
    }

    fn format(self, pattern: &str) -> String {
        jiff::Timestamp::from_millisecond(self.0).map(|at| at.strftime(pattern).to_string()).unwrap_or_else(|_| format!("{}ms", self.0))
    }
}

impl fmt::Display for Timestamp {
    /// Writes `2026-11-20T14:32:07Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// Returns a duration in whole milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A reading of the clock that nobody sets. It counts while the machine runs, not while it is suspended, and begins anew with each boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The boot it counts from.
    pub boot: String,
    /// Milliseconds since then.
    pub ms: u64,
}

impl Reading {
    /// Returns how long after `earlier` this is; none when that is of another boot: the two say nothing of each other.
    pub fn since(&self, earlier: &Reading) -> Option<Duration> {
        (self.boot == earlier.boot).then(|| Duration::from_millis(self.ms.saturating_sub(earlier.ms)))
    }
}

/// Where the present comes from: the system, or a test's hand.
pub trait Clock: Send + Sync {
    /// Returns the present instant. It jumps when somebody sets the clock.
    fn now(&self) -> Timestamp;

    /// Returns a reading for measuring how long something lasts, also across processes.
    fn reading(&self) -> Reading;
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }

    fn reading(&self) -> Reading {
        // It cannot change while this process lives.
        static BOOT: LazyLock<String> = LazyLock::new(boot_id);
        let passed = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Reading { boot: BOOT.clone(), ms: passed.tv_sec as u64 * 1000 + passed.tv_nsec as u64 / 1_000_000 }
    }
}

/// Returns what tells this boot of the machine from every other; empty where the kernel does not say.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// A clock that moves only when told.
pub struct ManualClock(AtomicI64, AtomicU64);

impl ManualClock {
    /// Returns a clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        ManualClock(AtomicI64::new(start.0), AtomicU64::new(0))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
        self.1.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn reading(&self) -> Reading {
        Reading { boot: "manual".into(), ms: self.1.load(Ordering::SeqCst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_boot_tell_how_long_and_those_of_two_tell_nothing() {
        let (first, second) = (SystemClock.reading(), SystemClock.reading());
        assert!(first.ms > 0 && second.since(&first).is_some_and(|passed| passed < Duration::from_secs(60)));
        assert_eq!(second.since(&Reading { boot: "another".into(), ..first }), None);
        let clock = ManualClock::at(Timestamp(5));
        let before = clock.reading();
        clock.advance(Duration::from_secs(3));
        assert_eq!((clock.now(), clock.reading().since(&before)), (Timestamp(3005), Some(Duration::from_secs(3))));
    }
}
