//! What is generated, without a world: complete, the same each time, and without a secret.

use super::*;
use crate::{
    engine::examples,
    model::{
        metric::{MetricSource, MetricSpec},
        monitoring::{Alert, Severity, Watchers},
        service::RouterKind,
    },
    store::{Proof, ProofKind},
};
use std::path::Path;

fn server<'a>() -> Server<'a> {
    Server { discovery: Path::new("/shop/.interlock/prometheus-targets.json"), token: Path::new("/shop/.interlock/token") }
}

fn watched() -> ServiceSpec {
    let mut spec = examples::spec();
    spec.monitoring.metrics = Some("/metrics".into());
    spec.monitoring.alerts = vec![Alert {
        name: "QueueTooLong".into(),
        expr: "shop_queue{env=\"{environment}\"} > 10".into(),
        for_ms: 1_500,
        severity: Severity::Critical,
        summary: Some("the queue {{ $value }} is \"long\"".into()),
    }];
    spec.monitoring.watchers = Watchers {
        prometheus: Some("http://127.0.0.1:9090".into()),
        alertmanager: Some("http://127.0.0.1:9093/am".into()),
        notify: Some("https://hooks.test/x".into()),
        firing: None,
        interval_ms: 1_000,
    };
    spec
}

fn text(kind: &str, spec: &ServiceSpec) -> String {
    generated(spec, &[spec], server()).into_iter().find(|file| file.kind == kind).unwrap().text
}

#[test]
fn every_rule_says_whose_it_is_and_carries_its_digest() {
    let spec = watched();
    let file: serde_json::Value = yaml_serde::from_str(&text("alert_rules", &spec)).unwrap();
    let rules = file["groups"][0]["rules"].as_array().unwrap();
    let names: Vec<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "InterlockErrors",
            "InterlockManyErrors",
            "InterlockSlow",
            "InterlockDowntime",
            "InterlockNobodyServes",
            "InterlockRecordUnreadable",
            "InterlockMetricsUnseen",
            "QueueTooLong"
        ]
    );
    for rule in rules {
        assert_eq!((&rule["labels"]["service"], &rule["labels"]["environment"]), (&"web".into(), &"staging".into()), "{rule}");
        assert!(rule["annotations"]["interlock_rule"].as_str().is_some_and(|digest| digest.len() == 12), "{rule}");
        assert_eq!(rule["annotations"]["escalation"], "oncall@shop.test");
    }
    assert!(rules[1]["expr"].as_str().unwrap().ends_with("> 0.05") && rules[1]["for"] == "120s", "{}", rules[1]);
    assert_eq!((&rules[7]["expr"], &rules[7]["for"]), (&"shop_queue{env=\"staging\"} > 10".into(), &"1500ms".into()));
    assert_eq!(rules[7]["annotations"]["summary"], "the queue { { $value }} is \"long\"", "no template of Prometheus");
}

#[test]
fn a_figure_is_an_alert_unless_it_names_a_version() {
    let mut spec = watched();
    let figure = |name: &str, query: &str, threshold: &str| MetricSpec {
        name: name.into(),
        source: MetricSource::Prometheus { address: "env:PROM".into(), query: query.into(), headers: Default::default() },
        threshold: threshold.parse().unwrap(),
        interval_ms: 1,
        timeout_ms: 1,
    };
    spec.metrics =
        vec![figure("errors", "x or y", "<= 0.5"), figure("of a version", "x{v=\"{version}\"}", "<= 1"), figure("hits", "z", ">= 2")];
    let exprs: Vec<String> =
        rules::rules(&spec).into_iter().filter(|rule| rule.name.starts_with("InterlockFigure")).map(|rule| rule.expr).collect();
    assert_eq!(exprs, ["(x or y) > 0.5", "(z) < 2"]);
}

#[test]
fn what_is_scraped_and_told_names_files_and_no_secret() {
    let mut spec = watched();
    let scrape: serde_json::Value = yaml_serde::from_str(&text("scrape_configuration", &spec)).unwrap();
    assert_eq!(scrape["scrape_configs"][0]["authorization"]["credentials_file"], "/shop/.interlock/token");
    assert_eq!(scrape["scrape_configs"][1]["static_configs"][0]["targets"][0], "127.0.0.1:8080");
    assert_eq!(scrape["alerting"]["alertmanagers"][0]["path_prefix"], "/am");
    let routes: serde_json::Value = yaml_serde::from_str(&text("alert_routes", &spec)).unwrap();
    assert_eq!(routes["receivers"][1]["webhook_configs"][0]["url"], "https://hooks.test/x");
    assert_eq!(routes["route"]["routes"][0]["receiver"], "staging/web");

    spec.monitoring.watchers.alertmanager = Some("env:HUNTER2".into());
    let scrape = text("scrape_configuration", &spec);
    assert!(!scrape.contains("HUNTER2") && scrape.contains("is a reference, and is not written here"), "{scrape}");
    spec.hosts = vec!["*.shop.test".into(), "shop.test".into()];
    assert!(text("scrape_configuration", &spec).contains("\"shop.test:8080\""), "a service that answers for a host is asked by it");
}

#[test]
fn the_same_service_gives_the_same_bytes_and_another_threshold_others() {
    let (spec, mut other) = (watched(), watched());
    assert_eq!(generated(&spec, &[&spec], server()), generated(&spec.clone(), &[&spec], server()));
    other.monitoring.alerts[0].expr = "shop_queue > 11".into();
    assert_ne!(text("alert_rules", &spec), text("alert_rules", &other));
    assert_ne!(text("dashboard", &spec), text("dashboard", &other));
    let dashboard: serde_json::Value = serde_json::from_str(&text("dashboard", &spec)).unwrap();
    assert_eq!(dashboard["generated_by"], "interlock");
    assert_eq!(dashboard["panels"].as_array().unwrap().len(), 8);
}

#[test]
fn coverage_is_what_was_seen_with_the_rules_of_now() {
    let spec = watched();
    let proof = |change: &dyn Fn(&mut AlertProof)| {
        let mut seen = AlertProof {
            rules_sha256: prove::digest(&spec),
            rules: 8,
            loaded: Some(8),
            arrived: true,
            receivers: vec![],
            millis: Some(5),
            because: vec![],
        };
        change(&mut seen);
        Proof {
            id: "proof_1".into(),
            directive: "SD-DEPLOY-001".into(),
            service: "web".into(),
            environment: "staging".into(),
            kind: ProofKind::Alert,
            detail: serde_json::json!(seen),
            proven_by: "agent".into(),
            proven_at: crate::model::Timestamp(0),
        }
    };
    let is_covered = |spec: &ServiceSpec, proof: Option<&Proof>| Coverage::of(spec, proof).is_covered();
    assert!(is_covered(&spec, Some(&proof(&|_| ()))));
    assert!(!is_covered(&spec, None), "nothing is assumed");
    assert!(!is_covered(&spec, Some(&proof(&|seen| seen.arrived = false))));
    assert!(!is_covered(&spec, Some(&proof(&|seen| seen.loaded = None))), "nobody has seen that the rules are loaded");
    assert!(!is_covered(&spec, Some(&proof(&|seen| seen.loaded = Some(7)))));
    let mut other = spec.clone();
    other.monitoring.alerts[0].for_ms = 2_000;
    assert!(!is_covered(&other, Some(&proof(&|_| ()))), "a proof counts for its rules alone");
    let mut elsewhere = spec.clone();
    elsewhere.monitoring.watchers.alertmanager = Some("http://127.0.0.1:9094".into());
    assert!(!is_covered(&elsewhere, Some(&proof(&|_| ()))), "and for who watched them");
    let mut alive = spec.clone();
    alive.health.check = crate::model::service::HealthCheck::Alive;
    assert!(!Coverage::of(&alive, Some(&proof(&|_| ()))).health);
    let mut outside = spec.clone();
    outside.router = RouterKind::External { address: ([127, 0, 0, 1], 80).into(), switch: None };
    outside.monitoring.metrics = None;
    assert!(!Coverage::of(&outside, None).metrics, "a router that is not ours counts nothing");
}
