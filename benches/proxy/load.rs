//! The load generator, `wrk`, and what it says.

use super::OTHER_CORE;
use anyhow::{Context, ensure};
use std::{fmt, net::SocketAddr, process::Command, time::Duration};

/// How many connections are kept busy.
const CONNECTIONS: &str = "32";

/// The load generator.
pub struct Wrk;

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Requests a second.
    pub rate: f64,
    /// Half of the requests took at most so long.
    pub p50_ms: f64,
    /// 99 of 100 requests took at most so long.
    pub p99_ms: f64,
    /// How long it took.
    pub seconds: f64,
    /// The processor time of the proxy, as a share of the run's time.
    pub share: f64,
    /// The same of everybody else on the proxy's core.
    pub others: f64,
}

impl fmt::Display for Run {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { rate, p50_ms, p99_ms, share, others, .. } = self;
        write!(to, "{rate:7.0}/s p50 {p50_ms:.2} ms p99 {p99_ms:.2} ms, {:.0} % of its core, others {:.0} %", share * 100.0, others * 100.0)
    }
}

impl Wrk {
    /// Returns the load generator; `None` when it is not installed.
    pub fn find() -> Option<Self> {
        Command::new("wrk").arg("--version").output().ok().map(|_| Wrk)
    }

    /// Keeps a proxy busy for so long. A run in which anything failed is no figure.
    pub fn run(&self, address: SocketAddr, path: &str, time: Duration) -> anyhow::Result<Run> {
        let (core, seconds) = (OTHER_CORE.to_string(), format!("{}s", time.as_secs()));
        let url = format!("http://{address}{path}");
        let command =
            ["--cpu-list", &core, "wrk", "--threads", "1", "--connections", CONNECTIONS, "--duration", &seconds, "--latency", &url];
        let output = Command::new("taskset").args(command).output().context("running wrk")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk ended with {}: {said}", output.status);
        ensure!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "requests failed: {said}");
        read(&said).with_context(|| format!("wrk said what is not understood: {said}"))
    }
}

fn read(said: &str) -> Option<Run> {
    let after = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let rate = after("Requests/sec:")?.parse().ok()?;
    let seconds = said.lines().find_map(|line| line.split_once(" requests in ")?.1.split(',').next())?;
    let (p50_ms, p99_ms) = (millis(after("50%")?)?, millis(after("99%")?)?);
    Some(Run { rate, p50_ms, p99_ms, seconds: millis(seconds)? / 1000.0, share: 0.0, others: 0.0 })
}

/// Reads `9.87us`, `1.23ms`, `4.56s` or `1.00m`.
fn millis(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)];
    units.iter().find_map(|(unit, millis)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * millis))
}
