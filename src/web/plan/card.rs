//! The decision card: what, where, who asks, how risky, what changes, how far it reaches, and how it comes back.

use super::known::Known;
use crate::{
    model::{
        Action, Plan, Reversibility, Strategy,
        migration::MigrationClass,
        plan::{MOST_RISK, Purpose, RollbackKind},
    },
    web::shown::{Tone, chip, commit, counted, line, name, short},
};
use maud::{Markup, html};

/// How many changed paths are named.
const PATHS: usize = 12;

/// How much can go wrong, by what stands in the plan alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    tone: Tone,
    word: &'static str,
    because: Vec<String>,
}

/// Returns the card.
pub fn card(known: &Known) -> Markup {
    let (record, plan) = (&known.record, &known.record.plan);
    let risk = risk(plan);
    html! {
        section class="card" aria-label="Decision card" {
            dl {
                dt { "What" }
                dd {
                    (name(&plan.service)) " " strong { (line(&plan.version, 80)) }
                    @match &plan.base { Some(base) => { " in place of " (line(&base.version, 80)) } None => ", the first deployment there" }
                    @if let Purpose::Rollback { of } = &plan.purpose { ": the way back from " a href={ "/deployments/" (of) } { (name(of)) } }
                    div class="quiet" { "release " (short(&plan.digest)) ", commit " (commit(plan.commit.as_deref())) }
                }
                dt { "Where" }
                dd {
                    strong { (name(&plan.environment)) } " of " (line(&plan.project, 60))
                    @if let Some(spec) = &known.spec { div class="quiet" { "customers connect to " (line(&spec.front(), 120)) } }
                }
                dt { "Who asks" }
                dd {
                    strong { (line(&record.created_by, 40)) }
                    @if let Some(client) = &known.client { " " span class="claimed" { "calls itself " (line(client, 80)) ", unverified" } }
                }
                dt { "Risk" }
                dd {
                    (chip(risk.tone, risk.word))
                    @if let Some((phase, rated)) = plan.phase.as_ref().and_then(|phase| Some((&phase.name, phase.risk?))) {
                        " " strong { (rated) " of " (MOST_RISK) } ", says " code { (line(phase, 60)) }
                    }
                    ul class="plain" { @for reason in &risk.because { li { (line(reason, 240)) } } }
                    @if let Some(assessment) = &plan.assessment {
                        div class="claimed" { "the agent says: " (line(&format!("{:?}", assessment.risk).to_lowercase(), 20)) }
                    }
                }
                dt { "What changes" }
                dd { (changes(known)) }
                dt { "How far it reaches" }
                dd { (reach(known)) }
                dt { "Way back" }
                dd {
                    (line(&plan.rollback.summary, 400))
                    @if let Some(loses) = &plan.rollback.loses { div { (chip(Tone::Bad, html! { "loses " (line(loses, 300)) })) } }
                    div class="quiet" {
                        @if is_rehearsed(plan) {
                            "rehearsed on a second listener before customers move"
                        } @else { "not rehearsed before customers move" }
                    }
                }
                dt { "It went before" }
                dd {
                    @let earlier = &known.earlier;
                    @if earlier.measured == 0 {
                        "no deployment there has been measured yet"
                    } @else {
                        @if earlier.downtime == 0 {
                            (chip(Tone::Good, "no downtime"))
                        } @else { (chip(Tone::Bad, format!("{} failed requests", earlier.downtime))) }
                        " in the last " (counted(earlier.measured, "measured deployment"))
                    }
                    @if earlier.went_back > 0 {
                        div class="quiet" { (earlier.went_back) " of the last " (earlier.deployments) " went back" }
                    }
                }
                dt { "Quiet hours" }
                dd { span class="quiet" { (line(&known.quiet_hours, 240)) " (advice, no part of what is signed)" } }
            }
        }
    }
}

fn changes(known: &Known) -> Markup {
    let plan = &known.record.plan;
    html! {
        @match &known.changed {
            Some(paths) if paths.is_empty() => "no file differs from the commit that serves",
            Some(paths) => {
                details {
                    summary { (counted(paths.len(), "file")) " since the commit that serves" }
                    ul class="plain paths" {
                        @for path in paths.iter().take(PATHS) { li { code { (line(path, 160)) } } }
                        @if paths.len() > PATHS { li class="quiet" { "and " (paths.len() - PATHS) " more" } }
                    }
                }
            }
            None => span class="quiet" { "which files differ is unknown: no commit on one side, or not in this repository" },
        }
        @if known.base_plan.as_ref().is_some_and(|base| base.config_sha256 != plan.config_sha256) {
            div { "its configuration changes too" }
        }
        @if plan.migrations.is_empty() { div class="quiet" { "no migration" } }
        @for migration in &plan.migrations {
            div {
                (class(migration.class))
                " " code { (line(&migration.name, 120)) } " " (line(&migration.reason, 200))
                @if migration.loses_data { " " (chip(Tone::Bad, "loses data")) }
            }
        }
    }
}

fn class(class: MigrationClass) -> Markup {
    match class {
        MigrationClass::Expand => chip(Tone::Good, "expand"),
        MigrationClass::Backfill => chip(Tone::Calm, "backfill"),
        MigrationClass::Unknown => chip(Tone::Asks, "not understood"),
        MigrationClass::Contract => chip(Tone::Bad, "contract"),
    }
}

fn reach(known: &Known) -> Markup {
    let plan = &known.record.plan;
    let starts = plan.steps.iter().filter(|step| matches!(step.action, Action::Start { .. })).count();
    let share = |step: &crate::model::Step| match step.action {
        Action::ShiftPart { percent } => Some(format!("{percent} %")),
        _ => None,
    };
    let shares: Vec<String> = plan.steps.iter().filter_map(share).collect();
    html! {
        @match plan.strategy {
            Strategy::BlueGreen => "all customers at one instant",
            Strategy::Canary => { "customers by and by: " (shares.join(", ")) ", then all" }
            Strategy::Rolling => "customers by and by, as instances take the places of old ones",
        }
        div class="quiet" { (counted(starts, "new instance")) "; " (line(&plan.guarantees.summary, 240)) }
        div class="quiet" {
            "goes back by itself above " (plan.watch.error_percent) " % errors or p95 " (plan.watch.p95_ms) " ms for "
            (plan.watch.sustained_ms / 1_000) " s, and at once on downtime"
        }
    }
}

/// Tells whether the way back is tried before customers move.
pub fn is_rehearsed(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.action == Action::Rehearse)
}

/// Returns how much can go wrong.
fn risk(plan: &Plan) -> Risk {
    let (mut high, mut medium) = (Vec::new(), Vec::new());
    if plan.steps.iter().any(|step| step.reversibility == Reversibility::Pivot) {
        high.push("a step has no way back past it".to_owned());
    }
    if matches!(plan.rollback.kind, RollbackKind::ForwardOnly) {
        high.push("there is no way back: repairs go forward".to_owned());
    }
    if plan.rollback.loses.is_some() || plan.data_return.is_some() {
        high.push("going back takes data back with it".to_owned());
    }
    if plan.migrations.iter().any(|migration| migration.loses_data || migration.class >= MigrationClass::Unknown) {
        high.push("a migration takes something away, or is not understood".to_owned());
    } else if !plan.migrations.is_empty() {
        medium.push(format!("it changes the database: {}", counted(plan.migrations.len(), "migration")));
    }
    if plan.base.is_none() {
        medium.push("nothing serves there yet: there is nothing to compare with, and nothing to go back to".to_owned());
    } else if !is_rehearsed(plan) {
        medium.push("the way back is not rehearsed".to_owned());
    }
    if !plan.guarantees.atomic_switch || !plan.guarantees.drain_signal || !plan.guarantees.measures {
        medium.push("the router cannot promise a switch without loss that is measured".to_owned());
    }
    match (high.is_empty(), medium.is_empty()) {
        (false, _) => Risk { tone: Tone::Bad, word: "high", because: high.into_iter().chain(medium).collect() },
        (true, false) => Risk { tone: Tone::Asks, word: "medium", because: medium },
        (true, true) => Risk { tone: Tone::Good, word: "low", because: vec!["traffic alone goes back, and that is rehearsed".to_owned()] },
    }
}
