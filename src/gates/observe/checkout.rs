//! A clean checkout of one commit, in a run's own folder, and its removal.

use super::{ObserveError, ObservedRun};
use crate::model::text::visible_line;
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::process::Command;

/// How the folder of a run begins.
pub const RUN_PREFIX: &str = "run-";

/// The only configuration git reads beside the repository's own. The workspace may belong to another user than the server: nothing
/// of it is executed, so its ownership does not matter. Only local paths are fetched from.
const GIT_CONFIG: &str = "[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n[gc]\n\tauto = 0\n[maintenance]\n\
    \tauto = false\n[protocol]\n\tallow = never\n[protocol \"file\"]\n\tallow = always\n[protocol]\n\tversion = 2\n[uploadpack]\n\
    \tallowAnySHA1InWant = true\n[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n";

/// A checkout; removed with its folder when dropped.
pub struct Checkout {
    run_folder: PathBuf,
    root: PathBuf,
    folder: PathBuf,
}

impl Checkout {
    /// Makes a checkout of the run's commit.
    pub async fn make(run: &ObservedRun) -> Result<Self, ObserveError> {
        if !matches!(run.commit.len(), 40 | 64) || !run.commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ObserveError::UnknownCommit(visible_line(&run.commit, 80)));
        }
        let run_folder = new_run_folder(&run.scratch)?;
        let root = run_folder.join("checkout");
        let mut checkout = Checkout { folder: root.clone(), root, run_folder };
        for folder in [&checkout.root, &checkout.temporary()] {
            fs::create_dir(folder).map_err(ObserveError::io("making a checkout's folder"))?;
        }
        let config = checkout.run_folder.join("gitconfig");
        fs::write(&config, GIT_CONFIG).map_err(ObserveError::io("writing git's configuration"))?;
        let git = Git { config: &config, path: run.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str()) };

        let source = git.source(&run.workspace).await?;
        if checkout.run_folder.starts_with(&source.top) {
            return Err(ObserveError::ScratchInside);
        }
        let named = format!("{}^{{commit}}", run.commit);
        match git.run("look for the commit", &run.workspace, ["cat-file", "-e", &named]).await {
            Err(ObserveError::Git { .. }) => return Err(ObserveError::UnknownCommit(run.commit.clone())),
            other => other?,
        };
        let format = format!("--object-format={}", source.object_format);
        git.run("make a repository", &checkout.root, ["init", "--quiet", "--template=", &format]).await?;
        // A fetch, not shared objects: the receiving side names every object by its content, so none can have been altered.
        let fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", &source.git_dir, &run.commit];
        git.run("fetch the commit", &checkout.root, fetch).await?;
        git.run("check the commit out", &checkout.root, ["checkout", "--quiet", "--detach", &run.commit]).await?;

        let folder = checkout.root.join(&source.prefix).canonicalize();
        checkout.folder = match folder {
            Ok(folder) if folder.starts_with(&checkout.root) && folder.is_dir() => folder,
            _ => return Err(ObserveError::Invalid(format!("the commit has no folder `{}`", visible_line(&source.prefix, 120)))),
        };
        Ok(checkout)
    }

    /// Returns the checkout's root, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the workspace's folder in the checkout.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder that holds everything of the run.
    pub fn run_folder(&self) -> &Path {
        &self.run_folder
    }

    /// Returns the run's own folder for temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.run_folder.join("tmp")
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Err(cause) = remove_tree(&self.run_folder) {
            tracing::warn!("the checkout `{}` is not removed: {cause}", self.run_folder.display());
        }
    }
}

/// Where the workspace's repository is.
struct Source {
    git_dir: String,
    object_format: String,
    prefix: String,
    top: PathBuf,
}

/// git, deaf to the configuration of user and system.
struct Git<'a> {
    config: &'a Path,
    path: Option<&'a OsStr>,
}

impl Git<'_> {
    async fn source(&self, workspace: &Path) -> Result<Source, ObserveError> {
        let ask = ["rev-parse", "--path-format=absolute", "--git-common-dir", "--show-object-format", "--show-prefix"];
        let answer = match self.run("read the repository", workspace, ask).await {
            Err(ObserveError::Git { fault, .. }) if fault.contains("not a git repository") => return Err(ObserveError::NoRepository),
            answer => answer?,
        };
        let [git_dir, object_format, prefix] = answer.lines().collect::<Vec<_>>()[..] else {
            return Err(ObserveError::Git { act: "read the repository", fault: "its answer has not three lines".into() });
        };
        let mut top = workspace.canonicalize().map_err(ObserveError::io("resolving the workspace"))?;
        Path::new(prefix).components().for_each(|_| {
            top.pop();
        });
        Ok(Source { git_dir: git_dir.to_owned(), object_format: object_format.to_owned(), prefix: prefix.to_owned(), top })
    }

    async fn run<const N: usize>(&self, act: &'static str, folder: &Path, arguments: [&str; N]) -> Result<String, ObserveError> {
        if !folder.is_dir() {
            return Err(ObserveError::Invalid(format!("`{}` is no folder", folder.display())));
        }
        let path = self.path.map(OsStr::to_owned).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        let output = Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.config.parent().expect("the configuration lies in the run's folder"))
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_OPTIONAL_LOCKS", "0"), ("LC_ALL", "C")])
            .envs([("GIT_NO_REPLACE_OBJECTS", "1"), ("GIT_NO_LAZY_FETCH", "1")])
            .env("GIT_CONFIG_GLOBAL", self.config)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::NotFound => ObserveError::NoGit,
                _ => ObserveError::Io { act: "starting git", cause },
            })?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(ObserveError::Git { act, fault: visible_line(String::from_utf8_lossy(&output.stderr).trim(), 300) }),
        }
    }
}

/// Makes the folder of a run, in a scratch folder that is nobody else's.
fn new_run_folder(scratch: &Path) -> Result<PathBuf, ObserveError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let act = "making a folder for checkouts";
    DirBuilder::new().recursive(true).mode(0o700).create(scratch).map_err(ObserveError::io(act))?;
    let scratch = scratch.canonicalize().map_err(ObserveError::io(act))?;
    let owner = fs::metadata(&scratch).map_err(ObserveError::io(act))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(ObserveError::Invalid(format!("`{}` belongs to another user", scratch.display())));
    }
    let folder = scratch.join(format!("{RUN_PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    if folder.exists() {
        remove_tree(&folder).map_err(ObserveError::io("removing the folder of an earlier run"))?;
    }
    DirBuilder::new().mode(0o700).create(&folder).map_err(ObserveError::io(act))?;
    Ok(folder)
}

/// Removes a folder with everything in it, folders that a tool made read-only included.
pub fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder);
            fs::remove_dir_all(folder)
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // The entry's own type: a symbolic link to a folder is not followed.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| open_up(&entry.path()));
}
