//! A shop with two environments in memory, an agent who calls operations, and a chairman who signs.

use ed25519_dalek::SigningKey;
use interlock::{
    config::Workspace,
    decisions::{self, Enrolment, Question},
    engine::{
        Engine,
        adapters::{Adapters, RealAdapters, RunningRouter},
    },
    error::Error,
    model::{
        Caller, CallerKind, Clock, Decision, DecisionKind, DecisionVerdict, EnvironmentName, Reading, ServiceSpec, SignedDecision,
        SystemClock, Timestamp, Via,
        decision::PublicKey,
        service::{RouterKind, TargetKind},
    },
    operations::{Progress, Refused, Registry, Toolset},
    store::Store,
    targets::{Router, Target, fake::FakeWorld},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};

/// Generous: machines that run tests are slow and loaded.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A report of two tests that pass.
pub const JUNIT: &str = r#"<testsuite name="web" tests="2"><testcase name="a"/><testcase name="b"/></testsuite>"#;

/// A workspace whose environments are worlds in memory.
pub struct Shop {
    pub staging: FakeWorld,
    pub production: FakeWorld,
    /// Where staging's customers connect.
    pub at_staging: SocketAddr,
    /// Where production's customers connect.
    pub at_production: SocketAddr,
    pub engine: Arc<Engine>,
    /// The configuration it was opened with.
    pub text: String,
    /// Runs by itself, and can be put forward.
    pub clock: Arc<RunningClock>,
    worlds: Worlds,
    registry: Registry,
    chairman: SigningKey,
    _folder: tempfile::TempDir,
}

#[derive(Clone)]
struct Worlds {
    /// Where the instances of an environment run.
    targets: BTreeMap<EnvironmentName, FakeWorld>,
    /// Which world's router listens where.
    routers: Arc<Mutex<BTreeMap<SocketAddr, FakeWorld>>>,
    /// What somebody else runs is asked over real sockets.
    real: Arc<RealAdapters>,
}

/// The system's clocks, put forward; the one that people set can be set.
#[derive(Default)]
pub struct RunningClock {
    set: AtomicI64,
    passed: AtomicU64,
    boots: AtomicU64,
}

impl RunningClock {
    /// Lets time pass at once.
    pub fn advance(&self, by: Duration) {
        self.set_on(by.as_millis() as i64);
        self.passed.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Sets the clock by so many milliseconds, also back; no time passes.
    pub fn set_on(&self, ms: i64) {
        self.set.fetch_add(ms, Ordering::SeqCst);
    }

    /// Lets the machine boot anew.
    pub fn reboot(&self) {
        self.boots.fetch_add(1, Ordering::SeqCst);
    }

    /// Sets the clock to an instant, also back; it goes on from there.
    pub fn jump_to(&self, at: Timestamp) {
        self.set.store(at.0 - SystemClock.now().0, Ordering::SeqCst);
    }
}

impl Clock for RunningClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.set.load(Ordering::SeqCst))
    }

    fn reading(&self) -> Reading {
        let ms = SystemClock.reading().ms + self.passed.load(Ordering::SeqCst);
        Reading { boot: format!("boot {}", self.boots.load(Ordering::SeqCst)), ms }
    }
}

impl Adapters for Worlds {
    fn target(&self, spec: &ServiceSpec) -> Arc<dyn Target> {
        match &spec.target {
            TargetKind::Ci(_) => self.real.target(spec),
            _ => Arc::new(self.targets[&spec.environment].target()),
        }
    }

    fn router(&self, spec: &ServiceSpec) -> Arc<dyn Router> {
        match &spec.router {
            RouterKind::External { .. } => self.real.router(spec),
            RouterKind::Proxy { listen } => Arc::new(self.routers.lock().unwrap()[listen].router()),
        }
    }

    fn running_routers(&self) -> Vec<RunningRouter> {
        let routers = self.routers.lock().unwrap();
        let running = routers.iter().filter(|(_, world)| world.router_runs());
        running.map(|(address, world)| RunningRouter { address: *address, service: None, router: Arc::new(world.router()) }).collect()
    }
}

impl Shop {
    /// Opens the shop over a database, with a chairman who has signed its configuration. No background work runs.
    pub async fn open(database_url: &str) -> Self {
        Self::open_with(database_url, "").await
    }

    /// Opens the shop with these lines in the service's place in staging.
    pub async fn open_with(database_url: &str, placement: &str) -> Self {
        let shop = Shop::bare(database_url, placement).await;
        let enrolment =
            Enrolment { name: "ada".into(), role: "chairman".into(), public_key: PublicKey::of(&shop.chairman).into(), further: false };
        decisions::enrol_first(&shop.engine, &person(), &enrolment).await.unwrap();
        let applied = shop.engine.apply(&person(), &shop.text).await.unwrap();
        assert_eq!(applied.in_force, ["staging".into()]);
        shop.sign(DecisionKind::Configuration, json!(applied.revision), DecisionVerdict::Approve).await;
        shop
    }

    /// Opens the shop; nobody is enrolled, and nothing is applied.
    pub async fn bare(database_url: &str, placement: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (staging, production) = (FakeWorld::new(), FakeWorld::new());
        let (at_staging, at_production) = (customers(&staging).await, customers(&production).await);
        let text = configuration(at_staging, at_production, placement);
        fs::write(folder.path().join("interlock.toml"), &text).unwrap();
        let workspace = Workspace::at(folder.path()).unwrap();
        workspace.prepare().unwrap();
        let clock = Arc::new(RunningClock::default());
        let store = Store::open(database_url, clock.clone()).await.unwrap();
        let worlds = Worlds {
            targets: [("staging".into(), staging.clone()), ("production".into(), production.clone())].into(),
            routers: Arc::new(Mutex::new([(at_staging, staging.clone()), (at_production, production.clone())].into())),
            real: Arc::new(RealAdapters::new(PathBuf::new(), workspace.clone(), clock.clone())),
        };
        let engine = Engine::new(workspace, store, clock.clone(), Box::new(worlds.clone()));
        let chairman = SigningKey::from_bytes(&[7; 32]);
        let registry = Registry::over(engine.clone()).offering(&Toolset::ALL);
        Shop { staging, production, at_staging, at_production, text, clock, worlds, registry, engine, chairman, _folder: folder }
    }

    /// Calls an operation as the agent.
    pub async fn call(&self, operation: &str, arguments: Value) -> Result<Value, Refused> {
        self.registry.call(agent(), Progress::default(), operation, arguments).await
    }

    /// Calls an operation as a person at the command line.
    pub async fn call_as_person(&self, operation: &str, arguments: Value) -> Result<Value, Refused> {
        self.registry.call(person(), Progress::default(), operation, arguments).await
    }

    /// Calls an operation as somebody.
    pub async fn call_as(&self, by: Caller, operation: &str, arguments: Value) -> Result<Value, Refused> {
        self.registry.call(by, Progress::default(), operation, arguments).await
    }

    /// Calls an operation that must work.
    pub async fn must(&self, operation: &str, arguments: Value) -> Value {
        self.call(operation, arguments.clone()).await.unwrap_or_else(|refused| panic!("{operation} {arguments}: {:#}", refused.body))
    }

    /// Calls an operation that must be refused; returns the code.
    pub async fn refused(&self, operation: &str, arguments: Value) -> String {
        let refused = self.call(operation, arguments.clone()).await.expect_err(&format!("{operation} {arguments}"));
        refused.body["code"].as_str().unwrap().to_owned()
    }

    /// Decides over a subject, as the chairman.
    pub async fn sign(&self, kind: DecisionKind, subject: Value, verdict: DecisionVerdict) -> Value {
        let question = Question { kind, subject, verdict };
        let signed = self.signature(&question).await.unwrap_or_else(|refused| panic!("{question:?}: {refused:?}"));
        decisions::decide(&self.engine, &person(), &question, &signed).await.unwrap()
    }

    /// Plans a version that was in staging for production; returns the plan, which waits for a signature.
    pub async fn plan_in_production(&self, version: &str) -> Value {
        let directive = self.order("production", version).await;
        let asked = json!({ "directive": directive });
        self.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" }), DecisionVerdict::Approve).await;
        self.must("run_predeploy_checks", asked.clone()).await;
        self.must("plan_deployment", asked).await["plan"].take()
    }

    /// Returns the chairman's signature over what a question shows now.
    pub async fn signature(&self, question: &Question) -> Result<SignedDecision, Error> {
        let (kind, verdict) = (question.kind, question.verdict);
        let review = decisions::review(&self.engine, question).await?;
        let decision = Decision {
            kind,
            subject_sha256: review.subject_sha256,
            environment: review.environment,
            nonce: format!("{:032x}", rand::random::<u128>()),
            expires_at: self.engine.clock.now().plus(Duration::from_secs(300)),
            verdict,
            reason: (verdict == DecisionVerdict::Reject).then(|| "not this week".into()),
            approver: "ada".into(),
            audit_head: review.audit_head,
            origin: None,
        };
        Ok(SignedDecision::sign(decision, &self.chairman))
    }

    /// Builds a version whose bytes are its own; returns the path of the artifact in the workspace.
    pub fn build(&self, version: &str) -> String {
        let artifact = self.engine.workspace.root.join("build").join(version);
        fs::create_dir_all(&artifact).unwrap();
        fs::write(artifact.join("web"), format!("the bytes of {version}")).unwrap();
        format!("build/{version}")
    }

    /// Opens a directive for a version whose bytes are its own; returns its id.
    pub async fn order(&self, environment: &str, version: &str) -> String {
        let order = json!({ "service": "web", "environment": environment, "version": version, "artifact": self.build(version) });
        self.must("create_directive", order).await["directive"]["id"].as_str().unwrap().to_owned()
    }

    /// Hands over a report of passing tests, checks and plans a directive; returns the plan's reply.
    pub async fn plan_in_staging(&self, directive: &str) -> Value {
        self.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": JUNIT })).await;
        self.must("run_predeploy_checks", json!({ "directive": directive })).await;
        self.must("plan_deployment", json!({ "directive": directive })).await
    }

    /// Takes a version to staging; returns how it settled.
    pub async fn deploy(&self, version: &str) -> Value {
        let directive = self.order("staging", version).await;
        let plan = self.plan_in_staging(&directive).await["plan"].take();
        let deployment = self.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        self.settled(&deployment).await
    }

    /// Takes a version that was in staging to production, with every signature it needs; returns how it settled.
    pub async fn deploy_to_production(&self, version: &str) -> Value {
        let plan = self.plan_in_production(version).await;
        self.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Approve).await;
        let deployment = self.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        self.settled(&deployment).await
    }

    /// Waits until a deployment is settled and its files are written.
    pub async fn settled(&self, deployment: &Value) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self
                .must("get_deployment", json!({ "deployment": deployment, "wait_seconds": 10, "until": "settled", "detail": true }))
                .await;
            let directive = seen["deployment"]["directive"].as_str().unwrap().into();
            let written = self.engine.store.artifacts(&directive).await.unwrap();
            let is_settled = ["succeeded", "rolled_back", "stuck"].contains(&seen["state"].as_str().unwrap());
            if is_settled && written.iter().any(|artifact| artifact.name == "status") {
                return seen;
            }
            assert!(Instant::now() < until, "{seen:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns one more address to listen on, and the world whose router does.
    pub async fn another_address(&self) -> (SocketAddr, FakeWorld) {
        let world = FakeWorld::new();
        let address = customers(&world).await;
        self.worlds.routers.lock().unwrap().insert(address, world.clone());
        (address, world)
    }

    /// Applies a configuration, signed where somebody has to; returns what was in force without a signature.
    pub async fn configure(&self, text: &str) -> Vec<EnvironmentName> {
        let applied = self.engine.apply(&person(), text).await.unwrap();
        if applied.proposal.is_some() {
            self.sign(DecisionKind::Configuration, json!(applied.revision), DecisionVerdict::Approve).await;
        }
        applied.in_force
    }

    /// Ends the server between two steps and starts another one in the same workspace; its background work runs.
    pub async fn restart(&mut self) {
        self.engine.shut_down().await;
        let (workspace, store) = (self.engine.workspace.clone(), self.engine.store.clone());
        self.engine = Engine::new(workspace, store, self.clock.clone(), Box::new(self.worlds.clone()));
        self.registry = Registry::over(self.engine.clone()).offering(&Toolset::ALL);
        self.engine.start().await.unwrap();
    }

    /// Plans a version for staging and begins it; returns the deployment once the world was told this.
    pub async fn begin(&self, version: &str, told: &str) -> Value {
        let directive = self.order("staging", version).await;
        let plan = self.plan_in_staging(&directive).await["plan"].take();
        let before = self.staging.log().len();
        let deployment = self.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let until = Instant::now() + PATIENCE;
        while !self.staging.log()[before..].iter().any(|call| call == told) {
            assert!(Instant::now() < until, "never told `{told}`: {:?}", self.staging.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        deployment
    }

    /// Sets the clock to a little after the beginning of an hour.
    pub fn begin_an_hour(&self) {
        let hour = 60 * 60 * 1000;
        self.clock.set_on(hour - self.engine.clock.now().0.rem_euclid(hour) + 1000);
    }

    /// Returns which hour of the day it is, UTC.
    pub fn clock_hour(&self) -> u64 {
        (self.engine.clock.now().0.div_euclid(60 * 60 * 1000) % 24) as u64
    }

    /// Waits until nothing happens by itself any more.
    pub async fn rest(&self) {
        self.engine.shut_down().await;
    }

    /// Waits until an operation says that it stands so; returns what it said.
    pub async fn until(&self, operation: &str, arguments: Value, state: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.must(operation, arguments.clone()).await;
            if seen["state"] == state {
                return seen;
            }
            assert!(Instant::now() < until, "{operation} never says {state}: {seen:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The repository of a shop's workspace.
pub struct Repository {
    root: PathBuf,
}

impl Repository {
    /// Makes one where none is.
    pub fn of(shop: &Shop) -> Self {
        let repository = Repository { root: shop.engine.workspace.root.clone() };
        repository.git(&["init", "-q"]);
        repository
    }

    /// Commits a file with this text; the first commit is where [`Repository::begin_again`] goes.
    pub fn commit(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
        self.git(&["add", "--force", path]);
        self.git(&["commit", "-qm", path]);
        let is_first = self.git(&["rev-list", "--count", "HEAD"]).trim() == "1";
        if is_first {
            self.git(&["tag", "base"]);
        }
    }

    /// Goes back to the first commit.
    pub fn begin_again(&self) {
        self.git(&["checkout", "-q", "--force", "base"]);
    }

    /// Runs git there; returns what it says.
    pub fn git(&self, words: &[&str]) -> String {
        let identity = ["-c", "user.name=ann", "-c", "user.email=ann@shop.test"];
        let done = Command::new("git").args(identity).args(words).current_dir(&self.root).output().unwrap();
        assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

/// The agent, come over stdio.
pub fn agent() -> Caller {
    Caller { principal: "agent".into(), kind: CallerKind::Agent, via: Via::McpStdio, client: Some("test 1".into()) }
}

/// Somebody at the command line.
pub fn person() -> Caller {
    Caller { principal: "operator".into(), kind: CallerKind::Operator, via: Via::ApiSocket, client: None }
}

/// Listens where customers connect, and hands each connection to what the world's router says serves.
async fn customers(world: &FakeWorld) -> SocketAddr {
    let (listener, router) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), world.router());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut customer, _)) = listener.accept().await {
            let (split, _) = router.observe().await.unwrap();
            let Some(address) = split.serving().next().map(|share| share.address) else { continue };
            tokio::spawn(async move {
                if let Ok(mut instance) = TcpStream::connect(address).await {
                    let _ = tokio::io::copy_bidirectional(&mut customer, &mut instance).await;
                }
            });
        }
    });
    address
}

fn configuration(staging: SocketAddr, production: SocketAddr, placement: &str) -> String {
    format!(
        r#"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{{release}}/web", "--port", "{{port}}"]
health  = {{ http = "/healthz", interval = "10ms", timeout = "5s", successes = 2, deadline = "30s" }}
version = {{ http = "/version", token = "{{version}}" }}
smoke   = [{{ http = "/", status = 200, contains = "hello" }}]
drain = "1s"
bake  = "100ms"
keep  = 5

[environments.staging.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{staging}" }}
{placement}

[environments.staging.gates]
tests = {{ run = ">= 1", failed = "<= 0" }}

[environments.production]
after    = "staging"
approval = {{ role = "chairman" }}

[environments.production.gates]
tests = "off"
coverage = "off"
load = "off"
vulnerabilities = "off"
outdated = "off"
alerts = "off"

[environments.production.services.web]
target = {{ kind = "local" }}
router = {{ kind = "proxy", listen = "{production}" }}
"#
    )
}
