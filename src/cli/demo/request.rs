//! One request over one real connection, with what can go wrong told apart: the demo's counts rest on it.

use super::app::VERSION_HEADER;
use futures_util::{
    StreamExt,
    io::{BufReader, BufWriter},
    stream,
};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Bytes, Frame},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// How large the pieces of a posted body are: several, so that the body is really streamed.
const PIECE: usize = 4096;

/// What a request came to when it got no answer of the application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("refused: {0}")]
    Refused(String),
    /// The connection ended before the answer's last byte.
    #[error("cut: {0}")]
    Cut(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The router answered in the application's place.
    #[error("the router answered {0}")]
    RouterMade(u16),
}

/// What the application answered, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The version that answered; empty when it did not say.
    pub version: String,
    /// The body to its last byte.
    pub body: Bytes,
    /// Whether the other side said that it closes the connection.
    pub closing: bool,
    /// From the first byte sent to the last one received.
    pub took: Duration,
}

/// A connection that is kept until the other side says that it closes.
pub struct Connection {
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    host: String,
    patience: Duration,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr, patience: Duration) -> Result<Self, Failure> {
        let stream = connect(address, patience).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|err| Failure::Cut(err.to_string()))?;
        tokio::spawn(connection);
        Ok(Connection { sender, host: address.to_string(), patience })
    }

    /// Sends a GET.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, Full::default().boxed()).await
    }

    /// Sends a POST whose body is streamed in pieces, without a length.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Answer, Failure> {
        self.post_slowly(path, body, Duration::ZERO).await
    }

    /// Posts a body that takes so long to be sent.
    pub async fn post_slowly(&mut self, path: &str, body: Bytes, upload: Duration) -> Result<Answer, Failure> {
        let pieces: Vec<_> = (0..body.len()).step_by(PIECE).map(|start| body.slice(start..(start + PIECE).min(body.len()))).collect();
        let pause = upload / u32::try_from(pieces.len().max(1)).unwrap_or(u32::MAX);
        let pieces = stream::iter(pieces).then(move |piece| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Ok(Frame::data(piece))
        });
        self.send(Method::POST, path, BodyExt::boxed(StreamBody::new(pieces))).await
    }

    async fn send(&mut self, method: Method, path: &str, body: BoxBody<Bytes, Infallible>) -> Result<Answer, Failure> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, &self.host).body(body);
        let request = request.map_err(|err| Failure::Cut(err.to_string()))?;
        let (started, cut) = (Instant::now(), |err: hyper::Error| Failure::Cut(describe(&err)));
        let answered = timeout_at(started + self.patience, async {
            self.sender.ready().await.map_err(cut)?;
            let (head, body) = self.sender.send_request(request).await.map_err(cut)?.into_parts();
            Ok((head, body.collect().await.map_err(cut)?.to_bytes()))
        });
        let (head, body) = answered.await.map_err(|_| Failure::TimedOut(self.patience))??;
        let text = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
        // The demo's application never makes one of these itself.
        if matches!(head.status.as_u16(), 502..=504) {
            return Err(Failure::RouterMade(head.status.as_u16()));
        }
        Ok(Answer {
            status: head.status,
            version: text(VERSION_HEADER).to_owned(),
            closing: text("connection").eq_ignore_ascii_case("close"),
            body,
            took: started.elapsed(),
        })
    }
}

/// An open websocket.
pub struct Socket {
    sender: soketto::Sender<Stream>,
    receiver: soketto::Receiver<Stream>,
    patience: Duration,
}

type Stream = BufReader<BufWriter<Compat<TcpStream>>>;

/// What came back over a websocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Echo {
    /// A message.
    Message(String),
    /// A close frame with its code; 1005 where it had none.
    Closed(u16),
}

impl Socket {
    /// Connects and shakes hands.
    pub async fn open(address: SocketAddr, path: &str, patience: Duration) -> Result<Self, Failure> {
        let stream = connect(address, patience).await?;
        let (host, stream) = (address.to_string(), BufReader::new(BufWriter::new(stream.compat())));
        let mut client = soketto::handshake::Client::new(stream, &host, path);
        let response = tokio::time::timeout(patience, client.handshake()).await.map_err(|_| Failure::TimedOut(patience))?;
        match response.map_err(|err| Failure::Cut(err.to_string()))? {
            soketto::handshake::ServerResponse::Accepted { .. } => (),
            soketto::handshake::ServerResponse::Redirect { status_code, .. }
            | soketto::handshake::ServerResponse::Rejected { status_code } => {
                return Err(Failure::RouterMade(status_code));
            }
        }
        let (sender, receiver) = client.into_builder().finish();
        Ok(Socket { sender, receiver, patience })
    }

    /// Sends a message and waits for what comes back.
    pub async fn echo(&mut self, text: &str) -> Result<Echo, Failure> {
        let exchange = async {
            // A failed send is not the news: the close frame that explains it may already wait to be read.
            let sent = match self.sender.send_text(text).await {
                Ok(()) => self.sender.flush().await,
                Err(err) => Err(err),
            };
            let mut message = Vec::new();
            match (self.receiver.receive(&mut message).await, sent) {
                (Ok(soketto::Incoming::Data(_)), Ok(())) => Ok(Echo::Message(String::from_utf8_lossy(&message).into_owned())),
                (Ok(soketto::Incoming::Closed(reason)), _) => Ok(Echo::Closed(reason.code)),
                (Ok(_), Ok(())) => Err(Failure::Cut("an unexpected frame".into())),
                (Err(err), _) | (_, Err(err)) => Err(Failure::Cut(err.to_string())),
            }
        };
        tokio::time::timeout(self.patience, exchange).await.map_err(|_| Failure::TimedOut(self.patience))?
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(self.patience, self.sender.close()).await;
    }
}

async fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, Failure> {
    let stream = tokio::time::timeout(patience, TcpStream::connect(address)).await.map_err(|_| Failure::TimedOut(patience))?;
    let stream = stream.map_err(|err| Failure::Refused(err.to_string()))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Returns an error with its cause, which hyper keeps apart.
fn describe(err: &hyper::Error) -> String {
    match std::error::Error::source(err) {
        Some(cause) => format!("{err}: {cause}"),
        None => err.to_string(),
    }
}
