//! Shows a document as a person reads it, from the very bytes that are signed. What an agent wrote is marked, and nothing is invisible.

use crate::{
    decisions::Review,
    error::{Error, Result},
    model::{DecisionKind, Plan, text},
};
use serde_json::Value;

/// Returns the document as lines for the terminal.
pub fn render(review: &Review) -> Result<String> {
    let mut lines = match review.kind {
        DecisionKind::Plan => plan(&serde_json::from_str(&review.document).map_err(Error::internal)?),
        // The text itself is what is signed; nothing of it is left out.
        DecisionKind::Configuration | DecisionKind::Runbook => vec![text::visible(&review.document, usize::MAX)],
        DecisionKind::SignOff | DecisionKind::Approver | DecisionKind::Unfreeze | DecisionKind::Resolve => {
            let document: Value = serde_json::from_str(&review.document).map_err(Error::internal)?;
            document.as_object().into_iter().flatten().flat_map(|(name, value)| fact(name, value, 0)).collect()
        }
    };
    lines.push(format!("sha256 {}", review.subject_sha256));
    Ok(lines.join("\n") + "\n")
}

fn plan(plan: &Plan) -> Vec<String> {
    let from = plan.base.as_ref().map_or("nothing".to_owned(), |base| format!("{} ({})", base.version, base.deployment));
    let mut lines = vec![
        format!("Plan {}", plan.id()),
        format!("  {} in {}: {from} -> {}", plan.service, plan.environment, text::visible_line(&plan.version, 80)),
        format!("  directive {}, attempt {}, commit {}", plan.directive, plan.attempt, plan.commit.as_deref().unwrap_or("unknown")),
        format!("  release {}", plan.digest),
        format!("  configuration {}", plan.config_sha256),
        format!("  starts {}", text::visible_line(&serde_json::to_string(&plan.command).unwrap_or_default(), 300)),
        format!("  way back: {}", plan.rollback.summary),
        format!("  router: {}", plan.guarantees.summary),
        format!(
            "  goes back by itself above {} % errors or p95 {} ms for {} s, and at once on downtime",
            plan.watch.error_percent,
            plan.watch.p95_ms,
            plan.watch.sustained_ms / 1000
        ),
        "  gates:".into(),
    ];
    for gate in &plan.gates {
        let value = gate.value.as_deref().unwrap_or("no value");
        lines.push(format!(
            "    {} {}: {} ({}; asked by {})",
            gate.verdict,
            gate.gate,
            text::visible_line(value, 100),
            gate.rule,
            gate.asked_by
        ));
    }
    let live: Vec<&str> = plan.live_gates.iter().map(|gate| gate.as_str()).collect();
    lines.push(format!("    checked again at execution: {}", live.join(", ")));
    lines.push("  steps:".into());
    lines.extend(plan.steps.iter().map(|step| format!("    {}: {}", step.id, text::visible_line(&step.title, 200))));
    lines
}

/// Returns a fact on a line, and what it holds below it; what is empty is said to be so.
fn fact(name: &str, value: &Value, depth: usize) -> Vec<String> {
    let head = format!("{}{}:", "  ".repeat(depth), text::visible_line(name, 60));
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            [head].into_iter().chain(fields.iter().flat_map(|(name, value)| fact(name, value, depth + 1))).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            let line = |item: &Value| format!("{}{}", "  ".repeat(depth + 1), text::visible_line(&plain(item), 600));
            [head].into_iter().chain(items.iter().map(line)).collect()
        }
        Value::Null => vec![format!("{head} none")],
        value => vec![format!("{head} {}", text::visible_line(&plain(value), 600))],
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
