//! Documents, made from the record alone: the same record gives the same bytes, what it does not know is said, and an agent's own words stand
//! fenced at the end.
//!
//! To add a kind: a variant of [`DocumentKind`], where it is written in `path`, and a function from its [`case::Case`] to a [`page::Page`].

mod after;
mod before;
mod case;
mod dossier;
mod page;
mod regenerate;
mod rubric;
mod trouble;

pub use case::About;
pub use dossier::Said;
pub use page::NOT_RECORDED;

use super::{Engine, files};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, DirectiveId, Sha256},
    store::Artifact,
};
use case::Case;
use page::{Page, finished};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest notes an agent may add, in characters.
const NOTES_CHARS: usize = 8_000;

/// What may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum DocumentKind {
    /// `docs/deployment.md`.
    DeploymentPlan,
    /// `status.md`.
    Status,
    /// The phase's steps and gates.
    Checklist,
    /// What those need who operate it.
    Handover,
    /// What the deployment did.
    PostDeployReport,
    /// One incident.
    Incident,
    /// What to do when something goes wrong.
    IncidentProcedures,
    /// What happened, and what follows.
    Postmortem,
    /// The word that it is live.
    GoLive,
    /// How the release performs.
    Baseline,
    /// Claims with their sources, and how far the work is proven.
    Dossier,
}

impl DocumentKind {
    /// Every kind.
    pub const ALL: [DocumentKind; 11] = [
        DocumentKind::DeploymentPlan,
        DocumentKind::Status,
        DocumentKind::Checklist,
        DocumentKind::Handover,
        DocumentKind::PostDeployReport,
        DocumentKind::Incident,
        DocumentKind::IncidentProcedures,
        DocumentKind::Postmortem,
        DocumentKind::GoLive,
        DocumentKind::Baseline,
        DocumentKind::Dossier,
    ];

    /// Returns the word, which is the artifact's name too.
    pub fn as_str(self) -> &'static str {
        match self {
            DocumentKind::DeploymentPlan => "deployment_plan",
            DocumentKind::Status => "status",
            DocumentKind::Checklist => "checklist",
            DocumentKind::Handover => "handover",
            DocumentKind::PostDeployReport => "post_deploy_report",
            DocumentKind::Incident => "incident",
            DocumentKind::IncidentProcedures => "incident_procedures",
            DocumentKind::Postmortem => "postmortem",
            DocumentKind::GoLive => "go_live",
            DocumentKind::Baseline => "baseline",
            DocumentKind::Dossier => "dossier",
        }
    }

    /// Tells whether it is about an incident, and about the newest where nothing is named.
    fn is_of_an_incident(self) -> bool {
        matches!(self, DocumentKind::Incident | DocumentKind::Postmortem)
    }
}

/// A document as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenDocument {
    /// The directive it is an artifact of.
    pub directive: DirectiveId,
    /// Whether work on that directive may go on: then people may still sign for it.
    pub is_open: bool,
    /// The deployment it tells of, if any.
    pub deployment: Option<String>,
    /// Where it stands in the workspace.
    pub path: String,
    /// The hash of its bytes.
    pub sha256: Sha256,
    /// How many bytes.
    pub size_bytes: u64,
    /// Whether the record had exactly this document already.
    pub existing: bool,
    /// The names of what the record does not have.
    pub missing: Vec<String>,
    /// What keeps a dossier from counting: it is written as a draft, and is no artifact `dossier`.
    pub faults: Vec<String>,
    /// How far the work is proven, from 0 to 5, as a dossier has it.
    pub score: Option<f64>,
}

impl Engine {
    /// Writes a document from the record into the workspace and records it as an artifact of its directive; one that is the same as
    /// before is recorded once.
    pub async fn write_document(
        self: &Arc<Self>,
        by: &Caller,
        kind: DocumentKind,
        about: &About,
        notes: Option<&str>,
        said: &Said,
    ) -> Result<WrittenDocument> {
        if let Some(notes) = notes {
            check_notes(notes)?;
        }
        if kind != DocumentKind::Dossier && said.is_something() {
            return Err(Error::invalid("`claims`, `commands` and `rerun` are of a dossier"));
        }
        let case = self.case(about, kind.is_of_an_incident()).await?;
        let (mut name, mut path, mut faults, mut score) = (kind.as_str(), path(kind, &case), Vec::new(), None);
        let (text, missing) = match kind {
            DocumentKind::Dossier => {
                let material = self.material(by, &case, said).await?;
                faults = material.faults();
                if !faults.is_empty() {
                    // What does not hold takes no good dossier's place.
                    (name, path) = ("dossier_draft", path.replace(".md", ".draft.md"));
                }
                let (page, proven) = dossier::dossier(&case, &material);
                score = proven;
                page.finish(notes)
            }
            kind => text_of(kind, &case, notes)?,
        };
        let _placing = self.placing.lock().await;
        let written = self.place_file(&path, &text).await?.path;
        let artifact = files::artifact_of(&case.directive.id, name, &written, &text);
        let is_this = |known: &Artifact| known.name == artifact.name && known.path == artifact.path && known.sha256 == artifact.sha256;
        let existing = self.store.artifacts(&case.directive.id).await?.iter().any(is_this);
        if !existing {
            self.store.add_artifact(by, &artifact).await?;
        }
        Ok(WrittenDocument {
            deployment: case.deployment().map(|deployment| deployment.id.to_string()),
            is_open: case.directive.state.is_open(),
            directive: case.directive.id,
            path: written,
            sha256: artifact.sha256,
            size_bytes: artifact.size_bytes,
            existing,
            missing,
            faults,
            score,
        })
    }
}

/// Refuses an agent's notes that are too long, or hold what looks like a secret.
pub(super) fn check_notes(notes: &str) -> Result<()> {
    let chars = notes.chars().count();
    if chars > NOTES_CHARS {
        return Err(Error::invalid(format!("`notes` has {chars} characters; at most {NOTES_CHARS} are taken")));
    }
    match super::lint::secret_in(notes) {
        Some(shape) => {
            Err(Error::invalid(format!("`notes` holds what looks like a secret (`{shape}`…)")).hint("name the reference instead"))
        }
        None => Ok(()),
    }
}

/// Returns a document's text, and the names of what the record does not have.
fn text_of(kind: DocumentKind, case: &Case, notes: Option<&str>) -> Result<(String, Vec<String>)> {
    let page: Page = match kind {
        DocumentKind::DeploymentPlan => return Ok(finished(deployment_plan(case)?, notes)),
        DocumentKind::Status => {
            return Ok(finished(files::status_document(&case.directive, case.deployment(), &case.spec, case.coverage), notes));
        }
        DocumentKind::Checklist => before::checklist(case),
        DocumentKind::GoLive => before::go_live(case),
        DocumentKind::Handover => after::handover(case)?,
        DocumentKind::PostDeployReport => after::post_deploy_report(case)?,
        DocumentKind::Baseline => after::baseline(case)?,
        DocumentKind::Incident => trouble::incident(case)?,
        DocumentKind::IncidentProcedures => trouble::incident_procedures(case)?,
        DocumentKind::Postmortem => trouble::postmortem(case)?,
        DocumentKind::Dossier => unreachable!("a dossier has material of its own"),
    };
    Ok(page.finish(notes))
}

fn deployment_plan(case: &Case) -> Result<String> {
    let Some(record) = &case.plan else {
        return Err(
            Error::new(Code::WrongState, format!("`{}` has no plan yet", case.directive.id)).hint("call `plan_deployment`, then write it")
        );
    };
    let planned_at = case.deployment().map_or(record.created_at, |deployment| deployment.created_at);
    Ok(files::deployment_document(&record.plan, planned_at, case.report.as_ref(), &case.spec))
}

/// Returns where a document is written: one place for each directive, deployment, incident, or service in its environment.
fn path(kind: DocumentKind, case: &Case) -> String {
    let directive = &case.directive.id;
    let deployment = case.deployment().map_or(directive.to_string(), |deployment| deployment.id.to_string());
    let place = format!("{}-{}", case.directive.environment, case.directive.service);
    match kind {
        DocumentKind::DeploymentPlan => files::PLAN_PATH.into(),
        DocumentKind::Status => files::STATUS_PATH.into(),
        DocumentKind::Checklist => format!("docs/checklists/{directive}.md"),
        DocumentKind::GoLive => format!("docs/go-live/{deployment}.md"),
        DocumentKind::PostDeployReport => format!("post-deploy/{deployment}.md"),
        DocumentKind::Handover => format!("docs/handover/{place}.md"),
        DocumentKind::Baseline => format!("docs/baselines/{place}.md"),
        DocumentKind::IncidentProcedures => format!("docs/incident-procedures/{place}.md"),
        DocumentKind::Postmortem => format!("docs/postmortems/{deployment}.md"),
        DocumentKind::Dossier => format!("docs/dossiers/{directive}.md"),
        DocumentKind::Incident => match &case.incident {
            Some(incident) => format!("docs/incidents/{}.md", incident.id),
            None => format!("docs/incidents/{deployment}.md"),
        },
    }
}
