//! A client's connection, over real sockets.

use super::{
    Answering, Body, BoxError, Incoming, Reply, Service,
    server::{self, IDLE},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What the service of these tests is told, and tells.
#[derive(Clone, Default)]
struct World {
    stop: CancellationToken,
    go_on: Arc<Notify>,
    given_up: Arc<Notify>,
}

struct Noted(Arc<Notify>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(Into::into).boxed_unsync()
}

/// Returns a body without a length.
fn pieces(pieces: Vec<Result<Frame<Bytes>, BoxError>>) -> Body {
    StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
}

impl World {
    async fn answer(self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let mut response = match head.uri.path() {
            "/unread" => Response::new(whole("no")),
            "/stream" => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "1".parse().unwrap());
                trailers.insert("x-unsaid", "1".parse().unwrap());
                let long = "l".repeat(2000);
                let frames = ["a", "", &long].map(|text| Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes()))));
                let mut response = Response::new(pieces(frames.into_iter().chain([Ok(Frame::trailers(trailers))]).collect()));
                response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
                response
            }
            "/cut" => Response::new(pieces(vec![Ok(Frame::data("a".into())), Err("cut".into())])),
            "/wait" => {
                let noted = Noted(self.given_up);
                body.collect().await.unwrap();
                self.go_on.notified().await;
                std::mem::forget(noted);
                Response::new(whole("waited"))
            }
            "/tunnel" => {
                let (whose, client) = oneshot::channel();
                tokio::spawn(async move {
                    let (mut from, mut to) = tokio::io::split::<crate::Upgraded>(client.await.unwrap());
                    tokio::io::copy(&mut from, &mut to).await
                });
                return Reply::Tunnel(Response::builder().status(101).body(()).unwrap(), whose);
            }
            path => {
                let text = format!("{} {path} ", head.method);
                let body = match body.collect().await {
                    Ok(body) => body.to_bytes(),
                    Err(err) => Bytes::from(format!("failed: {err}")),
                };
                Response::new(whole([text.as_bytes(), &body].concat()))
            }
        };
        response.headers_mut().insert("date", "D".parse().unwrap());
        if head.method == Method::DELETE {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        Reply::Response(response)
    }

    async fn client(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (world, stop) = (self.clone(), self.stop.clone());
        let service: Service = Arc::new(move |request| -> Answering { Box::pin(world.clone().answer(request)) });
        tokio::spawn(server::serve(listener.accept().await.unwrap().0, stop, service));
        Client(client)
    }
}

struct Client(TcpStream);

impl Client {
    async fn says(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads exactly what is expected.
    async fn hears(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        let read = self.0.read_exact(&mut heard).await;
        assert_eq!(String::from_utf8_lossy(&heard), expected, "{read:?}");
    }

    async fn hears_the_end(mut self) {
        let mut heard = Vec::new();
        let _ = self.0.read_to_end(&mut heard).await;
        assert_eq!(String::from_utf8_lossy(&heard), "");
    }
}

fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ndate: D\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn last(text: &str) -> String {
    ok(text).replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1)
}

const CHUNKED: &str = "Host: a\r\nTransfer-Encoding: chunked\r\n";

#[tokio::test]
async fn requests_are_answered_in_order_over_one_connection() {
    let mut client = World::default().client().await;
    client.says("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab").await;
    client.hears(&ok("GET /1 ")).await;
    client.says("cHEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.hears(&format!("{}HTTP/1.1 200 OK\r\ndate: D\r\n\r\n", ok("POST /2 abc"))).await;
    client.says(&format!("PUT /4 HTTP/1.1\r\n{CHUNKED}\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\nDELETE /5 HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    client.hears(&format!("{}HTTP/1.1 204 No Content\r\ndate: D\r\n\r\n", ok("PUT /4 abc"))).await;
    client.says("GET /6 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /7 HTTP/1.0\r\n\r\nGET /8 HTTP/1.0\r\n\r\n").await;
    client.hears(&ok("GET /6 ").replacen("\r\n\r\n", "\r\nconnection: keep-alive\r\n\r\n", 1)).await;
    client.hears(&last("GET /7 ")).await;
    client.hears_the_end().await;
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_when_somebody_wants_it() {
    let ask = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let mut client = World::default().client().await;
    client.says(&ask("/1")).await;
    client.hears("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.says("abc").await;
    client.hears(&ok("POST /1 abc")).await;
    client.says(&format!("{}abc", ask("/2"))).await;
    client.hears(&ok("POST /2 abc")).await;
    client.says(&ask("/unread")).await;
    client.hears(&last("no")).await;
    client.hears_the_end().await;
}

#[tokio::test]
async fn a_body_nobody_reads_ends_the_connection_unless_all_of_it_has_come() {
    let mut client = World::default().client().await;
    client.says("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.hears(&format!("{}{}", ok("no"), ok("GET /1 "))).await;
    client.says("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\nabc").await;
    client.hears(&last("no")).await;
    // The answer is not lost to a client that sends on.
    client.says(&"x".repeat(1_000_000)).await;
    client.hears_the_end().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_the_last() {
    let mut client = World::default().client().await;
    client.says(&format!("POST /1 HTTP/1.1\r\n{CHUNKED}\r\n1\r\nab\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    client.hears(&last("POST /1 failed: a chunk longer than it says")).await;
    client.hears_the_end().await;
}

#[tokio::test]
async fn a_body_without_a_length_goes_in_chunks_with_what_was_announced_behind_it() {
    let long = "l".repeat(2000);
    let head = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ndate: D\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = World::default().client().await;
    for (te, trailers) in [("", ""), ("TE: trailers\r\n", "x-sum: 1\r\n")] {
        client.says(&format!("GET /stream HTTP/1.1\r\nHost: a\r\n{te}\r\n")).await;
        client.hears(&format!("{head}1\r\na\r\n7d0\r\n{long}\r\n0\r\n{trailers}\r\n")).await;
    }
    client.says("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    client.hears(&format!("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ndate: D\r\nconnection: close\r\n\r\na{long}")).await;
    client.hears_the_end().await;
}

#[tokio::test]
async fn a_body_that_is_cut_does_not_look_whole() {
    let mut client = World::default().client().await;
    client.says("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.hears("HTTP/1.1 200 OK\r\ndate: D\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut rest = String::new();
    client.0.read_to_string(&mut rest).await.unwrap();
    assert!(!rest.contains("0\r\n\r\n"), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_and_an_idle_connection_closed() {
    let (world, began) = (World::default(), Instant::now());
    let (mut client, mut slow) = (world.client().await, world.client().await);
    slow.says("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let mut refusal = String::new();
    slow.0.read_to_string(&mut refusal).await.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 400 Bad Request\r\n") && refusal.ends_with("connection: close\r\n\r\n"), "{refusal}");
    assert!((10..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    client.says("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.hears(&ok("GET /1 ")).await;
    let idle = Instant::now();
    client.hears_the_end().await;
    assert!((IDLE.as_secs()..IDLE.as_secs() + 5).contains(&idle.elapsed().as_secs()), "{:?}", idle.elapsed());
}

#[tokio::test]
async fn told_to_stop_it_ends_with_the_request_it_is_at() {
    let world = World::default();
    let (mut idle, mut busy, mut asking) = (world.client().await, world.client().await, world.client().await);
    idle.says("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.hears(&ok("GET /1 ")).await;
    busy.says("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    asking.says("GET /2 HTTP/1.1\r\nHost: a\r\n").await;
    tokio::task::yield_now().await;
    world.stop.cancel();
    idle.hears_the_end().await;
    world.go_on.notify_one();
    busy.hears(&last("waited")).await;
    busy.hears_the_end().await;
    asking.says("\r\n").await;
    asking.hears(&last("GET /2 ")).await;
    asking.hears_the_end().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_answered_no_further() {
    let world = World::default();
    for body in ["\r\n", "Content-Length: 1\r\n\r\na"] {
        let mut client = world.client().await;
        client.says(&format!("POST /wait HTTP/1.1\r\nHost: a\r\n{body}")).await;
        tokio::task::yield_now().await;
        drop(client);
        world.given_up.notified().await;
    }
}

#[tokio::test]
async fn a_tunnel_passes_what_came_early_and_anything_after() {
    let mut client = World::default().client().await;
    client.says("GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n\0early").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.0.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
    client.hears("\0early").await;
    client.says("GET nothing").await;
    client.hears("GET nothing").await;
}

#[tokio::test]
async fn an_answer_says_when_it_was_made() {
    let mut client = World::default().client().await;
    client.says("GARBAGE\r\n\r\n").await;
    let mut refusal = String::new();
    client.0.read_to_string(&mut refusal).await.unwrap();
    let date = refusal.split("date: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    assert!(httpdate::parse_http_date(date).is_ok(), "{refusal}");
}

#[test]
fn a_runtime_that_ends_under_an_upload_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let mut client = World::default().client().await;
        client.says("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
        // Somebody reads the body now.
        client.hears("HTTP/1.1 100 Continue\r\n\r\n").await;
        client
    });
    drop(runtime);
    drop(client);
}
