//! `interlock shim-launch`: the few steps between the shim's fork and the instance's first instruction.
//!
//! A separate program run, because what must happen in the child between fork and exec cannot be written in safe Rust.

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};
use std::{ffi::OsString, io::Write, os::fd::AsFd, os::unix::process::CommandExt, process::Command, process::Stdio};

/// What `interlock shim-launch` is told by the shim.
#[derive(Debug, Clone, clap::Args)]
pub struct LaunchArgs {
    /// The shim that must still be there
    #[arg(long)]
    pub parent: i32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub argv: Vec<OsString>,
}

/// Becomes the instance: dies with the shim, leads its own session, runs the program. Returns only when that fails.
///
/// Standard input is the shim's pipe: it closes when the program runs, and says why when it cannot.
pub fn run(args: LaunchArgs) -> Result<()> {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned().context("keeping the shim's pipe")?;
    let Err(err) = become_instance(&args);
    let _ = std::fs::File::from(pipe).write_all(format!("{err:#}").as_bytes());
    std::process::exit(127);
}

fn become_instance(args: &LaunchArgs) -> Result<std::convert::Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to die with the shim")?;
    // The shim may have died before the line above; then nobody will tell us.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        bail!("the shim is gone");
    }
    setsid().context("leading a session")?;
    let (program, arguments) = args.argv.split_first().context("the command is empty")?;
    let err = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    Err(err).with_context(|| format!("cannot run `{}`", program.to_string_lossy()))
}
