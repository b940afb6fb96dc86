//! What the server does unasked: keeps sets running, lets requests expire, completes directives, and goes on after a lost database.

use super::Engine;
use crate::model::{Caller, PlanState};
use std::{sync::Arc, time::Duration};
use tracing::warn;

/// How often the world is compared with the record.
const PERIOD: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) async fn background(self: Arc<Self>) {
        while !self.is_stopping() {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => (),
                () = self.stopped() => return,
            }
            if let Err(error) = self.look_after().await {
                warn!("looking after what serves: {error}");
            }
        }
    }

    /// One round of everything that is done unasked.
    pub async fn look_after(self: &Arc<Self>) -> crate::error::Result<()> {
        self.reconcile().await?;
        self.take_up_unfinished().await?;
        self.expire_requests().await?;
        self.execute_what_was_approved().await?;
        self.complete_what_is_done().await
    }

    async fn expire_requests(&self) -> crate::error::Result<()> {
        for state in [PlanState::AwaitingApproval, PlanState::Approved] {
            for record in self.store.plans_in(state).await? {
                self.plan_record(&record.id).await?;
            }
        }
        Ok(())
    }

    /// `on_approval = "execute"`: an approved plan starts without the agent.
    async fn execute_what_was_approved(self: &Arc<Self>) -> crate::error::Result<()> {
        for record in self.store.plans_in(PlanState::Approved).await? {
            let environment = &record.plan.environment;
            let applied = self.applied(environment).await?;
            let approval = applied.config.environment(environment).and_then(|environment| environment.approval.clone());
            if approval.is_some_and(|approval| approval.on_approval == crate::config::OnApproval::Execute)
                && let Err(error) = self.execute(&Caller::server(), &record.id).await
            {
                warn!("`{}` was approved and could not start: {error}", record.id);
            }
        }
        Ok(())
    }
}
