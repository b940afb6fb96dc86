//! `interlock serve --standby` beside the server of a workspace.

use super::{PATIENCE, workspace::Workspace};
use anyhow::{Context, Result, ensure};
use interlock::server::Running;
use serde_json::json;
use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A server that waits; ends with its test.
pub struct Standby {
    child: Child,
    _said: TempDir,
}

impl Standby {
    /// Starts it, and returns when it waits.
    pub async fn of(workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("said");
        let root = workspace.root().to_str().context("a path in UTF-8")?;
        let mut command = workspace.interlock(&["serve", "--standby", "--workspace", root]).into_std();
        let child = command.stdout(Stdio::null()).stderr(fs::File::create(&path)?).spawn()?;
        let standby = Standby { child, _said: folder };
        until("the standby waits", || fs::read_to_string(&path).is_ok_and(|said| said.contains("waiting for its end"))).await?;
        Ok(standby)
    }

    /// Waits until it serves the workspace.
    pub async fn serves(&self, workspace: &Workspace) -> Result<()> {
        until("the standby is the server", || Running::of(workspace).is_some_and(|running| running.pid == self.child.id())).await?;
        let began = Instant::now();
        while workspace.client().try_call("get_status", json!({})).await.is_err() {
            ensure!(began.elapsed() < PATIENCE, "it does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
