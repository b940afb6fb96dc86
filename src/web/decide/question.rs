//! What a decision on a page is asked over, as `decisions` takes it.

use crate::{
    decisions::{Question, passkeys},
    engine::{
        Engine,
        asked::{Asked, REASON},
    },
    error::{Error, Result},
    model::{Choice, DecisionKind, DecisionVerdict},
};
use serde_json::{Value, json};

/// Returns what a decision is asked over.
pub async fn question(asked: &Asked, engine: &Engine, verdict: DecisionVerdict) -> Result<Question> {
    let field = |name: &str| asked.field(name).map_or(Value::Null, |value| json!(value));
    let subject = match asked.kind() {
        DecisionKind::Plan => field("plan"),
        DecisionKind::Configuration => Value::Null,
        DecisionKind::SignOff => json!({ "directive": field("directive"), "fact": field("fact") }),
        DecisionKind::Runbook => field("runbook"),
        DecisionKind::Approver => {
            let fingerprint = asked.field("fingerprint").unwrap_or_default();
            let waiting = passkeys::waiting(engine).await?;
            let found = waiting.into_iter().find(|enrolment| enrolment.public_key.fingerprint() == fingerprint);
            json!(found.ok_or_else(|| {
                Error::not_found("passkey that waits", fingerprint)
                    .hint("one that was made by a link waits for a day: `interlock approver list` shows them")
            })?)
        }
        DecisionKind::Unfreeze => json!({ "freeze": field("freeze"), "environment": field("in") }),
        DecisionKind::Resolve => {
            let word = asked.field("choice").unwrap_or_default();
            let choice = Choice::ALL.into_iter().find(|choice| choice.word() == word);
            let choice = choice
                .ok_or_else(|| Error::invalid(format!("`choice` is one of {}, not `{word}`", Choice::ALL.map(Choice::word).join(", "))))?;
            json!({ "deployment": field("deployment"), "choice": choice, "reason": field(REASON) })
        }
        DecisionKind::Restore => json!({ "deployment": field("deployment"), "reason": field(REASON) }),
        DecisionKind::Rollback => json!({ "to": field("to"), "reason": field(REASON) }),
    };
    Ok(Question { kind: asked.kind(), subject, verdict })
}
