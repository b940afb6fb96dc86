//! The demo's throw-away workspace: a git repository with its own identity, a service, a configuration with seconds for minutes.

use super::app::{AppRelease, Fault};
use anyhow::Context;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The workspace.
pub struct Shop {
    /// Its folder.
    pub root: PathBuf,
    /// Where production's customers connect.
    pub production: SocketAddr,
    /// Where staging answers.
    pub staging: SocketAddr,
}

impl Shop {
    /// Makes the repository and its configuration.
    pub fn open(root: &Path, exe: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root.join("app"))?;
        let (staging, production) = free_addresses()?;
        let shop = Shop { root: root.to_path_buf(), staging, production };
        let exe = exe.to_str().context("the path of this program is not UTF-8")?;
        std::fs::write(root.join("interlock.toml"), shop.configuration(exe))?;
        std::fs::write(root.join(".gitignore"), ".interlock/\nci/\npost-deploy/\ndocs/\nstatus.md\n")?;
        shop.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(shop)
    }

    /// Writes a version of the service and commits it.
    pub fn write_version(&self, version: &str, fault: Fault) -> anyhow::Result<()> {
        AppRelease { version: version.to_owned(), fault }.write(&self.root.join("app"))?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", &format!("web {version}")])
    }

    fn git(&self, words: &[&str]) -> anyhow::Result<()> {
        let status = Command::new("git")
            .args([
                "-c",
                "user.name=Demo",
                "-c",
                "user.email=demo@shop.test",
                "-c",
                "commit.gpgsign=false",
                "-c",
                "core.hooksPath=/dev/null",
            ])
            .args(words)
            .current_dir(&self.root)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .status()
            .context("running git: the demo needs it")?;
        anyhow::ensure!(status.success(), "git {} ended with {status}", words[0]);
        Ok(())
    }

    fn configuration(&self, exe: &str) -> String {
        let exe = toml::Value::from(exe);
        format!(
            r#"[project]
name = "demo-shop"

[services.web]
owner      = "demo-team"
escalation = "oncall@shop.test"
command = [{exe}, "demo-app", "--release", "{{release}}", "--port", "{{port}}"]
health  = {{ http = "/healthz", interval = "50ms", timeout = "2s", successes = 3, deadline = "20s" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "3s"   # seconds, so that the demo is short
bake  = "3s"
keep  = 5

[environments.staging.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{staging}" }}
env    = {{ MODE = "test" }}

[environments.production]
phase    = "phase-06"
after    = "staging"
approval = {{ role = "chairman", expires = "60m", request_expires = "24h", on_approval = "wait" }}
evidence = ["observed", "person"]

[environments.production.gates]
coverage        = "off"   # the demo's service has no coverage report
vulnerabilities = "off"   # and no advisory database at hand
alerts          = "off"   # nothing watches it

[environments.production.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{production}" }}
env    = {{ MODE = "live" }}

[gates]
tests = {{ failed = "<= 0", run = ">= 5", command = [{exe}, "demo-test", "--release", "app", "--report", "junit.xml"], report = "junit.xml", format = "junit" }}
load  = {{ p95_ms = "<= 500", error_percent = "<= 1", command = [{exe}, "demo-load", "--url", "{{after.url}}", "--requests", "400", "--report", "load.json"], report = "load.json", format = "k6" }}
"#,
            staging = self.staging,
            production = self.production,
        )
    }
}

/// Returns two free addresses; both are held while they are chosen, so that they differ.
fn free_addresses() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((first.local_addr()?, second.local_addr()?))
}
