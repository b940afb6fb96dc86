//! One request: an instance is claimed, the request sent to it, the response sent back. Nothing is kept, both ways stream.

use super::{
    access::Record,
    answer::{self, Answer, Relayed},
    hold::Held,
    instance::{Claim, Outcome},
    listener::Listener,
    pool,
    routes::Route,
    sticky::{self, Wish},
    switch::Switch,
    timer::Timer,
    told::{Ear, Told},
    websocket,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use interlock_model::Stickiness;
use interlock_wire::{
    Connection, Download, Incoming, Progress, Reply, Unanswered, Upload,
    headers::{self, Ask},
};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{sync::oneshot, time::sleep_until};

/// How long an instance may be silent before its response begins.
const RESPONSE_HEAD: Duration = Duration::from_secs(60);

/// Where a request came in.
pub struct Origin {
    /// Shared by all clients of the socket.
    pub listener: Arc<Listener>,
    /// The client.
    pub client: SocketAddr,
    /// The client's address as instances are told it.
    pub forwarded_for: HeaderValue,
    /// Wakes whoever waits for an instance.
    pub timer: Timer,
    /// Hears when an instance's requests are told to end.
    pub ear: Arc<Ear>,
}

/// Answers one request.
pub async fn serve(origin: Arc<Origin>, request: Request<Incoming>) -> Reply {
    let mut reply = respond(&origin, request).await;
    if let Reply::Response(response) = &mut reply
        && origin.listener.routes.is_leaving()
    {
        // The client's next request comes over a new connection, to the worker that has taken over.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

async fn respond(origin: &Origin, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let mut ask = headers::prepare(head, &origin.forwarded_for);
    let is_synthetic = ask.probe.as_ref().is_some_and(|probe| probe.as_bytes() == origin.listener.routes.probe_secret.as_bytes());
    let switch = match origin.route(&ask).await {
        Ok(switch) => switch,
        Err(failure) => return Reply::Response(failure.answer()),
    };
    let rules = switch.rules.load_full();
    let wish = sticky::wish(&rules.stickiness, &ask);
    if rules.stickiness == Stickiness::Cookie {
        sticky::strip(&mut ask.head.headers);
    }
    let is_written = rules.access_log && !is_synthetic;
    let record = is_written.then(|| origin.listener.routes.access.begin(&switch.name.load_full(), &ask.head, origin.client.ip())).flatten();
    let exchange =
        Exchange { origin, switch: &switch, wish: &wish, is_synthetic, ask: &ask, progress: Progress::begin(!body.is_end_stream()) };
    let (mut response, mut claim, told) = match exchange.run(body).await {
        Ok(answered) => answered,
        Err(failure) => return fail(&switch, failure, is_synthetic, record),
    };
    let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if is_tunnel && !(ask.wants_websocket && headers::is_websocket(response.headers())) {
        claim.failed();
        return fail(&switch, Failure::Gateway, is_synthetic, record);
    }
    claim.record(record);
    let new_release = rules.stickiness == Stickiness::Cookie && wish != Wish::Release(claim.instance.release.clone());
    let cookie = new_release.then(|| sticky::set_cookie(&claim.instance.release));
    headers::strip(response.headers_mut());
    response.headers_mut().remove(headers::ERROR);
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    if is_tunnel {
        return tunnel(switch, response, claim);
    }
    let is_event_stream = headers::is_event_stream(response.headers());
    Reply::Response(response.map(|body| Relayed::new(body, claim, told, is_event_stream).boxed_unsync()))
}

/// Why the proxy answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// No service answers for the host.
    NoSuchHost,
    /// Nothing is in force.
    NothingServes,
    /// It waited, or would have.
    Held(Held),
    /// The client broke off its body, or sent one that cannot be read.
    Client,
    /// The instance cannot be reached, broke off, or answered what cannot be read.
    Gateway,
    /// The instance did not answer in time.
    Timeout,
    /// The instance is retired and patience has ended; counted when the claim was cut.
    Retired,
}

impl Failure {
    fn answer(self) -> Response<Answer> {
        match self {
            Failure::NoSuchHost => answer::own(StatusCode::NOT_FOUND, "no_such_host"),
            Failure::NothingServes => answer::own(StatusCode::SERVICE_UNAVAILABLE, "nothing_serves"),
            Failure::Held(Held::TooMany) => answer::own(StatusCode::SERVICE_UNAVAILABLE, "too_many_wait"),
            Failure::Held(Held::TooLong) => answer::own(StatusCode::SERVICE_UNAVAILABLE, "waited_too_long"),
            Failure::Client => answer::own(StatusCode::BAD_REQUEST, "broken_request"),
            Failure::Gateway => answer::own(StatusCode::BAD_GATEWAY, "instance_unreachable"),
            Failure::Timeout => answer::own(StatusCode::GATEWAY_TIMEOUT, "instance_silent"),
            Failure::Retired => answer::own(StatusCode::SERVICE_UNAVAILABLE, "instance_retired"),
        }
    }
}

/// Answers by itself, and counts it where it is the router's fault.
fn fail(switch: &Switch, failure: Failure, is_synthetic: bool, record: Option<Record>) -> Reply {
    let is_ours = matches!(failure, Failure::NothingServes | Failure::Held(_) | Failure::Gateway | Failure::Timeout);
    if is_ours && switch.is_serving() && !is_synthetic {
        switch.totals.router_failures.fetch_add(1, Relaxed);
    }
    let response = failure.answer();
    if let Some(record) = record {
        record.ended(Some(response.status().as_u16()), None, "router", 0);
    }
    Reply::Response(response)
}

impl Origin {
    /// Returns the service a request is for; waits while nobody knows what should be in force.
    async fn route(&self, ask: &Ask) -> Result<Arc<Switch>, Failure> {
        if let Some(only) = &self.listener.only {
            return Ok(only.clone());
        }
        let routes = &self.listener.routes;
        let host = ask.host().and_then(|host| host.to_str().ok());
        match routes.find(host) {
            Route::To(switch) => Ok(switch),
            _ if routes.lost.is_on() => self.route_when_known(host).await,
            Route::NoService => Err(Failure::NothingServes),
            Route::NoSuchHost => {
                routes.unrouted.fetch_add(1, Relaxed);
                Err(Failure::NoSuchHost)
            }
        }
    }

    /// Waits until the server has said again what is in force.
    async fn route_when_known(&self, host: Option<&str>) -> Result<Arc<Switch>, Failure> {
        let routes = &self.listener.routes;
        let _place = routes.lost.take_place().ok_or(Failure::Held(Held::TooMany))?;
        let mut installs = routes.installs.subscribe();
        loop {
            if let Route::To(switch) = routes.find(host) {
                return Ok(switch);
            }
            let until = routes.lost.until().ok_or(Failure::NothingServes)?;
            tokio::select! {
                _ = installs.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

struct Exchange<'a> {
    origin: &'a Origin,
    switch: &'a Switch,
    wish: &'a Wish,
    is_synthetic: bool,
    ask: &'a Ask,
    progress: Progress,
}

type Answered = (Response<Download>, Claim, Told);

/// How a try ended that brought no response.
enum Missed {
    /// The instance saw nothing of the request.
    Unsent(Upload),
    /// It may have seen it.
    Sent,
    /// No further try is of use.
    Ended(Failure),
}

impl Exchange<'_> {
    /// Sends the request, and once more where that is safe.
    async fn run(&self, body: Incoming) -> Result<Answered, Failure> {
        let mut claim = self.claim().await?;
        let is_repeatable = body.is_end_stream() && is_idempotent(&self.ask.head.method);
        let upload = if body.is_end_stream() { Upload::none() } else { Upload::of(body, self.progress.clone()) };
        let pooled = claim.instance.pool.take(if is_repeatable { pool::IDLE_REPEATABLE } else { pool::IDLE_ONCE });
        let again = match self.attempt(&mut claim, pooled, upload).await {
            Ok((response, told)) => return Ok((response, claim, told)),
            Err(Missed::Ended(failure)) => return Err(ended(claim, failure)),
            Err(Missed::Unsent(upload)) => upload,
            Err(Missed::Sent) if is_repeatable => Upload::none(),
            Err(Missed::Sent) => return Err(ended(claim, Failure::Gateway)),
        };
        claim.end(Outcome::Elsewhere);
        // Claimed anew before the old claim goes: the set may have changed meanwhile.
        let mut next = self.claim().await?;
        drop(claim);
        match self.attempt(&mut next, None, again).await {
            Ok((response, told)) => Ok((response, next, told)),
            Err(Missed::Ended(failure)) => Err(ended(next, failure)),
            Err(_) => Err(ended(next, Failure::Gateway)),
        }
    }

    async fn claim(&self) -> Result<Claim, Failure> {
        self.switch.hold.pass().await.map_err(Failure::Held)?;
        self.switch.claim(self.is_synthetic, self.wish).ok_or(Failure::NothingServes)
    }

    async fn attempt(&self, claim: &mut Claim, pooled: Option<Connection>, upload: Upload) -> Result<(Response<Download>, Told), Missed> {
        let connection = match pooled {
            Some(connection) => connection,
            None => match pool::connect(claim.instance.address).await {
                Ok(connection) => connection,
                Err(err) => {
                    tracing::debug!("no connection to `{}`: {err:#}", claim.instance.id);
                    return Err(Missed::Unsent(upload));
                }
            },
        };
        let mut told = self.origin.ear.listen(&claim.endings);
        tokio::select! {
            biased;
            answered = connection.send(self.ask, upload) => match answered {
                Ok(response) => {
                    claim.answered(response.status().as_u16());
                    Ok((response, told))
                }
                Err(Unanswered::Client) => Err(Missed::Ended(Failure::Client)),
                Err(Unanswered::Unsent(upload, err)) => {
                    tracing::debug!("nothing could be sent to `{}`: {err}", claim.instance.id);
                    Err(Missed::Unsent(upload))
                }
                Err(Unanswered::Broken(err)) => {
                    tracing::debug!("`{}` broke off: {err}", claim.instance.id);
                    Err(Missed::Sent)
                }
            },
            () = &mut told => {
                claim.end(Outcome::Cut);
                Err(Missed::Ended(Failure::Retired))
            }
            () = self.silence() => Err(Missed::Ended(Failure::Timeout)),
        }
    }

    /// Ends when neither the upload has moved nor an answer come for too long.
    async fn silence(&self) {
        let mut wait = RESPONSE_HEAD;
        loop {
            self.origin.timer.wait(wait).await;
            wait = RESPONSE_HEAD.saturating_sub(self.progress.quiet_for());
            if wait.is_zero() {
                return;
            }
        }
    }
}

/// Counts against its version what the router failed.
fn ended(mut claim: Claim, failure: Failure) -> Failure {
    if matches!(failure, Failure::Gateway | Failure::Timeout) {
        claim.failed();
    }
    failure
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Answers 101 and relays frames until either side ends, or the instance is retired.
fn tunnel(switch: Arc<Switch>, response: Response<Download>, mut claim: Claim) -> Reply {
    let (mut head, instance) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    headers::upgrade(&mut head.headers);
    let (whose, client) = oneshot::channel();
    tokio::spawn(async move {
        let (Ok(client), Some(instance)) = (client.await, instance.upgraded()) else {
            return;
        };
        let told = claim.endings.websockets.clone();
        match websocket::relay(client, instance, told).await {
            websocket::Ended::Told => claim.end(Outcome::Drained),
            // An instance in force may hang up without a word: that is its own way. One out of force was ended by us.
            websocket::Ended::BrokenByInstance if !switch.is_in_force(&claim.instance) => claim.end(Outcome::Cut),
            websocket::Ended::BrokenByInstance | websocket::Ended::Closed => {}
        }
    });
    Reply::Tunnel(Response::from_parts(head, ()), whose)
}
