//! `demo-load`: a small load test of a running service. Its report has the shape of k6's `--summary-export`, and its figures are measured.

use super::{
    load::right_or_wrong,
    request::{Answer, Connection, Failure},
    tally::{Kind, LoadReport, Tally},
};
use anyhow::Context;
use clap::Args;
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// How many ask at the same time.
const USERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `interlock demo-load`.
#[derive(Debug, Clone, Args)]
pub struct LoadTestArgs {
    /// Where the service answers: http://HOST:PORT
    #[arg(long)]
    pub url: String,
    /// How many requests to send
    #[arg(long, default_value_t = 300)]
    pub requests: u64,
    /// Where the report goes
    #[arg(long)]
    pub report: PathBuf,
}

/// Puts load on the service and writes the report. The gate judges the figures, so slow or failed requests do not fail the command.
pub async fn run(args: LoadTestArgs) -> anyhow::Result<ExitCode> {
    let address = address_of(&args.url).await?;
    let measured = measure(address, args.requests).await;
    super::app_test::write_report(&args.report, &serde_json::to_vec_pretty(&k6_summary(&measured))?)?;
    println!("{} requests, {} failed, p95 {:.1} ms", measured.requests, measured.failed + measured.wrong, measured.p95_ms);
    Ok(ExitCode::SUCCESS)
}

/// Sends `requests` requests, GET and POST in turn over kept connections, and returns what they came to.
pub async fn measure(address: SocketAddr, requests: u64) -> LoadReport {
    let (tally, left) = (Arc::new(Mutex::new(Tally::begin())), Arc::new(AtomicU64::new(requests)));
    let mut users = JoinSet::new();
    for _ in 0..USERS {
        let (tally, left) = (tally.clone(), left.clone());
        users.spawn(async move {
            let mut kept = None;
            while let Ok(turn) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
                let kind = if turn % 4 == 0 { Kind::Post } else { Kind::Get };
                let sent = Bytes::from(format!("order {turn}"));
                let asked = ask(address, kept.take(), kind, sent.clone()).await;
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                match asked {
                    Ok((connection, answer)) => {
                        match right_or_wrong(kind, &answer, sent, 0) {
                            Ok(()) => tally.right(kind, &answer.version, answer.took),
                            Err(what) => tally.wrong(kind, &answer.version, answer.took, &what),
                        }
                        kept = (!answer.closing).then_some(connection);
                    }
                    Err(failure) => tally.failed(kind, &failure),
                }
            }
        });
    }
    users.join_all().await;
    tally.lock().unwrap_or_else(PoisonError::into_inner).report()
}

async fn ask(address: SocketAddr, kept: Option<Connection>, kind: Kind, body: Bytes) -> Result<(Connection, Answer), Failure> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(address, PATIENCE).await?,
    };
    let answer = match kind {
        Kind::Post => connection.post("/echo", body).await?,
        _ => connection.get("/").await?,
    };
    Ok((connection, answer))
}

/// Returns the report in the shape of `k6 run --summary-export`. There, a rate counts what it is named after: `http_req_failed.passes` failed.
pub fn k6_summary(measured: &LoadReport) -> Value {
    let failed = measured.failed + measured.wrong;
    let right = measured.requests - failed;
    let share = |part: u64| if measured.requests == 0 { 0.0 } else { part as f64 / measured.requests as f64 };
    let per_second = if measured.seconds > 0.0 { measured.requests as f64 / measured.seconds } else { 0.0 };
    json!({
        "metrics": {
            "http_reqs": { "count": measured.requests, "rate": per_second },
            "http_req_duration": {
                "avg": measured.mean_ms, "min": measured.min_ms, "med": measured.p50_ms, "max": measured.max_ms, "p(95)": measured.p95_ms,
            },
            "http_req_failed": { "passes": failed, "fails": right, "value": share(failed) },
            "checks": { "passes": right, "fails": failed, "value": share(right) },
        },
        "root_group": { "name": "", "path": "", "groups": {}, "checks": {} },
    })
}

async fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let uri: http::Uri = url.parse().with_context(|| format!("reading the URL `{url}`"))?;
    anyhow::ensure!(uri.scheme_str() == Some("http"), "`{url}` is not an http URL");
    let host = uri.host().with_context(|| format!("`{url}` has no host"))?;
    let mut found = tokio::net::lookup_host((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80))).await?;
    found.next().with_context(|| format!("`{host}` has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_failures_as_k6_does() {
        let measured = LoadReport { requests: 200, failed: 3, wrong: 1, p95_ms: 12.5, seconds: 2.0, ..LoadReport::default() };

        let summary = k6_summary(&measured);

        assert_eq!(summary["metrics"]["http_req_failed"], json!({ "passes": 4, "fails": 196, "value": 0.02 }));
        assert_eq!(summary["metrics"]["http_req_duration"]["p(95)"], 12.5);
        assert_eq!(summary["metrics"]["http_reqs"], json!({ "count": 200, "rate": 100.0 }));
    }
}
