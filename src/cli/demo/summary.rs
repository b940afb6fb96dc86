//! What the demo measured, from the client's and from the proxy's own counters, and whether they agree.

use super::tally::{Kind, LoadReport};
use crate::targets::Samples;
use anyhow::ensure;
use serde_json::Value;
use std::{path::Path, time::Duration};

/// Everything the demo measured.
pub struct Measured {
    /// The load's own counts.
    pub client: LoadReport,
    /// The proxy's counters before the load.
    pub before: Samples,
    /// And after it.
    pub after: Samples,
    /// The deployment of 2.0.0.
    pub good: Value,
    /// The deployment of 3.0.0, which was taken back.
    pub bad: Value,
    /// The rollback on demand.
    pub back: Value,
    /// Calls the agent made.
    pub calls: u64,
    /// The audit chain's verification.
    pub audit: Value,
}

impl Measured {
    fn proxied(&self) -> u64 {
        let total = |samples: &Samples| samples.versions.values().map(|version| version.requests).sum::<u64>();
        total(&self.after).saturating_sub(total(&self.before))
    }

    fn downtime(&self) -> u64 {
        let total = |samples: &Samples| samples.router_failures + samples.failed_probes;
        total(&self.after).saturating_sub(total(&self.before))
    }

    /// Returns milliseconds from the recorded switch to the first answer of the new version.
    fn switch_ms(&self) -> Option<i64> {
        Some(self.client.versions.get("2.0.0")?.first_at - self.good["deployment"]["shifted_at"].as_i64()?)
    }

    /// Returns milliseconds from the trigger to the last request that was begun on the bad version.
    fn rollback_ms(&self) -> Option<i64> {
        Some(self.client.versions.get("3.0.0")?.last_started_at - self.bad["incidents"][0]["opened_at"].as_i64()?)
    }

    /// Returns for how long the bad version took traffic.
    fn bad_ms(&self) -> Option<i64> {
        let bad = &self.bad["deployment"];
        Some(bad["unshifted_at"].as_i64()? - bad["shifted_at"].as_i64()?)
    }
}

/// Prints what was measured.
pub fn print(measured: &Measured, took: Duration) {
    let client = &measured.client;
    println!("\nmeasured over {:.1} s of load, {} switches:", client.seconds, 4);
    for (kind, counts) in &client.kinds {
        let name = serde_json::to_string(kind).unwrap_or_default();
        println!("  {:<12} {:>7} requests  {} failed  {} wrong", name.trim_matches('"'), counts.requests, counts.failed, counts.wrong);
    }
    let shown = |value: Option<i64>| value.map_or("not seen".to_owned(), |millis| format!("{millis} ms"));
    println!(
        "  client       {} requests, p50 {:.1} ms, p95 {:.1} ms, largest gap {:.0} ms, {} websockets told 1012",
        client.requests, client.p50_ms, client.p95_ms, client.largest_gap_ms, client.restarted
    );
    println!(
        "  proxy        {} requests, {} failures of its own, {} probes of its own, {} drained",
        measured.proxied(),
        measured.downtime(),
        measured.after.probes - measured.before.probes,
        measured.after.drained - measured.before.drained
    );
    println!("  switch       first answer of 2.0.0 {} after the switch was recorded", shown(measured.switch_ms()));
    println!("  rollback     last request begun on 3.0.0 {} after its trigger", shown(measured.rollback_ms()));
    let back = &measured.back["deployment"];
    let on_demand = back["shifted_at"].as_i64().zip(back["created_at"].as_i64()).map(|(shifted, asked)| shifted - asked);
    println!("  on demand    traffic back on 1.0.0 {} after it was asked (its set is started and verified again first)", shown(on_demand));
    println!("  3.0.0        took traffic for {}; {} wrong answers in that time", shown(measured.bad_ms()), client.wrong);
    println!(
        "  downtime     {} (client: refused, cut or router-made 5xx {}; proxy {})",
        client.failed + measured.downtime(),
        client.failed,
        measured.downtime()
    );
    println!("  agent        {} calls; audit chain of {} entries holds", measured.calls, measured.audit["entries"]);
    for failure in client.failures.iter().filter(|failure| !failure.contains("wrong answer from 3.0.0")).take(5) {
        println!("  failure      {failure}");
    }
    println!("  took         {:.1} s", took.as_secs_f64());
}

/// Prints how agents connect.
pub fn connect(exe: &Path, kept: Option<&Path>) {
    let exe = exe.display();
    let workspace = kept.map(|folder| format!(" --workspace {}", folder.display())).unwrap_or_default();
    println!("\nconnect an agent, in your project after `interlock init`:");
    println!("  Claude Code  claude mcp add interlock -- {exe} mcp{workspace}");
    println!("  Codex        codex mcp add interlock -- {exe} mcp{workspace}");
    println!("  others       {{\"mcpServers\": {{\"interlock\": {{\"command\": \"{exe}\", \"args\": [\"mcp\"]}}}}}}");
    println!();
}

/// Fails on a failed request, on too little load, and when the two sides do not agree; the last line says how many failed.
pub fn verdict(measured: &Measured) -> anyhow::Result<()> {
    let client = &measured.client;
    ensure!(client.kinds.values().all(|counts| counts.requests > 0), "a kind of request was never made");
    ensure!(client.versions.len() == 3, "the client must have seen three versions, and saw {}", client.versions.len());
    // Messages on a websocket are one request to the proxy. The server's own checks through the listener are counted there, too: it may
    // have seen more, never less.
    let messages = client.kinds.get(&Kind::Websocket).map_or(0, |counts| counts.requests);
    let asked = client.requests - client.failed - messages;
    ensure!(measured.proxied() >= asked, "the client counts {asked} requests, the proxy {}", measured.proxied());
    println!("{} requests, {} failed", client.requests, client.failed + measured.downtime());
    ensure!(client.failed + measured.downtime() == 0, "requests failed");
    Ok(())
}
