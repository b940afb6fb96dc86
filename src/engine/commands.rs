//! Runs the commands a service's configuration names, for one release: what prepares, keeps and changes data, and hooks.

use super::{Engine, steps::StepFailure};
use crate::{
    error::{Code, Error, Result},
    gates::migrations::{self, Pending},
    model::{
        Lease, ServiceSpec, Sha256,
        data::{Migrations, PlannedMigration},
        service::fill,
    },
    targets::{Target, job::Job, job::JobReport},
};
use std::{
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long `history` may take at most: planning waits for it.
const HISTORY_MS: u64 = 30_000;
/// No folder of migrations is read deeper.
const DEPTH: usize = 3;

/// The commands of one service, filled in for one release.
pub struct Commands<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The service that configures them.
    pub spec: &'a ServiceSpec,
    /// The release whose files they are run with.
    pub digest: &'a Sha256,
    /// Its version.
    pub version: &'a str,
}

/// What is to run, and what is in the folder.
pub struct Looked {
    /// Every file of the folder.
    pub files: Vec<File>,
    /// Files and history held against each other.
    pub pending: Pending,
    /// The history, line by line.
    pub history: Vec<String>,
}

/// One migration file.
pub struct File {
    /// Its path in the folder.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// What stands in it.
    pub text: String,
}

impl Commands<'_> {
    /// Runs a command that changes something.
    pub async fn run(&self, lease: &Lease, argv: &[String], timeout_ms: u64, more: &[(&str, &str)]) -> Result<JobReport, StepFailure> {
        let job = self.job(argv, timeout_ms, more).await?;
        Ok(self.target().run_job(lease, job).await?)
    }

    /// Runs a command with a lease where a deployment runs it, and without one where nothing is changed that a deployment works with.
    pub async fn run_or_read(
        &self,
        lease: Option<&Lease>,
        argv: &[String],
        timeout_ms: u64,
        more: &[(&str, &str)],
    ) -> Result<JobReport, StepFailure> {
        match lease {
            Some(lease) => self.run(lease, argv, timeout_ms, more).await,
            None => Ok(self.target().read_job(self.job(argv, timeout_ms, more).await?).await?),
        }
    }

    /// Looks at which migrations of the release have not run.
    pub async fn look(&self, migrations: &Migrations) -> Result<Looked> {
        let job = self.job(&migrations.history, HISTORY_MS.min(migrations.timeout_ms), &[]).await?;
        let report = self.target().read_job(job).await;
        let report = report.map_err(|error| Error::new(Code::TargetFailed, format!("which migrations have run is not known: {error}")))?;
        let history: Vec<String> = report.answer.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        let (release, dir) = (self.engine.release_dir(self.digest).await?, migrations.dir.clone());
        let files = self.engine.blocking(move || files(&release, &dir)).await?;
        let files =
            files.map_err(|error| Error::new(Code::InvalidArtifact, format!("reading `{}` of the release: {error}", migrations.dir)))?;
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        Ok(Looked { pending: migrations::pending(&names, &history), files, history })
    }

    async fn job(&self, argv: &[String], timeout_ms: u64, more: &[(&str, &str)]) -> Result<Job> {
        // The bytes are checked whenever a command is to work with them.
        let release = match argv.iter().any(|word| word.contains("{release}")) {
            true => self.engine.release_dir(self.digest).await?,
            false => PathBuf::new(),
        };
        let release = release.to_string_lossy().into_owned();
        let places = [
            ("release", release.as_str()),
            ("version", self.version),
            ("service", self.spec.service.as_str()),
            ("environment", self.spec.environment.as_str()),
        ];
        // What a command has printed comes last: nothing in it is filled in again.
        let places: Vec<(&str, &str)> = places.iter().chain(more).copied().collect();
        Ok(Job {
            argv: argv.iter().map(|word| fill(word, &places)).collect(),
            folder: self.engine.workspace.root.clone(),
            marks: self.engine.workspace.jobs_dir(),
            deploys: false,
            env: self.spec.env.clone(),
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    fn target(&self) -> Arc<dyn Target> {
        self.engine.adapters.target(self.spec)
    }
}

impl Looked {
    /// Reads what is pending, in the order it runs.
    pub fn planned(&self, spec: &Migrations) -> Vec<PlannedMigration> {
        let planned = |name: &String| {
            let file = self.files.iter().find(|file| &file.name == name)?;
            let read = migrations::read(spec.dialect, name, &file.text);
            let late = self.pending.out_of_order.contains(name);
            let late = late.then(|| "a later one has run already: many runners skip or refuse it".to_owned());
            Some(PlannedMigration {
                name: name.clone(),
                sha256: file.sha256.clone(),
                class: read.class,
                reason: read.reason,
                loses_data: read.loses_data,
                warnings: read.warnings.into_iter().chain(late).collect(),
            })
        };
        self.pending.files.iter().filter_map(planned).collect()
    }

    /// Returns the names of those that can be undone one by one.
    pub fn undoable(&self, spec: &Migrations) -> BTreeSet<String> {
        let names: Vec<String> = self.files.iter().map(|file| file.name.clone()).collect();
        names.iter().filter(|name| spec.down.is_some() && migrations::has_down(name, &names)).cloned().collect()
    }

    /// Returns which of these have run.
    pub fn applied<'a>(&self, names: &'a [String]) -> Vec<&'a String> {
        names.iter().filter(|name| !self.pending.files.contains(name)).collect()
    }
}

/// Reads every SQL file of a folder of the release.
fn files(release: &Path, dir: &str) -> std::io::Result<Vec<File>> {
    let folder = release.join(dir);
    let (mut found, mut open) = (Vec::new(), vec![(folder.clone(), 0)]);
    while let Some((at, depth)) = open.pop() {
        for entry in std::fs::read_dir(&at)? {
            let path = entry?.path();
            if path.is_dir() && depth < DEPTH {
                open.push((path, depth + 1));
            } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) {
                let name = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
                found.push(read(&path, name)?);
            }
        }
    }
    found.sort_by(|one, two| migrations::by_number(&one.name, &two.name));
    Ok(found)
}

fn read(path: &Path, name: String) -> std::io::Result<File> {
    let mut bytes = Vec::new();
    // One byte more than is ever read as SQL: then it is known to be too large, and its hash is of what was read.
    std::fs::File::open(path)?.take(migrations::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(File { name, sha256: Sha256::of(&bytes), text: String::from_utf8_lossy(&bytes).into_owned() })
}
