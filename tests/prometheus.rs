//! Monitoring with the real Prometheus and Alertmanager: they start with what `setup_monitoring` has written, and an alert that the service
//! itself causes arrives.

mod support;

use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{
    PATIENCE,
    configuration::free_address,
    required,
    shop::{APPROVAL, Database, Shop, http, served, text},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Between two looks at what another process shows.
const LOOK: Duration = Duration::from_millis(100);

/// The programs of both.
struct Tools {
    prometheus: PathBuf,
    alertmanager: PathBuf,
    promtool: PathBuf,
    amtool: PathBuf,
}

fn tools() -> Option<Tools> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = |names: &[&str]| {
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|program| program.exists())
    };
    let found = program(&["amtool"]).and_then(|amtool| {
        Some(Tools {
            amtool,
            prometheus: program(&["prometheus"])?,
            // Debian has it under the longer name.
            alertmanager: program(&["prometheus-alertmanager", "alertmanager"])?,
            promtool: program(&["promtool"])?,
        })
    });
    required::found("prometheus", found, "no `prometheus`, `alertmanager`, `promtool` and `amtool` in PATH; `.ci/setup` installs them")
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(program: &Path, arguments: &[String], folder: &Path) -> Self {
        let said = fs::File::create(folder.join(program.file_name().unwrap()).with_extension("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        Running(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whoever is told of alerts: keeps what Alertmanager posts.
async fn told() -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(String::new())));
    let hearing = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hearing = hearing.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 8192];
                while let Ok(count) = stream.read(&mut bytes).await {
                    hearing.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                    if count == 0 || hearing.lock().unwrap().contains("\"truncatedAlerts\"") {
                        break;
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            });
        }
    });
    (address, heard)
}

/// Waits until something is there.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} never came");
        tokio::time::sleep(LOOK).await;
    }
}

async fn answer(address: SocketAddr, path: &str) -> Option<Value> {
    let (status, body) = http(address, "GET", path, "", "").await.ok()?;
    (status == 200).then(|| serde_json::from_str(&body).ok())?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alert_of_the_service_arrives_by_what_was_written() {
    let Some(tools) = tools() else { return };
    let (prometheus, alertmanager) = (free_address(), free_address());
    let (hook, heard) = told().await;
    let configuration = |shop: &Shop, expr: &str| {
        format!(
            r#"{}
[services.web.monitoring]
metrics = "/metrics"
alerts = [{{ name = "ManyGreetings", expr = "{expr}", for = "0s", severity = "critical", summary = "so many" }}]

[monitoring]
prometheus = "http://{prometheus}"
alertmanager = "http://{alertmanager}"
notify = "http://{hook}/alerts"
interval = "1s"
"#,
            shop.configuration(APPROVAL)
        )
    };
    // What smoke checks and probes ask for stays below.
    let shop =
        Shop::configured(Database::Sqlite, |shop| configuration(shop, "demo_greetings_total{environment='{environment}'} > 1000")).await;
    let build = shop.build("1.0.0");
    let deployed = shop.deploy("1.0.0", &build).await;
    let directive = text(&deployed["deployment"]["directive"]);
    let asked = json!({ "directive": directive });

    let written = shop.must("setup_monitoring", asked.clone()).await;
    let checked = written["checked_by"].as_array().unwrap();
    assert!(checked.len() == 3 && checked.iter().all(|one| one["outcome"] == "passed"), "{written:#}");
    assert_eq!((&written["state"], &written["alert"]["arrived"]), (&json!("written"), &json!(false)), "nobody answers yet: {written:#}");

    let logs = shop.root().join("watchers");
    fs::create_dir(&logs).unwrap();
    let folder = shop.root().join("monitoring/staging");
    let argument = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
    let _alertmanager = Running::start(
        &tools.alertmanager,
        &[
            argument("config.file", &folder.join("alertmanager.yml").display()),
            argument("storage.path", &logs.join("alerts").display()),
            argument("web.listen-address", &alertmanager),
            argument("cluster.listen-address", &""),
        ],
        &logs,
    );
    let _prometheus = Running::start(
        &tools.prometheus,
        &[
            argument("config.file", &folder.join("prometheus.yml").display()),
            argument("storage.tsdb.path", &logs.join("series").display()),
            argument("web.listen-address", &prometheus),
        ],
        &logs,
    );
    until("Alertmanager", || async { answer(alertmanager, "/api/v2/status").await }).await;
    until("both targets", || async {
        let targets = answer(prometheus, "/api/v1/targets?state=active").await?;
        let targets = targets["data"]["activeTargets"].as_array()?.clone();
        (targets.len() == 2 && targets.iter().all(|target| target["health"] == "up")).then_some(())
    })
    .await;

    let proven = shop.must("setup_monitoring", asked.clone()).await;
    assert_eq!(proven["state"], "proven", "{proven:#}");
    assert_eq!(proven["alert"]["receivers"], json!(["staging/web"]), "the routes are those that were written: {proven:#}");
    let metrics = shop.must("get_metrics", json!({ "environment": "staging" })).await;
    let coverage = metrics["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "monitoring_coverage").unwrap();
    assert_eq!((&coverage["value"], &coverage["n"]), (&json!(100.0), &json!(1)), "{metrics:#}");

    // A rule of the service's own fires because the service shows it.
    let firing = "/api/v2/alerts?filter=alertname%3D%22ManyGreetings%22";
    assert_eq!(answer(alertmanager, firing).await, Some(json!([])), "nothing fires yet");
    for _ in 0..1001 {
        served(shop.staging).await;
    }
    let fired = until("the alert", || async {
        let fired = answer(alertmanager, firing).await?;
        fired[0]["status"]["state"].as_str().filter(|state| *state == "active")?;
        Some(fired)
    })
    .await;
    assert_eq!((&fired[0]["labels"]["service"], &fired[0]["annotations"]["summary"]), (&json!("web"), &json!("so many")), "{fired:#}");
    until("what Alertmanager tells", || async { heard.lock().unwrap().contains("ManyGreetings").then_some(()) }).await;

    the_gate_names_what_fires_until_it_is_silenced(&shop, &tools, alertmanager).await;
    the_server_s_metrics_are_as_prometheus_wants_them(&shop, &tools).await;

    // The same check refuses what is broken, and nothing is written.
    let rules = shop.read("monitoring/staging/web.alerts.yml");
    shop.write("interlock.toml", &configuration(&shop, "sum(demo_greetings_total"));
    shop.apply().await.unwrap();
    let refusal = shop.refused("invalid_configuration", "setup_monitoring", asked).await;
    assert!(text(&refusal["message"]).contains("promtool refuses the rules"), "{refusal:#}");
    assert_eq!(shop.read("monitoring/staging/web.alerts.yml"), rules);
}

async fn the_gate_names_what_fires_until_it_is_silenced(shop: &Shop, tools: &Tools, alertmanager: SocketAddr) {
    // Bound only now: until both answered, nothing could have been deployed.
    shop.write("interlock.toml", &format!("{}\n[environments.staging.gates]\nalerts = {{}}\n", shop.read("interlock.toml")));
    shop.apply().await.unwrap();
    let directive = shop.directive("staging", "1.1.0").await;
    let gate = async || {
        let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        checked["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == "alerts").unwrap().clone()
    };
    let failed = gate().await;
    assert!(
        failed["verdict"] == "fail" && text(&failed["reason"]).contains("`ManyGreetings` (Alertmanager, critical, since "),
        "{failed:#}"
    );
    let url = format!("--alertmanager.url=http://{alertmanager}");
    let silence = ["silence", "add", "--author=ada", "--comment=known", "--duration=1h", "environment=staging", &url];
    assert!(Command::new(&tools.amtool).args(silence).stdout(Stdio::null()).status().unwrap().success());
    let passed = until("the silence", || async {
        let gate = gate().await;
        (gate["verdict"] == "pass").then_some(gate)
    })
    .await;
    assert_eq!(passed["reason"], "none, by Alertmanager");
}

async fn the_server_s_metrics_are_as_prometheus_wants_them(shop: &Shop, tools: &Tools) {
    let (address, token) = shop.listens();
    let (status, metrics) = http(address, "GET", "/metrics", &format!("authorization: Bearer {token}\r\n"), "").await.unwrap();
    assert!(status == 200 && metrics.contains("interlock_requests_total"), "{metrics}");
    let check = |text: &str| {
        let mut check = Command::new(&tools.promtool);
        let mut check =
            check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = check.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (passes, said) = check(&metrics);
    assert!(passes, "promtool check metrics: {said}\n{metrics}");
    assert!(!check("# TYPE broken counter\nbroken{ 1\n").0, "the same check refuses what is broken");
}
