//! The strict reader beside readers that others use: it may refuse more than they do, never read a request's end elsewhere.

use super::world::{Backend, World};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use interlock_wire::{Piece, request::Heads};
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::bytes::BytesMut;

/// A small generator (xorshift): the same cases in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const LINES: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0",
    "content-length: 05",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 5 ",
    "Content-Length : 5",
    "Content-Length:\t5",
    "Content-Length: 0x5",
    "Content-Length: 18446744073709551621",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding: CHUNKED",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: chunked;x",
    "Transfer_Encoding: chunked",
    "X: y\r\n\tTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Connection: keep-alive",
    "Connection: content-length",
    "Expect: 100-continue",
    "Host: b",
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "X: \u{e9}",
    ": nothing",
    "nothing",
];
const BODIES: &[&str] = &[
    "",
    "abcde",
    "abcdef",
    "5\r\nabcde\r\n0\r\n\r\n",
    "5\r\nabcde\r\n0\r\nX: y\r\n\r\n",
    "5;a=b\r\nabcde\r\n0\r\n\r\n",
    "05\r\nabcde\r\n00\r\n\r\n",
    "5\nabcde\n0\n\n",
    "5 \r\nabcde\r\n0\r\n\r\n",
    "0x5\r\nabcde\r\n0\r\n\r\n",
    "6\r\nabcde\r\n0\r\n\r\n",
    "4\r\nabcde\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\nabcde",
    "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
];
const SPICE: &[&str] = &["\r", "\n", "\r\n", "\0", " ", "\t", ":", ",", ";", "5", "0", "\x0b", "\u{7f}", "a", "\r\n\r\n"];

/// One request; `odd` of 100 of its parts are chosen among those with something wrong.
fn request(dice: &mut Dice, odd: usize) -> String {
    let mut part = |good: &[&'static str], wrong: &[&'static str]| if dice.roll(100) < odd { dice.one(wrong) } else { dice.one(good) };
    let method = part(&["GET", "POST", "PUT"], &["OPTIONS", "get", "CONNECT", "P OST"]);
    let target = part(&["/", "/x?y=1", "/%00", "http://a/z", "//a"], &["*", "http://b/", "a", "/ x", "/#f", "/\u{e9}", ""]);
    let version = part(&["HTTP/1.1"], &["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", ""]);
    let host = part(&["Host: a\r\n", "host:a\r\n"], &["", "Host: a:80\r\n", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host:\r\n"]);
    let good = [("", ""), ("Content-Length: 5\r\n", "abcde"), ("Content-Length: 0\r\n", "")];
    let chunked = "Transfer-Encoding: chunked\r\n";
    let more = [(chunked, BODIES[3]), (chunked, BODIES[4]), (chunked, BODIES[5]), ("transfer-encoding: CHUNKED\r\n", BODIES[6])];
    let (mut fields, mut body) = [&good[..], &more[..]].concat()[dice.roll(7)];
    let lines = format!("{}\r\n{}", dice.one(LINES), if dice.roll(2) == 0 { "" } else { "Content-Length: 5\r\n" });
    if dice.roll(100) < odd {
        fields = &lines;
    }
    if dice.roll(100) < odd {
        body = dice.one(BODIES);
    }
    format!("{method} {target} {version}\r\n{host}{fields}\r\n{body}")
}

/// One to three requests, more or less odd, and one that would go through.
fn case(number: u64) -> Vec<u8> {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..8).for_each(|_| _ = dice.roll(2));
    let odd = [0, 5, 20, 50][dice.roll(4)];
    let mut text: String = (0..=dice.roll(3)).map(|_| request(&mut dice, odd)).collect();
    for _ in 0..[0, 0, 1, 1, 2, 4][dice.roll(6)] {
        let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        let at = places[dice.roll(places.len())];
        let until = if dice.roll(2) == 0 { at } else { *places.iter().find(|place| **place > at).unwrap_or(&at) };
        text.replace_range(at..until, dice.one(SPICE));
    }
    text.push_str("GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    text.into_bytes()
}

/// Where requests end, as far as they are read, and whether what follows is refused.
fn strict(stream: &[u8]) -> (Vec<usize>, bool) {
    let (mut heads, mut buffer, mut ends) = (Heads::default(), BytesMut::from(stream), Vec::new());
    loop {
        let mut left = match heads.next(&mut buffer) {
            Ok(Some(head)) => head.left,
            Ok(None) => return (ends, false),
            Err(_) => return (ends, true),
        };
        loop {
            match left.next(&mut buffer) {
                Ok(Piece::Data(_)) => {}
                Ok(Piece::End(_)) => break,
                Ok(Piece::Unknown) => return (ends, false),
                Err(_) => return (ends, true),
            }
        }
        ends.push(stream.len() - buffer.len());
    }
}

/// The same by httparse, and by RFC 9112 where it says nothing; more forgiving, and never beyond what the RFC allows a recipient.
fn reference(stream: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while at < stream.len() {
        let Some(next) = reference_end(&stream[at..]) else { break };
        at += next;
        ends.push(at);
    }
    ends
}

fn reference_end(stream: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(stream).ok()? else { return None };
    let values = |name: &str| -> Vec<String> {
        let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named
            .flat_map(|header| String::from_utf8_lossy(header.value).split(',').map(|one| one.trim().to_lowercase()).collect::<Vec<_>>())
            .collect()
    };
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    if !codings.is_empty() {
        return (codings.last()? == "chunked").then(|| chunked_end(&stream[head..])).flatten().map(|body| head + body);
    }
    let Some(length) = lengths.first() else { return Some(head) };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) && lengths.iter().all(|one| one == length);
    let end = head.checked_add(is_number.then(|| length.parse::<usize>().ok()).flatten()?)?;
    (end <= stream.len()).then_some(end)
}

fn chunked_end(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(&body[at..]).ok()? else { return None };
        at += line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; 64];
            let httparse::Status::Complete((end, _)) = httparse::parse_headers(&body[at..], &mut trailers).ok()? else { return None };
            return Some(at + end);
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        if body.get(at..at.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}

/// A reader with a hole: the first length counts, whatever else is said.
fn careless(stream: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while let Some(head) = stream[at..].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        let text = String::from_utf8_lossy(&stream[at..at + head]).to_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        at = (at + head + 4).saturating_add(length.unwrap_or(0)).min(stream.len());
        ends.push(at);
    }
    ends
}

#[test]
fn a_hundred_thousand_streams_end_where_others_say_they_end() {
    let (mut passed, mut refused, mut stricter, mut caught) = (0, 0, 0, 0);
    for number in 0..100_000 {
        let stream = case(number);
        let ((ends, is_refused), reference) = (strict(&stream), reference(&stream));
        let shown = String::from_utf8_lossy(&stream);
        assert!(reference.starts_with(&ends), "case {number}: {ends:?} beside {reference:?} in {shown:?}");
        passed += ends.len();
        refused += usize::from(is_refused);
        stricter += usize::from(reference.len() > ends.len());
        caught += usize::from(!reference.starts_with(&careless(&stream)));
    }
    println!(
        "figure: 100000 streams: {passed} requests passed, {refused} streams refused, {stricter} stricter than the reference, {caught} ends misread by a careless reader"
    );
    assert!(passed > 10_000 && refused > 10_000 && stricter > 1_000, "{passed} {refused} {stricter}");
    assert!(caught > 1_000, "the same harness sees a reader with a hole: {caught}");
}

/// Whole requests: whom they come from, as the proxy says, their lines and bodies.
type Seen = Arc<Mutex<Vec<(String, (String, Vec<u8>))>>>;

/// Takes what was seen of one client; what another sent may come late.
fn of(seen: &Seen, client: &str) -> Vec<(String, Vec<u8>)> {
    seen.lock().unwrap().iter().filter(|(from, _)| from == client).map(|(_, request)| request.clone()).collect()
}

/// Notes each whole request.
async fn note(seen: Seen, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri().path_and_query().map_or("/", |path| path.as_str()));
    let from =
        request.headers().get("x-forwarded-for").map_or_else(String::new, |from| String::from_utf8_lossy(from.as_bytes()).into_owned());
    if let Ok(body) = request.into_body().collect().await {
        seen.lock().unwrap().push((from, (line, body.to_bytes().to_vec())));
    }
    Ok(Response::new(Full::from("ok")))
}

async fn serve(seen: Seen, stream: TcpStream) {
    let service = service_fn(move |request| note(seen.clone(), request));
    let _ = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service).await;
}

/// Sends a stream and waits until the other side has nothing more to say.
async fn send(from: Ipv4Addr, address: SocketAddr, bytes: &[u8], ends: bool) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    if ends {
        let _ = stream.shutdown().await;
    }
    let patience = if ends { Duration::from_secs(30) } else { Duration::from_millis(150) };
    let mut buffer = [0; 4096];
    while let Ok(Ok(1..)) = timeout(patience, stream.read(&mut buffer)).await {}
}

#[tokio::test]
async fn an_instance_sees_no_request_that_hyper_alone_would_not_see() {
    let (behind, alone) = (Seen::default(), Seen::default());
    let noted = behind.clone();
    let backend = Backend::run("1", move |stream| Box::pin(serve(noted.clone(), stream)));
    let world = World::new();
    world.serve(&[(&backend, 1)], 1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    let noted = alone.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(noted.clone(), stream));
        }
    });
    let (mut same, mut fewer, mut requests) = (0, 0, 0);
    for number in 1_000_000..1_000_240 {
        let stream = case(number);
        alone.lock().unwrap().clear();
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + u32::try_from(number - 1_000_000).unwrap());
        tokio::join!(send(from, world.listen, &stream, false), send(Ipv4Addr::LOCALHOST, plain, &stream, true));
        let (behind, alone) = (of(&behind, &from.to_string()), of(&alone, ""));
        let shown = String::from_utf8_lossy(&stream);
        assert!(alone.starts_with(&behind), "case {number}: {behind:?} beside {alone:?} in {shown:?}");
        requests += behind.len();
        if behind.len() == alone.len() { same += 1 } else { fewer += 1 }
    }
    println!("figure: 240 streams: {requests} requests went through, {same} streams read as hyper reads them, {fewer} cut short");
    assert!(requests > 20 && same > 20 && fewer > 20, "{requests} {same} {fewer}");
    assert_eq!(world.client.measure().await.unwrap().router_failures, 0, "a client's fault is no downtime");
}
