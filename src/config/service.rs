//! `[services.X]`: what a service is, the same in every environment.

use super::{
    about, data, is_name, listeners, metrics, monitoring,
    reader::{Item, Table},
};
use crate::model::{
    ServiceName,
    about::About,
    data::DataSpec,
    metric::MetricSpec,
    monitoring::Monitoring,
    service::{Health, HealthCheck, IdentityCheck, SmokeCheck},
};
use std::collections::BTreeMap;

/// Health is asked this often: quick enough that a switch does not wait for it.
const HEALTH_INTERVAL_MS: u64 = 100;
/// Patience with one health check.
const HEALTH_TIMEOUT_MS: u64 = 5_000;
/// Health checks in a row that make an instance healthy.
const HEALTH_SUCCESSES: u32 = 3;
/// When an instance that is not healthy is given up.
const HEALTH_DEADLINE_MS: u64 = 30_000;
/// How long requests on the old set may take to end.
const DRAIN_MS: u64 = 30_000;
/// How long the new set is watched with the old one warm.
const BAKE_MS: u64 = 600_000;
/// How many releases stay for a way back.
const KEEP: u32 = 5;

const HOUR_MS: u64 = 3_600_000;

/// A service as `[services.X]` declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The team that owns it.
    pub owner: Option<String>,
    /// Whom to call.
    pub escalation: Option<String>,
    /// The argv of an instance.
    pub command: Vec<String>,
    /// When an instance counts as healthy.
    pub health: Health,
    /// How an instance shows its identity.
    pub version: Option<IdentityCheck>,
    /// Requests that must be answered as said.
    pub smoke: Vec<SmokeCheck>,
    /// How long requests on the old set may take to end.
    pub drain_ms: u64,
    /// How long the new set is watched.
    pub bake_ms: u64,
    /// How many releases stay.
    pub keep: u32,
    /// The commands that keep and change its data, and its hooks.
    pub data: DataSpec,
    /// The hosts customers ask it for, unless a place names its own.
    pub hosts: Vec<String>,
    /// Figures from outside that a new set is judged by.
    pub metrics: Vec<MetricSpec>,
    /// What people want to know about it.
    pub about: About,
    /// How it is watched from outside.
    pub monitoring: Monitoring,
}

/// Reads `[services]`; a service with faults is `None`, so that its name still counts as declared.
pub fn services(root: &Table<'_>) -> BTreeMap<ServiceName, Option<ServiceConfig>> {
    let Some(item) = root.require("services", "declare what is deployed: [services.web]") else { return BTreeMap::new() };
    let Some(table) = item.table() else { return BTreeMap::new() };
    let items = table.items();
    if items.is_empty() {
        table.missing("no service is declared", "declare what is deployed: [services.web]");
    }
    items.into_iter().filter(|(name, item)| is_name(item, name)).map(|(name, item)| (name.into(), service(&item))).collect()
}

fn service(item: &Item<'_>) -> Option<ServiceConfig> {
    let table = item.table()?;
    let owned = |item: Item<'_>| item.text().map(str::to_owned);
    let owner = table.get("owner").and_then(owned);
    let escalation = table.get("escalation").and_then(owned);
    let command = table.require("command", "write command = [\"{release}/web\", \"--port\", \"{port}\"]").and_then(|item| item.argv());
    let health = table.require("health", "write health = { http = \"/healthz\" }, or tcp, exec, alive").and_then(|item| health(&item));
    let version = table.get("version").and_then(|item| identity(&item));
    let smoke = table.get("smoke").and_then(|item| item.list()).unwrap_or_default().iter().filter_map(smoke_check).collect();
    let drain_ms = table.get("drain").and_then(|item| item.duration(0..=HOUR_MS)).unwrap_or(DRAIN_MS);
    let bake_ms = table.get("bake").and_then(|item| item.duration(0..=24 * HOUR_MS)).unwrap_or(BAKE_MS);
    let keep = table.get("keep").and_then(|item| item.whole(1..=100)).map_or(KEEP, |keep| keep as u32);
    let data = data::data(&table);
    let hosts = table.get("hosts").map(|item| listeners::hosts(&item)).unwrap_or_default();
    let metrics = table.get("metrics").map(|item| metrics::metrics(&item)).unwrap_or_default();
    let about = table.get("about").and_then(|item| about::about(&item)).unwrap_or_default();
    let monitoring = table.get("monitoring").and_then(|item| monitoring::monitoring(&item)).unwrap_or_default();
    table.close();
    Some(ServiceConfig {
        owner,
        escalation,
        command: command?,
        health: health?,
        version,
        smoke,
        drain_ms,
        bake_ms,
        keep,
        data,
        hosts,
        metrics,
        about,
        monitoring,
    })
}

fn health(item: &Item<'_>) -> Option<Health> {
    let table = item.table()?;
    let checks: Vec<Option<HealthCheck>> = [
        table.get("http").map(|item| path(&item).map(HealthCheck::Http)),
        table.get("tcp").map(|item| item.yes().map(|()| HealthCheck::Tcp)),
        table.get("exec").map(|item| item.argv().map(HealthCheck::Exec)),
        table.get("alive").map(|item| item.yes().map(|()| HealthCheck::Alive)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if checks.len() != 1 {
        table.missing("needs exactly one of `http`, `tcp`, `exec`, `alive`", "write health = { http = \"/healthz\" }");
    }
    let interval_ms = table.get("interval").and_then(|item| item.duration(10..=HOUR_MS)).unwrap_or(HEALTH_INTERVAL_MS);
    let timeout_ms = table.get("timeout").and_then(|item| item.duration(10..=HOUR_MS)).unwrap_or(HEALTH_TIMEOUT_MS);
    let successes = table.get("successes").and_then(|item| item.whole(1..=100)).map_or(HEALTH_SUCCESSES, |count| count as u32);
    let deadline_ms = table.get("deadline").and_then(|item| item.duration(100..=24 * HOUR_MS)).unwrap_or(HEALTH_DEADLINE_MS);
    if interval_ms * u64::from(successes - 1) >= deadline_ms {
        table.missing("`deadline` ends before `successes` checks at `interval` can have been made", "raise `deadline`");
    }
    table.close();
    Some(Health { check: checks.into_iter().next()??, interval_ms, timeout_ms, successes, deadline_ms })
}

fn identity(item: &Item<'_>) -> Option<IdentityCheck> {
    let table = item.table()?;
    let http = table.require("http", "write http = \"/version\"").and_then(|item| path(&item));
    let token = table.get("token").map_or(Some("{version}"), |item| {
        let token = item.text()?;
        if !token.contains("{version}") {
            item.fault("does not tell versions apart", Some("put {version} in it".into()));
        }
        Some(token)
    });
    table.close();
    Some(IdentityCheck { http: http?, token: token?.to_owned() })
}

fn smoke_check(item: &Item<'_>) -> Option<SmokeCheck> {
    let table = item.table()?;
    let http = table.require("http", "write http = \"/\"").and_then(|item| path(&item));
    let status = table.get("status").and_then(|item| item.whole(100..=599)).map_or(200, |status| status as u16);
    let contains = table.get("contains").and_then(|item| item.text().map(str::to_owned));
    table.close();
    Some(SmokeCheck { http: http?, status, contains })
}

/// Reads the path of a request.
pub(super) fn path(item: &Item<'_>) -> Option<String> {
    let path = item.text()?;
    if !path.starts_with('/') || path.starts_with("//") || path.contains(|c: char| c.is_whitespace() || c == '#' || !c.is_ascii()) {
        item.fault(format!("`{path}` is no path"), Some("write \"/healthz\": it is asked of the instance itself".into()));
        return None;
    }
    Some(path.to_owned())
}
