//! `interlock stop`: ends the server of a workspace. Instances and the proxy go on.

use super::{block_on, workspace};
use crate::{
    config::Workspace,
    error::{Code, Error},
    server::Running,
};
use clap::{ArgMatches, Command};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn command(command: Command) -> Command {
    command.about("Stop the server; what serves customers goes on")
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    let workspace = workspace(matches)?;
    match block_on(stop(&workspace))? {
        true => println!("stopped the server in {}", workspace.root.display()),
        false => println!("no server runs in {}", workspace.root.display()),
    }
    Ok(())
}

/// Ends the workspace's server and waits until it is gone; `false` when none runs.
pub(super) async fn stop(workspace: &Workspace) -> Result<bool, Error> {
    let Some(running) = Running::of(workspace) else { return Ok(false) };
    let pid = i32::try_from(running.pid).ok().and_then(Pid::from_raw).ok_or_else(|| Error::not_found("process", running.pid))?;
    kill_process(pid, Signal::TERM)
        .map_err(|err| Error::new(Code::TargetFailed, format!("cannot signal process {}: {err}", running.pid)))?;
    let ended = async {
        while running.is_alive() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .map_err(|_| Error::new(Code::ServerRunning, format!("process {} has not ended after {PATIENCE:?}", running.pid)))?;
    Ok(true)
}
