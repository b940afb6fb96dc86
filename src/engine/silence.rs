//! While a backup is restored nothing may write, so nothing serves: customers wait until it is over, or are told to come again.

use super::{
    run::Run,
    steps::{GRACE, StepFailure},
    undo::{router_as_before, tell_router},
};
use crate::{
    model::{InstanceId, Split, data::DataReturn},
    targets::RouterError,
};
use std::time::Duration;

/// How long customers wait before they are told to come again (issue 3, item 8: 30 s).
const PATIENCE: Duration = Duration::from_secs(30);

impl Run {
    /// Lets customers wait, and ends everything that writes: what writes while a backup is restored would be half lost, half kept.
    pub(super) async fn silence(&self) -> Result<(), StepFailure> {
        self.router.probe(None, super::probing::INTERVAL).await?;
        self.hold_customers(PATIENCE).await?;
        self.router.set(&Split::default(), self.lease.epoch).await?;
        let old = self.base.iter().flat_map(|base| base.instances.clone());
        let all: Vec<InstanceId> = old.chain(self.instances()).collect();
        self.drain(all.iter()).await?;
        for instance in &all {
            self.target.stop(&self.lease, instance, GRACE).await?;
        }
        Ok(())
    }

    /// Starts and verifies what served, gives it its traffic back, and lets the customers through that wait.
    pub(super) async fn serve_base_again(&self) -> Result<(), StepFailure> {
        let Some(base) = &self.base else { return self.let_through().await };
        let old = self.restored_base(base).await?;
        let spec = base.instance_specs()?.into_iter().next().map(|instance| instance.spec);
        tell_router(self, &router_as_before(self, spec.as_ref()), &Run::split(&old, &[])).await?;
        self.let_through().await?;
        if let Some(spec) = &spec {
            self.verify_listener(&base.version, spec).await?;
        }
        Ok(())
    }

    /// Lets customers through that a restore has let wait; does nothing where none is planned.
    pub(super) async fn let_through(&self) -> Result<(), StepFailure> {
        let planned = self.plan.data_return.as_ref().map(|planned| &planned.data).or(self.plan.rollback.data.as_ref());
        match planned {
            Some(DataReturn::Restore { .. }) => self.hold_customers(Duration::ZERO).await,
            _ => Ok(()),
        }
    }

    async fn hold_customers(&self, patience: Duration) -> Result<(), StepFailure> {
        match self.router.hold(patience, self.lease.epoch).await {
            // Without it they are refused meanwhile.
            Ok(()) | Err(RouterError::Unsupported(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
