//! The proxy's own requests through its own listener: the minimum sample when no customer comes.

use super::{control::ProbePlan, switch::Switch};
use anyhow::{Context, bail};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use interlock_wire::headers;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

/// The shortest interval: more would be a load test.
const SHORTEST: Duration = Duration::from_millis(10);

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends them for ever, as often as the plan in force says, while something serves.
pub async fn run(switch: Arc<Switch>, listen: SocketAddr, secret: String) {
    let mut plans = switch.probe.subscribe();
    loop {
        let plan = plans.borrow_and_update().clone();
        let Some(plan) = plan else {
            if plans.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut ticks = interval(Duration::from_millis(plan.interval_ms).max(SHORTEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = plans.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = ticks.tick() => once(&switch, listen, &plan, &secret).await,
            }
        }
    }
}

async fn once(switch: &Switch, listen: SocketAddr, plan: &ProbePlan, secret: &str) {
    // What is held waits on purpose.
    if !switch.is_serving() || switch.hold.is_on() {
        return;
    }
    let result =
        timeout(PATIENCE, request(switch, listen, &plan.path, secret)).await.context("no answer in time").and_then(|result| result);
    switch.totals.probes.fetch_add(1, Relaxed);
    if let Err(err) = result
        && switch.is_serving()
        && !switch.hold.is_on()
    {
        switch.totals.failed_probes.fetch_add(1, Relaxed);
        tracing::warn!("the proxy's own request failed: {err:#}");
    }
}

/// Sends one; fails when it is refused, cut or answered by the proxy itself. What the application answers is its own affair.
async fn request(switch: &Switch, listen: SocketAddr, path: &str, secret: &str) -> anyhow::Result<()> {
    // One of its own hosts; of a wildcard, one that nobody has.
    let host = switch.rules.load().hosts.first().map_or_else(|| listen.to_string(), |host| host.replace('*', "interlock-probe"));
    let stream = TcpStream::connect(reachable(listen)).await.context("connecting to the listener")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(http::header::HOST, host)
        .header(http::header::CONNECTION, "close")
        .header(headers::PROBE, secret)
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await.context("waiting for the answer")?;
        if let Some(why) = response.headers().get(headers::ERROR) {
            bail!("answered by the proxy itself: {why:?}");
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.context("the answer was cut")?;
        }
        Ok(())
    };
    // Driven here, not in a task: both end together.
    tokio::pin!(exchange);
    tokio::select! {
        result = &mut exchange => result,
        _ = connection => exchange.await,
    }
}

/// Returns where a listener on every address can be reached.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        let loopback: IpAddr = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(loopback);
    }
    listen
}
