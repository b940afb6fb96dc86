//! The probe against real sockets: what counts as healthy, as the right version, as answered as said.

use interlock::{model::service::*, targets::probe::*};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Serves each connection one raw answer: `answers` in turn, the last one for ever.
async fn served(answers: &[&str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let (answers, heard): (Vec<String>, _) = (answers.iter().map(|text| text.to_string()).collect(), asked.clone());
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            heard.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).into_owned());
            let _ = stream.write_all(answers[turn.min(answers.len() - 1)].as_bytes()).await;
        }
    });
    (address, asked)
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nlocation: /other\r\n\r\n{body}", body.len())
}

fn health(check: HealthCheck, deadline_ms: u64) -> Health {
    Health { check, interval_ms: 1, timeout_ms: 10_000, successes: 3, deadline_ms }
}

#[tokio::test]
async fn health_wants_successes_in_a_row() {
    let (good, bad) = (answer(200, "ok"), answer(503, "warming up"));
    let (address, asked) = served(&[&good, &good, &bad, &good]).await;
    let report = Probe::new(address).health(&health(HealthCheck::Http("/healthz".into()), 60_000), async || None).await.unwrap();
    assert_eq!(report.attempts, 6);
    assert_eq!(report.last[2].seen, "503 warming up");
    assert!(asked.lock().unwrap()[0].starts_with("GET /healthz HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_unhealthy_instance_is_given_up_and_says_what_was_seen() {
    let (address, _) = served(&[&answer(302, "moved")]).await;
    let failure = Probe::new(address).health(&health(HealthCheck::Http("/healthz".into()), 30), async || None).await.unwrap_err();
    let ProbeFailure::Unhealthy { message, last } = failure else { panic!("{failure}") };
    assert!(message.contains("GET /healthz: 302 moved"), "{message}");
    assert!(last.iter().all(|attempt| !attempt.healthy));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failure = Probe::new(free).health(&health(HealthCheck::Tcp, 30), async || None).await.unwrap_err();
    assert!(failure.to_string().contains("cannot connect"), "{failure}");
}

#[tokio::test]
async fn an_instance_that_ends_is_not_waited_for() {
    let (address, _) = served(&[&answer(500, "")]).await;
    let looks = AtomicU32::new(0);
    let ended = async || (looks.fetch_add(1, Ordering::SeqCst) >= 2).then(|| "exit 3".to_owned());
    let failure = Probe::new(address).health(&health(HealthCheck::Http("/".into()), 600_000), ended).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::Ended { how, last } if last.len() == 2 && how == "exit 3"));
}

#[tokio::test]
async fn commands_and_processes_can_be_health_checks() {
    let probe = Probe::new("127.0.0.1:8080".parse().unwrap());
    let argv = |text: &str| HealthCheck::Exec(text.split(' ').map(str::to_owned).collect());
    probe.health(&health(argv("test {port} = 8080"), 60_000), async || None).await.unwrap();
    probe.health(&health(HealthCheck::Alive, 60_000), async || None).await.unwrap();
    for (command, seen, timeout_ms) in
        [("false", "exit status: 1", 10_000), ("no-such-program", "cannot run", 10_000), ("sleep 300", "took longer", 20)]
    {
        let check = Health { timeout_ms, ..health(argv(command), 5) };
        let failure = probe.health(&check, async || None).await.unwrap_err();
        assert!(failure.to_string().contains(seen), "{failure}");
    }
}

#[tokio::test]
async fn another_version_is_told_from_the_wanted_one() {
    let check = IdentityCheck { http: "/version".into(), token: "{version}".into() };
    let (address, _) = served(&[&answer(200, "{\"version\":\"1.0.10\"}")]).await;
    let probe = Probe::new(address);
    assert_eq!(probe.identity(&check, "1.0.10").await.unwrap().token, "1.0.10");
    let failure = probe.identity(&check, "1.0.1").await.unwrap_err();
    assert_eq!(failure.to_string(), "/version shows `{\"version\":\"1.0.10\"}`, not `1.0.1`");
    let (address, _) = served(&[&answer(404, "1.0.1")]).await;
    assert!(Probe::new(address).identity(&check, "1.0.1").await.is_err(), "an error page is no identity");
}

#[tokio::test]
async fn smoke_says_what_came_instead() {
    let (address, _) = served(&[
        &answer(200, "hello"),
        &answer(200, "bye\u{202e}"),
        &answer(302, "hello"),
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut",
        "nonsense",
    ])
    .await;
    let check = SmokeCheck { http: "/".into(), status: 200, contains: Some("hello".into()) };
    let failure = Probe::new(address).smoke(&vec![check.clone(); 5]).await.unwrap_err();
    assert_eq!(failure.to_string(), "4 of 5 smoke checks failed: /: expected 200 with `hello`, got 200 without the text");
    let ProbeFailure::SmokeFailed { report } = failure else { panic!("{failure}") };
    let passed: Vec<bool> = report.checks.iter().map(|check| check.passed).collect();
    assert_eq!(passed, [true, false, false, false, false]);
    assert_eq!(report.checks[1].body, "bye\\u{202e}");
    assert_eq!(report.checks[2].got, "302");
    let (address, _) = served(&[&answer(200, "hello")]).await;
    assert!(Probe::new(address).smoke(&[check]).await.unwrap().checks[0].passed);
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_it() {
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(3 << 20));
    let (address, _) = served(&[&huge]).await;
    let failure = Probe::new(address).smoke(&[SmokeCheck { http: "/".into(), status: 200, contains: None }]).await.unwrap_err();
    assert!(failure.to_string().contains("the body failed"), "{failure}");
}

#[tokio::test]
async fn a_smoke_check_that_failed_once_may_be_run_again_and_is_not_forgotten() {
    let check = [SmokeCheck { http: "/".into(), status: 200, contains: Some("hello".into()) }];
    let flaky = [answer(503, "not yet"), answer(200, "hello")];
    let answers: Vec<&str> = flaky.iter().map(String::as_str).collect();
    let (address, asked) = served(&answers).await;
    let report = Probe::new(address).smoke_again(&check, 1).await.unwrap();
    assert!(report.checks[0].passed);
    assert_eq!(report.failed_before.iter().map(|check| check.got.as_str()).collect::<Vec<_>>(), ["503"]);
    assert_eq!(asked.lock().unwrap().len(), 2);

    let (address, _) = served(&answers).await;
    assert!(Probe::new(address).smoke_again(&check, 0).await.is_err(), "without leave it counts at once");
    let (address, asked) = served(&[&answer(503, "no")]).await;
    let ProbeFailure::SmokeFailed { report } = Probe::new(address).smoke_again(&check, 1).await.unwrap_err() else { panic!() };
    assert_eq!((report.checks.len(), report.failed_before.len(), asked.lock().unwrap().len()), (1, 1, 2));
}
