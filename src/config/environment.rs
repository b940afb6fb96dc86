//! `[environments.X]`: what differs from place to place, joined with its services to complete specifications.

use super::{
    ApprovalConfig, DEFAULT_PHASE, EnvironmentConfig, GatesConfig, OnApproval, PHASES, Progression, about, gates, is_name,
    listeners::{self, Listener},
    metrics,
    reader::{Item, Table},
    references, rollout,
    service::ServiceConfig,
    target,
};
use crate::model::{
    EnvironmentName, Origin, Rollout, ServiceName, ServiceSpec, Strategy,
    about::About,
    ci::CiConfig,
    fault::suggestion,
    metric::MetricSpec,
    service::{Dependency, RouterKind, TargetKind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// How long a given approval may be used.
const APPROVAL_EXPIRES_MS: u64 = 60 * 60_000;
/// How long a request waits for a decision.
const REQUEST_EXPIRES_MS: u64 = 24 * 3_600_000;
/// More people than that decide over nothing in time.
const MOST_SIGNATURES: i64 = 20;
const WEEK_MS: u64 = 7 * 24 * 3_600_000;

/// Origins as configuration writes them.
const ORIGINS: &[(&str, Origin)] =
    &[("observed", Origin::Observed), ("attested", Origin::Attested), ("person", Origin::Person), ("claimed", Origin::Claimed)];

/// Progressions as configuration writes them.
const PROGRESSIONS: &[(&str, Progression)] =
    &[("manual", Progression::Manual), ("assisted", Progression::Assisted), ("auto", Progression::Auto)];

/// What the places of environments refer to.
pub struct Declared<'a> {
    /// `[services]`.
    pub services: &'a BTreeMap<ServiceName, Option<ServiceConfig>>,
    /// `[ci]`.
    pub ci: Option<&'a CiConfig>,
}

/// Reads `[environments]`.
pub fn environments(
    root: &Table<'_>,
    declared: &Declared<'_>,
    gates: &GatesConfig,
    phases: &BTreeMap<String, String>,
) -> BTreeMap<EnvironmentName, EnvironmentConfig> {
    let Some(item) = root.require("environments", "say where it runs: [environments.staging.services.web]") else { return BTreeMap::new() };
    let Some(table) = item.table() else { return BTreeMap::new() };
    let items = table.items();
    if items.is_empty() {
        table.missing("no environment is declared", "say where it runs: [environments.staging.services.web]");
    }
    let mut order = Vec::new();
    let mut listeners = Vec::new();
    let mut environments = BTreeMap::new();
    for (name, item) in items.iter().filter(|(name, item)| is_name(item, name)) {
        let Some(table) = item.table() else { continue };
        let mut environment = environment((*name).into(), &table, gates, phases);
        if let Some(after) = table.get("after") {
            environment.after = after.text().map(EnvironmentName::from);
            order.push((environment.name.clone(), after));
        }
        if let Some(item) = table.get("services") {
            environment.services = placements(&item, &environment.name, declared, &mut listeners);
        }
        table.close();
        environments.insert(environment.name.clone(), environment);
    }
    check_order(&environments, &order);
    listeners::check(&listeners);
    environments
}

fn environment(name: EnvironmentName, table: &Table<'_>, gates: &GatesConfig, phases: &BTreeMap<String, String>) -> EnvironmentConfig {
    let approval_item = table.get("approval");
    let is_production = approval_item.is_some();
    let stated = table.get("progression");
    let progression = stated.as_ref().and_then(|item| item.choice(PROGRESSIONS, &[]));
    if let (Some(item), Some(Progression::Auto), false) = (&stated, progression, is_production) {
        item.fault("goes on after an approval, and none is asked here", Some("set `approval`, or leave `progression` out".into()));
    }
    let approval = approval_item.and_then(|item| approval(&item, progression));
    let phase = table.get("phase").and_then(|item| phase(&item, phases));
    let evidence = table.get("evidence").map(|item| evidence(&item, is_production)).unwrap_or_else(|| {
        ORIGINS.iter().map(|(_, origin)| *origin).filter(|origin| !is_production || *origin != Origin::Claimed).collect()
    });
    let gates = table.get("gates").map(|item| gates::overrides(&item, gates)).unwrap_or_default();
    let phase = phase.or(is_production.then_some(DEFAULT_PHASE)).map(str::to_owned);
    let goes_on = approval.as_ref().is_some_and(|approval| approval.on_approval == OnApproval::Execute);
    let progression = progression.unwrap_or(if goes_on { Progression::Auto } else { Progression::Assisted });
    EnvironmentConfig { name, phase, after: None, approval, evidence, gates, services: BTreeMap::new(), progression }
}

/// Reads the name of a phase; an unknown one is answered with all there are.
fn phase<'a>(item: &Item<'a>, own: &BTreeMap<String, String>) -> Option<&'a str> {
    let name = item.text()?;
    let known: Vec<&str> = PHASES.iter().copied().chain(own.keys().map(String::as_str)).collect();
    if !known.contains(&name) {
        item.mismatch(format!("there is no phase `{name}`"), Some(format!("there are: {}", known.join(", "))));
        return None;
    }
    Some(name)
}

/// Reads `approval`; `progression = "auto"` and `on_approval = "execute"` say the same.
fn approval(item: &Item<'_>, progression: Option<Progression>) -> Option<ApprovalConfig> {
    let table = item.table()?;
    let role = table.require("role", "write role = \"chairman\"").and_then(|item| item.text().filter(|role| is_name(&item, role)));
    let expires_ms = table.get("expires").and_then(|item| item.duration(1_000..=WEEK_MS)).unwrap_or(APPROVAL_EXPIRES_MS);
    let request_expires_ms = table.get("request_expires").and_then(|item| item.duration(1_000..=WEEK_MS)).unwrap_or(REQUEST_EXPIRES_MS);
    let choices = [("wait", OnApproval::Wait), ("execute", OnApproval::Execute)];
    let implied = progression.map(|it| if it == Progression::Auto { OnApproval::Execute } else { OnApproval::Wait });
    let stated = table.get("on_approval").and_then(|item| Some((item.choice(&choices, &[])?, item)));
    if let (Some((stated, item)), Some(implied)) = (&stated, implied)
        && *stated != implied
    {
        item.fault("says something else than `progression`", Some("leave `on_approval` out".into()));
    }
    let on_approval = implied.or(stated.map(|(stated, _)| stated)).unwrap_or(OnApproval::Wait);
    let signatures = table.get("signatures").and_then(|item| item.whole(1..=MOST_SIGNATURES)).unwrap_or(1) as u32;
    let four_eyes = table.get("four_eyes").and_then(|item| item.yes()).is_some();
    table.close();
    Some(ApprovalConfig { role: role?.to_owned(), expires_ms, request_expires_ms, on_approval, signatures, four_eyes })
}

fn evidence(item: &Item<'_>, is_production: bool) -> BTreeSet<Origin> {
    let Some(items) = item.list() else { return BTreeSet::new() };
    if items.is_empty() {
        item.fault("is empty: no evidence would count", Some("write [\"observed\", \"attested\", \"person\"]".into()));
    }
    let origin = |item: &Item<'_>| {
        let origin = item.choice(ORIGINS, &[])?;
        if origin == Origin::Claimed && is_production {
            item.fault("`claimed` never counts where `approval` is set", Some("leave it out".into()));
        }
        Some(origin)
    };
    items.iter().filter_map(origin).collect()
}

fn placements<'a>(
    item: &Item<'a>,
    environment: &EnvironmentName,
    Declared { services, ci }: &Declared<'_>,
    listeners: &mut Vec<Listener<'a>>,
) -> BTreeMap<ServiceName, ServiceSpec> {
    let Some(table) = item.table() else { return BTreeMap::new() };
    let mut placed = BTreeMap::new();
    for (name, item) in table.items() {
        let service = ServiceName::from(name);
        if !services.contains_key(&service) {
            item.mismatch("is not declared in [services]", suggestion(name, services.keys().map(ServiceName::as_str)));
        }
        let mut listens = Vec::new();
        let placement = placement(&item, *ci, &mut listens);
        let Some(config) = services.get(&service) else { continue };
        let of_place = placement.as_ref().and_then(|placement| placement.hosts.clone());
        let hosts = of_place.or(config.as_ref().map(|config| config.hosts.clone())).unwrap_or_default();
        let owner = format!("{environment}/{service}");
        listeners.extend(listens.into_iter().map(|(address, item)| Listener { address, item, hosts: hosts.clone(), owner: owner.clone() }));
        let (Some(placement), Some(config)) = (placement, config) else { continue };
        placed.insert(service.clone(), specification(config.clone(), placement, service, environment.clone()));
    }
    placed
}

/// The part of a specification that `[environments.E.services.X]` holds.
struct Placement {
    target: TargetKind,
    router: RouterKind,
    instances: u32,
    env: BTreeMap<String, String>,
    dependencies: Vec<Dependency>,
    rollout: Rollout,
    metrics: Vec<MetricSpec>,
    about: About,
    /// None where the service's own stand.
    hosts: Option<Vec<String>>,
}

fn placement<'a>(item: &Item<'a>, ci: Option<&CiConfig>, listens: &mut Vec<(SocketAddr, Item<'a>)>) -> Option<Placement> {
    let table = item.table()?;
    let target = match table.get("target") {
        Some(item) => target::target(&item, ci),
        None => Some(TargetKind::Local),
    };
    let router = table
        .require("router", "write router = { kind = \"proxy\", listen = \"127.0.0.1:8080\" }")
        .and_then(|item| target::router(&item, |address, item| listens.push((address, item))));
    let instances = table.get("instances").and_then(|item| item.whole(1..=100)).map_or(1, |count| count as u32);
    let env = table.get("env").map(|item| variables(&item)).unwrap_or_default();
    let dependencies = table.get("dependencies").map(|item| dependencies(&item)).unwrap_or_default();
    let strategy = table.get("strategy");
    let rollout = strategy.as_ref().and_then(rollout::rollout).unwrap_or_default();
    let hosts = table.get("hosts").map(|item| listeners::hosts(&item));
    let metrics = table.get("metrics").map(|item| metrics::metrics(&item)).unwrap_or_default();
    let about = table.get("about").and_then(|item| about::about(&item)).unwrap_or_default();
    table.close();
    let placement = Placement { target: target?, router: router?, instances, env, dependencies, rollout, metrics, about, hosts };
    check_abilities(&placement, item, strategy.as_ref());
    Some(placement)
}

fn specification(config: ServiceConfig, placement: Placement, service: ServiceName, environment: EnvironmentName) -> ServiceSpec {
    let ServiceConfig {
        owner,
        escalation,
        command,
        health,
        version,
        smoke,
        drain_ms,
        bake_ms,
        keep,
        data,
        hosts,
        metrics,
        about,
        monitoring,
    } = config;
    let Placement { target, router, instances, env, dependencies, rollout, metrics: of_place, about: about_place, hosts: own_hosts } =
        placement;
    ServiceSpec {
        service,
        environment,
        owner,
        escalation,
        command,
        health,
        version,
        smoke,
        drain_ms,
        bake_ms,
        keep,
        instances,
        env,
        dependencies,
        hosts: own_hosts.unwrap_or(hosts),
        target,
        router,
        rollout,
        data,
        metrics: metrics::joined(metrics, of_place),
        about: about.at_place(about_place),
        monitoring,
    }
}

/// Tells what the target or the router cannot do.
fn check_abilities(placement: &Placement, item: &Item<'_>, strategy: Option<&Item<'_>>) {
    let kind = match placement.target {
        TargetKind::Local => "local",
        TargetKind::Command(_) => "command",
        TargetKind::Ci(_) => "ci",
    };
    let runs_itself = placement.target != TargetKind::Local;
    let is_external = matches!(placement.router, RouterKind::External { .. });
    if runs_itself != is_external {
        item.fault("a `command` or `ci` target goes with an `external` router, and a `local` one with the `proxy`", None);
    }
    if runs_itself && placement.instances != 1 {
        item.fault(format!("a `{kind}` target is one instance to Interlock, however many it runs"), Some("leave `instances` out".into()));
    }
    if kind == "ci" && !placement.env.is_empty() {
        item.fault("a `ci` target starts nothing here that could read `env`", Some("tell the workflow by its `inputs`".into()));
    }
    if let (true, Some(strategy), Some(Strategy::Canary | Strategy::Rolling)) = (is_external, strategy, placement.rollout.strategy) {
        strategy.fault("an `external` router cannot share out traffic, and measures nothing", Some("leave `strategy` out".into()));
    }
}

fn variables(item: &Item<'_>) -> BTreeMap<String, String> {
    let Some(table) = item.table() else { return BTreeMap::new() };
    let variable = |(name, item): (&str, Item<'_>)| {
        let value = item.value()?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(is_word) || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            item.fault_at_key(format!("`{name}` is no variable"), Some("use A-Z, a-z, 0-9 and `_`, not starting with a digit".into()));
        }
        references::check(&item, name, value);
        Some((name.to_owned(), value.to_owned()))
    };
    table.items().into_iter().filter_map(variable).collect()
}

fn dependencies(item: &Item<'_>) -> Vec<Dependency> {
    let mut names = BTreeSet::new();
    let mut dependency = |item: &Item<'_>| {
        let table = item.table()?;
        let name = table.require("name", "write name = \"db\"").and_then(|item| {
            let name = item.text().filter(|name| is_name(&item, name))?;
            if !names.insert(name.to_owned()) {
                item.fault(format!("`{name}` stands here twice"), None);
            }
            Some(name.to_owned())
        });
        let tcp = table.require("tcp", "write tcp = \"127.0.0.1:5432\"").and_then(|item| host_and_port(&item));
        table.close();
        Some(Dependency { name: name?, tcp: tcp? })
    };
    item.list().unwrap_or_default().iter().filter_map(&mut dependency).collect()
}

fn host_and_port(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let is_good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !is_good {
        item.fault(format!("`{text}` is no host and port"), Some("write \"db.internal:5432\"".into()));
    }
    is_good.then(|| text.to_owned())
}

/// Tells every `after` that names nothing, or that leads back to itself.
fn check_order(environments: &BTreeMap<EnvironmentName, EnvironmentConfig>, order: &[(EnvironmentName, Item<'_>)]) {
    for (name, item) in order {
        let Some(after) = environments[name].after.as_ref() else { continue };
        if !environments.contains_key(after) {
            let others = environments.keys().filter(|other| *other != name).map(EnvironmentName::as_str);
            item.mismatch(format!("there is no environment `{after}`"), suggestion(after.as_str(), others));
            continue;
        }
        let following = |name: &&EnvironmentName| environments.get(*name).and_then(|environment| environment.after.as_ref());
        let mut chain = std::iter::successors(Some(after), following).take(environments.len());
        if chain.any(|earlier| earlier == name) {
            item.mismatch(format!("`{name}` comes after itself"), Some("break the circle".into()));
        }
    }
}
