//! Makes the world agree with the record: after a start, a crash or a reboot, and again and again while the server runs.

use super::Engine;
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Deployment, DeploymentId, DeploymentState, InstanceId, Lease, ServiceSpec, Split},
    store::ServingSet,
    targets::{InstanceSpec, probe::Probe, share},
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
        for deployment in self.store.unsettled().await? {
            if deployment.state == DeploymentState::Stuck || self.is_walking(&deployment.id) {
                continue;
            }
            let held = self.store.lease(&deployment.environment).await?;
            if whose == Whose::Own && held.is_some_and(|lease| lease.holder != self.holder) {
                continue;
            }
            self.take_up(&deployment).await?;
        }
        Ok(())
    }

    /// Goes on with a deployment, under a new epoch.
    async fn take_up(self: &Arc<Self>, deployment: &Deployment) -> Result<()> {
        let by = Caller::server();
        let lease = self.store.take_lease(&by, &deployment.environment, &self.holder).await?;
        self.store.set_epoch(&by, &deployment.id, lease.epoch).await?;
        info!(deployment.id = %deployment.id, "took up `{}` where its journal ends", deployment.id);
        self.walk(deployment.id.clone(), lease);
        Ok(())
    }

    /// Goes on with a deployment for which a person has chosen. A worker that is just about to leave it sees that by itself.
    pub(crate) async fn go_on(self: &Arc<Self>, id: &DeploymentId) -> Result<()> {
        match self.is_walking(id) {
            true => Ok(()),
            false => self.take_up(&self.deployment(id).await?).await,
        }
    }

    /// Restores every verified set that should serve: instances that are gone are started again, and the router is told
    /// where nothing is being deployed. Instances that belong to nothing are stopped.
    pub async fn reconcile(&self) -> Result<()> {
        let occupying = self.store.occupying().await?;
        for set in self.store.all_serving().await? {
            let what = format!("`{}` in `{}`", set.service, set.environment);
            if let Err(error) = self.restore(&what, &set, &occupying).await
                && self.setbacks.is_news(&what, &error.message)
            {
                warn!("restoring {what}: {error}");
            }
        }
        self.stop_orphans().await.and(self.stop_unused_routers().await)
    }

    async fn restore(&self, what: &str, set: &ServingSet, occupying: &[Deployment]) -> Result<()> {
        let specs = set.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
        let Some(spec) = specs.first().map(|instance| instance.spec.clone()) else { return Ok(()) };
        // What somebody else runs is not put back behind their back.
        if !self.adapters.target(&spec).capabilities().restores {
            return Ok(());
        }
        let mut gone = Vec::new();
        for instance in &specs {
            let observed = self.adapters.target(&spec).observe(&instance.id).await.map_err(target_error)?;
            if !observed.is_some_and(|observed| observed.running) {
                gone.push(instance);
            }
        }
        let occupant = occupying.iter().find(|deployment| deployment.environment == set.environment);
        // What a stuck deployment left is a person's to judge.
        if occupant.is_some_and(|deployment| deployment.state == DeploymentState::Stuck) {
            return Ok(());
        }
        if let Some(deployment) = occupant {
            let retired = self.retired_by(deployment, &set.instances).await?;
            gone.retain(|instance| !retired.contains(&instance.id));
        }
        let split = match occupant {
            // Its worker decides where traffic goes; what served before is kept running for the way back.
            Some(_) => Ok(None),
            None => self.adapters.router(&spec).observe().await.map(|(split, _)| Some(split)).map_err(|error| error.to_string()),
        };
        let router_agrees = match &split {
            Ok(Some(split)) => self.agrees(&spec, set, split).await,
            Ok(None) => true,
            Err(_) => false,
        };
        if gone.is_empty() && router_agrees {
            self.setbacks.mended(what);
            return Ok(());
        }
        let missing: Vec<&InstanceId> = gone.iter().map(|instance| &instance.id).collect();
        if !self.setbacks.may_try(what, format!("{missing:?} {split:?}"), self.steadily()) {
            return Ok(());
        }
        match occupant {
            Some(_) => match self.store.lease(&set.environment).await? {
                Some(lease) => self.restart(&lease, &gone).await,
                None => Ok(()),
            },
            None => self.restore_idle(set, &specs, &gone).await,
        }
    }

    async fn restore_idle(&self, set: &ServingSet, specs: &[InstanceSpec], gone: &[&InstanceSpec]) -> Result<()> {
        let by = Caller::server();
        let Some(lease) = self.store.take_idle_lease(&by, &set.environment, &self.holder).await? else { return Ok(()) };
        // Something may have settled since the set was read; a claim from now on has a higher epoch, and wins everywhere.
        if self.store.serving(&set.service, &set.environment).await?.as_ref() != Some(set) {
            return Ok(());
        }
        let restarted = self.restart(&lease, gone).await;
        let (mut healthy, mut running) = (Vec::new(), Vec::new());
        for instance in specs {
            let observed = self.adapters.target(&instance.spec).observe(&instance.id).await.map_err(target_error)?;
            let Some(observed) = observed.filter(|observed| observed.running) else { continue };
            let probe = Probe { host: instance.spec.host(), ..Probe::new(observed.address) };
            if probe.health(&instance.spec.health, async || None).await.is_ok() {
                healthy.push(share(&observed));
            }
            running.push(share(&observed));
        }
        // With no healthy one the router answers for what runs: that is what the record says serves.
        let split = Split(if healthy.is_empty() { running } else { healthy });
        if !split.0.is_empty() {
            let router = self.adapters.router(&specs[0].spec);
            router.set(&split, lease.epoch).await.map_err(|error| Error::new(Code::RouterFailed, error.to_string()))?;
        }
        restarted
    }

    /// Starts instances from bytes that are checked again; one that cannot be started does not keep the others from it.
    async fn restart(&self, lease: &Lease, gone: &[&InstanceSpec]) -> Result<()> {
        let mut outcome = Ok(());
        for instance in gone {
            info!("starting `{}` again: it should serve and does not run", instance.id);
            let started = async {
                self.release_dir(&instance.digest).await?;
                self.adapters.target(&instance.spec).start(lease, instance).await.map_err(target_error)
            };
            if let Err(error) = started.await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn agrees(&self, spec: &ServiceSpec, set: &ServingSet, split: &Split) -> bool {
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

    async fn stop_orphans(&self) -> Result<()> {
        let mut looked_at = HashSet::new();
        for environment in self.environments().await? {
            for spec in environment.services.values() {
                let target = self.adapters.target(spec);
                for observed in target.list().await.map_err(target_error)?.into_iter().filter(|observed| observed.running) {
                    if looked_at.insert(observed.instance.clone()) {
                        self.stop_orphan(&observed.instance, spec).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Stops an instance that neither serves nor belongs to a deployment under way.
    async fn stop_orphan(&self, instance: &InstanceId, spec: &ServiceSpec) -> Result<()> {
        let serves = async || Ok::<_, Error>(self.store.all_serving().await?.iter().any(|set| set.instances.contains(instance)));
        let Some(deployment) = self.starter_of(instance).await? else { return Ok(()) };
        if serves().await? {
            return Ok(());
        }
        let by = Caller::server();
        let occupied = self.store.occupying().await?.iter().any(|occupant| occupant.environment == deployment.environment);
        if occupied || !self.setbacks.may_try(instance.as_str(), "runs".into(), self.steadily()) {
            return Ok(());
        }
        let Some(lease) = self.store.take_idle_lease(&by, &deployment.environment, &self.holder).await? else { return Ok(()) };
        if serves().await? {
            return Ok(());
        }
        info!("stopping `{instance}`: nothing asks for it");
        self.adapters.target(spec).stop(&lease, instance, super::steps::GRACE).await.map_err(target_error)?;
        self.setbacks.mended(instance.as_str());
        Ok(())
    }

    /// Returns the deployment that started an instance, told from the instance's id.
    pub(super) async fn starter_of(&self, instance: &InstanceId) -> Result<Option<Deployment>> {
        let Some(at) = instance.as_str().rfind("-dep_") else { return Ok(None) };
        let id = instance.as_str()[at + 1..].split('-').next().unwrap_or_default();
        Ok(self.store.deployment(&DeploymentId::from(id)).await?)
    }
}

fn target_error(error: crate::targets::TargetError) -> Error {
    Error::new(Code::TargetFailed, error.to_string())
}
