//! What the configuration says about a service, and how it is watched, as lines of `docs/deployment.md` and `status.md`. What nobody has
//! said is `not said`: an empty place would read as if there were nothing.

use super::monitoring::{Coverage, rules::rules};
use crate::model::{
    ServiceSpec,
    about::{About, Contact, Variable},
    service::{HealthCheck, SecretRef},
    text::visible_line,
};

/// What stands where nobody has said anything.
pub(super) const NOT_SAID: &str = "not said";
const CHARS: usize = 300;

/// Returns the sections about infrastructure, configuration and contacts of `docs/deployment.md`.
pub(super) fn infrastructure(spec: &ServiceSpec) -> Vec<String> {
    let about = &spec.about;
    let mut lines = section("Infrastructure");
    lines.extend([
        format!("- Provider: {}", said(about.provider.as_deref())),
        format!("- Region: {}", said(about.region.as_deref())),
        format!("- CI platform: {}", said(about.ci.as_deref())),
        format!("- Listener: {}", spec.front()),
        format!("- Instances: {}", spec.instances),
        format!("- Depends on: {}", listed(spec.dependencies.iter().map(|one| format!("{} ({})", one.name, one.tcp)), "nothing")),
    ]);
    lines.extend(section("Variables"));
    lines.extend(or_none(variables(spec)));
    lines.extend(section("Contacts"));
    lines.push(format!("- owner: {}", said(spec.owner.as_deref())));
    lines.push(format!("- escalation: {}", said(spec.escalation.as_deref())));
    lines.extend(about.contacts.iter().map(|Contact { role, reach }| format!("- {}: {}", shown(role), shown(reach))));
    lines
}

/// Returns the section about monitoring of `docs/deployment.md`.
pub(super) fn monitoring(spec: &ServiceSpec) -> Vec<String> {
    let about = &spec.about;
    let mut lines = section("Monitoring");
    lines.push(format!("- Health check: {}, {} in a row every {} ms", health(spec), spec.health.successes, spec.health.interval_ms));
    lines.push(logging(about));
    lines.push(format!("- Business metrics: {}", listed(about.business_metrics.iter().map(|metric| shown(metric)), NOT_SAID)));
    lines.extend(spec.metrics.iter().map(|metric| format!("- Technical metric: {}", metric.summary())));
    lines.push(format!("- Dashboards: {}", listed(about.dashboards.iter().map(|dashboard| shown(dashboard)), NOT_SAID)));
    lines
}

/// Returns the addresses of logs and dashboards for `status.md`.
pub(super) fn addresses(about: &About) -> Vec<String> {
    let logs = about.logs.iter().map(|logs| format!("- Logs: {}", shown(logs)));
    logs.chain(about.dashboards.iter().map(|dashboard| format!("- Dashboard: {}", shown(dashboard)))).collect()
}

/// Says which alerts watch it, and whether one was seen to arrive.
pub(super) fn alerts(spec: &ServiceSpec, coverage: Coverage) -> String {
    let names: Vec<String> = rules(spec).into_iter().map(|rule| rule.name).collect();
    match coverage.is_covered() {
        true => format!("- Alerts: {}; a test alert has arrived", names.join(", ")),
        false => "- Alerts: none that was seen to arrive; `setup_monitoring` sets them up".to_owned(),
    }
}

/// Says where health is asked.
pub(super) fn health(spec: &ServiceSpec) -> String {
    match &spec.health.check {
        HealthCheck::Http(path) => {
            format!("http://{}{path}", spec.router.listen()) + &spec.host().map_or(String::new(), |host| format!(" (Host: {host})"))
        }
        HealthCheck::Tcp => format!("a connection to {}", spec.router.listen()),
        HealthCheck::Exec(argv) => format!("`{}` exits 0", shown(&argv.join(" "))),
        HealthCheck::Alive => "its process is alive".to_owned(),
    }
}

/// Returns a line for each variable, by name: those that are described, and those of the place that nobody has described.
fn variables(spec: &ServiceSpec) -> Vec<String> {
    let is_secret = |name: &str| spec.env.get(name).is_some_and(|value| SecretRef::parse(value).is_some());
    let described = |Variable { name, purpose, sensitive }: &Variable| {
        let sensitive = if *sensitive || is_secret(name) { "sensitive" } else { "not sensitive" };
        (name.clone(), format!("- `{}` ({sensitive}): {}", shown(name), shown(purpose)))
    };
    let mut lines: Vec<(String, String)> = spec.about.variables.iter().map(described).collect();
    for name in spec.env.keys().filter(|name| spec.about.variables.iter().all(|variable| variable.name != **name)) {
        let sensitive = if is_secret(name) { "sensitive" } else { "not sensitive" };
        lines.push((name.clone(), format!("- `{}` ({sensitive}): {NOT_SAID}", shown(name))));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn logging(about: &About) -> String {
    match &about.logging {
        None => format!("- Logging: {NOT_SAID}; `interlock read-log` shows the newest"),
        Some(logging) => format!("- Logging: {}, kept {}", shown(&logging.platform), said(logging.retention.as_deref())),
    }
}

fn section(title: &str) -> Vec<String> {
    vec![String::new(), format!("## {title}"), String::new()]
}

fn said(text: Option<&str>) -> String {
    text.map_or(NOT_SAID.to_owned(), shown)
}

fn shown(text: &str) -> String {
    visible_line(text, CHARS)
}

fn listed(texts: impl Iterator<Item = String>, otherwise: &str) -> String {
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { otherwise.to_owned() } else { texts.join(", ") }
}

fn or_none(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["none".into()] } else { lines }
}
