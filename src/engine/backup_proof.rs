//! The proof that a backup can be brought back: taken, verified and restored into a scratch place by the configured commands, outside of a
//! deployment. Recorded each time it is tried, also when it fails; it counts for exactly these commands.

use super::{Engine, backups::Restored, commands::Commands, progression::Step, steps::StepFailure};
use crate::{
    error::{Code, Error, Result},
    gates::backup::LastBackup,
    model::{
        Caller, CallerKind, Directive, DirectiveId, EnvironmentName, ServiceName, ServiceSpec, Sha256, Who,
        data::{Backup, BackupEvidence},
        text::visible,
    },
    store::{DeploymentFilter, Job, JobState, NewProof, Proof, ProofKind},
    targets::job::JobReport,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// The kind under which the job is recorded.
pub const JOB: &str = "backup";
/// A proof this young is not made again: a call whose answer was lost can be repeated.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How a scratch place is called.
const PREFIX: &str = "backup-";
/// How much of what a command said is kept.
const SAID: usize = 500;

/// What was seen of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupProof {
    /// The configured commands it was made with.
    pub commands_sha256: Sha256,
    /// The version whose files they were run with.
    pub version: String,
    /// What is known of the backup; none where none was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupEvidence>,
    /// What was run, in order.
    pub steps: Vec<BackupStep>,
    /// What lay in the scratch place after the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// Why it came to no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Why it counts as not rehearsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_rehearsed: Option<String>,
}

/// One command of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStep {
    /// `run`, `verify` or `rehearse`.
    pub step: String,
    /// How long it took.
    pub millis: u64,
    /// The last of what it said, secrets taken out.
    pub said: String,
}

/// Where a backup stands.
#[derive(Debug, Clone)]
pub struct BackupStanding {
    /// The job that makes it; none where the proof of a moment ago still counts.
    pub job: Option<Job>,
    /// The newest proof by the commands that are configured now.
    pub proof: Option<(Proof, BackupProof)>,
}

impl BackupProof {
    /// Tells whether it was brought back, with nothing against it.
    pub fn is_rehearsed(&self) -> bool {
        self.failed.is_none() && self.backup.as_ref().is_some_and(|backup| backup.verified && backup.restore_rehearsed)
    }

    fn push(&mut self, step: &str, report: &JobReport) {
        self.steps.push(BackupStep { step: step.into(), millis: report.millis, said: visible(&report.output, SAID) });
    }
}

impl Engine {
    /// Begins to take, verify and bring back a backup of a directive's service; the job that does it already, or the proof of a moment ago,
    /// comes back instead, with `true`.
    pub async fn begin_backup(self: &Arc<Self>, by: &Caller, directive: &Directive) -> Result<(BackupStanding, bool)> {
        let step = Step::of("setup_backup", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        let (environment, service) = (&directive.environment, &directive.service);
        let (_, place, spec) = self.service(environment, service).await?;
        let Some(backup) = spec.data.backup.clone() else {
            return Err(Error::new(Code::BackupFailed, format!("`{service}` configures no `backup` for `{environment}`"))
                .hint("write `backup = { run, verify, restore, rehearse }` into the service, then `interlock apply`"));
        };
        let last = self.last_backup(&spec).await?;
        if let Some((proof, seen)) = last.filter(|(proof, seen)| {
            seen.is_rehearsed() && self.clock.now().since(proof.proven_at) < FRESH && proof.proven_at <= self.clock.now()
        }) {
            return Ok((BackupStanding { job: None, proof: Some((proof, seen)) }, true));
        }
        // What is changed while it is copied is neither the data before nor the data after.
        if let Some(other) = self.store.occupying().await?.into_iter().find(|one| one.environment == *environment) {
            return Err(Error::new(Code::Conflict, format!("`{}` changes `{environment}` now; its data may be changing", other.id)));
        }
        if let Some(job) = self.store.latest_job(&directive.id, JOB).await?.filter(|job| job.state == JobState::Running) {
            return Ok((BackupStanding { job: Some(job), proof: None }, true));
        }
        // The commands run with the secrets of the place, and the scripts they name lie where agents write.
        if by.kind == CallerKind::Agent && place.is_production() {
            return Err(Error::new(
                Code::DeniedByPolicy,
                format!("a person has backups of `{environment}` taken, where approval is asked"),
            )
            .who(Who::Person)
            .hint(format!("interlock setup-backup --directive {}", directive.id)));
        }
        // The same commands would write over each other's files.
        let _beginning = self.beginning_backup.lock().await;
        if let Some((job, other)) = self.backup_under_way(environment, service).await?.filter(|(_, other)| *other != directive.id) {
            let message = format!("`{job}` takes a backup of `{service}` in `{environment}` for `{other}` now");
            return Err(Error::new(Code::Conflict, message).hint("call again once it has ended: its proof counts for this directive, too"));
        }
        let (job, existing) = self.store.start_job(by, &directive.id, JOB, &json!({ "service": service })).await?;
        if !existing {
            let (engine, by, directive, id) = (Arc::clone(self), by.clone(), directive.clone(), job.id.clone());
            self.spawn(async move {
                let outcome = engine.prove_backup(&by, &directive, &spec, &backup).await;
                let (state, detail) = match outcome {
                    Ok(proof) => (JobState::Done, json!({ "proof": proof.id })),
                    Err(_) if engine.is_stopping() => (JobState::Interrupted, json!({})),
                    Err(error) => (JobState::Failed, json!({ "error": error })),
                };
                if let Err(error) = engine.store.finish_job(&by, &id, state, &detail).await {
                    tracing::warn!("recording the end of a backup for `{}`: {error}", directive.id);
                }
            });
        }
        Ok((BackupStanding { job: Some(job), proof: None }, existing))
    }

    /// Returns the job that takes a backup of a service in an environment, and the directive it does so for.
    async fn backup_under_way(&self, environment: &EnvironmentName, service: &ServiceName) -> Result<Option<(String, DirectiveId)>> {
        for job in self.store.running_jobs().await?.into_iter().filter(|job| job.kind == JOB) {
            let directive = self.directive(&job.directive).await?;
            if (&directive.environment, &directive.service) == (environment, service) {
                return Ok(Some((job.id, directive.id)));
            }
        }
        Ok(None)
    }

    /// Returns where the backup of a directive's service stands now.
    pub async fn backup_standing(&self, directive: &Directive) -> Result<BackupStanding> {
        let spec = self.service(&directive.environment, &directive.service).await?.2;
        let job = self.store.latest_job(&directive.id, JOB).await?;
        Ok(BackupStanding { job, proof: self.last_backup(&spec).await? })
    }

    /// Returns the newest backup that was tried by the commands that are configured now.
    pub(super) async fn last_backup(&self, spec: &ServiceSpec) -> Result<Option<(Proof, BackupProof)>> {
        let Some(backup) = &spec.data.backup else { return Ok(None) };
        let proof = self.store.latest_proof(&spec.service, &spec.environment, ProofKind::Backup).await?;
        let seen = proof.and_then(|proof| Some((serde_json::from_value::<BackupProof>(proof.detail.clone()).ok()?, proof)));
        Ok(seen.filter(|(seen, _)| seen.commands_sha256 == Sha256::of_canonical(backup)).map(|(seen, proof)| (proof, seen)))
    }

    async fn prove_backup(&self, by: &Caller, directive: &Directive, spec: &ServiceSpec, backup: &Backup) -> Result<Proof> {
        // The data is that of what serves; before anything does, the commands are those of the release to come.
        let serving = self.store.serving(&directive.service, &directive.environment).await?;
        let (digest, version) = serving.map_or((directive.digest.clone(), directive.version.clone()), |set| (set.digest, set.version));
        let commands = Commands { engine: self, spec, digest: &digest, version: &version };
        let mut seen = BackupProof {
            commands_sha256: Sha256::of_canonical(backup),
            version: version.clone(),
            backup: None,
            steps: Vec::new(),
            restored: None,
            failed: None,
            not_rehearsed: None,
        };
        let scratch = Scratch::under(self.workspace.state_dir().join("scratch"));
        let (folder, begun) = (scratch.0.clone(), self.clock.now());
        self.blocking(move || std::fs::create_dir_all(&folder)).await?.map_err(Error::internal)?;
        if let Err(failure) = tried(&commands, backup, &scratch.0, &mut seen).await {
            seen.failed = Some(visible(&failure.message, 2 * SAID));
        }
        let folder = scratch.0.clone();
        // What was brought back is production's data; it may be much.
        self.blocking(move || drop(std::fs::remove_dir_all(folder))).await?;
        let filter = DeploymentFilter { environment: Some(directive.environment.clone()), limit: 1, ..Default::default() };
        let newest = self.store.deployments(&filter).await?.0.into_iter().next();
        if let Some(other) = newest.filter(|one| one.created_at >= begun || !one.state.is_settled()) {
            seen.failed.get_or_insert(format!("`{}` changed `{}` meanwhile; take it again", other.id, directive.environment));
        }
        if self.is_stopping() && seen.failed.is_some() {
            return Err(Error::new(Code::Aborted, "the server stops"));
        }
        let (service, environment) = (directive.service.clone(), directive.environment.clone());
        let new = NewProof { directive: directive.id.clone(), service, environment, kind: ProofKind::Backup, detail: json!(seen) };
        Ok(self.store.add_proof(by, new).await?)
    }
}

/// Takes, verifies and brings back, and notes each.
async fn tried(commands: &Commands<'_>, backup: &Backup, scratch: &std::path::Path, seen: &mut BackupProof) -> Result<(), StepFailure> {
    let (mut evidence, report) = commands.take_backup(None, backup).await?;
    seen.push("run", &report);
    seen.backup = Some(evidence.clone());
    if let Some(report) = commands.verify_backup(None, backup, &mut evidence).await? {
        seen.push("verify", &report);
        seen.backup = Some(evidence.clone());
    }
    if let Some((report, restored)) = commands.rehearse_restore(backup, &mut evidence, scratch).await? {
        seen.push("rehearse", &report);
        seen.restored = Some(restored);
    }
    seen.not_rehearsed = match (evidence.verified, evidence.restore_rehearsed) {
        (false, _) => Some("no `verify` is configured".into()),
        (true, false) => Some("no `rehearse` is configured, which restores into a scratch place; `restore` is never run for a try".into()),
        (true, true) => None,
    };
    seen.backup = Some(evidence);
    Ok(())
}

impl<'a> LastBackup<'a> {
    /// Returns what a gate judges: the newest backup by the commands that are configured now.
    pub(super) fn of(spec: &ServiceSpec, last: Option<&'a BackupProof>) -> LastBackup<'a> {
        match (&spec.data.backup, last) {
            (None, _) => LastBackup::NotConfigured,
            (_, None) => LastBackup::None,
            (_, Some(BackupProof { failed: Some(why), .. })) => LastBackup::Failed(why),
            (_, Some(BackupProof { backup: None, .. })) => LastBackup::Failed("nothing is known of it"),
            (_, Some(BackupProof { backup: Some(backup), not_rehearsed, .. })) => LastBackup::Taken {
                at: backup.taken_at,
                verified: backup.verified,
                rehearsed: if backup.restore_rehearsed { Ok(()) } else { Err(not_rehearsed.as_deref().unwrap_or("it is not known why")) },
            },
        }
    }
}

/// Removes what a server that was killed left of restored data.
pub(super) fn clean(state_dir: &std::path::Path) {
    let left = std::fs::read_dir(state_dir.join("scratch")).into_iter().flatten().flatten();
    for folder in left.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let _ = std::fs::remove_dir_all(folder.path());
    }
}

/// A folder of its own that goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn under(folder: PathBuf) -> Self {
        Scratch(folder.join(format!("{PREFIX}{:016x}", rand::random::<u64>())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
