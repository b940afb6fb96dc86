//! What follows when a deployment settles: the record's measurements, the files in the workspace, the directive's completion.

use super::{Engine, facts::Fact, metrics::TRAFFIC, progression::Step, report::traffic_until, run::Run, ventures::lacking};
use crate::{
    error::{Code, Result},
    model::{Caller, Deployment, DeploymentState, Directive, DirectiveState, Lease},
    store::{Completion, DeploymentFilter},
};
use serde_json::json;
use std::sync::Arc;

/// The measurement that says that everything which follows has been done.
const CONCLUDED: &str = "concluded";

impl Engine {
    /// Takes up what follows for deployments that settled just before their server ended.
    pub(crate) async fn take_up_unconcluded(self: &Arc<Self>) -> Result<()> {
        // One deployment runs per environment: what was being concluded is among the newest.
        let (newest, _) = self.store.deployments(&DeploymentFilter::default()).await?;
        for deployment in newest {
            if deployment.state.is_settled() && !self.has_measured(&deployment, CONCLUDED).await? {
                let lease = Lease { environment: deployment.environment, holder: self.holder.clone(), epoch: deployment.epoch };
                self.walk(deployment.id, lease);
            }
        }
        Ok(())
    }

    pub(super) async fn has_measured(&self, deployment: &Deployment, kind: &str) -> Result<bool> {
        Ok(self.store.measurements(&deployment.id).await?.iter().any(|measurement| measurement.kind == kind))
    }

    /// Does what follows when a deployment has settled. Safe to do twice.
    ///
    /// What needs a configuration that nothing stored says any more is left out, and so is a file in whose place something else stands; the
    /// record says so: waiting would not bring it.
    pub(crate) async fn after_settling(self: &Arc<Self>, deployment: &Deployment, lease: &Lease) -> Result<()> {
        let by = Caller::server();
        let mut left_out = Vec::new();
        let run = known(Run::of(self, deployment, lease.clone()).await, "what needs its configuration", &mut left_out)?;
        if let Some(run) = &run {
            let path = run.probe_path().filter(|_| deployment.state == DeploymentState::Succeeded);
            let _ = run.router.probe(path, std::time::Duration::from_secs(1)).await;
            self.run_after_rollback(run, deployment).await?;
        }
        if deployment.state == DeploymentState::Stuck {
            // It goes on when a person has chosen; then it is counted and concluded.
            return self.write_files(&deployment.id, run.as_ref().map(|run| &run.spec)).await.map(drop);
        }
        // Counters go on counting: those of the first time are the deployment's.
        if !self.has_measured(deployment, "settled").await? {
            let samples = match &run {
                Some(run) => run.router.measure().await.ok(),
                None => None,
            };
            if let (Some(run), Some(samples)) = (&run, &samples) {
                let steps = self.store.journal(&deployment.id).await?;
                if let Some(traffic) = traffic_until(deployment, &run.plan, &steps, samples) {
                    self.store.add_measurement(&by, &deployment.id, TRAFFIC, &json!(traffic)).await?;
                }
            }
            let rollback_ms =
                deployment.undo_reason.as_ref().and(deployment.settled_at).map(|at| at.since(deployment.created_at).as_millis() as u64);
            let settled = json!({ "state": deployment.state, "router": samples, "rollback_ms": rollback_ms });
            self.store.add_measurement(&by, &deployment.id, "settled", &settled).await?;
        }
        self.follow_up(deployment).await?;
        self.rate_stage(&deployment.directive).await?;
        {
            // Whoever completes the directive meanwhile waits: what it hands on is all of them.
            let _completing = self.completing.lock().await;
            left_out.extend(self.write_files(&deployment.id, run.as_ref().map(|run| &run.spec)).await?);
        }
        let directive = self.directive(&deployment.directive).await?;
        known(self.ask_alerts_after(&by, &directive).await, "whether an alert fires", &mut left_out)?;
        known(self.complete(&by, &directive).await, "its directive's exit gates", &mut left_out)?;
        let concluded = json!({ "directive": directive.id, "left_out": left_out });
        self.store.add_measurement(&by, &deployment.id, CONCLUDED, &concluded).await.map_err(Into::into)
    }

    /// Writes the files of a directive's deployment again where some were left out when it was concluded; returns why they still are.
    pub async fn write_what_was_left_out(self: &Arc<Self>, directive: &Directive) -> Result<Vec<String>> {
        let Some(deployment) = self.latest_deployment(directive).await? else { return Ok(Vec::new()) };
        let measured = self.store.measurements(&deployment.id).await?;
        let concluded = measured.iter().rfind(|measurement| measurement.kind == CONCLUDED);
        if concluded.is_none_or(|concluded| concluded.body["left_out"].as_array().is_none_or(Vec::is_empty)) {
            return Ok(Vec::new());
        }
        let lease = Lease { environment: deployment.environment.clone(), holder: self.holder.clone(), epoch: deployment.epoch };
        let run = known(Run::of(self, &deployment, lease).await, "what needs its configuration", &mut Vec::new())?;
        self.write_files(&deployment.id, run.as_ref().map(|run| &run.spec)).await
    }

    /// Completes every directive whose exit gates hold; one that cannot be judged keeps none of the others from it.
    pub(crate) async fn complete_what_is_done(&self) -> Result<()> {
        let mut outcome = Ok(());
        for directive in self.store.open_directives().await? {
            if directive.state == DirectiveState::InProgress {
                outcome = outcome.and(self.complete(&Caller::server(), &directive).await.map(|_| ()));
            }
        }
        outcome
    }

    /// Completes a directive when its exit gates hold, and returns those that do not.
    pub async fn complete(&self, by: &Caller, directive: &Directive) -> Result<Vec<(String, Fact)>> {
        let step = Step::of("complete_directive", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        let phase = self.phase_for(directive).await?;
        let facts = self.facts(directive, phase.as_ref()).await?;
        let missing = self.exit_gates(directive, phase.as_ref(), &facts).await?;
        if missing.is_empty() && directive.state.is_open() {
            let _completing = self.completing.lock().await;
            // Whoever comes second has seen it open, and would write over what was handed on with what it saw before.
            if !self.directive(&directive.id).await?.state.is_open() {
                return Ok(missing);
            }
            // Before, so that a completed directive has always handed on.
            if let Some(phase) = &phase {
                self.hand_on(directive, phase, &facts).await?;
            }
            let health = self.health_of(directive).await?;
            let reason = "every exit gate holds (DEPLOY-004)";
            if let Completion::Missing(artifacts) = self.store.complete_directive(by, &directive.id, reason, health).await? {
                return Ok(artifacts.iter().map(|name| lacking(name)).collect());
            }
        }
        Ok(missing)
    }
}

/// Returns what was found; `None`, noted in `left_out`, where the configuration it needs is nowhere, or a file's place is taken. Anything
/// else may work later.
fn known<T>(found: Result<T>, what: &str, left_out: &mut Vec<String>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.code, Code::NotFound | Code::ApprovalVoid | Code::InvalidConfiguration | Code::TargetFailed) => {
            tracing::warn!("{what} is left out: {error}");
            left_out.push(format!("{what}: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
