//! Work orders: those that are open, and one of them with everything that hangs on it.

use super::{
    Ask,
    decide::offer,
    home::deployments,
    layout::Page,
    live::Follows,
    shown::{self, Tone, chip, columns, commit, line, moment, name, plan_state, short, sign, text, verdict},
};
use crate::{
    engine::status::DirectiveView,
    error::Result,
    model::{Directive, DirectiveId, DirectiveState, Timestamp},
    phases::Fact,
    store::DeploymentFilter,
};
use maud::{Markup, html};

/// How many of a closed directive's plans are listed.
const PLANS: usize = 12;

/// Makes the list of those that are open.
pub async fn list(ask: Ask) -> Result<Page> {
    let mut open = ask.engine.store.open_directives().await?;
    open.reverse();
    let waiting = ask.engine.store.follow_ups().await?;
    let body = html! {
        h1 { "Directives" }
        p class="lead" { "Nothing deploys without one: a directive is the work order for one release of one service in one environment." }
        section { h2 { "Open" } (table(&open, ask.now)) }
        @if !waiting.is_empty() {
            section { h2 { "Waiting for a mended release" } (table(&waiting, ask.now)) }
        }
    };
    Ok(Page { title: "Directives".into(), section: "/directives", follows: Follows::Not, body })
}

fn table(directives: &[Directive], now: Timestamp) -> Markup {
    html! {
        @if directives.is_empty() {
            p class="nothing" { "None is open." }
        } @else {
            table class="list" {
                (columns(&["Directive", "Release", "Environment", "State", "Asked by", "Opened"]))
                tbody {
                    @for directive in directives {
                        tr {
                            td data-label="Directive" {
                                a href={ "/directives/" (directive.id) } { (directive.id) }
                                @if !directive.title.is_empty() { div class="quiet" { (line(&directive.title, 120)) } }
                            }
                            td data-label="Release" { (name(&directive.service)) " " strong { (line(&directive.version, 60)) } }
                            td data-label="Environment" { (name(&directive.environment)) }
                            td data-label="State" { (state(directive.state)) }
                            td data-label="Asked by" { (line(&directive.created_by, 40)) }
                            td data-label="Opened" { (moment(now, directive.created_at)) }
                        }
                    }
                }
            }
        }
    }
}

fn state(state: DirectiveState) -> Markup {
    let tone = match state {
        DirectiveState::Completed => Tone::Good,
        DirectiveState::InProgress => Tone::Busy,
        DirectiveState::Active | DirectiveState::Draft | DirectiveState::Cancelled => Tone::Calm,
    };
    chip(tone, shown::words(state.as_str()))
}

/// Makes the page of one.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, now) = (&ask.engine, ask.now);
    let id = DirectiveId::from(ask.id.as_str());
    let plans = engine.store.plans_of(&id).await?;
    let filter = DeploymentFilter { directive: Some(id.clone()), ..Default::default() };
    let (runs, _) = engine.store.deployments(&filter).await?;
    // Last: what is shown to be under way is followed.
    let view = engine.view(&id).await?;
    let directive = &view.directive;
    let body = html! {
        p class="crumbs" { a href="/directives" { "Directives" } " / " (directive.id) }
        div class="title" {
            h1 { (name(&directive.service)) " " (line(&directive.version, 60)) " for " (name(&directive.environment)) }
            (state(directive.state))
        }
        p class="lead" {
            "asked by " (line(&directive.created_by, 40)) " " (moment(now, directive.created_at)) " · release " (short(&directive.digest))
            " · commit " (commit(directive.commit.as_deref()))
            @if let Some(phase) = &directive.phase { " · phase " code { (line(phase, 60)) } }
        }
        (words(directive))
        @if let Some(step) = &view.checklist.step { section { h2 { "Where it stands" } p class="lines" { (text(step, 1_200)) }
            @if !view.checklist.asked.is_empty() {
                ul class="unproven" {
                    @for (_, question) in &view.checklist.asked { li { (sign(Tone::Asks)) span { (line(question, 300)) } } }
                }
            }
        } }
        section { h2 { "Gates" } (gates(&view, now)) }
        section {
            h2 { "Plans" }
            @if plans.is_empty() { p class="nothing" { "None yet." } } @else {
                ul class="plain" { @for record in plans.iter().take(PLANS) {
                    li {
                        a href={ "/plans/" (record.id) } { (record.id) } " " (plan_state(record.state)) " "
                        span class="quiet" { "attempt " (record.plan.attempt) ", " (moment(now, record.created_at)) }
                        @if let Some(reason) = &record.reason { " " (line(reason, 300)) } }
                } }
            }
        }
        section { h2 { "Deployments" } (deployments(&runs, now)) }
        @if !view.missing.is_empty() {
            section { h2 { "Missing for its end" } ul class="unproven" { @for (gate, fact) in &view.missing {
                li {
                    (sign(Tone::Asks))
                    span {
                        code { (line(gate, 60)) } " "
                        @match fact {
                            Fact::Missing(question) => (line(question, 300)),
                            Fact::True => "holds",
                            Fact::False => "does not hold",
                        }
                    }
                }
            } } }
        }
    };
    Ok(Page {
        title: directive.id.to_string(),
        section: "/directives",
        follows: if view.under_way().is_some() || view.is_checking { Follows::Runs } else { Follows::Not },
        body,
    })
}

/// What whoever asks has written about the order.
fn words(directive: &Directive) -> Markup {
    let said =
        [("Title", &directive.title), ("Why", &directive.rationale), ("What", &directive.description), ("How far", &directive.scope)];
    html! {
        @if said.iter().any(|(_, said)| !said.trim().is_empty()) {
            div class="fence" {
                p class="fence-label" { (sign(Tone::Asks)) "written by " (line(&directive.created_by, 40)) }
                dl {
                    @for (word, said) in said.iter().filter(|(_, said)| !said.trim().is_empty()) {
                        dt { (word) } dd class="lines" { (text(said, 2_000)) }
                    }
                }
            }
        }
    }
}

fn gates(view: &DirectiveView, now: Timestamp) -> Markup {
    html! {
        @if view.is_checking { p { (chip(Tone::Busy, "checks run now")) } }
        @if view.gates.is_empty() { p class="nothing" { "None has been looked at yet." } } @else {
            table class="list" {
                (columns(&["Gate", "Says", "Measured", "Asked for", "Why, and what mends it", "When"]))
                tbody { @for gate in &view.gates { tr {
                    th scope="row" { (name(&gate.gate)) @if gate.live { " " span class="quiet" { "live" } } }
                    td data-label="Says" { (verdict(gate.verdict)) }
                    td data-label="Measured" {
                        @match &gate.value { Some(value) => (line(value, 160)), None => span class="quiet" { "no value" } }
                    }
                    td data-label="Asked for" { code { (line(&gate.rule, 120)) } }
                    td data-label="Why" {
                        (line(&gate.reason, 300))
                        @if let Some(needs) = &gate.needs {
                            div class="quiet" {
                                "needs " (line(needs, 200))
                                @if let Some(who) = gate.who { ", from: " (who.to_string()) }
                            }
                        }
                        @if let Some(how) = &gate.how { (offer(how, None)) }
                        @if let Some(sha256) = &gate.evidence_sha256 {
                            div { a href={ "/evidence/" (sha256) } { "evidence " (short(sha256)) } }
                        }
                    }
                    td data-label="When" { (moment(now, gate.checked_at)) }
                } } }
            }
        }
    }
}
