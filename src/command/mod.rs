//! One command in its own process group: argv and no shell, an environment that is named, its output bounded, and all of it ended
//! when it ends, is cancelled or takes too long, what has left the group included. [`MARKER`] finds that again, even after a crash.

mod leftovers;
mod run;

pub use leftovers::{kill_leftover, kill_marked, start_time};
pub use run::{Cut, Ended, Job, Leftovers, run};

use std::{ffi::OsString, path::Path};

/// The variables of the server's environment that a command may see.
pub const ALLOWED_ENVIRONMENT: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "CARGO_HOME", "RUSTUP_HOME"];

/// The variable that marks every process of a run; its value is the run's folder.
pub const MARKER: &str = "INTERLOCK_OBSERVED";

/// Returns what [`ALLOWED_ENVIRONMENT`] names of the server's environment.
pub fn allowed_environment() -> Vec<(OsString, OsString)> {
    ALLOWED_ENVIRONMENT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect()
}

/// Returns the variable that marks the processes of a run.
pub fn marked(run_folder: &Path) -> (OsString, OsString) {
    (OsString::from(MARKER), run_folder.into())
}
