//! What reconciling could not mend: the same is tried again after a pause that doubles, and the same failure is told once.

use crate::model::Timestamp;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// After the first try.
const SHORTEST: Duration = Duration::from_secs(1);
/// However often it was tried.
const LONGEST: Duration = Duration::from_secs(60);

/// What was tried for each thing, since it was last as it should be.
#[derive(Default)]
pub(crate) struct Setbacks(Mutex<HashMap<String, Setback>>);

#[derive(Default)]
struct Setback {
    /// What it looked like when it was tried: something else is tried at once.
    seen: Option<String>,
    pause: Duration,
    not_before: Timestamp,
    /// The failure that was told last.
    told: Option<String>,
}

impl Setbacks {
    /// Tells whether it is time to try, and counts the try: at once when `what` looks otherwise than at the last one.
    pub(crate) fn may_try(&self, what: &str, seen: String, now: Timestamp) -> bool {
        let mut setbacks = self.lock();
        let setback = setbacks.entry(what.to_owned()).or_default();
        let is_new = setback.seen.as_ref() != Some(&seen);
        if !is_new && now < setback.not_before {
            return false;
        }
        setback.pause = if is_new { SHORTEST } else { (setback.pause * 2).min(LONGEST) };
        (setback.not_before, setback.seen) = (now.plus(setback.pause), Some(seen));
        true
    }

    /// Tells whether nobody was told of this failure yet.
    pub(crate) fn is_news(&self, what: &str, failure: &str) -> bool {
        let mut setbacks = self.lock();
        let setback = setbacks.entry(what.to_owned()).or_default();
        setback.told.replace(failure.to_owned()).as_deref() != Some(failure)
    }

    /// Forgets what is as it should be.
    pub(crate) fn mended(&self, what: &str) {
        self.lock().remove(what);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Setback>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(setbacks: &Setbacks, seconds: std::ops::Range<i64>, seen: &str) -> Vec<i64> {
        seconds.filter(|second| setbacks.may_try("web", seen.into(), Timestamp(second * 1000))).collect()
    }

    #[test]
    fn the_same_is_tried_less_and_less_often() {
        let setbacks = Setbacks::default();
        assert_eq!(tries(&setbacks, 0..300, "gone"), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn what_looks_otherwise_or_was_mended_is_tried_at_once() {
        let setbacks = Setbacks::default();
        tries(&setbacks, 0..100, "one is gone");
        assert_eq!(tries(&setbacks, 100..105, "both are gone"), [100, 101, 103]);
        setbacks.mended("web");
        assert_eq!(tries(&setbacks, 105..106, "both are gone"), [105]);
        assert!(setbacks.may_try("till", "both are gone".into(), Timestamp(105_500)), "another thing has its own pause");
    }

    #[test]
    fn a_failure_is_told_once_until_it_is_another_or_was_over() {
        let setbacks = Setbacks::default();
        let told: Vec<bool> = ["full", "full", "taken", "full"].iter().map(|failure| setbacks.is_news("web", failure)).collect();
        assert_eq!(told, [true, false, true, true]);
        setbacks.mended("web");
        assert!(setbacks.is_news("web", "full"));
    }
}
