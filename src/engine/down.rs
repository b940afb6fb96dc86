//! Ends everything that runs in an environment: its routers first, so that nobody is sent to what is going, then its instances.

use super::{Engine, steps::GRACE};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, EnvironmentName},
};

impl Engine {
    /// Stops the environment's proxies and instances, and returns their names. Nothing serves there until the next deployment.
    pub async fn down(&self, by: &Caller, environment: &EnvironmentName) -> Result<Vec<String>> {
        self.refuse_while_busy(environment).await?;
        let environments = self.environments().await?;
        let config =
            environments.iter().find(|config| &config.name == environment).ok_or_else(|| Error::not_found("environment", environment))?;
        let Some(lease) = self.store.take_idle_lease(by, environment, &self.holder).await? else {
            return Err(Error::new(Code::Conflict, format!("a deployment has just started in `{environment}`")));
        };
        let mut stopped = Vec::new();
        for (service, spec) in &config.services {
            self.store.withdraw_serving(by, lease.epoch, service, environment).await?;
            self.adapters.router(spec).stop().await.map_err(|error| Error::new(Code::RouterFailed, error.to_string()))?;
            stopped.push(format!("proxy {}", spec.front()));
            let target = self.adapters.target(spec);
            let own = format!("{environment}-{service}-dep_");
            for observed in target.list().await.map_err(|error| Error::new(Code::TargetFailed, error.to_string()))? {
                if observed.running && observed.instance.as_str().starts_with(&own) {
                    target
                        .stop(&lease, &observed.instance, GRACE)
                        .await
                        .map_err(|error| Error::new(Code::TargetFailed, error.to_string()))?;
                    stopped.push(observed.instance.to_string());
                }
            }
        }
        Ok(stopped)
    }
}
