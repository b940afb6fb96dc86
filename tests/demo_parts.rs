//! The demo's own parts, over real sockets: its load counts what is lost, and only that; its two gate commands measure for real.

use interlock::cli::demo::{
    app::{App, AppRelease, Fault, serve},
    app_test,
    load::{Load, LoadOptions},
    load_test,
    tally::{Kind, LoadReport},
};
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);

/// The demo's service inside the test.
struct Service {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Service {
    async fn start(release: AppRelease, live: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, App { release, live }, stop.clone()));
        Service { address, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("in-flight work ends").unwrap();
    }
}

fn release(version: &str, fault: Fault) -> AppRelease {
    AppRelease { version: version.into(), fault }
}

fn requests(report: &LoadReport, kind: Kind) -> u64 {
    report.kinds.get(&kind).map_or(0, |counts| counts.requests)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_load_on_a_sound_service_counts_no_failure_of_any_kind() {
    let service = Service::start(release("1.0.0", Fault::None), false).await;
    let load = Load::start(service.address, LoadOptions::default());
    let kinds = [Kind::Get, Kind::Post, Kind::Events, Kind::KeepAlive, Kind::Websocket];
    until("every kind has 10 requests", || {
        let report = load.snapshot();
        kinds.iter().all(|kind| requests(&report, *kind) >= 10)
    })
    .await;

    let report = load.stop().await;
    service.end().await;

    assert_eq!((report.failed, report.wrong), (0, 0), "{:?}", report.failures);
    assert_eq!(report.requests, report.kinds.values().map(|counts| counts.requests).sum::<u64>());
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["1.0.0"]);
    assert!(report.p50_ms >= 1.0 && report.p95_ms >= report.p50_ms && report.largest_gap_ms > 0.0, "{report:?}");
}

#[test]
fn a_service_that_dies_under_load_is_counted_in_every_kind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // A runtime of its own: dropping it cuts every connection at once, as a kill does.
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let service = doomed.block_on(Service::start(release("1.0.0", Fault::None), false));
    let address = service.address;
    let (before, after) = runtime.block_on(async {
        let load = Load::start(address, LoadOptions::default());
        until("the load runs", || requests(&load.snapshot(), Kind::Events) >= 4).await;
        let before = load.snapshot();
        tokio::task::spawn_blocking(move || doomed.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
        until("every kind failed", || {
            let report = load.snapshot();
            report.kinds.len() == 5 && report.kinds.values().all(|counts| counts.failed > 0)
        })
        .await;
        (before, load.stop().await)
    });

    assert_eq!(before.failed, 0, "{:?}", before.failures);
    assert_eq!(after.wrong, 0, "{:?}", after.failures);
    assert!(after.failures.iter().any(|words| words.contains("refused")), "{:?}", after.failures);
}

#[tokio::test]
async fn a_router_that_answers_for_the_service_counts_as_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            });
        }
    });
    let load = Load::start(address, LoadOptions { post: 0, events: 0, keep_alive: 0, ..LoadOptions::default() });
    until("GET and websocket have failed", || load.snapshot().kinds.values().filter(|counts| counts.failed > 0).count() == 2).await;

    let report = load.stop().await;
    router.abort();

    assert_eq!((report.wrong, report.requests - report.failed), (0, 0), "{:?}", report.failures);
    assert!(report.failures.iter().all(|words| words.contains("503")), "{:?}", report.failures);
}

#[tokio::test]
async fn a_service_that_ends_properly_finishes_what_it_began() {
    let service = Service::start(release("1.0.0", Fault::None), false).await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(b"GET /events?n=5&ms=60 HTTP/1.1\r\nhost: demo\r\n\r\n").await.unwrap();
    let mut begun = vec![0; 64];
    stream.read_exact(&mut begun).await.unwrap();

    service.end().await;

    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("data: event 4\n\n") && rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn the_planted_fault_shows_only_live_and_only_through_a_proxy() {
    for (live, forwarded, wanted) in [(true, true, 500), (true, false, 200), (false, true, 200)] {
        let service = Service::start(release("3.0.0", Fault::LiveForwarded), live).await;
        for path in ["/", "/version", "/healthz"] {
            let mut stream = TcpStream::connect(service.address).await.unwrap();
            let header = if forwarded { "x-forwarded-for: 127.0.0.1\r\n" } else { "" };
            let request = format!("GET {path} HTTP/1.1\r\nhost: demo\r\n{header}connection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let wanted = if path == "/" { wanted } else { 200 };
            assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "live {live}, forwarded {forwarded}, {path}: {answer}");
        }
        service.end().await;
    }
}

#[tokio::test]
async fn the_checks_pass_on_a_sound_service_and_fail_on_another_version() {
    let service = Service::start(release("1.0.0", Fault::None), false).await;

    let sound = app_test::checks(service.address, "1.0.0").await;
    let other = app_test::checks(service.address, "2.0.0").await;
    let measured = load_test::measure(service.address, 60).await;
    service.end().await;

    assert!(sound.len() >= 5 && sound.iter().all(|check| check.fault.is_none()), "{sound:?}");
    let failed: Vec<_> = other.iter().filter(|check| check.fault.is_some()).map(|check| check.name).collect();
    assert_eq!(failed, ["shows its version", "greets"]);
    assert_eq!((measured.requests, measured.failed, measured.wrong), (60, 0, 0), "{:?}", measured.failures);
    assert!(measured.p95_ms > 0.0);
}

#[tokio::test]
async fn load_on_nobody_is_a_report_of_failures() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let summary = load_test::k6_summary(&load_test::measure(free, 8).await);

    assert_eq!(summary["metrics"]["http_req_failed"], serde_json::json!({ "passes": 8, "fails": 0, "value": 1.0 }));
}

#[test]
fn the_gate_command_starts_the_release_of_the_checkout_and_reports() {
    let checkout = tempfile::tempdir().unwrap();
    release("1.2.3", Fault::LiveForwarded).write(&checkout.path().join("app")).unwrap();
    let run = |report: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_interlock"));
        command.args(["demo-test", "--release", "app", "--report", report]).current_dir(checkout.path()).stdin(Stdio::null());
        command.output().unwrap()
    };

    let passed = run("target/junit.xml");

    assert!(passed.status.success(), "{passed:?}");
    let report = std::fs::read_to_string(checkout.path().join("target/junit.xml")).unwrap();
    assert!(report.contains(r#"<testsuite tests="7" failures="0""#), "{report}");

    // The positive control: a release that cannot be started is no report of success.
    std::fs::write(checkout.path().join("app/app.json"), "{}").unwrap();
    assert!(!run("target/second.xml").status.success());
    assert!(!checkout.path().join("target/second.xml").exists());
}

#[test]
fn a_release_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let written = release("1.0.0", Fault::LiveForwarded);

    written.write(folder.path()).unwrap();

    assert_eq!(AppRelease::read(folder.path()).unwrap(), written);
    std::fs::write(folder.path().join("app.json"), r#"{"version": "1", "fault": "sometimes"}"#).unwrap();
    assert!(format!("{:#}", AppRelease::read(folder.path()).unwrap_err()).contains("sometimes"));
}
