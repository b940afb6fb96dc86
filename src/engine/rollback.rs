//! Goes back on demand: one call, no approval, traffic only, to the base's last verified set and never further.

use super::{
    Engine,
    data::backup_of,
    data_plan::{Foreseen, past_data, refusal},
    data_steps::no_way_back,
    decide,
    idle::Leases,
    planner::{PlanInput, plan},
    steps::{GRACE, StepFailure},
};
use crate::{
    error::{Code, Error, Result},
    model::{
        Base, Caller, Deployment, DeploymentId, DeploymentState, EnvironmentName, Lease, Plan, PlanState, Purpose, ServiceName,
        ServiceSpec, Sha256, Split,
        data::{DataReturn, PlannedReturn},
        plan::RequiredApproval,
    },
    store::ServingSet,
};
use std::sync::Arc;

/// The release that a way back brings.
pub(super) struct Earlier<'a> {
    /// Its version.
    pub version: &'a str,
    /// The commit it was built from.
    pub commit: Option<&'a str>,
    /// Its bytes.
    pub digest: &'a Sha256,
    /// The service as it ran.
    pub spec: &'a ServiceSpec,
    /// The deployment that brought it, where a person has decided to go so far.
    pub returns_to: Option<&'a DeploymentId>,
}

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
                )
                .hint(super::further_back::HINT)),
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
                self.refuse_past_data(&deployment).await?;
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
            // Said of the one that was found: read again, it may have ended, and a way back that has ended is refused by its id.
            return match &busy.purpose {
                Purpose::Rollback { .. } => Ok((busy, true)),
                Purpose::Deploy => self.roll_back(by, &busy.id, reason).await,
            };
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
        if serving.base.is_none() {
            if self.plan_of(of).await?.base.is_some() {
                let message = format!("what stood behind `{}` is no longer known", of.id);
                return Err(Error::new(Code::NothingToRollBack, message).who(crate::model::Who::Person).hint(super::further_back::HINT));
            }
            return self.withdraw(by, of, &serving, reason).await;
        }
        let plan = self.way_back(of, self.return_by_itself(of).await?, None).await?;
        let (record, _) = self.store.save_plan(by, &plan, PlanState::Planned, None).await?;
        tracing::info!(deployment.id = %of.id, "rolling `{}` back to {}: {reason}", of.id, plan.version);
        self.store.add_measurement(by, &of.id, "rollback_asked", &serde_json::json!({ "reason": reason, "by": by.principal })).await?;
        self.claim(by, &record).await
    }

    /// Returns the data that goes back by itself with a deployment's traffic; refuses where a person decides over it.
    async fn return_by_itself(&self, of: &Deployment) -> Result<Option<PlannedReturn>> {
        let (plan, journal) = (self.plan_of(of).await?, self.store.journal(&of.id).await?);
        let Some(way) = past_data(&plan, &journal) else { return Ok(None) };
        match (&way.data, way.automatic) {
            (Some(data), true) => {
                let backup = matches!(data, DataReturn::Restore { .. }).then(|| backup_of(&journal)).flatten();
                Ok(Some(PlannedReturn { of: of.id.clone(), data: data.clone(), loses: way.loses.clone(), backup }))
            }
            _ => Err(refusal(&of.id, &plan, way)),
        }
    }

    /// Refuses to turn a deployment back that would leave what served before on data it cannot use.
    async fn refuse_past_data(&self, deployment: &Deployment) -> Result<()> {
        let (plan, journal) = (self.plan_of(deployment).await?, self.store.journal(&deployment.id).await?);
        let stands = no_way_back(&decide::states(&plan.steps, &journal)).is_some();
        if stands && !plan.rollback.automatic { Err(refusal(&deployment.id, &plan, &plan.rollback)) } else { Ok(()) }
    }

    /// Returns the plan that brings back what served before a deployment, with its data where that is decided.
    ///
    /// One that went back already left its migrations: what serves is then brought up anew on the data it knows.
    pub(super) async fn way_back(&self, of: &Deployment, data: Option<PlannedReturn>, approval: Option<RequiredApproval>) -> Result<Plan> {
        let unknown = |why: String| Error::new(Code::NothingToRollBack, why).who(crate::model::Who::Person);
        let serving = self.store.serving(&of.service, &of.environment).await?;
        let serving = serving.ok_or_else(|| unknown(format!("nothing serves `{}` in `{}`", of.service, of.environment)))?;
        let to = match of.state {
            DeploymentState::RolledBack if of.base.as_ref() == Some(&serving.deployment) => Some(&serving),
            _ if serving.deployment == of.id => serving.base.as_deref(),
            _ => {
                return Err(Error::new(Code::WrongState, format!("`{}` does not serve any more", of.id))
                    .hint("call `get_status` to see what serves"));
            }
        };
        let to = to.ok_or_else(|| unknown(format!("what stood behind `{}` is no longer known", of.id)))?;
        let spec = to.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
        let spec = spec.into_iter().next().map(|instance| instance.spec);
        let spec = spec.ok_or_else(|| Error::new(Code::NothingToRollBack, "the set before had no instance"))?;
        let to = Earlier { version: &to.version, commit: to.commit.as_deref(), digest: &to.digest, spec: &spec, returns_to: None };
        self.plan_back(of, &serving, to, data, approval).await
    }

    /// Returns the plan that brings an earlier release back in place of what serves.
    pub(super) async fn plan_back(
        &self,
        of: &Deployment,
        serving: &ServingSet,
        to: Earlier<'_>,
        data: Option<PlannedReturn>,
        approval: Option<RequiredApproval>,
    ) -> Result<Plan> {
        let plans = self.store.plans_of(&of.directive).await?;
        let earlier = plans.iter().filter(|record| record.plan.purpose == Purpose::Rollback { of: of.id.clone() }).count();
        let spec = to.spec;
        Ok(plan(PlanInput {
            project: &self.applied(&of.environment).await?.config.project,
            directive: &of.directive,
            purpose: Purpose::Rollback { of: of.id.clone() },
            version: to.version,
            commit: to.commit,
            digest: to.digest,
            spec,
            config_sha256: Sha256::of_canonical(spec),
            base: Some(Base { deployment: serving.deployment.clone(), version: serving.version.clone(), digest: serving.digest.clone() }),
            attempt: earlier as u32 + 1,
            phase: None,
            gates: &[],
            strategy: None,
            foreseen: Foreseen::default(),
            data_return: data,
            returns_to: to.returns_to.cloned(),
            guarantees: self.adapters.router(spec).guarantees(),
            assessment: None,
            approval,
        }))
    }

    /// A first deployment has nothing behind it: going back takes its traffic away.
    async fn withdraw(self: &Arc<Self>, by: &Caller, of: &Deployment, serving: &ServingSet, reason: &str) -> Result<(Deployment, bool)> {
        // Taking the lease would fence off a deployment of another service that runs in this environment.
        self.refuse_while_busy(&of.environment).await?;
        let (_, _, spec) = self.service(&of.environment, &of.service).await?;
        let mut leases = Leases::take(self, by, &of.environment).await?;
        // The record first: after a crash in between, reconciling takes the traffic away.
        self.store.mark_rolled_back(by, &of.id, &of.id).await?;
        self.store.add_measurement(by, &of.id, "rollback_asked", &serde_json::json!({ "reason": reason, "by": by.principal })).await?;
        while let Err(failure) = self.empty(by, &spec, serving, &leases.lease).await {
            leases.next_after(failure).await?;
        }
        Ok((self.deployment(&of.id).await?, false))
    }

    /// Takes the traffic away, and stops what has served. Safe to do twice.
    async fn empty(&self, by: &Caller, spec: &ServiceSpec, serving: &ServingSet, lease: &Lease) -> Result<(), StepFailure> {
        self.forget_serving(by, lease, &serving.service).await?;
        let (router, target) = (self.adapters.router(spec), self.adapters.target(spec));
        router.set(&Split::default(), lease.epoch).await?;
        for instance in &serving.instances {
            let _ = router.drain(instance, std::time::Duration::from_millis(spec.drain_ms)).await;
            target.stop(lease, instance, GRACE).await?;
        }
        Ok(())
    }

    /// Returns the configuration a rollback starts its instances with: the one its release was verified with.
    pub(crate) async fn rollback_spec(&self, plan: &Plan, base: Option<&ServingSet>) -> Result<ServiceSpec> {
        if let Some(earlier) = &plan.returns_to {
            return self.planned_spec(&self.plan_of(&self.deployment(earlier).await?).await?).await;
        }
        // Seen from a rollback, `base` is what it takes away; behind that set stands the one it returns to.
        for set in [base.and_then(|set| set.base.as_deref()), base].into_iter().flatten() {
            let specs = set.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
            if let Some(instance) = specs.into_iter().find(|instance| instance.digest == plan.digest) {
                return Ok(instance.spec);
            }
        }
        Ok(self.service(&plan.environment, &plan.service).await?.2)
    }
}
