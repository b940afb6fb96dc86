//! `[gates]` and `[environments.X.gates]`: how gates are fed, and what is asked of them.

use super::{
    GateFeed, GateOverride, GatesConfig, ReportFormat,
    reader::{Item, Table},
};
use crate::model::{
    Comparator, GateName,
    catalog::{GATES, GateKind, GateSource, gate_kind, gate_names},
    fault::nearest,
};
use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

/// How old evidence may be.
const MAX_AGE_MS: u64 = 24 * 3_600_000;

/// Reads `[gates]`.
pub fn gates(root: &Table<'_>) -> GatesConfig {
    let mut gates = GatesConfig { max_age_ms: MAX_AGE_MS, feeds: BTreeMap::new() };
    let Some(table) = root.get("gates").and_then(|item| item.table()) else { return gates };
    if let Some(max_age_ms) = table.get("max_age").and_then(|item| item.duration(1_000..=90 * 24 * 3_600_000)) {
        gates.max_age_ms = max_age_ms;
    }
    for kind in GATES.iter().filter(|kind| kind.source == GateSource::Evidence) {
        if let Some(feed) = table.get(kind.name).and_then(|item| feed(&item, kind)) {
            gates.feeds.insert(kind.name.into(), feed);
        }
    }
    table.close();
    gates
}

fn feed(item: &Item<'_>, kind: &GateKind) -> Option<GateFeed> {
    let table = item.table()?;
    let thresholds = thresholds(&table, kind);
    let command = table.get("command");
    let (report, format) = match command {
        Some(_) => (
            table.require("report", "name the file the command writes, or \"-\" for its standard output"),
            table.require("format", &format!("write one of {}", formats(kind).join(", "))),
        ),
        None => (table.get("report"), table.get("format")),
    };
    let exit = table.get("exit");
    if command.is_none() {
        for item in [&report, &format, &exit].into_iter().flatten() {
            item.mismatch("is read with a `command` only", Some("add `command`, or leave this out".into()));
        }
    }
    let feed = GateFeed {
        thresholds,
        command: command.and_then(|item| item.argv()),
        report: report.and_then(|item| report_path(&item)),
        format: format.and_then(|item| report_format(&item, kind)),
        exit: exit.map_or_else(|| vec![0], |item| exit_codes(&item)),
    };
    table.close();
    Some(feed)
}

/// Reads `[environments.X.gates]`.
pub fn overrides(item: &Item<'_>, feeds: &GatesConfig) -> BTreeMap<GateName, GateOverride> {
    let Some(table) = item.table() else { return BTreeMap::new() };
    let gate = |(name, item): (&str, Item<'_>)| {
        let Some(kind) = gate_kind(name) else {
            item.fault_at_key("unknown gate", Some(unknown_gate(name)));
            return None;
        };
        Some((name.into(), gate_override(&item, kind, feeds)?))
    };
    table.items().into_iter().filter_map(gate).collect()
}

fn unknown_gate(name: &str) -> String {
    let list = gate_names().collect::<Vec<_>>().join(", ");
    nearest(name, gate_names()).map_or_else(|| format!("gates are {list}"), |near| format!("did you mean `{near}`? gates are {list}"))
}

fn gate_override(item: &Item<'_>, kind: &GateKind, feeds: &GatesConfig) -> Option<GateOverride> {
    if item.is_text() {
        item.choice(&[("off", ())], &[])?;
        if kind.source == GateSource::Server {
            item.fault(format!("`{}` is the server's own gate and cannot be off", kind.name), Some("leave it out".into()));
        }
        return Some(GateOverride::Off);
    }
    let table = item.table()?;
    let thresholds = thresholds(&table, kind);
    if let Some(feed) = feeds.feeds.get(&GateName::from(kind.name)) {
        for (measure, threshold) in &thresholds {
            if let Some(other) = feed.thresholds.get(measure).filter(|other| threshold.strictest(**other).is_none()) {
                item.mismatch(
                    format!("`{measure} {threshold}` contradicts `{measure} {other}` of [gates]"),
                    Some("let both point the same way".into()),
                );
            }
        }
    }
    table.close();
    Some(GateOverride::Thresholds(thresholds))
}

fn thresholds(table: &Table<'_>, kind: &GateKind) -> BTreeMap<String, Comparator> {
    let threshold = |measure: &&'static str| Some((measure.to_string(), comparator(&table.get(measure)?)?));
    kind.measures.iter().filter_map(threshold).collect()
}

/// Reads a threshold.
pub fn comparator(item: &Item<'_>) -> Option<Comparator> {
    match item.is_text() {
        true => item.text()?.parse().map_err(|reason: String| item.fault(reason, None)).ok(),
        false => {
            item.fault("is no comparator", Some("write \">= 80\", \"<= 0\" or \"== 1\"".into()));
            None
        }
    }
}

/// Returns the formats that hold a gate's measures.
fn formats(kind: &GateKind) -> Vec<&'static str> {
    let of_kind = |format: &ReportFormat| match format {
        ReportFormat::Junit => "tests",
        ReportFormat::Lcov => "coverage",
        ReportFormat::Sarif | ReportFormat::CargoAudit => "vulnerabilities",
        ReportFormat::K6 | ReportFormat::Oha => "load",
        ReportFormat::Renovate | ReportFormat::Outdated => "outdated",
    };
    ReportFormat::ALL.iter().filter(|(_, format)| of_kind(format) == kind.name).map(|(name, _)| *name).collect()
}

fn report_format(item: &Item<'_>, kind: &GateKind) -> Option<ReportFormat> {
    let format = item.choice(ReportFormat::ALL, &[])?;
    let fitting = formats(kind);
    if !ReportFormat::ALL.iter().any(|(name, other)| *other == format && fitting.contains(name)) {
        item.fault(format!("holds nothing for `{}`", kind.name), Some(format!("write one of {}", fitting.join(", "))));
    }
    Some(format)
}

/// Reads the path of a report, which stays inside the checkout.
fn report_path(item: &Item<'_>) -> Option<String> {
    let path = item.text()?;
    if !Path::new(path).components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
        item.fault(format!("`{path}` leads out of the checkout"), Some("write a path relative to the project, or \"-\"".into()));
        return None;
    }
    Some(path.to_owned())
}

fn exit_codes(item: &Item<'_>) -> Vec<i32> {
    let codes: Vec<i32> = item.list().unwrap_or_default().iter().filter_map(|code| code.whole(0..=255)).map(|code| code as i32).collect();
    if item.list().is_some_and(|list| list.is_empty()) {
        item.fault("is empty", Some("write exit = [0]".into()));
    }
    codes
}
