//! One worker takes over from another: nothing is lost, nothing is counted twice or forgotten.

use super::{
    load::{KINDS, Load},
    world::{Backend, Browser, EXE, Socket, World, eventually, get, is_gone, kill, split},
};
use http::Request;
use http_body_util::BodyExt;
use interlock::{
    model::{Epoch, Split},
    proxy::{ClientError, HolderIdentity},
    targets::{Router, proxy_router::ProxyRouter},
};
use rustix::process::Signal;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(3);

async fn upgrade(world: &World, exe: Option<&Path>) -> i32 {
    let before = world.worker().await;
    let upgraded = world.client.upgrade(exe, PATIENCE).await.unwrap().worker;
    assert_ne!(upgraded, before);
    assert_eq!(world.worker().await, upgraded, "whoever asks next asks the new one");
    before
}

/// The same program elsewhere: another build as far as anybody can tell.
fn another_build(world: &World) -> PathBuf {
    let copy = world.dir.path().join("interlock-next");
    std::fs::copy(EXE, &copy).unwrap();
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_at_an_upgrade() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let next = another_build(&world);
    let load = Load::start(&world);
    let (mut old, mut counted) = (Vec::new(), 0);
    for round in 0..6 {
        load.another_round().await;
        old.push(upgrade(&world, (round % 2 == 1).then_some(next.as_path())).await);
        let requests = world.router.measure().await.unwrap().versions["1"].requests;
        assert!(requests > counted, "the counters go on: {counted}, {requests}");
        counted = requests;
    }
    // The load goes on until the last of them has closed what was idle and ended what was open.
    eventually("the workers before have ended", async || old.iter().all(|pid| is_gone(*pid))).await;
    load.another_round().await;
    let tally = load.stop().await;
    assert_eq!(*tally.failed.lock().unwrap(), Vec::<String>::new());
    assert!(*tally.told.lock().unwrap() > 0, "no websocket was open at an upgrade");
    eventually("nothing is in flight", async || world.router.measure().await.unwrap().versions["1"].in_flight == 0).await;
    let (measured, done) = (world.router.measure().await.unwrap(), tally.done());
    assert!(KINDS.iter().all(|kind| done[kind] > 0), "{done:?}");
    assert_eq!(measured.versions["1"].requests, done.values().sum::<u64>(), "seven workers count what their clients count: {done:?}");
    assert_eq!(measured.versions["1"].latency_ms.values().sum::<u64>(), measured.versions["1"].requests);
    assert_eq!((measured.router_failures, measured.lost_workers, measured.drained), (0, 0, *tally.told.lock().unwrap()));
    println!("figure: 6 upgrades, {} requests, 0 lost", measured.versions["1"].requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_lame_duck_the_same_load_loses_requests() {
    let (world, backend) = (World::with_fault("INTERLOCK_FAULT_NO_LAME_DUCK").await, Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let load = Load::start(&world);
    for _ in 0..3 {
        load.another_round().await;
        // It may be gone before it has answered.
        let _ = world.client.upgrade(None, PATIENCE).await;
    }
    assert!(!load.stop().await.failed.lock().unwrap().is_empty(), "the load would not notice a loss");
}

#[tokio::test]
async fn who_is_connected_is_asked_to_connect_again_and_what_is_in_flight_ends() {
    let (world, one, two) = (World::new(), Backend::start("1"), Backend::start("2"));
    world.serve(&[(&one, 1)], 1).await;
    let mut idle = Browser::connect(world.listen).await.unwrap();
    assert_eq!(idle.get("/").await.unwrap().headers().get("connection"), None);
    let slow = tokio::spawn(get(world.listen, "/slow"));
    let mut socket = Socket::open(world.listen).await.unwrap();
    let mut stream = Browser::connect(world.listen).await.unwrap();
    let mut events = stream.send(Request::get("/endless-events"), Vec::new()).await.unwrap().into_body();
    eventually("three are in flight", async || world.router.measure().await.unwrap().versions["1"].in_flight == 3).await;
    let old = upgrade(&world, None).await;
    assert_eq!(world.router.measure().await.unwrap().versions["1"].in_flight, 3, "wherever they are");
    world.serve(&[(&one, 0), (&two, 1)], 2).await;
    let answer = idle.get("/").await.unwrap();
    assert_eq!((answer.headers()["connection"].to_str().unwrap(), answer.body().as_str()), ("close", "2"), "the worker before follows");
    let began = Instant::now();
    let drained = world.router.drain(&"i-1".into(), Duration::from_secs(20)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(18), "{drained:?}");
    assert_eq!((drained.completed, drained.cut, drained.drained), (1, 0, 2), "the drain waits for both workers: {drained:?}");
    assert_eq!(slow.await.unwrap().unwrap().body(), "1");
    assert_eq!(socket.receive().await.unwrap(), (8, 1012u16.to_be_bytes().to_vec()));
    while let Some(frame) = events.frame().await {
        frame.expect("a stream ends properly");
    }
    eventually("the worker before has ended", async || is_gone(old)).await;
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.versions["1"].requests, measured.versions["1"].in_flight, measured.drained, measured.lost_workers), (4, 0, 2, 0));
    let left = std::fs::read_dir(world.dir.path()).unwrap().flatten();
    let sockets = left.filter(|entry| entry.file_name().to_string_lossy().ends_with(".sock")).count();
    assert_eq!(sockets, 2, "the proxy's and its worker's");
}

#[tokio::test]
async fn an_upgrade_that_fails_changes_nothing() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let worker = world.worker().await;
    for exe in ["/nowhere/interlock", "/bin/true", "/bin/cat"] {
        match world.client.upgrade(Some(Path::new(exe)), PATIENCE).await {
            Err(ClientError::Refused(refusal)) => assert_eq!(refusal.code, "upgrade_failed", "{exe}: {refusal:?}"),
            other => panic!("{exe}: {other:?}"),
        }
        assert_eq!((world.worker().await, get(world.listen, "/").await.unwrap().body().as_str()), (worker, "1"), "{exe}");
        world.serve(&[(&backend, 1)], 1).await;
    }
    upgrade(&world, None).await;
    assert_eq!(world.router.measure().await.unwrap().lost_workers, 0);
}

#[tokio::test]
async fn a_worker_killed_while_it_ends_is_lost_and_what_it_counted_stays() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    get(world.listen, "/").await.unwrap();
    let mut browser = Browser::connect(world.listen).await.unwrap();
    let _stream = browser.send(Request::get("/endless-events"), Vec::new()).await.unwrap();
    let old = upgrade(&world, None).await;
    kill(old, Signal::KILL);
    eventually("it is noticed", async || world.router.measure().await.unwrap().lost_workers == 1).await;
    get(world.listen, "/").await.unwrap();
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.versions["1"].requests, measured.versions["1"].in_flight), (2, 0));
    kill(world.worker().await, Signal::KILL);
    eventually("the holder counts too", async || world.router.measure().await.is_ok_and(|measured| measured.lost_workers == 2)).await;
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1");
}

#[tokio::test]
async fn a_proxy_of_another_build_is_brought_to_the_servers() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    assert!(!world.router.upgrade().await.unwrap(), "it is ours");
    let (control, next) = (world.dir.path().join("control.sock"), another_build(&world));
    // The server after an upgrade of the program.
    let router = ProxyRouter::new(next, world.dir.path().to_owned(), world.listen, control);
    let worker = world.worker().await;
    assert_eq!(router.observe().await.unwrap(), (split(&[(&backend, 1)]), Epoch(1)));
    assert_ne!(world.worker().await, worker);
    assert!(world.client.version().await.unwrap().build != world.client.hello("x").await.unwrap().version);
    assert!(!router.upgrade().await.unwrap(), "once is enough");
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1");
    let worker = world.worker().await;
    // Killed, it is started again from the program it was upgraded to.
    let build = world.client.version().await.unwrap().build;
    kill(worker, Signal::KILL);
    eventually("another serves", async || world.client.version().await.is_ok_and(|about| about.worker != worker)).await;
    assert_eq!(world.client.version().await.unwrap().build, build);
    assert!(HolderIdentity::read(world.dir.path()).unwrap().is_alive());
}

#[tokio::test]
async fn a_higher_epoch_seen_before_an_upgrade_is_known_after() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 7).await;
    world.router.probe(Some("/"), Duration::from_millis(20)).await.unwrap();
    eventually("it probes", async || world.router.measure().await.unwrap().probes > 3).await;
    upgrade(&world, None).await;
    assert!(world.router.set(&Split::default(), Epoch(6)).await.is_err());
    let probes = world.router.measure().await.unwrap().probes;
    eventually("it probes on", async || world.router.measure().await.unwrap().probes > probes + 3).await;
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.failed_probes, measured.versions["1"].requests), (0, 0), "no probe is taken for a customer");
}
