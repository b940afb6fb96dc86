//! Whoever is killed wherever a deployment stands: it settles, customers get what the record says, nothing unverified, nothing unsupervised.
//!
//! The server is killed at every failpoint of the way forward and of the way back; the proxy's worker and an instance's shim are killed
//! while the server stands at each of them. Traffic runs all the time, over every kind of request.

#[path = "crash/shop.rs"]
mod shop;
mod support;

use anyhow::{Context, Result, ensure};
use interlock::{
    cli::demo::{
        app::{Fault, printed_address},
        load::{Load, LoadHandle, LoadOptions},
        tally::LoadReport,
    },
    model::{Split, split::Share},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use shop::{PATIENCE, Shop};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{BINARY, databases::Database, on_both, wire::served, workspace::signal};

// What the server was writing when it was killed is for the database to settle; the other victims write nothing.
on_both!(a_server_killed_anywhere_costs_no_request_and_its_deployment_settles);

/// Shops that are disturbed at the same time, per test.
const LANES: usize = 2;
/// Tasks of a shop's load: so many requests can be in flight.
const TASKS: u64 = 5;
/// The clocks of load and record are read at different instants of one machine.
const SLACK_MS: i64 = 50;

/// Whom a case kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Worker,
    /// The shim of the newest instance that runs.
    NewShim,
    /// The shim of what served before.
    OldShim,
}

/// One deployment, and who is killed when it stands where.
#[derive(Debug, Clone)]
struct Case {
    victim: Victim,
    place: String,
    /// What is deployed: a fault shows only through the listener, so that the deployment turns back by itself.
    fault: Fault,
}

fn places(steps: &[&str], others: &[&str]) -> Vec<String> {
    let edges = ["before-intent", "after-intent", "after-effect", "after-result"];
    let of_steps = steps.iter().flat_map(|step| edges.iter().map(move |edge| format!("{step}:{edge}")));
    of_steps.chain(others.iter().map(|other| (*other).to_owned())).collect()
}

/// Every failpoint a deployment passes on its way forward.
fn forward() -> Vec<String> {
    let steps = ["recheck", "start-1", "verify-instances", "shift", "verify-listener", "drain", "bake", "retire"];
    places(&steps, &["claim:before", "claim:after", "finish:after"])
}

/// Every failpoint of the way back.
fn back() -> Vec<String> {
    places(&["undo-shift", "undo-start-1"], &["turn-back:after", "finish-undo:after"])
}

async fn a_server_killed_anywhere_costs_no_request_and_its_deployment_settles(database: Database) {
    let on = |fault| move |place| Case { victim: Victim::Server, place, fault };
    let cases: Vec<Case> = forward().into_iter().map(on(Fault::None)).chain(back().into_iter().map(on(Fault::LiveForwarded))).collect();
    assert_eq!(cases.len(), 45);
    disturb(cases, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_or_shim_killed_on_the_way_forward_leaves_a_deployment_that_settles() {
    let cases = with_each_helper(forward(), Fault::None);
    assert_eq!(cases.len(), 105);
    disturb(cases, &Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_or_shim_killed_on_the_way_back_does_not_stop_it() {
    let cases = with_each_helper(back(), Fault::LiveForwarded);
    assert_eq!(cases.len(), 30);
    disturb(cases, &Database::Sqlite).await;
}

fn with_each_helper(places: Vec<String>, fault: Fault) -> Vec<Case> {
    let victims = [Victim::Worker, Victim::NewShim, Victim::OldShim];
    places.into_iter().flat_map(|place| victims.map(|victim| Case { victim, place: place.clone(), fault })).collect()
}

/// Runs all cases, each in the next shop that is free; fails with everything that was not as promised.
async fn disturb(cases: Vec<Case>, database: &Database) {
    // One case again and again, by part of its description: `INTERLOCK_CRASH_ONLY='Worker, place: "drain:'`.
    let only = std::env::var("INTERLOCK_CRASH_ONLY").unwrap_or_default();
    let cases: VecDeque<Case> = cases.into_iter().filter(|case| format!("{case:?}").contains(&only)).collect();
    let (began, wanted) = (Instant::now(), cases.len());
    let (queue, settled) = (Arc::new(Mutex::new(cases)), Arc::new(Mutex::new(Vec::new())));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES {
        let (queue, settled, database) = (queue.clone(), settled.clone(), database.clone());
        lanes.spawn(async move {
            let mut open: Option<Lane> = None;
            loop {
                let Some(case) = queue.lock().unwrap().pop_front() else { return };
                let outcome = one_in(&mut open, &case, &database).await;
                if outcome.is_err() {
                    // Whatever went wrong there must not go wrong twice.
                    open = None;
                }
                settled.lock().unwrap().push((case, outcome));
            }
        });
    }
    lanes.join_all().await;
    let settled = std::mem::take(&mut *settled.lock().unwrap());
    let count = |state: &str| settled.iter().filter(|(_, outcome)| outcome.as_ref().is_ok_and(|found| found == state)).count();
    let (forward, back) = (count("succeeded"), count("rolled_back"));
    println!("{} kills: {forward} succeeded, {back} rolled back, {:.0} s", settled.len(), began.elapsed().as_secs_f64());
    let wrong: Vec<_> = settled.iter().filter_map(|(case, outcome)| Some(format!("{case:?}: {:#}", outcome.as_ref().err()?))).collect();
    assert!(wrong.is_empty(), "{} of {wanted} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(forward + back, wanted);
}

struct Lane {
    shop: Shop,
    serves: String,
    failures: u32,
}

async fn one_in(open: &mut Option<Lane>, case: &Case, database: &Database) -> Result<String> {
    if open.is_none() {
        let mut shop = Shop::open(database.another().await).await?;
        let serves = shop.deploy().await?;
        *open = Some(Lane { shop, serves, failures: 0 });
    }
    let lane = open.as_mut().context("a shop is open")?;
    // A fourth failure in a row would freeze the environment, as it should.
    if lane.failures == 3 {
        lane.shop.stop().await?;
        lane.shop.serve(&[]).await?;
        (lane.serves, lane.failures) = (lane.shop.deploy().await?, 0);
    }
    let (state, version) = one(&mut lane.shop, &lane.serves, case).await?;
    lane.failures = if state == "succeeded" { 0 } else { lane.failures + 1 };
    lane.serves = version;
    Ok(state)
}

/// Deploys the next version and kills the victim on its way; returns how it settled, and what serves then.
async fn one(shop: &mut Shop, old: &str, case: &Case) -> Result<(String, String)> {
    let load = start_load(shop).await?;
    let markers = tempfile::tempdir()?;
    let (marker, armed) = (
        markers.path().join(case.place.replace(':', "_")),
        match case.victim {
            Victim::Server => case.place.clone(),
            _ => format!("{}=wait", case.place),
        },
    );
    shop.stop().await?;
    let folder = markers.path().to_str().context("a path in UTF-8")?;
    shop.serve(&[("INTERLOCK_FAILPOINT", &armed), ("INTERLOCK_FAILPOINT_DIR", folder)]).await?;
    let new = shop.build_next(case.fault);
    let plan = shop.plan(&new).await?;
    let (client, execute) = (shop.client(), json!({ "plan": plan }));
    let executing = tokio::spawn({
        let execute = execute.clone();
        async move { client.try_call("execute_deployment", execute).await }
    });
    appears(&marker).await?;
    if case.victim == Victim::Server {
        ensure!(shop.ended().await? == Some(Signal::KILL.as_raw()), "the server was not killed");
        shop.serve(&[]).await?;
    } else {
        kill(shop, case.victim)?;
    }
    // From here on nobody waits anywhere: some places are passed more than once.
    let _going_on = GoesOn::at(marker);
    // Whatever the first call came to, the same call again answers with the same deployment.
    let first = executing.await?;
    let reply = shop.client().call("execute_deployment", execute).await?;
    let deployment = reply["deployment"].as_str().context("a deployment has an id")?;
    ensure!(first.is_err() || first.as_ref().is_ok_and(|first| first["deployment"] == deployment), "{first:?}, then {reply}");
    let settled = shop.settled(deployment).await.with_context(|| format!("after {:?}", load.snapshot().failures))?;
    let state = settled["state"].as_str().unwrap_or_default().to_owned();
    let ended_as = || format!("{state}: {} {}", settled["deployment"]["undo_reason"], settled["steps"]);
    ensure!(expected(case).contains(&state.as_str()), "it is {}", ended_as());

    let serves = if state == "succeeded" { new.clone() } else { old.to_owned() };
    if case.victim == Victim::Server {
        let answer = served(shop.listen).await;
        ensure!(answer == format!("hello from {serves}\n"), "right after it was {state}, customers get `{answer}`");
    }
    shop.agrees(&serves).await.with_context(ended_as)?;
    let log = shop.root().join("ci/deploy-logs.txt");
    until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains(deployment))).await.context("no deploy log of it")?;
    sees(&load, &serves).await?;
    let report = load.stop().await;
    let found = unpromised(&report, old, &new, &settled);
    ensure!(found.is_empty(), "{}; it is {}", found.join("; "), ended_as());
    let allowed = match case.victim {
        Victim::Server => 0,
        // A crashed worker costs the requests in flight and no other.
        Victim::Worker => TASKS,
        // Until the kernel has ended it, the server has seen it and started it again, nobody answers.
        Victim::NewShim | Victim::OldShim => u64::MAX,
    };
    ensure!(report.failed <= allowed, "{} requests failed: {:?}; it is {}", report.failed, report.failures, ended_as());
    Ok((state, serves))
}

/// Takes a marker away whenever it stands there, so that whoever waits goes on.
struct GoesOn(tokio::task::JoinHandle<()>);

impl GoesOn {
    fn at(marker: PathBuf) -> Self {
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
    let all = forward();
    let place = |name: &str| all.iter().position(|place| place == name);
    let here = place(&case.place);
    match (case.victim, case.fault) {
        (_, Fault::LiveForwarded) => &["rolled_back"],
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
async fn start_load(shop: &Shop) -> Result<LoadHandle> {
    let pace = Duration::from_millis(20);
    let load =
        Load::start(shop.listen, LoadOptions { get: 1, post: 1, events: 1, keep_alive: 1, websocket: 1, pace, ..Default::default() });
    until(|| load.snapshot().kinds.len() as u64 == TASKS).await.context("the load does not start")?;
    Ok(load)
}

async fn sees(load: &LoadHandle, version: &str) -> Result<()> {
    let now = load.snapshot().versions.get(version).map_or(0, |seen| seen.answers);
    until(|| load.snapshot().versions.get(version).is_some_and(|seen| seen.answers > now)).await.context("the load sees another version")
}

async fn appears(marker: &Path) -> Result<()> {
    until(|| marker.exists()).await.with_context(|| format!("{} was not reached", marker.display()))
}

async fn until(is_so: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Compares what customers saw with the record; returns what was not promised.
fn unpromised(report: &LoadReport, old: &str, new: &str, settled: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let deployment = &settled["deployment"];
    let ended = |step: &str| settled["steps"].as_array().into_iter().flatten().find(|entry| entry["step"] == step)?["ended_at"].as_i64();
    for (version, seen) in &report.versions {
        match version.as_str() {
            version if version == old => {
                if seen.wrong > 0 {
                    found.push(format!("{} wrong answers of {old}, which served before", seen.wrong));
                }
            }
            version if version == new => {
                if ended("verify-instances").is_none_or(|verified| seen.first_at + SLACK_MS < verified) {
                    found.push(format!("{new} answered customers before it was verified"));
                }
                if deployment["shifted_at"].is_null() {
                    found.push(format!("{new} answered customers and was never shifted to"));
                }
                if deployment["unshifted_at"].as_i64().is_some_and(|back| seen.last_started_at > back + SLACK_MS) {
                    found.push(format!("{new} answered customers after traffic had moved back"));
                }
                if seen.wrong > 0 && deployment["unshifted_at"].is_null() {
                    found.push(format!("{} wrong answers of {new}, which serves", seen.wrong));
                }
            }
            other => found.push(format!("customers were sent to {other}, which nobody deployed")),
        }
    }
    if report.versions.get(old).is_none_or(|seen| seen.answers == 0) {
        found.push(format!("no customer saw {old}"));
    }
    found
}

/// The controls: what every case above expects not to find is found when it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_release_a_dead_proxy_and_a_stray_process_are_noticed() -> Result<()> {
    let mut shop = Shop::open(Database::Sqlite).await?;
    let old = shop.deploy().await?;
    shop.agrees(&old).await?;

    // A process of the service that nobody supervises.
    let release = shop.root().join("build").join(&old);
    let mut stray = demo_app(&["--release", release.to_str().context("a path in UTF-8")?])?;
    let found = shop.disagreements(&old).await?;
    stray.0.kill()?;
    stray.0.wait()?;
    ensure!(found.iter().any(|found| found.contains("under no shim")), "{found:?}");
    shop.agrees(&old).await?;

    // A release that nobody verified, put in force by hand while a deployment waits; its set is one too many, too.
    let markers = tempfile::tempdir()?;
    shop.stop().await?;
    let folder = markers.path().to_str().context("a path in UTF-8")?;
    shop.serve(&[("INTERLOCK_FAILPOINT", "shift:before-intent=wait"), ("INTERLOCK_FAILPOINT_DIR", folder)]).await?;
    let load = start_load(&shop).await?;
    let new = shop.build_next(Fault::None);
    let reply = shop.client().call("execute_deployment", json!({ "plan": shop.plan(&new).await? })).await?;
    appears(&markers.path().join("shift_before-intent")).await?;
    let found = shop.disagreements(&old).await?;
    ensure!(found.iter().any(|found| found.contains("instance alive true")), "{found:?}");
    let swapped = demo_app(&["--version", "9.9.9"])?;
    let (_, proxy) = shop.proxy()?;
    let in_force = proxy.observe().await?;
    let share = Share { instance: "swapped".into(), address: swapped.1, version: "9.9.9".into(), weight: 1 };
    proxy.set(&Split(vec![share]), in_force.epoch).await?;
    sees(&load, "9.9.9").await?;
    let _going_on = GoesOn::at(markers.path().join("shift_before-intent"));
    let settled = shop.settled(reply["deployment"].as_str().unwrap_or_default()).await?;
    shop.agrees(&new).await?;
    let found = unpromised(&load.stop().await, &old, &new, &settled);
    ensure!(found == ["customers were sent to 9.9.9, which nobody deployed"], "{found:?}");

    // A proxy that is killed whole: the load counts what that costs, and the server brings it back.
    let load = start_load(&shop).await?;
    signal(shop.proxy()?.0.pid, Signal::KILL);
    until(|| load.snapshot().failed > 0).await.context("the load did not notice that nobody listens")?;
    shop.agrees(&new).await?;
    sees(&load, &new).await?;
    ensure!(load.stop().await.failed > 0);
    Ok(())
}

/// A process of the service that a test started by hand; ends with it.
struct ByHand(Child, SocketAddr);

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn demo_app(words: &[&str]) -> Result<ByHand> {
    let child = Command::new(BINARY).args(["demo-app", "--port", "0"]).args(words).stdout(Stdio::piped()).spawn()?;
    let mut by_hand = ByHand(child, ([127, 0, 0, 1], 0).into());
    let mut line = String::new();
    BufReader::new(by_hand.0.stdout.take().context("piped")?).read_line(&mut line)?;
    by_hand.1 = printed_address(&line).context("it says where it listens")?;
    Ok(by_hand)
}
