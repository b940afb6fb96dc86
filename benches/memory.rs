//! What the processes of a workspace have in memory while nothing happens.

use crate::{
    bridge::Bridge,
    judge::Verdicts,
    machine::{self, Memory},
    options::Options,
    support::{databases::Database, shop::Shop},
};
use anyhow::ensure;
use interlock::server::Running;
use serde_json::json;
use std::time::Duration;

/// How long nothing happens before it is looked.
const IDLE: Duration = Duration::from_secs(3);

/// At most so many MB, each process by the second word of its command line; a proxy is two processes.
const BARS: [(&str, &[&str], f64); 4] = [
    ("server", &["serve"], 40.0),
    ("proxy, holder and worker", &["proxy", "proxy-worker"], 15.0),
    ("bridge", &["mcp"], 10.0),
    ("shim", &["shim"], 5.0),
];

/// Measures, and judges what each has for itself and its part of what it shares.
pub fn run(_: &Options) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::titled("Idle memory");
    tokio::runtime::Runtime::new()?.block_on(measure(&mut verdicts))?;
    Ok(verdicts)
}

async fn measure(verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let shop = Shop::open(Database::Sqlite).await;
    let deployed = shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    ensure!(deployed["deployment"]["state"] == "succeeded", "{deployed:#}");
    let mut bridge = Bridge::start(&shop)?;
    bridge.handshake()?;
    bridge.tool("get_status", json!({}))?;
    tokio::time::sleep(IDLE).await;
    verdicts.say(
        "One deployment, one bridge, one call. All processes run one program, whose pages the kernel keeps once: *resident* (RSS) counts them \
         in each process, *own* (RssAnon) in none, *proportional* (PSS) to each its part. Judged is PSS: the sum over the processes is then what \
         the machine has spent.",
    );
    let mut rows = Vec::new();
    let mut judged = Vec::new();
    for (name, words, bar) in BARS {
        let mut sum = Memory::default();
        let mut found = 0;
        for word in words {
            let ours = match *word {
                "mcp" => vec![bridge.pid()],
                "serve" => Running::of(&shop).iter().map(|server| server.pid).collect(),
                _ => shop.processes(word).iter().map(|one| one.pid as u32).collect(),
            };
            for pid in ours {
                let one = machine::memory(pid)?;
                sum.resident += one.resident;
                sum.anonymous += one.anonymous;
                sum.proportional += one.proportional;
                found += 1;
            }
        }
        ensure!(found == words.len(), "{found} processes of the {name}");
        rows.push(vec![
            name.to_owned(),
            format!("{:.1} MB", sum.resident),
            format!("{:.1} MB", sum.anonymous),
            format!("{:.1} MB", sum.proportional),
        ]);
        judged.push((name, bar, sum.proportional));
    }
    verdicts.table(&["process", "resident", "own", "proportional"], &rows);
    for (name, bar, measured) in judged {
        verdicts.at_most(name, bar, measured, " MB");
    }
    Ok(())
}
