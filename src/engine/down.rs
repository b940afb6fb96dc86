//! Ends everything that runs in an environment: its routers first, so that nobody is sent to what is going, then its instances.

use super::{
    Engine,
    idle::Leases,
    steps::{GRACE, StepFailure},
};
use crate::{
    error::{Error, Result},
    model::{Caller, EnvironmentName, Lease, ServiceName, ServiceSpec},
};

impl Engine {
    /// Stops the environment's proxies and instances, and returns their names. Nothing serves there until the next deployment.
    pub async fn down(&self, by: &Caller, environment: &EnvironmentName) -> Result<Vec<String>> {
        self.refuse_while_busy(environment).await?;
        let environments = self.environments().await?;
        let config =
            environments.iter().find(|config| &config.name == environment).ok_or_else(|| Error::not_found("environment", environment))?;
        let mut leases = Leases::take(self, by, environment).await?;
        let mut stopped = Vec::new();
        for (service, spec) in &config.services {
            let mut instances = Vec::new();
            while let Err(failure) = self.end(by, service, spec, &leases.lease, &mut instances).await {
                leases.next_after(failure).await?;
            }
            stopped.push(format!("proxy {}", spec.front()));
            stopped.append(&mut instances);
        }
        Ok(stopped)
    }

    /// Ends what runs of a service, and adds the instances that did. Safe to do twice.
    async fn end(
        &self,
        by: &Caller,
        service: &ServiceName,
        spec: &ServiceSpec,
        lease: &Lease,
        stopped: &mut Vec<String>,
    ) -> Result<(), StepFailure> {
        self.forget_serving(by, lease, service).await?;
        self.adapters.router(spec).stop().await?;
        let target = self.adapters.target(spec);
        let own = format!("{}-{service}-dep_", lease.environment);
        for observed in target.list().await? {
            if observed.running && observed.instance.as_str().starts_with(&own) {
                target.stop(lease, &observed.instance, GRACE).await?;
                stopped.push(observed.instance.to_string());
            }
        }
        Ok(())
    }
}
