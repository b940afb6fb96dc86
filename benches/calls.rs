//! Calls as an agent makes them, through `interlock mcp`: recorded ones beside a bare commit on the same disk, reads, and the first answer.
//!
//! A call is one thing after another in four threads of three processes. Where each has a core of its own, a sleeping core is woken for each
//! step, which on a virtual machine takes as long as the step: so they are measured, and judged, on one core too.

use crate::{
    bridge::Bridge,
    judge::{Verdicts, median},
    options::Options,
    support::{
        databases::Database,
        shop::{APPROVAL, Shop},
    },
};
use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

/// How often each call is made.
const CALLS: usize = 500;

/// How often a bridge is started beside a running server, and with none.
const STARTS: (usize, usize) = (20, 5);

/// What a commit of SQLite's write-ahead log weighs at least: one page of 4096 bytes and its frame's head of 24.
const COMMIT: [u8; 4120] = [7; 4120];

/// Measures, and judges the medians: with all cores, and on one.
pub fn run(_: &Options) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::titled("Calls");
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core)).context("a core to run on")?);
    for (place, cores) in [("all cores", &all), ("one core", &one)] {
        // Threads and processes that are begun from here on have it from this thread.
        sched_setaffinity(None, cores)?;
        let measured = tokio::runtime::Runtime::new()?.block_on(measure(&mut verdicts, place));
        sched_setaffinity(None, &all)?;
        measured?;
    }
    Ok(verdicts)
}

async fn measure(verdicts: &mut Verdicts, place: &str) -> anyhow::Result<()> {
    // A place where an agent's report counts.
    let gate = "\n[environments.staging.gates]\ntests = { run = \">= 1\" }\n";
    let mut shop = Shop::configured(Database::Sqlite, |shop| shop.configuration(APPROVAL) + gate).await;
    let directive = shop.directive("staging", "1.0.0").await;
    let mut bridge = Bridge::start(&shop)?;
    bridge.handshake()?;
    let mut disk = File::create(shop.state_dir().join("bare-commits"))?;
    let (mut bare, mut pinged, mut recorded, mut read, mut listed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..CALLS {
        // One after the other, so that all meet the same disk and the same neighbours.
        bare.push(timed(|| Ok(disk.write_all(&COMMIT).and_then(|()| disk.sync_data())?))?);
        pinged.push(timed(|| bridge.ping())?);
        let report = format!(r#"<testsuite name="web" tests="1"><testcase name="{number}"/></testsuite>"#);
        let evidence = json!({ "directive": directive, "kind": "tests", "content": report });
        recorded.push(timed(|| bridge.tool("record_evidence", evidence).map(drop))?);
        read.push(timed(|| bridge.tool("get_status", json!({})).map(drop))?);
        listed.push(timed(|| bridge.tool("list_deployments", json!({})).map(drop))?);
    }
    drop(bridge);
    let mut beside = Vec::new();
    for _ in 0..STARTS.0 {
        beside.push(first_answer(&shop)?);
    }
    let mut cold = Vec::new();
    for _ in 0..STARTS.1 {
        shop.stop().await;
        cold.push(first_answer(&shop)?);
        // The server that the bridge has started is not this shop's own.
        anyhow::ensure!(shop.interlock(&["stop"]).status().await?.success(), "the server does not stop");
        shop.serve(&[]).await;
    }
    let millis = |times: &[Duration]| median(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect());
    let tail = |times: &mut Vec<Duration>| {
        times.sort();
        times.get(times.len() * 99 / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let (bare_p50, recorded_p50, read_p50, listed_p50) = (millis(&bare), millis(&recorded), millis(&read), millis(&listed));
    let row =
        |what: &str, p50: f64, times: &mut Vec<Duration>| vec![what.to_owned(), format!("{p50:.2} ms"), format!("{:.2} ms", tail(times))];
    verdicts.say(format_args!(
        "{place}: {CALLS} of each, one after the other, SQLite; {} starts beside a server, {} without.",
        STARTS.0, STARTS.1
    ));
    let rows = [
        row("bare commit: append 4120 bytes, `fdatasync`", bare_p50, &mut bare),
        row("`ping` through the bridge", millis(&pinged), &mut pinged),
        row("`record_evidence` through the bridge", recorded_p50, &mut recorded),
        row("`get_status` through the bridge", read_p50, &mut read),
        row("`list_deployments` through the bridge", listed_p50, &mut listed),
        row("`interlock mcp` to its first answer, server running", millis(&beside), &mut beside.clone()),
        row("`interlock mcp` to its first answer, cold", millis(&cold), &mut cold.clone()),
    ];
    verdicts.table(&["what", "p50", "p99"], &rows);
    verdicts.at_most(format_args!("{place}: a recorded call, above a bare commit (p50)"), 1.0, recorded_p50 - bare_p50, " ms");
    verdicts.at_most(format_args!("{place}: `get_status` through the bridge (p50)"), 200.0, read_p50 * 1000.0, " µs");
    verdicts.at_most(format_args!("{place}: `list_deployments` through the bridge (p50)"), 200.0, listed_p50 * 1000.0, " µs");
    verdicts.at_most(format_args!("{place}: `interlock mcp` to its first answer, server running (p50)"), 100.0, millis(&beside), " ms");
    verdicts.at_most(format_args!("{place}: `interlock mcp` to its first answer, cold (p50)"), 500.0, millis(&cold), " ms");
    Ok(())
}

fn first_answer(shop: &Shop) -> anyhow::Result<Duration> {
    let mut started = None;
    let took = timed(|| {
        let mut bridge = Bridge::start(shop)?;
        bridge.initialize()?;
        started = Some(bridge);
        Ok(())
    });
    took.context("starting a bridge")
}

fn timed(act: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    act()?;
    Ok(began.elapsed())
}
