//! Where an agent sits: a shop whose reports lie in its repository, a program on the other end of two pipes, and a chairman who signs.

use crate::support::{
    agent::{Agent, Ground},
    configuration::{Times, demo_app, place, service},
    databases::Database,
    mcp::{Client, modern},
    people::Approver,
    shop::Shop,
};
use interlock::model::{DecisionKind, DecisionVerdict::Approve};
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Stdio};
use tokio::{net::TcpListener, process::Child};

/// Every built-in phase.
pub const PHASES: [&str; 5] = ["phase-06", "stage-22", "stage-30", "deployment-operations", "deployment-plan"];

/// As short as the work itself allows.
const TIMES: Times = Times { deadline: "60s", drain: "200ms", bake: "200ms" };

/// Each gate that reads a report: its threshold, the report's name and format, a report that passes, and one that does not.
pub const REPORTS: [(&str, &str, &str, &str, &str, &str); 5] = [
    ("tests", r#"run = ">= 1", failed = "<= 0""#, "junit.xml", "junit", JUNIT, include_str!("../fixtures/reports/junit-failing.xml")),
    ("coverage", r#"lines_percent = ">= 80""#, "lcov.info", "lcov", LCOV, include_str!("../fixtures/reports/lcov.info")),
    ("load", r#"p95_ms = "<= 500""#, "load.json", "oha", include_str!("../fixtures/reports/oha.json"), SLOW),
    ("vulnerabilities", r#"critical = "<= 0""#, "audit.json", "cargo-audit", SOUND, include_str!("../fixtures/reports/cargo-audit.json")),
    (
        "outdated",
        r#"majors_behind = "<= 1""#,
        "outdated.json",
        "renovate",
        CURRENT,
        include_str!("../fixtures/reports/renovate-behind.json"),
    ),
];
const JUNIT: &str = r#"<testsuite name="web" tests="1"><testcase name="a"/></testsuite>"#;
const LCOV: &str = "TN:\nSF:/src/main.rs\nDA:1,1\nDA:2,1\nLF:2\nLH:2\nend_of_record\n";
const SOUND: &str = r#"{"database":{"advisory-count":811},"lockfile":{"dependency-count":212},"vulnerabilities":{"found":false,"count":0,"list":[]},"warnings":{}}"#;
const CURRENT: &str = include_str!("../fixtures/reports/renovate.json");
const SLOW: &str = r#"{"summary":{"successRate":1.0,"total":1.0,"slowest":2.0,"fastest":0.1,"average":1.0,"requestsPerSec":100.0},"latencyPercentiles":{"p50":0.9,"p95":1.5},"statusCodeDistribution":{"200":1000},"errorDistribution":{}}"#;

/// The desk.
pub struct Desk {
    /// The shop, its server and its places.
    pub shop: Shop,
    /// The chairman.
    pub ada: Approver,
    /// What production depends on: it answers while this is held.
    pub dependency: Option<TcpListener>,
    /// Every tool that was called.
    pub called: BTreeSet<String>,
    client: Client,
    tools: Vec<Value>,
    _program: Child,
}

impl Desk {
    /// Opens a shop under the first phase, whose chairman has signed it, and starts `interlock mcp` in it.
    pub async fn open(database: Database) -> Self {
        let mut shop = Shop::named("shop", database);
        let dependency = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (_, _, name, _, good, _) in REPORTS {
            shop.write(&format!("reports/{name}"), good);
        }
        shop.write("token", "secret");
        shop.write("interlock.toml", &configuration(&shop, PHASES[0], "", &dependency));
        shop.serve(&[]).await;
        let ada = Approver::new("ada");
        shop.enrol_first(&ada).await.unwrap();
        shop.apply_signed(&ada).await;
        let mut command = shop.interlock(&["mcp"]);
        let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut client = Client::over(tokio::io::join(program.stdout.take().unwrap(), program.stdin.take().unwrap()));
        let listed = client.ask("tools/list", modern(json!({}))).await;
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        Desk { shop, ada, dependency: Some(dependency), called: BTreeSet::new(), client, tools, _program: program }
    }

    /// Returns an agent who sits down here, and knows what is offered and nothing else.
    pub fn agent(&mut self) -> Agent<&mut Desk> {
        Agent::on(self)
    }

    /// Puts production under a phase.
    pub async fn under(&mut self, phase: &str) {
        self.under_but(phase, "").await;
    }

    /// Puts production under a phase, with more asked by one of its gates than there is.
    pub async fn under_but(&mut self, phase: &str, broken: &str) {
        let text = configuration(&self.shop, phase, broken, self.dependency.as_ref().unwrap());
        if text != self.shop.read("interlock.toml") {
            self.shop.write("interlock.toml", &text);
            self.shop.apply_signed(&self.ada).await;
        }
    }

    /// Commits a change of the code, and builds it; returns the artifact's path.
    pub fn release(&self, version: &str) -> String {
        self.shop.write("src/main.rs", &format!("// {version}, change {:x}", rand::random::<u64>()));
        self.shop.commit();
        self.shop.build(version)
    }

    /// Signs off a fact of a directive.
    pub async fn signs_off(&self, directive: &str, fact: &str) {
        let subject = json!({ "directive": directive, "fact": fact });
        self.shop.decides(&self.ada, DecisionKind::SignOff, subject, Approve, None).await.unwrap();
    }

    /// Calls a tool that must be refused; returns the refusal's body.
    pub async fn refused(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments.clone()).await;
        answer.expect_err(&format!("{tool} {arguments} must be refused"))
    }

    /// Calls a tool that must work.
    pub async fn must(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments.clone()).await;
        answer.unwrap_or_else(|refusal| panic!("{tool} {arguments}: {refusal:#}"))
    }
}

impl Ground for Desk {
    /// Calls over stdio what is listed, with arguments that its schema names.
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let listed = self.tools.iter().find(|listed| listed["name"] == tool).unwrap_or_else(|| panic!("`{tool}` is not listed"));
        let schema = &listed["inputSchema"];
        for name in arguments.as_object().unwrap().keys() {
            assert!(schema["properties"].get(name).is_some(), "`{tool}` takes no `{name}`: {schema}");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(arguments.get(name.as_str().unwrap()).is_some(), "`{tool}` takes {name}: {arguments}");
        }
        self.called.insert(tool.to_owned());
        let mut answer = self.client.call(tool, arguments).await;
        let body = answer["structuredContent"].take();
        if answer["isError"] == true { Err(body) } else { Ok(body) }
    }

    async fn sign(&mut self, kind: DecisionKind, subject: Value) {
        let decided = self.shop.decides(&self.ada, kind, subject, Approve, None).await;
        // The server may complete a directive while a person still signs what it asked for.
        let is_over = |refused: &Value| refused["code"] == "wrong_state" && refused["message"].to_string().ends_with(" is completed\"");
        assert!(decided.as_ref().err().is_none_or(is_over), "{decided:#?}");
    }

    fn report(&self, kind: &str) -> String {
        let (_, _, name, ..) = REPORTS.into_iter().find(|report| report.0 == kind).unwrap_or_else(|| panic!("no report of `{kind}`"));
        format!("reports/{name}")
    }
}

impl Ground for &mut Desk {
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Value> {
        Desk::call(self, tool, arguments).await
    }

    async fn sign(&mut self, kind: DecisionKind, subject: Value) {
        Desk::sign(self, kind, subject).await;
    }

    fn report(&self, kind: &str) -> String {
        Desk::report(self, kind)
    }
}

/// Returns the gates of a phase, as its file has them.
pub fn gates_of(phase: &str) -> Vec<String> {
    let phase = interlock::phases::all().iter().find(|known| known.name == phase).unwrap();
    phase.gates.keys().map(ToString::to_string).collect()
}

/// Returns the shop with this phase in production. The server looks at the reports of the gates that the phase has, in a checkout of the
/// commit; a report that it does not look at is the agent's to hand over, and counts in staging alone. The gate `broken` asks for more than
/// there is.
fn configuration(shop: &Shop, phase: &str, broken: &str, dependency: &TcpListener) -> String {
    let asked = gates_of(phase);
    let fed = REPORTS.into_iter().filter(|(gate, ..)| asked.iter().any(|asked| asked == gate));
    let feeds: String = fed
        .map(|(gate, thresholds, name, format, ..)| {
            // A report that was there before the command ran is none of its own.
            let command = format!("[\"cp\", \"reports/{name}\", \"{name}\"]");
            format!("{gate} = {{ {thresholds}, command = {command}, report = \"{name}\", format = \"{format}\" }}\n")
        })
        .collect();
    let gates = match (broken, asked.iter().any(|asked| asked == "logs")) {
        ("quota", _) => "[environments.production.gates]\nquota = { disk_mb = \">= 1000000000\" }\n",
        // Nobody waits here until the log of staging has lasted.
        (_, true) if broken != "logs" => "[environments.production.gates]\nlogs = { minutes = \">= 0\" }\n",
        _ => "",
    };
    let (service, staging, production) =
        (service(&demo_app(), TIMES), place("staging", shop.staging), place("production", shop.production));
    let needs = format!(
        "env = {{ MODE = \"live\", TOKEN = \"file:{}\" }}\ndependencies = [{{ name = \"db\", tcp = \"{}\" }}]",
        shop.root().join("token").display(),
        dependency.local_addr().unwrap()
    );
    let production = production.replace("env    = { MODE = \"live\" }", &needs);
    format!(
        r#"{service}
[gates]
{feeds}
[environments.staging.gates]
tests = {{ run = ">= 1", failed = "<= 0" }}
{staging}
[environments.production]
phase    = "{phase}"
after    = "staging"
approval = {{ role = "chairman" }}
{gates}{production}"#
    )
}
