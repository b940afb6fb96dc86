//! What a deployment did to data, as its documents say it. Pure.

use super::report::Report;
use crate::model::{Plan, text::visible_line};

/// Returns the lines about migrations, backup and hooks that `docs/deployment.md` and the runbook share; of a plan alone where nothing ran.
pub fn lines(plan: &Plan, report: Option<&Report>) -> Vec<String> {
    let mut lines = Vec::new();
    let entry = |step: &str| report.and_then(|report| report.step(step));
    let state = |step: &str| entry(step).map_or("not run", |entry| entry.state.as_str());
    for migration in &plan.migrations {
        let (name, reason) = (visible_line(&migration.name, 120), visible_line(&migration.reason, 200));
        lines.push(format!("- migration `{name}` ({}): {reason}; sha256 {}", migration.class, migration.sha256));
    }
    if !plan.migrations.is_empty() {
        let output = entry("migrate").map(|entry| &entry.output);
        let details = output.map(|output| if output["error"].is_null() { output } else { &output["error"]["details"] });
        let names = details.and_then(|details| details["applied"].as_array());
        let names: Vec<String> = names.into_iter().flatten().filter_map(|name| name.as_str()).map(|name| visible_line(name, 120)).collect();
        let shown = if names.is_empty() { "none of them".to_owned() } else { names.join(", ") };
        lines.push(format!("- the step `migrate` is {}; afterwards the history showed {shown}", state("migrate")));
    }
    if let Some((report, backup)) = report.and_then(|report| Some((report, report.backup.as_ref()?))) {
        lines.push(format!("- backup {}", backup.summary(report.deployment.settled_at.unwrap_or(report.deployment.updated_at))));
    }
    lines
}
