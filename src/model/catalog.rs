//! Every gate by name, with the measures its thresholds may stand on: configuration and phases are checked against it.

/// A kind of gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateKind {
    /// Its name in configuration and phases.
    pub name: &'static str,
    /// The measures a threshold may stand on.
    pub measures: &'static [&'static str],
    /// Where its data comes from.
    pub source: GateSource,
}

/// Where a gate's data comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateSource {
    /// Reports; `[gates]` may feed it.
    Evidence,
    /// The record or the world; binds when a phase or an environment names it.
    Record,
    /// The server's own: binds everywhere and cannot be turned off.
    Server,
}

/// Every gate.
pub const GATES: &[GateKind] = &[
    GateKind { name: "tests", measures: &["run", "failed", "skipped", "flaky"], source: GateSource::Evidence },
    GateKind { name: "coverage", measures: &["lines", "lines_hit", "lines_percent"], source: GateSource::Evidence },
    GateKind { name: "load", measures: &["p95_ms", "error_percent", "requests"], source: GateSource::Evidence },
    GateKind {
        name: "vulnerabilities",
        measures: &["critical", "high", "medium", "low", "total", "scanned"],
        source: GateSource::Evidence,
    },
    GateKind { name: "outdated", measures: &["examined", "outdated", "majors_behind", "withdrawn"], source: GateSource::Evidence },
    GateKind { name: "rollback_ready", measures: &[], source: GateSource::Record },
    GateKind { name: "promoted_from", measures: &[], source: GateSource::Record },
    GateKind { name: "ci", measures: &[], source: GateSource::Record },
    GateKind { name: "sign_off", measures: &["uat"], source: GateSource::Record },
    GateKind { name: "backup", measures: &["age_hours"], source: GateSource::Record },
    GateKind { name: "logs", measures: &["error_lines", "minutes"], source: GateSource::Record },
    GateKind { name: "alerts", measures: &[], source: GateSource::Record },
    GateKind { name: "quota", measures: &["disk_mb", "memory_mb", "ports", "descriptors_each", "descriptors"], source: GateSource::Record },
    GateKind { name: "artifact_digest", measures: &[], source: GateSource::Server },
    GateKind { name: "secrets", measures: &[], source: GateSource::Server },
    GateKind { name: "dependencies", measures: &[], source: GateSource::Server },
    GateKind { name: "freeze", measures: &[], source: GateSource::Server },
];

/// Returns the gate of this name.
pub fn gate_kind(name: &str) -> Option<&'static GateKind> {
    GATES.iter().find(|kind| kind.name == name)
}

/// Returns the names of every gate.
pub fn gate_names() -> impl Iterator<Item = &'static str> {
    GATES.iter().map(|kind| kind.name)
}
