//! Whose log to read first: the instance that a failure names, else the one that crashed, else the newest.

use super::Engine;
use crate::{
    error::Result,
    model::{DeploymentId, InstanceId, Plan},
    store::Incident,
    targets::{Observed, Target},
};

impl Engine {
    /// Returns the instance of a deployment whose log says most; none when its plan starts none.
    pub async fn suspect(&self, plan: &Plan, deployment: &DeploymentId, target: &dyn Target) -> Result<Option<InstanceId>> {
        let incidents = self.store.incidents(deployment).await?;
        if let Some(named) = incidents.iter().rev().find_map(|incident| named(incident, plan, deployment)) {
            return Ok(Some(named));
        }
        let mut instances = Vec::new();
        for instance in plan.instances(deployment) {
            // A target that does not answer says nothing against the instance.
            let observed = target.observe(&instance).await.ok().flatten();
            instances.push((instance, observed));
        }
        Ok(worst(instances))
    }
}

/// Returns the instance that an incident is about.
fn named(incident: &Incident, plan: &Plan, deployment: &DeploymentId) -> Option<InstanceId> {
    let step = plan.steps.iter().find(|step| incident.evidence["step"] == step.id.as_str());
    if let Some(instance) = step.and_then(|step| plan.instance_of(deployment, step)) {
        return Some(instance);
    }
    let is_named = |instance: &InstanceId| {
        incident.evidence["details"]["instance"] == instance.as_str() || incident.summary.contains(&format!("`{instance}`"))
    };
    plan.instances(deployment).into_iter().find(is_named)
}

/// Returns the one that was started again most often, then one that does not run, then the newest.
fn worst(instances: Vec<(InstanceId, Option<Observed>)>) -> Option<InstanceId> {
    let trouble = |observed: &Option<Observed>| observed.as_ref().map_or((0, false), |observed| (observed.restarts, !observed.running));
    instances.into_iter().max_by_key(|(_, observed)| trouble(observed)).map(|(instance, _)| instance)
}
