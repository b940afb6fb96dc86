//! Writes a runbook: drafts it from the record, lints it, keeps every version, and sends a clean draft to review.

use super::{
    Engine, citations,
    documents::check_notes,
    lint::{Finding, Inventory, Known, Level, Ran, deployments_named, lint},
    runbook::{Draft, draft},
};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Deployment, DeploymentId, DeploymentState, RunbookId},
    store::{NewRunbookVersion, RunbookState},
};
use std::collections::BTreeMap;

/// A runbook as it was written.
pub struct Written {
    /// Its id.
    pub runbook: String,
    /// Its version.
    pub version: i64,
    /// Where it was written in the workspace.
    pub path: String,
    /// What the lint found.
    pub findings: Vec<Finding>,
}

impl Written {
    /// Returns what keeps it from review.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level == Level::Block)
    }
}

impl Engine {
    /// Writes a new version of the runbook of a deployment's service and environment.
    pub async fn write_runbook(&self, by: &Caller, deployment: &Deployment, notes: Option<&str>) -> Result<Written> {
        if !deployment.state.is_settled() {
            return Err(Error::new(
                Code::WrongState,
                format!("`{}` is {}: a runbook is written from a finished run", deployment.id, deployment.state.as_str()),
            )
            .after(5));
        }
        notes.map_or(Ok(()), check_notes)?;
        let report = self.report(deployment, false).await?;
        let (_, _, spec) = self.service(&deployment.environment, &deployment.service).await?;
        let id = RunbookId::of(&deployment.environment, &deployment.service);
        let before = self.store.newest_runbook_version(&id).await?;
        let version = before.as_ref().map_or(0, |before| before.version) + 1;
        let written_by = match &by.client {
            Some(client) => format!("{} ({client}, self-reported)", by.principal),
            None => by.principal.clone(),
        };
        let citations = citations::cited(notes.unwrap_or_default());
        let citations = citations::check(&self.workspace.root, &report.plan.project, citations).await;
        let tested = self.tested(deployment).await?;
        let text = draft(&Draft {
            runbook: id.as_str(),
            version,
            report: &report,
            spec: &spec,
            written_by: &written_by,
            tested: tested.as_ref(),
            before: before.as_ref().map(|before| before.text.as_str()),
            notes,
            citations: &citations,
        });
        let mut inventory = Inventory::of(&self.environments().await?);
        report.steps.iter().for_each(|entry| inventory.take(&entry.output));
        let known = Known {
            report: &report,
            spec: &spec,
            inventory: &inventory,
            runs: self.ran(&text).await?,
            before: before.as_ref().map(|before| before.text.as_str()),
            citations: &citations,
            now: self.clock.now(),
        };
        let findings = lint(&text, &known);
        for finding in findings.iter().filter(|finding| finding.rule == "RB020") {
            tracing::warn!(runbook = %id, principal = %by.principal, "a runbook speaks to an AI, line {}: {}", finding.line, finding.message);
        }
        let is_blocked = findings.iter().any(|finding| finding.level == Level::Block);
        let new = NewRunbookVersion {
            runbook: id.clone(),
            service: deployment.service.clone(),
            environment: deployment.environment.clone(),
            directive: deployment.directive.clone(),
            deployment: Some(deployment.id.clone()),
            text: text.clone(),
            lint: serde_json::to_value(&findings).map_err(Error::internal)?,
            state: if is_blocked { RunbookState::Draft } else { RunbookState::InReview },
        };
        // With the version its directive may be complete: what it hands on then has the file, too.
        let _completing = self.completing.lock().await;
        let version = self.store.save_runbook_version(by, &new).await?;
        let path = format!("docs/runbooks/{}-{}.md", deployment.environment, deployment.service);
        let path = self.write_artifact(&deployment.directive, "runbook", &path, &text).await?;
        Ok(Written { runbook: id.to_string(), version, path, findings })
    }

    /// Returns the newest run of a deployment's place that succeeded: itself, or what serves there.
    async fn tested(&self, deployment: &Deployment) -> Result<Option<DeploymentId>> {
        if deployment.state == DeploymentState::Succeeded {
            return Ok(Some(deployment.id.clone()));
        }
        Ok(self.store.serving(&deployment.service, &deployment.environment).await?.map(|serving| serving.deployment))
    }

    /// Returns what the record has of the deployments that a text names.
    async fn ran(&self, text: &str) -> Result<BTreeMap<String, Ran>> {
        let mut runs = BTreeMap::new();
        for name in deployments_named(text) {
            if let Some(run) = self.store.deployment(&DeploymentId::from(name.as_str())).await? {
                let Deployment { service, environment, state, settled_at, .. } = run;
                runs.insert(name, Ran { service, environment, state, settled_at });
            }
        }
        Ok(runs)
    }
}
