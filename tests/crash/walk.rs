//! One case: a deployment under load, somebody killed on its way, and everything that must be so afterwards.

use super::{
    cases::{Case, Course, Trip, Victim, Way},
    commands::{Before, Held},
    promises::unpromised,
    shop::{PATIENCE, Shop, Times, is_settled},
};
use crate::support::{
    wire::{NoReply, served},
    workspace::signal,
};
use anyhow::{Context, Result, bail, ensure};
use interlock::{
    cli::demo::load::{Load, LoadHandle, LoadOptions},
    shim::identity::Process,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Tasks of a shop's load: so many requests can be in flight.
const TASKS: u64 = 5;

/// How a case ended.
pub struct Ended {
    /// As what the deployment settled.
    pub state: String,
    /// What serves then.
    pub serves: String,
    /// How often the server or a helper was killed.
    pub kills: usize,
    /// From the last start of the server to the end of the deployment.
    pub took: Duration,
}

/// Deploys the next version, or takes the last one back, and kills the victim on its way.
pub async fn one(shop: &mut Shop, serves: &str, case: &Case, times: Times) -> Result<Ended> {
    let trip = case.trip;
    // `old` serves before and `new` is on its way; taken back on demand, that is the version before it.
    let (old, new) = match trip.way {
        Way::OnDemand => (shop.deploy().await?, serves.to_owned()),
        _ => (serves.to_owned(), shop.build_next(trip.fault())?),
    };
    let before = if trip.course == Course::Data { Some(Before::of(shop)?) } else { None };
    let load = start_load(shop, times).await?;
    let (first, second) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let marker = |folder: &tempfile::TempDir, place: &str| folder.path().join(place.replace(':', "_"));
    let armed = match (case.victim, trip.way) {
        (Victim::Server, Way::Aborted) => format!("{ABORTED_AT}=wait,{}", case.place),
        (Victim::Server, _) => case.place.clone(),
        _ => format!("{}=wait", case.place),
    };
    shop.stop().await?;
    let root = shop.root().to_owned();
    let held = Held::at(&root, case)?;
    shop.serve_armed(&armed, first.path()).await?;
    let order = Order::of(shop, trip, &new).await?;
    let (client, asked) = (shop.client(), order.clone());
    let executing = tokio::spawn(async move { client.try_call(asked.method, asked.params).await });
    if trip.way == Way::Aborted {
        let waits = marker(&first, ABORTED_AT);
        appears(&waits).await?;
        abort(shop).await?;
        std::fs::remove_file(waits)?;
    }
    let mut fired = vec![case.place.clone()];
    let mut left = None;
    let mut _going_on = None;
    if let Some(held) = &held {
        until(|| held.process().is_some()).await.with_context(|| format!("nothing runs at {}", case.place))?;
        left = held.process();
        shop.kill_server()?;
    } else {
        appears(&marker(&first, &case.place)).await?;
    }
    if case.victim == Victim::Server {
        ensure!(shop.ended().await? == Some(Signal::KILL.as_raw()), "the server was not killed");
        let (wanted, found) = (trip.share_at(&case.place), shop.share_of(&new).await?);
        ensure!(wanted == found, "{new} has {found} % of the traffic while nobody is there, and by the record {wanted} %");
        if let Some(held) = &held {
            held.release()?;
        }
        match &case.then {
            Some(place) => shop.serve_armed(place, second.path()).await?,
            None => shop.serve(&[]).await?,
        }
    } else {
        kill(shop, case.victim)?;
        // From here on nobody waits anywhere: some places are passed more than once.
        _going_on = Some(GoesOn::at(marker(&first, &case.place)));
    }
    let mut began = Instant::now();
    // Whatever the first call came to, the same call again answers with the same deployment.
    let first_reply = executing.await?;
    let mut known: Option<String> = None;
    let settled = loop {
        let reply = match &known {
            None => shop.client().try_call(order.method, order.params.clone()).await,
            Some(deployment) => shop.look(deployment).await,
        };
        match reply {
            Ok(reply) if known.is_none() => known = reply["deployment"].as_str().map(str::to_owned),
            // A place after the end is reached after the end was seen.
            Ok(body) if is_settled(&body) => match &case.then {
                Some(place) if place.starts_with("finish") && fired.len() == 1 => {
                    appears(&marker(&second, place)).await?;
                    shop.serve_again().await?;
                    fired.push(place.clone());
                }
                _ => break body,
            },
            Ok(body) => ensure!(began.elapsed() < PATIENCE, "{new} does not settle after {:?}: {body}", load.snapshot().failures),
            Err(NoReply::Gone(how)) => match &case.then {
                Some(place) if fired.len() == 1 => {
                    appears(&marker(&second, place)).await.context(how)?;
                    shop.serve_again().await?;
                    fired.push(place.clone());
                    began = Instant::now();
                }
                _ => bail!("the server is gone: {how}"),
            },
            Err(NoReply::Refused(refusal)) => bail!("refused: {refusal}"),
        }
    };
    let took = began.elapsed();
    let deployment = known.context("a deployment has an id")?;
    ensure!(
        first_reply.is_err() || first_reply.as_ref().is_ok_and(|first| first["deployment"] == *deployment),
        "{first_reply:?}, then {deployment}"
    );
    let state = settled["state"].as_str().unwrap_or_default().to_owned();
    let ended_as = || format!("{state}: {} {}", settled["deployment"]["undo_reason"], settled["steps"]);
    ensure!(expected(case).contains(&state.as_str()), "it is {}", ended_as());
    knows_every_step(trip, &settled)?;

    let now_serves = if state == "succeeded" { new.clone() } else { old.clone() };
    if case.victim == Victim::Server {
        let answer = served(shop.listen).await;
        ensure!(answer == format!("hello from {now_serves}\n"), "right after it was {state}, customers get `{answer}`");
    }
    shop.agrees(&now_serves).await.with_context(ended_as)?;
    let log = shop.root().join("ci/deploy-logs.txt");
    until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains(&deployment))).await.context("no deploy log of it")?;
    sees(&load, &now_serves).await?;
    let report = load.stop().await;
    let found = unpromised(&report, &old, &new, &settled);
    ensure!(found.is_empty(), "{}; it is {}", found.join("; "), ended_as());
    let allowed = match case.victim {
        Victim::Server => 0,
        // A crashed worker costs the requests in flight and no other.
        Victim::Worker => TASKS,
        // Until the kernel has ended it, the server has seen it and started it again, nobody answers.
        Victim::NewShim | Victim::OldShim => u64::MAX,
    };
    ensure!(report.failed <= allowed, "{} requests failed: {:?}; it is {}", report.failed, report.failures, ended_as());
    if let Some(before) = before {
        before.check(shop, case, &fired).with_context(ended_as)?;
    }
    let survivor = left.and_then(Process::of).filter(Process::is_alive);
    ensure!(survivor.is_none(), "the command that was cut off lives on");
    Ok(Ended { state, serves: now_serves, kills: fired.len(), took })
}

/// Where a deployment that is to be aborted waits for that.
const ABORTED_AT: &str = "bake:after-intent";

/// What begins the disturbed deployment.
#[derive(Clone)]
struct Order {
    method: &'static str,
    params: Value,
}

impl Order {
    async fn of(shop: &Shop, trip: Trip, new: &str) -> Result<Self> {
        if trip.way == Way::OnDemand {
            let params = json!({ "service": "web", "environment": "staging", "reason": "taken back" });
            return Ok(Order { method: "rollback_deployment", params });
        }
        Ok(Order { method: "execute_deployment", params: json!({ "plan": shop.plan(new).await? }) })
    }
}

async fn abort(shop: &Shop) -> Result<()> {
    let asked = json!({ "service": "web", "environment": "staging", "reason": "aborted" });
    shop.client().call("rollback_deployment", asked).await.map(drop)
}

/// The cases name every step there is: one more that nobody is killed at would be noticed here.
fn knows_every_step(trip: Trip, settled: &Value) -> Result<()> {
    let steps: Vec<&str> = settled["steps"].as_array().into_iter().flatten().filter_map(|entry| entry["step"].as_str()).collect();
    ensure!(steps == trip.steps(), "the plan has the steps {steps:?}, the cases {:?}", trip.steps());
    Ok(())
}

/// Takes a marker away whenever it stands there, so that whoever waits goes on.
pub struct GoesOn(tokio::task::JoinHandle<()>);

impl GoesOn {
    pub fn at(marker: PathBuf) -> Self {
        GoesOn(tokio::spawn(async move {
            loop {
                let _ = std::fs::remove_file(&marker);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }))
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns how a case may settle.
fn expected(case: &Case) -> &'static [&'static str] {
    let all = case.trip.places();
    let place = |name: &str| all.iter().position(|place| place == name);
    let here = place(&case.place);
    match (case.victim, case.trip.settles()) {
        (_, "rolled_back") => &["rolled_back"],
        (Victim::Server | Victim::Worker, _) => &["succeeded"],
        // From its start until it is recorded as what serves, a new set that breaks is given up; then it is started again.
        (Victim::NewShim, _) if here >= place("start-1:after-effect") && here <= place("retire:after-intent") => &["rolled_back"],
        (Victim::NewShim, _) if here > place("retire:after-intent") && here <= place("retire:after-result") => &["succeeded"],
        // A request lost with the old set at the instant of the switch is downtime too, and turns the deployment back.
        _ => &["succeeded", "rolled_back"],
    }
}

fn kill(shop: &Shop, victim: Victim) -> Result<()> {
    let pid = match victim {
        Victim::Server => unreachable!("it kills itself"),
        Victim::Worker => shop.worker()?,
        Victim::NewShim | Victim::OldShim => {
            let instances = shop.instances();
            let mut running = instances.iter().filter(|(_, status)| status.shim.is_alive()).map(|(_, status)| status.shim.pid);
            let shim = if victim == Victim::OldShim { running.next() } else { running.next_back() };
            shim.context("no instance runs")?
        }
    };
    signal(pid, Signal::KILL);
    Ok(())
}

/// Starts every kind of request, and returns when each has been answered.
pub async fn start_load(shop: &Shop, times: Times) -> Result<LoadHandle> {
    let pace = times.pace;
    let load =
        Load::start(shop.listen, LoadOptions { get: 1, post: 1, events: 1, keep_alive: 1, websocket: 1, pace, ..Default::default() });
    until(|| load.snapshot().kinds.len() as u64 == TASKS).await.context("the load does not start")?;
    Ok(load)
}

pub async fn sees(load: &LoadHandle, version: &str) -> Result<()> {
    let now = load.snapshot().versions.get(version).map_or(0, |seen| seen.answers);
    until(|| load.snapshot().versions.get(version).is_some_and(|seen| seen.answers > now)).await.context("the load sees another version")
}

pub async fn appears(marker: &Path) -> Result<()> {
    until(|| marker.exists()).await.with_context(|| format!("{} was not reached", marker.display()))
}

pub async fn until(is_so: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
