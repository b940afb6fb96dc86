//! What the service depends on accepts connections.

use super::{Ask, needing};
use crate::model::{GateResult, Verdict, Who, service::Dependency, text::visible_line};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};

/// The gate's name.
pub const NAME: &str = "dependencies";

/// Patience with one dependency.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one dependency answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its name.
    pub name: String,
    /// Its `host:port`.
    pub address: String,
    /// Whether it accepted a connection, or why not.
    pub result: Result<(), String>,
}

/// Connects to every dependency at once, with two seconds for each.
pub async fn check(dependencies: &[Dependency]) -> Vec<Answer> {
    join_all(dependencies.iter().map(|dependency| async {
        let result = match timeout(PATIENCE, TcpStream::connect(&dependency.tcp)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(cause)) => Err(cause.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        Answer { name: dependency.name.clone(), address: dependency.tcp.clone(), result }
    }))
    .await
}

/// Judges the answers. Live: run again at execution.
pub fn evaluate(ask: Ask<'_>, answers: &[Answer]) -> GateResult {
    let result = |verdict, reason| GateResult { live: true, ..ask.result(NAME, "every dependency accepts a connection", verdict, reason) };
    let silent: Vec<_> = answers.iter().filter_map(|answer| Some((answer, answer.result.as_ref().err()?))).collect();
    if silent.is_empty() {
        let reason = match answers.len() {
            0 => "the service depends on nothing".to_owned(),
            count => format!("{count} of {count} dependencies accept connections"),
        };
        return result(Verdict::Pass, reason);
    }
    let told: Vec<_> =
        silent.iter().map(|(answer, fault)| format!("`{}` at {} ({})", answer.name, answer.address, visible_line(fault, 120))).collect();
    let names: Vec<_> = silent.iter().map(|(answer, _)| format!("`{}`", answer.name)).collect();
    let failed = result(Verdict::Fail, format!("{} of {} dependencies do not answer: {}", silent.len(), answers.len(), told.join(", ")));
    let places: Vec<_> = silent.iter().map(|(answer, _)| format!("{} (`{}`)", answer.address, answer.name)).collect();
    let how = format!(
        "start what is to listen at {}, or correct the address in interlock.toml and run `interlock apply`; then call `run_predeploy_checks`",
        places.join(", ")
    );
    needing(failed, format!("a connection to {}", names.join(", ")), Who::Person, how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn a_dependency_that_refuses_is_named_with_its_address() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "server", now: Timestamp(0) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = Dependency { name: "db".into(), tcp: listener.local_addr().unwrap().to_string() };
        let bound_only = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&bound_only, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = std::net::SocketAddr::try_from(rustix::net::getsockname(&bound_only).unwrap()).unwrap();
        let closed = Dependency { name: "cache".into(), tcp: address.to_string() };

        let answers = check(&[open, closed]).await;
        assert!(answers[0].result.is_ok() && answers[1].result.is_err());
        let failed = evaluate(ask, &answers);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert!(failed.live && failed.reason.contains(&format!("`cache` at {address}")), "{}", failed.reason);
        assert_eq!(evaluate(ask, &answers[..1]).verdict, Verdict::Pass);
        assert_eq!(evaluate(ask, &[]).verdict, Verdict::Pass);
    }
}
