//! Home: what serves where, what waits for a person, and what is under way.

use super::{
    Ask, inbox,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, command, counted, deployment_state, lasting, line, moment, name, roughly, sign},
};
use crate::{
    config::EnvironmentConfig,
    engine::{
        Engine,
        status::{Overview, Place},
    },
    error::Result,
    model::{Deployment, DeploymentState, EnvironmentName, JournalEntry, Purpose, ServiceName, StepState, Timestamp, service::TargetKind},
    store::{DeploymentFilter, ServingSet},
};
use futures_util::future::join_all;
use maud::{Markup, html};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How long a look at instances may take; a page does not wait longer.
const LOOK: Duration = Duration::from_millis(500);
/// How many of the newest deployments are listed.
const NEWEST: u32 = 8;

/// What is seen of the instances that should serve.
enum Seen {
    /// So many of so many run.
    Running(usize, usize),
    /// Nobody has looked: the target is not on this machine, or did not answer in time.
    Unknown,
}

/// One service in one environment, with what serves there.
struct Cell {
    place: Place,
    set: Option<ServingSet>,
    since: Option<Timestamp>,
    seen: Seen,
}

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, now) = (&ask.engine, ask.now);
    let Overview { places, is_drifted, .. } = engine.overview().await?;
    let waiting = inbox::waiting(engine, &places, now).await?;
    let under_way: Vec<Deployment> =
        engine.store.occupying().await?.into_iter().filter(|deployment| deployment.state != DeploymentState::Stuck).collect();
    let running = join_all(under_way.iter().map(|deployment| progress(engine, deployment, now))).await;
    let order = in_order(engine.environments().await?);
    let cells = join_all(places.into_iter().map(|place| cell(engine, place))).await.into_iter().collect::<Result<Vec<_>>>()?;
    let (newest, _) = engine.store.deployments(&DeploymentFilter { limit: NEWEST, ..Default::default() }).await?;

    let serving = cells.iter().filter(|cell| cell.set.is_some()).count();
    let body = html! {
        h1 { "Where things stand" }
        p class="lead" {
            (serving) " of " (counted(cells.len(), "place")) " serve"
            " · " (counted(waiting.len(), "thing")) " for a person to decide · " (counted(under_way.len(), "deployment")) " under way"
        }
        @if is_drifted {
            p class="notice" {
                (sign(Tone::Asks))
                span {
                    strong { "interlock.toml differs" }
                    " from the newest revision. What is in force stays as it is until somebody runs "
                    (command("interlock apply"))
                }
            }
        }
        section {
            h2 { "Waits for a person" }
            (inbox::list(&waiting, now))
        }
        @if !running.is_empty() {
            section {
                h2 { "Under way" }
                ul class="running" { @for one in running { (one?) } }
            }
        }
        section {
            h2 { "What serves" }
            (matrix(&cells, &order, now))
        }
        section {
            h2 { "Newest deployments" }
            (deployments(&newest, now))
            p { a href="/history" { "All of them" } }
        }
    };
    Ok(Page { title: "Home".into(), section: "/", follows: if under_way.is_empty() { Follows::Record } else { Follows::Runs }, body })
}

/// Returns environments in the order releases pass them: each after the one it names.
fn in_order(environments: Vec<EnvironmentConfig>) -> Vec<EnvironmentName> {
    let before = |environment: &EnvironmentConfig| {
        let next = |name: &EnvironmentName| environments.iter().find(|other| other.name == *name).and_then(|other| other.after.clone());
        std::iter::successors(environment.after.clone(), next).take(environments.len()).count()
    };
    let mut order: Vec<_> =
        environments.iter().map(|environment| (before(environment), environment.is_production(), environment.name.clone())).collect();
    order.sort();
    order.into_iter().map(|(_, _, name)| name).collect()
}

async fn cell(engine: &Engine, place: Place) -> Result<Cell> {
    let set = engine.store.serving(&place.service, &place.environment).await?;
    let (mut since, mut seen) = (None, Seen::Unknown);
    if let Some(set) = &set {
        since = engine.store.deployment(&set.deployment).await?.and_then(|deployment| deployment.shifted_at.or(deployment.settled_at));
        seen = look(engine, set).await;
    }
    Ok(Cell { place, set, since, seen })
}

/// Looks at the instances that should serve; only those of this machine, which cost nothing to look at.
async fn look(engine: &Engine, set: &ServingSet) -> Seen {
    let Ok((_, _, spec)) = engine.service(&set.environment, &set.service).await else { return Seen::Unknown };
    if spec.target != TargetKind::Local {
        return Seen::Unknown;
    }
    let target = engine.adapters.target(&spec);
    let looks = join_all(set.instances.iter().map(|instance| target.observe(instance)));
    let Ok(observed) = tokio::time::timeout(LOOK, looks).await else { return Seen::Unknown };
    let runs = |observed: &crate::targets::Observed| observed.running && observed.digest == set.digest;
    Seen::Running(observed.iter().filter(|one| matches!(one, Ok(Some(observed)) if runs(observed))).count(), observed.len())
}

fn matrix(cells: &[Cell], order: &[EnvironmentName], now: Timestamp) -> Markup {
    let services: BTreeSet<&ServiceName> = cells.iter().map(|cell| &cell.place.service).collect();
    let find = |service: &ServiceName, environment: &EnvironmentName| {
        cells.iter().find(|cell| cell.place.service == *service && cell.place.environment == *environment)
    };
    html! {
        @if cells.is_empty() {
            p class="nothing" {
                "Nothing is configured yet. " (command("interlock init")) " writes a commented interlock.toml, "
                (command("interlock apply")) " puts it in force."
            }
        } @else {
            table class="matrix" {
                thead { tr { th scope="col" { "Service" } @for environment in order { th scope="col" { (name(environment)) } } } }
                tbody {
                    @for service in services {
                        tr {
                            th scope="row" { (name(service)) }
                            @for environment in order {
                                td data-label=(environment) {
                                    @match find(service, environment) {
                                        Some(cell) => (content(cell, now)),
                                        None => span class="quiet" { "not there" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn content(cell: &Cell, now: Timestamp) -> Markup {
    let place = &cell.place;
    html! {
        @match &cell.set {
            None => { span class="release quiet" { "nothing serves" } }
            Some(set) => {
                a class="release" href={ "/deployments/" (set.deployment) } { (line(&set.version, 60)) }
                span class="quiet age" { @if let Some(since) = cell.since { "since " time datetime=(since.to_string()) title=(since.to_string()) { (roughly(now.since(since))) } } }
                @match cell.seen {
                    Seen::Running(running, all) if running == all && all > 0 => (chip(Tone::Good, format!("{running} of {all} run"))),
                    Seen::Running(running, all) => (chip(Tone::Bad, format!("drift: {running} of {all} run"))),
                    Seen::Unknown => span class="quiet" { "verified " (moment(now, set.verified_at)) },
                }
            }
        }
        @if let Some(under_way) = &place.under_way { (chip(Tone::Busy, line(under_way, 120))) }
        @if let Some(frozen) = &place.frozen {
            a class="chip-link" href="/freezes" { (chip(Tone::Asks, html! { "frozen: " (line(frozen, 160)) })) }
        }
        span class="quiet where" { (line(&place.listen, 80)) }
        span class="quiet where" { "needs " (line(&place.requires, 160)) }
    }
}

async fn progress(engine: &Arc<Engine>, deployment: &Deployment, now: Timestamp) -> Result<Markup> {
    let journal = engine.store.journal(&deployment.id).await?;
    let course = engine.course(deployment).await?;
    let is_done = |entry: &&JournalEntry| matches!(entry.state, StepState::Done | StepState::Undone);
    let done = journal.iter().filter(is_done).count();
    let current = journal.iter().find(|entry| matches!(entry.state, StepState::Intent | StepState::Executing | StepState::Undoing));
    Ok(html! {
        li {
            div {
                a class="row" href={ "/deployments/" (deployment.id) } {
                    (name(&deployment.service)) " " (line(&deployment.version, 60)) " in " (name(&deployment.environment))
                }
                (deployment_state(deployment.state))
                span class="quiet" {
                    "step " (done) " of " (journal.len())
                    @if let Some(current) = current { ", " code { (name(&current.step)) } }
                    @if let Some(share) = course.share { " · " (share) " % of the traffic" }
                    " · began " (moment(now, deployment.created_at))
                }
            }
            progress max=(journal.len().max(1)) value=(done) aria-label="steps done" { (done) " of " (journal.len()) }
        }
    })
}

/// Returns deployments as a table.
pub fn deployments(deployments: &[Deployment], now: Timestamp) -> Markup {
    html! {
        @if deployments.is_empty() {
            p class="nothing" { "No deployment yet." }
        } @else {
            table class="list" {
                (columns(&["Deployment", "Release", "Environment", "State", "Asked by", "When", "#Took"]))
                tbody {
                    @for deployment in deployments {
                        tr {
                            td data-label="Deployment" { a href={ "/deployments/" (deployment.id) } { (deployment.id) } }
                            td data-label="Release" {
                                (name(&deployment.service)) " " strong { (line(&deployment.version, 60)) }
                                @if let Purpose::Rollback { of } = &deployment.purpose { span class="quiet" { " back from " (of) } }
                            }
                            td data-label="Environment" { (name(&deployment.environment)) }
                            td data-label="State" {
                                (deployment_state(deployment.state))
                                @match &deployment.rolled_back_by {
                                    Some(_) if deployment.is_withdrawn() => " withdrawn",
                                    Some(by) => { " " a href={ "/deployments/" (by) } { "taken back" } }
                                    None => {}
                                }
                            }
                            td data-label="Asked by" { (line(&deployment.created_by, 40)) }
                            td data-label="When" { (moment(now, deployment.created_at)) }
                            td data-label="Took" class="number" {
                                @match deployment.settled_at { Some(at) => (lasting(at.since(deployment.created_at))), None => "–" }
                            }
                        }
                    }
                }
            }
        }
    }
}
