//! Nothing is lost while releases come and go, for a long time, against the real binary: the load's counts and the proxy's own
//! agree. The same harness loses requests as soon as the drain is taken out.
//!
//! `INTERLOCK_SOAK_MINUTES=n` goes on for at least so long.

#[allow(dead_code)]
mod clients;

use clients::{Workspace, binary, free_address};
use interlock::{
    cli::demo::{
        app::{AppRelease, Fault},
        load::{Load, LoadHandle, LoadOptions},
        tally::{Kind, LoadReport},
    },
    targets::Samples,
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::Child,
    sync::Mutex,
};

/// Generous: machines that run tests are slow and loaded.
const PATIENCE: Duration = Duration::from_secs(120);
const KINDS: [Kind; 5] = [Kind::Get, Kind::Post, Kind::Events, Kind::KeepAlive, Kind::Websocket];
const REQUESTS: u64 = 20_000;
const ROUNDS: u64 = 6;

/// One test at a time: the other's load would only blur its figures.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_switches_and_rollbacks() {
    let _turn = TURN.lock().await;
    let minutes: u64 = std::env::var("INTERLOCK_SOAK_MINUTES").map_or(0, |minutes| minutes.parse().expect("a number of minutes"));
    let shop = Shop::open(Times { bake: "1s", drain: "2s" }, &[]).await;
    shop.deploy("1.0.0").await;
    let before = shop.measure().await;
    let (load, began) = (Load::start(shop.listen, LoadOptions { stream: 20, ..options() }), Instant::now());
    serves_every_kind(&load, "1.0.0").await;

    let mut round = 0;
    while round < ROUNDS || load.snapshot().requests < REQUESTS || began.elapsed() < Duration::from_secs(60 * minutes) {
        round += 1;
        let version = format!("1.{round}.0");
        shop.deploy(&version).await;
        serves_every_kind(&load, &version).await;
        shop.roll_back("1.0.0").await;
        serves_every_kind(&load, "1.0.0").await;
    }
    let client = load.stop().await;
    let after = shop.counts_all_of(&client, &before).await;

    let lost = (client.failed, after.router_failures - before.router_failures, after.failed_probes - before.failed_probes);
    let per_second = client.requests as f64 / client.seconds;
    println!(
        "soak: {} requests in {:.0} s ({per_second:.0} a second) over {round} switches and {round} rollbacks; lost: client {}, proxy {}, \
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
    let shop = Shop::open(Times { bake: "200ms", drain: "2s" }, &[("INTERLOCK_FAULT_NO_DRAIN", "1")]).await;
    shop.deploy("1.0.0").await;
    let before = shop.measure().await;
    let load = Load::start(shop.listen, LoadOptions { stream: 75, ..options() });
    serves_every_kind(&load, "1.0.0").await;

    let mut switches = 0;
    while load.snapshot().kinds[&Kind::Events].failed == 0 && switches < 5 {
        switches += 1;
        shop.deploy(&format!("1.{switches}.0")).await;
    }
    let client = load.stop().await;

    let after = shop.measure().await;
    let (lost, proxy) = (client.failed, after.router_failures - before.router_failures);
    println!("soak without drain: {lost} of {} requests lost over {switches} switches, {proxy} by the proxy's count", client.requests);
    assert!(client.kinds[&Kind::Events].failed > 0, "a stream in flight must be cut: {:?}", client.kinds);
    assert!(proxy > 0, "the proxy must count what was cut: {:?}", client.failures);
}

/// Short pauses, several users of each kind.
fn options() -> LoadOptions {
    LoadOptions { get: 3, post: 3, events: 4, keep_alive: 4, websocket: 3, pace: Duration::from_millis(5), ..LoadOptions::default() }
}

/// Waits until a request of each kind was answered that began now, and the version answers.
async fn serves_every_kind(load: &LoadHandle, version: &str) {
    let (then, until) = (load.snapshot(), Instant::now() + PATIENCE);
    let count =
        |report: &LoadReport, kind: Kind| report.kinds.get(&kind).map_or(0, |counts| counts.requests - counts.failed - counts.wrong);
    let answers = |report: &LoadReport| report.versions.get(version).map_or(0, |seen| seen.answers);
    loop {
        let now = load.snapshot();
        // At most one per user was in flight before; no kind has more than four users.
        if answers(&now) > answers(&then) && KINDS.iter().all(|kind| count(&now, *kind) > count(&then, *kind) + 4) {
            return;
        }
        assert!(Instant::now() < until, "{version} does not serve every kind: {:?} {:?}", now.kinds, now.failures);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long a new set is watched, and how long an old one may finish.
struct Times {
    bake: &'static str,
    drain: &'static str,
}

/// A workspace whose one service is served at `listen`, with its server. Ends with what it started.
struct Shop {
    workspace: Workspace,
    listen: SocketAddr,
    socket: PathBuf,
    _server: Child,
}

impl Shop {
    /// Starts a server, with more in its environment, and applies the configuration.
    async fn open(times: Times, environment: &[(&str, &str)]) -> Self {
        let listen = free_address();
        let workspace = Workspace::new(listen).await;
        let text = configuration(&times, listen);
        fs::write(workspace.path().join("interlock.toml"), &text).unwrap();
        let mut command = workspace.interlock(&["serve", "--listen", "127.0.0.1:0"]);
        let server = command.envs(environment.iter().copied()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let socket = interlock::config::Workspace::at(workspace.path()).unwrap().api_socket();
        let shop = Shop { workspace, listen, socket, _server: server };
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(&shop.socket).await.is_err() {
            assert!(Instant::now() < until, "the server did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        shop.call("apply", json!({ "text": text })).await;
        shop
    }

    /// Takes a version from directive to its success.
    async fn deploy(&self, version: &str) {
        let artifact = format!("build/{version}");
        AppRelease { version: version.to_owned(), fault: Fault::None }.write(&self.workspace.path().join(&artifact)).unwrap();
        let order = json!({ "service": "web", "environment": "staging", "version": version, "artifact": artifact });
        let directive = self.call("create_directive", order).await["directive"]["id"].take();
        self.call("run_predeploy_checks", json!({ "directive": directive })).await;
        let plan = self.call("plan_deployment", json!({ "directive": directive })).await["plan"].take();
        let reply = self.call("execute_deployment", json!({ "plan": plan })).await;
        self.succeeds(&reply["deployment"], version).await;
    }

    /// Takes back what serves, on demand.
    async fn roll_back(&self, to: &str) {
        let asked = json!({ "service": "web", "environment": "staging", "reason": "the soak goes back" });
        let reply = self.call("rollback_deployment", asked).await;
        assert_eq!((&reply["version"], &reply["existing"]), (&json!(to), &json!(false)), "{reply}");
        self.succeeds(&reply["deployment"], to).await;
    }

    async fn succeeds(&self, deployment: &Value, version: &str) {
        let until = Instant::now() + PATIENCE;
        let asked = json!({ "deployment": deployment, "wait_seconds": 45, "until": "settled" });
        let mut seen = self.call("get_deployment", asked.clone()).await;
        while !["succeeded", "rolled_back", "stuck"].contains(&seen["state"].as_str().unwrap_or_default()) {
            assert!(Instant::now() < until, "{seen}");
            seen = self.call("get_deployment", asked.clone()).await;
        }
        assert_eq!((&seen["state"], &seen["deployment"]["version"]), (&json!("succeeded"), &json!(version)), "{seen:#}");
    }

    /// Returns the proxy's counters.
    async fn measure(&self) -> Samples {
        serde_json::from_value(self.call("measure", json!({ "service": "web", "environment": "staging" })).await).unwrap()
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

    /// Calls a method of `api.sock` that must work.
    async fn call(&self, method: &str, params: Value) -> Value {
        let (read, mut write) = UnixStream::connect(&self.socket).await.unwrap().into_split();
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        write.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(PATIENCE, BufReader::new(read).lines().next_line()).await.expect("an answer in time");
        let mut answer: Value = serde_json::from_str(&line.unwrap().expect("an answer")).unwrap();
        assert!(answer.get("error").is_none(), "`{method}` was refused: {answer:#}");
        answer["result"].take()
    }
}

/// The service dies at once on SIGTERM, whatever it is at: only a drain before keeps its requests.
fn configuration(times: &Times, listen: SocketAddr) -> String {
    format!(
        r#"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["/bin/sh", "-c", "trap 'kill -9 $!' TERM; \"$@\" & wait", "web", "{}", "demo-app", "--release", "{{release}}", "--port", "{{port}}"]
health  = {{ http = "/healthz", interval = "50ms", timeout = "5s", successes = 2, deadline = "60s" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "{}"
bake  = "{}"
keep  = 3

[environments.staging.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{listen}" }}
"#,
        binary().display(),
        times.drain,
        times.bake
    )
}
