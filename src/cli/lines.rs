//! Lines of a stream, read where they are waited for.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::bytes::BufMut;

/// How much is read at once.
const ROOM_BYTES: usize = 8 * 1024;

/// A line was longer than the limit, and was skipped.
pub(super) struct TooLong;

/// Lines of a stream. Waiting for one can be given up: what was read of it by then is kept.
pub(super) struct Lines<R> {
    read: R,
    limit_bytes: usize,
    /// What was read and not yet returned.
    buffer: Vec<u8>,
    /// How much of that is known to have no line feed.
    seen: usize,
    is_too_long: bool,
    has_ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn of(read: R, limit_bytes: usize) -> Self {
        Lines { read, limit_bytes, buffer: Vec::new(), seen: 0, is_too_long: false, has_ended: false }
    }

    /// Returns the next line with its line feed; the end without one ends the last line.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<u8>, TooLong>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.seen..]) {
                let rest = self.buffer.split_off(self.seen + at + 1);
                return Some(self.taken(rest));
            }
            if self.has_ended {
                return (self.is_too_long || !self.buffer.is_empty()).then(|| self.taken(Vec::new()));
            }
            if self.buffer.len() > self.limit_bytes {
                self.is_too_long = true;
                self.buffer = Vec::new();
            }
            self.seen = self.buffer.len();
            self.buffer.reserve(ROOM_BYTES);
            match self.read.read_buf(&mut (&mut self.buffer).limit(ROOM_BYTES)).await {
                Ok(0) => self.has_ended = true,
                Ok(_) => {}
                // What is left of a line says nothing any more.
                Err(_) => {
                    (self.has_ended, self.is_too_long, self.seen) = (true, false, 0);
                    self.buffer.clear();
                }
            }
        }
    }

    /// Takes what is in the buffer as a line, and leaves the rest there.
    fn taken(&mut self, rest: Vec<u8>) -> Result<Vec<u8>, TooLong> {
        self.seen = 0;
        let line = std::mem::replace(&mut self.buffer, rest);
        match std::mem::take(&mut self.is_too_long) || line.len() > self.limit_bytes {
            true => Err(TooLong),
            false => Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn long_lines_are_skipped_whole() {
        let mut lines = Lines::of(&b"ab\n12345678901\ncd\nlast"[..], 8);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await {
            seen.push(line.map_or("too long".into(), |line| String::from_utf8(line).unwrap()));
        }
        assert_eq!(seen, ["ab\n", "too long", "cd\n", "last"]);
    }

    #[tokio::test]
    async fn what_was_read_of_a_line_that_was_not_waited_for_is_kept() {
        let (read, mut write) = tokio::io::duplex(64);
        let mut lines = Lines::of(read, 8);
        write.write_all(b"one\ntw").await.unwrap();
        assert_eq!(lines.next().await.unwrap().ok().unwrap(), b"one\n");
        assert!(futures_util::FutureExt::now_or_never(lines.next()).is_none());
        write.write_all(b"o\nthree\n12345").await.unwrap();
        assert_eq!(lines.next().await.unwrap().ok().unwrap(), b"two\n");
        assert_eq!(lines.next().await.unwrap().ok().unwrap(), b"three\n");
        assert!(futures_util::FutureExt::now_or_never(lines.next()).is_none());
        write.write_all(b"6789\n0").await.unwrap();
        assert!(lines.next().await.unwrap().is_err(), "nine bytes and a line feed");
        drop(write);
        assert_eq!(lines.next().await.unwrap().ok().unwrap(), b"0");
        assert!(lines.next().await.is_none());
    }
}
