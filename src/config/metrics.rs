//! `[[services.X.metrics]]`: figures from outside that a new set is judged by; a place adds its own, or replaces one of the same name.

use super::{
    gates,
    reader::{Item, Table},
    references,
};
use crate::model::{
    metric::{HttpAddress, MetricSource, MetricSpec, is_pointer},
    service::SecretRef,
};
use std::collections::{BTreeMap, BTreeSet};

/// How often a figure is read while a new set is watched: what is scraped every 15 s has changed by then.
const INTERVAL_MS: u64 = 30_000;
/// Patience with one reading.
const TIMEOUT_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;
/// No service has more.
const MOST: usize = 20;
/// What is filled in wherever a figure is asked for.
const PLACES: [&str; 4] = ["version", "service", "environment", "deployment"];

#[derive(Clone, Copy)]
enum Kind {
    Prometheus,
    Json,
    Command,
}

/// Reads `metrics`.
pub fn metrics(item: &Item<'_>) -> Vec<MetricSpec> {
    let items = item.list().unwrap_or_default();
    if items.len() > MOST {
        item.fault(format!("has more than {MOST} figures"), None);
    }
    let mut names = BTreeSet::new();
    items.iter().filter_map(|item| metric(item, &mut names)).collect()
}

/// Returns the service's figures with those of its place.
pub fn joined(of_service: Vec<MetricSpec>, of_place: Vec<MetricSpec>) -> Vec<MetricSpec> {
    let is_replaced = |metric: &MetricSpec| of_place.iter().any(|own| own.name == metric.name);
    of_service.into_iter().filter(|metric| !is_replaced(metric)).chain(of_place.iter().cloned()).collect()
}

fn metric(item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<MetricSpec> {
    let table = item.table()?;
    let name = table.require("name", "write name = \"checkout errors\"").and_then(|item| {
        let name = item.text()?;
        if name.chars().count() > 60 || name.contains(['\n', '\t']) {
            item.fault("is longer than a name", Some("write at most 60 characters, on one line".into()));
        }
        if !names.insert(name.to_owned()) {
            item.fault(format!("`{name}` stands here twice"), None);
        }
        Some(name.to_owned())
    });
    let hint = "write source = { kind = \"prometheus\", address = \"http://127.0.0.1:9090\", query = \"…\" }";
    let source = table.require("source", hint).and_then(|item| source(&item));
    let threshold = table.require("threshold", "write threshold = \"<= 0.5\"").and_then(|item| gates::comparator(&item));
    let interval_ms = table.get("interval").and_then(|item| item.duration(1_000..=60 * MINUTE_MS)).unwrap_or(INTERVAL_MS);
    let timeout_ms = table.get("timeout").and_then(|item| item.duration(100..=MINUTE_MS)).unwrap_or(TIMEOUT_MS);
    table.close();
    Some(MetricSpec { name: name?, source: source?, threshold: threshold?, interval_ms, timeout_ms })
}

fn source(item: &Item<'_>) -> Option<MetricSource> {
    let table = item.table()?;
    let kinds = [("prometheus", Kind::Prometheus), ("json", Kind::Json), ("command", Kind::Command)];
    let Some(kind) = table.get("kind") else {
        table.missing("`kind` is missing", "write kind = \"prometheus\", \"json\" or \"command\"");
        return None;
    };
    let kind = kind.choice(&kinds, &[])?;
    let source = match kind {
        Kind::Prometheus => {
            let address = table.require("address", "write address = \"http://127.0.0.1:9090\"").and_then(|item| address(&item));
            let query = table.require("query", "write a PromQL query that gives one number").and_then(|item| {
                let query = item.text()?;
                item.check_places(query, &PLACES);
                Some(query.to_owned())
            });
            let headers = headers(&table);
            address.zip(query).map(|(address, query)| MetricSource::Prometheus { address, query, headers })
        }
        Kind::Json => {
            let address = table.require("address", "write address = \"http://127.0.0.1:8080/stats\"").and_then(|item| address(&item));
            let hint = "write pointer = \"/errors/percent\", or \"\" for the whole document";
            let pointer = table.require("pointer", hint).and_then(|item| pointer(&item));
            let headers = headers(&table);
            address.zip(pointer).map(|(address, pointer)| MetricSource::Json { address, pointer, headers })
        }
        Kind::Command => {
            let run = table.require("run", "write run = [\"./measure.sh\", \"{version}\"]: it prints a number").and_then(|item| {
                let argv = item.argv()?;
                argv.iter().for_each(|word| item.check_places(word, &PLACES));
                Some(argv)
            });
            let pointer = table.get("pointer").map(|item| pointer(&item));
            match pointer {
                Some(None) => None,
                pointer => run.map(|run| MetricSource::Command { run, pointer: pointer.flatten() }),
            }
        }
    };
    table.close();
    source
}

/// Reads an address, or the reference to one.
pub(super) fn address(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if SecretRef::parse(text).is_some() {
        references::check(item, "address", text);
        return Some(text.to_owned());
    }
    match HttpAddress::parse(text) {
        Ok(address) => {
            if references::query_names_secret(&address.path) {
                item.fault("looks like a secret written out", Some("refer to the whole address: \"env:NAME\" or \"file:/path\"".into()));
            }
            item.check_places(&address.path, &PLACES);
            Some(text.to_owned())
        }
        // What is refused may hold a password: it is not repeated.
        Err(fault) => {
            item.fault(format!("is no address to fetch from: {fault}"), Some("write \"http://127.0.0.1:9090\"".into()));
            None
        }
    }
}

fn pointer(item: &Item<'_>) -> Option<String> {
    let text = item.value()?;
    if !is_pointer(text) {
        item.fault(format!("`{text}` is no JSON pointer"), Some("write \"/errors/percent\", with `~1` for `/` in a name".into()));
        return None;
    }
    Some(text.to_owned())
}

fn headers(table: &Table<'_>) -> BTreeMap<String, String> {
    let Some(table) = table.get("headers").and_then(|item| item.table()) else { return BTreeMap::new() };
    let header = |(name, item): (&str, Item<'_>)| {
        let value = item.text()?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            item.fault_at_key(format!("`{name}` is no header's name"), None);
        }
        let name = name.to_ascii_lowercase();
        if ["host", "connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            item.fault_at_key(format!("`{name}` is set by what asks"), Some("leave it out".into()));
        }
        // These carry a secret whatever the rest of their name is.
        let meaning = if name.contains("authorization") || name == "cookie" { "token" } else { name.as_str() };
        references::check(&item, meaning, value);
        Some((name, value.to_owned()))
    };
    table.items().into_iter().filter_map(header).collect()
}
