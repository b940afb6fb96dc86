//! What the server does unasked: keeps sets running, lets requests expire, completes directives, and goes on after a lost database.

use super::{Engine, reconcile::Whose};
use crate::model::{Caller, PlanState};
use std::{sync::Arc, time::Duration};
use tracing::warn;

/// How often the world is compared with the record.
const PERIOD: Duration = Duration::from_secs(1);
/// The name under which failures of a whole round are told.
const ROUND: &str = "a round of the background work";
/// After how many periods releases that nothing asks for are removed.
const CLEANING: u64 = 60;
/// After how many periods old reports are looked for.
const REPORTS: u64 = 60 * 60;
/// How long the bytes of reports that nothing rests on are kept.
const EVIDENCE_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

impl Engine {
    pub(crate) async fn background(self: Arc<Self>) {
        for round in 0u64.. {
            if self.is_stopping() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => (),
                () = self.stopped() => return,
            }
            match self.look_after().await {
                Ok(()) => self.setbacks.mended(ROUND),
                Err(error) if self.setbacks.is_news(ROUND, &error.message) => warn!("looking after what serves: {error}"),
                Err(_) => (),
            }
            if round % CLEANING == 0
                && let Err(error) = self.forget_releases().await
            {
                warn!("removing releases: {error}");
            }
            if round % REPORTS == 0
                && let Err(error) = self.forget_reports().await
            {
                warn!("removing old reports: {error}");
            }
            if round % REPORTS == 0
                && let Err(error) = self.forget_told().await
            {
                warn!("removing old messages: {error}");
            }
        }
    }

    /// One round of everything that is done unasked. One part that fails keeps none of the others from being done.
    pub async fn look_after(self: &Arc<Self>) -> crate::error::Result<()> {
        let mut outcome = self.reconcile().await;
        outcome = outcome.and(self.take_up_unfinished(Whose::Own).await);
        outcome = outcome.and(self.expire_requests().await);
        outcome = outcome.and(self.execute_what_was_approved().await);
        outcome = outcome.and(self.complete_what_is_done().await);
        outcome.and(self.note_hour().await)
    }

    /// Removes the bytes of old reports that no plan, verdict or decision rests on; what was read from them stays.
    pub async fn forget_reports(&self) -> crate::error::Result<()> {
        let before = self.clock.now().minus(EVIDENCE_KEPT);
        let forgotten = self.store.forget_evidence_bodies(&Caller::server(), before).await?;
        if !forgotten.is_empty() {
            tracing::info!("removed the bytes of {} reports from before {before}: nothing rests on them", forgotten.len());
        }
        Ok(())
    }

    async fn expire_requests(&self) -> crate::error::Result<()> {
        for state in [PlanState::AwaitingApproval, PlanState::Approved] {
            for record in self.store.plans_in(state).await? {
                self.plan_record(&record.id).await?;
            }
        }
        Ok(())
    }

    /// Removes the bytes of releases that neither serve, nor are the way back, nor are wanted by an open directive, nor are among the last `keep`.
    async fn forget_releases(&self) -> crate::error::Result<()> {
        let Some(newest) = self.newest().await? else { return Ok(()) };
        let _pinning = self.pinning.lock().await;
        let keep = newest.config.environments.values().flat_map(|environment| environment.services.iter());
        let mut most = std::collections::BTreeMap::new();
        for (service, spec) in keep {
            let kept = most.entry(service.clone()).or_insert(0);
            *kept = spec.keep.max(*kept);
        }
        let pinned = self.store.pinned_digests(&most).await?;
        let releases = self.releases.clone();
        let removed = self
            .blocking(move || {
                let found = releases.list()?;
                let unwanted: Vec<_> = found.into_iter().filter(|digest| !pinned.contains(digest)).collect();
                unwanted.iter().try_for_each(|digest| releases.remove(digest)).map(|()| unwanted)
            })
            .await?;
        for digest in removed.map_err(super::recheck::artifact_error)? {
            tracing::info!("removed the bytes of release {}: nothing asks for them", digest.short());
        }
        Ok(())
    }

    /// `on_approval = "execute"`: an approved plan starts without the agent.
    async fn execute_what_was_approved(self: &Arc<Self>) -> crate::error::Result<()> {
        for record in self.store.plans_in(PlanState::Approved).await? {
            let environment = &record.plan.environment;
            // Who has decided over data, or how far back it goes, has decided that it goes back now.
            if record.plan.data_return.is_some() || record.plan.returns_to.is_some() {
                if let Err(error) = self.execute(&Caller::server(), &record.id).await {
                    warn!("`{}` was decided and could not start: {error}", record.id);
                }
                continue;
            }
            let applied = self.applied(environment).await?;
            let approval = applied.config.environment(environment).and_then(|environment| environment.approval.clone());
            let is_frozen = !self.store.active_freezes(environment, self.clock.now()).await?.is_empty();
            if !is_frozen
                && approval.is_some_and(|approval| approval.on_approval == crate::config::OnApproval::Execute)
                && let Err(error) = self.execute(&Caller::server(), &record.id).await
            {
                warn!("`{}` was approved and could not start: {error}", record.id);
            }
        }
        Ok(())
    }
}
