//! Undoes one step. An undo is tried again until it works or the rollback's time is over; then a person is told what was not undone.

use super::{
    run::{Run, fenced},
    steps::{GRACE, StepFailure},
};
use crate::{
    error::{Code, Error},
    model::{Action, Caller, InstanceId, ServiceSpec, Split, Step},
    store::TrafficMove,
    targets::{Router, RouterError},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long undoing may take before a person is asked (5 min, seed stage-30).
const PATIENCE: Duration = Duration::from_secs(300);

/// Undoes the step, and returns what came out for the record.
pub async fn undo(run: &Run, step: &Step) -> Result<Value, StepFailure> {
    let started = run.engine.steadily();
    let mut pause = Duration::from_millis(100);
    loop {
        match once(run, step).await {
            Ok(output) => return Ok(output),
            Err(failure) => {
                let is_over = run.engine.steadily().since(started) > PATIENCE;
                if is_over || failure.code == Code::StaleEpoch || run.engine.is_stopping() {
                    return Err(failure);
                }
                tracing::warn!(deployment.id = %run.id, step = %step.id, "undo did not work yet: {}", failure.message);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

/// Lets go of the new set: it is taken back, by its undo or by a person's word that it is.
pub async fn let_go(run: &Run) -> Result<(), Error> {
    for instance in run.instances() {
        run.target.forget(&instance).await.map_err(|error| Error::new(Code::TargetFailed, error.to_string()))?;
    }
    Ok(())
}

async fn once(run: &Run, step: &Step) -> Result<Value, StepFailure> {
    match &step.action {
        Action::Migrate => run.undo_migrate(step).await,
        action if action.moves_traffic() => unshift(run).await,
        Action::Start { index } => {
            let instance = InstanceId::of(&run.plan.environment, &run.plan.service, &run.id, *index);
            let report = run.target.stop(&run.lease, &instance, GRACE).await?;
            Ok(json!({ "stopped": instance, "graceful": report.graceful }))
        }
        _ => Ok(Value::Null),
    }
}

/// Moves traffic back to the old set: at once while it is warm, else as soon as it runs and is verified again.
async fn unshift(run: &Run) -> Result<Value, StepFailure> {
    let by = Caller::server();
    let new: Vec<_> = {
        let mut still = Vec::new();
        for instance in run.instances() {
            still.extend(run.target.observe(&instance).await?.filter(|observed| observed.running));
        }
        still
    };
    let Some(base) = &run.base else {
        if run.plan.base.is_some() {
            return Err(StepFailure::new(Code::Stuck, "what served before is no longer known"));
        }
        if tell_router(run, &run.router, &Split::default()).await? {
            run.router.probe(None, super::probing::INTERVAL).await?;
        }
        fenced(run.engine.store.note_traffic(&by, &run.id, run.lease.epoch, TrafficMove::Back).await?)?;
        run.engine.store.withdraw_serving(&by, run.lease.epoch, &run.plan.service, &run.plan.environment).await?;
        run.let_through().await?;
        let drained = run.drain(run.instances().iter()).await?;
        return Ok(json!({ "withdrawn": true, "drained": drained }));
    };
    let old = run.restored_base(base).await?;
    let spec = base.instance_specs()?.into_iter().next().map(|instance| instance.spec);
    // Where both listen at one address, customers are told apart again as they were before.
    let router = router_as_before(run, spec.as_ref());
    tell_router(run, &router, &Run::split(&old, &new)).await?;
    run.let_through().await?;
    fenced(run.engine.store.note_traffic(&by, &run.id, run.lease.epoch, TrafficMove::Back).await?)?;
    fenced(run.engine.store.set_serving(&by, run.lease.epoch, base).await?)?;
    let verified = match &spec {
        Some(spec) => Some(run.verify_listener(&base.version, spec).await?),
        None => None,
    };
    let drained = run.drain(new.iter().map(|observed| &observed.instance)).await?;
    tell_router(run, &router, &Run::split(&old, &[])).await?;
    Ok(json!({ "to": base.version, "verified": verified, "drained": drained }))
}

/// Returns the router with the rules of what served before.
pub(super) fn router_as_before(run: &Run, before: Option<&ServiceSpec>) -> Arc<dyn Router> {
    match before {
        Some(spec) if spec.router == run.spec.router => run.engine.adapters.router(spec),
        _ => run.router.clone(),
    }
}

/// Puts a split in force; `false` where another process has the address and the old set never served there: nothing was moved.
pub(super) async fn tell_router(run: &Run, router: &Arc<dyn Router>, split: &Split) -> Result<bool, StepFailure> {
    let served_here = match &run.base {
        Some(base) => base.instance_specs()?.iter().any(|instance| instance.spec.router.listen() == run.spec.router.listen()),
        None => false,
    };
    match router.set(split, run.lease.epoch).await {
        Err(RouterError::PortTaken(_) | RouterError::HostTaken(_)) if !served_here => Ok(false),
        told => Ok(told.map(|()| true)?),
    }
}
