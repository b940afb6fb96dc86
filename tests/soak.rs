//! Nothing is lost while releases come and go, for a long time, against the real binary: the load's counts and the proxy's own
//! agree. The same harness loses requests as soon as the drain is taken out.
//!
//! `INTERLOCK_SOAK_MINUTES=n` goes on for at least so long.

mod support;

use interlock::{
    cli::demo::{
        load::{Load, LoadHandle, LoadOptions},
        tally::{Kind, LoadReport},
    },
    targets::Samples,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::shop::{Database, PATIENCE, Shop, Times, demo_app, place, service, text};
use tokio::sync::Mutex;

const KINDS: [Kind; 5] = [Kind::Get, Kind::Post, Kind::Events, Kind::KeepAlive, Kind::Websocket];
const REQUESTS: u64 = 100_000;
const ROUNDS: u64 = 20;

/// One test at a time: the other's load would only blur its figures.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_switches_and_rollbacks() {
    let _turn = TURN.lock().await;
    let minutes: u64 = std::env::var("INTERLOCK_SOAK_MINUTES").map_or(0, |minutes| minutes.parse().expect("a number of minutes"));
    let shop = Soak::open(Times::SHORT, &[]).await;
    shop.deploy("1.0.0").await;
    let before = shop.measure().await;
    let (load, began) = (Load::start(shop.0.staging, crowd()), Instant::now());
    serves_every_kind(&load, &crowd(), "1.0.0").await;

    let mut round = 0;
    while round < ROUNDS || load.snapshot().requests < REQUESTS || began.elapsed() < Duration::from_secs(60 * minutes) {
        round += 1;
        let version = format!("1.{round}.0");
        shop.deploy(&version).await;
        serves_every_kind(&load, &crowd(), &version).await;
        shop.roll_back("1.0.0").await;
        serves_every_kind(&load, &crowd(), "1.0.0").await;
    }
    let client = load.stop().await;
    let after = shop.counts_all_of(&client, &before).await;

    let lost = (client.failed, after.router_failures - before.router_failures, after.failed_probes - before.failed_probes);
    let per_second = client.requests as f64 / client.seconds;
    println!(
        "figure: soak: {} requests in {:.0} s ({per_second:.0} a second) over {round} switches and {round} rollbacks; lost: client {}, proxy {}, \
         probes {} of {}; wrong {}; largest gap {:.0} ms, p95 {:.1} ms; {} websockets told 1012, {} drained",
        client.requests,
        client.seconds,
        lost.0,
        lost.1,
        lost.2,
        after.probes - before.probes,
        client.wrong,
        client.largest_gap_ms,
        client.p95_ms,
        client.restarted,
        after.drained - before.drained
    );
    assert_eq!((lost, client.wrong), ((0, 0, 0), 0), "{:?}", client.failures);
    assert_eq!(after.lost_workers, before.lost_workers, "the proxy lost a worker");
    assert!(client.requests >= REQUESTS && round >= ROUNDS);
    assert_eq!(client.versions.len() as u64, round + 1, "{:?}", client.versions.keys());
    assert!(client.restarted >= 2 * round, "every switch tells the websockets to come back: {}", client.restarted);
    assert!(after.probes > before.probes, "the proxy probed itself");
    assert!(per_second > 30.0, "{per_second:.0} requests a second is no load");
    assert!(client.largest_gap_ms < 10_000.0, "nobody was answered for {:.0} ms", client.largest_gap_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_drain_the_same_harness_loses_requests() {
    let _turn = TURN.lock().await;
    // Streams outlast the bake: when the old set is retired, some are in flight on it.
    let shop = Soak::open(Times::SHORT, &[("INTERLOCK_FAULT_NO_DRAIN", "1")]).await;
    shop.deploy("1.0.0").await;
    let before = shop.measure().await;
    let options = LoadOptions { stream: 75, ..options() };
    let load = Load::start(shop.0.staging, options.clone());
    serves_every_kind(&load, &options, "1.0.0").await;

    let mut switches = 0;
    while load.snapshot().kinds[&Kind::Events].failed == 0 && switches < 5 {
        switches += 1;
        shop.deploy(&format!("1.{switches}.0")).await;
    }
    let client = load.stop().await;

    let after = shop.measure().await;
    let (lost, proxy) = (client.failed, after.router_failures - before.router_failures);
    println!(
        "figure: soak without drain: {lost} of {} requests lost over {switches} switches, {proxy} by the proxy's count",
        client.requests
    );
    assert!(client.kinds[&Kind::Events].failed > 0, "a stream in flight must be cut: {:?}", client.kinds);
    assert!(proxy > 0, "the proxy must count what was cut: {:?}", client.failures);
}

/// Short pauses, several users of each kind.
fn options() -> LoadOptions {
    LoadOptions { get: 3, post: 3, events: 4, keep_alive: 4, websocket: 3, pace: Duration::from_millis(5), ..LoadOptions::default() }
}

/// Many users with hardly a pause: as much as two cores carry.
fn crowd() -> LoadOptions {
    LoadOptions {
        get: 4,
        post: 4,
        events: 4,
        keep_alive: 24,
        websocket: 4,
        pace: Duration::from_millis(8),
        stream: 20,
        upload: Duration::from_millis(200),
        ..LoadOptions::default()
    }
}

/// Waits until a request of each kind was answered that began now, and the version answers.
async fn serves_every_kind(load: &LoadHandle, options: &LoadOptions, version: &str) {
    let (then, until) = (load.snapshot(), Instant::now() + PATIENCE);
    let count =
        |report: &LoadReport, kind: Kind| report.kinds.get(&kind).map_or(0, |counts| counts.requests - counts.failed - counts.wrong);
    let answers = |report: &LoadReport| report.versions.get(version).map_or(0, |seen| seen.answers);
    loop {
        let now = load.snapshot();
        // At most one per user was in flight before.
        if answers(&now) > answers(&then) && KINDS.iter().all(|kind| count(&now, *kind) > count(&then, *kind) + users(options, *kind)) {
            return;
        }
        assert!(Instant::now() < until, "{version} does not serve every kind: {:?} {:?}", now.kinds, now.failures);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn users(options: &LoadOptions, kind: Kind) -> u64 {
    let users = match kind {
        Kind::Get => options.get,
        Kind::Post => options.post,
        Kind::Events => options.events,
        Kind::KeepAlive => options.keep_alive,
        Kind::Websocket => options.websocket,
    };
    users as u64
}

/// A shop under load.
struct Soak(Shop);

impl Soak {
    /// Starts a server, with more in its environment, and applies the configuration.
    async fn open(times: Times, environment: &[(&str, &str)]) -> Self {
        let mut shop = Shop::named("shop", Database::Sqlite);
        shop.write("interlock.toml", &(service(&abrupt(), times) + &place("staging", shop.staging)));
        shop.commit();
        shop.serve(environment).await;
        shop.apply().await.unwrap();
        Soak(shop)
    }

    /// Takes a version from directive to its success.
    async fn deploy(&self, version: &str) {
        let directive = self.0.directive("staging", version).await;
        self.0.must("run_predeploy_checks", json!({ "directive": directive })).await;
        succeeds(&self.0.execute(&self.0.plan(&directive).await).await, version);
    }

    /// Takes back what serves, on demand.
    async fn roll_back(&self, to: &str) {
        let asked = json!({ "service": "web", "environment": "staging", "reason": "the soak goes back" });
        let reply = self.0.must("rollback_deployment", asked).await;
        assert_eq!((&reply["version"], &reply["existing"]), (&json!(to), &json!(false)), "{reply}");
        succeeds(&self.0.settled(&text(&reply["deployment"])).await, to);
    }

    /// Returns the proxy's counters.
    async fn measure(&self) -> Samples {
        serde_json::from_value(self.0.must("measure", json!({ "service": "web", "environment": "staging" })).await).unwrap()
    }

    /// Waits until the proxy has counted every request that the client counts as answered, per version, and returns its counters.
    async fn counts_all_of(&self, client: &LoadReport, before: &Samples) -> Samples {
        let until = Instant::now() + PATIENCE;
        loop {
            let after = self.measure().await;
            let counted = |version: &str| {
                let of = |samples: &Samples| samples.versions.get(version).map_or(0, |version| version.requests);
                of(&after) - of(before)
            };
            if client.versions.iter().all(|(version, seen)| counted(version) >= seen.answers) {
                return after;
            }
            assert!(Instant::now() < until, "the client counts {:?}, the proxy {:?}", client.versions, after.versions);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn succeeds(settled: &Value, version: &str) {
    assert_eq!((&settled["state"], &settled["deployment"]["version"]), (&json!("succeeded"), &json!(version)), "{settled:#}");
}

/// Returns the service's argv: it dies at once on SIGTERM, whatever it is at, so that only a drain before keeps its requests.
fn abrupt() -> String {
    demo_app().replacen('[', r#"["/bin/sh", "-c", "trap 'kill -9 $!' TERM; \"$@\" & wait", "web", "#, 1)
}
