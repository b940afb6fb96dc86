//! Writes the files a person expects to find in the workspace, from the record. A file without our marker stays; ours goes beside it.

use super::{Engine, about_document, documents::NOT_RECORDED, monitoring::Coverage, report::Report, runbook::MARKER};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Deployment, DeploymentId, DeploymentState, Directive, DirectiveId, Plan, ServiceSpec, Sha256, Strategy, Timestamp},
    store::NewArtifact,
};
use std::{
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Where the plan is written.
pub(super) const PLAN_PATH: &str = "docs/deployment.md";
/// Where the state is written.
pub(super) const STATUS_PATH: &str = "status.md";

impl Engine {
    /// Writes the files of a settled deployment and records each as an artifact; without the service as it ran, only those that
    /// do not tell of it. Returns why others could not be written: what stands in their place is a person's to move away.
    pub(crate) async fn write_files(&self, id: &DeploymentId, spec: Option<&ServiceSpec>) -> Result<Vec<String>> {
        let deployment = self.deployment(id).await?;
        let report = self.report(&deployment, false).await?;
        let smoke = serde_json::to_string_pretty(&report.smoke_report()).map_err(Error::internal)? + "\n";
        let mut files =
            vec![("deploy_logs", "ci/deploy-logs.txt", report.deploy_log()), ("smoke_report", "post-deploy/smoke-report.json", smoke)];
        if let Some(spec) = spec {
            let planned_at = deployment.created_at;
            files.push(("deployment_plan", PLAN_PATH, deployment_document(&report.plan, planned_at, Some(&report), spec)));
            let directive = self.directive(&deployment.directive).await?;
            files.push(("status", STATUS_PATH, status_document(&directive, Some(&deployment), spec, self.coverage(spec).await?)));
        }
        let mut left_out = Vec::new();
        for (kind, path, text) in files {
            match self.write_artifact(&deployment.directive, kind, path, &text).await {
                Err(error) if error.code == Code::TargetFailed => left_out.push(error.message),
                written => drop(written?),
            }
        }
        Ok(left_out)
    }

    /// Writes one file inside the workspace and records it; returns the path it was written to.
    pub(crate) async fn write_artifact(&self, directive: &DirectiveId, kind: &str, path: &str, text: &str) -> Result<String> {
        Ok(self.place_artifact(directive, kind, path, text).await?.path)
    }

    /// Writes one file inside the workspace and records it; returns where, and what of ours stood there.
    pub(crate) async fn place_artifact(&self, directive: &DirectiveId, kind: &str, path: &str, text: &str) -> Result<Placed> {
        let _placing = self.placing.lock().await;
        let placed = self.place_file(path, text).await?;
        self.store.add_artifact(&Caller::server(), &artifact_of(directive, kind, &placed.path, text)).await?;
        Ok(placed)
    }

    /// Writes one file inside the workspace; returns where, and what of ours stood there.
    pub(super) async fn place_file(&self, path: &str, text: &str) -> Result<Placed> {
        let (root, relative, content) = (self.workspace.root.clone(), PathBuf::from(path), text.to_owned());
        self.blocking(move || place(&root, &relative, &content)).await?.map_err(|error| {
            Error::new(
                if error.kind() == std::io::ErrorKind::StorageFull { Code::DiskFull } else { Code::TargetFailed },
                format!("writing `{path}`: {error}"),
            )
        })
    }
}

/// Returns what is recorded of a file that was written.
pub(super) fn artifact_of(directive: &DirectiveId, kind: &str, path: &str, text: &str) -> NewArtifact {
    NewArtifact {
        directive: directive.clone(),
        name: kind.to_owned(),
        path: path.to_owned(),
        sha256: Sha256::of(text.as_bytes()),
        size_bytes: text.len() as u64,
    }
}

/// Where a file was written.
pub(crate) struct Placed {
    /// Its path in the workspace.
    pub path: String,
    /// What stood there before.
    pub before: Option<String>,
}

/// No file of ours is as large; what is, is somebody's.
const MOST_BYTES: u64 = 1024 * 1024;

/// Writes a file that is ours, or does not exist; beside one that is somebody's, as `NAME.interlock.EXT`.
fn place(root: &Path, relative: &Path, text: &str) -> std::io::Result<Placed> {
    let root = root.canonicalize()?;
    let wanted = root.join(relative);
    let folder = wanted.parent().unwrap_or(&root).to_path_buf();
    // What is there is looked at before anything is made below it: nothing appears outside, not even a folder.
    refuse_outside(&root, &folder)?;
    std::fs::create_dir_all(&folder)?;
    refuse_outside(&root, &folder)?;
    let (path, before) = ours(wanted)?;
    let mut file = tempfile_in(&folder)?;
    file.0.write_all(text.as_bytes())?;
    file.0.sync_all()?;
    std::fs::rename(&file.1, &path)?;
    let path = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
    Ok(Placed { path, before })
}

/// Returns where a file of ours would stand, inside the workspace, and what stands there now; nothing where none does.
pub(super) fn there(root: &Path, relative: &Path) -> std::io::Result<(String, String)> {
    let root = root.canonicalize()?;
    let wanted = root.join(relative);
    refuse_outside(&root, wanted.parent().unwrap_or(&root))?;
    let (path, text) = ours(wanted)?;
    Ok((path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned(), text.unwrap_or_default()))
}

/// Refuses a folder whose nearest part that is there leads out of the workspace.
fn refuse_outside(root: &Path, folder: &Path) -> std::io::Result<()> {
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(root);
    match there.canonicalize()?.starts_with(root) {
        true => Ok(()),
        false => Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "the folder leads out of the workspace")),
    }
}

/// Returns the path itself where nothing stands or what is ours, else the one beside it, with what of ours stands there.
fn ours(wanted: PathBuf) -> std::io::Result<(PathBuf, Option<String>)> {
    let next = beside(&wanted);
    for path in [wanted, next] {
        match standing(&path) {
            Ok(None) => return Ok((path, None)),
            Ok(Some(text)) if is_ours(&text) => return Ok((path, Some(text))),
            _ => (),
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is somebody's, and so is the file beside it; move one of them away"))
}

/// Returns the text of a file; none where nothing stands, an error for what is no plain file: neither a link nor a pipe is followed.
fn standing(path: &Path) -> std::io::Result<Option<String>> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    if !file.metadata()?.is_file() || file.take(MOST_BYTES).read_to_end(&mut bytes)? as u64 == MOST_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "no file of ours"));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_ours(text: &str) -> bool {
    text.contains(MARKER)
        || text.starts_with("# generated by interlock")
        || serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value["generated_by"] == "interlock")
}

fn beside(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}.interlock{extension}"))
}

fn tempfile_in(folder: &Path) -> std::io::Result<(std::fs::File, PathBuf)> {
    let path = folder.join(format!(".interlock-{:016x}", rand::random::<u64>()));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    Ok((file, path))
}

/// Returns `docs/deployment.md`: of a plan alone, and with what came of it where it ran.
pub(super) fn deployment_document(plan: &Plan, planned_at: Timestamp, report: Option<&Report>, spec: &ServiceSpec) -> String {
    let mut lines = vec![
        MARKER.to_owned(),
        "# Deployment plan".into(),
        String::new(),
        format!("- Environment: {}", plan.environment),
        format!("- Date: {planned_at}"),
        format!("- Service: {} {}", plan.service, plan.version),
        format!("- Plan: `{}` ({})", plan.id(), plan.sha256()),
        format!("- Approval: {}", plan.approval.as_ref().map_or("none needed", |approval| &approval.role)),
    ];
    lines.extend(about_document::infrastructure(spec));
    lines.extend([
        String::new(),
        "## Strategy".into(),
        String::new(),
        match plan.strategy {
            Strategy::BlueGreen => "Blue-green: a whole new set beside the old one, then one switch.".into(),
            Strategy::Canary => "Canary: a whole new set beside the old one, with a growing share, compared at each.".into(),
            Strategy::Rolling => "Rolling: instances are replaced batch by batch; a new one serves before an old one goes.".into(),
        },
        String::new(),
    ]);
    lines.extend(plan.steps.iter().enumerate().map(|(at, step)| format!("{}. {}", at + 1, step.title)));
    lines.extend([String::new(), "## Secrets".into(), String::new()]);
    let secrets: Vec<String> = spec.secrets().map(|(name, _)| format!("- `{name}` by reference")).collect();
    lines.extend(if secrets.is_empty() { vec!["none".into()] } else { secrets });
    let data = super::data_document::lines(plan, report);
    if !data.is_empty() {
        lines.extend([String::new(), "## Data".into(), String::new()]);
        lines.extend(data);
    }
    lines.extend(about_document::monitoring(spec));
    lines.extend([
        String::new(),
        "## Rollback".into(),
        String::new(),
        format!("- {}", plan.rollback.summary),
        format!("- rehearsed: {}", report.and_then(Report::rollback_tested).as_deref().unwrap_or("no")),
        format!(
            "- error rate above {} % or p95 above {} ms for {} s",
            plan.watch.error_percent,
            plan.watch.p95_ms,
            plan.watch.sustained_ms / 1000
        ),
        "- any request failed by the router".into(),
    ]);
    lines.extend(plan.metrics.iter().map(|metric| format!("- unless {}", metric.summary())));
    lines.extend([String::new(), "## Checklist".into(), String::new()]);
    lines.extend(
        plan.gates.iter().map(|gate| {
            format!("- [{}] {} ({})", if gate.verdict == crate::model::Verdict::Pass { "x" } else { " " }, gate.gate, gate.rule)
        }),
    );
    let is_watched = |report: &Report| report.deployment.state == DeploymentState::Succeeded;
    lines.push(format!("- [{}] smoke checks through the listener", if report.is_some_and(Report::smoke_passed) { "x" } else { " " }));
    lines.push(format!("- [{}] watched to its end", if report.is_some_and(is_watched) { "x" } else { " " }));
    lines.push(String::new());
    lines.join("\n")
}

/// Returns `status.md`: how a directive's deployment stands, in the seed's words.
pub(super) fn status_document(directive: &Directive, deployment: Option<&Deployment>, spec: &ServiceSpec, coverage: Coverage) -> String {
    let status = match deployment.map(|deployment| (deployment.state, deployment.rolled_back_by.is_some())) {
        Some((DeploymentState::Succeeded, false)) => "deployed",
        Some((DeploymentState::Succeeded, true) | (DeploymentState::RolledBack, _)) => "rolledback",
        Some((DeploymentState::Stuck, _)) => "failed",
        _ => "pending",
    };
    let last = deployment.map(|deployment| deployment.settled_at.unwrap_or(deployment.updated_at).to_string());
    let logs = deployment.map(|deployment| format!("`interlock read-log --deployment {}`", deployment.id));
    let mut lines = vec![
        MARKER.to_owned(),
        "# Status".into(),
        String::new(),
        "## Deployment state".into(),
        String::new(),
        format!("- Environment: {}", directive.environment),
        format!("- Last deploy: {}", last.as_deref().unwrap_or(NOT_RECORDED)),
        format!("- Status: {status}"),
        format!("- Version: {}", deployment.map_or(&directive.version, |deployment| &deployment.version)),
        String::new(),
        "## Monitoring state".into(),
        String::new(),
        format!("- Health check: {}", about_document::health(spec)),
        format!("- Logs: {}", logs.as_deref().unwrap_or(NOT_RECORDED)),
    ];
    lines.push(about_document::alerts(spec, coverage));
    lines.extend(about_document::addresses(&spec.about));
    lines.push(String::new());
    lines.join("\n")
}
