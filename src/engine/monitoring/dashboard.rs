//! The dashboard of a service as Grafana reads it. Pure.

use super::{rules::rules, text::promql};
use crate::{
    engine::planner::{ERROR_PERCENT, P95_MS},
    model::{ServiceSpec, Sha256, service::RouterKind},
};
use serde_json::{Value, json};

/// The version of Grafana's format.
const SCHEMA: u32 = 36;
/// Panels stand in two columns.
const WIDTH: u64 = 12;
const HEIGHT: u64 = 8;

/// One panel: its title, unit, queries with their legends, and where it turns red.
struct Panel {
    title: String,
    unit: &'static str,
    queries: Vec<(String, String)>,
    red: Option<f64>,
}

/// Returns the file.
pub fn file(spec: &ServiceSpec) -> String {
    let panels: Vec<Value> = panels(spec).into_iter().enumerate().map(|(at, panel)| panel.json(at as u64)).collect();
    let links: Vec<Value> =
        spec.about.dashboards.iter().chain(&spec.about.logs).map(|url| json!({ "type": "link", "title": url, "url": url })).collect();
    let name = spec.routed_as();
    let dashboard = json!({
        "generated_by": "interlock",
        // Grafana's own are at most 40 characters.
        "uid": format!("interlock-{}", Sha256::of(name.as_bytes()).short()),
        "title": format!("{} in {}", spec.service, spec.environment),
        "tags": ["interlock", spec.environment, spec.service],
        "schemaVersion": SCHEMA,
        "timezone": "utc",
        "refresh": "30s",
        "time": { "from": "now-6h", "to": "now" },
        "templating": { "list": [{ "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus" }] },
        "links": links,
        "panels": panels,
    });
    serde_json::to_string_pretty(&dashboard).expect("a document can be written") + "\n"
}

fn panels(spec: &ServiceSpec) -> Vec<Panel> {
    let mut panels = Vec::new();
    if let RouterKind::Proxy { .. } = spec.router {
        let of = promql(&spec.routed_as());
        let requests = format!("interlock_requests_total{{service={of}}}");
        let errors = format!("interlock_requests_total{{service={of},class=\"5xx\"}}");
        let quantile = |share: f64| {
            let buckets = format!("interlock_request_duration_seconds_bucket{{service={of}}}");
            (format!("histogram_quantile({share}, sum by (le) (rate({buckets}[2m])))"), format!("p{}", share * 100.0))
        };
        panels.extend([
            Panel {
                title: "Requests by class".into(),
                unit: "reqps",
                queries: vec![(format!("sum by (class) (rate({requests}[2m]))"), "{{class}}".into())],
                red: None,
            },
            Panel {
                title: "Errors".into(),
                unit: "percentunit",
                queries: vec![(format!("sum(rate({errors}[2m])) / sum(rate({requests}[2m]))"), "5xx".into())],
                red: Some(f64::from(ERROR_PERCENT) / 100.0),
            },
            Panel {
                title: "Response time".into(),
                unit: "s",
                queries: vec![quantile(0.5), quantile(0.95)],
                red: Some(P95_MS as f64 / 1000.0),
            },
            Panel {
                title: "Failed by the router".into(),
                unit: "short",
                queries: ["interlock_router_failures_total", "interlock_probes_failed_total"]
                    .map(|counter| (format!("sum(increase({counter}{{service={of}}}[5m]))"), counter.to_owned()))
                    .into(),
                red: Some(1.0),
            },
            Panel {
                title: "Traffic by version".into(),
                unit: "short",
                queries: vec![(format!("sum by (version) (interlock_split_weight{{service={of}}})"), "{{version}}".into())],
                red: None,
            },
        ]);
    }
    let (service, environment) = (promql(spec.service.as_str()), promql(spec.environment.as_str()));
    panels.push(Panel {
        title: "Deployments of 30 days that succeeded".into(),
        unit: "percentunit",
        queries: vec![(
            format!("interlock_deployment_success_ratio{{service={service},environment={environment},caller=\"any\"}}"),
            "succeeded".into(),
        )],
        red: None,
    });
    panels.push(Panel {
        title: "Alerts that fire".into(),
        unit: "short",
        queries: vec![(
            format!("sum by (alertname) (ALERTS{{alertstate=\"firing\",service={service},environment={environment}}})"),
            "{{alertname}}".into(),
        )],
        red: Some(1.0),
    });
    let own = spec.monitoring.alerts.iter().map(|alert| &alert.name);
    let own: Vec<&String> = own.collect();
    panels.extend(rules(spec).into_iter().filter(|rule| own.contains(&&rule.name)).map(|rule| Panel {
        title: rule.name.clone(),
        unit: "short",
        queries: vec![(rule.expr, rule.name)],
        red: None,
    }));
    panels
}

impl Panel {
    fn json(self, at: u64) -> Value {
        let source = json!({ "type": "prometheus", "uid": "${datasource}" });
        let target = |(number, (expr, legend)): (usize, (String, String))| {
            let letter = char::from(b'A' + number as u8).to_string();
            json!({ "refId": letter, "datasource": source, "expr": expr, "legendFormat": legend })
        };
        let mut steps = vec![json!({ "color": "green", "value": null })];
        steps.extend(self.red.map(|red| json!({ "color": "red", "value": red })));
        json!({
            "id": at + 1,
            "type": "timeseries",
            "title": self.title,
            "datasource": source,
            "gridPos": { "x": at % 2 * WIDTH, "y": at / 2 * HEIGHT, "w": WIDTH, "h": HEIGHT },
            "fieldConfig": { "defaults": { "unit": self.unit, "thresholds": { "mode": "absolute", "steps": steps } }, "overrides": [] },
            "targets": self.queries.into_iter().enumerate().map(target).collect::<Vec<_>>(),
        })
    }
}
