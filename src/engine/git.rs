//! The little that is asked of git: which commit the workspace stands at, when it was made, and what lies between two. No hooks, no user
//! configuration.

use crate::model::Timestamp;
use std::path::Path;
use tokio::process::Command;

/// Returns the full id of a revision in the workspace's repository; `None` when there is no git, no repository or no such commit.
pub async fn commit(workspace: &Path, revision: &str) -> Option<String> {
    let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")];
    let id = asked(workspace, &arguments).await?.trim().to_owned();
    (id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Returns when a commit was made, as its committer's clock had it; `None` when nobody can say.
pub async fn committed_at(workspace: &Path, id: &str) -> Option<Timestamp> {
    let seconds = asked(workspace, &["show", "--no-patch", "--format=%ct", "--end-of-options", id]).await?;
    Some(Timestamp(seconds.trim().parse::<i64>().ok()?.checked_mul(1000)?))
}

/// Returns the paths that differ between two commits, given by their full ids; `None` when git cannot say.
pub async fn changed(workspace: &Path, from: &str, to: &str) -> Option<Vec<String>> {
    let arguments = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "-z", "--end-of-options", from, to];
    let paths = asked(workspace, &arguments).await?;
    Some(paths.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Returns what git answers on its standard output; `None` when it fails, takes too long, or says what is no text.
async fn asked(workspace: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .args(arguments)
        .current_dir(workspace)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}
