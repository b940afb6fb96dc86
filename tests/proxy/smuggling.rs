//! Requests that two parsers could read in two ways, byte by byte.

use super::world::{Backend, World, eventually};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What every attack tries to get through as a request of its own.
const SMUGGLED: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

const REFUSED: [(&str, &str); 44] = [
    ("length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 33\r\n\r\n"),
    ("one length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n"),
    ("a length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    ("a hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nabcde"),
    ("a length beyond any number", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("a length with a space in it", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\n"),
    ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("a coding like chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked with a parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("chunked in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("coding twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a vertical tab before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("an empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    ("coding in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a space before the colon of the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a space before a colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("a folded value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"),
    ("a folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n"),
    ("a space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("line feeds alone", "GET / HTTP/1.1\nHost: a\n\n"),
    ("one line feed alone", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    ("a carriage return in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: 1\r\n\r\n"),
    ("a zero byte in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: y\0\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    ("another host in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("connect", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ("a target without a slash", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/0.9", "GET /\r\n\r\n"),
    ("HTTP/1.9", "GET / HTTP/1.9\r\nHost: a\r\n\r\n"),
    ("a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n\r\n"),
    ("a header without a name", "GET / HTTP/1.1\r\nHost: a\r\n: chunked\r\n\r\n"),
];

/// Bodies that go wrong after a good head: the instance may see the beginning, never an end, and nothing behind it.
const BROKEN_BODIES: [(&str, &str); 10] = [
    ("a chunk's size in 0x", "0x1\r\nx\r\n0\r\n\r\n"),
    ("a space behind the size", "1 \r\nx\r\n0\r\n\r\n"),
    ("a size with a sign", "+1\r\nx\r\n0\r\n\r\n"),
    ("a line feed alone behind the size", "1\nx\r\n0\r\n\r\n"),
    ("more in a chunk than it says", "1\r\nxyz\r\n0\r\n\r\n"),
    ("a size beyond any number", "ffffffffffffffff1\r\nx\r\n0\r\n\r\n"),
    ("a line feed in an extension", "1;a\nb\r\nx\r\n0\r\n\r\n"),
    ("a trailer whose name is none", "1\r\nx\r\n0\r\nC\x0bntent-Length: 5\r\n\r\n"),
    ("a control byte in a trailer", "1\r\nx\r\n0\r\nX: \x01\r\n\r\n"),
    ("a length among the trailers", "1\r\nx\r\n0\r\nContent-Length: 5\r\n\r\n"),
];

type Seen = Arc<Mutex<Vec<u8>>>;

/// An instance that notes every byte and answers each head.
fn collector() -> (Backend, Seen) {
    let seen = Seen::default();
    let noted = seen.clone();
    let backend = Backend::run("1", move |mut stream| {
        let seen = noted.clone();
        Box::pin(async move {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                seen.lock().unwrap().extend(&bytes[..count]);
                if seen.lock().unwrap().ends_with(b"\r\n\r\n") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        })
    });
    (backend, seen)
}

/// Sends bytes and returns all that comes back until the proxy closes.
async fn exchange(listen: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    read.expect("the proxy closes the connection").or_else(|err| if answer.is_empty() { Err(err) } else { Ok(0) }).unwrap();
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused() {
    let (backend, seen) = collector();
    let world = World::new();
    world.serve(&[(&backend, 1)], 1).await;
    let plain = exchange(world.listen, b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(plain.starts_with("http/1.1 200"), "{plain}");
    assert!(seen.lock().unwrap().starts_with(b"GET /plain HTTP/1.1\r\n"), "the same harness sees what goes through");
    for (name, attack) in REFUSED {
        seen.lock().unwrap().clear();
        let answer = exchange(world.listen, format!("{attack}{SMUGGLED}").as_bytes()).await;
        assert!(answer.starts_with("http/1.1 400"), "{name}: {answer}");
        assert!(answer.contains("connection: close"), "{name}: {answer}");
        assert_eq!(answer.matches("http/1.1").count(), 1, "{name}: {answer}");
        assert_eq!(String::from_utf8_lossy(&seen.lock().unwrap()), "", "{name}");
    }
    for (name, body) in BROKEN_BODIES {
        seen.lock().unwrap().clear();
        let attack = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}");
        let answer = exchange(world.listen, attack.as_bytes()).await;
        assert!(!answer.contains("admin"), "{name}: {answer}");
        let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
        assert!(!seen.contains("admin") && !seen.ends_with("0\r\n\r\n"), "{name}: {seen}");
    }
    let measured = world.client.measure().await.unwrap();
    assert_eq!(measured.router_failures, 0, "a client's fault is no downtime");
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let (backend, seen) = collector();
    let world = World::new();
    world.serve(&[(&backend, 1)], 1).await;
    for head in [format!("X: {}\r\n", "x".repeat(100_000)), "X: y\r\n".repeat(120), "X: y\r\n".repeat(500)] {
        let answer = exchange(world.listen, format!("GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n").as_bytes()).await;
        assert!(answer.starts_with("http/1.1 431"), "{answer}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let (backend, seen) = collector();
    let world = World::new();
    world.serve(&[(&backend, 1)], 1).await;
    let asks = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
    let answer = exchange(world.listen, asks.as_bytes()).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).to_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings") && !seen.contains("connection"), "{seen}");
}

#[tokio::test]
async fn an_instance_that_upgrades_unasked_gets_no_tunnel() {
    let backend = Backend::run("1", |mut stream| {
        Box::pin(async move {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
            let _ = stream.read(&mut bytes).await;
        })
    });
    let world = World::new();
    world.serve(&[(&backend, 1)], 1).await;
    let answer = exchange(world.listen, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("http/1.1 502"), "{answer}");
    eventually("it is counted", async || world.client.measure().await.unwrap().router_failures == 1).await;
}
