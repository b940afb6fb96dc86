//! Goes back on demand: one call, no approval, traffic only, to the base's last verified set and never further.

use super::{
    Engine,
    planner::{PlanInput, plan},
};
use crate::{
    error::{Code, Error, Result},
    model::{
        Base, Caller, Deployment, DeploymentId, DeploymentState, EnvironmentName, Plan, PlanState, Purpose, ServiceName, ServiceSpec, Split,
    },
    store::ServingSet,
};
use std::sync::Arc;

impl Engine {
    /// Takes a deployment back; one that was taken back before answers with what did it, and `true`.
    pub async fn roll_back(self: &Arc<Self>, by: &Caller, id: &DeploymentId, reason: &str) -> Result<(Deployment, bool)> {
        let deployment = self.deployment(id).await?;
        if let Purpose::Rollback { of } = &deployment.purpose {
            // Asking again for a way back that is under way must never turn it round.
            return match deployment.state.is_settled() {
                false => Ok((deployment, true)),
                true => Err(Error::new(
                    Code::NothingToRollBack,
                    format!("`{id}` is itself the way back from `{of}`; going further back is a person's decision"),
                )),
            };
        }
        match deployment.state {
            DeploymentState::RolledBack | DeploymentState::RollingBack => return Ok((deployment, true)),
            DeploymentState::Succeeded => (),
            DeploymentState::Stuck => {
                return Err(
                    Error::new(Code::Stuck, format!("`{id}` is stuck: a person chooses what happens to it")).hint(super::stuck::hint(id))
                );
            }
            _ => {
                let reason = format!("asked by {}: {reason}", by.principal);
                let first = self.store.request_undo(by, id, &reason, Code::Aborted.as_str()).await?;
                return Ok((self.deployment(id).await?, !first));
            }
        }
        if let Some(rollback) = self.store.rollback_of(id).await? {
            // One that failed has changed nothing: it may be tried again.
            if rollback.state != DeploymentState::RolledBack {
                return Ok((rollback, true));
            }
        }
        self.roll_back_settled(by, &deployment, reason).await
    }

    /// Takes back whatever serves, as [`Engine::roll_back`].
    pub async fn roll_back_serving(
        self: &Arc<Self>,
        by: &Caller,
        service: &ServiceName,
        environment: &EnvironmentName,
        reason: &str,
    ) -> Result<(Deployment, bool)> {
        let busy = self.store.unsettled().await?;
        let busy = busy.into_iter().find(|deployment| {
            &deployment.environment == environment && &deployment.service == service && deployment.state != DeploymentState::Stuck
        });
        if let Some(busy) = busy {
            return self.roll_back(by, &busy.id, reason).await;
        }
        let Some(serving) = self.store.serving(service, environment).await? else {
            return Err(Error::new(Code::NothingToRollBack, format!("nothing serves `{service}` in `{environment}`")));
        };
        let deployment = self.deployment(&serving.deployment).await?;
        match &deployment.purpose {
            // It was taken back already: the same answer again, never further.
            Purpose::Rollback { .. } => Ok((deployment, true)),
            Purpose::Deploy => self.roll_back(by, &serving.deployment, reason).await,
        }
    }

    async fn roll_back_settled(self: &Arc<Self>, by: &Caller, of: &Deployment, reason: &str) -> Result<(Deployment, bool)> {
        let serving = self.store.serving(&of.service, &of.environment).await?;
        let Some(serving) = serving.filter(|set| set.deployment == of.id) else {
            return Err(
                Error::new(Code::WrongState, format!("`{}` does not serve any more", of.id)).hint("call `get_status` to see what serves")
            );
        };
        let Some(base) = serving.base.as_deref() else {
            if self.plan_of(of).await?.base.is_some() {
                let message = format!("what stood behind `{}` is no longer known", of.id);
                return Err(Error::new(Code::NothingToRollBack, message)
                    .who(crate::model::Who::Person)
                    .hint("a person decides what is to serve"));
            }
            return self.withdraw(by, of, &serving, reason).await;
        };
        let spec = base.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
        let spec = spec
            .into_iter()
            .next()
            .map(|instance| instance.spec)
            .ok_or_else(|| Error::new(Code::NothingToRollBack, "the set before had no instance"))?;
        let plans = self.store.plans_of(&of.directive).await?;
        let earlier = plans.iter().filter(|record| record.plan.purpose == Purpose::Rollback { of: of.id.clone() }).count();
        let plan = plan(PlanInput {
            project: &self.applied(&of.environment).await?.config.project,
            directive: &of.directive,
            purpose: Purpose::Rollback { of: of.id.clone() },
            version: &base.version,
            commit: base.commit.as_deref(),
            digest: &base.digest,
            spec: &spec,
            config_sha256: crate::model::Sha256::of_canonical(&spec),
            base: Some(Base { deployment: serving.deployment.clone(), version: serving.version.clone(), digest: serving.digest.clone() }),
            attempt: earlier as u32 + 1,
            phase: None,
            gates: &[],
            strategy: None,
            guarantees: self.adapters.router(&spec).guarantees(),
            approval: None,
        });
        let (record, _) = self.store.save_plan(by, &plan, PlanState::Planned, None).await?;
        tracing::info!(deployment.id = %of.id, "rolling `{}` back to {}: {reason}", of.id, base.version);
        self.store.add_measurement(by, &of.id, "rollback_asked", &serde_json::json!({ "reason": reason, "by": by.principal })).await?;
        self.claim(by, &record).await
    }

    /// A first deployment has nothing behind it: going back takes its traffic away.
    async fn withdraw(self: &Arc<Self>, by: &Caller, of: &Deployment, serving: &ServingSet, reason: &str) -> Result<(Deployment, bool)> {
        // Taking the lease would fence off a deployment of another service that runs in this environment.
        self.refuse_while_busy(&of.environment).await?;
        let (_, _, spec) = self.service(&of.environment, &of.service).await?;
        let Some(lease) = self.store.take_idle_lease(by, &of.environment, &self.holder).await? else {
            return Err(Error::new(Code::Conflict, format!("a deployment has just started in `{}`", of.environment)));
        };
        let router = self.adapters.router(&spec);
        // The record first: after a crash in between, reconciling takes the traffic away.
        self.store.mark_rolled_back(by, &of.id, &of.id).await?;
        self.store.withdraw_serving(by, lease.epoch, &of.service, &of.environment).await?;
        router.set(&Split::default(), lease.epoch).await.map_err(|error| Error::new(Code::RouterFailed, error.to_string()))?;
        self.store.add_measurement(by, &of.id, "rollback_asked", &serde_json::json!({ "reason": reason, "by": by.principal })).await?;
        let target = self.adapters.target(&spec);
        for instance in &serving.instances {
            let patience = std::time::Duration::from_millis(spec.drain_ms);
            let _ = router.drain(instance, patience).await;
            target.stop(&lease, instance, super::steps::GRACE).await.map_err(|error| Error::new(Code::TargetFailed, error.to_string()))?;
        }
        Ok((self.deployment(&of.id).await?, false))
    }

    /// Returns the configuration a rollback starts its instances with: the one its release was verified with.
    pub(crate) async fn rollback_spec(&self, plan: &Plan, base: Option<&ServingSet>) -> Result<ServiceSpec> {
        // Seen from a rollback, `base` is what it takes away; behind that set stands the one it returns to.
        let before = base.and_then(|set| set.base.as_deref()).or(base);
        let specs = before.map(|set| set.instance_specs()).transpose().map_err(|failure| Error::new(failure.code, failure.message))?;
        match specs.into_iter().flatten().find(|instance| instance.digest == plan.digest) {
            Some(instance) => Ok(instance.spec),
            None => Ok(self.service(&plan.environment, &plan.service).await?.2),
        }
    }
}
