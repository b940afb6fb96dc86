//! Alert rules of a service, from its definition and the thresholds a deployment is watched by. Pure: the same service, the same text.
//!
//! What every service has rests on the counters of its proxy; a router that is not ours counts nothing, and then those are left out.

use super::text::{promql, quoted, seconds};
use crate::{
    engine::planner::{ERROR_PERCENT, P95_MS, SUSTAINED_MS},
    model::{
        Operator, ServiceSpec, Sha256,
        metric::{MetricSource, MetricSpec},
        monitoring::Severity,
        service::{RouterKind, fill},
        text::visible_line,
    },
    targets::metrics::alerting::DIGEST,
};

/// From here on errors are worth a look (seed stage-30: alert above 1 %); [`ERROR_PERCENT`] turns a deployment back.
const ERROR_ALERT_PERCENT: u32 = 1;
/// What is counted over: long enough for a rate at the usual 15 s between scrapes.
const WINDOW: &str = "2m";

/// A rule as Prometheus has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// PromQL.
    pub expr: String,
    /// How long that must last.
    pub for_ms: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What it says to people.
    pub summary: String,
}

impl Rule {
    /// Returns what tells this rule from another of its name: Prometheus shows it beside what it has loaded.
    pub fn digest(&self) -> String {
        Sha256::of(format!("{}\n{}\n{}", self.expr, self.for_ms, self.severity.as_str()).as_bytes()).short().to_string()
    }
}

/// Returns every rule of a service, in the order of the file.
pub fn rules(spec: &ServiceSpec) -> Vec<Rule> {
    let own = spec.monitoring.metrics.is_some().then(|| unseen(spec));
    let mut rules = Vec::new();
    if let RouterKind::Proxy { .. } = spec.router {
        rules.extend(of_every_service(spec));
    }
    rules.extend(own);
    rules.extend(spec.metrics.iter().filter_map(of_figure));
    let places = [("service", spec.service.as_str()), ("environment", spec.environment.as_str())];
    rules.extend(spec.monitoring.alerts.iter().map(|alert| Rule {
        name: alert.name.clone(),
        expr: alert.expr.clone(),
        for_ms: alert.for_ms,
        severity: alert.severity,
        summary: alert.summary.clone().unwrap_or_else(|| format!("{} of {}", alert.name, spec.routed_as())),
    }));
    rules.iter_mut().for_each(|rule| rule.expr = fill(&rule.expr, &places));
    rules
}

/// Returns the file.
pub fn file(spec: &ServiceSpec) -> String {
    let name = spec.routed_as();
    let mut lines = vec![
        super::text::marker(&name),
        "groups:".to_owned(),
        format!("  - name: {}", quoted(&format!("interlock {name}"))),
        "    rules:".to_owned(),
    ];
    for rule in rules(spec) {
        lines.extend([
            format!("      - alert: {}", quoted(&rule.name)),
            format!("        expr: {}", quoted(&rule.expr)),
            format!("        for: {}", seconds(rule.for_ms)),
            "        labels:".to_owned(),
            format!("          service: {}", quoted(spec.service.as_str())),
            format!("          environment: {}", quoted(spec.environment.as_str())),
            format!("          severity: {}", quoted(rule.severity.as_str())),
            "        annotations:".to_owned(),
            format!("          summary: {}", quoted(&template_free(&rule.summary))),
            format!("          {DIGEST}: {}", quoted(&rule.digest())),
        ]);
        let said = [("owner", spec.owner.as_deref()), ("escalation", spec.escalation.as_deref())];
        let dashboard = ("dashboard", spec.about.dashboards.first().map(String::as_str));
        let said = said.into_iter().chain([dashboard]).filter_map(|(name, value)| Some((name, value?)));
        lines.extend(said.map(|(name, value)| format!("          {name}: {}", quoted(&template_free(value)))));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn of_every_service(spec: &ServiceSpec) -> Vec<Rule> {
    let name = spec.routed_as();
    let of = promql(&name);
    let requests = |more: &str| format!("sum(rate(interlock_requests_total{{service={of}{more}}}[{WINDOW}]))");
    let ratio = format!("{} / {}", requests(",class=\"5xx\""), requests(""));
    let p95 = format!("histogram_quantile(0.95, sum by (le) (rate(interlock_request_duration_seconds_bucket{{service={of}}}[{WINDOW}])))");
    let failures = |counter: &str| format!("sum(increase({counter}{{service={of}}}[5m]))");
    let rule = |name: &str, expr: String, for_ms, severity, summary: String| Rule { name: name.into(), expr, for_ms, severity, summary };
    vec![
        rule(
            "InterlockErrors",
            format!("{ratio} > {}", f64::from(ERROR_ALERT_PERCENT) / 100.0),
            SUSTAINED_MS,
            Severity::Warning,
            format!("{name} answers more than {ERROR_ALERT_PERCENT} % of requests with an error"),
        ),
        rule(
            "InterlockManyErrors",
            format!("{ratio} > {}", f64::from(ERROR_PERCENT) / 100.0),
            SUSTAINED_MS,
            Severity::Critical,
            format!("{name} answers more than {ERROR_PERCENT} % of requests with an error"),
        ),
        rule(
            "InterlockSlow",
            format!("{p95} > {}", P95_MS as f64 / 1000.0),
            SUSTAINED_MS,
            Severity::Critical,
            format!("of the requests to {name}, 5 % take longer than {P95_MS} ms"),
        ),
        // Seed stage-30: any downtime is red.
        rule(
            "InterlockDowntime",
            format!("{} + {} > 0", failures("interlock_router_failures_total"), failures("interlock_probes_failed_total")),
            0,
            Severity::Critical,
            format!("the router of {name} failed requests or probes"),
        ),
        rule(
            "InterlockNobodyServes",
            format!("absent(interlock_split_weight{{service={of}}}) or sum(interlock_split_weight{{service={of}}}) == 0"),
            60_000,
            Severity::Critical,
            format!("nothing serves {name}, or its proxy cannot be seen"),
        ),
        rule(
            "InterlockRecordUnreadable",
            "absent(interlock_record_up) or interlock_record_up == 0".to_owned(),
            SUSTAINED_MS,
            Severity::Warning,
            "the server's metrics cannot be seen, or it cannot read its record".to_owned(),
        ),
    ]
}

fn unseen(spec: &ServiceSpec) -> Rule {
    let job = promql(&super::scrape::job(spec));
    Rule {
        name: "InterlockMetricsUnseen".into(),
        expr: format!("absent(up{{job={job}}}) or up{{job={job}}} == 0"),
        for_ms: 60_000,
        severity: Severity::Critical,
        summary: format!("the metrics of {} cannot be seen", spec.routed_as()),
    }
}

/// Returns the rule of a figure that deployments are judged by. One that names a version or a deployment says nothing between them.
fn of_figure(metric: &MetricSpec) -> Option<Rule> {
    let MetricSource::Prometheus { query, .. } = &metric.source else { return None };
    if ["{version}", "{deployment}"].iter().any(|place| query.contains(place)) {
        return None;
    }
    let beyond = match metric.threshold.operator {
        Operator::AtLeast => "<",
        Operator::AtMost => ">",
        Operator::Equal => "!=",
    };
    Some(Rule {
        name: format!("InterlockFigure {}", visible_line(&metric.name, 60)),
        expr: format!("({query}) {beyond} {}", metric.threshold.number),
        for_ms: SUSTAINED_MS,
        severity: Severity::Warning,
        summary: format!("{} is not {}", visible_line(&metric.name, 60), metric.threshold),
    })
}

/// Returns a text that Prometheus does not take for a template.
fn template_free(text: &str) -> String {
    visible_line(text, 300).replace("{{", "{ {")
}
