//! Several services on one listener, weights, returning clients, held requests, and the second listener.

use super::world::{Backend, Browser, World, eventually, get, get_from, kill, split};
use http::Request;
use http_body_util::BodyExt;
use interlock::{
    model::{Epoch, Split, Stickiness},
    targets::{
        Router, RouterError,
        proxy_router::{ProxyRouter, Route},
    },
};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

fn service(world: &World, name: &str, hosts: &[&str]) -> ProxyRouter {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    world.router.serving(Route { service: name.to_owned(), hosts, access_log: true, ..Route::default() })
}

fn sticky(world: &World, stickiness: Stickiness) -> ProxyRouter {
    world.router.serving(Route { service: "web".to_owned(), stickiness, ..Route::default() })
}

/// Asks for the version that serves, and returns it with the cookie that was set.
async fn visit(listen: SocketAddr, name: &str, value: &str) -> (String, Option<String>) {
    let mut browser = Browser::connect(listen).await.unwrap();
    let request = Request::get("/").header(name, value);
    let (head, body) = browser.send(request, Vec::new()).await.unwrap().into_parts();
    let cookie = head.headers.get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
    (String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(), cookie)
}

#[tokio::test]
async fn a_split_is_obeyed_exactly_and_both_sides_are_counted() {
    let (world, old, new, warm) = (World::new(), Backend::start("1"), Backend::start("2"), Backend::start("3"));
    world.serve(&[(&old, 90), (&new, 10), (&warm, 0)], 1).await;
    let (mut browser, mut got) = (Browser::connect(world.listen).await.unwrap(), BTreeMap::new());
    for _ in 0..300 {
        *got.entry(browser.get("/").await.unwrap().into_body()).or_insert(0) += 1;
    }
    assert_eq!(got, [("1".to_owned(), 270), ("2".to_owned(), 30)].into());
    for _ in 0..100 {
        browser.get("/broken").await.unwrap();
    }
    let measured = world.router.measure().await.unwrap();
    let counts =
        |version: &str| (measured.versions[version].requests, measured.versions[version].errors, measured.versions[version].router_errors);
    assert_eq!((counts("1"), counts("2"), counts("3")), ((360, 90, 0), (40, 10, 0), (0, 0, 0)));
    assert_eq!(measured.versions["2"].latency_ms.values().sum::<u64>(), 40);
    drop(new);
    for _ in 0..10 {
        browser.get("/").await.unwrap();
    }
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.versions["1"].router_errors, measured.router_failures), (0, measured.versions["2"].router_errors));
}

#[tokio::test]
async fn a_client_with_the_cookie_stays_until_its_release_is_withdrawn() {
    let (world, old, new) = (World::new(), Backend::start("1"), Backend::start("2"));
    let router = sticky(&world, Stickiness::Cookie);
    let serve = async |weights: (u32, u32)| router.set(&split(&[(&old, weights.0), (&new, weights.1)]), Epoch(1)).await.unwrap();
    serve((50, 50)).await;
    let (first, cookie) = visit(world.listen, "x-nothing", "1").await;
    let cookie = cookie.expect("a new client gets a cookie");
    assert!(cookie.starts_with("interlock_release=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains(&format!("={first};")), "it does not say which version: {cookie}");
    let pair = format!("a=1; {}; b=2", cookie.split(';').next().unwrap());
    for _ in 0..10 {
        assert_eq!(visit(world.listen, "cookie", &pair).await, (first.clone(), None), "known, it stays and needs no new one");
    }
    let smallest = if first == "1" { (1, 99) } else { (99, 1) };
    serve(smallest).await;
    assert_eq!(visit(world.listen, "cookie", &pair).await.0, first);
    kill(world.worker().await, Signal::KILL);
    assert_eq!(visit(world.listen, "cookie", &pair).await.0, first, "another worker knows it too");
    serve(if first == "1" { (0, 1) } else { (1, 0) }).await;
    let (second, cookie) = visit(world.listen, "cookie", &pair).await;
    assert!(second != first && cookie.is_some(), "withdrawn, its clients move on");
    let mut browser = Browser::connect(world.listen).await.unwrap();
    let seen = browser.send(Request::get("/headers").header("cookie", &pair), Vec::new()).await.unwrap().into_body();
    let seen = String::from_utf8(seen.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(seen.contains("cookie: a=1; b=2\n"), "the application does not see it: {seen}");
}

#[tokio::test]
async fn a_client_with_the_same_header_gets_the_same_release() {
    let (world, old, new) = (World::new(), Backend::start("1"), Backend::start("2"));
    let router = sticky(&world, Stickiness::Header { name: "X-User".into() });
    router.set(&split(&[(&old, 70), (&new, 30)]), Epoch(1)).await.unwrap();
    let lead = async || {
        let mut lead = Vec::new();
        for user in 0..60 {
            lead.push(visit(world.listen, "x-user", &format!("user-{user}")).await.0);
        }
        lead
    };
    let before = lead().await;
    assert_eq!(lead().await, before);
    assert!(before.contains(&"1".to_owned()) && before.contains(&"2".to_owned()));
    router.set(&split(&[(&old, 30), (&new, 70)]), Epoch(1)).await.unwrap();
    let after = lead().await;
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || after == "2"), "who moves goes to what grew");
    assert!(after.iter().filter(|version| *version == "2").count() > before.iter().filter(|version| *version == "2").count());
}

#[tokio::test]
async fn services_share_a_listener_by_host() {
    let (world, shop, blog) = (World::new(), Backend::start("shop"), Backend::start("blog"));
    let (to_shop, to_blog) = (service(&world, "shop", &["Shop.test"]), service(&world, "blog", &["*.blog.test", "blog.test"]));
    to_shop.set(&split(&[(&shop, 1)]), Epoch(9)).await.unwrap();
    to_blog.set(&split(&[(&blog, 1)]), Epoch(1)).await.unwrap();
    for (host, answer) in [("shop.test", "shop"), ("SHOP.test:80", "shop"), ("blog.test", "blog"), ("a.blog.test", "blog")] {
        assert_eq!(get_from(world.listen, host).await.unwrap().body(), answer, "{host}");
    }
    let lost = get_from(world.listen, "other.test").await.unwrap();
    assert_eq!(lost.status(), 404);
    assert!(lost.body().contains("no service here answers for this host"), "{}", lost.body());

    let taken = |result| matches!(result, Err(RouterError::HostTaken(why)) if why.contains("`shop.test` is taken by `shop`"));
    assert!(taken(service(&world, "thief", &["x.test", "shop.TEST"]).set(&split(&[(&blog, 1)]), Epoch(1)).await));
    let (rest, other) = (service(&world, "rest", &[]), Backend::start("rest"));
    rest.set(&split(&[(&other, 1)]), Epoch(1)).await.unwrap();
    assert_eq!(get_from(world.listen, "other.test").await.unwrap().body(), "rest", "who names no host has what nobody names");
    assert_eq!(get_from(world.listen, "a.blog.test").await.unwrap().body(), "blog");
    assert!(matches!(service(&world, "thief", &[]).set(&Split::default(), Epoch(1)).await, Err(RouterError::HostTaken(_))));
    rest.stop().await.unwrap();
    assert_eq!(get_from(world.listen, "other.test").await.unwrap().status(), 404);
    assert!(matches!(service(&world, "odd", &["a b"]).set(&Split::default(), Epoch(1)).await, Err(RouterError::Failed(_))));
    assert!(world.router.measure().await.is_err(), "which one is meant must be said");
    assert_eq!(get_from(world.listen, "shop.test").await.unwrap().body(), "shop");

    assert_eq!((to_shop.observe().await.unwrap().1, to_blog.observe().await.unwrap().1), (Epoch(9), Epoch(1)), "each has its own epoch");
    assert!(matches!(to_shop.set(&Split::default(), Epoch(8)).await, Err(RouterError::StaleEpoch { .. })));
    let requests = async |router: &ProxyRouter, version: &str| router.measure().await.unwrap().versions[version].requests;
    assert_eq!((requests(&to_shop, "shop").await, requests(&to_blog, "blog").await), (3, 3), "and its own counters");
    to_blog.probe(Some("/"), Duration::from_millis(20)).await.unwrap();
    eventually("its own requests find it", async || to_blog.measure().await.unwrap().probes > 2).await;
    assert_eq!(to_blog.measure().await.unwrap().failed_probes, 0);

    kill(world.worker().await, Signal::KILL);
    assert_eq!(get_from(world.listen, "a.blog.test").await.unwrap().body(), "blog");
    // What the configuration says now is followed at the next look.
    let moved = service(&world, "shop", &["store.test"]);
    moved.observe().await.unwrap();
    assert_eq!(get_from(world.listen, "store.test").await.unwrap().body(), "shop");
    assert_eq!(get_from(world.listen, "shop.test").await.unwrap().status(), 404);

    to_blog.stop().await.unwrap();
    assert_eq!(get_from(world.listen, "store.test").await.unwrap().body(), "shop", "the other one stays");
    assert_eq!(get_from(world.listen, "blog.test").await.unwrap().status(), 404);
    moved.stop().await.unwrap();
    assert!(!world.router.is_running().await, "the last one takes the proxy along");
    assert!(matches!(to_blog.set(&Split::default(), Epoch(0)).await, Err(RouterError::StaleEpoch { seen: Epoch(1), .. })), "epochs stay");
}

#[tokio::test]
async fn requests_wait_while_nothing_can_serve() {
    let (world, old) = (World::new(), Backend::start("1"));
    world.serve(&[(&old, 1)], 1).await;
    world.router.hold(Duration::from_secs(30), Epoch(1)).await.unwrap();
    drop(old);
    let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(get(world.listen, "/"))).collect();
    let measured = async || world.client.metrics().await.unwrap();
    eventually("they wait", async || measured().await.contains("interlock_requests_waiting{") && measured().await.contains("} 20\n")).await;
    assert!(world.client.observe().await.unwrap().held);
    assert!(matches!(world.router.hold(Duration::ZERO, Epoch(0)).await, Err(RouterError::StaleEpoch { .. })));
    let new = Backend::start("2");
    world.serve(&[(&new, 1)], 1).await;
    world.router.hold(Duration::ZERO, Epoch(1)).await.unwrap();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().body(), "2");
    }
    assert_eq!(world.router.measure().await.unwrap().router_failures, 0);
}

#[tokio::test]
async fn a_hold_ends_by_itself_and_outlives_a_worker_no_longer_than_that() {
    let (world, backend) = (World::new(), Backend::start("1"));
    world.serve(&[(&backend, 1)], 1).await;
    world.router.hold(Duration::from_millis(400), Epoch(1)).await.unwrap();
    let late = get(world.listen, "/").await.unwrap();
    assert_eq!((late.status().as_u16(), late.headers()["retry-after"].to_str().unwrap()), (503, "1"), "{}", late.body());
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1", "whoever comes now is served");

    world.router.hold(Duration::from_secs(60), Epoch(1)).await.unwrap();
    let first = world.worker().await;
    kill(first, Signal::KILL);
    let waiting = tokio::spawn(get(world.listen, "/"));
    eventually("another worker holds too", async || {
        world.client.version().await.is_ok_and(|about| about.worker != first) && world.client.observe().await.is_ok_and(|now| now.held)
    })
    .await;
    assert!(!waiting.is_finished());
    world.router.hold(Duration::from_millis(1), Epoch(1)).await.unwrap();
    kill(world.worker().await, Signal::KILL);
    // It fails open: a hold whose time is over holds nobody, also after a restart.
    assert_eq!(get(world.listen, "/").await.unwrap().body(), "1");
    let _ = waiting.await;
}

#[tokio::test]
async fn a_rehearsal_has_a_listener_of_its_own() {
    let (world, old, new) = (World::new(), Backend::start("1"), Backend::start("2"));
    world.serve(&[(&old, 1)], 5).await;
    let patience = Duration::from_secs(60);
    let mut addresses = Vec::new();
    for (backend, version) in [(&old, "1"), (&new, "2"), (&old, "1")] {
        let address = world.router.shadow(&split(&[(backend, 1)]), Epoch(5), patience).await.unwrap();
        assert!(address.ip().is_loopback() && address != world.listen);
        assert_eq!(get(address, "/").await.unwrap().body(), version);
        assert_eq!(get(world.listen, "/").await.unwrap().body(), "1", "customers notice nothing");
        addresses.push(address);
    }
    assert!(addresses.iter().all(|address| *address == addresses[0]), "one listener throughout");
    let broken = Backend::start("3");
    world.router.shadow(&split(&[(&broken, 1)]), Epoch(5), patience).await.unwrap();
    drop(broken);
    assert_eq!(get(addresses[0], "/").await.unwrap().status(), 502);
    let measured = world.router.measure().await.unwrap();
    assert_eq!((measured.versions.len(), measured.versions["1"].requests, measured.router_failures), (1, 3, 0), "counted apart");

    let is_closed = async |address: SocketAddr| TcpStream::connect(address).await.is_err();
    world.router.close_shadow(Epoch(5)).await.unwrap();
    world.router.close_shadow(Epoch(5)).await.unwrap();
    eventually("it is closed", async || is_closed(addresses[0]).await).await;
    let left = world.router.shadow(&split(&[(&old, 1)]), Epoch(5), patience).await.unwrap();
    world.serve(&[(&old, 1)], 6).await;
    eventually("another server's right closes it", async || is_closed(left).await).await;
    assert!(matches!(world.router.shadow(&Split::default(), Epoch(5), patience).await, Err(RouterError::StaleEpoch { .. })));
    let forgotten = world.router.shadow(&split(&[(&old, 1)]), Epoch(6), Duration::from_millis(300)).await.unwrap();
    let began = Instant::now();
    eventually("nobody asks for it any more", async || is_closed(forgotten).await).await;
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn the_protocol_before_is_understood_and_any_other_refused() {
    let (world, backend) = (World::new(), Backend::start("1"));
    let named = service(&world, "production/web", &[]);
    named.set(&split(&[(&backend, 1)]), Epoch(1)).await.unwrap();
    let stream = UnixStream::connect(world.dir.path().join("control.sock")).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut ask = async |line: &str| {
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()
    };
    let observed = ask(r#"{"v":1,"op":"observe"}"#).await;
    assert_eq!((observed["v"].as_u64(), observed["ok"]["epoch"].as_i64()), (Some(1), Some(1)), "{observed}");
    let set = ask(r#"{"v":1,"op":"set","split":[],"epoch":2,"what is this":null}"#).await;
    assert_eq!(set, serde_json::json!({"v": 1, "ok": null}));
    assert_eq!(named.observe().await.unwrap(), (Split::default(), Epoch(2)), "the only service was meant");
    let hello = ask(r#"{"v":2,"op":"hello","protocol":2,"build":"mine"}"#).await;
    assert_eq!((hello["ok"]["protocol"].as_u64(), hello["ok"]["oldest"].as_u64()), (Some(2), Some(1)), "{hello}");
    assert!(hello["ok"]["build"].as_str().unwrap().starts_with(env!("CARGO_PKG_VERSION")));
    for line in [r#"{"v":3,"op":"observe"}"#, r#"{"v":2,"op":"hello","protocol":0,"build":""}"#] {
        let refused = ask(line).await;
        assert_eq!(refused["error"]["code"], "unknown_version", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("versions 1 to 2"), "{refused}");
    }
    assert_eq!(ask(r#"{"v":2,"op":"hand_over"}"#).await["error"]["code"], "bad_request", "that is between workers");
}
