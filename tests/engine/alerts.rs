//! Gate `alerts`, over real sockets: an alert that fires stops a deployment, and no answer is ever none.

use crate::{support::databases::databases, world::Shop};
use interlock::{
    engine::alerts::{ANSWER, heard},
    gates::{Ask, alerts::evaluate},
    model::{DecisionKind, DecisionVerdict, GateResult, ServiceSpec, Sha256, Timestamp, Verdict, Who, monitoring::Watchers},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// An Alertmanager and a Prometheus in one: answers everybody the same, or nobody, and keeps what it was asked; whoever asks for its rules
/// gets those.
#[derive(Clone)]
struct Watcher {
    address: SocketAddr,
    answer: Arc<Mutex<Option<(u16, String)>>>,
    rules: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Watcher {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, rules) =
            (Arc::new(Mutex::new(Some((200, "[]".into())))), Arc::new(Mutex::new((200, rules(&[rule("staging", "ok")])))));
        let watcher = Watcher { address, answer, rules, asked: Arc::default() };
        let served = watcher.clone();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 8192];
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&bytes[..read]).lines().next().unwrap_or_default().to_owned();
                let answer = match asked.starts_with("GET /api/v1/rules?type=alert ") {
                    true => Some(served.rules.lock().unwrap().clone()),
                    false => {
                        served.asked.lock().unwrap().push(asked);
                        served.answer.lock().unwrap().clone()
                    }
                };
                let Some((status, body)) = answer else {
                    waiting.push(stream);
                    continue;
                };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        watcher
    }

    fn says(&self, status: u16, body: impl ToString) {
        *self.answer.lock().unwrap() = Some((status, body.to_string()));
    }

    fn has_rules(&self, status: u16, body: impl ToString) {
        *self.rules.lock().unwrap() = (status, body.to_string());
    }

    fn is_silent(&self) {
        *self.answer.lock().unwrap() = None;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// An alert as Alertmanager shows it.
fn alert(name: &str, environment: &str, state: &str) -> Value {
    let labels = json!({ "alertname": name, "service": "web", "environment": environment, "severity": "critical" });
    json!({ "labels": labels, "annotations": {}, "startsAt": "2026-01-02T03:04:05.000Z", "receivers": [{ "name": "ops" }],
        "status": { "state": state, "silencedBy": [], "inhibitedBy": [] } })
}

/// A rule of the service as Prometheus shows it.
fn rule(environment: &str, health: &str) -> Value {
    let labels = json!({ "service": "web", "environment": environment });
    json!({ "name": "Down", "type": "alerting", "labels": labels, "annotations": {}, "health": health })
}

/// The answer of Prometheus with these rules.
fn rules(rules: &[Value]) -> String {
    json!({ "status": "success", "data": { "groups": [{ "name": "web", "file": "web.yml", "rules": rules }] } }).to_string()
}

/// The answer of Prometheus with these alerts.
fn series(names: &[&str]) -> Value {
    let one = |name: &&str| json!({ "metric": { "__name__": "ALERTS", "alertname": name, "severity": "warning" }, "value": [1, "1"] });
    json!({ "status": "success", "data": { "resultType": "vector", "result": names.iter().map(one).collect::<Vec<_>>() } })
}

async fn judged(spec: &ServiceSpec, patience: Duration) -> GateResult {
    let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "phase phase-06", now: Timestamp(0) };
    evaluate(ask, &heard(spec, patience).await, &Sha256::of(b"a"), &[])
}

async fn spec(shop: &Shop, watchers: Watchers) -> ServiceSpec {
    let mut spec = shop.engine.service(&"staging".into(), &"web".into()).await.unwrap().2;
    spec.monitoring.watchers = watchers;
    spec
}

fn at(address: SocketAddr) -> Option<String> {
    Some(format!("http://{address}"))
}

async fn gate(shop: &Shop, directive: &str) -> Value {
    let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    checked["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "alerts").unwrap().clone()
}

#[tokio::test]
async fn an_alert_that_fires_stops_the_deployment_and_is_named() {
    for database in databases().await {
        let (shop, alertmanager) = (Shop::open(&database.url).await, Watcher::start().await);
        let both = format!("alertmanager = \"http://{0}\"\nprometheus = \"http://{0}\"", alertmanager.address);
        let watched = format!("{}\n[monitoring]\n{both}\n", shop.text);
        shop.configure(&watched.replace("[environments.staging.gates]\n", "[environments.staging.gates]\nalerts = {}\n")).await;
        let directive = shop.order("staging", "1.0.0").await;
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let passed = gate(&shop, &directive).await;
        assert_eq!(
            (&passed["verdict"], &passed["reason"], &passed["live"]),
            (&json!("pass"), &json!("none, by Alertmanager"), &json!(true))
        );
        let asked = alertmanager.asked().pop().unwrap();
        for part in ["filter=service%3D%22web%22", "filter=environment%3D%22staging%22", "silenced=false", "inhibited=false", "active=true"]
        {
            assert!(asked.starts_with("GET /api/v2/alerts?") && asked.contains(part), "{asked}");
        }

        // What is held back, of elsewhere, or a test of ours, does not count, whoever answers more than was asked.
        let quiet = json!([
            alert("Silenced", "staging", "suppressed"),
            alert("Elsewhere", "production", "active"),
            alert("InterlockTestAlert", "staging", "active")
        ]);
        alertmanager.says(200, &quiet);
        assert_eq!(gate(&shop, &directive).await["verdict"], "pass", "{}", database.name);

        let mut loud = quiet;
        loud.as_array_mut().unwrap().extend([alert("Late", "staging", "unprocessed"), alert("Down", "staging", "active")]);
        alertmanager.says(200, &loud);
        let failed = gate(&shop, &directive).await;
        let named = "`Down` (Alertmanager, critical, since 2026-01-02T03:04:05.000Z)";
        let reason = failed["reason"].as_str().unwrap();
        assert!(failed["verdict"] == "fail" && reason.starts_with(&format!("2 alerts fire: {named}, `Late` ")), "{failed:#}");
        assert_eq!((&failed["value"], &failed["who"]), (&json!("2 firing"), &json!("person")));

        // It is asked again where the plan is executed.
        let deployment = shop.call("execute_deployment", json!({ "plan": plan })).await;
        let refused = match deployment {
            Err(refused) => refused.body,
            Ok(begun) => shop.settled(&begun["deployment"]).await,
        };
        assert!(refused.to_string().contains("Down") && shop.staging.serving().is_empty(), "{refused:#}");
    }
}

#[tokio::test]
async fn where_nobody_watches_a_person_says_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&shop.text.replace("[environments.staging.gates]\n", "[environments.staging.gates]\nalerts = {}\n")).await;
        let directive = shop.order("staging", "1.0.0").await;
        let open = gate(&shop, &directive).await;
        assert_eq!((&open["verdict"], &open["who"]), (&json!("inconclusive"), &json!("person")), "{open:#}");
        assert_eq!(open["how"], format!("interlock sign-off {directive} alerts"));
        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "alerts" }), DecisionVerdict::Approve).await;
        let signed = gate(&shop, &directive).await;
        assert_eq!((&signed["verdict"], &signed["value"]), (&json!("pass"), &json!("ada")), "{}: {signed:#}", database.name);
    }
}

#[tokio::test]
async fn no_answer_is_ever_none() {
    let databases = databases().await;
    let (shop, watcher) = (Shop::open(&databases[0].url).await, Watcher::start().await);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let alertmanager = |address| Watchers { alertmanager: at(address), prometheus: at(watcher.address), ..Watchers::default() };
    let prometheus = |address| Watchers { prometheus: at(address), ..Watchers::default() };
    // Far more than is read: how many there are is then not known, but there is no pass either.
    let many: Vec<Value> = (0..6_000).map(|number| alert(&format!("Alert{number}"), "staging", "active")).collect();
    let some: Vec<Value> = many[..2_000].to_vec();
    for (status, body, said) in [
        (403, "no".to_owned(), "403"),
        (500, String::new(), "500"),
        (302, String::new(), "302"),
        (200, "<html>".into(), "expected value"),
        (200, "{}".into(), ""),
        (200, json!([{ "labels": {} }]).to_string(), "status"),
        (200, json!(many).to_string(), "bytes came"),
    ] {
        watcher.says(status, &body);
        for watchers in [alertmanager(watcher.address), prometheus(watcher.address)] {
            let result = judged(&spec(&shop, watchers).await, ANSWER).await;
            assert_eq!((result.verdict, result.who), (Verdict::Inconclusive, Some(Who::Person)), "{status}: {result:?}");
            assert!(result.reason.contains(" does not say: ") && result.reason.len() < 400, "{result:?}");
            // An answer that is not even of its kind each reads in its own way.
            assert!(result.reason.contains(said) || status == 200, "{status} {said}: {result:?}");
        }
    }
    for watchers in [alertmanager(nobody), prometheus(nobody)] {
        assert_eq!(judged(&spec(&shop, watchers).await, ANSWER).await.verdict, Verdict::Inconclusive);
    }
    watcher.is_silent();
    let late = judged(&spec(&shop, alertmanager(watcher.address)).await, Duration::from_millis(50)).await;
    assert_eq!((late.verdict, late.reason.contains("50 ms")), (Verdict::Inconclusive, true), "{late:?}");
    // A secret address is resolved late, and never told.
    let secret = Watchers { alertmanager: Some("env:NOT_THERE_AT_ALL".into()), ..Watchers::default() };
    assert_eq!(judged(&spec(&shop, secret).await, ANSWER).await.verdict, Verdict::Inconclusive);

    // The positive control: the same sources, whole.
    watcher.says(200, json!(some));
    let failed = judged(&spec(&shop, alertmanager(watcher.address)).await, ANSWER).await;
    assert!(failed.verdict == Verdict::Fail && failed.reason.starts_with("2000 alerts fire") && failed.reason.len() < 500, "{failed:?}");
    watcher.says(200, "[]");
    assert_eq!(judged(&spec(&shop, alertmanager(watcher.address)).await, ANSWER).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn prometheus_is_asked_where_it_alone_watches_and_where_a_query_says_so() {
    let databases = databases().await;
    let shop = Shop::open(&databases[0].url).await;
    let (alertmanager, prometheus) = (Watcher::start().await, Watcher::start().await);
    prometheus.says(200, series(&[]));
    let alone = Watchers { prometheus: at(prometheus.address), ..Watchers::default() };
    let passed = judged(&spec(&shop, alone.clone()).await, ANSWER).await;
    assert_eq!((passed.verdict, passed.reason.as_str()), (Verdict::Pass, "none, by Prometheus"));
    let asked = prometheus.asked().pop().unwrap();
    assert!(asked.contains("query=ALERTS%7Balertstate%3D%22firing%22%2Cservice%3D%22web%22%2Cenvironment%3D%22staging%22%7D"), "{asked}");
    prometheus.says(200, series(&["Slow"]));
    let failed = judged(&spec(&shop, alone.clone()).await, ANSWER).await;
    assert_eq!((failed.verdict, failed.reason.as_str()), (Verdict::Fail, "1 alert fires: `Slow` (Prometheus, warning)"));

    // Alertmanager knows of silences, so it is asked alone, unless a query says what counts besides.
    let both = Watchers { alertmanager: at(alertmanager.address), ..alone };
    prometheus.asked();
    assert_eq!(judged(&spec(&shop, both.clone()).await, ANSWER).await.reason, "none, by Alertmanager");
    let with_query = Watchers { firing: Some("queue{env=\"{environment}\"} > 10".into()), ..both };
    let failed = judged(&spec(&shop, with_query).await, ANSWER).await;
    assert_eq!((failed.verdict, failed.reason.as_str()), (Verdict::Fail, "1 alert fires: `Slow` (Prometheus, warning)"));
    assert!(prometheus.asked().pop().unwrap().contains("queue%7Benv%3D%22staging%22%7D%20%3E%2010"));
}

#[tokio::test]
async fn nobody_who_would_ever_fire_lets_nothing_pass() {
    let databases = databases().await;
    let (shop, watcher) = (Shop::open(&databases[0].url).await, Watcher::start().await);
    let alertmanager = Watchers { alertmanager: at(watcher.address), ..Watchers::default() };
    let prometheus = Watchers { prometheus: at(watcher.address), ..Watchers::default() };
    let both = Watchers { prometheus: at(watcher.address), ..alertmanager.clone() };
    // It was started a moment ago, with nothing behind it.
    let open = judged(&spec(&shop, alertmanager).await, ANSWER).await;
    assert_eq!((open.verdict, open.who, open.live), (Verdict::Inconclusive, Some(Who::Person), false), "{open:?}");
    assert!(open.reason.starts_with("`[monitoring]` names no Prometheus"), "{open:?}");
    let unlabelled = json!({ "name": "Any", "type": "alerting", "health": "ok" });
    for (watchers, answer) in [(both, "[]".to_owned()), (prometheus, series(&[]).to_string())] {
        watcher.says(200, &answer);
        let spec = spec(&shop, watchers).await;
        for none in [vec![], vec![rule("production", "ok")], vec![rule("staging", "unknown")], vec![rule("staging", "err")]] {
            watcher.has_rules(200, rules(&none));
            let open = judged(&spec, ANSWER).await;
            assert_eq!((open.verdict, open.who), (Verdict::Inconclusive, Some(Who::Person)), "{none:?}: {open:?}");
            assert_eq!(open.how.as_deref(), Some("interlock sign-off SD-DEPLOY-001 alerts"), "{none:?}: {open:?}");
        }
        for (status, body) in [(500, ""), (200, "[]")] {
            watcher.has_rules(status, body);
            let open = judged(&spec, ANSWER).await;
            assert!(open.verdict == Verdict::Inconclusive && open.reason.starts_with("Prometheus does not say: "), "{open:?}");
        }
        // The positive control: one rule that is evaluated and of the service, or says nothing of whose it is.
        for one in [rule("staging", "ok"), unlabelled.clone()] {
            watcher.has_rules(200, rules(&[one]));
            assert_eq!(judged(&spec, ANSWER).await.verdict, Verdict::Pass);
        }
    }
    // An alert that says nothing of whose it is may be of this one.
    let mut nameless = alert("Nameless", "staging", "active");
    nameless["labels"] = json!({ "alertname": "Nameless" });
    watcher.says(200, json!([nameless]));
    let both = Watchers { alertmanager: at(watcher.address), prometheus: at(watcher.address), ..Watchers::default() };
    let failed = judged(&spec(&shop, both).await, ANSWER).await;
    assert_eq!(
        (failed.verdict, failed.reason.as_str()),
        (Verdict::Fail, "1 alert fires: `Nameless` (Alertmanager, since 2026-01-02T03:04:05.000Z)")
    );
}

#[tokio::test]
async fn an_alert_after_the_deployment_keeps_its_directive_open() {
    for database in databases().await {
        let (shop, watcher) = (Shop::open(&database.url).await, Watcher::start().await);
        let watched =
            format!("{0}\n[monitoring]\nalertmanager = \"http://{1}\"\nprometheus = \"http://{1}\"\n", shop.text, watcher.address);
        for phase in ["phase-06", "stage-30", "deployment-operations"] {
            assert!(interlock::phases::builtin(phase).unwrap().exit.iter().any(|fact| fact == "alerts_quiet"), "{phase}");
        }
        let own = crate::phases::own("deployed, alerts_quiet");
        shop.configure(&crate::phases::with(&shop, &watched, "staging", &own)).await;
        watcher.says(200, json!([alert("Slow", "staging", "active")]));
        let deployed = async |version: &str| shop.deploy(version).await["deployment"]["directive"].take();
        let complete_of = async |directive: &Value| shop.must("complete_directive", json!({ "directive": directive })).await;
        let directive = deployed("1.0.0").await;
        let complete = async || complete_of(&directive).await;
        let open = complete().await;
        assert_eq!((&open["completed"], &open["missing"]), (&json!(false), &json!(["alerts_quiet: false"])), "{open:#}");
        // Who does not answer, or would never fire, says nothing.
        watcher.says(500, "");
        assert_eq!(complete().await["missing"], json!(["alerts_quiet: missing"]));
        watcher.says(200, "[]");
        watcher.has_rules(200, rules(&[]));
        assert_eq!(complete().await["missing"], json!(["alerts_quiet: missing"]));
        // The positive control: somebody who would fire, and nothing fires.
        watcher.has_rules(200, rules(&[rule("staging", "ok")]));
        let done = complete().await;
        assert_eq!(done["completed"], true, "{}: {done:#}", database.name);

        // And by itself, right after the next deployment.
        let completed = async |directive: &Value| shop.until("get_status", json!({ "directive": directive }), "completed").await;
        completed(&deployed("1.1.0").await).await;

        // Where nobody is named, a person says it, for exactly this release.
        shop.configure(&crate::phases::with(&shop, &shop.text, "staging", &own)).await;
        let unwatched = deployed("1.2.0").await;
        let asked = complete_of(&unwatched).await;
        assert_eq!((&asked["completed"], &asked["missing"]), (&json!(false), &json!(["alerts_quiet: missing"])), "{asked:#}");
        let sign_off = format!("interlock sign-off {} alerts_after", unwatched.as_str().unwrap());
        assert!(asked["next_actions"].to_string().contains(&sign_off), "{asked:#}");
        shop.sign(DecisionKind::SignOff, json!({ "directive": unwatched, "fact": "alerts_after" }), DecisionVerdict::Approve).await;
        assert_eq!(complete_of(&unwatched).await["completed"], true, "{}", database.name);

        // Where it is signed that nothing watches, nobody is asked; whoever is named is asked all the same.
        let off = |text: &str| text.replace("[environments.staging.gates]\n", "[environments.staging.gates]\nalerts = \"off\"\n");
        shop.configure(&crate::phases::with(&shop, &off(&shop.text), "staging", &own)).await;
        completed(&deployed("1.3.0").await).await;
        watcher.says(200, json!([alert("Slow", "staging", "active")]));
        shop.configure(&crate::phases::with(&shop, &off(&watched), "staging", &own)).await;
        assert_eq!(complete_of(&deployed("1.4.0").await).await["missing"], json!(["alerts_quiet: false"]));
    }
}
