//! Who begins a step: where a person begins every one of them, an agent may look, prepare, hold and take back, and nothing else.

use super::Engine;
use crate::{
    config::Progression,
    error::{Code, Error, Result},
    model::{Caller, CallerKind, EnvironmentName, Who},
};

/// A step on the way to a deployment, as an operation takes it, and what it is taken of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    /// The operation.
    pub operation: &'a str,
    /// Its argument's name.
    pub argument: &'a str,
    /// The argument.
    pub of: &'a str,
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
        let applied = self.applied(environment).await?;
        Ok(applied.config.environment(environment).is_some_and(|it| it.progression == Progression::Manual))
    }

    /// Tells whether this caller has to leave every step in an environment to a person.
    pub(super) async fn leaves_steps(&self, by: &Caller, environment: &EnvironmentName) -> Result<bool> {
        Ok(by.kind == CallerKind::Agent && self.is_manual(environment).await?)
    }

    /// Refuses a step to an agent where a person begins every step.
    pub(super) async fn may_begin(&self, by: &Caller, environment: &EnvironmentName, step: Step<'_>) -> Result<()> {
        debug_assert!(STEPS.contains(&step.operation), "{step:?} is a step");
        if !self.leaves_steps(by, environment).await? {
            return Ok(());
        }
        let message = format!("a person begins every step in `{environment}`: its progression is manual");
        let command = format!("interlock {} --{} {}", step.operation.replace('_', "-"), step.argument, step.of);
        Err(Error::new(Code::DeniedByPolicy, message)
            .who(Who::Person)
            .hint(format!("ask for `{command}`, and wait with `get_status`, which shows the whole command")))
    }
}
