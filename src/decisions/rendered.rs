//! Shows a document as a person reads it, from the very bytes that are signed. What an agent wrote is marked, and nothing is invisible.

use super::{Review, fields};
use crate::{
    error::{Error, Result},
    model::{DecisionKind, Plan, Purpose, plan::MOST_RISK, text},
};
use serde_json::Value;

/// The longest line of a plan, characters: twelve threats of an assessment.
const LINE: usize = 8_000;

/// Returns the document as lines, at the terminal and on a page. Of a plan it is what to look at first: [`whole`] has all of it.
pub fn render(review: &Review) -> Result<String> {
    let lines = match (review.kind, serde_json::from_str::<Plan>(&review.document)) {
        // The text itself is what is signed; nothing of it is left out.
        (DecisionKind::Configuration | DecisionKind::Runbook, _) => vec![text::unmistakable(&review.document)],
        (DecisionKind::Plan | DecisionKind::Rollback | DecisionKind::Restore, Ok(read)) => {
            let mut lines: Vec<String> = plan(&read).iter().map(|line| text::visible_line(line, LINE)).collect();
            // Said again where the terminal asks, however long the rest is.
            let (fields, bytes) = (fields(&review.document)?.len(), review.document.len());
            lines.push(format!("all of it is signed, {fields} fields in {bytes} bytes: {}", subject(&read)));
            lines
        }
        (DecisionKind::Plan | DecisionKind::Rollback, Err(error)) => return Err(Error::internal(error)),
        _ => {
            let document: Value = serde_json::from_str(&review.document).map_err(Error::internal)?;
            document.as_object().into_iter().flatten().flat_map(|(name, value)| fact(name, value, 0)).collect()
        }
    };
    // Whatever stands in a line, it stays one, and hides nothing.
    let is_text = matches!(review.kind, DecisionKind::Configuration | DecisionKind::Runbook);
    let mut lines = if is_text { lines } else { lines.iter().map(|line| text::unmistakable_line(line)).collect() };
    lines.push(format!("sha256 {}", review.subject_sha256));
    if let Some(advice) = &review.advice {
        lines.push(format!("advice, no part of what is signed: {}", text::visible_line(advice, 300)));
    }
    Ok(lines.join("\n") + "\n")
}

/// Returns every field of a plan that is to be signed, one on a line; nothing for what [`render`] shows whole.
pub fn whole(review: &Review) -> Result<String> {
    let may_be = matches!(review.kind, DecisionKind::Plan | DecisionKind::Rollback | DecisionKind::Restore);
    if !may_be || serde_json::from_str::<Plan>(&review.document).is_err() {
        return Ok(String::new());
    }
    let fields = fields(&review.document)?;
    let lines = fields.iter().map(|field| format!("  {}: {}\n", field.name(), field.value));
    Ok(format!("Exactly what is signed, field by field:\n{}", lines.collect::<String>()))
}

/// Returns what a plan changes: `web in production: 1.0.0 (dep_1) -> 1.1.0`.
fn subject(plan: &Plan) -> String {
    let version = |version: &str| text::visible_line(version, 80);
    let from = plan.base.as_ref().map_or("nothing".to_owned(), |base| format!("{} ({})", version(&base.version), base.deployment));
    format!("{} in {}: {from} -> {}", plan.service, plan.environment, version(&plan.version))
}

fn plan(plan: &Plan) -> Vec<String> {
    let mut lines = vec![
        format!("Plan {}", plan.id()),
        format!("  {}", subject(plan)),
        format!("  directive {}, attempt {}, commit {}", plan.directive, plan.attempt, plan.commit.as_deref().unwrap_or("unknown")),
        format!("  release {}", plan.digest),
        format!("  configuration {}", plan.config_sha256),
        format!("  starts {}", text::visible_line(&serde_json::to_string(&plan.command).unwrap_or_default(), 300)),
        format!("  way back: {}", text::visible_line(&plan.rollback.summary, 600)),
        format!("  router: {}", plan.guarantees.summary),
        format!(
            "  goes back by itself above {} % errors or p95 {} ms for {} s, and at once on downtime",
            plan.watch.error_percent,
            plan.watch.p95_ms,
            plan.watch.sustained_ms / 1000
        ),
    ];
    if let Some((phase, risk)) = plan.phase.as_ref().and_then(|phase| Some((&phase.name, phase.risk?))) {
        lines.push(format!("  risk {risk} of {MOST_RISK}, says {}", text::visible_line(phase, 60)));
    }
    if let Purpose::Rollback { of } = &plan.purpose {
        let further = plan.returns_to.as_ref().map_or(String::new(), |to| format!(" to {to}, further than what served before"));
        lines.push(format!("  goes back from {of}{further}"));
    }
    lines.extend(plan.metrics.iter().map(|metric| format!("  goes back by itself too when it does not hold that {}", metric.summary())));
    lines.push("  gates:".into());
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
    lines.extend(data(plan));
    if let Some(assessment) = &plan.assessment {
        lines.push("  assessment, written by the agent; nothing here checked it:".into());
        lines.extend(assessment.lines().iter().map(|line| format!("    | {line}")));
    }
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
            let line = |item: &Value| format!("{}{}", "  ".repeat(depth + 1), text::visible_line(&plain(item), usize::MAX));
            [head].into_iter().chain(items.iter().map(line)).collect()
        }
        Value::Null => vec![format!("{head} none")],
        value => vec![format!("{head} {}", text::visible_line(&plain(value), usize::MAX))],
    }
}

/// Returns what a plan does to data: every migration, and what is taken back.
fn data(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if !plan.migrations.is_empty() {
        lines.push("  migrations:".to_owned());
    }
    for migration in &plan.migrations {
        let name = text::visible_line(&migration.name, 120);
        let reason = text::visible_line(&migration.reason, 200);
        lines.push(format!("    {name} {}: {reason} (sha256 {})", migration.class, migration.sha256.short()));
        lines.extend(migration.warnings.iter().map(|warning| format!("      {}", text::visible_line(warning, 200))));
    }
    if let Some(loses) = &plan.rollback.loses {
        lines.push(format!(
            "  going back past {} loses {}",
            plan.rollback.until.as_deref().unwrap_or("it"),
            text::visible_line(loses, 300)
        ));
    }
    if let Some(returned) = &plan.data_return {
        lines.push(format!("  data of {}: {}", returned.of, text::visible_line(&returned.data.title(), 400)));
        lines.extend(returned.loses.iter().map(|loses| format!("    loses {}", text::visible_line(loses, 300))));
        if let Some(backup) = &returned.backup {
            let sha256 = backup.sha256.as_ref().map_or("no checksum", |sha256| &sha256.0);
            let size = backup.size_bytes.map_or("size unknown".to_owned(), |bytes| format!("{bytes} bytes"));
            let rehearsed = if backup.restore_rehearsed { "restore rehearsed" } else { "restore not rehearsed" };
            lines.push(format!("    from {}, taken at {}", text::visible_line(&backup.location, 400), backup.taken_at));
            lines.push(format!("    sha256 {sha256}, {size}, verified: {}, {rehearsed}", backup.verified));
        }
    }
    lines
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
