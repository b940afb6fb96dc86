//! What the tests of approval and of bad input share: a shop with staging and production, served by the real binary, and people
//! who sign. A signature is made here, not by our command line, so that a test can also make one that must not count.

#![allow(dead_code, unused_imports)] // Each test file uses its part.

mod people;
mod wire;

pub use people::Approver;
pub use wire::{finish, http, line, said, served};

use interlock::{
    config::Workspace,
    decisions::{Question, Review},
    model::{DecisionKind, DecisionVerdict, SignedDecision},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

/// How long anything may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_interlock");

/// What production asks for in most tests: a signature, and no report.
pub const APPROVAL: &str = r#"{ role = "chairman", expires = "60m", request_expires = "24h", on_approval = "wait" }"#;

/// A workspace with its server. Ends with what it started.
pub struct Shop {
    _folder: tempfile::TempDir,
    /// The workspace.
    pub workspace: Workspace,
    /// Where staging answers.
    pub staging: SocketAddr,
    /// Where production answers.
    pub production: SocketAddr,
    server: Option<Child>,
}

impl Shop {
    /// Makes a workspace whose folder's name is `name`; nothing runs and nothing is configured yet.
    pub fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(name);
        fs::create_dir(&root).unwrap();
        let (staging, production) = (free_address(), free_address());
        Shop { workspace: Workspace::at(&root).unwrap(), _folder: folder, staging, production, server: None }
    }

    /// Returns a running shop whose configuration is stored; production waits for its first signature.
    pub async fn open() -> Self {
        let mut shop = Shop::named("shop");
        shop.write("interlock.toml", &shop.configuration(APPROVAL));
        shop.serve(&[]).await;
        shop.apply().await.unwrap();
        shop
    }

    /// Returns a running shop whose chairman has signed `configuration`.
    pub async fn signed(configuration: impl Fn(&Shop) -> String) -> (Self, Approver) {
        let mut shop = Shop::named("shop");
        shop.write("interlock.toml", &configuration(&shop));
        shop.serve(&[]).await;
        let chairman = Approver::new("ada");
        shop.enrol_first(&chairman).await.unwrap();
        shop.apply_signed(&chairman).await;
        (shop, chairman)
    }

    /// Returns the configuration of the shop with this approval in production.
    pub fn configuration(&self, approval: &str) -> String {
        let Shop { staging, production, .. } = self;
        format!(
            r#"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{BINARY}", "demo-app", "--release", "{{release}}", "--port", "{{port}}"]
health  = {{ http = "/healthz", interval = "50ms", timeout = "5s", successes = 2, deadline = "60s" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "2s"
bake  = "200ms"
keep  = 5

[environments.staging.services.web]
router = {{ kind = "proxy", listen = "{staging}" }}

[environments.production]
phase    = "phase-06"
approval = {approval}

[environments.production.gates]
tests           = "off"
coverage        = "off"
load            = "off"
vulnerabilities = "off"
promoted_from   = "off"
sign_off        = "off"

[environments.production.services.web]
router = {{ kind = "proxy", listen = "{production}" }}
"#
        )
    }

    /// Returns the workspace's folder.
    pub fn root(&self) -> &Path {
        &self.workspace.root
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

    /// Builds a release that shows `version`; returns its path.
    pub fn build(&self, version: &str) -> String {
        self.write(&format!("build/{version}/app.json"), &json!({ "version": version }).to_string());
        format!("build/{version}")
    }

    /// Returns a command line in this workspace.
    pub fn interlock(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.root()).env("INTERLOCK_WORKSPACE", self.root()).env_remove("INTERLOCK_DATABASE_URL");
        command.stdin(Stdio::null());
        command
    }

    /// Starts the server and waits until it answers.
    pub async fn serve(&mut self, variables: &[(&str, &str)]) {
        let mut command = self.interlock(&["serve", "--listen", "127.0.0.1:0"]);
        command.envs(variables.iter().copied());
        self.start(command).await;
    }

    /// Starts the server from a shell that runs `limit` first.
    pub async fn serve_under(&mut self, limit: &str) {
        let mut command = self.interlock(&[]);
        let own = command.as_std();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limit}; exec \"$0\" serve --listen 127.0.0.1:0"), BINARY]).current_dir(self.root());
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        command = shell;
        command.stdin(Stdio::null());
        self.start(command).await;
    }

    async fn start(&mut self, mut command: Command) {
        let said = fs::File::create(self.root().join("server.err")).unwrap();
        command.stdout(Stdio::null()).stderr(said).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while UnixStream::connect(self.workspace.api_socket()).await.is_err() {
            assert!(began.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "no server: {}", self.read("server.err"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.server = Some(child);
        self.must("approvers", json!({})).await;
    }

    /// Stops the server; what serves goes on.
    pub async fn stop(&mut self) {
        finish(&mut self.interlock(&["stop"])).await;
        if let Some(mut server) = self.server.take() {
            server.wait().await.unwrap();
        }
    }

    /// Asks over `api.sock`: the reply, or the body of the refusal.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value, Value> {
        let answer = line(&self.workspace.api_socket(), method, params).await;
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err(error["data"].clone()),
        }
    }

    /// Asks for what must work.
    pub async fn must(&self, method: &str, params: Value) -> Value {
        self.ask(method, params).await.unwrap_or_else(|refusal| panic!("`{method}` was refused: {refusal:#}"))
    }

    /// Asks for what must be refused with this code; returns the refusal.
    pub async fn refused(&self, code: &str, method: &str, params: Value) -> Value {
        let refusal = self.ask(method, params.clone()).await.expect_err(&format!("`{method}` {params} must be refused with {code}"));
        assert_eq!(refusal["code"], code, "`{method}` {params}: {refusal:#}");
        refusal
    }

    /// Calls a tool as an agent does, over `agent.sock`.
    pub async fn tool(&self, tool: &str, arguments: Value) -> Value {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        });
        line(&self.workspace.agent_socket(), "tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta })).await
    }

    /// Hands the file on disk in.
    pub async fn apply(&self) -> Result<Value, Value> {
        self.ask("apply", json!({ "text": self.read("interlock.toml") })).await
    }

    /// Hands the file on disk in, and has it signed.
    pub async fn apply_signed(&self, approver: &Approver) {
        let applied = self.apply().await.unwrap();
        self.decides(approver, DecisionKind::Configuration, applied["revision"].clone(), DecisionVerdict::Approve, None).await.unwrap();
    }

    /// Opens a work order for a release that is built for it; returns its id.
    pub async fn directive(&self, environment: &str, version: &str) -> String {
        let artifact = self.build(version);
        self.order(environment, version, &artifact).await
    }

    /// Opens a work order; returns its id.
    pub async fn order(&self, environment: &str, version: &str, artifact: &str) -> String {
        let order = json!({ "service": "web", "environment": environment, "version": version, "artifact": artifact });
        text(&self.must("create_directive", order).await["directive"]["id"])
    }

    /// Freezes a plan; returns its id.
    pub async fn plan(&self, directive: &str) -> String {
        text(&self.must("plan_deployment", json!({ "directive": directive })).await["plan"])
    }

    /// Executes a plan and waits for its end.
    pub async fn execute(&self, plan: &str) -> Value {
        let started = self.must("execute_deployment", json!({ "plan": plan })).await;
        self.settled(&text(&started["deployment"])).await
    }

    /// Takes a release to staging; returns the settled deployment.
    pub async fn deploy(&self, version: &str, artifact: &str) -> Value {
        let directive = self.order("staging", version, artifact).await;
        let plan = self.plan(&directive).await;
        self.execute(&plan).await
    }

    /// Takes a release to production with a signature; returns the settled deployment.
    pub async fn deliver(&self, chairman: &Approver, version: &str) -> Value {
        let directive = self.directive("production", version).await;
        let plan = self.plan(&directive).await;
        self.approves(chairman, &plan).await.unwrap();
        self.execute(&plan).await
    }

    /// Waits until a deployment is settled; returns it with every step.
    pub async fn settled(&self, deployment: &str) -> Value {
        let began = Instant::now();
        loop {
            let asked = json!({ "deployment": deployment, "wait_seconds": 45, "until": "settled", "detail": true });
            let body = self.must("get_deployment", asked).await;
            if ["succeeded", "rolled_back", "stuck"].contains(&body["deployment"]["state"].as_str().unwrap()) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "`{deployment}` did not settle: {body:#}");
        }
    }

    /// Looks at a directive until it is in a state.
    pub async fn until(&self, directive: &str, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let status = self.must("get_status", json!({ "directive": directive })).await;
            if status["state"] == state {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{directive} did not become {state}: {status:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns what is to be decided.
    pub async fn review(&self, question: &Question) -> Result<Review, Value> {
        self.ask("review", json!(question)).await.map(|review| serde_json::from_value(review).unwrap())
    }

    /// Hands a signed decision in.
    pub async fn hand_in(&self, question: &Question, signed: &SignedDecision) -> Result<Value, Value> {
        self.ask("decide", json!({ "question": question, "signed": signed })).await
    }

    /// Decides as a person does: over the reviewed bytes, with a signature.
    pub async fn decides(
        &self,
        approver: &Approver,
        kind: DecisionKind,
        subject: Value,
        verdict: DecisionVerdict,
        reason: Option<&str>,
    ) -> Result<Value, Value> {
        let question = Question { kind, subject, verdict };
        let review = self.review(&question).await?;
        let signed = approver.sign(approver.decision(&review, verdict, reason));
        self.hand_in(&question, &signed).await
    }

    /// Approves a plan.
    pub async fn approves(&self, approver: &Approver, plan: &str) -> Result<Value, Value> {
        self.decides(approver, DecisionKind::Plan, json!(plan), DecisionVerdict::Approve, None).await
    }

    /// Enrols the first approver.
    pub async fn enrol_first(&self, approver: &Approver) -> Result<Value, Value> {
        self.ask("enrol_first", approver.enrolment("chairman")).await
    }

    /// Returns the folder of a pinned release.
    pub fn pinned(&self, digest: &Value) -> PathBuf {
        let releases = fs::read_dir(self.workspace.releases_dir()).unwrap().map(|entry| entry.unwrap().path());
        let digest = text(digest);
        releases
            .filter(|path| path.is_dir())
            .find(|path| digest.contains(path.file_name().unwrap().to_str().unwrap()))
            .unwrap_or_else(|| panic!("no folder of {digest}"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let has_run = fs::read_dir(self.workspace.instances_dir()).is_ok_and(|mut folders| folders.next().is_some());
        let environments: &[&[&str]] = if has_run { &[&["down", "production"], &["down", "staging"]] } else { &[] };
        for arguments in environments.iter().copied().chain([&["stop"][..]]) {
            let mut command = std::process::Command::new(BINARY);
            command.args(arguments).current_dir(self.root()).env("INTERLOCK_WORKSPACE", self.root()).env_remove("INTERLOCK_DATABASE_URL");
            let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        // What a failed test left behind and `down` could not end: its own processes name the workspace's unique folder.
        let folder = self.root().to_str().unwrap().to_owned();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        for process in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            if let (true, Some(pid)) = (String::from_utf8_lossy(&words).contains(&folder), rustix::process::Pid::from_raw(process)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let sockets = self.workspace.agent_socket();
        if !sockets.starts_with(self.root()) {
            let _ = fs::remove_dir_all(sockets.parent().unwrap());
        }
    }
}

/// Returns an address nobody listens on, below the ports the kernel hands out by itself.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + (std::process::id() as u16 % 100) * 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// Returns the text of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("`{value}` is no text")).to_owned()
}
