//! A real git repository in a temporary folder, and runs observed on it.

use interlock::gates::observe::{self, Observation, ObservedRun};
use std::{fs, path::Path, process::Command, time::Duration};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Patience with whatever must happen, on a slow machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A git repository with one commit, and a scratch folder beside it.
pub struct Repository {
    folder: TempDir,
    pub scratch: TempDir,
    pub commit: String,
}

impl Repository {
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let (folder, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut repository = Repository { folder, scratch, commit: String::new() };
        repository.git(&["init", "--quiet"]);
        for (name, content) in files {
            let path = repository.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        repository.commit();
        repository
    }

    pub fn commit(&mut self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "state"]);
        self.commit = self.git(&["rev-parse", "HEAD"]);
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let identity = [("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@t"), ("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@t")];
        let mut git = Command::new("git");
        git.args(arguments)
            .current_dir(self.path())
            .envs(identity)
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]);
        let output = git.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A run of this shell script whose report is at `report`.
    pub fn script(&self, script: &str, report: &str) -> ObservedRun {
        ObservedRun {
            workspace: self.path().to_owned(),
            commit: self.commit.clone(),
            command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            report: report.to_owned(),
            scratch: self.scratch.path().to_owned(),
            timeout: PATIENCE,
            cancel: CancellationToken::new(),
            environment: interlock::command::allowed_environment(),
        }
    }

    pub async fn observed(&self, script: &str, report: &str) -> Observation {
        let observation = observe::observe(self.script(script, report), |_, _| {}).await.unwrap();
        self.assert_nothing_is_left();
        observation
    }

    pub fn assert_nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        assert!(!self.path().join(".git/worktrees").exists());
    }
}
