//! Continuous load on an address: every kind of request a switch could lose, counted by the client.

use super::{
    request::{Answer, Connection, Echo, Failure, Socket},
    tally::{Kind, LoadReport, Tally},
};
use hyper::body::Bytes;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many bytes a POST carries.
const BODY: usize = 24 * 1024;
/// How far apart the events of a stream are, in milliseconds.
const EVENTS_APART: u64 = 20;
/// A websocket told to come back: the service is restarting.
const RESTARTING: u16 = 1012;

/// Tasks per kind, and how fast each goes.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Tasks that GET over new connections.
    pub get: usize,
    /// Tasks that POST.
    pub post: usize,
    /// Tasks that read event streams.
    pub events: usize,
    /// Tasks that GET over a kept connection.
    pub keep_alive: usize,
    /// Tasks that talk over a websocket.
    pub websocket: usize,
    /// Pause of a task between two requests.
    pub pace: Duration,
    /// How many events a stream has, 20 ms apart; a stream is to be shorter than the drain.
    pub stream: usize,
    /// How long a POST takes to send its body.
    pub upload: Duration,
    /// How long a request may take before it counts as failed.
    pub patience: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            get: 2,
            post: 2,
            events: 2,
            keep_alive: 2,
            websocket: 2,
            pace: Duration::from_millis(10),
            stream: 5,
            upload: Duration::ZERO,
            patience: Duration::from_secs(15),
        }
    }
}

/// Starts loads.
pub struct Load;

/// A load that runs.
pub struct LoadHandle {
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts to put load on `address`.
    pub fn start(address: SocketAddr, options: LoadOptions) -> LoadHandle {
        let (tally, stop, mut tasks) = (Arc::new(Mutex::new(Tally::begin())), CancellationToken::new(), JoinSet::new());
        let kinds = [
            (Kind::Get, options.get),
            (Kind::Post, options.post),
            (Kind::Events, options.events),
            (Kind::KeepAlive, options.keep_alive),
            (Kind::Websocket, options.websocket),
        ];
        for (kind, count) in kinds {
            for number in 0..count {
                let user = User { kind, number, address, options: options.clone(), tally: tally.clone(), stop: stop.clone() };
                tasks.spawn(async move {
                    match kind {
                        Kind::Websocket => user.talk().await,
                        _ => user.ask().await,
                    }
                });
            }
        }
        LoadHandle { tally, stop, tasks }
    }
}

impl LoadHandle {
    /// Returns the counts as they stand.
    pub fn snapshot(&self) -> LoadReport {
        locked(&self.tally).report()
    }

    /// Lets every request in flight end, and returns the counts.
    pub async fn stop(self) -> LoadReport {
        self.stop.cancel();
        self.tasks.join_all().await;
        locked(&self.tally).report()
    }
}

/// One task of a load.
struct User {
    kind: Kind,
    number: usize,
    address: SocketAddr,
    options: LoadOptions,
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
}

impl User {
    /// Asks again and again until told to stop, over a kept connection where the kind says so.
    async fn ask(&self) {
        let mut kept: Option<Connection> = None;
        for turn in 0.. {
            match self.ask_once(kept.take(), turn).await {
                Ok((connection, answer)) => {
                    match right_or_wrong(self.kind, &answer, self.body(turn), self.options.stream) {
                        Ok(()) => locked(&self.tally).right(self.kind, &answer.version, answer.took),
                        Err(what) => locked(&self.tally).wrong(self.kind, &answer.version, answer.took, &what),
                    }
                    // A kept connection is given up only when the other side said so: any other end of it counts as a cut.
                    kept = (matches!(self.kind, Kind::Post | Kind::KeepAlive) && !answer.closing).then_some(connection);
                }
                Err(failure) => locked(&self.tally).failed(self.kind, &failure),
            }
            if self.is_told_to_stop().await {
                return;
            }
        }
    }

    async fn ask_once(&self, kept: Option<Connection>, turn: usize) -> Result<(Connection, Answer), Failure> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(self.address, self.options.patience).await?,
        };
        let answer = match self.kind {
            Kind::Post => connection.post_slowly("/echo", self.body(turn), self.options.upload).await?,
            Kind::Events => connection.get(&format!("/events?n={}&ms={EVENTS_APART}", self.options.stream)).await?,
            _ => connection.get("/").await?,
        };
        Ok((connection, answer))
    }

    /// Talks over one websocket after the other.
    async fn talk(&self) {
        let mut socket: Option<Socket> = None;
        for turn in 0.. {
            let (message, started) = (format!("message {turn} of {}", self.number), Instant::now());
            let exchanged = async {
                let mut open = match socket.take() {
                    Some(open) => open,
                    None => Socket::open(self.address, "/ws", self.options.patience).await?,
                };
                let echo = open.echo(&message).await?;
                Ok::<_, Failure>((open, echo))
            };
            match exchanged.await {
                Ok((open, Echo::Message(text))) => {
                    match text == message {
                        true => locked(&self.tally).right(self.kind, "", started.elapsed()),
                        false => locked(&self.tally).wrong(self.kind, "", started.elapsed(), "another message came back"),
                    }
                    socket = Some(open);
                }
                Ok((_, Echo::Closed(RESTARTING))) => locked(&self.tally).restarted(),
                Ok((_, Echo::Closed(code))) => locked(&self.tally).failed(self.kind, &Failure::Cut(format!("closed with {code}"))),
                Err(failure) => locked(&self.tally).failed(self.kind, &failure),
            }
            if self.is_told_to_stop().await {
                break;
            }
        }
        if let Some(open) = socket {
            open.close().await;
        }
    }

    async fn is_told_to_stop(&self) -> bool {
        tokio::time::timeout(self.options.pace, self.stop.cancelled()).await.is_ok()
    }

    /// Returns a body no other request has, so that a mixed-up answer shows.
    fn body(&self, turn: usize) -> Bytes {
        let line = format!("{}-{turn} ", self.number);
        line.bytes().cycle().take(BODY).collect()
    }
}

/// Compares an answer with what was asked, `stream` events or `sent`; says what is wrong.
pub(super) fn right_or_wrong(kind: Kind, answer: &Answer, sent: Bytes, stream: usize) -> Result<(), String> {
    let text = String::from_utf8_lossy(&answer.body);
    let is_right = match kind {
        Kind::Post => answer.body == sent,
        Kind::Events => (0..stream).all(|index| text.contains(&format!("data: event {index}\n"))),
        // A body of one version under the name of another is a mix-up.
        _ => text.trim_end() == format!("hello from {}", answer.version),
    };
    match answer.status.as_u16() {
        200 if is_right => Ok(()),
        200 => Err(format!("another body than asked for, {} bytes", answer.body.len())),
        status => Err(format!("{status}: {}", crate::model::text::visible_line(&text, 120))),
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
