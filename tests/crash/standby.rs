//! A second server of the same workspace and database: refused, or waiting. One that waits takes over from a server that is killed or
//! hangs in the middle of a deployment, under load, and nothing is lost or done twice.

use super::{
    cases::Course,
    shop::{Shop, Times},
};
use crate::support::{
    databases::Database,
    on_both,
    standby::{Standby, until},
    wire::{finish, said},
    workspace::{Workspace, signal},
};
use anyhow::{Context, Result, ensure};
use interlock::{
    cli::demo::{
        app::Fault,
        load::{Load, LoadHandle, LoadOptions},
    },
    server::Running,
    store::sqlite_url,
};
use rustix::process::Signal;
use serde_json::json;
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};
use tempfile::TempDir;

on_both!(
    a_standby_finishes_what_a_killed_server_began,
    a_standby_ends_a_server_that_hangs_and_finishes_what_it_began,
    a_server_that_answers_keeps_its_workspace,
    a_second_server_is_told_who_runs_and_what_to_do,
);

/// A killed server is followed within seconds.
const AFTER_A_KILL: Duration = Duration::from_secs(10);
/// One that hangs after 10 s of silence, and the start of the next; generous for a slow machine.
const AFTER_SILENCE: Duration = Duration::from_secs(40);

async fn a_standby_finishes_what_a_killed_server_began(database: Database) {
    for place in ["start-1:after-effect", "shift:after-effect", "bake:after-intent"] {
        let took = taken_over(database.another().await, place, Signal::KILL).await.unwrap_or_else(|error| panic!("{place}: {error:#}"));
        println!("figure: killed at {place}: taken over in {took:?}");
        assert!(took < AFTER_A_KILL, "{place}: {took:?}");
    }
}

async fn a_standby_ends_a_server_that_hangs_and_finishes_what_it_began(database: Database) {
    let mut lanes = tokio::task::JoinSet::new();
    for place in ["start-1:after-effect", "shift:after-intent", "shift:after-effect"] {
        let database = database.another().await;
        lanes.spawn(async move {
            let took = taken_over(database, place, Signal::STOP).await.unwrap_or_else(|error| panic!("{place}: {error:#}"));
            println!("figure: hung at {place}: taken over in {took:?}");
            assert!(took < AFTER_SILENCE, "{place}: {took:?}");
        });
    }
    lanes.join_all().await;
}

/// Harms the server where its deployment stands at `place`, while another waits; returns how long nobody answered. The deployment
/// succeeds, customers notice nothing, and the server before does nothing more.
async fn taken_over(database: Database, place: &'static str, harm: Signal) -> Result<Duration> {
    let mut shop = Shop::open(database, Course::BlueGreen, Times::USUAL).await?;
    let old = shop.deploy().await?;
    let under_way = UnderWay::at(&mut shop, place).await?;
    let standby = Standby::of(&shop).await?;
    let before = Running::of(&shop).context("a server runs")?;

    signal(before.pid as i32, harm);
    let harmed = Instant::now();
    standby.serves(&shop).await?;
    let took = harmed.elapsed();

    // Whether it was killed or hung, it is gone: a signal that would wake it finds nobody.
    ensure!(shop.ended().await? == Some(Signal::KILL.as_raw()), "the server before was not ended");
    ensure!(!before.is_alive());
    let settled = shop.settled(&under_way.deployment).await?;
    ensure!(settled["state"] == "succeeded", "{settled}");
    shop.agrees(&under_way.version).await?;
    let load = under_way.load.stop().await;
    ensure!(load.failed == 0, "{} requests failed: {:?}", load.failed, load.failures);
    for version in [&old, &under_way.version] {
        ensure!(load.versions.get(version).is_some_and(|seen| seen.answers > 0 && seen.wrong == 0), "{version}: {:?}", load.versions);
    }
    let journal = settled["steps"].as_array().context("steps")?;
    let twice = journal.iter().filter(|step| step["attempt"].as_i64() > Some(2)).count();
    ensure!(twice == 0, "done more often than once by each server: {settled}");
    Ok(took)
}

/// The control: a server that is stopped and woken does go on by itself, when nobody has taken its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_woken_goes_on_where_it_stood() -> Result<()> {
    let mut shop = Shop::open(Database::Sqlite, Course::BlueGreen, Times::USUAL).await?;
    shop.deploy().await?;
    let under_way = UnderWay::at(&mut shop, "shift:after-intent").await?;
    let before = Running::of(&shop).context("a server runs")?;
    signal(before.pid as i32, Signal::STOP);
    fs::remove_file(&under_way.marker)?;
    signal(before.pid as i32, Signal::CONT);
    let settled = shop.settled(&under_way.deployment).await?;
    ensure!(settled["state"] == "succeeded", "{settled}");
    ensure!(Running::of(&shop).as_ref() == Some(&before), "it is the same server");
    shop.agrees(&under_way.version).await
}

async fn a_server_that_answers_keeps_its_workspace(database: Database) {
    let mut shop = Shop::open(database, Course::BlueGreen, Times::USUAL).await.unwrap();
    let standby = Standby::of(&shop).await.unwrap();
    let before = Running::of(&shop).unwrap();
    let began = Instant::now();
    // Silent for a moment, as on a machine with too much to do.
    signal(before.pid as i32, Signal::STOP);
    tokio::time::sleep(Duration::from_secs(4)).await;
    signal(before.pid as i32, Signal::CONT);
    while began.elapsed() < Duration::from_secs(13) {
        shop.deploy().await.unwrap();
    }
    assert_eq!(Running::of(&shop).unwrap(), before, "it was answering all along");
    // Stopped in good order, it is followed at once: an upgrade is a standby of the next version and `interlock stop`.
    let stopped = Instant::now();
    shop.stop().await.unwrap();
    standby.serves(&shop).await.unwrap();
    println!("figure: after `interlock stop`: taken over in {:?}", stopped.elapsed());
    assert_eq!(shop.deploy().await.unwrap(), shop.client().call("get_status", json!({})).await.unwrap()["places"][0]["serves"]);
}

async fn a_second_server_is_told_who_runs_and_what_to_do(database: Database) {
    let is_sqlite = database == Database::Sqlite;
    let shop = Shop::open(database, Course::BlueGreen, Times::USUAL).await.unwrap();
    let server = Running::of(&shop).unwrap();
    let second = async |says: &str, hint: &str| {
        let refused = finish(&mut shop.interlock(&["serve"])).await;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(6), "server_running".into()), "{told}");
        assert!(told.contains(says) && told.contains(&format!("process {}", server.pid)) && told.contains(hint), "{told}");
    };
    second("a server runs in", "`interlock stop`").await;
    signal(server.pid as i32, Signal::STOP);
    second("does not answer", "`interlock serve --standby`").await;
    signal(server.pid as i32, Signal::CONT);
    if is_sqlite {
        // One file is one server's, from whichever folder.
        let other = Workspace::new(Database::Sqlite, "");
        let url = sqlite_url(&shop.own_database()).unwrap();
        let refused = finish(other.interlock(&["serve"]).env("INTERLOCK_DATABASE_URL", &url)).await;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), said(&refused.stderr)), (Some(6), "server_running".into()), "{told}");
        assert!(told.contains("another workspace has the database"), "{told}");
    }
    let report = shop.client().call("audit_verify", json!({})).await.unwrap();
    assert!(report["entries"].as_i64() > Some(0), "the first goes on: {report}");
}

/// A deployment that stands somewhere, under load.
struct UnderWay {
    deployment: String,
    version: String,
    load: LoadHandle,
    /// Taken away, it goes on.
    marker: PathBuf,
    _markers: TempDir,
}

impl UnderWay {
    /// Starts the server anew, so that it stops at `place`, and deploys the next version until there.
    async fn at(shop: &mut Shop, place: &str) -> Result<Self> {
        let markers = tempfile::tempdir()?;
        let marker = markers.path().join(place.replace(':', "_"));
        shop.stop().await?;
        let (armed, folder) = (format!("{place}=wait"), markers.path().to_str().context("a path in UTF-8")?.to_owned());
        shop.serve(&[("INTERLOCK_FAILPOINT", &armed), ("INTERLOCK_FAILPOINT_DIR", &folder)]).await?;
        let pace = Duration::from_millis(20);
        let load =
            Load::start(shop.listen, LoadOptions { get: 1, post: 1, events: 1, keep_alive: 1, websocket: 1, pace, ..Default::default() });
        until("the load starts", || load.snapshot().kinds.len() == 5).await?;
        let version = shop.build_next(Fault::None)?;
        let reply = shop.client().call("execute_deployment", json!({ "plan": shop.plan(&version).await? })).await?;
        let deployment = reply["deployment"].as_str().context("a deployment has an id")?.to_owned();
        until(place, || marker.exists()).await?;
        Ok(UnderWay { deployment, version, load, marker, _markers: markers })
    }
}
