//! The little that is asked of git: which commit the workspace stands at, and when it was made. No hooks, no user configuration.

use crate::model::Timestamp;
use std::path::Path;
use tokio::process::Command;

/// Returns the full id of a revision in the workspace's repository; `None` when there is no git, no repository or no such commit.
pub async fn commit(workspace: &Path, revision: &str) -> Option<String> {
    let id = answer(workspace, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")]).await?;
    (id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Returns when a commit was made, as its committer's clock had it; `None` when nobody can say.
pub async fn committed_at(workspace: &Path, id: &str) -> Option<Timestamp> {
    let seconds = answer(workspace, &["show", "--no-patch", "--format=%ct", "--end-of-options", id]).await?;
    Some(Timestamp(seconds.parse::<i64>().ok()?.checked_mul(1000)?))
}

async fn answer(workspace: &Path, words: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .args(words)
        .current_dir(workspace)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), command.output()).await.ok()?.ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(said)
}
