//! Addresses that nobody asks for any more, after a change of `listen`: their routers are drained and stopped.

use super::Engine;
use crate::{
    error::{Code, Error, Result},
    model::Split,
    targets::{Router, RouterError},
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tracing::info;

/// How long requests in flight may take to end; what served was drained with its own patience when it retired.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops the routers at whose addresses nothing serves and which no configuration in force names.
    pub(crate) async fn stop_unused_routers(&self) -> Result<()> {
        let mut outcome = Ok(());
        for (address, router) in self.adapters.running_routers() {
            if !self.is_unused(address).await? {
                continue;
            }
            let what = format!("the router of {address}");
            if !self.setbacks.may_try(&what, "runs".into(), self.clock.now()) {
                continue;
            }
            match self.stop_router(address, &router).await {
                Ok(()) => self.setbacks.mended(&what),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Tells whether the record has no use for an address. While anything is deployed, or is stuck, it may need its own.
    async fn is_unused(&self, address: SocketAddr) -> Result<bool> {
        if !self.store.occupying().await?.is_empty() {
            return Ok(false);
        }
        let mut used = BTreeSet::new();
        for set in self.store.all_serving().await? {
            let specs = set.instance_specs().map_err(|failure| Error::new(failure.code, failure.message))?;
            used.extend(specs.iter().map(|instance| instance.spec.router.listen()));
        }
        for environment in self.environments().await? {
            used.extend(environment.services.values().map(|spec| spec.router.listen()));
        }
        Ok(!used.contains(&address))
    }

    async fn stop_router(&self, address: SocketAddr, router: &Arc<dyn Router>) -> Result<()> {
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
        if self.is_unused(address).await? {
            info!("stopping the router of {address}: nothing serves there any more");
            router.stop().await.map_err(router_error)?;
        }
        Ok(())
    }
}

fn router_error(error: RouterError) -> Error {
    Error::new(Code::RouterFailed, error.to_string())
}
