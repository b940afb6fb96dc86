//! Does one step, and finds out after a crash whether it happened. Every step is safe to do twice.

use super::{analyse::Watching, run::Run};
use crate::{
    error::{Code, Error},
    model::{Action, InstanceId, Split, Step},
    targets::{DrainReport, RouterError, TargetError, probe::ProbeFailure},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long requests at an address that is left may take to end; retiring has its own limit.
const LEAVING: Duration = Duration::from_secs(30);
/// How long an instance may take to end after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(10);

/// Why a step did not work.
#[derive(Debug, Clone)]
pub struct StepFailure {
    /// The stable code.
    pub code: Code,
    /// What went wrong.
    pub message: String,
    /// What was seen, for the record.
    pub details: Value,
}

impl StepFailure {
    /// Returns a failure without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        StepFailure { code, message: message.into(), details: Value::Null }
    }

    /// Names the instance that failed.
    pub fn of(mut self, instance: &InstanceId) -> Self {
        if let Value::Object(details) = &mut self.details {
            details.insert("instance".into(), json!(instance));
        }
        self
    }
}

impl From<TargetError> for StepFailure {
    fn from(error: TargetError) -> Self {
        let code = match &error {
            TargetError::StaleEpoch { .. } => Code::StaleEpoch,
            TargetError::Exited { .. } => Code::InstanceExited,
            TargetError::Secret(_) | TargetError::Failed(_) => Code::TargetFailed,
        };
        StepFailure::new(code, error.to_string())
    }
}

impl From<RouterError> for StepFailure {
    fn from(error: RouterError) -> Self {
        let code = match &error {
            RouterError::StaleEpoch { .. } => Code::StaleEpoch,
            RouterError::PortTaken(_) | RouterError::HostTaken(_) => Code::PortTaken,
            RouterError::Unsupported(_) | RouterError::Failed(_) => Code::RouterFailed,
        };
        StepFailure::new(code, error.to_string())
    }
}

impl From<Error> for StepFailure {
    fn from(error: Error) -> Self {
        StepFailure { code: error.code, message: error.message, details: error.details.unwrap_or(Value::Null) }
    }
}

impl From<crate::store::StoreError> for StepFailure {
    fn from(error: crate::store::StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<ProbeFailure> for StepFailure {
    fn from(failure: ProbeFailure) -> Self {
        let code = match &failure {
            ProbeFailure::Unhealthy { .. } => Code::Unhealthy,
            ProbeFailure::WrongVersion { .. } => Code::WrongVersion,
            ProbeFailure::SmokeFailed { .. } => Code::SmokeFailed,
            ProbeFailure::Ended { .. } => Code::InstanceExited,
        };
        StepFailure { code, message: failure.to_string(), details: serde_json::to_value(&failure).unwrap_or(Value::Null) }
    }
}

/// Does the step, and returns what came out for the record.
pub async fn perform(run: &Run, step: &Step) -> Result<Value, StepFailure> {
    match &step.action {
        Action::Recheck => {
            run.engine.recheck(&run.plan).await?;
            Ok(json!({ "bindings": "unchanged" }))
        }
        Action::Prepare => run.prepare().await,
        Action::Backup => run.back_up().await,
        Action::Migrate => run.migrate().await,
        Action::ReturnData => run.return_data().await,
        Action::Hook { at } => run.hook(*at).await,
        Action::Start { index } => run.start(*index).await,
        Action::VerifyInstances => run.verify_instances(1..=run.instances().len() as u32).await,
        Action::VerifyBatch { from, to } => run.verify_instances(*from..=*to).await,
        Action::Rehearse => run.rehearse().await,
        Action::Shift | Action::ShiftPart { .. } | Action::Replace { .. } => run.move_traffic(&step.action).await,
        Action::Analyse { .. } => run.analyse(Watching::of(&run.plan, &step.action).expect("the step analyses")).await,
        Action::RetireReplaced { to } => run.retire_replaced(*to).await,
        Action::VerifyListener => run.verify_listener(&run.plan.version, &run.spec).await,
        Action::Drain => {
            let old = run.base.iter().flat_map(|base| &base.instances);
            Ok(json!({ "drained": run.drain(old).await? }))
        }
        Action::Bake { duration_ms } => {
            // The watch of a run found after a crash goes on; after a reboot, which ended the counters too, it begins again.
            let (watched, began) = (run.watched_for().await, run.engine.steadily());
            run.until(began.plus(Duration::from_millis(*duration_ms).saturating_sub(watched))).await;
            // No counters at the end is no watch: that never passes.
            let seen = run.router.measure().await?;
            let watched = watched + run.engine.steadily().since(began);
            Ok(json!({ "watched_until": run.engine.clock.now(), "watched_ms": watched.as_millis() as u64, "probes": seen.probes }))
        }
        Action::Retire => retire(run).await,
    }
}

/// Finds out whether a step whose end was not recorded has happened.
pub async fn observe(run: &Run, step: &Step) -> Result<bool, StepFailure> {
    match &step.action {
        Action::Start { index } => {
            let instance = InstanceId::of(&run.plan.environment, &run.plan.service, &run.id, *index);
            Ok(run.target.observe(&instance).await?.is_some_and(|observed| observed.running))
        }
        Action::Migrate => run.has_migrated().await,
        Action::ReturnData => run.has_returned().await,
        action if action.moves_traffic() => run.is_in_force(action).await,
        // Checks and waits are done again; stopping what is stopped is harmless.
        _ => Ok(false),
    }
}

async fn retire(run: &Run) -> Result<Value, StepFailure> {
    // The old set goes only while the new one runs: until then the way back is one message to the router.
    let new = run.running(&run.instances()).await?;
    run.record_serving().await?;
    let old = run.base.as_ref().map_or(&[][..], |base| &base.instances);
    let left = leave_old_address(run, old).await?;
    let mut stopped = Vec::new();
    for instance in old {
        let report = run.target.stop(&run.lease, instance, GRACE).await?;
        stopped.push(json!({ "instance": instance, "graceful": report.graceful }));
    }
    run.router.set(&Run::split(&new, &[]), run.lease.epoch).await?;
    Ok(json!({ "stopped": stopped, "left": left }))
}

/// Where the old set listened elsewhere, it serves there until it is stopped: requests in flight on what is leaving end first.
pub(super) async fn leave_old_address(run: &Run, leaving: &[InstanceId]) -> Result<Vec<DrainReport>, StepFailure> {
    let mut drained = Vec::new();
    let Some(base) = &run.base else { return Ok(drained) };
    let Some(old) = base.instance_specs()?.into_iter().find(|old| old.spec.router.listen() != run.spec.router.listen()) else {
        return Ok(drained);
    };
    let router = run.engine.adapters.router(&old.spec);
    let (split, _) = router.observe().await?;
    // The address may be another service's by now: only what leaves is taken out.
    let staying = Split(split.0.iter().filter(|share| !leaving.contains(&share.instance)).cloned().collect());
    if staying == split {
        return Ok(drained);
    }
    router.set(&staying, run.lease.epoch).await?;
    for instance in leaving {
        drained.push(router.drain(instance, Duration::from_millis(old.spec.drain_ms).min(LEAVING)).await?);
    }
    Ok(drained)
}
