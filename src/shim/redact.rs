//! Takes resolved secret values out of an instance's output, line by line. Best effort: an encoded or split value is not found.

use super::secrets::Secret;

/// What stands where a secret stood.
const MARK: &[u8] = b"[redacted]";
/// Shorter values are found everywhere by chance and hide nothing.
const SHORTEST: usize = 4;

/// Knows the values that must not reach a log.
#[derive(Default)]
pub struct Redactor {
    needles: Vec<Vec<u8>>,
}

impl Redactor {
    /// Returns a redactor of these secrets; each line of one that has several is taken out by itself.
    pub fn new<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Self {
        let lines = secrets.flat_map(|secret| secret.expose().lines().map(|line| line.trim().as_bytes().to_vec()));
        let mut needles: Vec<_> = lines.filter(|line| line.len() >= SHORTEST).collect();
        // The longest first, so that a value that contains another goes whole.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        Redactor { needles }
    }

    /// Returns the length of the longest value.
    pub fn longest(&self) -> usize {
        self.needles.first().map_or(0, Vec::len)
    }

    /// Returns the text with every value taken out.
    pub fn redacted(&self, text: String) -> String {
        let mut bytes = text.into_bytes();
        self.redact(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Takes every value out of the line.
    pub fn redact(&self, line: &mut Vec<u8>) {
        for needle in &self.needles {
            let mut from = 0;
            while let Some(at) = find(&line[from..], needle) {
                line.splice(from + at..from + at + needle.len(), MARK.iter().copied());
                from += at + MARK.len();
            }
        }
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let last = text.len().checked_sub(needle.len())?;
    let mut from = 0;
    while from <= last {
        let at = from + text[from..=last].iter().position(|byte| *byte == needle[0])?;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Gathers bytes into whole, redacted, capped lines.
pub struct Lines {
    redactor: std::sync::Arc<Redactor>,
    max_line: usize,
    pending: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Returns an empty gatherer.
    pub fn new(redactor: std::sync::Arc<Redactor>, max_line: usize) -> Self {
        Lines { redactor, max_line, pending: Vec::new(), cut: false }
    }

    /// Takes what was read and returns the lines it completes.
    pub fn push(&mut self, mut read: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            self.gather(&read[..end]);
            self.finish(&mut out);
            read = &read[end + 1..];
        }
        self.gather(read);
        out
    }

    /// Returns the last line, when the output ended without a line feed.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.pending.is_empty() {
            self.finish(&mut out);
        }
        out
    }

    fn gather(&mut self, bytes: &[u8]) {
        // A little more than is kept, so that a secret across the cut is still seen whole.
        let room = (self.max_line + self.redactor.longest()).saturating_sub(self.pending.len());
        self.cut |= bytes.len() > room;
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let mut line = std::mem::take(&mut self.pending);
        self.redactor.redact(&mut line);
        if self.cut || line.len() > self.max_line {
            // Where bytes were dropped, the end may be the first half of a secret.
            let whole = if self.cut { line.len().saturating_sub(self.redactor.longest()) } else { line.len() };
            line.truncate(whole.min(self.max_line));
            line.extend_from_slice(b" [cut]");
            self.cut = false;
        }
        out.append(&mut line);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn lines(secrets: &[&str], max_line: usize) -> Lines {
        let secrets: Vec<Secret> = secrets.iter().map(|value| Secret::of(value)).collect();
        Lines::new(Arc::new(Redactor::new(secrets.iter())), max_line)
    }

    #[test]
    fn a_secret_split_over_two_reads_is_taken_out() {
        let mut lines = lines(&["canary-1234"], 100);
        assert_eq!(lines.push(b"key=cana"), b"");
        assert_eq!(lines.push(b"ry-1234 ok\nnext"), b"key=[redacted] ok\n");
        assert_eq!(lines.end(), b"next\n");
    }

    #[test]
    fn the_longest_value_goes_first_and_short_ones_stay() {
        let mut lines = lines(&["abcd", "abcdef", "abc", "one\nsecond line"], 100);
        assert_eq!(lines.push(b"abcdef abcd abc aabcd second line\n"), b"[redacted] [redacted] abc a[redacted] [redacted]\n");
    }

    #[test]
    fn a_long_line_is_cut_without_showing_half_a_secret() {
        let mut lines = lines(&["canary-1234"], 10);
        let shown = lines.push(b"12345678canary-1234 and a lot more\nshort\n");
        let text = String::from_utf8(shown).unwrap();
        assert_eq!(text, "12345678[ [cut]\nshort\n");
    }

    #[test]
    fn one_endless_line_stays_bounded() {
        let mut lines = lines(&["canary-1234"], 1000);
        for _ in 0..1000 {
            assert!(lines.push(&[b'x'; 4096]).is_empty());
        }
        assert!(lines.pending.len() <= 1011);
    }
}
