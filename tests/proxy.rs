//! The traffic switch as real processes: nothing is lost at a switch, and what is lost otherwise is counted.

#[path = "proxy/corpus.rs"]
mod corpus;
#[path = "proxy/load.rs"]
mod load;
#[path = "proxy/observed.rs"]
mod observed;
#[path = "proxy/services.rs"]
mod services;
#[path = "proxy/smuggling.rs"]
mod smuggling;
#[path = "proxy/upgrades.rs"]
mod upgrades;
#[path = "proxy/world.rs"]
mod world;

use http::Request;
use http_body_util::BodyExt;
use interlock::{
    model::{Epoch, Split},
    proxy::control::StateSource,
    targets::{Router, RouterError},
};
use load::{KINDS, Load};
use rustix::process::Signal;
use std::{net::TcpListener, time::Duration};
use tokio::net::TcpStream;
use world::{Backend, Browser, Socket, World, eventually, get, is_gone, kill, split};

/// Deploys a new version, with the old one killed as soon as the drain says that it may be.
async fn replace(world: &World, old: Backend, version: i64) -> Backend {
    let new = Backend::start(&version.to_string());
    world.serve(&[(&old, 0), (&new, 1)], version).await;
    let drained = world.router.drain(&format!("i-{}", old.version).into(), Duration::from_secs(3)).await.unwrap();
    assert_eq!(drained.cut, 0, "finite requests end within the patience");
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_at_a_switch() {
    let world = World::new();
    let mut serving = Backend::start("1");
    world.serve(&[(&serving, 1)], 1).await;
    let load = Load::start(&world);
    for version in 2..=8 {
        load.another_round().await;
        serving = replace(&world, serving, version).await;
    }
    load.another_round().await;
    let tally = load.stop().await;
    assert_eq!(*tally.failed.lock().unwrap(), Vec::<String>::new());
    assert!(*tally.told.lock().unwrap() > 0, "no websocket was open at a switch");
    eventually("nothing is in flight", async || world.router.measure().await.unwrap().versions.values().all(|one| one.in_flight == 0))
        .await;
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.router_failures, measured.lost_workers), (0, 0));
    assert_eq!(measured.drained, *tally.told.lock().unwrap());
    let done = tally.done();
    assert!(KINDS.iter().all(|kind| done[kind] > 0), "{done:?}");
    let counted: u64 = measured.versions.values().map(|one| one.requests).sum();
    assert_eq!(counted, done.values().sum::<u64>(), "the proxy counts what its clients count: {done:?}");
    assert!(measured.versions.values().all(|one| one.requests > 0 && one.errors == 0));
    assert_eq!(measured.versions.values().flat_map(|one| one.latency_ms.values()).sum::<u64>(), counted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_drain_the_same_load_loses_requests() {
    let world = World::with_fault("INTERLOCK_FAULT_NO_DRAIN").await;
    let mut serving = Backend::start("1");
    world.serve(&[(&serving, 1)], 1).await;
    let load = Load::start(&world);
    for version in 2..=8 {
        load.another_round().await;
        serving = replace(&world, serving, version).await;
    }
    let tally = load.stop().await;
    assert!(!tally.failed.lock().unwrap().is_empty(), "the load would not notice a loss");
    assert!(world.router.measure().await.unwrap().router_failures > 0, "the proxy would not notice a loss");
}

#[tokio::test]
async fn a_lower_epoch_is_refused_also_by_the_next_worker() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 7).await;
    world.serve(&[(&backend, 1)], 7).await;
    let stale = |result| matches!(result, Err(RouterError::StaleEpoch { given: Epoch(6), seen: Epoch(7) }));
    assert!(stale(world.router.set(&Split::default(), Epoch(6)).await));
    kill(world.worker().await, Signal::KILL);
    assert!(stale(world.router.set(&Split::default(), Epoch(6)).await));
    assert_eq!(world.router.observe().await.unwrap(), (split(&[(&backend, 1)]), Epoch(7)));
}

#[tokio::test]
async fn a_killed_worker_is_replaced_and_the_address_never_refuses() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let first = world.worker().await;
    kill(first, Signal::KILL);
    // From this moment on: every connection is taken, and every one is served once the next worker is there.
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(TcpStream::connect(world.listen).await.expect("the address never refuses"));
    }
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1", "the split is in force at once");
    assert_ne!(world.worker().await, first);
    assert_eq!(world.router.measure().await.unwrap().lost_workers, 1);
    assert_eq!(world.client.observe().await.unwrap().state, StateSource::Saved);
    kill(world.worker().await, Signal::KILL);
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1");
    assert_eq!(world.router.measure().await.unwrap().lost_workers, 2);
}

#[tokio::test]
async fn a_worker_dies_with_its_holder_and_the_proxy_can_be_started_again() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let worker = world.worker().await;
    kill(world.holder().pid, Signal::KILL);
    eventually("the worker has died", async || is_gone(worker)).await;
    assert!(world.dir.path().join("control.sock").exists(), "a stale socket lies there");
    assert!(world.router.measure().await.is_err(), "no counters are no good counters");
    world.serve(&[(&backend, 1)], 2).await;
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1");
    assert_eq!(world.router.measure().await.unwrap().lost_workers, 1);
}

#[tokio::test]
async fn a_stopped_proxy_leaves_nothing_behind_and_knows_its_epoch_later() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 5).await;
    let (holder, worker) = (world.holder(), world.worker().await);
    world.router.stop().await.unwrap();
    world.router.stop().await.unwrap();
    assert!(!holder.is_alive() && is_gone(worker) && !world.router.is_running().await);
    assert!(!world.dir.path().join("control.sock").exists() && !world.dir.path().join("proxy.json").exists());
    assert!(TcpListener::bind(world.listen).is_ok());
    assert_eq!(world.router.observe().await.unwrap(), (Split::default(), Epoch(0)));
    assert!(matches!(world.router.set(&Split::default(), Epoch(4)).await, Err(RouterError::StaleEpoch { seen: Epoch(5), .. })));
    assert_eq!(world.router.measure().await.unwrap().lost_workers, 0);
}

#[tokio::test]
async fn a_taken_address_is_said_so() {
    let world = World::new();
    let _other = TcpListener::bind(world.listen).unwrap();
    assert!(matches!(world.router.set(&Split::default(), Epoch(1)).await, Err(RouterError::PortTaken(listen)) if listen == world.listen));
    let log = std::fs::read_to_string(world.dir.path().join("proxy.log")).unwrap();
    assert!(log.contains(&format!("port_taken {}", world.listen)), "{log}");
}

#[tokio::test]
async fn a_state_cut_in_half_is_none_and_requests_wait_for_the_server() {
    let (world, old, new) = (World::new(), Backend::start("1"), Backend::start("2"));
    world.serve(&[(&old, 1)], 1).await;
    world.serve(&[(&new, 1)], 2).await;
    let file = world.dir.path().join("state.json");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    kill(world.worker().await, Signal::KILL);
    let in_force = world.client.observe().await.unwrap();
    assert_eq!((in_force.state, in_force.split), (StateSource::Unreadable, Split::default()), "neither half of a state nor an old one");
    let waits = tokio::spawn(get(world.listen, "/"));
    assert!(matches!(world.router.set(&Split::default(), Epoch(0)).await, Err(RouterError::StaleEpoch { seen: Epoch(1), .. })));
    world.serve(&[(&new, 1)], 2).await;
    assert_eq!(waits.await.unwrap().unwrap().body(), "2", "it waited until the server said what is in force");
    assert_eq!(world.router.measure().await.unwrap().router_failures, 0);
}

#[tokio::test]
async fn with_nothing_in_force_the_answer_is_503_and_no_downtime() {
    let world = World::new();
    world.serve(&[], 1).await;
    let answer = get(world.listen, "/").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(world.router.measure().await.unwrap().router_failures, 0);
}

#[tokio::test]
async fn what_does_not_end_is_ended_at_the_drain_and_counted() {
    let (world, old, new) = (World::new(), Backend::start("1"), Backend::start("2"));
    world.serve(&[(&old, 1)], 1).await;
    let mut socket = Socket::open(world.listen).await.unwrap();
    socket.send("hello").await.unwrap();
    assert_eq!(socket.receive().await.unwrap(), (1, b"hello".to_vec()));
    let mut bodies = Vec::new();
    for path in ["/endless-events", "/endless-download"] {
        let mut browser = Browser::connect(world.listen).await.unwrap();
        let mut body = browser.send(Request::get(path), Vec::new()).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        bodies.push(tokio::spawn(async move { body.collect().await.map(|_| ()) }));
    }
    let silent = tokio::spawn(get(world.listen, "/silent"));
    eventually("all four are in flight", async || world.router.measure().await.unwrap().versions["1"].in_flight == 4).await;
    world.serve(&[(&old, 0), (&new, 1)], 2).await;
    let report = world.router.drain(&"i-1".into(), Duration::from_millis(300)).await.unwrap();
    assert_eq!((report.completed, report.cut, report.drained), (0, 2, 2), "{report:?}");
    assert_eq!(socket.receive().await.unwrap(), (8, 1012u16.to_be_bytes().to_vec()));
    let download = bodies.pop().unwrap().await.unwrap();
    let events = bodies.pop().unwrap().await.unwrap();
    assert!(events.is_ok() && download.is_err(), "a stream ends, a download breaks: {events:?} {download:?}");
    assert_eq!(silent.await.unwrap().unwrap().status(), 503);
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.router_failures, measured.drained, measured.versions["1"].in_flight), (2, 2, 0));
}

#[tokio::test]
async fn traffic_that_comes_back_cancels_the_drain() {
    let (world, old, new) = (World::new(), Backend::start("1"), Backend::start("2"));
    world.serve(&[(&old, 1)], 1).await;
    let mut browser = Browser::connect(world.listen).await.unwrap();
    let mut events = browser.send(Request::get("/endless-events"), Vec::new()).await.unwrap().into_body();
    world.serve(&[(&old, 0), (&new, 1)], 2).await;
    let drain = tokio::spawn({
        let client = world.client.clone();
        async move { client.drain(&"i-1".into(), Duration::from_secs(600)).await.unwrap() }
    });
    // The drain may not have begun yet, and then `set` comes too early for it: set until it has been noticed.
    eventually("the drain ends", async || {
        world.serve(&[(&old, 1), (&new, 0)], 2).await;
        drain.is_finished()
    })
    .await;
    assert!(drain.await.unwrap().revived);
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1");
    events.frame().await.unwrap().unwrap();
}

#[tokio::test]
async fn an_instance_learns_who_asks_and_one_connections_headers_stay_on_it() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let mut browser = Browser::connect(world.listen).await.unwrap();
    let request = Request::get("/headers").header("x-forwarded-for", "10.9.8.7").header("connection", "x-private").header("x-private", "1");
    let seen = browser.send(request.header("te", "trailers"), Vec::new()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let mut seen: Vec<_> = std::str::from_utf8(&seen).unwrap().lines().collect();
    seen.sort_unstable();
    let forwarded = ["x-forwarded-for: 10.9.8.7, 127.0.0.1", "x-forwarded-host: shop.test", "x-forwarded-proto: http"];
    assert_eq!(seen, [&["host: shop.test"], &forwarded[..]].concat());
    let answer = browser.get("/private").await.unwrap();
    let names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).filter(|name| *name != "date").collect();
    assert_eq!(names, ["content-length"]);
}

#[tokio::test]
async fn its_own_requests_are_counted_apart() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    world.router.probe(Some("/headers"), Duration::from_millis(20)).await.unwrap();
    eventually("it probes", async || world.router.measure().await.unwrap().probes >= 5).await;
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.failed_probes, measured.router_failures, measured.versions["1"].requests), (0, 0, 0));
    assert!(!get(world.listen, "/headers").await.unwrap().body().contains("interlock"), "the label is for the proxy alone");
    kill(world.worker().await, Signal::KILL);
    eventually("it probes again", async || world.router.measure().await.unwrap().probes >= 1).await;
    drop(backend);
    eventually("a dead instance is noticed", async || world.router.measure().await.unwrap().failed_probes >= 1).await;
    assert_eq!(world.router.measure().await.unwrap().router_failures, 0);
    world.router.probe(None, Duration::ZERO).await.unwrap();
    assert_eq!(world.client.observe().await.unwrap().probe, None);
    assert!(world.router.probe(Some("no path"), Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn the_applications_errors_are_its_own_and_a_dead_instance_is_the_proxys() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    assert_eq!(get(world.listen, "/broken").await.unwrap().status(), 500);
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.versions["1"].errors, measured.router_failures), (1, 0));
    let mut browser = Browser::connect(world.listen).await.unwrap();
    let download = browser.send(Request::get("/endless-download"), Vec::new()).await.unwrap().into_body();
    drop(backend);
    assert!(download.collect().await.is_err(), "cut where the instance died");
    assert_eq!(get(world.listen, "/").await.unwrap().status(), 502);
    assert_eq!(world.router.measure().await.unwrap().router_failures, 2);
}

#[tokio::test]
async fn an_instance_that_closes_idle_connections_loses_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    // It never says that it closes, and does so after every answer.
    let backend = Backend::run("1", |mut stream| {
        Box::pin(async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        })
    });
    world.serve(&[(&backend, 1)], 1).await;
    let mut browser = Browser::connect(world.listen).await.unwrap();
    for _ in 0..100 {
        assert_eq!(browser.get("/").await.unwrap().body(), "ok");
    }
    assert_eq!(world.router.measure().await.unwrap().router_failures, 0);
}

#[tokio::test]
async fn whoever_is_answered_before_the_end_of_the_upload_asks_on_over_the_same_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    // It says no as soon as it has read the head, and hangs up; what else it is asked it answers.
    let backend = Backend::run("1", |mut stream| {
        Box::pin(async move {
            let read = async |stream: &mut TcpStream| {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                std::io::Result::Ok(head.starts_with(b"POST"))
            };
            while let Ok(is_upload) = read(&mut stream).await {
                let said: &[u8] = if is_upload {
                    b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
                } else {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                };
                if stream.write_all(said).await.is_err() || is_upload {
                    return;
                }
            }
        })
    });
    world.serve(&[(&backend, 1)], 1).await;
    let customers: Vec<_> = (0..16).map(|_| tokio::spawn(uploads_and_asks_on(world.listen))).collect();
    for customer in customers {
        customer.await.unwrap();
    }
}

/// A customer whose uploads are slow, and who reads each answer whenever it comes.
async fn uploads_and_asks_on(listen: std::net::SocketAddr) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for framing in ["Content-Length: 60", "Transfer-Encoding: chunked"].repeat(10) {
        let mut stream = TcpStream::connect(listen).await.unwrap();
        let is_chunked = framing.ends_with("chunked");
        stream.write_all(format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
        for _ in 0..10 {
            stream.write_all(if is_chunked { b"1\r\na\r\n" } else { b"abcdef" }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let end = if is_chunked { "0\r\n\r\n" } else { "" };
        stream.write_all(format!("{end}GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\nok") {
            let byte = stream.read_u8().await;
            said.push(byte.unwrap_or_else(|err| panic!("{framing}: {err} after `{}`", String::from_utf8_lossy(&said))));
        }
        assert!(said.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&said));
    }
}
