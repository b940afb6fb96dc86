//! `interlock shim`: supervises exactly one instance, and knows nothing of deployments.
//!
//! The server writes `spec.json` into a folder and starts a shim there; the shim keeps the instance running, its log rotated and
//! redacted, and answers on its control socket. It outlives the server. When it is killed itself, the kernel kills the instance with it.

pub mod control;
pub mod identity;
pub mod launch;
pub mod log;
pub mod redact;
pub mod secrets;
pub mod spec;
mod supervise;

use anyhow::{Context, Result};
use std::{path::PathBuf, time::Duration};

/// What `interlock shim` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct ShimArgs {
    /// The instance's folder, with `spec.json`
    #[arg(long)]
    pub dir: PathBuf,
    /// Where the control socket stands, when not where `spec.json` says
    #[arg(long)]
    pub control: Option<PathBuf>,
}

/// Supervises the instance in `--dir` until it is told to stop.
pub fn run(args: ShimArgs) -> Result<()> {
    // A session of its own: closing the terminal or killing the server's group does not reach the instance. It fails only where we lead a group already.
    let _ = rustix::process::setsid();
    let mut spec = spec::Spec::read(&args.dir)?;
    if let Some(control) = args.control {
        spec.control = control;
    }
    // Relative paths in argv and in `file:` references are the workspace's.
    std::env::set_current_dir(&spec.cwd).with_context(|| format!("entering `{}`", spec.cwd.display()))?;
    let lock = std::fs::File::create(args.dir.join("lock")).context("opening the shim's lock")?;
    let patience = std::time::Instant::now() + Duration::from_secs(5);
    while lock.try_lock().is_err() {
        anyhow::ensure!(std::time::Instant::now() < patience, "another shim supervises `{}`", args.dir.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    // One thread: the kernel ties an instance's life to the thread that started it, and memory stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let ended = runtime.block_on(supervise::supervise(args.dir, spec));
    // A command that is still being asked for a secret does not hold us back.
    runtime.shutdown_background();
    ended
}
