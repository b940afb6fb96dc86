//! Replies and refusals as a person reads them. Text from outside is shown with everything invisible written out.

use crate::{
    engine::progression::as_command,
    model::{Timestamp, text::visible_line},
};
use serde_json::Value;
use std::fmt::Write;

const ENVELOPE: [&str; 4] = ["state", "summary", "guidance", "next_actions"];
const LINE_CHARS: usize = 400;
/// A list up to this long stands on one line.
const SHORT: usize = 100;

/// Returns a reply: the summary, the facts, what is next.
pub(super) fn reply(reply: &Value, is_styled: bool) -> String {
    let mut shown = String::new();
    let (bold, plain) = if is_styled { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(shown, "{bold}{}{plain}: {}", line(&reply["state"]), line(&reply["summary"]));
    for (name, value) in reply.as_object().into_iter().flatten().filter(|(name, _)| !ENVELOPE.contains(&name.as_str())) {
        fact(&mut shown, 1, name, value);
    }
    if let Some(guidance) = reply["guidance"].as_str().filter(|guidance| !guidance.is_empty()) {
        let _ = writeln!(shown, "\n{}", crate::model::text::visible(guidance, 2000).trim_end());
    }
    next(&mut shown, &reply["next_actions"]);
    shown
}

/// Returns a refusal: what is wrong, what to try, what is next.
pub(super) fn refusal(body: &Value) -> String {
    let mut shown = format!("error: {}: {}\nhint: {}\n", line(&body["code"]), line(&body["message"]), line(&body["hint"]));
    if let Some(details) = body.get("details") {
        fact(&mut shown, 0, "details", details);
    }
    next(&mut shown, &body["next_actions"]);
    shown
}

fn next(shown: &mut String, actions: &Value) {
    for action in actions.as_array().into_iter().flatten() {
        let mark = if action["recommended"] == true { "→" } else { " " };
        let act = match (action["command"].as_str(), action["tool"].as_str()) {
            (Some(command), _) => format!("`{}`: ", visible_line(command, LINE_CHARS)),
            (_, Some(tool)) => format!("`{}`: ", visible_line(&as_command(tool, &action["arguments"]), LINE_CHARS)),
            _ => String::new(),
        };
        let wait = action["after_seconds"].as_u64().map(|seconds| format!(" (after {seconds} s)")).unwrap_or_default();
        let page = action["page"].as_str().map(|page| format!(" (or {})", visible_line(page, LINE_CHARS))).unwrap_or_default();
        let _ = writeln!(shown, "{mark} {}: {act}{}{wait}{page}", line(&action["who"]), line(&action["why"]));
    }
}

/// Writes a fact: scalars on a line, lists and objects indented below.
fn fact(shown: &mut String, depth: usize, name: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    let name = visible_line(name, 60);
    match value {
        Value::Null => {}
        Value::Array(items) if items.iter().any(|item| item.is_object()) => {
            let _ = writeln!(shown, "{indent}{name}:");
            for item in items {
                let facts: Vec<String> = match item.as_object() {
                    Some(object) => object
                        .iter()
                        .filter(|(_, value)| !value.is_null())
                        .map(|(name, value)| format!("{name} {}", named(name, value)))
                        .collect(),
                    None => vec![line(item)],
                };
                let _ = writeln!(shown, "{indent}  - {}", visible_line(&facts.join(" · "), LINE_CHARS));
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().map(|item| line(item).len()).sum::<usize>() > SHORT => {
            let _ = writeln!(shown, "{indent}{name}:");
            for item in items {
                let _ = writeln!(shown, "{indent}  - {}", line(item));
            }
        }
        Value::Array(items) => {
            let _ = writeln!(shown, "{indent}{name}: {}", items.iter().map(line).collect::<Vec<_>>().join(", "));
        }
        Value::Object(object) => {
            let _ = writeln!(shown, "{indent}{name}:");
            for (name, value) in object {
                fact(shown, depth + 1, name, value);
            }
        }
        Value::String(text) if text.contains('\n') => {
            let _ = writeln!(shown, "{indent}{name}:");
            for text in text.lines() {
                let _ = writeln!(shown, "{indent}  {}", visible_line(text, LINE_CHARS));
            }
        }
        scalar => {
            let _ = writeln!(shown, "{indent}{name}: {}", named(&name, scalar));
        }
    }
}

/// Returns a value as a person reads it: what happened `at` a time, as that time.
fn named(name: &str, value: &Value) -> String {
    match value.as_i64().filter(|_| name.ends_with("_at")) {
        Some(milliseconds) => Timestamp(milliseconds).to_string(),
        None => line(value),
    }
}

fn line(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible_line(text, LINE_CHARS),
        other => visible_line(&other.to_string(), LINE_CHARS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reply_reads_well() {
        let shown = reply(
            &json!({
                "state": "running", "summary": "1.4.0 is being verified", "guidance": "Wait.", "deployment": "dep_1",
                "steps": [{"id": "start-1", "state": "done", "error": null}], "note": "a\u{202e}b", "tags": ["x", "y"], "old": null, "created_at": 1_700_000_000_000i64,
                "next_actions": [{"who": "agent", "tool": "get_deployment", "arguments": {"deployment": "dep_1", "until": "it's done"}, "why": "wait", "recommended": true}]
            }),
            false,
        );
        assert_eq!(
            shown,
            "running: 1.4.0 is being verified\n  created_at: 2023-11-14T22:13:20Z\n  deployment: dep_1\n  note: a\\u{202e}b\n  steps:\n    - id start-1 · state done\n  tags: x, y\n\nWait.\n\
             → agent: `interlock get-deployment --deployment dep_1 --until 'it'\\''s done'`: wait\n"
        );
    }

    #[test]
    fn a_refusal_reads_well() {
        let shown = refusal(&json!({"code": "conflict", "message": "`staging` is busy", "hint": "wait", "next_actions": [
            {"who": "agent", "tool": "execute_deployment", "arguments": {"plan": "plan_1"}, "why": "the same call may work then", "after_seconds": 2, "recommended": true}]}));
        assert_eq!(
            shown,
            "error: conflict: `staging` is busy\nhint: wait\n→ agent: `interlock execute-deployment --plan plan_1`: the same call may work then (after 2 s)\n"
        );
    }
}
