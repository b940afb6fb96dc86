//! Connections to instances.

use super::{early::Early, upload::Upload};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use std::{io, net::SocketAddr};
use tokio::net::TcpStream;

/// A connection that can carry a request.
pub type Sender = SendRequest<Upload>;

/// What came back; the error holds the request while the instance has seen nothing of it.
pub type Sent = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

/// Opens a connection; how long that may take is the caller's business.
pub async fn connect(address: SocketAddr) -> io::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(Early::new(stream))).await.map_err(io::Error::other)?;
    // Its error is the request's, which hears of it by itself.
    tokio::spawn(async move { _ = connection.with_upgrades().await });
    Ok(sender)
}

/// Sends a request and returns the head of its response.
pub async fn send(sender: &mut Sender, request: Request<Upload>) -> Sent {
    sender.try_send_request(request).await
}
