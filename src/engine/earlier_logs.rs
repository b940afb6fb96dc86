//! Reads what the instances of a deployment have written, for the gate that asks the environment before.

use super::Engine;
use crate::{
    error::Result,
    gates::logs::{Pattern, Read},
    model::{Deployment, InstanceId},
    targets::{LogCursor, Target, TargetError},
};

impl Engine {
    /// Returns what all instances of a deployment have written since they were started, as far as their logs are kept, or why that cannot
    /// be read. Logs are redacted before they are kept.
    pub(super) async fn written(&self, deployment: &Deployment) -> Result<std::result::Result<Read, String>> {
        let (_, _, spec) = self.service(&deployment.environment, &deployment.service).await?;
        let target = self.adapters.target(&spec);
        if !target.capabilities().logs {
            return Ok(Err("its target shows none".into()));
        }
        let (errors, except) = (&spec.monitoring.errors, &spec.monitoring.except);
        let settled = deployment.settled_at.unwrap_or(deployment.created_at);
        // What came after it wrote into other logs: no minute of that says anything about this one.
        let end = self.end_of(deployment, settled).await?.map(|(at, _)| at);
        let watched = end.unwrap_or(self.present()).since(settled);
        let mut read = Read { watched, is_over: end.is_some(), ..Read::default() };
        for instance in self.plan_of(deployment).await?.instances(&deployment.id) {
            if let Err(error) = count(&*target, &instance, &mut read, Pattern { errors, except }).await {
                return Ok(Err(error.to_string()));
            }
        }
        Ok(Ok(read))
    }
}

async fn count(target: &dyn Target, instance: &InstanceId, read: &mut Read, pattern: Pattern<'_>) -> std::result::Result<(), TargetError> {
    let mut from = 0;
    loop {
        let page = target.logs(instance, LogCursor::Offset(from)).await?;
        page.lines.iter().for_each(|line| read.count(instance.as_str(), line, pattern));
        read.is_cut |= page.is_cut;
        // A page that leads no further is the last one.
        if page.next <= from {
            return Ok(());
        }
        from = page.next;
    }
}
