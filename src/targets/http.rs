//! One exchange over one connection of HTTP/1.1, plain or over TLS: no redirects, no retries, a bounded body. What is seen is what was answered.

use super::tls;
use crate::model::metric::HttpAddress;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, ToSocketAddrs, lookup_host},
};

/// What is asked.
pub(super) struct Exchange<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The `User-Agent` header.
    pub agent: &'a str,
    /// Further headers.
    pub headers: &'a [(String, String)],
    /// Sent by POST as JSON; without it the exchange is a GET.
    pub body: Option<String>,
    /// Patience with the whole exchange.
    pub timeout: Duration,
    /// No larger body is read.
    pub max_body: usize,
}

/// What came.
pub(super) struct Answer {
    pub status: u16,
    headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Returns what a header says.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// Nobody listens, or the exchange broke off.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// More came than is read.
    #[error("{status}, and the body failed: it is larger than {limit} bytes")]
    TooLarge { status: u16, limit: usize },
}

impl Exchange<'_> {
    /// Asks whoever listens on this address.
    pub async fn from(&self, address: impl ToSocketAddrs) -> Result<Answer, ExchangeError> {
        self.within(async { self.over(connect(address, self.timeout).await?).await }).await
    }

    /// Asks at this address, over TLS where it says so.
    pub async fn at(&self, address: &HttpAddress) -> Result<Answer, ExchangeError> {
        self.within(async { self.on(connect((address.name(), address.port), self.timeout).await?, address).await }).await
    }

    /// Asks at this address, as [`Exchange::at`], where everything that its name leads to may be asked. The name is looked up once: what is
    /// connected to is what was looked at.
    pub async fn at_allowed(&self, address: &HttpAddress, may_be_asked: fn(IpAddr) -> bool) -> Result<Answer, ExchangeError> {
        let failed = |why: String| ExchangeError::Failed(format!("cannot connect: {why}"));
        let exchange = async {
            let found = lookup_host((address.name(), address.port)).await.map_err(|err| failed(err.to_string()))?;
            let found: Vec<SocketAddr> = found.collect();
            if !found.iter().all(|found| may_be_asked(found.ip())) {
                let host = address.name();
                return Err(failed(format!("`{host}` leads to this machine or into a private network, and it is not `private`")));
            }
            self.on(connect(&found[..], self.timeout).await?, address).await
        };
        self.within(exchange).await
    }

    async fn on(&self, stream: TcpStream, address: &HttpAddress) -> Result<Answer, ExchangeError> {
        match address.is_tls {
            true => self.over(tls::secured(stream, address.name()).await?).await,
            false => self.over(stream).await,
        }
    }

    async fn within(&self, exchange: impl Future<Output = Result<Answer, ExchangeError>>) -> Result<Answer, ExchangeError> {
        let late = || ExchangeError::TimedOut(format!("no answer within {} ms", self.timeout.as_millis()));
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| Err(late()))
    }

    async fn over(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Answer, ExchangeError> {
        let failed = |err: hyper::Error| ExchangeError::Failed(err.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let method = if self.body.is_some() { Method::POST } else { Method::GET };
        let request = Request::builder()
            .method(method)
            .uri(self.path)
            .header(header::HOST, self.host)
            .header(header::USER_AGENT, self.agent)
            .header(header::CONNECTION, "close");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = if self.body.is_some() { request.header(header::CONTENT_TYPE, "application/json") } else { request };
        let body = Full::<Bytes>::from(self.body.clone().unwrap_or_default());
        let request = request.body(body).map_err(|err| ExchangeError::Failed(format!("`{}` cannot be asked: {err}", self.path)))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|err| ExchangeError::Failed(format!("no answer: {err}")))?;
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let body =
                Limited::new(response.into_body(), self.max_body).collect().await.map_err(|err| match err.is::<LengthLimitError>() {
                    true => ExchangeError::TooLarge { status, limit: self.max_body },
                    false => ExchangeError::Failed(format!("{status}, and the body failed: {err}")),
                })?;
            Ok(Answer { status, headers, body: body.to_bytes() })
        };
        // The connection is driven here, so that nothing outlives the answer.
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    }
}

/// Returns a connection to whoever listens on this address.
pub(super) async fn connect(address: impl ToSocketAddrs, timeout: Duration) -> Result<TcpStream, ExchangeError> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|err| ExchangeError::Failed(format!("cannot connect: {err}"))),
        Err(_) => Err(ExchangeError::TimedOut(format!("no connection within {} ms", timeout.as_millis()))),
    }
}

/// Returns the text as a value in a query, or as one part of a path: everything but RFC 3986's unreserved characters as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut done, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => done.push(byte.into()),
            byte => write!(done, "%{byte:02X}").expect("a string takes all"),
        }
        done
    })
}
