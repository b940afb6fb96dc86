//! What changes a place where no deployment runs: under a lease, and under a later one where the background, which looks after what
//! serves, has taken its own meanwhile.

use super::{Engine, steps::StepFailure};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, EnvironmentName, Lease, ServiceName},
};

/// How often a lease is taken for one change.
const MOST: u32 = 5;

/// The leases of one change.
pub(super) struct Leases<'a> {
    engine: &'a Engine,
    by: &'a Caller,
    /// The newest of them.
    pub lease: Lease,
    taken: u32,
}

impl<'a> Leases<'a> {
    /// Takes the first; refused while a deployment occupies the environment.
    pub async fn take(engine: &'a Engine, by: &'a Caller, environment: &EnvironmentName) -> Result<Self> {
        let lease = engine.idle_lease(by, environment).await?;
        Ok(Leases { engine, by, lease, taken: 1 })
    }

    /// Takes the next one where what was tried failed for an epoch that is over; fails with any other failure, and after the last.
    pub async fn next_after(&mut self, failure: StepFailure) -> Result<()> {
        if failure.code != Code::StaleEpoch || self.taken == MOST {
            return Err(Error::new(failure.code, failure.message));
        }
        self.taken += 1;
        self.lease = self.engine.idle_lease(self.by, &self.lease.environment).await?;
        Ok(())
    }
}

impl Engine {
    async fn idle_lease(&self, by: &Caller, environment: &EnvironmentName) -> Result<Lease> {
        let lease = self.store.take_idle_lease(by, environment, &self.holder).await?;
        lease.ok_or_else(|| Error::new(Code::Conflict, format!("a deployment has just started in `{environment}`")))
    }

    /// Notes that a service serves no more. Safe to do twice.
    pub(super) async fn forget_serving(&self, by: &Caller, lease: &Lease, service: &ServiceName) -> Result<(), StepFailure> {
        let Lease { environment, epoch, .. } = lease;
        let is_gone = self.store.withdraw_serving(by, *epoch, service, environment).await?
            || self.store.serving(service, environment).await?.is_none();
        if is_gone { Ok(()) } else { Err(StepFailure::new(Code::StaleEpoch, format!("epoch {epoch} of `{environment}` is over"))) }
    }
}
