//! Figures from outside, over real sockets and real commands: within its threshold one lets a deployment pass, beyond it turns it back,
//! and one that nobody knows asks a person.

use crate::{
    support::databases::databases,
    world::{PATIENCE, Shop},
};
use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const CANARY: &str = "strategy = { kind = \"canary\", weights = [20, 100], watch = \"1s\", watch_at_most = \"2s\" }";

/// Answers the instant queries of Prometheus' HTTP API with one number, or with no series at all, and remembers what was asked.
#[derive(Clone)]
struct Prometheus {
    address: SocketAddr,
    figure: Arc<Mutex<Option<f64>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Prometheus {
    async fn start(figure: Option<f64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let prometheus = Prometheus { address, figure: Arc::new(Mutex::new(figure)), asked: Arc::default() };
        let served = prometheus.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 8192];
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                served.asked.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).into_owned());
                let series = match *served.figure.lock().unwrap() {
                    Some(figure) => format!(r#"{{"metric":{{}},"value":[1435781451.781,"{figure}"]}}"#),
                    None => String::new(),
                };
                let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        prometheus
    }

    fn says(&self, figure: Option<f64>) {
        *self.figure.lock().unwrap() = figure;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it is asked once more.
    async fn is_asked(&self) {
        let (before, until) = (self.asked().len(), Instant::now() + PATIENCE);
        while self.asked().len() == before {
            assert!(Instant::now() < until, "nobody asks");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the line that configures it as a figure of at most 0.5.
    fn line(&self) -> String {
        self.line_with("")
    }

    fn line_with(&self, more: &str) -> String {
        let query = r#"sum(errors{v="{version}"})"#;
        let source = format!("{{ kind = \"prometheus\", address = \"http://{}\", query = '{query}'{more} }}", self.address);
        format!("metrics = [{{ name = \"checkout errors\", source = {source}, threshold = \"<= 0.5\", interval = \"1s\" }}]")
    }
}

fn command(script: &str) -> String {
    let source = format!("{{ kind = \"command\", run = [\"sh\", \"-c\", '{script}', \"sh\", \"{{version}}\"] }}");
    format!("metrics = [{{ name = \"queue\", source = {source}, threshold = \"<= 10\" }}]")
}

fn finding<'a>(incident: &'a Value, metric: &str) -> &'a Value {
    let evidence = &incident["evidence"];
    let findings = evidence["findings"].as_array().or(evidence["details"]["findings"].as_array()).unwrap_or_else(|| panic!("{incident:#}"));
    findings.iter().find(|finding| finding["metric"] == metric).unwrap_or_else(|| panic!("{incident:#}"))
}

#[tokio::test]
async fn a_figure_within_its_threshold_lets_a_deployment_pass() {
    for database in databases().await {
        let prometheus = Prometheus::start(Some(0.5)).await;
        let shop = Shop::open_with(&database.url, &prometheus.line()).await;
        let directive = shop.order("staging", "1.0.0").await;
        let planned = shop.plan_in_staging(&directive).await;
        let expected = format!("checkout errors must be <= 0.5: `sum(errors{{v=\"{{version}}\"}})` on http://{}", prometheus.address);
        assert_eq!(planned["metrics"], json!([expected]), "{planned:#}");
        let started = shop.must("execute_deployment", json!({ "plan": planned["plan"] })).await["deployment"].take();
        assert_eq!(shop.settled(&started).await["state"], "succeeded", "{}", database.name);
        assert!(
            prometheus.asked()[0].starts_with("GET /api/v1/query?query=sum%28errors%7Bv%3D%221.0.0%22%7D%29"),
            "{:?}",
            prometheus.asked()
        );
    }
}

#[tokio::test]
async fn a_figure_beyond_its_threshold_turns_the_deployment_back_with_its_evidence() {
    for database in databases().await {
        let prometheus = Prometheus::start(Some(0.0)).await;
        let shop = Shop::open_with(&database.url, &prometheus.line()).await;
        shop.deploy("1.0.0").await;
        prometheus.says(Some(0.75));
        let settled = shop.deploy("1.1.0").await;
        assert_eq!((&settled["state"], &settled["deployment"]["failure_code"]), (&json!("rolled_back"), &json!("threshold_crossed")));
        let incident = &settled["incidents"][0];
        assert_eq!((&incident["rule"], &incident["summary"]), (&json!("DEPLOY-002"), &json!("checkout errors is 0.75, not <= 0.5")));
        let finding = finding(incident, "checkout errors");
        assert_eq!((&finding["value"], &finding["threshold"]), (&json!("0.75"), &json!("<= 0.5")));
        assert!(finding["asked"].as_str().unwrap().contains("sum(errors"), "{finding}");
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
        // The way back is judged by nothing outside: it would never end while that is wrong.
        prometheus.says(Some(0.0));
        let good = shop.deploy("1.2.0").await;
        prometheus.says(Some(9.0));
        let asked = json!({ "deployment": good["deployment"]["id"], "reason": "on demand" });
        let back = shop.must("rollback_deployment", asked).await["deployment"].take();
        assert_eq!(shop.settled(&back).await["state"], "succeeded", "{}", database.name);
        assert_eq!(shop.staging.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn a_figure_that_crosses_its_threshold_ends_the_watch_early() {
    for database in databases().await {
        let prometheus = Prometheus::start(Some(0.0)).await;
        let shop = Shop::open_with(&database.url, &prometheus.line()).await;
        shop.deploy("1.0.0").await;
        shop.configure(&shop.text.replace("bake  = \"100ms\"", "bake = \"1h\"")).await;
        let started = shop.begin("1.1.0", "set 1.1.0").await;
        prometheus.is_asked().await;
        prometheus.says(Some(2.0));
        let settled = shop.settled(&started).await;
        assert_eq!(settled["state"], "rolled_back", "{}: {settled:#}", database.name);
        finding(&settled["incidents"][0], "checkout errors");
    }
}

#[tokio::test]
async fn a_figure_that_nobody_knows_asks_a_person_and_is_read_again() {
    for database in databases().await {
        let prometheus = Prometheus::start(Some(0.0)).await;
        let shop = Shop::open_with(&database.url, &prometheus.line()).await;
        shop.deploy("1.0.0").await;
        prometheus.says(None);
        let directive = shop.order("staging", "1.1.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let paused = shop.until("get_deployment", json!({ "deployment": started, "detail": true }), "paused").await;
        assert!(paused.to_string().contains("checkout errors is not known: the query matches nothing"), "{paused:#}");
        assert_eq!(shop.staging.serving(), ["1.1.0"], "it stands where it is");
        let lift = json!({ "deployment": started, "held": false });
        assert_eq!(shop.refused("hold_deployment", lift).await, "denied_by_policy", "what was not judged is not the agent's to pass");

        let (figure, choice, settles) =
            if database.name == "sqlite" { (Some(0.1), "retry", "succeeded") } else { (None, "roll_back", "rolled_back") };
        prometheus.says(figure);
        let subject = json!({ "deployment": started, "choice": choice, "reason": "looked at it" });
        shop.sign(DecisionKind::Resolve, subject, DecisionVerdict::Approve).await;
        assert_eq!(shop.settled(&started).await["state"], settles);
    }
}

#[tokio::test]
async fn an_abort_wins_while_a_figure_is_waited_for() {
    for database in databases().await {
        let prometheus = Prometheus::start(Some(0.0)).await;
        let shop = Shop::open_with(&database.url, &prometheus.line()).await;
        shop.deploy("1.0.0").await;
        shop.configure(&shop.text.replace("bake  = \"100ms\"", "bake = \"1h\"")).await;
        let started = shop.begin("1.1.0", "set 1.1.0").await;
        shop.until("get_deployment", json!({ "deployment": started }), "verifying").await;
        prometheus.says(None);
        // The watch is over, and as much again is given to the figure.
        shop.clock.advance(Duration::from_secs(3_600));
        prometheus.is_asked().await;
        shop.must("rollback_deployment", json!({ "deployment": started, "reason": "enough" })).await;
        assert_eq!(shop.settled(&started).await["state"], "rolled_back", "{}", database.name);
    }
}

#[tokio::test]
async fn a_canary_is_judged_by_what_a_command_prints() {
    for database in databases().await {
        let figure = tempfile::NamedTempFile::new().unwrap();
        let says = |text: &str| std::fs::write(figure.path(), text).unwrap();
        let metric = command(&format!("test \"$1\" != \"\" && cat {}", figure.path().display()));
        let shop = Shop::open_with(&database.url, &format!("{CANARY}\n{metric}")).await;
        says("3\n");
        shop.deploy("1.0.0").await;
        let passed = shop.deploy("1.1.0").await;
        assert_eq!(passed["state"], "succeeded", "{passed:#}");
        let of_canary = passed["steps"].as_array().unwrap().iter().find(|step| step["step"] == "analyse-20").unwrap();
        let seen = of_canary["output"]["findings"].as_array().unwrap().iter().find(|finding| finding["metric"] == "queue").unwrap();
        assert_eq!((&seen["verdict"], &seen["sentence"]), (&json!("pass"), &json!("queue is 3, within <= 10")), "not our own probes' word");

        says("11");
        let from = shop.staging.calls();
        let failed = shop.deploy("1.2.0").await;
        assert_eq!(failed["state"], "rolled_back", "{failed:#}");
        assert_eq!(finding(&failed["incidents"][0], "queue")["value"], "11");
        let moves: Vec<String> = shop.staging.log()[from..].iter().filter(|call| call.starts_with("set ")).cloned().collect();
        assert_eq!(moves[..2], ["set 1.2.0 1.1.0", "set 1.1.0"], "it never had more than its share");

        says("many");
        let directive = shop.order("staging", "1.3.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let started = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        let paused = shop.until("get_deployment", json!({ "deployment": started, "detail": true }), "paused").await;
        assert!(paused.to_string().contains("queue is not known: `many` is not a number"), "{}: {paused:#}", database.name);
        shop.rest().await;
    }
}

#[tokio::test]
async fn a_secret_is_sent_and_neither_recorded_nor_said() {
    for database in databases().await {
        let prometheus = Prometheus::start(Some(0.0)).await;
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "Bearer hunter2hunter2\n").unwrap();
        let reference = format!("file:{}", secret.path().display());
        let headers = format!(", headers = {{ authorization = \"{reference}\", \"x-scope\" = \"shop\" }}");
        let shop = Shop::open_with(&database.url, &prometheus.line_with(&headers)).await;
        let settled = shop.deploy("1.0.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        let asked = prometheus.asked().concat();
        assert!(asked.contains("authorization: Bearer hunter2hunter2\r\n") && asked.contains("x-scope: shop\r\n"), "{asked}");
        let deployment = interlock::model::DeploymentId::from(settled["deployment"]["id"].as_str().unwrap());
        let plan = shop.engine.plan_of(&shop.engine.deployment(&deployment).await.unwrap()).await.unwrap();
        let recorded = format!("{settled} {}", serde_json::to_string(&plan).unwrap());
        assert!(recorded.contains(&reference) && !recorded.contains("hunter2"), "{}: {recorded}", database.name);

        // A secret that is not there stops it before anything moves.
        std::fs::remove_file(secret.path()).unwrap();
        let directive = shop.order("staging", "1.1.0").await;
        let planned = shop.plan_in_staging(&directive).await;
        let blocked = planned["blockers"].to_string();
        assert!(blocked.contains("`checkout errors (authorization)`"), "{planned:#}");
        std::fs::write(secret.path(), "back").unwrap();
    }
}
