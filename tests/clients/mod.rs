//! What the tests of the real clients share: the clients' runtimes, and a workspace with a staging service and its server.
//!
//! `.ci/setup` installs the runtimes; without them a test says that it is skipped, unless `INTERLOCK_REQUIRE` names what is missing.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How long one run of a client may take on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// Returns the runtime a variable names; `None`, with a line that says so, where it is not there and not required.
pub fn runtime(name: &str, variable: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) => Some(path.into()),
        None if std::env::var("INTERLOCK_REQUIRE").is_ok_and(|required| required.split(',').any(|required| required == name)) => {
            panic!("INTERLOCK_REQUIRE asks for {name}, and {variable} is not set; `.ci/setup` installs it")
        }
        None => {
            eprintln!("skipped: {variable} is not set; `.ci/setup && . target/ci/env` installs {name} and the official clients");
            None
        }
    }
}

/// Returns the binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("INTERLOCK_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_interlock").into(), PathBuf::from)
}

/// Returns an address nobody listens on now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A git repository with a configuration whose one service is the demo's, and the server in it. Ends with what it started.
pub struct Workspace {
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Workspace {
    /// Makes the workspace, whose service is to be served at `listen`; nothing runs in it yet.
    pub async fn new(listen: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace { folder, server: None };
        fs::write(workspace.path().join("interlock.toml"), configuration(&binary(), listen)).unwrap();
        fs::write(workspace.path().join(".gitignore"), ".interlock/\nbuild/\n").unwrap();
        workspace.git(&["init", "--quiet"]).await;
        workspace.git(&["add", "--all"]).await;
        workspace.git(&["-c", "user.name=test", "-c", "user.email=test@shop.test", "commit", "--quiet", "--message", "shop"]).await;
        workspace
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the server on `address` and waits until it answers; returns where it listens and its token.
    pub async fn serve(&mut self, address: &str) -> (SocketAddr, String) {
        let mut command = self.interlock(&["serve", "--listen", address]);
        self.server = Some(command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap());
        let (state, began) = (self.path().join(".interlock"), Instant::now());
        loop {
            assert!(began.elapsed() < DEADLINE, "the server did not start");
            let running = fs::read(state.join("server.json")).ok().and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
            let address: Option<SocketAddr> = running.and_then(|running| running["address"].as_str()?.parse().ok());
            if let (Some(address), Ok(token)) = (address, fs::read_to_string(state.join("token")))
                && tokio::net::TcpStream::connect(address).await.is_ok()
            {
                return (address, token.trim().to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns a command line in this workspace.
    pub fn interlock(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.path()).env("INTERLOCK_WORKSPACE", self.path()).stdin(Stdio::null());
        command
    }

    async fn git(&self, arguments: &[&str]) {
        let output = finish(Command::new("git").args(arguments).current_dir(self.path())).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        for arguments in [&["down", "staging"][..], &["stop"]] {
            let mut command = std::process::Command::new(binary());
            command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = command.status();
        }
    }
}

/// Runs a command to its end; one that hangs is killed and fails the test.
pub async fn finish(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.unwrap_or_else(|err| panic!("{command:?}: {err}")).wait_with_output();
    tokio::time::timeout(DEADLINE, output).await.unwrap_or_else(|_| panic!("{command:?} did not end")).unwrap()
}

fn configuration(binary: &Path, listen: SocketAddr) -> String {
    format!(
        r#"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{}", "demo-app", "--release", "{{release}}", "--port", "{{port}}"]
health  = {{ http = "/healthz", interval = "50ms", timeout = "2s", successes = 2, deadline = "60s" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "10s"
bake  = "2s"
keep  = 3

[environments.staging.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{listen}" }}
env    = {{ MODE = "test" }}
"#,
        binary.display()
    )
}
