//! A shop of its own for a test: a workspace, the real server, its proxy and instances; what runs is looked at from outside.
//!
//! The harness speaks to `api.sock` itself and starts the server itself, so that it can kill either side whenever it likes.
#![allow(dead_code)]

use anyhow::{Context, Result, bail, ensure};
use interlock::{
    cli::demo::app::{AppRelease, Fault},
    config::Workspace,
    model::InstanceId,
    proxy::{HolderIdentity, ProxyClient},
    shim::{identity::Process, spec::Status},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

/// The real binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_interlock");
/// How long anything that must happen may take on a slow, loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A workspace with one service, `web` in `staging`. Ends with everything it started.
pub struct Shop {
    /// Where customers connect.
    pub listen: SocketAddr,
    /// The workspace.
    pub workspace: Workspace,
    server: Option<Child>,
    /// Makes versions differ.
    built: u32,
    folder: tempfile::TempDir,
}

/// A caller of the server's `api.sock`; one connection per call.
#[derive(Clone)]
pub struct Client(PathBuf);

/// Why a call brought no reply.
#[derive(Debug)]
pub enum NoReply {
    /// The server said no: the refusal's body.
    Refused(Value),
    /// The server is not there, or went away.
    Gone(String),
}

impl Client {
    /// Calls a method once.
    pub async fn try_call(&self, method: &str, params: Value) -> Result<Value, NoReply> {
        let answered = tokio::time::timeout(PATIENCE * 2, self.exchange(method, params)).await;
        answered.unwrap_or_else(|_| Err(NoReply::Gone(format!("no answer within {:?}", PATIENCE * 2))))
    }

    async fn exchange(&self, method: &str, params: Value) -> Result<Value, NoReply> {
        let gone = |error: std::io::Error| NoReply::Gone(error.to_string());
        let mut stream = UnixStream::connect(&self.0).await.map_err(gone)?;
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        stream.write_all(format!("{request}\n").as_bytes()).await.map_err(gone)?;
        let line = BufReader::new(stream).lines().next_line().await.map_err(gone)?;
        let line = line.ok_or_else(|| NoReply::Gone("the server hung up".into()))?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| NoReply::Gone(error.to_string()))?;
        match answer.get("error") {
            Some(error) => Err(NoReply::Refused(error.clone())),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls a method that must work.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        match self.try_call(method, params).await {
            Ok(reply) => Ok(reply),
            Err(NoReply::Refused(refusal)) => bail!("`{method}` was refused: {refusal}"),
            Err(NoReply::Gone(how)) => bail!("`{method}`: {how}"),
        }
    }
}

impl Shop {
    /// Makes the workspace and applies its configuration; a server runs in it.
    pub async fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(folder.path().join("interlock.toml"), configuration(listen))?;
        fs::write(folder.path().join(".gitignore"), ".interlock/\nbuild/\n")?;
        for words in ["init --quiet", "add --all", "-c user.name=test -c user.email=test@shop.test commit --quiet --message shop"] {
            let status = Command::new("git").args(words.split(' ')).current_dir(folder.path()).stdin(Stdio::null()).status()?;
            ensure!(status.success(), "git {words}: {status}");
        }
        let workspace = Workspace::at(folder.path())?;
        let mut shop = Shop { listen, workspace, server: None, built: 0, folder };
        shop.start(&[]).await?;
        let text = fs::read_to_string(shop.workspace.config_file())?;
        shop.client().call("apply", json!({ "text": text })).await?;
        Ok(shop)
    }

    /// Returns a caller of the server.
    pub fn client(&self) -> Client {
        Client(self.workspace.api_socket())
    }

    /// Starts the server with these variables, and returns when it answers.
    pub async fn start(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        ensure!(self.server.is_none(), "one server at a time");
        let mut command = Command::new(BINARY);
        command.args(["serve", "--workspace"]).arg(&self.workspace.root).current_dir(&self.workspace.root);
        let said = fs::File::create(self.folder.path().join(".interlock-server.log"))?;
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        self.server = Some(command.spawn().context("starting the server")?);
        let began = Instant::now();
        while self.client().try_call("get_status", json!({})).await.is_err() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            ensure!(ended.is_none() && began.elapsed() < PATIENCE, "the server does not start: {ended:?}");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Stops the server as `interlock stop` does.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        signal(server.id() as i32, Signal::TERM);
        self.ended().await.map(|_| ())
    }

    /// Waits for the server's end; returns the signal that ended it.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        let mut server = self.server.take().context("no server runs")?;
        let began = Instant::now();
        loop {
            if let Some(status) = server.try_wait()? {
                return Ok(status.signal());
            }
            if began.elapsed() > PATIENCE {
                self.server = Some(server);
                bail!("the server does not end");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Builds the next release, and returns its version.
    pub fn build(&mut self, fault: Fault) -> Result<String> {
        self.built += 1;
        let version = format!("{}.0.0", self.built);
        AppRelease { version: version.clone(), fault }.write(&self.workspace.root.join("build").join(&version))?;
        Ok(version)
    }

    /// Takes a release from its directive to its plan, as an agent does.
    pub async fn plan(&self, version: &str) -> Result<String> {
        let client = self.client();
        let order = json!({ "service": "web", "environment": "staging", "version": version, "artifact": format!("build/{version}") });
        let directive = client.call("create_directive", order).await?["directive"]["id"].clone();
        client.call("run_predeploy_checks", json!({ "directive": directive })).await?;
        let mut status = client.call("get_status", json!({ "directive": directive })).await?;
        while status["state"] == "checking" {
            let wait = json!({ "directive": directive, "wait_seconds": 20, "since": status["token"] });
            status = client.call("get_status", wait).await?;
        }
        let plan = client.call("plan_deployment", json!({ "directive": directive })).await?;
        plan["plan"].as_str().map(str::to_owned).with_context(|| format!("no plan: {plan}"))
    }

    /// Deploys a release that has no fault, undisturbed; returns its version.
    pub async fn deploy(&mut self) -> Result<String> {
        let version = self.build(Fault::None)?;
        let plan = self.plan(&version).await?;
        let reply = self.client().call("execute_deployment", json!({ "plan": plan })).await?;
        let settled = self.settled(reply["deployment"].as_str().unwrap_or_default()).await?;
        ensure!(settled["state"] == "succeeded", "{settled}");
        Ok(version)
    }

    /// Waits until a deployment is settled; returns `get_deployment` in detail.
    pub async fn settled(&self, deployment: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let ask = json!({ "deployment": deployment, "wait_seconds": 5, "until": "settled", "detail": true });
            let body = self.client().call("get_deployment", ask).await?;
            if ["succeeded", "rolled_back", "stuck"].contains(&body["state"].as_str().unwrap_or_default()) {
                return Ok(body);
            }
            ensure!(began.elapsed() < PATIENCE, "`{deployment}` does not settle: {body}");
        }
    }

    /// Returns what a customer gets.
    pub async fn served(&self) -> Result<String> {
        let asked = async {
            let mut stream = TcpStream::connect(self.listen).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer.split_once("\r\n\r\n").context("an answer has a head")?.1.trim_end().to_owned())
        };
        tokio::time::timeout(PATIENCE, asked).await.context("no answer")?
    }

    /// Compares everything that can be seen with `version` serving; returns what disagrees, nothing when all is well.
    pub async fn disagreements(&self, version: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let answer = self.served().await.unwrap_or_else(|error| format!("{error:#}"));
        if answer != format!("hello from {version}") {
            found.push(format!("customers get `{answer}`, not {version}"));
        }
        let status = self.client().call("get_status", json!({})).await?;
        let place = &status["places"][0];
        if place["serves"] != version || !place["under_way"].is_null() {
            found.push(format!("get_status says {place}, not {version}"));
        }
        let wanted = InstanceId::of(&"staging".into(), &"web".into(), &place["deployment"].as_str().unwrap_or_default().into(), 1);
        match self.proxy()?.1.observe().await {
            Ok(in_force) if in_force.split.serving().map(|share| &share.instance).eq([&wanted]) => (),
            other => found.push(format!("the proxy has {other:?}, not {wanted}")),
        }
        let (mut runs, mut known) = (false, Vec::new());
        for (name, status) in self.instances() {
            let instance = status.instance.filter(Process::is_alive);
            known.extend(instance.filter(|_| status.shim.is_alive()).map(|process| process.pid));
            match (status.shim.is_alive(), instance.is_some()) {
                (true, true) if name == wanted.as_str() => runs = true,
                (false, false) => (),
                (shim, app) => found.push(format!("instance {name}: shim alive {shim}, instance alive {app}")),
            }
        }
        if !runs {
            found.push(format!("{wanted} does not run"));
        }
        let strays = self.processes("demo-app").into_iter().filter(|process| !known.contains(&process.pid));
        found.extend(strays.map(|stray| format!("process {} of the service is under no shim", stray.pid)));
        Ok(found)
    }

    /// Waits until nothing disagrees with `version` serving.
    pub async fn agrees(&self, version: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let found = self.disagreements(version).await?;
            if found.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{}", found.join("; "));
            tokio::time::sleep(LOOK * 5).await;
        }
    }

    /// Returns every instance that left a trace, oldest first.
    pub fn instances(&self) -> Vec<(String, Status)> {
        let folders = fs::read_dir(self.workspace.instances_dir()).into_iter().flatten().flatten();
        let mut found: Vec<_> =
            folders.filter_map(|folder| Some((folder.file_name().into_string().ok()?, Status::read(&folder.path()).ok()??))).collect();
        found.sort_by_key(|(name, _)| (name.len(), name.clone()));
        found
    }

    /// Returns the proxy's holder, and a client of its control socket.
    pub fn proxy(&self) -> Result<(HolderIdentity, ProxyClient)> {
        let folder = fs::read_dir(self.workspace.state_dir().join("proxies"))?.next().context("a proxy was started")??;
        let holder = HolderIdentity::read(&folder.path()).context("no proxy.json")?;
        let control = self.workspace.run_dir().join(format!("proxy-{}.sock", folder.file_name().to_string_lossy()));
        Ok((holder, ProxyClient::new(control)))
    }

    /// Returns the proxy's worker: its holder's child.
    pub fn worker(&self) -> Result<i32> {
        let pid = self.proxy()?.0.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("the holder has no worker")
    }

    /// Returns the living processes of this workspace whose command line has `word`.
    pub fn processes(&self, word: &str) -> Vec<Process> {
        let root = self.workspace.root.to_string_lossy().into_owned();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            // A launcher or a shim names the service's command too; only the process itself has it in second place.
            words.get(1).is_some_and(|second| word.is_empty() || second == word) && words.iter().any(|one| one.contains(&root))
        };
        pids.filter(ours).filter_map(Process::of).filter(Process::is_alive).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for words in [&["down", "staging"][..], &["stop"]] {
            let mut command = Command::new(BINARY);
            command.args(words).arg("--workspace").arg(&self.workspace.root).stdin(Stdio::null());
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
    }
}

/// Sends a signal to a process.
pub fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).expect("a process has a number"), signal);
}

fn configuration(listen: SocketAddr) -> String {
    format!(
        r#"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{BINARY}", "demo-app", "--release", "{{release}}", "--port", "{{port}}"]
health  = {{ http = "/healthz", interval = "20ms", timeout = "2s", successes = 2, deadline = "20s" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "1s"
bake  = "1s"
keep  = 3

[environments.staging.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{listen}" }}
env    = {{ MODE = "live" }}
"#
    )
}
