//! Writes a runbook: drafts it from the record, lints it, keeps every version, and sends a clean draft to review.

use super::{
    Engine, citations,
    lint::{LintFault, lint},
    runbook::{Draft, draft},
};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Deployment, RunbookId},
    store::{NewRunbookVersion, RunbookState},
};

/// A runbook as it was written.
pub struct Written {
    /// Its id.
    pub runbook: String,
    /// Its version.
    pub version: i64,
    /// Where it was written in the workspace.
    pub path: String,
    /// What keeps it from review.
    pub faults: Vec<LintFault>,
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
        let report = self.report(deployment, false).await?;
        let (_, _, spec) = self.service(&deployment.environment, &deployment.service).await?;
        let id = RunbookId::of(&deployment.environment, &deployment.service);
        let version = self.store.runbook_versions(&id).await?.iter().map(|version| version.version).max().unwrap_or(0) + 1;
        let written_by = match &by.client {
            Some(client) => format!("{} ({client}, self-reported)", by.principal),
            None => by.principal.clone(),
        };
        let citations = citations::cited(notes.unwrap_or_default());
        let citations = citations::check(&self.workspace.root, &report.plan.project, citations).await;
        let runbook = id.as_str();
        let text = draft(&Draft { runbook, version, report: &report, spec: &spec, written_by: &written_by, notes, citations: &citations });
        let faults = lint(&text, &report, &citations);
        let new = NewRunbookVersion {
            runbook: id.clone(),
            service: deployment.service.clone(),
            environment: deployment.environment.clone(),
            directive: deployment.directive.clone(),
            deployment: Some(deployment.id.clone()),
            text: text.clone(),
            lint: serde_json::to_value(&faults).map_err(Error::internal)?,
            state: if faults.is_empty() { RunbookState::InReview } else { RunbookState::Draft },
        };
        let version = self.store.save_runbook_version(by, &new).await?;
        let path = format!("docs/runbooks/{}-{}.md", deployment.environment, deployment.service);
        let path = self.write_artifact(&deployment.directive, "runbook", &path, &text).await?;
        Ok(Written { runbook: id.to_string(), version, path, faults })
    }
}
