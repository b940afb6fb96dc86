//! The little that is asked of git: which commit the workspace stands at, when it was made, what lies between two, and what a file said at one.
//! No hooks, no user configuration, no object that stands in for another.

use crate::model::Timestamp;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{io::AsyncReadExt, process::Command};

/// How much of an answer is read, bytes: the paths of a large repository fit many times.
const MOST_BYTES: u64 = 4 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It has more than 4 MiB.
    TooLong,
    /// There is no git or no such thing, it took too long, or what it says is no text.
    Unknown,
}

/// Returns the full id of a revision in the workspace's repository; `None` when there is no git, no repository or no such commit.
pub async fn commit(workspace: &Path, revision: &str) -> Option<String> {
    let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")];
    let id = asked(workspace, &arguments).await.ok()?.trim().to_owned();
    (id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Returns when a commit was made, as its committer's clock had it; `None` when nobody can say.
pub async fn committed_at(workspace: &Path, id: &str) -> Option<Timestamp> {
    let seconds = asked(workspace, &["show", "--no-patch", "--format=%ct", "--end-of-options", id]).await.ok()?;
    Some(Timestamp(seconds.trim().parse::<i64>().ok()?.checked_mul(1000)?))
}

/// Returns the paths that differ between two commits, given by their full ids.
pub async fn changed(workspace: &Path, from: &str, to: &str) -> Result<Vec<String>, NoAnswer> {
    // The repository's own settings are an agent's to change: none of them may hide a path.
    let (relative, submodules) = ("--no-relative", "--ignore-submodules=none");
    let arguments =
        ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", relative, submodules, "-z", "--end-of-options", from, to];
    let paths = asked(workspace, &arguments).await?;
    Ok(paths.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// What a commit has under a path.
pub struct Entry {
    /// `100644` of a file, `120000` of a symbolic link, `040000` of a folder, `160000` of another repository.
    pub mode: String,
    /// The object's id.
    pub object: String,
    /// How many bytes; none of what is no file.
    pub size_bytes: Option<u64>,
    /// The path from the repository's root.
    pub path: String,
}

/// Returns what a commit, given by its full id, has under a path from the repository's root; `None` when it has nothing there.
pub async fn entry(workspace: &Path, commit: &str, path: &str) -> Option<Entry> {
    let listed = asked(workspace, &["ls-tree", "--full-tree", "-l", "-z", commit, "--", path]).await.ok()?;
    listed.split('\0').find_map(entry_of).filter(|entry| entry.path == path)
}

fn entry_of(line: &str) -> Option<Entry> {
    let (fields, path) = line.split_once('\t')?;
    let [mode, _, object, size] = fields.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    Some(Entry { mode: mode.to_owned(), object: object.to_owned(), size_bytes: size.parse().ok(), path: path.to_owned() })
}

/// Returns the symbolic links of a commit, given by its full id, each with what it names; `None` when git cannot say.
pub async fn links(workspace: &Path, commit: &str) -> Option<Vec<(String, String)>> {
    let listed = asked(workspace, &["ls-tree", "--full-tree", "-r", "-l", "-z", commit]).await.ok()?;
    let mut links = Vec::new();
    for entry in listed.split('\0').filter_map(entry_of).filter(|entry| entry.mode == "120000") {
        links.push((entry.path, content(workspace, &entry.object).await?));
    }
    Some(links)
}

/// Returns the text of a file's object, as [`entry`] names it; `None` when it is no text.
pub async fn content(workspace: &Path, object: &str) -> Option<String> {
    asked(workspace, &["cat-file", "blob", object]).await.ok()
}

/// Returns what git answers on its standard output.
async fn asked(workspace: &Path, arguments: &[&str]) -> Result<String, NoAnswer> {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        // A commit-graph says of a commit which tree it has, and nothing checks that: the commit itself is asked.
        .args(["-c", "core.commitGraph=false"])
        .args(arguments)
        .current_dir(workspace)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_NO_REPLACE_OBJECTS", "1"), ("GIT_NO_LAZY_FETCH", "1"), ("GIT_LITERAL_PATHSPECS", "1")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let answer = async {
        let mut child = command.spawn().map_err(|_| NoAnswer::Unknown)?;
        let stdout = child.stdout.take().ok_or(NoAnswer::Unknown)?;
        let mut bytes = Vec::new();
        stdout.take(MOST_BYTES + 1).read_to_end(&mut bytes).await.map_err(|_| NoAnswer::Unknown)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(NoAnswer::TooLong);
        }
        let is_well = child.wait().await.is_ok_and(|status| status.success());
        String::from_utf8(bytes).ok().filter(|_| is_well).ok_or(NoAnswer::Unknown)
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(NoAnswer::Unknown))
}
