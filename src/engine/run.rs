//! Everything a worker needs to walk one deployment: the plan, the adapters, the set that served before.

use super::{Engine, steps::StepFailure};
use crate::{
    error::{Code, Error, Result},
    model::{Deployment, DeploymentId, InstanceId, JournalEntry, Lease, Plan, Purpose, ServiceSpec, Split, Step, StepState},
    store::ServingSet,
    targets::{InstanceSpec, Observed, Router, Target, share},
};
use std::sync::Arc;

/// One deployment under a lease.
pub struct Run {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The deployment's id.
    pub id: DeploymentId,
    /// What it runs.
    pub plan: Plan,
    /// The service as the new set runs it.
    pub spec: ServiceSpec,
    /// The right to change the environment.
    pub lease: Lease,
    /// The verified set that served before; none for a first deployment.
    pub base: Option<ServingSet>,
    /// Where instances run.
    pub target: Arc<dyn Target>,
    /// What moves traffic.
    pub router: Arc<dyn Router>,
}

impl Run {
    /// Gathers what a deployment needs.
    pub async fn of(engine: &Arc<Engine>, deployment: &Deployment, lease: Lease) -> Result<Run> {
        let plan = engine.plan_of(deployment).await?;
        let serving = engine.store.serving(&plan.service, &plan.environment).await?;
        // Once this deployment's own set is recorded as serving, what served before is remembered behind it.
        let base = match serving {
            Some(set) if set.deployment == deployment.id => set.base.map(|base| *base),
            other => other,
        };
        let spec = match &plan.purpose {
            Purpose::Deploy => engine.planned_spec(&plan).await?,
            Purpose::Rollback { .. } => engine.rollback_spec(&plan, base.as_ref()).await?,
        };
        let (target, router) = (engine.adapters.target(&spec), engine.adapters.router(&spec));
        Ok(Run { engine: Arc::clone(engine), id: deployment.id.clone(), plan, spec, lease, base, target, router })
    }

    /// Returns the ids of the new set's instances.
    pub fn instances(&self) -> Vec<InstanceId> {
        self.plan.instances(&self.id)
    }

    /// Returns what the new set's `index`-th instance is to run.
    pub fn instance_spec(&self, index: u32, release_dir: std::path::PathBuf) -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::of(&self.plan.environment, &self.plan.service, &self.id, index),
            version: self.plan.version.clone(),
            digest: self.plan.digest.clone(),
            release_dir,
            spec: self.spec.clone(),
        }
    }

    /// Observes instances; one that is gone or does not run is a failure.
    pub async fn running(&self, instances: &[InstanceId]) -> Result<Vec<Observed>, StepFailure> {
        let mut found = Vec::new();
        for instance in instances {
            match self.target.observe(instance).await? {
                Some(observed) if observed.running => found.push(observed),
                Some(observed) => {
                    let how = observed.last_exit.unwrap_or_else(|| "without a trace".into());
                    return Err(StepFailure::new(Code::InstanceExited, format!("instance `{instance}` ended: {how}")));
                }
                None => return Err(StepFailure::new(Code::InstanceExited, format!("instance `{instance}` is gone"))),
            }
        }
        Ok(found)
    }

    /// Returns the split that gives everything to `new` and keeps `old` known without new requests.
    pub fn split(new: &[Observed], old: &[Observed]) -> Split {
        let warm = old.iter().map(|observed| crate::model::split::Share { weight: 0, ..share(observed) });
        Split(new.iter().map(share).chain(warm).collect())
    }

    /// Returns the deployment as it stands now.
    pub async fn deployment(&self) -> Result<Deployment> {
        self.engine.deployment(&self.id).await
    }

    /// Returns the journal as it stands now.
    pub async fn journal(&self) -> Result<Vec<JournalEntry>> {
        Ok(self.engine.store.journal(&self.id).await?)
    }

    /// Writes a step's state; refused when another server has taken over.
    pub async fn write(&self, step: &Step, from: &[StepState], to: StepState, output: Option<&serde_json::Value>) -> Result<()> {
        let by = crate::model::Caller::server();
        match self.engine.store.write_step(&by, &self.id, self.lease.epoch, &step.id, from, to, output).await? {
            true => Ok(()),
            false => Err(Error::new(Code::StaleEpoch, format!("`{}` is walked by another server now", self.id))),
        }
    }
}

/// Refuses when the store found that another server holds the lease.
pub fn fenced(written: bool) -> Result<(), StepFailure> {
    match written {
        true => Ok(()),
        false => Err(StepFailure::new(Code::StaleEpoch, "another server holds the lease of this environment now")),
    }
}

impl Engine {
    /// Returns a deployment, or `not_found`.
    pub async fn deployment(&self, id: &DeploymentId) -> Result<Deployment> {
        self.store.deployment(id).await?.ok_or_else(|| Error::not_found("deployment", id))
    }

    /// Returns the plan a deployment runs.
    pub async fn plan_of(&self, deployment: &Deployment) -> Result<Plan> {
        let record = self.store.plan(&deployment.plan).await?.ok_or_else(|| Error::not_found("plan", &deployment.plan))?;
        Ok(record.plan)
    }
}
