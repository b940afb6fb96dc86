//! Addresses and hosts that nobody asks for any more, after a change of `listen` or the end of a service: what is left there is drained,
//! and taken off its listener; with the last service goes the router.

use super::{Engine, adapters::RunningRouter};
use crate::{
    error::{Code, Error, Result},
    model::{ServiceSpec, Split},
    targets::RouterError,
};
use std::time::Duration;
use tracing::info;

/// How long requests in flight may take to end; what served was drained with its own patience when it retired.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops the routers at whose addresses nothing serves and which no configuration in force names.
    pub(crate) async fn stop_unused_routers(&self) -> Result<()> {
        let mut outcome = Ok(());
        for running in self.adapters.running_routers() {
            if !self.is_unused(&running).await? {
                continue;
            }
            let what = what(&running);
            if !self.setbacks.may_try(&what, "runs".into(), self.steadily()) {
                continue;
            }
            match self.stop_router(&running).await {
                Ok(()) => self.setbacks.mended(&what),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Tells whether the record has no use for a router. While anything is deployed, or is stuck, it may need its own.
    async fn is_unused(&self, running: &RunningRouter) -> Result<bool> {
        if !self.store.occupying().await?.is_empty() {
            return Ok(false);
        }
        let uses = |spec: &ServiceSpec| {
            spec.router.listen() == running.address && running.service.as_ref().is_none_or(|service| *service == spec.routed_as())
        };
        for set in self.store.all_serving().await? {
            let specs = set.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
            if specs.iter().any(|instance| uses(&instance.spec)) {
                return Ok(false);
            }
        }
        Ok(!self.environments().await?.iter().any(|environment| environment.services.values().any(uses)))
    }

    async fn stop_router(&self, running: &RunningRouter) -> Result<()> {
        let router = &running.router;
        let (split, epoch) = router.observe().await.map_err(router_error)?;
        for share in &split.0 {
            // Traffic to what this record knows nothing of is not ours to end.
            if self.starter_of(&share.instance).await?.is_none() {
                return Ok(());
            }
        }
        router.set(&Split::default(), epoch).await.map_err(router_error)?;
        for share in &split.0 {
            router.drain(&share.instance, PATIENCE).await.map_err(router_error)?;
        }
        // A way back that began in between starts it again when it needs it; one that has begun keeps it.
        if self.is_unused(running).await? {
            info!("stopping {}: nothing serves there any more", what(running));
            router.stop().await.map_err(router_error)?;
        }
        Ok(())
    }
}

fn what(running: &RunningRouter) -> String {
    match &running.service {
        Some(service) => format!("the router of {service} on {}", running.address),
        None => format!("the router of {}", running.address),
    }
}

fn router_error(error: RouterError) -> Error {
    Error::new(Code::RouterFailed, error.to_string())
}
