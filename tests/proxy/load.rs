//! Customers of every kind, all the time: what each got, and what went wrong.

use super::world::{Browser, Socket, World, eventually};
use anyhow::{bail, ensure};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// Close code 1012, Service Restart.
const RESTART: [u8; 2] = 1012u16.to_be_bytes();

pub const KINDS: [&str; 5] = ["get", "post", "new connection", "events", "websocket"];

#[derive(Default)]
pub struct Tally {
    stop: AtomicBool,
    /// Per kind: how many went well.
    done: Mutex<BTreeMap<&'static str, u64>>,
    pub failed: Mutex<Vec<String>>,
    /// Websockets that were told 1012.
    pub told: Mutex<u64>,
}

impl Tally {
    pub fn done(&self) -> BTreeMap<&'static str, u64> {
        self.done.lock().unwrap().clone()
    }

    fn note(&self, kind: &'static str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => *self.done.lock().unwrap().entry(kind).or_default() += 1,
            Err(err) => self.failed.lock().unwrap().push(format!("{kind}: {err:#}")),
        }
    }
}

pub struct Load {
    pub tally: Arc<Tally>,
    customers: JoinSet<()>,
}

impl Load {
    pub fn start(world: &World) -> Self {
        let (tally, mut customers) = (Arc::<Tally>::default(), JoinSet::new());
        for stays in [false, true] {
            for kind in KINDS {
                customers.spawn(customer(kind, stays, world.listen, tally.clone()));
            }
        }
        Load { tally, customers }
    }

    /// Waits until every kind has been served once more.
    pub async fn another_round(&self) {
        let before = self.tally.done();
        eventually("every kind is served", async || {
            let done = self.tally.done();
            KINDS.iter().all(|kind| done.get(kind) > before.get(kind)) || !self.tally.failed.lock().unwrap().is_empty()
        })
        .await;
    }

    pub async fn stop(self) -> Arc<Tally> {
        self.tally.stop.store(true, Relaxed);
        self.customers.join_all().await;
        self.tally
    }
}

async fn customer(kind: &'static str, stays: bool, listen: SocketAddr, tally: Arc<Tally>) {
    let mut kept = None;
    while !tally.stop.load(Relaxed) {
        let result = match kind {
            "websocket" => talk(listen, stays, &tally).await,
            _ => visit(kind, listen, &mut kept).await,
        };
        if result.is_err() {
            kept = None;
        }
        tally.note(kind, result);
    }
}

async fn visit(kind: &str, listen: SocketAddr, kept: &mut Option<Browser>) -> anyhow::Result<()> {
    if kind == "new connection" || kept.as_ref().is_none_or(Browser::is_closed) {
        *kept = Some(Browser::connect(listen).await?);
    }
    let browser = kept.as_mut().expect("connected above");
    match kind {
        "post" => {
            let (head, body) = browser.send(Request::post("/echo"), vec![7; 100_000]).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            ensure!(head.status == 200 && body.ends_with(b":100000"), "{} {body:?}", head.status);
            follow(&head.headers, kept);
        }
        _ => {
            let (path, end) = if kind == "events" { ("/events", "data: 4\n\n") } else { ("/", "") };
            let answer = browser.get(path).await?;
            follow(answer.headers(), kept);
            is_good(answer, end)?;
        }
    }
    Ok(())
}

/// Does as every client does that is asked to connect again.
fn follow(headers: &HeaderMap, kept: &mut Option<Browser>) {
    if headers.get("connection").is_some_and(|value| value == "close") {
        *kept = None;
    }
}

fn is_good(response: Response<String>, end: &str) -> anyhow::Result<()> {
    ensure!(response.status() == 200 && response.body().ends_with(end), "{} {:?}", response.status(), response.body());
    Ok(())
}

/// One websocket: a few messages, or (`stays`) one after the other until told to come again.
async fn talk(listen: SocketAddr, stays: bool, tally: &Tally) -> anyhow::Result<()> {
    let mut socket = Socket::open(listen).await?;
    let mut left = if stays { usize::MAX } else { 20 };
    while left > 0 && !tally.stop.load(Relaxed) {
        left -= 1;
        socket.send("hello").await?;
        match socket.receive().await? {
            (1, text) if text == b"hello" => {}
            (8, code) if code == RESTART => {
                *tally.told.lock().unwrap() += 1;
                return Ok(());
            }
            other => bail!("got {other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
    // Told just as it said goodbye.
    if socket.close().await? == RESTART {
        *tally.told.lock().unwrap() += 1;
    }
    Ok(())
}
