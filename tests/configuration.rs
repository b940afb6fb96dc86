//! `interlock.toml` as a person meets it: what is read, what is refused and where, and what a change reaches.

use interlock::{
    config::{self, GateOverride, OnApproval, Progression, ProjectConfig, ReportFormat, difference, parse, template},
    error::{Code, Error},
    model::{Comparator, DestinationKind, NoticeKind, Origin, ci::CiPlace, data::OnRollback, migration::SqlDialect, service::HealthCheck},
    operations, phases,
};

/// The shape that is a contract, word for word.
const CONTRACT: &str = r##"[project]
name = "shop"

[services.web]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{release}/web", "--port", "{port}"]              # argv, no shell
health  = { http = "/healthz", interval = "100ms", timeout = "2s", successes = 3, deadline = "30s" }   # or tcp | exec | alive
version = { http = "/version", token = "{version}" }         # identity: whole-token match, so 1.0.1 is not 1.0.10
smoke   = [{ http = "/", status = 200, contains = "hello" }]
drain = "30s"
bake  = "10m"
keep  = 5

[environments.staging.services.web]
target = { kind = "local" }
router = { kind = "proxy", listen = "127.0.0.1:8080" }
env    = { MODE = "test" }

[environments.production]
phase    = "phase-06"
after    = "staging"                                         # the same digest must have succeeded there
approval = { role = "chairman", expires = "60m", request_expires = "24h", on_approval = "wait" }   # or "execute"
evidence = ["observed", "attested", "person"]                # attested: accepted, nothing supplies it yet

[environments.production.services.web]
target    = { kind = "local" }
router    = { kind = "proxy", listen = "127.0.0.1:8081" }
instances = 1
env       = { MODE = "live", API_KEY = "file:/run/secrets/shop" }   # env:, file:, exec:
dependencies = [{ name = "db", tcp = "127.0.0.1:5432" }]

# How each gate is fed, and its threshold (typed comparators). A gate binds an environment only when the phase
# or [environments.X.gates] names it; the strictest wins. Without a phase only the server's own gates apply
# (artifact digest, secrets, dependencies, freeze) and guidance follows the deployment's states.
[gates]
max_age  = "24h"
tests    = { failed = "<= 0", run = ">= 1", command = ["cargo", "nextest", "run", "--profile", "ci"], report = "target/nextest/ci/junit.xml", format = "junit" }
coverage = { lines_percent = ">= 80", command = ["cargo", "llvm-cov", "nextest", "--lcov", "--output-path", "lcov.info"], report = "lcov.info", format = "lcov" }
load     = { p95_ms = "<= 500", error_percent = "<= 1", command = ["k6", "run", "--summary-export", "load.json", "-e", "URL={after.url}", "load.js"], report = "load.json", format = "k6" }
vulnerabilities = { critical = "<= 0", command = ["cargo", "audit", "--json"], report = "-", format = "cargo-audit", exit = [0, 1] }   # "-" is stdout
outdated = { majors_behind = "<= 1", withdrawn = "<= 0", command = ["sh", "ci/outdated.sh"], report = "-", format = "outdated" }
"##;

/// The smallest file without a fault.
const SMALL: &str = r#"
[project]
name = "shop"
[services.web]
command = ["{release}/web"]
health = { alive = true }
[environments.staging.services.web]
router = { kind = "proxy", listen = "127.0.0.1:8080" }
"#;

fn read(text: &str) -> ProjectConfig {
    parse("interlock.toml", text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn faults(text: &str) -> Vec<String> {
    parse("interlock.toml", text).expect_err("the file has faults").0.iter().map(ToString::to_string).collect()
}

/// Returns the line of the first line that starts with `start`.
fn line(text: &str, start: &str) -> usize {
    text.lines().position(|line| line.starts_with(start)).unwrap() + 1
}

#[test]
fn a_progression_is_read_and_never_contradicts_the_approval() {
    let approval = r#"approval = { role = "chairman", expires = "60m", request_expires = "24h", on_approval = "wait" }"#;
    let with = |approval_and_more: &str| CONTRACT.replace(approval, approval_and_more);
    let of = |text: &str| {
        let production = read(text).environment(&"production".into()).unwrap().clone();
        (production.progression, production.approval.unwrap().on_approval)
    };
    assert_eq!(of(CONTRACT), (Progression::Assisted, OnApproval::Wait));
    for auto in ["approval = { role = \"x\" }\nprogression = \"auto\"", "approval = { role = \"x\", on_approval = \"execute\" }"] {
        assert_eq!(of(&with(auto)), (Progression::Auto, OnApproval::Execute), "{auto}");
    }
    assert_eq!(of(&with("approval = { role = \"x\" }\nprogression = \"manual\"")), (Progression::Manual, OnApproval::Wait));
    for (wrong, fault) in [
        ("approval = { role = \"x\", on_approval = \"execute\" }\nprogression = \"manual\"", "says something else than `progression`"),
        ("approval = { role = \"x\", on_approval = \"wait\" }\nprogression = \"auto\"", "says something else than `progression`"),
        ("evidence = [\"person\"]\nprogression = \"auto\"", "none is asked here"),
        ("approval = { role = \"x\" }\nprogression = \"alone\"", "assisted"),
    ] {
        let wrong = with(wrong).replace("evidence = [\"observed\"", "# [\"observed\"");
        let faults = faults(&wrong).join("\n");
        assert!(faults.contains(fault), "{wrong}\n{faults}");
    }
}

#[test]
fn who_is_told_elsewhere_is_read_and_a_secret_is_never_written_there() {
    let chat = "[notify.chat]\nkind = \"slack\"\nurl = \"env:SLACK_URL\"\n";
    let pager = "[notify.pager]\nkind = \"webhook\"\nurl = \"https://pager.test/hook\"\nsecret = \"file:/run/secrets/pager\"\n";
    let config = read(&format!("{SMALL}{chat}{pager}events = [\"asks\", \"stuck\"]\nenvironments = [\"staging\"]\n"));
    let (chat_read, pager_read) = (&config.notify["chat"], &config.notify["pager"]);
    assert_eq!((chat_read.kind, chat_read.events.len(), chat_read.private), (DestinationKind::Slack, NoticeKind::ALL.len(), false));
    assert_eq!(pager_read.events, [NoticeKind::Asks, NoticeKind::Stuck].into());
    assert!(chat_read.is_told_of(&"live".into()) && pager_read.is_told_of(&"staging".into()) && !pager_read.is_told_of(&"live".into()));

    for (wrong, fault) in [
        (chat.replace("slack", "mail"), "`mail` is unknown"),
        (chat.replace("env:SLACK_URL", "https://hooks.slack.test/services/canary"), "is a secret written out"),
        (format!("{chat}secret = \"env:X\"\n"), "Slack verifies no signature"),
        (chat.replace("chat", "Chat"), "`Chat` is no name"),
        (chat.replace("env:SLACK_URL", "env:"), "refers to nothing"),
        (pager.replace("file:/run/secrets/pager", "whsec_canary"), "looks like a secret written out"),
        (pager.lines().take(3).collect::<Vec<_>>().join("\n"), "`secret` is missing"),
        (pager.replace("https://", "http://"), "would be told in the clear"),
        (pager.replace("/hook", "/hook?token=canary"), "looks like a secret written out"),
        (pager.replace("/hook", "/{version}"), "holds a place"),
        (pager.replace("https://pager.test", "pager.test/canary"), "is no address to tell at"),
        (format!("{pager}events = [\"ask\"]\n"), "`ask` is unknown"),
        (format!("{pager}events = [\"asks\", \"asks\"]\n"), "stands here twice"),
        (format!("{pager}events = []\n"), "names nothing"),
        (format!("{pager}environments = [\"live\"]\n"), "there is no environment `live`"),
        (format!("{pager}private = false\n"), "write true"),
        (format!("{pager}retries = 3\n"), "unknown key"),
    ] {
        let faults = faults(&format!("{SMALL}{wrong}")).join("\n");
        assert!(faults.contains(fault) && !faults.contains("canary"), "{wrong}\n{faults}");
    }
    // What is on this machine is told without TLS where that is said.
    let inward = pager.replace("https://pager.test", "http://127.0.0.1:9000");
    assert!(read(&format!("{SMALL}{inward}private = true\n")).notify["pager"].private);
}

#[test]
fn who_is_told_of_an_environment_is_a_change_of_it_and_of_no_other_and_voids_no_plan() {
    let told = |environment: &str| {
        format!("{CONTRACT}\n[notify.chat]\nkind = \"slack\"\nurl = \"env:SLACK_URL\"\nenvironments = [\"{environment}\"]\n")
    };
    let (without, staging, production) = (read(CONTRACT), read(&told("staging")), read(&told("production")));
    for (old, new, changed) in
        [(&without, &staging, vec![("staging", false)]), (&production, &without, vec![("production", true)]), (&staging, &staging, vec![])]
    {
        let differences = difference(Some(old), new);
        let seen: Vec<_> = differences.iter().map(|one| (one.environment.as_str(), one.needs_approval)).collect();
        assert_eq!(seen, changed);
        assert!(differences.iter().flat_map(|one| &one.changes).all(|change| change.path.starts_with("notify.chat.")));
    }
    let bound = |config: &ProjectConfig| config.effective_sha256(&"production".into(), &"web".into());
    assert_eq!(bound(&without), bound(&production), "whoever is told, the plan is the same");
}

#[test]
fn the_contract_is_read() {
    let config = read(CONTRACT);
    assert_eq!(config.project, "shop");
    let production = config.environment(&"production".into()).unwrap();
    assert!(production.is_production());
    assert_eq!(production.phase.as_deref(), Some("phase-06"));
    assert_eq!(production.after, Some("staging".into()));
    let approval = production.approval.as_ref().unwrap();
    assert_eq!((approval.role.as_str(), approval.expires_ms, approval.request_expires_ms), ("chairman", 3_600_000, 86_400_000));
    assert_eq!(approval.on_approval, OnApproval::Wait);
    assert_eq!(production.evidence, [Origin::Attested, Origin::Person, Origin::Observed].into());
    let web = &production.services[&"web".into()];
    assert_eq!(web.router.listen(), "127.0.0.1:8081".parse().unwrap());
    assert_eq!(web.health.check, HealthCheck::Http("/healthz".into()));
    assert_eq!((web.health.interval_ms, web.health.timeout_ms, web.drain_ms, web.bake_ms), (100, 2_000, 30_000, 600_000));
    assert_eq!(web.secrets().map(|(name, _)| name).collect::<Vec<_>>(), ["API_KEY"]);
    assert_eq!(web.dependencies[0].tcp, "127.0.0.1:5432");

    let staging = config.environment(&"staging".into()).unwrap();
    assert!(!staging.is_production() && staging.phase.is_none() && staging.evidence.contains(&Origin::Claimed));

    let feed = |name: &str| &config.gates.feeds[&name.into()];
    assert_eq!(config.gates.max_age_ms, 86_400_000);
    assert_eq!(feed("load").thresholds["p95_ms"], "<= 500".parse::<Comparator>().unwrap());
    assert_eq!((feed("tests").format, feed("tests").exit.as_slice()), (Some(ReportFormat::Junit), &[0][..]));
    assert_eq!((feed("outdated").format, feed("outdated").thresholds.len()), (Some(ReportFormat::Outdated), 2));
    assert_eq!((feed("vulnerabilities").report.as_deref(), feed("vulnerabilities").exit.as_slice()), (Some("-"), &[0, 1][..]));
}

#[test]
fn defaults_are_filled_in() {
    let config = read(&format!("{SMALL}[environments.live]\napproval = {{ role = \"chairman\" }}\n"));
    let web = &config.environments[&"staging".into()].services[&"web".into()];
    let health = &web.health;
    assert_eq!((health.interval_ms, health.timeout_ms, health.successes, health.deadline_ms), (100, 5_000, 3, 30_000));
    assert_eq!((web.drain_ms, web.bake_ms, web.keep, web.instances), (30_000, 600_000, 5, 1));
    let live = &config.environments[&"live".into()];
    assert_eq!((live.phase.as_deref(), live.evidence.contains(&Origin::Claimed)), (Some("phase-06"), false));
    assert_eq!(live.approval.as_ref().unwrap().expires_ms, 3_600_000);
}

#[test]
fn five_faults_are_five_lines() {
    let text = CONTRACT
        .replace("health  = { http", "helth  = { http")
        .replace("drain = \"30s\"", "drain = \"30\"")
        .replace("after    = \"staging\"", "after    = \"stagin\"")
        .replace("instances = 1", "instances = \"1\"")
        .replace("lines_percent = \">= 80\"", "lines_percent = 80");
    let told = faults(&text);
    let expected = [
        (line(&text, "helth"), "services.web.helth: unknown key; did you mean `health`?"),
        (line(&text, "drain"), "services.web.drain: `30` is no duration; write \"100ms\", \"30s\", \"10m\" or \"24h\""),
        (line(&text, "after"), "environments.production.after: there is no environment `stagin`; did you mean `staging`?"),
        (line(&text, "instances"), "environments.production.services.web.instances: is string, not a whole number; write 3"),
        (line(&text, "coverage"), "gates.coverage.lines_percent: is no comparator; write \">= 80\", \"<= 0\" or \"== 1\""),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, (line, text)) in told.iter().zip(expected) {
        assert!(told.starts_with(&format!("interlock.toml:{line}: {text}")), "{told}");
    }
}

#[test]
fn each_rule_tells_its_own_fault() {
    let environment = |text: &str| format!("{SMALL}{text}\n");
    let live = |text: &str| format!("{SMALL}[environments.live]\napproval = {{ role = \"chairman\" }}\n{text}\n");
    let service = |text: &str| SMALL.replace("health = { alive = true }", text);
    let gate = |text: &str| format!("{SMALL}[gates]\n{text}\n");
    let cases = [
        (environment("[environments.live]\nafter = \"live\""), "`live` comes after itself"),
        (environment("[environments.a]\nafter = \"b\"\n[environments.b]\nafter = \"a\""), "comes after itself"),
        (
            environment("[environments.live.services.wep]\nrouter = { kind = \"proxy\", listen = \"127.0.0.1:9\" }"),
            "not declared in [services]; did you mean `web`?",
        ),
        (
            environment("[environments.live.services.web]\nrouter = { kind = \"proxy\", listen = \"127.0.0.1:8080\" }"),
            "taken by staging/web",
        ),
        (environment("[environments.live.services.web]\nrouter = { kind = \"proxy\", listen = \"0.0.0.0:8080\" }"), "taken by staging/web"),
        (environment("[environments.Live]"), "`Live` is no name"),
        (environment("[environments.live]\nphase = \"phase-7\""), "there is no phase `phase-7`; there are: phase-06"),
        (environment("[environments.live]\nevidence = []"), "no evidence would count"),
        (live("evidence = [\"observed\", \"claimed\"]"), "`claimed` never counts"),
        (
            live("gates = { tets = \"off\" }"),
            "did you mean `tests`? gates are tests, coverage, load, vulnerabilities, outdated, rollback_ready",
        ),
        (live("gates = { freeze = \"off\" }"), "cannot be off"),
        (live("gates = { tests = \"on\" }"), "`on` is unknown"),
        (live("gates = { tests = { lines_percent = \">= 1\" } }"), "unknown key; known here: run, failed"),
        (live("gates = { tests = { run = \"<= 1\" } }\n[gates]\ntests = { run = \">= 5\" }"), "`run <= 1` contradicts `run >= 5`"),
        (SMALL.replace("127.0.0.1:8080", "localhost:8080"), "`localhost:8080` is no address"),
        (SMALL.replace("127.0.0.1:8080", "127.0.0.1:0"), "port 0"),
        (SMALL.replace("router = {", "env = { DB_PASSWORD = \"hunter2\" }\nrouter = {"), "looks like a secret written out; refer to it"),
        (SMALL.replace("router = {", "env = { A = \"env:\" }\nrouter = {"), "refers to nothing"),
        (SMALL.replace("router = {", "env = { \"A-B\" = \"x\" }\nrouter = {"), "`A-B` is no variable"),
        (SMALL.replace("router = {", "dependencies = [{ name = \"db\", tcp = \"db\" }]\nrouter = {"), "`db` is no host and port"),
        (SMALL.replace("[\"{release}/web\"]", "\"{release}/web\""), "there is no shell"),
        (service(""), "`health` is missing"),
        (service("health = { http = \"/\", alive = true }"), "needs exactly one of"),
        (service("health = { http = \"healthz\" }"), "`healthz` is no path"),
        (service("health = { tcp = true, interval = \"20s\" }"), "`deadline` ends before"),
        (service("health = { alive = true }\nversion = { http = \"/v\", token = \"ok\" }"), "does not tell versions apart"),
        (service("health = { alive = true }\nkeep = 0"), "not within 1 to 100"),
        (gate("tests = { command = [\"t\"] }"), "`report` is missing"),
        (gate("tests = { command = [\"t\"], report = \"r\" }"), "`format` is missing; write one of junit"),
        (gate("tests = { command = [\"t\"], report = \"r\", format = \"lcov\" }"), "holds nothing for `tests`; write one of junit"),
        (gate("tests = { command = [\"t\"], report = \"../r\", format = \"junit\" }"), "leads out of the checkout"),
        (gate("tests = { report = \"r\" }"), "is read with a `command` only"),
        (gate("lint = {}"), "unknown key; known here: max_age, tests"),
        (SMALL.replace("name = \"shop\"", "name = \"Shop 1\""), "`Shop 1` is no name"),
        (SMALL.replace("[project]", "[project]\nname = \"twice\""), "duplicate key"),
    ];
    for (text, expected) in cases {
        let told = faults(&text);
        assert!(told.iter().any(|fault| fault.contains(expected)), "{expected}: {told:#?}");
        // A circle of two is told at both of its ends; a literal secret is never repeated.
        assert!(told.len() <= 2 && !told.concat().contains("hunter2"), "{told:#?}");
    }
}

#[test]
fn what_is_not_built_is_refused_by_its_word() {
    let before_health = |text: &str| SMALL.replace("health =", &format!("{text}\nhealth ="));
    let before_router = |text: &str| SMALL.replace("router =", &format!("{text}\nrouter ="));
    let cases = [
        before_health("artifact = { kind = \"oci\" }"),
        before_router("target = { kind = \"docker\", image = \"x\" }"),
        SMALL.replace("kind = \"proxy\",", "kind = \"proxy\", tls = true,"),
        SMALL.replace("kind = \"proxy\"", "kind = \"haproxy\""),
    ];
    for text in cases {
        let told = faults(&text);
        assert!(told.len() == 1 && told[0].contains("reserved, not built yet"), "{told:#?}");
    }
}

#[test]
fn services_share_an_address_by_host_and_no_host_is_named_twice() {
    let two = |web: &str, blog: &str| {
        let place = "[environments.staging.services.blog]\nrouter = { kind = \"proxy\", listen = \"127.0.0.1:8080\" }";
        let web = SMALL.replace("health = ", &format!("{web}\nhealth = "));
        format!("{web}[services.blog]\ncommand = [\"b\"]\nhealth = {{ alive = true }}\n{place}\n{blog}\n")
    };
    let config = read(&two("hosts = [\"Shop.Example\", \"*.shop.example\"]", "hosts = [\"blog.example\"]"));
    let services = &config.environments[&"staging".into()].services;
    let (web, blog) = (&services[&"web".into()], &services[&"blog".into()]);
    assert_eq!((web.front().as_str(), web.host().unwrap().as_str()), ("shop.example and 1 more on 127.0.0.1:8080", "shop.example"));
    assert_eq!(blog.front(), "blog.example on 127.0.0.1:8080");
    let config = read(&two("hosts = [\"shop.example\"]", ""));
    assert!(config.environments[&"staging".into()].services[&"blog".into()].hosts.is_empty(), "one of them may take the rest");
    // A place names its own.
    let config = read(&SMALL.replace("health =", "hosts = [\"a.test\"]\nhealth =").replace("router =", "hosts = [\"b.test\"]\nrouter ="));
    assert_eq!(config.environments[&"staging".into()].services[&"web".into()].hosts, ["b.test"]);
    assert!(!json_of(&read(SMALL)).contains("\"hosts\""), "a configuration without hosts keeps its hash");

    let after = |hosts: &str| SMALL.replace("health =", &format!("hosts = {hosts}\nhealth ="));
    let cases = [
        (
            two("hosts = [\"shop.example\"]", "hosts = [\"x.test\", \"SHOP.example\"]"),
            "`shop.example` at `127.0.0.1:8080` is taken by staging/web; name each host in one service",
        ),
        (two("", ""), "`127.0.0.1:8080` is taken by staging/web; give each service an address of its own, or `hosts`"),
        (
            two("hosts = [\"a.test\"]", "").replacen("listen = \"127.0.0.1", "listen = \"0.0.0.0", 1),
            "is taken by staging/web; give each service an address of its own, or write the same one",
        ),
        (after("[\"a.test\", \"A.test\"]"), "`a.test` stands here twice"),
        (after("[\"a.test:80\"]"), "`a.test:80` is no host; write \"shop.example\""),
        (after("[]"), "is empty; leave it out"),
        (after("\"a.test\""), "not a list"),
    ];
    for (text, expected) in cases {
        let told = faults(&text);
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:#?}");
    }
}

#[test]
fn a_strategy_is_read_with_its_defaults_and_faults_are_told() {
    let with = |text: &str| SMALL.replace("router =", &format!("strategy = {text}\nrouter ="));
    let rollout = |text: &str| {
        let config = read(&with(text));
        config.environments.values().next().unwrap().services.values().next().unwrap().rollout.clone()
    };
    let canary = rollout("{ kind = \"canary\" }");
    assert_eq!((canary.weights, canary.watch_ms, canary.watch_at_most_ms), (vec![10, 50, 100], 300_000, 900_000));
    let canary = rollout("{ kind = \"canary\", weights = [1, 100], watch = \"10s\" }");
    assert_eq!((canary.weights, canary.watch_ms, canary.watch_at_most_ms), (vec![1, 100], 10_000, 30_000));
    use interlock::model::Stickiness::{Cookie, Header};
    assert_eq!(rollout("{ kind = \"canary\", sticky = \"cookie\" }").stickiness, Cookie);
    assert_eq!(rollout("{ kind = \"canary\", sticky = { header = \"X-User\" } }").stickiness, Header { name: "x-user".into() });
    assert_eq!(rollout("{ kind = \"rolling\", batch = 3 }").batch, 3);
    assert_eq!(rollout("{ kind = \"blue_green\" }").strategy, Some(interlock::model::Strategy::BlueGreen));
    for (text, expected) in [
        ("{ kind = \"canary\", weights = [10, 90] }", "does not end at 100"),
        ("{ kind = \"canary\", weights = [50, 10, 100] }", "does not grow"),
        ("{ kind = \"canary\", weights = [100] }", "nothing would be compared"),
        ("{ kind = \"canary\", weights = [] }", "does not end at 100"),
        ("{ kind = \"canary\", weights = [0, 100] }", "not within 1 to 100"),
        ("{ kind = \"canary\", watch = \"60s\", watch_at_most = \"10s\" }", "ends before `watch`"),
        ("{ kind = \"rolling\", weights = [10, 100] }", "unknown key"),
        ("{ kind = \"canary\", sticky = \"ip\" }", "`ip` is unknown"),
        ("{ kind = \"canary\", sticky = { header = \"a b\" } }", "no header's name"),
        ("{ kind = \"rolling\", batch = 0 }", "not within 1 to 100"),
        ("{ kind = \"big_bang\" }", "`big_bang` is unknown"),
        ("\"canary\"", "not a table"),
    ] {
        let told = faults(&with(text));
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:#?}");
    }
}

#[test]
fn what_is_said_about_a_service_is_read_and_no_value_of_a_variable_is_taken() {
    let about = |text: &str| format!("{SMALL}[services.web.about]\n{text}\n");
    let of = |config: &ProjectConfig| config.environments[&"staging".into()].services[&"web".into()].about.clone();
    let whole = r#"provider = "AWS"
region = "eu-central-1"
ci = "GitHub Actions"
logging = { platform = "CloudWatch", retention = "30 days" }
logs = "https://logs.test/web"
dashboards = ["https://dashboards.test/web?from=now-1h"]
business_metrics = ["orders per minute"]
variables = [{ name = "API_KEY", purpose = "signs what goes to the bank", sensitive = true }, { name = "MODE", purpose = "which menu" }]
contacts = [{ role = "on call", reach = "oncall@shop.test" }]
[environments.staging.services.web.about]
region = "eu-west-1"
"#;
    let config = read(&about(whole));
    let read_back = of(&config);
    assert_eq!((read_back.provider.as_deref(), read_back.region.as_deref()), (Some("AWS"), Some("eu-west-1")), "a place says its own");
    assert_eq!(read_back.variables.iter().map(|variable| variable.sensitive).collect::<Vec<_>>(), [true, false]);
    assert_eq!(read_back.contacts[0].reach, "oncall@shop.test");
    let changed = difference(Some(&read(SMALL)), &config);
    let paths: Vec<&str> = changed[0].changes.iter().map(|change| change.path.as_str()).collect();
    assert!(paths.contains(&"environments.staging.services.web.about.region"), "what is said is part of what is applied: {paths:?}");
    assert!(!json_of(&read(SMALL)).contains("\"about\""), "a configuration without it keeps its hash");

    let cases = [
        ("provder = \"AWS\"", "did you mean `provider`?"),
        ("variables = [{ name = \"A\", purpose = \"b\", value = \"hunter2\" }]", "is never written here"),
        ("variables = [{ name = \"A\", purpose = \"b\" }, { name = \"A\", purpose = \"c\" }]", "`A` stands here twice"),
        ("variables = [{ name = \"A\" }]", "`purpose` is missing"),
        ("dashboards = [\"dashboards.test\"]", "starts with neither `https://` nor `http://`"),
        ("dashboards = [\"https://ann:hunter2@dashboards.test\"]", "holds a user name"),
        ("logs = \"https://logs.test/?access_token=hunter2\"", "looks like a secret written out"),
        ("logging = { retention = \"30 days\" }", "`platform` is missing"),
        ("contacts = [\"ann\"]", "not a table"),
    ];
    for (text, expected) in cases {
        let told = faults(&about(text));
        assert!(told.len() == 1 && told[0].contains(expected) && !told[0].contains("hunter2"), "{expected}: {told:#?}");
    }
}

#[test]
fn what_watches_a_service_is_read_with_its_defaults_and_faults_are_told() {
    let of = |config: &ProjectConfig| config.environments[&"staging".into()].services[&"web".into()].monitoring.clone();
    let watching = "[monitoring]\nprometheus = \"http://127.0.0.1:9090\"\nalertmanager = \"env:ALERTS\"\n";
    let own = "[services.web.monitoring]\nmetrics = \"/metrics\"\nalerts = [{ name = \"Queue\", expr = \"queue > 10\" }]\n";
    let read_back = of(&read(&format!("{SMALL}{own}{watching}")));
    assert_eq!((read_back.metrics.as_deref(), read_back.alerts[0].for_ms), (Some("/metrics"), 60_000));
    assert_eq!((read_back.watchers.alertmanager.as_deref(), read_back.watchers.interval_ms), (Some("env:ALERTS"), 15_000));
    assert!(!json_of(&read(SMALL)).contains("\"monitoring\""), "a configuration without it keeps its hash");

    let alert = |text: &str| format!("{SMALL}[services.web.monitoring]\nalerts = [{{ {text} }}]\n");
    let watchers = |text: &str| format!("{SMALL}[monitoring]\n{text}\n");
    let cases = [
        (watchers("alertmanager = \"ftp://alerts.test\""), "it starts with neither `http://` nor `https://`"),
        (watchers("alertmanager = \"http://ann:hunter2@alerts.test\""), "it holds a user name"),
        (watchers("prometheus = \"http://127.0.0.1:9090/?a=b\""), "is no address of a server"),
        (watchers("notify = \"https://hooks.test/?token=hunter2\""), "looks like a secret written out"),
        (watchers("interval = \"10ms\""), "interval"),
        (watchers("grafana = \"x\""), "unknown key"),
        (alert("name = \"Queue\""), "`expr` is missing"),
        (alert("name = \"too long\", expr = \"x\""), "`too long` is no name of an alert"),
        (alert("name = \"InterlockSlow\", expr = \"x\""), "begins as Interlock's own alerts do"),
        (alert("name = \"A\", expr = \"x\" }, { name = \"A\", expr = \"y\""), "`A` stands here twice"),
        (alert("name = \"A\", expr = \"x\", severity = \"bad\""), "`bad` is unknown"),
        (format!("{SMALL}[services.web.monitoring]\nmetrics = \"/metrics?a=b\"\n"), "holds a query"),
        (watchers("firing = \"up == 0\""), "is asked of Prometheus, which is not named"),
        (watchers("prometheus = \"http://127.0.0.1:9090\"\nfiring = \"up{v='{version}'}\""), "version"),
        (format!("{SMALL}[services.web.monitoring]\nerrors = []\n"), "holds no word, or more than 50"),
        (format!("{SMALL}[environments.staging.gates]\nquota = {{ disk_gb = \">= 1\" }}\n"), "disk_gb"),
    ];
    for (text, expected) in cases {
        let told = faults(&text);
        assert!(told.len() == 1 && told[0].contains(expected) && !told[0].contains("hunter2"), "{expected}: {told:#?}");
    }
}

#[test]
fn figures_from_outside_are_read_with_their_defaults_and_faults_are_told() {
    let metric =
        |name: &str, source: &str| format!("[[services.web.metrics]]\nname = \"{name}\"\nsource = {source}\nthreshold = \"<= 5\"\n");
    let own = |text: &str| format!("{SMALL}{text}");
    let metrics = |text: &str| read(text).environments.values().next().unwrap().services.values().next().unwrap().metrics.clone();
    let prometheus = "{ kind = \"prometheus\", address = \"http://127.0.0.1:9090\", query = 'sum(x{job=\"a\",v=\"{version}\"})' }";
    let command = "{ kind = \"command\", run = [\"./measure\", \"{deployment}\"], pointer = \"/a\" }";
    let read_back = metrics(&own(&(metric("errors", prometheus) + &metric("queue", command))));
    assert_eq!((read_back[0].interval_ms, read_back[0].timeout_ms, read_back.len()), (30_000, 5_000, 2));
    assert_eq!(read_back[1].summary(), "queue must be <= 5: `/a` of what `./measure {deployment}` prints");

    // A place has its own address: the same name there takes the other's place.
    let of_place = metric("errors", &prometheus.replace("9090", "9091")).replace("services.web", "environments.staging.services.web");
    let joined = metrics(&own(&(metric("errors", prometheus) + &metric("queue", command) + &of_place)));
    assert_eq!(joined.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>(), ["queue", "errors"]);
    assert!(joined[1].summary().contains(":9091"), "{joined:?}");
    assert!(!json_of(&read(SMALL)).contains("\"metrics\""), "a configuration without figures keeps its hash");

    let json = |more: &str| format!("{{ kind = \"json\", address = \"http://h/\", pointer = \"/a\"{more} }}");
    let cases = [
        (metric("a", &json("")) + &metric("a", &json("")), "`a` stands here twice"),
        (metric("a", "{ kind = \"statsd\" }"), "`statsd` is unknown"),
        (metric("a", &json("").replace("http:", "HTTPS:")), "it starts with neither `http://` nor `https://`"),
        (metric("a", &json("").replace("//h/", "//ann:hunter2@h/")), "it holds a user name"),
        (metric("a", &json("").replace("//h/", "//h/?token=hunter2")), "looks like a secret written out; refer to the whole address"),
        (metric("a", &json("").replace("http://h/", "env:")), "refers to nothing"),
        (metric("a", &json("").replace("/a", "a")), "`a` is no JSON pointer"),
        (metric("a", &json(", headers = { Authorization = \"Bearer hunter2\" }")), "looks like a secret written out; refer to it"),
        (metric("a", &json(", headers = { Host = \"x\" }")), "`host` is set by what asks"),
        (metric("a", &prometheus.replace("{version}", "{release}")), "`{release}` is not filled in here; places here: {version}"),
        (metric("a", "{ kind = \"command\" }"), "`run` is missing"),
        (metric("a", &json("")).replace("\"<= 5\"", "\"< 5\""), "is no comparator"),
        (metric("a", &json("")).replace("threshold", "treshold"), "did you mean `threshold`?"),
    ];
    for (text, expected) in cases {
        let told = faults(&own(&text));
        assert!(told.len() == 1 && told[0].contains(expected) && !told[0].contains("hunter2"), "{expected}: {told:#?}");
    }
}

#[test]
fn a_ci_is_read_with_its_defaults_and_faults_are_told() {
    let own = |text: &str| format!("{SMALL}[ci]\n{text}");
    let least = "platform = \"github\"\nrepository = \"shop/web\"\naddress = \"http://127.0.0.1:8300\"\n";
    let ci = read(&own(least)).ci.unwrap();
    assert_eq!((ci.base_branch.as_str(), ci.on, ci.required, ci.timeout_ms), ("main", CiPlace::Commit, false, 10_000));
    let more =
        "token = \"env:CI_TOKEN\"\nbase_branch = \"release/1\"\nchecks = [\"build\", \"test (linux)\"]\non = \"both\"\nrequired = true\n";
    let ci = read(&own(&format!("{least}{more}"))).ci.unwrap();
    assert_eq!(ci.rule(), "`build`, `test (linux)` succeed on the commit and on `release/1`, and `release/1` requires them");
    let public = "platform = \"github\"\nrepository = \"shop/web\"\n";
    assert_eq!(read(&own(public)).ci.unwrap().address, "https://api.github.com");
    assert_eq!(read(&own(&public.replace("github", "gitlab"))).ci.unwrap().address, "https://gitlab.com");
    let deep = least.replace("github", "gitlab").replace("shop/web", "shop/teams/web");
    assert_eq!(read(&own(&deep)).ci.unwrap().repository, "shop/teams/web");

    let hash = |text: &str| read(text).effective_sha256(&"staging".into(), &"web".into()).unwrap();
    assert_ne!(hash(SMALL), hash(&own(least)), "whoever is asked is what an approval rests on");
    assert!(!json_of(&read(SMALL)).contains("\"ci\""), "a configuration without one keeps its hash");
    let told = difference(Some(&read(SMALL)), &read(&own(least)));
    assert!(told[0].changes.iter().any(|change| change.path == "ci.repository"), "{told:#?}");

    let cases = [
        (least.replace("github", "jenkins"), "`jenkins` is unknown"),
        (least.replace("shop/web", "web"), "is no repository; write \"owner/name\""),
        (least.replace("shop/web", "shop/../web"), "is no repository"),
        (least.replace("shop/web", "shop/teams/web"), "is no repository"),
        (least.replace("http:", "ftp:"), "it starts with neither `http://` nor `https://`"),
        (least.replace("8300", "8300/?token=hunter2"), "holds a query"),
        (least.replace("//127", "//ann:hunter2@127"), "it holds a user name"),
        (format!("{least}token = \"hunter2\"\n"), "looks like a secret written out"),
        (format!("{least}token = \"env:\"\n"), "refers to nothing"),
        (format!("{least}checks = []\n"), "names no check"),
        (format!("{least}checks = [\"a\", \"a\"]\n"), "stands here twice"),
        (format!("{least}base_branch = \"a b\"\n"), "is no branch"),
        (format!("{least}on = \"tag\"\n"), "`tag` is unknown"),
        (format!("{least}required = false\n"), "required"),
        (format!("{least}timeout = \"2m\"\n"), "is not within"),
        (format!("{least}check = [\"a\"]\n"), "did you mean `checks`?"),
        (least.replace("repository", "repo"), "repo"),
    ];
    for (text, expected) in cases {
        let told = faults(&own(&text));
        assert!(told.iter().any(|fault| fault.contains(expected)), "{expected}: {told:#?}");
        assert!(!told.concat().contains("hunter2"), "{told:#?}");
    }
}

#[test]
fn what_happens_to_data_is_read_with_its_defaults_and_faults_are_told() {
    let with = |text: &str| SMALL.replace("health =", &format!("{text}\nhealth ="));
    let data = |text: &str| {
        let config = read(&with(text));
        config.environments.values().next().unwrap().services.values().next().unwrap().data.clone()
    };
    let backup = data("backup = { run = [\"b\"], verify = [\"v\", \"{location}\"] }").backup.unwrap();
    assert_eq!((backup.timeout_ms, backup.on_rollback, backup.restore), (1_800_000, OnRollback::Ask, None));
    let migrations = data("migrations = { dir = \"db/migrations\", run = [\"m\"], history = [\"h\"], pivots = [\"0042_drop.sql\"] }");
    let migrations = migrations.migrations.unwrap();
    assert_eq!((migrations.timeout_ms, migrations.pivots, migrations.dialect), (600_000, vec!["0042_drop.sql".into()], SqlDialect::Any));
    assert_eq!(data("prepare = { run = [\"p\"] }").prepare.unwrap().timeout_ms, 300_000);
    let hooks = data("hooks = { before_shift = [[\"a\"], [\"b\", \"{version}\"]], timeout = \"2s\" }").hooks.unwrap();
    assert_eq!((hooks.before_shift.len(), hooks.after_rollback.len(), hooks.timeout_ms), (2, 0, 2_000));
    let (plain, written) = (read(SMALL), json_of(&read(SMALL)));
    assert!(!written.contains("\"data\""), "a configuration without data keeps its hash: {written} {plain:?}");
    for (text, expected) in [
        ("prepare = [\"x\"]", "not a table"),
        ("prepare = {}", "`run` is missing; write run = [\"./prepare.sh\""),
        ("prepare = { run = [\"p\", \"{port}\"] }", "`{port}` is not filled in here; places here: {release}, {version}"),
        ("backup = true", "not a table"),
        ("backup = { run = [\"b\"], verify = [\"v\"] }", "does not say which backup; put {location} in it"),
        ("backup = { run = [\"b\"], rehearse = [\"r\", \"{scratch}\"] }", "does not say which backup; put {location} in it"),
        ("backup = { run = [\"b\"], rehearse = [\"r\", \"{location}\"] }", "does not say where to; put {scratch} in it"),
        ("backup = { run = [\"b\"], on_rollback = \"automatic\" }", "nothing unverified is restored by itself"),
        ("backup = { run = [\"b\"], on_rollback = \"always\" }", "`always` is unknown"),
        ("migrations = { command = [\"m\"], dir = \"d\", run = [\"m\"], history = [\"h\"] }", "unknown key"),
        ("migrations = { dir = \"d\", run = [\"m\"] }", "`history` is missing"),
        ("migrations = { dir = \"../d\", run = [\"m\"], history = [\"h\"] }", "`../d` is no folder inside the release"),
        ("migrations = { dir = \"d\", run = [\"m\"], history = [\"h\"], dialect = \"oracle\" }", "`oracle` is unknown"),
        ("hooks = { before = [[\"a\"]] }", "unknown key"),
        ("hooks = { before_start = [\"a\"] }", "there is no shell"),
        ("hooks = { timeout = \"2d\" }", "`2d` is no duration"),
    ] {
        let told = faults(&with(text));
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:#?}");
    }
}

fn json_of(config: &interlock::config::ProjectConfig) -> String {
    serde_json::to_string(&config.environments).unwrap()
}

#[test]
fn a_target_wrapped_by_commands_is_read_and_goes_with_an_external_router() {
    let target = "target = { kind = \"command\", apply = [\"./deploy.sh\"], observe = [\"./state.sh\"], undo = [\"./undo.sh\"] }";
    let external = "router = { kind = \"external\", address = \"10.0.0.7:80\" }";
    let placed = |target: &str, router: &str| {
        let text = SMALL.lines().map(|line| if line.starts_with("router =") { format!("{target}\n{router}") } else { line.to_owned() });
        text.collect::<Vec<_>>().join("\n")
    };
    let config = read(&placed(target, external));
    let spec = config.environments.values().next().unwrap().services.values().next().unwrap();
    assert_eq!(spec.router.listen(), "10.0.0.7:80".parse().unwrap());
    assert!(matches!(&spec.target, interlock::model::service::TargetKind::Command(target) if target.timeout_ms == 300_000));
    let proxy = "router = { kind = \"proxy\", listen = \"127.0.0.1:8080\" }";
    for (text, expected) in [
        (placed(target, proxy), "goes with an `external` router"),
        (placed("", external), "goes with an `external` router"),
        (placed(&format!("instances = 2\n{target}"), external), "one instance to Interlock"),
        (placed(&format!("strategy = {{ kind = \"canary\" }}\n{target}"), external), "cannot share out traffic"),
        (placed(&target.replace("undo =", "undone ="), external), "unknown key"),
    ] {
        let told = faults(&text);
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:#?}");
    }
}

#[test]
fn a_target_deployed_by_ci_is_told_which_release_and_no_secret() {
    let ci = "[ci]\nplatform = \"github\"\nrepository = \"shop/web\"\naddress = \"http://127.0.0.1:8300\"\ntoken = \"env:CI_TOKEN\"\n";
    let target = "target = { kind = \"ci\", workflow = \"release.yml\", inputs = { version = \"{version}\" } }";
    let placed = |target: &str, ci: &str| {
        let router = "router = { kind = \"external\", address = \"10.0.0.7:80\" }";
        let line = |line: &str| if line.starts_with("router =") { format!("{target}\n{router}") } else { line.to_owned() };
        format!("{}\n{ci}", SMALL.lines().map(line).collect::<Vec<_>>().join("\n"))
    };
    let read_target = |text: &str| {
        let config = read(text);
        match &config.environments.values().next().unwrap().services.values().next().unwrap().target {
            interlock::model::service::TargetKind::Ci(target) => target.clone(),
            other => panic!("{other:?}"),
        }
    };
    let read = read_target(&placed(target, ci));
    assert_eq!((read.workflow.as_str(), read.branch.as_str(), read.timeout_ms), ("release.yml", "main", 30 * 60_000));
    assert_eq!((read.access.address.as_str(), read.access.token.as_deref()), ("http://127.0.0.1:8300", Some("env:CI_TOKEN")));
    let gitlab = ci.replace("github", "gitlab");
    let own = target.replace("workflow = \"release.yml\", ", "branch = \"live\", ");
    let read = read_target(&placed(&own, &gitlab));
    assert_eq!((read.workflow.as_str(), read.branch.as_str()), (".gitlab-ci.yml", "live"));
    let with = |from: &str, to: &str| {
        assert!(target.contains(from), "{from}");
        placed(&target.replace(from, to), ci)
    };
    for (text, expected) in [
        (placed(target, ""), "there is no `[ci]` to ask"),
        (placed(target, &gitlab), "GitLab has one pipeline"),
        (placed(&own, ci), "`workflow` is missing"),
        (with("release.yml", "../release.yml"), "is no workflow"),
        (with("release.yml", "release"), "is no workflow"),
        (with(", inputs = { version = \"{version}\" }", ""), "`inputs` is missing"),
        (with("{version}", "1.0.0"), "does not say which release"),
        (with("{version}", "{version} {release}"), "`{release}` is not filled in here"),
        (with("version =", "interlock ="), "is no input, or one that Interlock gives by itself"),
        (with("version =", "deploy_token = \"x\", version ="), "would be shown by the platform"),
        (with("version =", "key = \"env:KEY\", version ="), "would be shown by the platform"),
        (with("kind", "timeout = \"7h\", kind"), "timeout"),
        (with("kind", "ref = \"main\", kind"), "unknown key"),
        (placed(&format!("instances = 2\n{target}"), ci), "a `ci` target is one instance"),
        (placed(&format!("env = {{ MODE = \"live\" }}\n{target}"), ci), "nothing here that could read `env`"),
    ] {
        let told = faults(&text);
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:#?}");
    }
}

#[test]
fn what_has_no_kind_is_refused_and_never_left_out() {
    for (text, place) in [
        (SMALL.replace("router = {", "strategy = { weights = [10, 100] }\nrouter = {"), "environments.staging.services.web.strategy"),
        (
            format!("{SMALL}[[services.web.metrics]]\nname = \"x\"\nsource = {{ run = [\"m\"] }}\nthreshold = \"<= 1\"\n"),
            "metrics[0].source",
        ),
        (SMALL.replace("router = {", "target = {}\nrouter = {"), "environments.staging.services.web.target"),
    ] {
        let told = faults(&text);
        assert!(told.len() == 1 && told[0].contains(place) && told[0].contains("`kind` is missing"), "{place}: {told:#?}");
    }
}

#[test]
fn a_file_that_is_no_toml_tells_its_places_without_echoes() {
    let broken = SMALL.replace("name = \"shop\"", "name = \"shop").replace("health = {", "helth = {");
    let told = faults(&broken);
    assert!(told[0].starts_with("interlock.toml:3: "), "{told:#?}");
    assert!(told.iter().all(|fault| !fault.contains("is missing")), "{told:#?}");
    assert!(faults("").len() == 3, "an empty file lacks its three parts");
    assert!(faults("\u{0}\n[[").iter().all(|fault| !fault.contains('\n')));
}

#[test]
fn an_error_carries_every_fault() {
    let error = Error::from(parse("interlock.toml", "").unwrap_err());
    assert_eq!(error.code, Code::InvalidConfiguration);
    assert_eq!(error.details.unwrap()["faults"].as_array().unwrap().len(), 3);
}

#[test]
fn the_template_loads_as_it_is_and_with_its_examples() {
    let config = read(&template("My Shop"));
    assert_eq!(config.project, "my-shop");
    assert!(config.environments[&"production".into()].is_production());
    assert!(config.gates.feeds.is_empty());

    let examples = [
        "# owner ",
        "# escalation ",
        "# version ",
        "# smoke ",
        "# instances ",
        "# dependencies ",
        "# tests ",
        "# coverage ",
        "# load ",
        "# vulnerabilities ",
        "# outdated ",
    ];
    let uncomment = |line: &str| if examples.iter().any(|start| line.starts_with(start)) { line[2..].to_owned() } else { line.to_owned() };
    let full = template("shop").lines().map(uncomment).collect::<Vec<_>>().join("\n");
    assert_eq!(read(&full).gates.feeds.len(), 5);
}

#[test]
fn a_difference_says_what_reaches_whom() {
    let config = read(CONTRACT);
    assert!(difference(Some(&config), &config).is_empty());
    let changed = |from: &str, to: &str| {
        assert!(CONTRACT.contains(from), "{from}");
        let new = read(&CONTRACT.replace(from, to));
        let told = difference(Some(&config), &new);
        let line = |d: &config::EnvironmentDifference| {
            let paths: Vec<&str> = d.changes.iter().map(|change| change.path.as_str()).collect();
            format!("{}{}: {}", d.environment, if d.needs_approval { "!" } else { "" }, paths.join(" "))
        };
        told.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(changed("\"live\"", "\"dead\""), ["production!: environments.production.services.web.env.MODE"]);
    assert_eq!(
        changed("\"test\"", "\"live\""),
        ["production!: environments.staging.services.web.env.MODE", "staging: environments.staging.services.web.env.MODE"],
        "an environment that production depends on is part of it"
    );
    assert_eq!(changed("8081", "8082"), ["production!: environments.production.services.web.router.listen"]);
    let removed = changed(", error_percent = \"<= 1\"", "");
    assert_eq!(removed, ["production!: gates.feeds.load.thresholds.error_percent", "staging: gates.feeds.load.thresholds.error_percent"]);
    let loosened = changed("approval = {", "# approval = {");
    assert!(loosened[0].starts_with("production!: environments.production.approval.expires_ms"), "{loosened:?}");
    let bound = changed("phase    = \"phase-06\"", "gates = { coverage = \"off\" }");
    assert_eq!(bound, ["production!: environments.production.gates environments.production.gates.coverage"]);

    let first = difference(None, &config);
    assert_eq!(
        first.iter().map(|d| (d.environment.as_str(), d.needs_approval)).collect::<Vec<_>>(),
        [("production", true), ("staging", false)]
    );
    let gone = difference(Some(&config), &read(SMALL));
    assert!(gone.iter().any(|d| d.environment.as_str() == "production" && d.needs_approval && d.changes.iter().all(|c| c.new.is_none())));
}

#[test]
fn the_effective_configuration_binds_what_reaches_a_service_and_nothing_else() {
    let hash = |text: &str, environment: &str| read(text).effective_sha256(&environment.into(), &"web".into()).unwrap();
    let production = hash(CONTRACT, "production");
    assert_eq!(production, hash(&CONTRACT.replace("# argv, no shell", "# spaces  and words"), "production"));
    assert_eq!(production, hash(&CONTRACT.replace("MODE = \"test\"", "MODE = \"rehearsal\""), "production"));
    for (from, to) in [("127.0.0.1:8080", "127.0.0.1:8090"), ("keep  = 5", "keep = 6"), ("<= 500", "<= 600"), ("\"wait\"", "\"execute\"")] {
        assert_ne!(production, hash(&CONTRACT.replace(from, to), "production"), "{from}");
    }
    assert!(read(CONTRACT).effective(&"production".into(), &"api".into()).is_none());
    let off = read(&format!("{SMALL}[environments.staging.gates]\nload = \"off\"\n"));
    assert_eq!(off.environments[&"staging".into()].gates[&"load".into()], GateOverride::Off);
}

#[test]
fn every_phase_that_configuration_knows_is_there() {
    let names: Vec<&str> = phases::all().iter().map(|phase| phase.name.as_str()).collect();
    assert_eq!(names, config::PHASES);
    assert!(names.contains(&config::DEFAULT_PHASE) && phases::builtin("phase-99").is_none());
}

#[test]
fn the_page_lists_every_fact_as_it_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/phases.md")).unwrap();
    for kind in phases::FACTS {
        let row = format!("| `{}` | {} | {}: {} |", kind.name, kind.says, kind.who, kind.how.replace("{directive}", "DIRECTIVE"));
        assert!(page.contains(&row), "missing in docs/phases.md: {row}");
    }
    let section = page.split("## Facts").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the page lists facts");
    assert_eq!(section.matches("\n| `").count(), phases::FACTS.len());
}

#[test]
fn every_operation_that_a_phase_may_name_is_there() {
    let unknown: Vec<&&str> = phases::OPERATIONS.iter().filter(|name| operations::find(name).is_none()).collect();
    assert!(unknown.is_empty() && phases::OPERATIONS.len() >= 16, "{unknown:?}");
    assert!(operations::find("plan_rollout").is_none());
}
