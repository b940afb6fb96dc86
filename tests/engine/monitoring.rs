//! Setting up monitoring, with a Prometheus and an Alertmanager that answer as the real ones do: what is written, what counts as proven.

use crate::{support::databases::databases, world::Shop};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Both in one: has the rules that lie in a folder, and shows every alert that it is sent.
#[derive(Clone)]
struct Watchers {
    address: SocketAddr,
    rules: Arc<Mutex<Option<PathBuf>>>,
    sent: Arc<Mutex<Vec<Value>>>,
}

impl Watchers {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let watchers = Watchers { address: listener.local_addr().unwrap(), rules: Arc::default(), sent: Arc::default() };
        let serving = watchers.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(stream).await });
            }
        });
        watchers
    }

    async fn answer(&self, mut stream: TcpStream) {
        let (mut read, mut bytes) = (Vec::new(), [0; 4096]);
        // A request is whole once its body is as long as it says.
        let (head, body) = loop {
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            read.extend_from_slice(&bytes[..count]);
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.to_lowercase().split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            if count == 0 || body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        };
        let answer = match head.split(' ').collect::<Vec<_>>()[..2] {
            ["POST", "/api/v2/alerts"] => {
                assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
                self.sent.lock().unwrap().extend(serde_json::from_str::<Vec<Value>>(&body).unwrap());
                String::new()
            }
            ["GET", path] if path.starts_with("/api/v2/alerts?filter=alertname%3D%22InterlockTestAlert%22") => {
                let receivers = json!([{ "name": "staging/web" }]);
                let shown = |alert: &Value| json!({ "labels": alert["labels"], "status": { "state": "active" }, "receivers": receivers });
                json!(self.sent.lock().unwrap().iter().map(shown).collect::<Vec<_>>()).to_string()
            }
            ["GET", "/api/v1/rules?type=alert"] => {
                let rules = self.rules.lock().unwrap().as_ref().map(|path| fs::read_to_string(path).unwrap());
                let file: Value = rules.map_or(json!({ "groups": [] }), |text| yaml_serde::from_str(&text).unwrap());
                let rules = file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
                let loaded = |rule: &Value| {
                    let (labels, annotations) = (&rule["labels"], &rule["annotations"]);
                    json!({ "name": rule["alert"], "labels": labels, "annotations": annotations, "health": "ok", "type": "alerting" })
                };
                let rules: Vec<Value> = rules.map(loaded).collect();
                json!({ "status": "success", "data": { "groups": [{ "name": "web", "rules": rules }] } }).to_string()
            }
            _ => panic!("nobody asks {head}"),
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn configured(&self, shop: &Shop) -> String {
        let address = self.address;
        format!("{}\n[monitoring]\nprometheus = \"http://{address}\"\nalertmanager = \"http://{address}\"\n", shop.text)
    }
}

async fn coverage(shop: &Shop, environment: &str) -> (Value, Value) {
    let reply = shop.must("get_metrics", json!({ "environment": environment })).await;
    let found = reply["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "monitoring_coverage").unwrap().clone();
    (found["value"].clone(), found["n"].clone())
}

/// What scraping needs of a server, as one would leave it: `promtool` looks for the token.
fn as_served(shop: &Shop) {
    shop.engine.workspace.token().unwrap();
}

#[tokio::test]
async fn the_files_are_the_same_each_time_and_leave_others_alone() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        as_served(&shop);
        let root = shop.engine.workspace.root.clone();
        fs::create_dir_all(root.join("monitoring/staging")).unwrap();
        fs::write(root.join("monitoring/staging/alertmanager.yml"), "route: {receiver: mine}\n").unwrap();
        let directive = shop.order("staging", "1.0.0").await;
        let asked = json!({ "directive": directive });
        let first = shop.must("setup_monitoring", asked.clone()).await;
        assert_eq!((&first["state"], &first["coverage"]["proven"], &first["alert"]), (&json!("written"), &json!(false), &Value::Null));
        assert!(first["summary"].as_str().unwrap().contains("no Alertmanager is configured"), "{}: {first:#}", database.name);
        let files = first["files"].as_array().unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
        let folder = "monitoring/staging";
        assert_eq!(
            paths,
            ["web.alerts.yml", "prometheus.yml", "alertmanager.interlock.yml", "web.dashboard.json"].map(|name| format!("{folder}/{name}"))
        );
        assert_eq!(fs::read_to_string(root.join("monitoring/staging/alertmanager.yml")).unwrap(), "route: {receiver: mine}\n");
        assert!(files.iter().all(|file| file["change"] == "new" && file["removed"] == 0), "{first:#}");
        let recorded = shop.engine.store.artifacts(&directive.as_str().into()).await.unwrap();
        for file in files {
            let artifact = recorded.iter().find(|artifact| artifact.name == file["kind"].as_str().unwrap()).unwrap();
            assert_eq!(
                (&artifact.path, &artifact.sha256.0),
                (&file["path"].as_str().unwrap().to_owned(), &file["sha256"].as_str().unwrap().to_owned())
            );
            let bytes = fs::read(root.join(&artifact.path)).unwrap();
            assert_eq!((interlock::model::Sha256::of(&bytes), bytes.len() as u64), (artifact.sha256.clone(), artifact.size_bytes));
        }
        let again = shop.must("setup_monitoring", asked.clone()).await;
        assert!(again["files"].as_array().unwrap().iter().all(|file| file["change"] == "unchanged"), "{again:#}");

        let alert = "[[services.web.monitoring.alerts]]\nname = \"QueueTooLong\"\nexpr = \"shop_queue > 10\"\n";
        shop.configure(&format!("{}\n{alert}", shop.text)).await;
        let changed = shop.must("setup_monitoring", asked).await;
        assert_eq!((&changed["files"][0]["change"], &changed["files"][0]["removed"]), (&json!("changed"), &json!(0)), "{changed:#}");
        assert!(changed["files"][0]["added"].as_u64().unwrap() > 5 && changed["files"][1]["change"] == "unchanged", "{changed:#}");
        shop.must("cancel_directive", json!({ "directive": directive, "reason": "x" })).await;
        assert_eq!(shop.refused("setup_monitoring", json!({ "directive": directive })).await, "wrong_state");
    }
}

#[tokio::test]
async fn a_service_is_covered_once_its_rules_are_loaded_and_an_alert_was_seen() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        as_served(&shop);
        let directive = shop.order("staging", "1.0.0").await;
        let asked = json!({ "directive": directive });
        assert_eq!(coverage(&shop, "staging").await, (json!(0.0), json!(1)), "{}: nothing is assumed", database.name);
        shop.must("setup_monitoring", asked.clone()).await;
        assert_eq!(coverage(&shop, "staging").await, (json!(0.0), json!(1)), "written is not watched");

        let watchers = Watchers::start().await;
        shop.configure(&watchers.configured(&shop)).await;
        let arrived = shop.must("setup_monitoring", asked.clone()).await;
        assert_eq!(
            (&arrived["state"], &arrived["coverage"]["proven"], &arrived["coverage"]["alert"]),
            (&json!("written"), &json!(true), &json!(false))
        );
        assert_eq!(arrived["alert"]["receivers"], json!(["staging/web"]), "{arrived:#}");
        assert_eq!(coverage(&shop, "staging").await.0, json!(0.0), "no rule is loaded");
        let sent = watchers.sent.lock().unwrap().clone();
        assert_eq!(sent.len(), 2, "it was fired, and ended: {sent:?}");
        assert!(sent[0]["endsAt"].is_null() && sent[1]["endsAt"].is_string() && sent[0]["labels"] == sent[1]["labels"]);

        let rules = shop.engine.workspace.root.join("monitoring/staging/web.alerts.yml");
        *watchers.rules.lock().unwrap() = Some(rules);
        let proven = shop.must("setup_monitoring", asked.clone()).await;
        assert_eq!((&proven["state"], &proven["existing"]), (&json!("proven"), &json!(false)), "{proven:#}");
        assert_eq!(coverage(&shop, "staging").await.0, json!(100.0));
        assert_eq!(shop.deploy("1.1.0").await["state"], "succeeded");
        let status = fs::read_to_string(shop.engine.workspace.root.join("status.md")).unwrap();
        assert!(status.contains("- Alerts: InterlockErrors, ") && status.contains("; a test alert has arrived"), "{status}");
        assert_eq!(coverage(&shop, "production").await.0, json!(0.0), "what is proven in one place says nothing of another");
        let again = shop.must("setup_monitoring", asked.clone()).await;
        assert_eq!((&again["state"], &again["existing"], watchers.sent.lock().unwrap().len()), (&json!("proven"), &json!(true), 4));

        // Another threshold, another rule: what was proven is proven no more.
        let alert = "[[services.web.monitoring.alerts]]\nname = \"QueueTooLong\"\nexpr = \"shop_queue > 10\"\n";
        shop.configure(&format!("{}\n{alert}", watchers.configured(&shop))).await;
        assert_eq!(coverage(&shop, "staging").await.0, json!(0.0));
    }
}

#[tokio::test]
async fn nobody_who_answers_is_no_proof_and_a_secret_address_is_not_said() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        as_served(&shop);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        fs::write(shop.engine.workspace.root.join("address"), format!("http://{closed}/hunter2")).unwrap();
        let file = shop.engine.workspace.root.join("address").display().to_string();
        let addresses = format!("prometheus = \"file:{file}\"\nalertmanager = \"file:{file}\"");
        shop.configure(&format!("{}\n[monitoring]\n{addresses}\n", shop.text)).await;
        let directive = shop.order("staging", "1.0.0").await;
        let seen = shop.must("setup_monitoring", json!({ "directive": directive })).await;
        let because = seen["alert"]["because"].as_array().unwrap();
        assert!(because.len() == 2 && seen["state"] == "written" && seen["alert"]["arrived"] == false, "{}: {seen:#}", database.name);
        assert!(!seen.to_string().contains("hunter2"), "{seen:#}");
        let folder = shop.engine.workspace.root.join("monitoring/staging");
        for file in fs::read_dir(folder).unwrap() {
            assert!(!fs::read_to_string(file.unwrap().path()).unwrap().contains("hunter2"));
        }
        assert_eq!(coverage(&shop, "staging").await.0, json!(0.0));
    }
}
