//! Takes a backup with the commands that configuration names, has it verified, and brings it back in a scratch place. What `restore` would
//! overwrite is never touched here.

use super::{commands::Commands, steps::StepFailure};
use crate::{
    error::{Code, Result},
    model::{
        Lease, Sha256,
        data::{Backup, BackupEvidence},
        text,
    },
    targets::job::JobReport,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// No location is longer.
const LOCATION_CHARS: usize = 1_000;
/// No scratch place is looked at deeper, and not at more entries.
const DEPTH: usize = 32;
const ENTRIES: u64 = 1_000_000;

/// What lies in a scratch place after a rehearsal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

impl Commands<'_> {
    /// Takes a backup and looks at it; returns what is known of it, and how the command ended. With a lease where a deployment takes it.
    pub(super) async fn take_backup(&self, lease: Option<&Lease>, backup: &Backup) -> Result<(BackupEvidence, JobReport), StepFailure> {
        let failed =
            |failure: StepFailure| StepFailure { code: Code::BackupFailed, message: format!("no backup: {}", failure.message), ..failure };
        let report = self.run_or_read(lease, &backup.run, backup.timeout_ms, &[]).await.map_err(failed)?;
        let told = told(&report.answer).map_err(|why| StepFailure::new(Code::BackupFailed, format!("no backup: `run` {why}")))?;
        let (root, location) = (self.engine.workspace.root.clone(), told.location.clone());
        let read = self.engine.blocking(move || hashed(&root.join(location))).await?;
        let (sha256, size_bytes) = read.map_or((None, None), |(sha256, size)| (Some(sha256), Some(size)));
        if let (Some(here), Some(claimed)) = (&sha256, &told.sha256)
            && here != claimed
        {
            let message = format!("no backup: `run` says sha256 {claimed}, and the file has {here}");
            return Err(StepFailure::new(Code::BackupFailed, message));
        }
        let evidence = BackupEvidence {
            hashed_here: sha256.is_some(),
            sha256: sha256.or(told.sha256),
            location: told.location,
            size_bytes,
            taken_at: self.engine.clock.now(),
            verified: false,
            restore_rehearsed: false,
        };
        Ok((evidence, report))
    }

    /// Has a backup verified, where a command does that; `verify` may say that it has restored it somewhere.
    pub(super) async fn verify_backup(
        &self,
        lease: Option<&Lease>,
        backup: &Backup,
        evidence: &mut BackupEvidence,
    ) -> Result<Option<JobReport>, StepFailure> {
        let Some(verify) = &backup.verify else { return Ok(None) };
        let refused = |why: String, details: Value| StepFailure {
            code: Code::BackupFailed,
            message: format!("the backup at `{}` does not verify: {why}", text::visible_line(&evidence.location, 200)),
            details,
        };
        let places = [("location", evidence.location.as_str())];
        let report = match self.run_or_read(lease, verify, backup.timeout_ms, &places).await {
            Ok(report) => report,
            Err(failure) => return Err(refused(failure.message, json!({ "backup": evidence }))),
        };
        let said = said(&report);
        if said["verified"] == false || said["restored"] == false {
            return Err(refused(text::visible_line(&said.to_string(), 300), json!({ "backup": evidence })));
        }
        (evidence.verified, evidence.restore_rehearsed) = (true, said["restored"] == true);
        Ok(Some(report))
    }

    /// Brings a backup back in an empty folder, where a command does that; returns how it ended, and what lies there. A command that ends
    /// well and leaves nothing there has restored nothing, unless it says so: `{"restored": true}`.
    pub(super) async fn rehearse_restore(
        &self,
        backup: &Backup,
        evidence: &mut BackupEvidence,
        scratch: &Path,
    ) -> Result<Option<(JobReport, Restored)>, StepFailure> {
        let Some(rehearse) = &backup.rehearse else { return Ok(None) };
        let place = scratch.to_string_lossy().into_owned();
        // What was printed comes last: nothing in it is filled in again.
        let places = [("scratch", place.as_str()), ("location", evidence.location.as_str())];
        let refused = |why: String| StepFailure::new(Code::BackupFailed, format!("the backup cannot be brought back: {why}"));
        let report = self.run_or_read(None, rehearse, backup.timeout_ms, &places).await.map_err(|failure| refused(failure.message))?;
        let folder = scratch.to_path_buf();
        let restored = self.engine.blocking(move || restored_in(&folder)).await?;
        let said = said(&report);
        if said["restored"] == false || (restored.files == 0 && said["restored"] != true) {
            return Err(refused("`rehearse` ended well, and has restored nothing".into()));
        }
        evidence.restore_rehearsed = true;
        Ok(Some((report, restored)))
    }
}

/// Returns hash and size of a regular file that can be read.
pub(super) fn hashed(path: &Path) -> Option<(Sha256, u64)> {
    let file = std::fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
    Sha256::of_reader(std::io::BufReader::new(file)).ok()
}

/// What a backup's command has printed.
struct Told {
    location: String,
    sha256: Option<Sha256>,
}

/// Reads the last line: the location itself, or JSON with it.
fn told(answer: &str) -> Result<Told, String> {
    let line = last_line(answer).ok_or("printed no location")?;
    let (location, sha256) = match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(fields)) => {
            let location = fields.get("location").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
            let claimed = fields.get("sha256").and_then(Value::as_str);
            (location, claimed.map(|claimed| Sha256(claimed.trim_start_matches("sha256:").to_ascii_lowercase())))
        }
        _ => (line.to_owned(), None),
    };
    if location.is_empty() {
        return Err("printed no location".into());
    }
    if location.chars().count() > LOCATION_CHARS || location.chars().any(char::is_control) {
        return Err("printed a location that is none".into());
    }
    if sha256.as_ref().is_some_and(|sha256| sha256.0.len() != 64 || !sha256.0.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err("printed a sha256 that is none".into());
    }
    Ok(Told { location, sha256 })
}

/// Returns what a command says in its last line; null where that is no JSON.
fn said(report: &JobReport) -> Value {
    last_line(&report.answer).and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

fn last_line(answer: &str) -> Option<&str> {
    answer.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// Counts the files of a folder; links are not followed.
fn restored_in(folder: &Path) -> Restored {
    let (mut restored, mut open) = (Restored::default(), vec![(folder.to_path_buf(), 0)]);
    while let Some((at, depth)) = open.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() && depth < DEPTH => open.push((entry.path(), depth + 1)),
                Ok(found) if found.is_file() && restored.files < ENTRIES => {
                    restored.files += 1;
                    restored.size_bytes += found.len();
                }
                _ => (),
            }
        }
    }
    restored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_says_where_it_is_in_its_last_line() {
        let location = |answer: &str| told(answer).map(|told| (told.location, told.sha256.is_some()));
        assert_eq!(location("dumping …\n/var/backups/1.dump\n\n"), Ok(("/var/backups/1.dump".into(), false)));
        let json = format!("{{\"location\": \"s3://shop/1\", \"sha256\": \"{}\"}}", "a".repeat(64));
        assert_eq!(location(&json), Ok(("s3://shop/1".into(), true)));
        for nothing in ["", "\n \n", "{\"sha256\": \"x\"}", "{\"location\": \" \"}"] {
            assert_eq!(location(nothing), Err("printed no location".into()), "{nothing}");
        }
        assert!(location("{\"location\": \"x\", \"sha256\": \"short\"}").is_err() && location(&"x".repeat(2000)).is_err());
    }
}
