//! Asks an instance, or a listener, whether it is healthy, which version it is, and whether it answers as said.
//!
//! One connection per request, no redirects, no retries by a library: what is seen here is what a customer would see.

use super::http::{Exchange, connect};
use crate::model::{
    service::{Health, HealthCheck, IdentityCheck, SmokeCheck, fill},
    text::{has_whole_token, visible_line},
};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

/// No more of a body is read.
const MAX_BODY: usize = 1 << 20;
/// How much of a body is shown.
const HEAD: usize = 200;
/// How many attempts are remembered.
const REMEMBERED: usize = 20;

/// Asks over plain HTTP/1.1.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Whom it asks: an instance, or a listener.
    pub address: SocketAddr,
    /// Patience with one request for identity or smoke.
    pub timeout: Duration,
    /// The host that is asked for; the address when none.
    pub host: Option<String>,
    /// Where an `exec` health check runs; the caller's folder when none.
    pub cwd: Option<PathBuf>,
}

/// One try of a health check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When, counted from the first.
    pub after_ms: u64,
    /// How long it took.
    pub latency_ms: u64,
    /// Whether it counts as healthy.
    pub healthy: bool,
    /// What was seen: the status and the head of the body, or what went wrong.
    pub seen: String,
}

/// How an instance became healthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// How many tries it took.
    pub attempts: u32,
    /// How long it took.
    pub millis: u64,
    /// The last tries, oldest first.
    pub last: Vec<Attempt>,
}

/// Which version an instance showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdentityReport {
    /// The path that was asked.
    pub path: String,
    /// The token that was found.
    pub token: String,
    /// How long it took.
    pub latency_ms: u64,
}

/// How an instance answered every smoke check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SmokeReport {
    /// One per check, in order.
    pub checks: Vec<SmokeResult>,
    /// What failed before, where the checks were run again: nothing that was flaky is forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_before: Vec<SmokeResult>,
}

/// How one smoke check was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeResult {
    /// The path that was asked.
    pub path: String,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub got: String,
    /// How long it took.
    pub latency_ms: u64,
    /// The head of the body.
    pub body: String,
    /// Whether it came as it should.
    pub passed: bool,
}

/// Why an instance is not verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProbeFailure {
    /// It did not become healthy in time.
    #[error("{message}")]
    Unhealthy {
        /// What was asked and what came last.
        message: String,
        /// The last tries, oldest first.
        last: Vec<Attempt>,
    },
    /// It ended by itself.
    #[error("the instance ended before it was healthy: {how}")]
    Ended {
        /// `exit 3`, `signal 9`, or in the caller's words.
        how: String,
        /// The last tries, oldest first.
        last: Vec<Attempt>,
    },
    /// It shows another version, or none.
    #[error("{path} shows `{seen}`, not `{wanted}`")]
    WrongVersion {
        /// The path that was asked.
        path: String,
        /// The token that should stand in the answer.
        wanted: String,
        /// What was seen instead.
        seen: String,
    },
    /// A smoke check was not answered as said.
    #[error("{} of {} smoke checks failed: {}", report.failed().count(), report.checks.len(), report.first_failure())]
    SmokeFailed {
        /// Every check.
        report: SmokeReport,
    },
}

impl SmokeReport {
    /// Returns the checks that were not answered as said.
    pub fn failed(&self) -> impl Iterator<Item = &SmokeResult> {
        self.checks.iter().filter(|check| !check.passed)
    }

    fn first_failure(&self) -> String {
        self.failed().next().map(|check| format!("{}: expected {}, got {}", check.path, check.expected, check.got)).unwrap_or_default()
    }
}

impl Probe {
    /// Returns a probe of this address with 5 seconds of patience.
    pub fn new(address: SocketAddr) -> Self {
        Probe { address, timeout: Duration::from_secs(5), host: None, cwd: None }
    }

    /// Waits until the check succeeds as often in a row as asked; gives up at the deadline, or as soon as `ended` says how the instance ended.
    ///
    /// A [`HealthCheck::Alive`] asks `ended` alone.
    pub async fn health<F>(&self, health: &Health, ended: impl Fn() -> F) -> Result<HealthReport, ProbeFailure>
    where
        F: Future<Output = Option<String>>,
    {
        let (began, timeout) = (Instant::now(), Duration::from_millis(health.timeout_ms));
        let (mut attempts, mut in_a_row, mut last) = (0, 0, Vec::new());
        loop {
            if let Some(how) = ended().await {
                return Err(ProbeFailure::Ended { how, last });
            }
            let start = Instant::now();
            let seen = match &health.check {
                HealthCheck::Http(path) => self.http_health(path, timeout).await,
                HealthCheck::Tcp => connect(self.address, timeout).await.map(|_| "connected".to_owned()).map_err(|err| err.to_string()),
                HealthCheck::Exec(argv) => self.exec(argv, timeout).await,
                HealthCheck::Alive => Ok("alive".to_owned()),
            };
            attempts += 1;
            let healthy = seen.is_ok();
            in_a_row = if healthy { in_a_row + 1 } else { 0 };
            let seen = seen.unwrap_or_else(|err| err);
            last.push(Attempt { after_ms: millis(began, start), latency_ms: millis(start, Instant::now()), healthy, seen });
            if last.len() > REMEMBERED {
                last.remove(0);
            }
            // An instance that ended during the check was not healthy, whoever answered on its port.
            if in_a_row >= health.successes.max(1) {
                if let Some(how) = ended().await {
                    return Err(ProbeFailure::Ended { how, last });
                }
                return Ok(HealthReport { attempts, millis: millis(began, Instant::now()), last });
            }
            let next = start + Duration::from_millis(health.interval_ms);
            if next.max(Instant::now()) >= began + Duration::from_millis(health.deadline_ms) {
                let said = last.last().map_or("nothing", |attempt| attempt.seen.as_str());
                let message =
                    format!("not healthy after {} ms and {attempts} attempts: {}: {said}", health.deadline_ms, asked(&health.check));
                return Err(ProbeFailure::Unhealthy { message, last });
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }

    /// Checks that the version's token stands in the answer as a whole word.
    pub async fn identity(&self, check: &IdentityCheck, version: &str) -> Result<IdentityReport, ProbeFailure> {
        let (start, token, path) = (Instant::now(), fill(&check.token, &[("version", version)]), check.http.clone());
        let seen = match self.get(&path, self.timeout).await {
            Ok((200..=299, body)) if has_whole_token(&body, &token) => {
                return Ok(IdentityReport { path, token, latency_ms: millis(start, Instant::now()) });
            }
            Ok((200..=299, body)) => visible_line(&body, HEAD),
            Ok((status, body)) => format!("{status} {}", visible_line(&body, HEAD)),
            Err(err) => err,
        };
        Err(ProbeFailure::WrongVersion { path, wanted: token, seen })
    }

    /// Sends every smoke check; a failure holds the whole report too.
    pub async fn smoke(&self, checks: &[SmokeCheck]) -> Result<SmokeReport, ProbeFailure> {
        let mut report = SmokeReport::default();
        for check in checks {
            let start = Instant::now();
            let answer = self.get(&check.http, self.timeout).await;
            let latency_ms = millis(start, Instant::now());
            let holds = |body: &str| check.contains.as_ref().is_none_or(|text| body.contains(text.as_str()));
            let (got, body, passed) = match answer {
                Ok((status, body)) if status == check.status && !holds(&body) => (format!("{status} without the text"), body, false),
                Ok((status, body)) => (status.to_string(), body, status == check.status),
                Err(err) => (err, String::new(), false),
            };
            let expected = match &check.contains {
                Some(text) => format!("{} with `{}`", check.status, visible_line(text, HEAD)),
                None => check.status.to_string(),
            };
            report.checks.push(SmokeResult {
                path: check.http.clone(),
                expected,
                got,
                latency_ms,
                body: visible_line(&body, HEAD),
                passed,
            });
        }
        if report.failed().next().is_some() { Err(ProbeFailure::SmokeFailed { report }) } else { Ok(report) }
    }

    /// Runs the smoke checks, and all of them again, at most so often, while one fails.
    pub async fn smoke_again(&self, checks: &[SmokeCheck], reruns: u32) -> Result<SmokeReport, ProbeFailure> {
        let mut failed_before = Vec::new();
        for _ in 0..reruns {
            match self.smoke(checks).await {
                Err(ProbeFailure::SmokeFailed { report }) => failed_before.extend(report.failed().cloned()),
                Err(failure) => return Err(failure),
                Ok(report) => return Ok(SmokeReport { failed_before, ..report }),
            }
        }
        match self.smoke(checks).await {
            Ok(report) => Ok(SmokeReport { failed_before, ..report }),
            Err(ProbeFailure::SmokeFailed { report }) => Err(ProbeFailure::SmokeFailed { report: SmokeReport { failed_before, ..report } }),
            Err(failure) => Err(failure),
        }
    }

    /// Sends one GET, and returns its status, if it was answered, and how long it took.
    pub async fn timed(&self, path: &str) -> (Option<u16>, Duration) {
        let began = Instant::now();
        let answered = self.get(path, self.timeout).await;
        (answered.ok().map(|(status, _)| status), began.elapsed())
    }

    /// Tells whether anything answers: a gateway's 502, 503 and 504 are no answer.
    pub async fn answers(&self, path: &str) -> bool {
        matches!(self.get(path, self.timeout).await, Ok((status, _)) if ![502, 503, 504].contains(&status))
    }

    async fn http_health(&self, path: &str, timeout: Duration) -> Result<String, String> {
        let (status, body) = self.get(path, timeout).await?;
        let seen = format!("{status} {}", visible_line(&body, HEAD));
        if (200..300).contains(&status) { Ok(seen) } else { Err(seen) }
    }

    /// Returns the status and at most 1 MiB of the body; an error says in plain words what went wrong.
    async fn get(&self, path: &str, timeout: Duration) -> Result<(u16, String), String> {
        let host = self.host.clone().unwrap_or_else(|| self.address.to_string());
        let get = Exchange { host: &host, path, agent: "interlock-probe", headers: &[], body: None, timeout, max_body: MAX_BODY };
        let answer = get.from(self.address).await.map_err(|err| err.to_string())?;
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    async fn exec(&self, argv: &[String], timeout: Duration) -> Result<String, String> {
        let port = self.address.port().to_string();
        let argv: Vec<String> = argv.iter().map(|word| fill(word, &[("port", &port)])).collect();
        let (program, arguments) = argv.split_first().ok_or("the command is empty")?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(self.cwd.as_deref().unwrap_or(".".as_ref()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(|err| format!("cannot run `{program}`: {err}"))?;
        let group = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        let ended = tokio::time::timeout(timeout, child.wait()).await;
        if let (Err(_), Some(group)) = (&ended, group) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.wait().await;
        }
        match ended {
            Ok(Ok(status)) if status.success() => Ok("exit 0".into()),
            Ok(Ok(status)) => Err(status.to_string()),
            Ok(Err(err)) => Err(err.to_string()),
            Err(_) => Err(format!("took longer than {} ms", timeout.as_millis())),
        }
    }
}

fn asked(check: &HealthCheck) -> String {
    match check {
        HealthCheck::Http(path) => format!("GET {path}"),
        HealthCheck::Tcp => "tcp".into(),
        HealthCheck::Exec(argv) => argv.join(" "),
        HealthCheck::Alive => "alive".into(),
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_millis() as u64
}
