//! What Prometheus scrapes and where Alertmanager sends what fires, one file each for an environment. Pure. No secret is ever written: an
//! address that is a reference to one is left out, and the file says so.

use super::text::{marker, promql, quoted, seconds};
use crate::model::{
    EnvironmentName, ServiceSpec,
    metric::HttpAddress,
    monitoring::{Severity, Watchers},
};
use std::path::Path;

/// Where the server says where it is.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Its address, as Prometheus' file discovery reads it.
    pub discovery: &'a Path,
    /// Its bearer token.
    pub token: &'a Path,
}

/// Returns the job under which a service's own metrics are scraped.
pub fn job(spec: &ServiceSpec) -> String {
    format!("{}-{}", spec.environment, spec.service)
}

/// Returns the configuration of Prometheus for an environment with these services.
pub fn prometheus(environment: &EnvironmentName, services: &[&ServiceSpec], server: Server<'_>) -> String {
    let watchers = watchers(services);
    let interval = seconds(watchers.interval_ms);
    let mut lines = vec![
        marker(environment.as_str()),
        "global:".to_owned(),
        format!("  scrape_interval: {interval}"),
        format!("  scrape_timeout: {}", seconds(watchers.interval_ms.min(10_000))),
        format!("  evaluation_interval: {interval}"),
        "rule_files:".to_owned(),
        // The second is where ours goes beside somebody's own file.
        format!("  - {}", quoted("*.alerts.yml")),
        format!("  - {}", quoted("*.alerts.interlock.yml")),
    ];
    lines.extend(alerting(&watchers));
    lines.extend([
        "scrape_configs:".to_owned(),
        format!("  - job_name: {}", quoted("interlock")),
        "    metrics_path: /metrics".to_owned(),
        "    authorization:".to_owned(),
        format!("      credentials_file: {}", quoted(&server.token.to_string_lossy())),
        "    file_sd_configs:".to_owned(),
        format!("      - files: [{}]", quoted(&server.discovery.to_string_lossy())),
    ]);
    for spec in services {
        let Some(path) = &spec.monitoring.metrics else { continue };
        lines.extend([
            format!("  - job_name: {}", quoted(&job(spec))),
            format!("    metrics_path: {}", quoted(path.split('?').next().unwrap_or(path))),
            "    static_configs:".to_owned(),
            format!("      - targets: [{}]", quoted(&target(spec))),
            "        labels:".to_owned(),
            format!("          service: {}", quoted(spec.service.as_str())),
            format!("          environment: {}", quoted(spec.environment.as_str())),
        ]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Returns the configuration of Alertmanager for an environment with these services.
pub fn alertmanager(environment: &EnvironmentName, services: &[&ServiceSpec]) -> String {
    let watchers = watchers(services);
    let matcher = |label: &str, value: &str| quoted(&format!("{label}={}", promql(value)));
    let mut lines = vec![
        marker(environment.as_str()),
        "route:".to_owned(),
        format!("  receiver: {}", quoted(environment.as_str())),
        "  group_by: [alertname, service, environment]".to_owned(),
        "  routes:".to_owned(),
    ];
    for spec in services {
        let place = format!("{}, {}", matcher("service", spec.service.as_str()), matcher("environment", spec.environment.as_str()));
        lines.extend([
            // What wakes somebody is not held back until others of its kind have come.
            format!("    - matchers: [{place}, {}]", matcher("severity", Severity::Critical.as_str())),
            format!("      receiver: {}", quoted(&receiver(spec))),
            "      group_wait: 0s".to_owned(),
            "      repeat_interval: 1h".to_owned(),
            format!("    - matchers: [{place}]"),
            format!("      receiver: {}", quoted(&receiver(spec))),
        ]);
    }
    lines.extend([
        "inhibit_rules:".to_owned(),
        format!("  - source_matchers: [{}, {}]", matcher("alertname", "InterlockManyErrors"), matcher("severity", "critical")),
        format!("    target_matchers: [{}]", matcher("alertname", "InterlockErrors")),
        "    equal: [service, environment]".to_owned(),
        "receivers:".to_owned(),
    ]);
    for name in std::iter::once(environment.to_string()).chain(services.iter().map(|spec| receiver(spec))) {
        lines.push(format!("  - name: {}", quoted(&name)));
        match &watchers.notify {
            Some(url) => lines.extend([
                "    webhook_configs:".to_owned(),
                format!("      - url: {}", quoted(url)),
                "        send_resolved: true".to_owned(),
            ]),
            None => lines.push("    # it tells nobody: `notify` of [monitoring] is not set".to_owned()),
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Returns who is told of a service's alerts, as Alertmanager knows it.
pub fn receiver(spec: &ServiceSpec) -> String {
    spec.routed_as()
}

fn alerting(watchers: &Watchers) -> Vec<String> {
    let Some(configured) = &watchers.alertmanager else {
        return vec!["# `alertmanager` of [monitoring] is not set: nothing is sent".into()];
    };
    let Ok(address) = HttpAddress::parse(configured) else {
        return vec!["# `alertmanager` of [monitoring] is a reference, and is not written here: add it by hand".into()];
    };
    vec![
        "alerting:".to_owned(),
        "  alertmanagers:".to_owned(),
        format!("    - scheme: {}", address.scheme()),
        format!("      path_prefix: {}", quoted(&address.path)),
        "      static_configs:".to_owned(),
        format!("        - targets: [{}]", quoted(&address.authority())),
    ]
}

/// Returns where a service's own metrics are: its listener, by a host that it answers for.
fn target(spec: &ServiceSpec) -> String {
    let listen = spec.router.listen();
    match spec.hosts.iter().find(|host| !host.starts_with('*')) {
        Some(host) => format!("{host}:{}", listen.port()),
        None if listen.ip().is_unspecified() => format!("127.0.0.1:{}", listen.port()),
        None => listen.to_string(),
    }
}

/// Returns what watches these services: it is the same for all of them.
fn watchers(services: &[&ServiceSpec]) -> Watchers {
    services.first().map(|spec| spec.monitoring.watchers.clone()).unwrap_or_default()
}
