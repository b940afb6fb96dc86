//! A body in chunks (RFC 9112, 7.1). Of a client's nothing is taken that two parsers could read in two ways.

use super::left::Piece;
use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The longest line of a chunk's size.
const MAX_LINE: usize = 1024;

/// The longest trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// The most trailers.
const MOST_TRAILERS: usize = 64;

/// What no client may say behind its body: where it goes and ends.
const NEVER: [HeaderName; 4] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST, header::CONNECTION];

/// Follows chunks.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    is_strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Chunks {
    /// Returns the chunks of a request.
    pub fn of_client() -> Self {
        Chunks { state: State::Size, is_strict: true }
    }

    /// Returns the chunks of an answer.
    pub fn of_instance() -> Self {
        Chunks { state: State::Size, is_strict: false }
    }

    /// Takes the next piece out of the buffer.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = line(buffer, MAX_LINE)? else { return Ok(Piece::Unknown) };
                    let size = size(&buffer[..line], self.is_strict).ok_or("a chunk's size that is not a number")?;
                    buffer.advance(line + 2);
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(_) if buffer.is_empty() => return Ok(Piece::Unknown),
                State::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let left = left - count as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Piece::Data(buffer.split_to(count).freeze()));
                }
                State::DataEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece::Unknown),
                    _ => return Err("a chunk longer than it says"),
                },
                State::Trailers => return trailers(buffer, self.is_strict),
            }
        }
    }
}

fn trailers(buffer: &mut BytesMut, is_strict: bool) -> Result<Piece, &'static str> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Piece::End(None));
    }
    let mut found = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    match httparse::parse_headers(buffer, &mut found) {
        Ok(httparse::Status::Complete((length, found))) => {
            let mut trailers = HeaderMap::with_capacity(found.len());
            for one in found {
                let name = HeaderName::from_bytes(one.name.as_bytes()).map_err(|_| "a trailer that is none")?;
                if is_strict && NEVER.contains(&name) {
                    return Err("a trailer that says where the request goes or ends");
                }
                trailers.append(name, HeaderValue::from_bytes(one.value).map_err(|_| "a trailer that is none")?);
            }
            if has_bare_line_feed(&buffer[..length]) {
                return Err("a bare line feed");
            }
            buffer.advance(length);
            Ok(Piece::End(Some(trailers)))
        }
        Ok(httparse::Status::Partial) if buffer.len() < MAX_TRAILERS => Ok(Piece::Unknown),
        _ => Err("trailers that cannot be read"),
    }
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

/// Returns how long the next line is, without its end; `None` while it is not whole.
fn line(bytes: &[u8], longest: usize) -> Result<Option<usize>, &'static str> {
    match bytes.iter().take(longest).position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err("a bare line feed"),
        None if bytes.len() >= longest => Err("too long a line"),
        None => Ok(None),
    }
}

/// Reads a chunk's size; what is said beside it (`;…`) is of no concern. Some servers write blanks behind it, no client does.
fn size(line: &[u8], is_strict: bool) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = if is_strict { &line[digits..] } else { line[digits..].trim_ascii_start() };
    let is_said = |byte: &u8| if is_strict { !byte.is_ascii_control() } else { *byte != b'\r' };
    let is_readable = (1..=15).contains(&digits) && (rest.is_empty() || rest[0] == b';') && rest.iter().all(is_said);
    is_readable.then(|| u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Whole = (Vec<u8>, Option<HeaderMap>, usize);

    /// Reads a body that comes `step` bytes at a time; returns it with its trailers and what is left.
    fn read(bytes: &[u8], step: usize) -> Result<Option<Whole>, &'static str> {
        let (mut chunks, mut buffer, mut body, mut come) = (Chunks::of_instance(), BytesMut::new(), Vec::new(), 0);
        loop {
            match chunks.next(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(trailers) => return Ok(Some((body, trailers, buffer.len() + bytes.len() - come))),
                Piece::Unknown if come == bytes.len() => return Ok(None),
                Piece::Unknown => {
                    let next = (come + step).min(bytes.len());
                    buffer.extend_from_slice(&bytes[come..next]);
                    come = next;
                }
            }
        }
    }

    const BODY: &[u8] = b"3\r\nabc\r\nA ;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nrest";

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        for step in 1..BODY.len() {
            let (body, trailers, left) = read(BODY, step).unwrap().unwrap();
            assert_eq!((&body[..], trailers.unwrap()["x-sum"].as_bytes(), left), (&b"abc0123456789"[..], &b"1"[..], 4), "{step}");
        }
        assert_eq!(read(b"0\r\n\r\n", 2), Ok(Some((Vec::new(), None, 0))));
        assert!((0..BODY.len() - 5).all(|cut| read(&BODY[..cut], 3) == Ok(None)), "half a body has no end");
    }

    #[test]
    fn a_size_that_is_none_is_an_error() {
        for wrong in
            ["x\r\n", "\r\n", "-1\r\n", "1000000000000000\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n", "3 4\r\n", "0\r\n: x\r\n\r\n"]
        {
            assert!(read(wrong.as_bytes(), 2).is_err(), "{wrong:?}");
        }
        assert!(read("1".repeat(MAX_LINE).as_bytes(), 7).is_err());
        assert!(read(format!("0\r\nx: {}", "y".repeat(MAX_TRAILERS)).as_bytes(), 4096).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_however_they_are_cut(tail in ".{0,40}", at in 0..BODY.len(), step in 1..9usize) {
            let mut bytes = BODY.to_vec();
            bytes.splice(at..at, tail.bytes());
            prop_assert_eq!(read(&bytes, bytes.len()), read(&bytes, step));
        }
    }
}
