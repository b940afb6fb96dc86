//! What an abort cuts short is looked at before it is taken back: how far migrations came is known from their history, and written down.

use super::run::Run;
use crate::{
    error::{Code, Result},
    model::{Action, Step, StepState},
};
use serde_json::{Value, json};

impl Run {
    /// Records what an aborted step has done by then. One that only the server's end cut goes on, and is looked at then.
    pub(super) async fn interrupted(&self, step: &Step) -> Result<()> {
        if step.action != Action::Migrate || self.engine.is_stopping() {
            return Ok(());
        }
        let Some(migrations) = &self.spec.data.migrations else { return Ok(()) };
        let names: Vec<String> = self.plan.migrations.iter().map(|migration| migration.name.clone()).collect();
        let (message, details) = match self.commands().look(migrations).await {
            Ok(looked) => {
                let applied = looked.applied(&names);
                let message = format!("aborted while it ran; `history` shows {} of {} planned migrations", applied.len(), names.len());
                (message, json!({ "applied": applied, "history": looked.history }))
            }
            Err(error) => (
                format!("aborted while it ran: {}", error.message),
                json!({ "applied": Value::Null, "history": { "unknown": error.message } }),
            ),
        };
        let output = json!({ "error": { "code": Code::Aborted, "message": message, "details": details } });
        self.write(step, &[StepState::Executing], StepState::Failed, Some(&output)).await
    }
}
