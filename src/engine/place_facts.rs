//! Facts about where a release goes, how it got there, and whether there is anything to deploy at all: from the record, the applied
//! configuration, and the commits between what serves and what is to.

use super::{Engine, alerts, data::backup_of, facts::Seen, rehearsal::rehearsal_of};
use crate::{
    config::GateOverride,
    error::Result,
    model::{ChangeKind, Deployment, DeploymentState, Directive, DirectiveState, JournalEntry, Purpose, StepState},
};

/// A fact as it was computed; none where the record does not say.
pub(super) type Computed = (&'static str, Option<bool>);

impl Engine {
    pub(super) async fn facts_of_place(&self, directive: &Directive, seen: &Seen) -> Result<Vec<Computed>> {
        let (_, environment, spec) = self.service(&directive.environment, &directive.service).await?;
        let serving = self.store.serving(&directive.service, &directive.environment).await?;
        let is_first = match &seen.latest {
            Some(deployment) => self.plan_of(deployment).await?.base.is_none(),
            None => serving.is_none(),
        };
        let mut is_free = true;
        for id in &directive.depends_on {
            let needed = self.directive(id).await?;
            is_free &= needed.state == DirectiveState::Completed && self.has_brought_something(&needed).await?;
        }
        let measured = match &seen.latest {
            Some(deployment) => self.has_measured(deployment, "settled").await?,
            None => false,
        };
        let written = |kind: &str| seen.artifacts.iter().any(|artifact| artifact.name == kind);
        let shifted = seen.latest.as_ref().is_some_and(|deployment| deployment.shifted_at.is_some() && deployment.unshifted_at.is_none());
        let rehearsed = rehearsal_of(&seen.journal).map(|rehearsal| rehearsal.proven);
        // A first deployment is withdrawn: there is nothing to go back to, and nothing to rehearse.
        let went_first = seen.latest.is_some() && is_first && shifted;
        let quiet = match &seen.latest {
            // Nobody is there to ask, and whoever signs the configuration has said so once for every release.
            _ if !alerts::is_asked(&spec) && environment.gates.get(&"alerts".into()) == Some(&GateOverride::Off) => Some(true),
            Some(deployment) => self.quiet_after(deployment).await?,
            None => None,
        };
        let is_watched = self.coverage(&spec).await?.is_covered();
        let last = self.last_backup(&spec).await?.filter(|(proof, _)| proof.directive == directive.id);
        let backed_up = last.and_then(|(_, seen)| seen.backup).is_some_and(|backup| backup.verified);
        let keeps_data = spec.data.backup.is_some() || spec.data.migrations.is_some();
        let is_production = environment.is_production();

        let going_back = self.way_back_under_way(directive).await?.is_some();
        // What this directive has itself brought to serve is no reason to skip it.
        let other = serving.filter(|set| seen.latest.as_ref().is_none_or(|deployment| deployment.id != set.deployment));
        let serves = other.as_ref().is_some_and(|set| set.digest == directive.digest);
        let change = self.change_of(directive, other.as_ref()).await;
        let only = |kind: ChangeKind| change.counts_as == Some(kind);
        // Of an order for which nothing was built, the bytes that serve are not what it is about: the commits are.
        let serves = serves && (!directive.nothing_built || change.counts_as.is_none());
        Ok(vec![
            ("ordered", Some(directive.id.as_str().starts_with("SD-DEPLOY-"))),
            ("dependencies_completed", Some(is_free)),
            ("production", Some(is_production)),
            ("environment_new", Some(is_first)),
            ("green_ready", green(&seen.journal)),
            ("traffic_moved", shifted.then_some(true)),
            ("rollback_tested", rehearsed.or(went_first.then_some(true))),
            ("backup_taken", backup_of(&seen.journal).map(|_| true).or(backed_up.then_some(true))),
            ("keeps_data", keeps_data.then_some(true)),
            ("monitoring_required", (is_production || !spec.metrics.is_empty()).then_some(true)),
            ("monitoring_active", is_watched.then_some(true)),
            ("alerts_quiet", quiet),
            ("baseline_recorded", measured.then_some(true)),
            ("documents_written", (written("deployment_plan") && written("status")).then_some(true)),
            ("documentation_only", Some(only(ChangeKind::Documentation))),
            ("configuration_only", Some(only(ChangeKind::Configuration))),
            ("development_only", Some(!is_production || only(ChangeKind::Development))),
            ("already_deployed", Some(serves)),
            ("emergency_rollback", Some(going_back)),
        ])
    }
}

impl Engine {
    /// Returns the deployment that goes back where a directive is for, if one does.
    pub(super) async fn way_back_under_way(&self, directive: &Directive) -> Result<Option<Deployment>> {
        let back = |deployment: &Deployment| {
            let goes_back = matches!(deployment.purpose, Purpose::Rollback { .. }) || deployment.state == DeploymentState::RollingBack;
            goes_back && deployment.environment == directive.environment && deployment.service == directive.service
        };
        Ok(self.store.occupying().await?.into_iter().find(back))
    }
}

/// Tells whether the new instances were found healthy; a rolling deployment checks them batch by batch.
fn green(journal: &[JournalEntry]) -> Option<bool> {
    let is_check = |entry: &&JournalEntry| entry.step.as_str().starts_with("verify-") && entry.step.as_str() != "verify-listener";
    let mut states = journal.iter().filter(is_check).map(|entry| entry.state);
    match states.clone().any(|state| state == StepState::Failed) {
        true => Some(false),
        false => states.any(|state| state == StepState::Done).then_some(true),
    }
}
