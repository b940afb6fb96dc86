//! Makes the world agree with the record: after a start, a crash or a reboot, and again and again while the server runs.

use super::Engine;
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Deployment, DeploymentState, InstanceId, Lease, ServiceSpec, Split},
    store::ServingSet,
    targets::{InstanceSpec, share},
};
use std::{collections::HashSet, sync::Arc};
use tracing::{info, warn};

/// Whose unfinished deployments are taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Everybody's: this server has just taken the workspace.
    Anybodys,
    /// Only those under a lease of this server.
    Own,
}

impl Engine {
    /// Takes up every deployment that is not settled, under a new epoch: at the start whoever held it before, later only what this
    /// server's own worker let go.
    pub(crate) async fn take_up_unfinished(self: &Arc<Self>, whose: Whose) -> Result<()> {
        let by = Caller::server();
        for deployment in self.store.unsettled().await? {
            if deployment.state == DeploymentState::Stuck || self.is_walking(&deployment.id) {
                continue;
            }
            let held = self.store.lease(&deployment.environment).await?;
            if whose == Whose::Own && held.is_some_and(|lease| lease.holder != self.holder) {
                continue;
            }
            let lease = self.store.take_lease(&by, &deployment.environment, &self.holder).await?;
            self.store.set_epoch(&by, &deployment.id, lease.epoch).await?;
            info!(deployment.id = %deployment.id, "took up `{}` where its journal ends", deployment.id);
            self.walk(deployment.id.clone(), lease);
        }
        Ok(())
    }

    /// Restores every verified set that should serve: instances that are gone are started again, and the router is told
    /// where nothing is being deployed. Instances that belong to nothing are stopped.
    pub async fn reconcile(&self) -> Result<()> {
        let unsettled = self.store.unsettled().await?;
        let sets = self.store.all_serving().await?;
        for set in &sets {
            if let Err(error) = self.restore(set, &unsettled).await {
                warn!("restoring `{}` in `{}`: {error}", set.service, set.environment);
            }
        }
        self.stop_orphans(&sets, &unsettled).await
    }

    async fn restore(&self, set: &ServingSet, unsettled: &[Deployment]) -> Result<()> {
        let specs = set.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
        let Some(spec) = specs.first().map(|instance| instance.spec.clone()) else { return Ok(()) };
        let target = self.adapters.target(&spec);
        let mut gone = Vec::new();
        for instance in &specs {
            let observed = target.observe(&instance.id).await.map_err(target_error)?;
            if !observed.as_ref().is_some_and(|observed| observed.running) {
                gone.push(instance);
            }
        }
        let busy = unsettled.iter().any(|deployment| deployment.environment == set.environment && deployment.service == set.service);
        if gone.is_empty() && (busy || self.router_agrees(&spec, set).await) {
            return Ok(());
        }
        let lease = self.lease_to_restore(set, unsettled).await?;
        for instance in gone {
            info!("starting `{}` again: it should serve and does not run", instance.id);
            self.restart(&lease, instance).await?;
        }
        if busy {
            // The deployment's worker decides where its traffic goes.
            return Ok(());
        }
        let mut running = Vec::new();
        for instance in &specs {
            running.extend(target.observe(&instance.id).await.map_err(target_error)?.filter(|observed| observed.running));
        }
        if running.is_empty() {
            return Err(Error::new(Code::TargetFailed, "no instance could be started"));
        }
        let split = Split(running.iter().map(share).collect());
        self.adapters.router(&spec).set(&split, lease.epoch).await.map_err(|error| Error::new(Code::RouterFailed, error.to_string()))
    }

    /// Starts an instance from bytes that are checked again.
    async fn restart(&self, lease: &Lease, instance: &InstanceSpec) -> Result<()> {
        self.release_dir(&instance.digest).await?;
        self.adapters.target(&instance.spec).start(lease, instance).await.map_err(target_error)?;
        Ok(())
    }

    /// Returns the lease in force where a deployment runs, and a new one elsewhere.
    async fn lease_to_restore(&self, set: &ServingSet, unsettled: &[Deployment]) -> Result<Lease> {
        let in_use = unsettled.iter().any(|deployment| deployment.environment == set.environment);
        if let (true, Some(lease)) = (in_use, self.store.lease(&set.environment).await?) {
            return Ok(lease);
        }
        Ok(self.store.take_lease(&Caller::server(), &set.environment, &self.holder).await?)
    }

    async fn router_agrees(&self, spec: &ServiceSpec, set: &ServingSet) -> bool {
        let Ok((split, _)) = self.adapters.router(spec).observe().await else { return false };
        let serving: HashSet<&InstanceId> = split.serving().map(|share| &share.instance).collect();
        if serving != set.instances.iter().collect() {
            return false;
        }
        // An instance that was started again may listen elsewhere.
        let target = self.adapters.target(spec);
        for share in split.serving() {
            match target.observe(&share.instance).await {
                Ok(Some(observed)) if observed.address == share.address => (),
                _ => return false,
            }
        }
        true
    }

    async fn stop_orphans(&self, sets: &[ServingSet], unsettled: &[Deployment]) -> Result<()> {
        let mut wanted: HashSet<InstanceId> = sets.iter().flat_map(|set| set.instances.iter().cloned()).collect();
        for set in sets.iter().filter(|set| unsettled.iter().any(|deployment| deployment.environment == set.environment)) {
            wanted.extend(set.base.iter().flat_map(|base| base.instances.iter().cloned()));
        }
        let environments = self.environments().await?;
        let specs = environments.iter().flat_map(|environment| environment.services.values());
        for spec in specs {
            let target = self.adapters.target(spec);
            let own = format!("{}-{}-dep_", spec.environment, spec.service);
            let busy = unsettled.iter().any(|deployment| deployment.environment == spec.environment);
            if busy {
                continue;
            }
            for observed in target.list().await.map_err(target_error)? {
                if !observed.running || !observed.instance.as_str().starts_with(&own) || wanted.contains(&observed.instance) {
                    continue;
                }
                info!("stopping `{}`: nothing asks for it", observed.instance);
                let lease = self.store.take_lease(&Caller::server(), &spec.environment, &self.holder).await?;
                target.stop(&lease, &observed.instance, super::steps::GRACE).await.map_err(target_error)?;
            }
        }
        Ok(())
    }
}

fn target_error(error: crate::targets::TargetError) -> Error {
    Error::new(Code::TargetFailed, error.to_string())
}
