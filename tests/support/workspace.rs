//! A workspace of its own for a test, and the real server in it, on either database.

use super::{BINARY, PATIENCE, databases::Database, wire::Client};
use anyhow::{Context, Result, ensure};
use interlock::{
    cli::demo::app::{AppRelease, Fault},
    config,
    server::Running,
    shim::identity::Process,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    fs,
    net::SocketAddr,
    ops::Deref,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};
use tokio::process::Command;

/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A folder with an `interlock.toml`, whose server keeps its record in `database`. Ends with everything it started.
pub struct Workspace {
    /// Where the record is.
    pub database: Database,
    places: config::Workspace,
    server: Option<Child>,
    _folder: tempfile::TempDir,
}

/// A workspace knows its places.
impl Deref for Workspace {
    type Target = config::Workspace;

    fn deref(&self) -> &config::Workspace {
        &self.places
    }
}

impl Workspace {
    /// Makes a workspace with this configuration; nothing runs in it yet.
    pub fn new(database: Database, configuration: &str) -> Self {
        let workspace = Workspace::named("shop", database);
        workspace.write("interlock.toml", configuration);
        workspace
    }

    /// Makes an empty folder of this name.
    pub fn named(name: &str, database: Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(name);
        fs::create_dir(&root).unwrap();
        Workspace { database, places: config::Workspace::at(&root).unwrap(), server: None, _folder: folder }
    }

    /// Makes it a git repository with one commit, and returns that.
    pub fn commit(&self) -> String {
        // What the server is about to put in its place has such a name, too, for a moment.
        self.write(".gitignore", ".interlock*\nbuild/\nserver.err\n");
        let commit = "-c user.name=test -c user.email=test@shop.test commit --quiet --message shop";
        let mut said = String::new();
        for words in ["init --quiet", "add --all", commit, "rev-parse HEAD"] {
            let git = std::process::Command::new("git").args(words.split(' ')).current_dir(self.root()).stdin(Stdio::null()).output();
            let git = git.expect("git runs");
            assert!(git.status.success(), "git {words}: {}", String::from_utf8_lossy(&git.stderr));
            said = String::from_utf8(git.stdout).unwrap().trim().to_owned();
        }
        said
    }

    /// Returns the workspace's folder.
    pub fn root(&self) -> &Path {
        &self.places.root
    }

    /// Writes a file of the workspace, with its folder.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the workspace.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Builds a release of the demo's service; returns its path.
    pub fn build(&self, version: &str) -> String {
        self.build_with(version, Fault::None)
    }

    /// Builds a release that misbehaves; returns its path.
    pub fn build_with(&self, version: &str, fault: Fault) -> String {
        let path = format!("build/{version}");
        AppRelease { version: version.to_owned(), fault }.write(&self.root().join(&path)).unwrap();
        path
    }

    /// Returns a command line in this workspace.
    pub fn interlock(&self, arguments: &[&str]) -> Command {
        self.program(Path::new(BINARY), arguments)
    }

    /// Returns a command line of another program in this workspace.
    pub fn program(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.root()).env("INTERLOCK_WORKSPACE", self.root()).stdin(Stdio::null());
        match &self.database {
            Database::Sqlite => command.env_remove("INTERLOCK_DATABASE_URL"),
            Database::Postgres(url) => command.env("INTERLOCK_DATABASE_URL", url),
        };
        command
    }

    /// Returns a caller of the server.
    pub fn client(&self) -> Client {
        Client(self.api_socket())
    }

    /// Starts the server with these variables, and returns when it answers.
    pub async fn serve(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let mut command = self.interlock(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs(variables.iter().copied());
        self.start(command).await
    }

    /// Starts the server by this command, and returns when it answers.
    pub async fn start(&mut self, command: Command) -> Result<()> {
        ensure!(self.server.is_none(), "one server at a time");
        let mut command = command.into_std();
        let said = fs::File::create(self.root().join("server.err"))?;
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().context("starting the server")?;
        let server = self.server.insert(server);
        let began = Instant::now();
        let client = Client(self.places.api_socket());
        while client.try_call("get_status", json!({})).await.is_err() {
            let ended = server.try_wait()?;
            let is_starting = ended.is_none() && began.elapsed() < PATIENCE;
            ensure!(is_starting, "no server: {ended:?} {}", fs::read_to_string(self.places.root.join("server.err"))?);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Returns where the server listens, and its token.
    pub fn listens(&self) -> (SocketAddr, String) {
        let running = Running::of(&self.places).expect("a server runs");
        (running.address, self.token().unwrap())
    }

    /// Stops the server as `interlock stop` does; what serves goes on.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        signal(server.id() as i32, Signal::TERM);
        self.ended().await.map(drop)
    }

    /// Kills the server.
    pub fn kill_server(&self) -> Result<()> {
        signal(self.server.as_ref().context("no server runs")?.id() as i32, Signal::KILL);
        Ok(())
    }

    /// Waits for the server's end; returns the signal that ended it.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        let server = self.server.as_mut().context("no server runs")?;
        let began = Instant::now();
        loop {
            if let Some(status) = server.try_wait()? {
                self.server = None;
                return Ok(status.signal());
            }
            ensure!(began.elapsed() < PATIENCE, "the server does not end");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns the living processes of this workspace whose command line has `word` in second place; every process where it is empty.
    ///
    /// A launcher or a shim names the service's command too; only the process itself has it in second place.
    pub fn processes(&self, word: &str) -> Vec<Process> {
        let root = self.root().to_string_lossy().into_owned();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            words.get(1).is_some_and(|second| word.is_empty() || second == word) && words.iter().any(|one| one.contains(&root))
        };
        pids.filter(ours).filter_map(Process::of).filter(Process::is_alive).collect()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let has_run = fs::read_dir(self.instances_dir()).is_ok_and(|mut folders| folders.next().is_some());
        let down: &[&[&str]] = if has_run { &[&["down", "production"], &["down", "staging"]] } else { &[] };
        for arguments in down.iter().copied().chain([&["stop"][..]]) {
            let mut command = self.interlock(arguments).into_std();
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        // What a failed test left: shims and holders first, they start the others again.
        for process in self.processes("shim").into_iter().chain(self.processes("proxy")).chain(self.processes("")) {
            process.signal(Signal::KILL);
        }
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let sockets = self.agent_socket();
        if !sockets.starts_with(self.root()) {
            let _ = fs::remove_dir_all(sockets.parent().unwrap());
        }
    }
}

/// Sends a signal to a process.
pub fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).expect("a process has a number"), signal);
}
