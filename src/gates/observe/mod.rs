//! Observed runs: the server runs the configured command itself, on exactly what the commit says.
//!
//! The checkout is a repository of its own, fetched from the workspace's: git computes the name of every object anew on the way, and
//! nothing of the workspace's configuration, hooks, filters, attributes, sparse patterns, replacements or uncommitted files reaches
//! it. It has one commit, no tags, no submodules and LFS pointers instead of LFS files. The command gets the variables of
//! [`command::ALLOWED_ENVIRONMENT`], its own `TMPDIR`, and [`command::MARKER`], by which everything it started is found again and ended. A
//! `CARGO_TARGET_DIR` is not passed on: reports are looked for in the checkout, and a shared one is anybody's to fill.

mod checkout;
mod report;

use super::formats::MAX_REPORT_BYTES;
use crate::{
    command::{self, Cut, Job, Leftovers},
    model::{Sha256, text::visible_line},
};
use checkout::Checkout;
use report::ReportPlace;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long a command may take, unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct ObservedRun {
    /// A folder in the git repository; the command runs in the same folder of the checkout.
    pub workspace: PathBuf,
    /// The full commit id.
    pub commit: String,
    /// The argv, every place filled in.
    pub command: Vec<String>,
    /// The report's path, from the folder the command runs in; `-` is its standard output.
    pub report: String,
    /// Where checkouts are made; outside the repository, or tools would find its uncommitted files. See [`scratch_of`].
    pub scratch: PathBuf,
    /// How long checkout and command together may take.
    pub timeout: Duration,
    /// Ends the run when cancelled.
    pub cancel: CancellationToken,
    /// The command's environment; [`command::allowed_environment`] in the server.
    pub environment: Vec<(OsString, OsString)>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The exit code; `None` when it was ended by a signal, or never began.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long the command took.
    pub duration_ms: u64,
    /// The report's bytes.
    pub report: Option<Vec<u8>>,
    /// The last 10 MiB of what it wrote to standard output and standard error, as it came.
    pub output_tail: String,
    /// Why the report does not count, whatever it says: cut off, missing, too large, out of the checkout.
    pub fault: Option<String>,
}

/// Why there is nothing to observe. The text is what an `inconclusive` verdict says.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// git is not installed.
    #[error("git is not installed, and observing needs a checkout")]
    NoGit,
    /// The workspace is in no git repository.
    #[error("the workspace is in no git repository, and observing needs a commit")]
    NoRepository,
    /// The repository has no such commit.
    #[error("the repository has no commit `{0}`")]
    UnknownCommit(String),
    /// The configured run makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The scratch folder lies inside the repository.
    #[error("checkouts cannot be made inside the repository they are of")]
    ScratchInside,
    /// git failed.
    #[error("git cannot {act}: {fault}")]
    Git {
        /// What it was to do.
        act: &'static str,
        /// What it said.
        fault: String,
    },
    /// The machine failed.
    #[error("{act}: {cause}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// It was cancelled before the command began.
    #[error("the run was cancelled")]
    Cancelled,
    /// It timed out before the command began.
    #[error("the checkout was not made within {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl ObserveError {
    fn io(act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| ObserveError::Io { act, cause }
    }
}

/// Runs the command in a clean checkout of the commit and returns what came of it; nothing of it is left behind.
///
/// `on_started` is told the process group's id and its leader's start time, for [`command::kill_leftover`] after a crash.
pub async fn observe(run: ObservedRun, on_started: impl FnOnce(u32, u64) + Send) -> Result<Observation, ObserveError> {
    let (program, _) = run.command.split_first().ok_or_else(|| ObserveError::Invalid("the gate's `command` is empty".into()))?;
    let place = ReportPlace::parse(&run.report)?;
    let deadline = Instant::now() + run.timeout;
    let checkout = tokio::select! {
        made = Checkout::make(&run) => made?,
        () = run.cancel.cancelled() => return Err(ObserveError::Cancelled),
        () = tokio::time::sleep_until(deadline.into()) => return Err(ObserveError::TimedOut(run.timeout)),
    };
    place.clear(checkout.root(), checkout.folder())?;

    let job = Job {
        command: &run.command,
        folder: checkout.folder(),
        environment: environment_of(&run, &checkout),
        leftovers: Leftovers::End(checkout.run_folder()),
        keeps_stdout: if place == ReportPlace::Stdout { MAX_REPORT_BYTES as usize + 1 } else { 0 },
        deadline,
        cancel: &run.cancel,
    };
    let begun = Instant::now();
    let ended = match command::run(job, on_started).await {
        Ok(ended) => ended,
        Err(cause) => return Ok(not_started(program, &cause)),
    };
    let (report, report_fault) = match place.read(checkout.root(), checkout.folder(), ended.stdout) {
        Ok(report) => (Some(report), None),
        Err(fault) => (None, Some(fault)),
    };
    let fault = match ended.cut {
        Some(Cut::Timeout) => Some(format!("the command did not end within {} s and was killed", run.timeout.as_secs())),
        Some(Cut::Cancelled) => Some("the run was cancelled and the command killed".to_owned()),
        None => report_fault,
    };
    let observation = Observation {
        exit_code: ended.exit_code,
        signal: ended.signal,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        report,
        output_tail: ended.output,
        fault,
    };
    // Not left to the drop: a large tree takes its time to go.
    let _ = tokio::task::spawn_blocking(move || drop(checkout)).await;
    Ok(observation)
}

/// Returns the folder for the checkouts of a workspace: the user's cache, or the temporary folder where that is in the repository.
pub fn scratch_of(workspace: &Path) -> PathBuf {
    let workspace = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    let outermost = workspace.ancestors().filter(|folder| folder.join(".git").exists()).last().unwrap_or(&workspace);
    let name = format!("observed-{}", Sha256::of(workspace.as_os_str().as_encoded_bytes()).short());
    let home_cache = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home_cache);
    match cache.filter(|cache| cache.is_absolute() && !cache.starts_with(outermost)) {
        Some(cache) => cache.join("interlock").join(name),
        None => std::env::temp_dir().join(format!("interlock-{}-{name}", rustix::process::geteuid().as_raw())),
    }
}

/// Ends whatever a crashed server left running and removes its checkouts; returns how many there were.
///
/// Called at start, before anything is observed: it does not spare a run in progress.
pub fn clean(scratch: &Path) -> io::Result<usize> {
    let scratch = match scratch.canonicalize() {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(0),
        resolved => resolved?,
    };
    command::kill_marked(&scratch);
    let mut removed = 0;
    for entry in fs::read_dir(&scratch)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(checkout::RUN_PREFIX.as_bytes()) {
            checkout::remove_tree(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn environment_of(run: &ObservedRun, checkout: &Checkout) -> Vec<(OsString, OsString)> {
    let own = [(OsString::from("TMPDIR"), checkout.temporary().into()), command::marked(checkout.run_folder())];
    run.environment.iter().cloned().chain(own).collect()
}

fn not_started(program: &str, cause: &io::Error) -> Observation {
    let fault = format!("cannot start `{}`: {cause}", visible_line(program, 120));
    Observation { exit_code: None, signal: None, duration_ms: 0, report: None, output_tail: String::new(), fault: Some(fault) }
}
