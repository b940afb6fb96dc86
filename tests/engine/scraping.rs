//! `/metrics` as Prometheus reads it, beside `get_metrics` of the same record.

use crate::{metrics::lived, support::databases::databases, world::Shop};
use interlock::{
    operations::Registry,
    server::{Bound, Offer, ServeOptions},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

/// Sample values by name and sorted labels.
type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

#[tokio::test]
async fn prometheus_reads_what_get_metrics_says() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let before = read(&scraped(&shop).await);
        assert_eq!(before[&("interlock_record_up".into(), BTreeMap::new())], 1.0, "{}", database.name);
        assert!(!before.keys().any(|(name, _)| name == "interlock_deployment_success_ratio"), "what is unknown has no sample");

        lived(&shop).await;
        let samples = read(&scraped(&shop).await);
        let mut compared = 0;
        for caller in ["any", "agent", "person"] {
            let mut asked = json!({ "service": "web", "environment": "staging" });
            if caller != "any" {
                asked["caller"] = json!(caller);
            }
            let reply = shop.must("get_metrics", asked).await;
            for metric in reply["metrics"].as_array().unwrap() {
                let name = metric["name"].as_str().unwrap();
                let sample = |family: &str, more: &[(&str, &str)]| {
                    let labels = [("service", "web"), ("environment", "staging"), ("caller", caller)];
                    let labels = labels.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
                    samples.get(&(family.to_owned(), labels)).copied()
                };
                assert_eq!(sample("interlock_metric_readings", &[("metric", name)]), metric["n"].as_f64(), "{name} of {caller}");
                let (family, scale) = family(name);
                let is = |seen: Option<f64>, expected: &Value| match (seen, expected.as_f64()) {
                    (Some(seen), Some(expected)) => assert!((seen * scale - expected).abs() < 0.001, "{name}: {seen} and {expected}"),
                    (seen, expected) => assert_eq!(seen, expected, "{name} of {caller}"),
                };
                if metric["unit"] == "seconds" {
                    ["p50", "p95", "max"].iter().for_each(|stat| is(sample(family, &[("stat", stat)]), &metric[*stat]));
                } else {
                    is(sample(family, &[]), &metric["value"]);
                }
                for (rule, fired) in metric["rules"].as_object().into_iter().flatten() {
                    assert_eq!(sample("interlock_trigger_activations", &[("rule", rule)]), fired.as_f64(), "{rule}");
                }
                compared += usize::from(!metric["value"].is_null());
            }
        }
        assert!(compared >= 15, "only {compared} known values were compared");
    }
}

#[test]
fn the_reader_finds_what_prometheus_would_refuse() {
    let refused = |text: &str| std::panic::catch_unwind(|| read(text)).is_err();
    assert!(!refused("# HELP a_ratio A.\n# TYPE a_ratio gauge\na_ratio{b=\"c\"} 1\n"));
    assert!(refused("a_ratio 1\n"), "a sample without its family");
    assert!(refused("# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n# TYPE a gauge\na{b=\"c\"} 1\n"), "a family twice");
    assert!(refused("# HELP a A.\n# TYPE a gauge\na 1\na 2\n"), "a sample twice");
    assert!(refused("# HELP a A.\n# TYPE a gauge\na{b=c} 1\n"), "a label without quotes");
    assert!(refused("# HELP a A.\n# TYPE a gauge\na one\n"), "no number");
}

/// Returns the family that shows a metric, and by how much the metric's unit is smaller.
fn family(metric: &str) -> (&'static str, f64) {
    match metric {
        "deployment_success_rate" => ("interlock_deployment_success_ratio", 100.0),
        "downtime" => ("interlock_downtime_failures", 1.0),
        "rollback_time" => ("interlock_rollback_seconds", 1.0),
        "monitoring_coverage" => ("interlock_monitoring_coverage_ratio", 100.0),
        "trigger_activations" => ("interlock_trigger_activations_per_deployment", 1.0),
        "automatic_rollback_success" => ("interlock_automatic_rollback_success_ratio", 100.0),
        "manual_intervention" => ("interlock_manual_intervention_ratio", 100.0),
        "deployment_frequency" => ("interlock_deployments_per_day", 1.0),
        "change_lead_time" => ("interlock_change_lead_time_seconds", 1.0),
        "change_failure_rate" => ("interlock_change_failure_ratio", 100.0),
        "failed_deployment_recovery_time" => ("interlock_failed_deployment_recovery_seconds", 1.0),
        "deployment_rework_rate" => ("interlock_deployment_rework_ratio", 100.0),
        other => panic!("nothing shows {other}"),
    }
}

/// Serves the shop's engine for one request, as the server does.
async fn scraped(shop: &Shop) -> String {
    let workspace = shop.engine.workspace.clone();
    let options = ServeOptions { workspace: workspace.clone(), listen: "127.0.0.1:0".parse().unwrap(), standby: false, toolsets: None };
    let bound = Bound::bind(&options).await.unwrap();
    let (address, stop) = (bound.address(), CancellationToken::new());
    let registry = Arc::new(Registry::over(shop.engine.clone()));
    let served = tokio::spawn(bound.serve(Offer { registry, extras: Vec::new(), phases: Arc::new([]) }, stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let token = workspace.token().unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    stop.cancel();
    served.await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// Reads the text format 0.0.4, and refuses what Prometheus would.
fn read(text: &str) -> Samples {
    let (mut samples, mut families, mut family) = (Samples::new(), Vec::new(), "");
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.as_bytes()[0].is_ascii_digit()
    };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, said) = help.split_once(' ').expect("a help says something");
            assert!(is_name(name) && !said.is_empty() && !families.contains(&name), "`{name}` twice, or no name");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)).expect("its type follows");
            assert!([" gauge", " counter", " histogram"].contains(&kind), "{kind}");
            families.push(name);
            family = name;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let value: f64 = value.parse().expect("a number");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
            None => (series, ""),
        };
        assert!(is_name(name) && !family.is_empty() && name.starts_with(family), "`{name}` stands under `{family}`");
        let label = |label: &str| {
            let (label, value) = label.split_once('=').expect("a label has a value");
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("in quotes");
            (label.to_owned(), value.to_owned())
        };
        let labels: BTreeMap<String, String> = labels.split(',').filter(|text| !text.is_empty()).map(label).collect();
        assert!(samples.insert((name.to_owned(), labels), value).is_none(), "`{line}` stands twice");
    }
    samples
}
