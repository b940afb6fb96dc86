//! A shop with staging and production, served by the real binary, and people who sign. A signature is made here, not by our command
//! line, so that a test can also make one that must not count.

use super::workspace::Workspace;
pub use super::{
    BINARY, PATIENCE,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    people::Approver,
    wire::{NoReply, finish, http, line, said, served},
};

use interlock::{
    decisions::{Question, Review},
    model::{DecisionKind, DecisionVerdict, SignedDecision},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// What production asks for in most tests: a signature, and no report.
pub const APPROVAL: &str = r#"{ role = "chairman", expires = "60m", request_expires = "24h", on_approval = "wait" }"#;

/// A workspace with its server. Ends with what it started.
pub struct Shop {
    /// Where staging answers.
    pub staging: SocketAddr,
    /// Where production answers.
    pub production: SocketAddr,
    workspace: Workspace,
}

/// A shop is a workspace.
impl Deref for Shop {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        &self.workspace
    }
}

impl DerefMut for Shop {
    fn deref_mut(&mut self) -> &mut Workspace {
        &mut self.workspace
    }
}

impl Shop {
    /// Makes a workspace whose folder's name is `name`; nothing runs and nothing is configured yet.
    pub fn named(name: &str, database: Database) -> Self {
        Shop { staging: free_address(), production: free_address(), workspace: Workspace::named(name, database) }
    }

    /// Returns a running shop whose configuration is stored; production waits for its first signature.
    pub async fn open(database: Database) -> Self {
        Shop::configured(database, |shop| shop.configuration(APPROVAL)).await
    }

    /// Returns a running shop with this configuration, stored and not signed.
    pub async fn configured(database: Database, configuration: impl Fn(&Shop) -> String) -> Self {
        let mut shop = Shop::named("shop", database);
        shop.write("interlock.toml", &configuration(&shop));
        shop.serve(&[]).await;
        shop.apply().await.unwrap();
        shop
    }

    /// Returns a running shop whose chairman has signed `configuration`.
    pub async fn signed(database: Database, configuration: impl Fn(&Shop) -> String) -> (Self, Approver) {
        let mut shop = Shop::named("shop", database);
        shop.write("interlock.toml", &configuration(&shop));
        shop.serve(&[]).await;
        let chairman = Approver::new("ada");
        shop.enrol_first(&chairman).await.unwrap();
        shop.apply_signed(&chairman).await;
        (shop, chairman)
    }

    /// Returns the configuration of the shop with this approval in production.
    pub fn configuration(&self, approval: &str) -> String {
        let (service, staging) = (service(&demo_app(), Times::SHORT), place("staging", self.staging));
        let production = place("production", self.production);
        format!(
            r#"{service}{staging}
[environments.production]
phase    = "phase-06"
approval = {approval}

[environments.production.gates]
tests           = "off"
coverage        = "off"
load            = "off"
vulnerabilities = "off"
alerts          = "off"
promoted_from   = "off"
sign_off        = "off"
{production}"#
        )
    }

    /// Starts the server and waits until it answers.
    pub async fn serve(&mut self, variables: &[(&str, &str)]) {
        self.workspace.serve(variables).await.unwrap();
    }

    /// Starts the server from a shell that runs `limit` first.
    pub async fn serve_under(&mut self, limit: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit}; exec \"$0\" serve --listen 127.0.0.1:0"), BINARY]).current_dir(self.root());
        for (name, value) in self.interlock(&[]).as_std().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.workspace.start(command).await.unwrap();
    }

    /// Stops the server; what serves goes on.
    pub async fn stop(&mut self) {
        self.workspace.stop().await.unwrap();
    }

    /// Asks over `api.sock`: the reply, or the body of the refusal.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value, Value> {
        self.client().try_call(method, params).await.map_err(|no_reply| match no_reply {
            NoReply::Refused(mut error) => error["data"].take(),
            NoReply::Gone(how) => panic!("`{method}`: {how}"),
        })
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
        line(&self.agent_socket(), "tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta })).await
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
        let releases = fs::read_dir(self.releases_dir()).unwrap().map(|entry| entry.unwrap().path());
        let digest = text(digest);
        releases
            .filter(|path| path.is_dir())
            .find(|path| digest.contains(path.file_name().unwrap().to_str().unwrap()))
            .unwrap_or_else(|| panic!("no folder of {digest}"))
    }
}

/// Returns the text of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("`{value}` is no text")).to_owned()
}
