//! Who begins a step: where a person begins every one of them, an agent may look, prepare, hold and take back, and nothing else.

use super::Engine;
use crate::{
    config::{Progression, ProjectConfig},
    error::{Code, Error, Result},
    model::{Caller, CallerKind, EnvironmentName, Who},
};
use serde_json::Value;
use std::fmt::Write;

/// A step on the way to a deployment, as an operation takes it.
#[derive(Debug)]
pub(super) struct Step {
    operation: &'static str,
    arguments: Value,
}

impl Step {
    /// Returns a call of this operation.
    pub fn of(operation: &'static str, arguments: Value) -> Self {
        debug_assert!(STEPS.contains(&operation), "`{operation}` is a step");
        Step { operation, arguments }
    }
}

/// The operations that are steps; what looks, records, holds or takes back is none.
pub const STEPS: &[&str] = &[
    "run_predeploy_checks",
    "plan_deployment",
    "execute_deployment",
    "verify_deployment",
    "complete_directive",
    "setup_monitoring",
    "setup_backup",
    "trigger_workflow",
];

impl Engine {
    /// Tells whether a person begins every step in an environment.
    pub(super) async fn is_manual(&self, environment: &EnvironmentName) -> Result<bool> {
        Ok(is_manual(&self.applied(environment).await?.config, environment))
    }

    /// Refuses a step to an agent where a person begins every step.
    pub(super) async fn may_begin(&self, by: &Caller, environment: &EnvironmentName, step: Step) -> Result<()> {
        if by.kind != CallerKind::Agent || !self.is_manual(environment).await? {
            return Ok(());
        }
        let message = format!("a person begins every step in `{environment}`: its progression is manual");
        let command = as_command(step.operation, &step.arguments);
        Err(Error::new(Code::DeniedByPolicy, message)
            .who(Who::Person)
            .hint(format!("ask for `{command}`, and wait with `get_status`, which shows the whole command")))
    }
}

/// Tells whether a person begins every step in an environment, by this configuration.
pub(super) fn is_manual(config: &ProjectConfig, environment: &EnvironmentName) -> bool {
    config.environment(environment).is_some_and(|environment| environment.progression == Progression::Manual)
}

/// Returns the command line of a call: `interlock get-status --directive SD-1`.
pub fn as_command(tool: &str, arguments: &Value) -> String {
    let mut command = format!("interlock {}", tool.replace('_', "-"));
    for (name, value) in arguments.as_object().into_iter().flatten() {
        let _ = match value {
            Value::String(text) if !text.contains([' ', '\'', '"', '$', '\n', '\\']) => {
                write!(command, " --{} {text}", name.replace('_', "-"))
            }
            Value::String(text) => write!(command, " --{} '{}'", name.replace('_', "-"), text.replace('\'', "'\\''")),
            other @ (Value::Object(_) | Value::Array(_)) => {
                write!(command, " --{} '{}'", name.replace('_', "-"), other.to_string().replace('\'', "'\\''"))
            }
            other => write!(command, " --{} {other}", name.replace('_', "-")),
        };
    }
    command
}
