//! Requests a second through one core of our proxy, beside HAProxy, nginx and Caddy on the same core, before the same backend.
//!
//! The proxy under test has the first core for itself; the load generator and the backend share the second. A figure is only that of the
//! proxy while its core is what is busy, so how busy it was is measured too, and said.

pub mod backend;
mod load;
mod peers;

use crate::{
    judge::{Verdicts, median},
    machine,
    options::Options,
    processes::{Process, free_address},
};
use anyhow::Context;
use load::{Run, Wrk};
use peers::{Kind, Peer};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The core of the proxy under test.
const PROXY_CORE: usize = 0;

/// The core of the load generator and the backend.
const OTHER_CORE: usize = 1;

/// How long each proxy is warmed up before its run.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is asked for: its path, and its name.
const SIZES: [(&str, &str); 2] = [("/small", "100 B"), ("/large", "64 KiB")];

/// Requests a second as a share of a peer's, at least.
const RATES: [(Kind, f64); 3] = [(Kind::HaProxy, 0.8), (Kind::Nginx, 0.9), (Kind::Caddy, 3.0)];

/// p99 as a multiple of HAProxy's, at most.
const TAIL: f64 = 1.3;

/// From this share of its core's time on, the proxy is what a rate is limited by.
const BUSY: f64 = 0.95;

/// Measures, and judges the rates and the tail.
pub fn run(options: &Options) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::titled("Proxy");
    let folder = tempfile::tempdir()?;
    let wrk = Wrk::find().context("`wrk` is not installed")?;
    let backend = free_address()?;
    let us = std::env::current_exe()?;
    let (us, port) = (us.display().to_string(), backend.port().to_string());
    let mut serving = Process::on_core(OTHER_CORE, &[&us, "backend", &port], &folder.path().join("backend.log"))?;
    serving.answers(backend)?;
    let wanted = |kind: &Kind| options.only.is_empty() || options.only.iter().any(|name| name == kind.program());
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(wanted).collect();
    let (there, missing): (Vec<Kind>, Vec<Kind>) = kinds.into_iter().partition(|kind| kind.version(&options.binary).is_some());
    let versions: Vec<_> = there.iter().filter_map(|kind| kind.version(&options.binary)).collect();
    verdicts.say(format_args!(
        "{} runs of {} s each, interleaved, `wrk` with 32 connections. Core {PROXY_CORE}: the proxy under test; core {OTHER_CORE}: \
         `wrk` and the backend. No access log anywhere but in the last row. {}.",
        options.runs,
        options.time.as_secs(),
        versions.join("; ")
    ));
    for kind in &missing {
        verdicts.say(format_args!("`{}` is not installed: not measured.", kind.program()));
    }
    let mut runs: BTreeMap<(Kind, &str), Vec<Run>> = BTreeMap::new();
    for round in 0..options.runs {
        for place in 0..there.len() {
            // Each round begins with another, so that nobody always follows the same one.
            let kind = there[(place + round) % there.len()];
            let peer = Peer::start(kind, options, folder.path(), backend)?;
            for (path, _) in SIZES {
                let run = measure(&wrk, &peer, path, options.time).with_context(|| format!("{} {path}", kind.program()))?;
                eprintln!("round {round}: {:9} {path:6} {run}", kind.name());
                runs.entry((kind, path)).or_default().push(run);
            }
        }
    }
    for (path, size) in SIZES {
        report(&mut verdicts, &there, path, size, &runs);
    }
    for (path, size) in SIZES {
        judge(&mut verdicts, path, size, &runs);
    }
    Ok(verdicts)
}

fn measure(wrk: &Wrk, peer: &Peer, path: &str, time: Duration) -> anyhow::Result<Run> {
    wrk.run(peer.address, path, WARM_UP)?;
    let (busy, stolen) = machine::core_seconds(PROXY_CORE);
    let cpu = machine::cpu_seconds(peer.process.pid);
    let mut run = wrk.run(peer.address, path, time)?;
    let own = machine::cpu_seconds(peer.process.pid) - cpu;
    let (busy_after, stolen_after) = machine::core_seconds(PROXY_CORE);
    run.share = own / run.seconds;
    run.others = ((busy_after - busy + stolen_after - stolen - own) / run.seconds).max(0.0);
    Ok(run)
}

fn report(verdicts: &mut Verdicts, kinds: &[Kind], path: &'static str, size: &str, runs: &BTreeMap<(Kind, &str), Vec<Run>>) {
    let row = |kind: &Kind| {
        let runs = runs.get(&(*kind, path))?;
        let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
        let rates = of(|run| run.rate);
        let (least, most) = rates.iter().fold((f64::MAX, 0.0_f64), |(least, most), rate| (least.min(*rate), most.max(*rate)));
        Some(vec![
            kind.name().to_owned(),
            format!("{:.0}", median(rates)),
            format!("{least:.0} – {most:.0}"),
            format!("{:.2} ms", median(of(|run| run.p50_ms))),
            format!("{:.2} ms", median(of(|run| run.p99_ms))),
            format!("{:.0} %", 100.0 * median(of(|run| run.share))),
            format!("{:.0}", median(of(|run| run.rate / run.share))),
            format!("{:.0} %", 100.0 * median(of(|run| run.others))),
        ])
    };
    verdicts.say(format_args!("Responses of {size}:"));
    let head =
        ["proxy", "requests/s (median)", "least – most", "p50", "p99", "share of its core", "requests per CPU second", "taken by others"];
    verdicts.table(&head, &kinds.iter().filter_map(row).collect::<Vec<_>>());
}

fn judge(verdicts: &mut Verdicts, path: &'static str, size: &str, runs: &BTreeMap<(Kind, &str), Vec<Run>>) {
    let of = |kind: Kind, value: fn(&Run) -> f64| runs.get(&(kind, path)).map(|runs| median(runs.iter().map(value).collect()));
    let is_busy = |kind: Kind| of(kind, |run| run.share + run.others).is_some_and(|share| share >= BUSY);
    for (kind, bar) in RATES {
        // A rate is a proxy's own while its core is what is busy. Where the load's core was, each is judged by what it did with the time it used.
        let (unit, rate): (_, fn(&Run) -> f64) = match is_busy(Kind::Interlock) && is_busy(kind) {
            true => ("requests/s", |run| run.rate),
            false => ("requests per CPU second", |run| run.rate / run.share),
        };
        let what = format!("{size}: {unit}, of {}'s", kind.name());
        match (of(Kind::Interlock, rate), of(kind, rate)) {
            (Some(own), Some(peer)) => verdicts.at_least(what, bar, own / peer, " ×"),
            _ => verdicts.not_judged(what, format!("≥ {bar} ×"), "not measured"),
        }
    }
    let what = format!("{size}: p99, of HAProxy's");
    match (of(Kind::Interlock, |run| run.p99_ms), of(Kind::HaProxy, |run| run.p99_ms)) {
        (Some(own), Some(peer)) => verdicts.at_most(what, TAIL, own / peer, " ×"),
        _ => verdicts.not_judged(what, format!("≤ {TAIL} ×"), "not measured"),
    }
}

/// Writes a file of a proxy's configuration.
fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("`{}`", path.display()))?;
    Ok(path.display().to_string())
}
