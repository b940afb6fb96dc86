//! What was begun and waits for its end. Each ends once, none after its time, and nobody can have more than a few.

use super::PATIENCE;
use crate::{decisions::refused, error::Result, model::Timestamp};

/// What was begun, oldest first.
pub struct Begun<T> {
    entries: Vec<Entry<T>>,
    most: usize,
}

struct Entry<T> {
    handle: String,
    whose: String,
    until: Timestamp,
    what: T,
}

impl<T> Begun<T> {
    /// Returns room for so many of each person.
    pub fn of(most: usize) -> Self {
        Begun { entries: Vec::new(), most }
    }

    /// Keeps what somebody has begun; what is over is forgotten.
    pub fn begin(&mut self, handle: &str, whose: &str, now: Timestamp, what: T) {
        self.entries.retain(|entry| entry.until > now);
        if self.entries.iter().filter(|entry| entry.whose == whose).count() >= self.most
            && let Some(oldest) = self.entries.iter().position(|entry| entry.whose == whose)
        {
            self.entries.remove(oldest);
        }
        self.entries.push(Entry { handle: handle.to_owned(), whose: whose.to_owned(), until: now.plus(PATIENCE), what });
    }

    /// Takes what was begun under a handle; refused a second time, and after its time.
    pub fn end(&mut self, handle: &str, now: Timestamp) -> Result<T> {
        let Some(at) = self.entries.iter().position(|entry| entry.handle == handle) else {
            return Err(refused("nothing waits for this answer: it was given before, or is expired").hint("begin again from the page"));
        };
        let entry = self.entries.remove(at);
        match entry.until > now {
            true => Ok(entry.what),
            false => Err(refused("the answer came too late: what was asked is expired").hint("begin again from the page")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_ends_once_in_time_and_is_bounded() {
        let mut begun = Begun::of(3);
        let (now, later) = (Timestamp(0), Timestamp(0).plus(PATIENCE));
        begun.begin("a", "ada", now, 1);
        assert_eq!(begun.end("a", now).unwrap(), 1);
        assert!(begun.end("a", now).unwrap_err().message.contains("given before"));
        begun.begin("b", "ada", now, 2);
        assert!(begun.end("b", later).unwrap_err().message.contains("too late"));

        begun.begin("of-bob", "bob", now, 0);
        for number in 0..=3 {
            begun.begin(&format!("c{number}"), "ada", now, number);
        }
        assert!(begun.end("c0", now).is_err(), "the oldest is forgotten");
        assert_eq!(begun.end("of-bob", now).unwrap(), 0, "and nobody else's");
        assert_eq!(begun.entries.len(), 3);
        begun.begin("d", "bob", later, 9);
        assert_eq!(begun.entries.len(), 1, "what is over is forgotten");
    }
}
