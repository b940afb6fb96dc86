//! `[monitoring]` and `[services.X.monitoring]`: what watches, and what of a service is watched beside what every service has.

use super::{
    about, metrics,
    reader::{Item, Table},
    service,
};
use crate::model::monitoring::{Alert, Monitoring, Severity, Watchers};
use std::collections::BTreeSet;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// How long an alert of the service's own must last before it fires.
const FOR_MS: u64 = MINUTE_MS;
/// No service has more.
const MOST: usize = 50;

/// Reads `[monitoring]`.
pub fn watchers(root: &Table<'_>) -> Watchers {
    let otherwise = Watchers::default();
    let Some(table) = root.get("monitoring").and_then(|item| item.table()) else { return otherwise };
    let watchers = Watchers {
        prometheus: table.get("prometheus").and_then(|item| address(&item)),
        alertmanager: table.get("alertmanager").and_then(|item| address(&item)),
        notify: table.get("notify").and_then(|item| about::link(&item)),
        firing: table.get("firing").and_then(|item| firing(&item)),
        interval_ms: table.get("interval").and_then(|item| item.duration(1_000..=10 * MINUTE_MS)).unwrap_or(otherwise.interval_ms),
    };
    if let Some(item) = table.get("firing").filter(|_| watchers.prometheus.is_none()) {
        item.fault("is asked of Prometheus, which is not named", Some("write prometheus = \"http://127.0.0.1:9090\"".into()));
    }
    table.close();
    watchers
}

fn firing(item: &Item<'_>) -> Option<String> {
    let query = item.text()?;
    item.check_places(query, &["service", "environment"]);
    Some(query.to_owned())
}

/// Reads `[services.X.monitoring]`.
pub fn monitoring(item: &Item<'_>) -> Option<Monitoring> {
    let table = item.table()?;
    let metrics = table.get("metrics").and_then(|item| {
        let path = service::path(&item)?;
        if path.contains('?') {
            item.fault("holds a query", Some("write \"/metrics\"".into()));
        }
        Some(path)
    });
    let items = table.get("alerts").and_then(|item| {
        let items = item.list()?;
        if items.len() > MOST {
            item.fault(format!("has more than {MOST} alerts"), None);
        }
        Some(items)
    });
    let close_watch_ms = table.get("close_watch").and_then(|item| item.duration(60 * MINUTE_MS..=7 * DAY_MS));
    let mut names = BTreeSet::new();
    let alerts = items.unwrap_or_default().iter().filter_map(|item| alert(item, &mut names)).collect();
    let errors = table.get("errors").map(|item| words(&item)).unwrap_or_default();
    let except = table.get("except").map(|item| words(&item)).unwrap_or_default();
    table.close();
    Some(Monitoring { metrics, alerts, close_watch_ms, errors, except, watchers: Watchers::default() })
}

/// Reads what lines of a log are held against.
fn words(item: &Item<'_>) -> Vec<String> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() || items.len() > MOST {
        item.fault(format!("holds no word, or more than {MOST}"), Some("write [\"ERROR\", \"FATAL\"]".into()));
    }
    items.iter().filter_map(about::line).collect()
}

fn alert(item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<Alert> {
    let table = item.table()?;
    let name = table.require("name", "write name = \"QueueTooLong\"").and_then(|item| {
        let name = about::line(&item)?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            item.fault(format!("`{name}` is no name of an alert"), Some("use A-Z, a-z, 0-9 and `_`, starting with a letter".into()));
        } else if name.starts_with("Interlock") {
            item.fault("begins as Interlock's own alerts do", Some("give it another name".into()));
        } else if !names.insert(name.clone()) {
            item.fault(format!("`{name}` stands here twice"), None);
        }
        Some(name)
    });
    let expr = table.require("expr", "write expr = \"queue_length > 100\"").and_then(|item| item.text().map(str::to_owned));
    let for_ms = table.get("for").and_then(|item| item.duration(0..=DAY_MS)).unwrap_or(FOR_MS);
    let severities = [("warning", Severity::Warning), ("critical", Severity::Critical)];
    let severity = table.get("severity").and_then(|item| item.choice(&severities, &[])).unwrap_or(Severity::Warning);
    let summary = table.get("summary").and_then(|item| about::line(&item));
    table.close();
    Some(Alert { name: name?, expr: expr?, for_ms, severity, summary })
}

/// Reads the address of a server, or the reference to one. Nothing is filled in.
fn address(item: &Item<'_>) -> Option<String> {
    let address = metrics::address(item)?;
    if address.contains(['{', '?']) {
        item.fault("is no address of a server", Some("write \"http://127.0.0.1:9093\"".into()));
    }
    Some(address)
}
