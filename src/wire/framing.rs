//! Where a request begins and ends, read strictly: whatever two parsers could read in two ways is refused here (request smuggling).
//!
//! Pure: bytes in, how many of them are fit to go on out.

/// The longest head, and the most that is held back.
pub const MAX_HEAD: usize = 64 * 1024;

/// More headers than the HTTP library accepts, so that it is the one to answer 431.
const MAX_HEADERS: usize = 160;

const MAX_CHUNK_LINE: usize = 1024;
const MAX_TRAILERS: usize = 8 * 1024;

/// Why bytes do not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Ambiguous or malformed: answered 400.
    Malformed(&'static str),
    /// Too large a head: shown to the HTTP library, which answers 431.
    TooLarge,
}

/// Follows one client's requests.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    /// Bytes of the current head already looked at for stray line ends.
    scanned: usize,
    trailers: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Sized(u64),
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

impl Framing {
    /// Returns how many of the next bytes may go on; 0 when more must come first.
    pub fn check(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        match self.state {
            State::Head => self.head(bytes),
            State::Sized(left) => Ok(self.take(bytes, left, State::Sized, State::Head)),
            State::ChunkLine => self.chunk_line(bytes),
            State::ChunkData(left) => Ok(self.take(bytes, left, State::ChunkData, State::ChunkEnd)),
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkLine;
                    Ok(2)
                }
                [] | [b'\r'] => Ok(0),
                _ => Err(Refused::Malformed("a chunk longer than it says")),
            },
            State::Trailers => self.trailer(bytes),
        }
    }

    /// Returns whether the next byte belongs to a head.
    pub fn is_between_requests(&self) -> bool {
        self.state == State::Head
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        if bytes.starts_with(b"\r\n") {
            return Ok(2);
        }
        for index in self.scanned..bytes.len() {
            match bytes[index] {
                0 => return Err(Refused::Malformed("a zero byte in the head")),
                b'\n' if index == 0 || bytes[index - 1] != b'\r' => return Err(Refused::Malformed("a bare line feed")),
                b'\n' if bytes[..=index].ends_with(b"\r\n\r\n") => {
                    self.scanned = 0;
                    self.state = read_head(&bytes[..=index])?;
                    return Ok(index + 1);
                }
                other if index > 0 && bytes[index - 1] == b'\r' && other != b'\n' => {
                    return Err(Refused::Malformed("a bare carriage return"));
                }
                _ => {}
            }
        }
        if bytes.len() >= MAX_HEAD {
            return Err(Refused::TooLarge);
        }
        self.scanned = bytes.len();
        Ok(0)
    }

    fn take(&mut self, bytes: &[u8], left: u64, unfinished: fn(u64) -> State, finished: State) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - taken as u64;
        self.state = if left == 0 { finished } else { unfinished(left) };
        taken
    }

    fn chunk_line(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let Some(line) = line(bytes, MAX_CHUNK_LINE)? else { return Ok(0) };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = &line[digits..];
        if digits == 0 || digits > 15 || !(rest.is_empty() || rest[0] == b';') || rest.iter().any(|byte| byte.is_ascii_control()) {
            return Err(Refused::Malformed("a chunk's size that is not a number"));
        }
        let text = std::str::from_utf8(&line[..digits]).expect("hex digits are text");
        let size = u64::from_str_radix(text, 16).expect("at most 15 hex digits fit");
        self.trailers = 0;
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(line.len() + 2)
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let Some(line) = line(bytes, MAX_TRAILERS)? else { return Ok(0) };
        self.trailers += line.len() + 2;
        if line.is_empty() {
            self.state = State::Head;
        } else {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let is_value = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
            let forbidden: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"host", b"connection"];
            if name.len() == line.len()
                || name.is_empty()
                || !name.iter().all(is_token)
                || !line[name.len()..].iter().all(is_value)
                || forbidden.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
                || self.trailers > MAX_TRAILERS
            {
                return Err(Refused::Malformed("a trailer that is none"));
            }
        }
        Ok(line.len() + 2)
    }
}

/// Returns the next whole line without its end.
fn line(bytes: &[u8], longest: usize) -> Result<Option<&[u8]>, Refused> {
    let Some(end) = bytes.iter().take(longest).position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() >= longest { Err(Refused::Malformed("too long a line")) } else { Ok(None) };
    };
    match &bytes[end..] {
        [b'\r', b'\n', ..] => Ok(Some(&bytes[..end])),
        [b'\r'] => Ok(None),
        _ => Err(Refused::Malformed("a bare line end")),
    }
}

fn read_head(head: &[u8]) -> Result<State, Refused> {
    const fn no<T>(why: &'static str) -> Result<T, Refused> {
        Err(Refused::Malformed(why))
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooLarge),
        _ => return no("a head that cannot be read"),
    }
    // httparse takes a folded line for part of the value before it in some settings; nobody sends them any more.
    if head.windows(3).any(|bytes| matches!(bytes, [b'\r', b'\n', b' ' | b'\t'])) {
        return no("a folded header");
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return no("a request line that cannot be read");
    };
    let is_http_11 = version == 1;
    let (mut host, mut length, mut coding) = (None, None, None);
    for header in request.headers.iter() {
        let slot = match header.name {
            name if name.eq_ignore_ascii_case("host") => &mut host,
            name if name.eq_ignore_ascii_case("content-length") => &mut length,
            name if name.eq_ignore_ascii_case("transfer-encoding") => &mut coding,
            _ => continue,
        };
        if slot.replace(header.value).is_some() {
            return no("a header twice that says where the request goes or ends");
        }
    }
    match host {
        None if is_http_11 => return no("no host"),
        Some(host) if !is_host(host) => return no("a host that is none"),
        _ => {}
    }
    if method == "CONNECT" || !is_target(method, target, host) {
        return no("a target that is none, or another than the host");
    }
    match (length, coding) {
        (Some(_), Some(_)) => no("a length and a coding"),
        (None, None) => Ok(State::Head),
        (None, Some(coding)) if is_http_11 && coding.eq_ignore_ascii_case(b"chunked") => Ok(State::ChunkLine),
        (None, Some(_)) => no("a coding other than chunked"),
        (Some(digits), None) if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) => {
            no("a length that is not a number")
        }
        (Some(digits), None) => {
            let length = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            Ok(if length == 0 { State::Head } else { State::Sized(length) })
        }
    }
}

/// Returns whether a byte may stand in a field's name (RFC 9110).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%~".contains(byte))
}

fn is_target(method: &str, target: &str, host: Option<&[u8]>) -> bool {
    if target.contains('#') {
        return false;
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return true;
    }
    let Some((scheme, rest)) = target.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && is_host(authority.as_bytes())
        && host.is_none_or(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(stream: &[u8], step: usize) -> Result<usize, Refused> {
        let (mut framing, mut done, mut seen) = (Framing::default(), 0, 0);
        while seen < stream.len() {
            seen = (seen + step).min(stream.len());
            loop {
                match framing.check(&stream[done..seen])? {
                    0 => break,
                    cleared => done += cleared,
                }
                if done == seen {
                    break;
                }
            }
        }
        Ok(done)
    }

    const GOOD: [&str; 8] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /x?y=1 HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 0\r\n\r\n",
    ];

    #[test]
    fn plain_requests_go_on_however_they_are_cut() {
        let all = GOOD.concat();
        for step in [1, 2, 3, 7, 64, all.len()] {
            assert_eq!(read(all.as_bytes(), step), Ok(all.len()), "step {step}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_too_large() {
        let stream = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(MAX_HEAD));
        assert_eq!(read(stream.as_bytes(), 4096), Err(Refused::TooLarge));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
        assert_eq!(read(many.as_bytes(), 4096), Err(Refused::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_however_they_are_cut(tail in ".{0,60}", which in 0..GOOD.len(), at in 0..80usize, step in 1..9usize) {
            let mut stream = GOOD[which].as_bytes().to_vec();
            let at = at.min(stream.len());
            stream.splice(at..at, tail.bytes());
            let whole = read(&stream, stream.len());
            let cut = read(&stream, step);
            prop_assert_eq!(whole.is_ok(), cut.is_ok());
            if let (Ok(whole), Ok(cut)) = (whole, cut) {
                prop_assert_eq!(whole, cut);
            }
        }
    }
}
