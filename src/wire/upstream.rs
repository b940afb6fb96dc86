//! A connection to an instance. It carries one request at a time and is driven by whoever waits for the answer: no task of its own, no
//! channel, nobody to wake.

use super::{
    download::Download,
    headers::Ask,
    outgoing::{Halted, Outgoing},
    response,
    upload::Upload,
};
use bytes::BytesMut;
use http::Response;
use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long an answer may still come after the instance has hung up on the request: it may have answered before it had read all of it.
const HELD: Duration = Duration::from_secs(5);

/// A connection that can carry a request.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// How much is read at once, by what came before.
    room: usize,
}

/// Why no answer came.
#[derive(Debug)]
pub enum Unanswered {
    /// The instance has seen nothing of the request; here is its body, whole.
    Unsent(Upload, io::Error),
    /// The client broke off its body, or sent one that cannot be read.
    Client,
    /// The instance broke off, or answered what cannot be read.
    Broken(io::Error),
}

impl Connection {
    /// Opens a connection; how long that may take is the caller's business.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection::of(stream, BytesMut::new(), response::ROOM))
    }

    pub(super) fn of(stream: TcpStream, buffer: BytesMut, room: usize) -> Self {
        Connection { stream, buffer, room }
    }

    /// Returns whether it is open and silent, as one is that nobody uses. The kernel is asked only when something has come.
    pub fn is_free(&self) -> bool {
        self.buffer.is_empty() && matches!(self.stream.try_read(&mut [0]), Err(err) if err.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and returns the head of its response with what reads the rest. Given up halfway, the connection is closed.
    pub fn send(self, ask: &Ask, upload: Upload) -> Pin<Box<dyn Future<Output = Result<Response<Download>, Unanswered>> + Send + '_>> {
        // Boxed: an async function is compiled where it is waited for, and this is the package that is compiled for speed.
        Box::pin(self.exchange(ask, upload))
    }

    async fn exchange(self, ask: &Ask, upload: Upload) -> Result<Response<Download>, Unanswered> {
        let mut wait = Turn::default();
        poll_fn(|cx| wait.poll(cx)).await;
        // It may have been left, or have spoken unasked, while others went first.
        if !self.is_free() {
            return Err(Unanswered::Unsent(upload, io::ErrorKind::ConnectionAborted.into()));
        }
        let Connection { mut stream, mut buffer, room } = self;
        let mut request = Outgoing::new(ask, upload);
        let (mut is_sent, mut held) = (false, None::<Pin<Box<Sleep>>>);
        let answer = poll_fn(|cx| {
            if !is_sent && held.is_none() {
                match request.poll_send(cx, &mut stream) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => is_sent = true,
                    Poll::Ready(Err(Halted::Client)) => return Poll::Ready(Err(Unanswered::Client)),
                    Poll::Ready(Err(Halted::Instance(err))) => match request.take_back() {
                        Some(upload) => return Poll::Ready(Err(Unanswered::Unsent(upload, err))),
                        // Such a hang-up may follow an answer that waits to be read, so reading goes on.
                        None => held = Some(Box::pin(sleep(HELD))),
                    },
                }
            }
            let answer = response::poll_read(cx, &mut stream, &mut buffer, room, &ask.head.method);
            match &mut held {
                Some(patience) if answer.is_pending() => {
                    ready!(patience.as_mut().poll(cx));
                    Poll::Ready(Err(Unanswered::Broken(io::ErrorKind::BrokenPipe.into())))
                }
                _ => answer.map_err(Unanswered::Broken),
            }
        })
        .await?;
        // What is large goes on at once, while the processor has it at hand.
        if buffer.len() <= response::ROOM {
            let mut wait = Turn::default();
            poll_fn(|cx| wait.poll(cx)).await;
        }
        if is_sent {
            return Ok(answer.with_body(|left, is_kept| Download::new(stream, buffer, left, is_kept)));
        }
        if held.is_some() {
            return Ok(answer.with_body(|left, _| Download::new(stream, buffer, left, false)));
        }
        // It answers while the request is still on its way, which goes on by itself: neither waits for the other.
        let (read, mut write) = stream.into_split();
        let sending = tokio::spawn(async move {
            let sent = poll_fn(|cx| request.poll_send(cx, &mut write)).await;
            if sent.is_ok() {
                // Not closed: an instance may take that for a client that has left, and give up its answer.
                write.forget();
            }
            matches!(sent, Err(Halted::Client))
        });
        Ok(answer.with_body(|left, _| Download::beside(read, buffer, left, sending)))
    }
}

/// Lets everybody go first who is ready already.
///
/// What many connections have to write is then written in one go: whoever reads it on another core is woken once for all of it, and not
/// for each, which costs more than everything else that is done for a request.
#[derive(Default)]
struct Turn {
    has_come: bool,
}

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_come {
            return Poll::Ready(());
        }
        self.has_come = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::prepare;
    use http::{HeaderValue, Request, StatusCode};
    use http_body::Frame;
    use http_body_util::BodyExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
        time::timeout,
    };

    /// An instance that reads until `END` and then does as it is told with its connection.
    async fn instance<F: Future<Output = ()> + Send + 'static>(
        end: &'static str,
        then: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> (Connection, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let saw = tokio::spawn(async move {
            let (mut stream, mut seen) = (listener.accept().await.unwrap().0, String::new());
            while !seen.ends_with(end) {
                seen.push(char::from(stream.read_u8().await.unwrap()));
            }
            then(stream).await;
            seen
        });
        (Connection::open(address).await.unwrap(), saw)
    }

    fn ask(request: http::request::Builder) -> Ask {
        prepare(request.body(()).unwrap().into_parts().0, &HeaderValue::from_static("c"))
    }

    fn get() -> Ask {
        ask(Request::get("/a?b=1").header("host", "a.test"))
    }

    fn post(header: &str, value: &str) -> Ask {
        ask(Request::post("/").header("host", "a").header(header, value))
    }

    fn none() -> Upload {
        Upload::none()
    }

    async fn says(bytes: &'static str, mut stream: TcpStream) {
        stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn one_connection_carries_one_request_after_the_other() {
        let answers = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 Fine\r\ncontent-length: 3\r\n\r\nabc";
        let (mut connection, saw) = instance("\r\n\r\n", async |mut stream| {
            stream.write_all(answers.as_bytes()).await.unwrap();
            let mut second = [0; 108];
            stream.read_exact(&mut second).await.unwrap();
            stream.write_all(answers.as_bytes()).await.unwrap();
            let _ = stream.read(&mut second).await;
        })
        .await;
        for _ in 0..2 {
            assert!(connection.is_free());
            let mut response = connection.send(&get(), none()).await.unwrap();
            assert_eq!((response.status(), response.headers().len()), (StatusCode::OK, 1));
            assert_eq!(response.extensions().get::<crate::response::Reason>().unwrap().0, "Fine");
            let body = response.body_mut().collect().await.unwrap().to_bytes();
            assert_eq!(body, "abc");
            connection = response.into_body().release().expect("it can be used again");
        }
        drop(connection);
        let forwarded = "x-forwarded-for: c\r\nx-forwarded-host: a.test\r\nx-forwarded-proto: http";
        assert_eq!(saw.await.unwrap(), format!("GET /a?b=1 HTTP/1.1\r\nhost: a.test\r\n{forwarded}\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_large_answer_is_read_in_one_go_after_another_and_leaves_no_room_behind() {
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 64 << 10, "x".repeat(64 << 10));
        let (mut connection, saw) = instance("\r\n\r\n", async move |mut stream| {
            stream.write_all(large.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 200]).await;
            stream.write_all(large.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 200]).await;
            says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", stream).await;
        })
        .await;
        for (body, room) in [(64 << 10, response::ROOM), (64 << 10, response::LARGE_ROOM), (2, response::LARGE_ROOM)] {
            assert_eq!((connection.room, connection.buffer.capacity()), (room, 0), "what nobody uses holds nothing");
            let mut response = connection.send(&get(), none()).await.unwrap();
            assert_eq!(response.body_mut().collect().await.unwrap().to_bytes().len(), body);
            connection = response.into_body().release().expect("it can be used again");
        }
        assert_eq!(connection.room, response::ROOM, "and a small one is read as before");
        drop(connection);
        saw.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_the_instance_has_left_is_not_free_and_sends_nothing() {
        let (connection, saw) = instance("", async |stream| drop(stream)).await;
        saw.await.unwrap();
        while connection.is_free() {
            tokio::task::yield_now().await;
        }
        let sent = connection.send(&get(), none()).await;
        assert!(matches!(sent, Err(Unanswered::Broken(_) | Unanswered::Unsent(..))), "{sent:?}");
    }

    #[tokio::test]
    async fn an_answer_before_the_requests_end_is_read_though_the_instance_has_hung_up() {
        let (connection, saw) = instance("0123", async |stream| says("HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n", stream).await).await;
        let (client, upload) = Upload::fed(Some(1_000_000_000));
        let feeding = tokio::spawn(async move {
            while client.send(Frame::data("0123456789".repeat(1000).into())).await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        let response = connection.send(&post("content-length", "1000000000"), upload).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(response.into_body().release().is_none(), "half a request was sent on it");
        feeding.await.unwrap();
        saw.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_does_not_keep_the_rest_of_the_request() {
        let (connection, saw) = instance("\r\n\r\n", async |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await.unwrap();
            let mut rest = String::new();
            while !rest.ends_with("0\r\n\r\n") {
                rest.push(char::from(stream.read_u8().await.unwrap()));
            }
            // An end would tell it that its client has left.
            assert!(timeout(Duration::from_millis(200), stream.read_u8()).await.is_err(), "the connection stays open for the answer");
            stream.write_all(format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len()).as_bytes()).await.unwrap();
        })
        .await;
        let (client, upload) = Upload::fed(None);
        let mut response = connection.send(&post("transfer-encoding", "chunked"), upload).await.unwrap();
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        client.send(Frame::data("xyz".into())).await.unwrap();
        client.end().await;
        assert_eq!(response.body_mut().collect().await.unwrap().to_bytes(), "3\r\nxyz\r\n0\r\n\r\n");
        assert!(saw.await.unwrap().ends_with("transfer-encoding: chunked\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_request_broken_off_by_its_client_is_the_clients_fault() {
        let (connection, saw) = instance("ab", async |mut stream| _ = stream.read(&mut [0; 9]).await).await;
        let (client, upload) = Upload::fed(Some(5));
        client.send(Frame::data("ab".into())).await.unwrap();
        drop(client);
        let sent = connection.send(&post("content-length", "5"), upload).await;
        assert!(matches!(sent, Err(Unanswered::Client)), "{sent:?}");
        saw.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_in_the_middle_ends_an_answer_that_had_begun() {
        let (connection, saw) = instance("\r\n\r\n", async |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await.unwrap();
            // It is silent from here on, and waits for the rest.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let (client, upload) = Upload::fed(None);
        let mut response = connection.send(&post("transfer-encoding", "chunked"), upload).await.unwrap();
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        drop(client);
        assert!(response.body_mut().frame().await.unwrap().is_err(), "the answer ends with its client");
        drop(response);
        saw.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_no_answer() {
        for cut in ["HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 100 Continue\r\n\r\n", "", "garbage\r\n\r\n"] {
            let (connection, saw) = instance("\r\n\r\n", move |stream| says(cut, stream)).await;
            let sent = connection.send(&get(), none()).await;
            assert!(matches!(sent, Err(Unanswered::Broken(_))), "{cut}: {sent:?}");
            saw.await.unwrap();
        }
    }
}
