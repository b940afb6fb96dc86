//! One request: an instance is claimed, the request sent to it, the response sent back. Nothing is kept, both ways stream.

use super::{
    answer::{self, Answer, Relayed},
    guard::Tunnel,
    headers,
    instance::{Claim, Outcome},
    pool::{self, Sender},
    switch::Switch,
    upload::{Progress, Upload},
    websocket,
};
use http::{Method, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::Either;
use hyper::{
    body::{Body, Incoming},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::sleep;

/// How long an instance may be silent before its response begins.
const RESPONSE_HEAD: Duration = Duration::from_secs(60);

/// Where a request came in.
#[derive(Clone)]
pub struct Origin {
    /// Shared by all.
    pub switch: Arc<Switch>,
    /// The client.
    pub client: SocketAddr,
    /// Set when the connection becomes a tunnel.
    pub tunnel: Tunnel,
}

/// Answers one request.
pub async fn serve(origin: Origin, mut request: Request<Incoming>) -> Response<Answer> {
    let secret = request.headers().get(headers::PROBE).map(http::HeaderValue::as_bytes);
    let is_synthetic = secret == Some(origin.switch.probe_secret.as_bytes());
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    let wants_websocket = headers::wants_websocket(&head);
    headers::prepare(&mut head, origin.client.ip());
    let exchange = Exchange { origin: &origin, is_synthetic, is_bodiless: body.is_end_stream(), head, progress: Progress::begin() };
    match exchange.run(body).await {
        Ok((response, claim, sender)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            if !wants_websocket || !headers::is_websocket(response.headers()) {
                return origin.fail(Failure::Gateway, claim.is_synthetic());
            }
            tunnel(&origin, response, claim, sender, on_upgrade)
        }
        Ok((response, claim, sender)) => {
            let (mut head, body) = response.into_parts();
            headers::strip(&mut head.headers);
            head.headers.remove(headers::ERROR);
            head.version = Version::HTTP_11;
            let is_event_stream = headers::is_event_stream(&head.headers);
            Response::from_parts(head, Either::Left(Relayed::new(body, claim, sender, is_event_stream)))
        }
        Err(failure) => origin.fail(failure, is_synthetic),
    }
}

/// Why the proxy answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Nothing is in force.
    NothingServes,
    /// The client broke off its body, or sent one that cannot be read.
    Client,
    /// The instance cannot be reached, broke off, or answered what cannot be read.
    Gateway,
    /// The instance did not answer in time.
    Timeout,
    /// The instance is retired and patience has ended; counted when the claim was cut.
    Retired,
}

impl Origin {
    fn fail(&self, failure: Failure, is_synthetic: bool) -> Response<Answer> {
        let was_serving = self.switch.is_serving();
        if was_serving && !is_synthetic && matches!(failure, Failure::NothingServes | Failure::Gateway | Failure::Timeout) {
            self.switch.totals.router_failures.fetch_add(1, Relaxed);
        }
        match failure {
            Failure::NothingServes => answer::own(StatusCode::SERVICE_UNAVAILABLE, "nothing_serves"),
            Failure::Client => answer::own(StatusCode::BAD_REQUEST, "broken_request"),
            Failure::Gateway => answer::own(StatusCode::BAD_GATEWAY, "instance_unreachable"),
            Failure::Timeout => answer::own(StatusCode::GATEWAY_TIMEOUT, "instance_silent"),
            Failure::Retired => answer::own(StatusCode::SERVICE_UNAVAILABLE, "instance_retired"),
        }
    }
}

struct Exchange<'a> {
    origin: &'a Origin,
    is_synthetic: bool,
    is_bodiless: bool,
    head: Parts,
    progress: Arc<Progress>,
}

type Answered = (Response<Incoming>, Claim, Sender);

/// How a try ended that brought no response.
enum Missed {
    /// The instance saw nothing of the request.
    Unsent(Box<Request<Upload>>),
    /// It may have seen it.
    Sent,
    /// No further try is of use.
    Ended(Failure),
}

impl Exchange<'_> {
    /// Sends the request, and once more where that is safe.
    async fn run(&self, body: Incoming) -> Result<Answered, Failure> {
        let mut claim = self.claim()?;
        let request = Request::from_parts(self.head.clone(), Upload::of(body, self.progress.clone()));
        let idle = if self.is_bodiless && is_idempotent(&self.head.method) { pool::IDLE_REPEATABLE } else { pool::IDLE_ONCE };
        let pooled = claim.instance.pool.take(idle);
        let again = match self.attempt(&mut claim, pooled, request).await {
            Ok((response, sender)) => return Ok((response, claim, sender)),
            Err(Missed::Ended(failure)) => return Err(failure),
            Err(Missed::Unsent(request)) => *request,
            Err(Missed::Sent) if self.is_bodiless && is_idempotent(&self.head.method) => {
                Request::from_parts(self.head.clone(), Upload::none(self.progress.clone()))
            }
            Err(Missed::Sent) => return Err(Failure::Gateway),
        };
        claim.end(Outcome::Elsewhere);
        // Claimed anew before the old claim goes: the set may have changed meanwhile.
        let mut next = self.claim()?;
        drop(claim);
        match self.attempt(&mut next, None, again).await {
            Ok((response, sender)) => Ok((response, next, sender)),
            Err(Missed::Ended(failure)) => Err(failure),
            Err(_) => Err(Failure::Gateway),
        }
    }

    fn claim(&self) -> Result<Claim, Failure> {
        self.origin.switch.claim(self.is_synthetic).ok_or(Failure::NothingServes)
    }

    async fn attempt(
        &self,
        claim: &mut Claim,
        pooled: Option<Sender>,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Sender), Missed> {
        let mut sender = match pooled {
            Some(sender) => sender,
            None => match pool::connect(claim.instance.address).await {
                Ok(sender) => sender,
                Err(err) => {
                    tracing::debug!("no connection to `{}`: {err:#}", claim.instance.id);
                    return Err(Missed::Unsent(Box::new(request)));
                }
            },
        };
        let told = claim.endings.requests.clone();
        let sent = sender.try_send_request(request);
        tokio::select! {
            answered = sent => match answered {
                Ok(response) => {
                    claim.answered(response.status().as_u16());
                    Ok((response, sender))
                }
                Err(mut err) => Err(match err.take_message() {
                    _ if self.progress.failed() => Missed::Ended(Failure::Client),
                    Some(request) => Missed::Unsent(Box::new(request)),
                    None => {
                        tracing::debug!("`{}` broke off: {}", claim.instance.id, err.error());
                        Missed::Sent
                    }
                }),
            },
            () = told.cancelled() => {
                claim.end(Outcome::Cut);
                Err(Missed::Ended(Failure::Retired))
            }
            () = self.silence() => Err(Missed::Ended(Failure::Timeout)),
        }
    }

    /// Ends when neither the upload has moved nor an answer come for too long.
    async fn silence(&self) {
        loop {
            let quiet = self.progress.quiet_for();
            if quiet >= RESPONSE_HEAD {
                return;
            }
            sleep(RESPONSE_HEAD - quiet).await;
        }
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Answers 101 and relays frames until either side ends, or the instance is retired.
fn tunnel(origin: &Origin, mut response: Response<Incoming>, mut claim: Claim, sender: Sender, client: OnUpgrade) -> Response<Answer> {
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    headers::strip(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    headers::upgrade(&mut head.headers);
    // Set before the 101 leaves: from then on the client sends frames.
    origin.tunnel.store(true, Relaxed);
    let switch = origin.switch.clone();
    tokio::spawn(async move {
        let _sender = sender;
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
        let told = claim.endings.websockets.clone();
        match websocket::relay(TokioIo::new(client), TokioIo::new(upstream), told).await {
            websocket::Ended::Told => claim.end(Outcome::Drained),
            // An instance in force may hang up without a word: that is its own way. One out of force was ended by us.
            websocket::Ended::BrokenByInstance if !switch.is_in_force(&claim.instance) => claim.end(Outcome::Cut),
            websocket::Ended::BrokenByInstance | websocket::Ended::Closed => {}
        }
    });
    Response::from_parts(head, Either::Right(http_body_util::Full::default()))
}
