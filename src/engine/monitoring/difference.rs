//! What has changed between two texts, counted in lines.

use serde::Serialize;

/// How a file differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whether there was none before, or whether it differs.
    pub change: Change,
    /// Lines that are new.
    pub added: usize,
    /// Lines that are gone.
    pub removed: usize,
}

/// Whether a file differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// There was none.
    New,
    /// It says something else.
    Changed,
    /// It is the same.
    Unchanged,
}

impl Difference {
    /// Counts the lines that one text has and the other has not, in their order.
    pub fn between(before: Option<&str>, after: &str) -> Difference {
        let new: Vec<&str> = after.lines().collect();
        let Some(before) = before else { return Difference { change: Change::New, added: new.len(), removed: 0 } };
        let old: Vec<&str> = before.lines().collect();
        let common = longest_common(&old, &new);
        let change = if before == after { Change::Unchanged } else { Change::Changed };
        Difference { change, added: new.len() - common, removed: old.len() - common }
    }
}

/// Returns how many lines two texts have in common, in the same order.
fn longest_common(old: &[&str], new: &[&str]) -> usize {
    let mut row = vec![0; new.len() + 1];
    for line in old {
        let mut diagonal = 0;
        for (at, other) in new.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if line == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[new.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_where_they_differ() {
        let seen = |before: Option<&str>, after: &str| {
            let difference = Difference::between(before, after);
            (difference.change, difference.added, difference.removed)
        };
        assert_eq!(seen(None, "a\nb\n"), (Change::New, 2, 0));
        assert_eq!(seen(Some("a\nb\n"), "a\nb\n"), (Change::Unchanged, 0, 0));
        assert_eq!(seen(Some("a\nb\nc\n"), "a\nx\nc\nd\n"), (Change::Changed, 2, 1));
        assert_eq!(seen(Some("a\nb\n"), "b\na\n"), (Change::Changed, 1, 1));
        assert_eq!(seen(Some("a"), "a\n"), (Change::Changed, 0, 0), "a line feed is a change, and no line");
    }
}
