//! The controls: what every case expects not to find is found when it is there.

use super::{
    cases::Course,
    promises::unpromised,
    shop::{Shop, Times},
    walk::{GoesOn, appears, sees, start_load, until},
};
use crate::support::{BINARY, databases::Database, workspace::signal};
use anyhow::{Context, Result, ensure};
use interlock::{
    cli::demo::app::{Fault, printed_address},
    model::{Split, split::Share},
};
use rustix::process::Signal;
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_release_a_dead_proxy_and_a_stray_process_are_noticed() -> Result<()> {
    let mut shop = Shop::open(Database::Sqlite, Course::BlueGreen, Times::USUAL).await?;
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
    let load = start_load(&shop, Times::USUAL).await?;
    let new = shop.build_next(Fault::None)?;
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
    let load = start_load(&shop, Times::USUAL).await?;
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
