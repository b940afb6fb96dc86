//! What a proxy writes down, and what it does when it cannot.

use super::world::{Backend, Browser, World, eventually, get};
use http::Request;
use interlock::{
    model::{Epoch, Split},
    targets::{Router, proxy_router::Route},
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

#[tokio::test]
async fn each_request_is_written_down_without_its_secrets() {
    let (world, backend) = (World::new(), Backend::start("1"));
    let quiet = world.router.serving(Route { service: "web".into(), access_log: false, ..Route::default() });
    world.serve(&[(&backend, 1)], 1).await;
    let mut browser = Browser::connect(world.listen).await.unwrap();
    let request = Request::get("/headers?token=s3cret&page=2").header("authorization", "Bearer s3cret").header("cookie", "s3cret");
    let body = browser.send(request, Vec::new()).await.unwrap();
    drop(body);
    get(world.listen, "/broken").await.unwrap();
    let read = || std::fs::read_to_string(world.dir.path().join("access.log")).unwrap_or_default();
    eventually("both are written", async || read().lines().count() == 2).await;
    quiet.set(&super::world::split(&[(&backend, 1)]), Epoch(1)).await.unwrap();
    get(world.listen, "/quiet").await.unwrap();
    world.router.stop().await.unwrap();
    let log = read();
    assert!(!log.contains("s3cret") && !log.contains("quiet") && log.lines().count() == 2, "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["path"], &lines[0]["authorization"], &lines[0]["version"]),
        (&"/headers?token=…&page=…".into(), &"[redacted]".into(), &"1".into())
    );
    assert_eq!((&lines[1]["status"], &lines[1]["outcome"], &lines[1]["client"]), (&500.into(), &"completed".into(), &"127.0.0.1".into()));
}

#[tokio::test]
async fn counters_can_be_read_by_prometheus() {
    let (world, one, two) = (World::new(), Backend::start("1"), Backend::start("2"));
    let router = world.router.serving(Route { service: "staging/web".into(), ..Route::default() });
    router.set(&super::world::split(&[(&one, 9), (&two, 1)]), Epoch(1)).await.unwrap();
    for _ in 0..10 {
        get(world.listen, "/broken").await.unwrap();
    }
    let text = world.client.metrics().await.unwrap();
    for (version, requests) in [("1", 9), ("2", 1)] {
        let labels = format!("listen=\"{}\",service=\"staging/web\",version=\"{version}\"", world.listen);
        for line in [
            format!("interlock_requests_total{{{labels},class=\"5xx\"}} {requests}"),
            format!("interlock_request_duration_seconds_count{{{labels}}} {requests}"),
            format!("interlock_split_weight{{{labels},instance=\"i-{version}\"}} {requests}"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_a_change_and_ends_nobody() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    let worker = world.worker().await;
    let limit = |bytes| {
        let pid = Pid::from_raw(worker);
        prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    limit(Some(1));
    assert!(world.router.set(&Split::default(), Epoch(2)).await.is_err());
    for _ in 0..10 {
        assert_eq!(get(world.listen, "/").await.unwrap().body(), "1", "what is in force stays");
    }
    assert_eq!(world.worker().await, worker, "a write beyond the limit ends nobody");
    limit(None);
    world.serve(&[], 2).await;
    assert_eq!(get(world.listen, "/").await.unwrap().status(), 503);
    let log = world.dir.path().join("proxy.log");
    assert!(log.exists());
}
