//! A client's connection.

use super::{
    framing::MAX_HEAD,
    guard::{Guard, HEAD_DEADLINE, Tunnel},
};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Why a body ended early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A response, on its way.
pub type Reply = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What answers requests.
pub type Service = Arc<dyn Fn(Request<Incoming>) -> Reply + Send + Sync>;

/// How long a client's connection may be idle between requests.
const IDLE: Duration = Duration::from_secs(75);

/// Serves a client until it leaves or the connection breaks; after `stop` ends with the request it is at.
///
/// How a connection ends is the client's affair, or was counted where it failed.
pub async fn serve(stream: TcpStream, tunnel: Tunnel, stop: CancellationToken, service: Service) {
    let answer = service_fn(move |request| {
        let reply = service(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Guard::new(stream, tunnel, HEAD_DEADLINE)), answer)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
