//! Hooks into a deployment's course. Before traffic moves a failure turns back; afterwards it is an incident and moves nothing.

use super::{Engine, run::Run, steps::StepFailure};
use crate::{
    error::Result,
    model::{Action, Caller, Deployment, DeploymentState, Step, StepState, data::HookPoint},
};
use serde_json::{Value, json};

/// The measurement that says that the hooks of a deployment that went back have run.
const AFTER_ROLLBACK: &str = "after_rollback";

impl Run {
    /// Runs the hooks of a point, one after the other; the first that fails ends it.
    pub(super) async fn hook(&self, at: HookPoint) -> Result<Value, StepFailure> {
        let Some(hooks) = &self.spec.data.hooks else { return Ok(Value::Null) };
        let mut reports = Vec::new();
        for argv in hooks.at(at) {
            let report = self.commands().run(&self.lease, argv, hooks.timeout_ms, &[]).await.map_err(|failure| StepFailure {
                message: format!("the {} hook {}", at.as_str(), failure.message),
                details: json!({ "before_it": reports }),
                ..failure
            })?;
            reports.push(json!(report));
        }
        Ok(json!({ "hooks": reports }))
    }

    /// Records a hook that failed after the switch, and goes on: it is no reason to move traffic.
    pub(super) async fn pass_over(&self, step: &Step, failure: StepFailure) -> Result<()> {
        let evidence = json!({ "step": step.id, "code": failure.code, "details": failure.details });
        self.open_incident("HOOK", &failure.message, "none; traffic stays where it is", evidence).await?;
        let output = json!({ "error": { "code": failure.code, "message": failure.message, "details": failure.details } });
        self.write(step, &[StepState::Executing], StepState::Failed, Some(&output)).await
    }

    /// Runs the hooks of a deployment that went back; what they do changes nothing of that.
    pub(super) async fn after_rollback(&self) -> Result<Option<Value>, StepFailure> {
        let has_hooks = self.spec.data.hooks.as_ref().is_some_and(|hooks| !hooks.at(HookPoint::AfterRollback).is_empty());
        // A way back has them as its last step.
        let is_step = self.plan.steps.iter().any(|step| matches!(step.action, Action::Hook { at: HookPoint::AfterRollback }));
        if !has_hooks || is_step {
            return Ok(None);
        }
        self.hook(HookPoint::AfterRollback).await.map(Some)
    }
}

impl Engine {
    /// Runs what follows a deployment that went back: its hooks, once.
    pub(super) async fn run_after_rollback(&self, run: &Run, deployment: &Deployment) -> Result<()> {
        let by = Caller::server();
        let is_done = self.store.measurements(&deployment.id).await?.iter().any(|measurement| measurement.kind == AFTER_ROLLBACK);
        if deployment.state != DeploymentState::RolledBack || is_done {
            return Ok(());
        }
        let seen = match run.after_rollback().await {
            Ok(None) => return Ok(()),
            Ok(Some(seen)) => seen,
            Err(failure) => {
                run.open_incident("HOOK", &failure.message, "none; it is settled", failure.details.clone()).await?;
                json!({ "error": failure.message })
            }
        };
        Ok(self.store.add_measurement(&by, &deployment.id, AFTER_ROLLBACK, &seen).await?)
    }
}
