//! A client's connection: one request after the other, each answered before the next is read.

use super::{
    incoming::{Back, Incoming, Reading},
    left::{Left, Piece},
    reply::{self, Asked, Sending},
    request::{Head, Refused},
    upgraded::Upgraded,
};
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::oneshot::{self, error::TryRecvError},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Why a body ended early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What a request is answered.
pub enum Reply {
    /// A response.
    Response(Response<Body>),
    /// The connection becomes a stream of bytes once this has been said, and goes to whoever waits for it.
    Tunnel(Response<()>, oneshot::Sender<Upgraded>),
}

/// A reply, on its way.
pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What answers requests.
pub type Service = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// How long a client's connection may be idle between requests.
pub(super) const IDLE: Duration = Duration::from_secs(75);

/// How long a head may take from its first byte.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Serves a client until it leaves or the connection breaks; after `stop` ends with the request it is at.
///
/// How a connection ends is the client's affair, or was counted where it failed.
pub fn serve(stream: TcpStream, stop: CancellationToken, service: Service) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    // Boxed: an async function is compiled where it is waited for.
    Box::pin(async move {
        let (read, write) = stream.into_split();
        let client = Client {
            side: Side::Here(Reading::new(read)),
            write,
            stopped: Box::pin(stop.clone().cancelled_owned()),
            stop,
            alarm: Box::pin(sleep_until(Instant::now() + IDLE)),
            head_began: None,
        };
        // An error is the end: of what had to be said, all has been.
        let _ = client.serve(service).await;
    })
}

/// A client's connection.
struct Client {
    side: Side,
    write: OwnedWriteHalf,
    stop: CancellationToken,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs on between requests: to set it anew for each costs more than to look, when it goes off, whether it is time.
    alarm: Pin<Box<Sleep>>,
    /// When the first byte was there of a head that is not whole.
    head_began: Option<Instant>,
}

/// Where the client's side of the connection is.
enum Side {
    /// Nobody reads a body.
    Here(Reading),
    /// With the body of the request.
    Lent(oneshot::Receiver<Back>),
    /// It came back in the middle of a body that nobody reads on: there is no next request.
    Halfway(Reading),
    Gone,
}

/// Why there is no next request.
enum Ended {
    /// The client has left, has been idle for too long, or all are told to stop.
    Left,
    /// What it sent is no request.
    Refused(Refused),
}

impl Client {
    async fn serve(mut self, service: Service) -> io::Result<()> {
        loop {
            let began = Instant::now();
            let head = match poll_fn(|cx| self.poll_head(cx, began)).await {
                Ok(head) => head,
                Err(Ended::Left) => return Ok(()),
                Err(Ended::Refused(why)) => {
                    tracing::debug!("refused a request: {why:?}");
                    self.write.write_all(&reply::refusal(why)).await?;
                    self.stay_halfway();
                    return self.close().await;
                }
            };
            let Head { parts, left, is_kept, awaits_continue, takes_trailers } = head;
            let asked = Asked::of(&parts, takes_trailers);
            let is_answered = awaits_continue.then(Arc::<AtomicBool>::default);
            let body = if left.is_over() { Incoming::none() } else { self.lend(left, is_answered.clone()) };
            let mut answering = service(Request::from_parts(parts, body));
            let reply = poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Ready(reply) => Poll::Ready(Some(reply)),
                Poll::Pending => self.poll_leave(cx).map(|()| None),
            });
            let Some(reply) = reply.await else { return Ok(()) };
            drop(answering);
            if let Some(is_answered) = is_answered {
                is_answered.store(true, Relaxed);
            }
            let response = match reply {
                Reply::Response(response) => response,
                Reply::Tunnel(head, whose) => return self.become_tunnel(head, whose).await,
            };
            let (mut sending, is_kept) = Sending::new(response, &asked, is_kept && !self.is_last());
            poll_fn(|cx| match sending.poll_send(cx, &mut self.write) {
                Poll::Pending => self.poll_leave(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into())),
                sent => sent,
            })
            .await?;
            drop(sending);
            if !is_kept || !self.has_next().await {
                return self.close().await;
            }
        }
    }

    /// Returns the next request's head.
    fn poll_head(&mut self, cx: &mut Context<'_>, began: Instant) -> Poll<Result<Head, Ended>> {
        let Side::Here(reading) = &mut self.side else { return Poll::Ready(Err(Ended::Left)) };
        match reading.poll_head(cx) {
            Poll::Ready(Ok(Some(head))) => {
                self.head_began = None;
                return Poll::Ready(Ok(head));
            }
            Poll::Ready(Ok(None)) => return Poll::Ready(Err(Ended::Left)),
            Poll::Ready(Err(why)) => return Poll::Ready(Err(Ended::Refused(why))),
            Poll::Pending => {}
        }
        let is_idle = reading.buffer.is_empty();
        let until = if is_idle {
            // It was no head that had begun, but a line end too many.
            self.head_began = None;
            began + IDLE
        } else {
            *self.head_began.get_or_insert_with(Instant::now) + HEAD_DEADLINE
        };
        // A request that is on its way in is still answered.
        if is_idle && self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Ended::Left));
        }
        ready!(self.poll_alarm(cx, until));
        Poll::Ready(Err(if is_idle { Ended::Left } else { Ended::Refused(Refused::Malformed("too slow a head")) }))
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        if self.alarm.deadline() > until {
            self.alarm.as_mut().reset(until);
        }
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(until);
        }
    }

    fn lend(&mut self, left: Left, is_answered: Option<Arc<AtomicBool>>) -> Incoming {
        let Side::Here(reading) = std::mem::replace(&mut self.side, Side::Gone) else { return Incoming::none() };
        let (body, back) = Incoming::lend(reading, left, is_answered);
        self.side = Side::Lent(back);
        body
    }

    /// Takes the client's side back; ready when no body has it any more.
    fn poll_back(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Side::Lent(back) = &mut self.side {
            self.side = match ready!(Pin::new(back).poll(cx)) {
                Ok((reading, left)) => settled(reading, left),
                Err(_) => Side::Gone,
            };
        }
        Poll::Ready(())
    }

    /// Returns when the client has left while it is answered. What it asks next meanwhile is kept, and hides that.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_back(cx));
        let Side::Here(reading) = &mut self.side else { return Poll::Pending };
        while reading.buffer.is_empty() {
            if !matches!(ready!(reading.poll_more(cx)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Returns whether the client has to be told that no other request is answered.
    fn is_last(&mut self) -> bool {
        // Whoever answered may have given the body back since it was last looked for.
        if let Side::Lent(back) = &mut self.side {
            match back.try_recv() {
                Ok((reading, left)) => self.side = settled(reading, left),
                Err(TryRecvError::Closed) => self.side = Side::Gone,
                Err(TryRecvError::Empty) => {}
            }
        }
        self.stop.is_cancelled() || matches!(self.side, Side::Halfway(_) | Side::Gone)
    }

    /// What follows is no request, whatever it is.
    fn stay_halfway(&mut self) {
        self.side = match std::mem::replace(&mut self.side, Side::Gone) {
            Side::Here(reading) => Side::Halfway(reading),
            other => other,
        };
    }

    /// Waits for the end of the body; returns whether a request can follow it.
    async fn has_next(&mut self) -> bool {
        poll_fn(|cx| self.poll_back(cx)).await;
        matches!(self.side, Side::Here(_))
    }

    async fn become_tunnel(self, head: Response<()>, whose: oneshot::Sender<Upgraded>) -> io::Result<()> {
        let Client { side: Side::Here(Reading { stream, buffer, .. }), mut write, .. } = self else { return Ok(()) };
        write.write_all(&reply::switching(&head.into_parts().0)).await?;
        if let Ok(stream) = stream.reunite(write) {
            let _ = whose.send(Upgraded::new(stream, buffer));
        }
        Ok(())
    }

    /// Says that nothing more comes, and reads on where the client was still sending: closed before, it could lose what it was told.
    async fn close(mut self) -> io::Result<()> {
        self.write.shutdown().await?;
        poll_fn(|cx| self.poll_back(cx)).await;
        if let Side::Halfway(reading) = self.side {
            tokio::select! {
                () = reading.linger() => {}
                () = self.stopped => {}
            }
        }
        Ok(())
    }
}

/// Returns where the client's side is when its body is done with: what came with the head may be all of it.
fn settled(mut reading: Reading, mut left: Left) -> Side {
    loop {
        match left.next(&mut reading.buffer) {
            Ok(Piece::Data(_)) => {}
            Ok(Piece::End(_)) => {
                if reading.buffer.is_empty() {
                    // Room for a body is not kept for the next head.
                    reading.buffer = BytesMut::new();
                }
                return Side::Here(reading);
            }
            Ok(Piece::Unknown) | Err(_) => return Side::Halfway(reading),
        }
    }
}
