//! One GET, or one POST of JSON, over one connection of plain HTTP/1.1: no redirects, no retries, a bounded body. What is seen is what was answered.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::{TcpStream, ToSocketAddrs};

/// What is asked.
pub(super) struct Get<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The JSON that is sent; none for a GET.
    pub posts: Option<&'a str>,
    /// The `User-Agent` header.
    pub agent: &'a str,
    /// Further headers.
    pub headers: &'a [(String, String)],
    /// Patience with the whole exchange.
    pub timeout: Duration,
    /// No larger body is read.
    pub max_body: usize,
}

/// What came.
pub(super) struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Bytes,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
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

impl Get<'_> {
    /// Asks whoever listens on this address.
    pub async fn from(&self, address: impl ToSocketAddrs) -> Result<Answer, GetError> {
        let exchange = async {
            let stream = connect(address, self.timeout).await?;
            let failed = |err: hyper::Error| GetError::Failed(err.to_string());
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            let method = if self.posts.is_some() { Method::POST } else { Method::GET };
            let request = Request::builder()
                .method(method)
                .uri(self.path)
                .header(header::HOST, self.host)
                .header(header::USER_AGENT, self.agent)
                .header(header::CONNECTION, "close");
            let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            let request = self.posts.iter().fold(request, |request, _| request.header(header::CONTENT_TYPE, "application/json"));
            let body = Full::new(Bytes::copy_from_slice(self.posts.unwrap_or_default().as_bytes()));
            let request = request.body(body).map_err(|err| GetError::Failed(format!("`{}` cannot be asked: {err}", self.path)))?;
            let answer = async {
                let response = sender.send_request(request).await.map_err(|err| GetError::Failed(format!("no answer: {err}")))?;
                let status = response.status().as_u16();
                let location = response.headers().get(header::LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
                let body = Limited::new(response.into_body(), self.max_body).collect().await.map_err(|err| {
                    match err.is::<LengthLimitError>() {
                        true => GetError::TooLarge { status, limit: self.max_body },
                        false => GetError::Failed(format!("{status}, and the body failed: {err}")),
                    }
                })?;
                Ok(Answer { status, location, body: body.to_bytes() })
            };
            // The connection is driven here, so that nothing outlives the answer.
            tokio::pin!(answer, connection);
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                _ = &mut connection => answer.await,
            }
        };
        let late = || GetError::TimedOut(format!("no answer within {} ms", self.timeout.as_millis()));
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Returns a connection to whoever listens on this address.
pub(super) async fn connect(address: impl ToSocketAddrs, timeout: Duration) -> Result<TcpStream, GetError> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|err| GetError::Failed(format!("cannot connect: {err}"))),
        Err(_) => Err(GetError::TimedOut(format!("no connection within {} ms", timeout.as_millis()))),
    }
}
