//! A deployment as it runs, and as the proof of what it did: who approved which bytes, on what evidence, and what customers felt.

mod charts;
mod customers;
mod log;
mod timeline;

use super::{
    Ask,
    actions::{asks_why, form},
    decide::offer,
    layout::Page,
    live::Follows,
    passkeys::Decider,
    shown::{Tone, chip, command, deployment_state, lasting, line, moment, name, short, sign, verdict},
};
use crate::{
    engine::{report::Report, status::Course, stuck},
    error::Result,
    model::{Caller, Choice, DecisionVerdict, Deployment, DeploymentId, DeploymentState, Purpose, SignedDecision, Timestamp, Verdict},
};
use maud::{Markup, html};
use std::time::Duration;

/// How long the page of a settled deployment still follows: its counters and files are recorded once it is settled.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, now) = (&ask.engine, ask.now);
    let deployment = engine.deployment(&DeploymentId::from(ask.id.as_str())).await?;
    let course = engine.course(&deployment).await?;
    let is_over = deployment.state.is_settled();
    let is_fresh = deployment.settled_at.is_some_and(|at| now.since(at) < AFTERWARDS);
    let report = engine.report(&deployment, !is_over).await?;
    let felt = engine.felt(&deployment, !is_over).await?;
    let mut approvals = Vec::new();
    for signed in engine.store.decisions_over(&report.plan.sha256()).await? {
        let approver = engine.store.approver(&signed.decision.approver).await?;
        let key = approver.as_ref().and_then(|approver| approver.signer(&signed).ok());
        let (holds, fingerprint) = (key.is_some_and(|held| held.cloned_at.is_none()), key.map(|held| held.key.fingerprint()));
        approvals.push((signed, holds, fingerprint));
    }
    let measured = engine.store.measurements(&deployment.id).await?;
    let asked_back = measured.iter().rev().find(|measurement| measurement.kind == "rollback_asked");
    let asked_back = asked_back.and_then(|measurement| measurement.body["reason"].as_str());
    let log = log::section(&ask, &deployment).await;
    let restore = restore(&deployment, &report);
    let body = html! {
        (head(&deployment, &course, asked_back, now))
        @if let Some(known) = &course.stuck { (choices(&deployment, known, restore.as_ref())) }
        section id="customers" {
            h2 { "What customers felt" }
            (customers::tiles(&deployment, &report, felt.as_ref(), now))
            (customers::split(&deployment, &report, &course))
            @if let Some((sample, _)) = &felt { (charts::charts(&report, sample)) }
        }
        section id="proof" {
            h2 { "On whose word, and on what evidence" }
            (proof(&report, &approvals))
        }
        @if !report.incidents.is_empty() {
            section id="incidents" {
                h2 { "Incidents" }
                ul class="incidents" {
                    @for incident in &report.incidents {
                        li id=(incident.id) {
                            (chip(Tone::Bad, html! { (line(&incident.rule, 30)) " " (line(&incident.severity, 10)) })) " "
                            (line(&incident.summary, 400))
                            div class="quiet" { "done by itself: " (line(&incident.action, 300)) " · " (moment(now, incident.opened_at)) }
                        }
                    }
                }
            }
        }
        section id="timeline" {
            h2 { "Timeline" }
            (timeline::table(&deployment, &report, now))
        }
        @if let Some(actions) = actions(&deployment, restore.filter(|_| course.stuck.is_none()), &ask.decider) { (actions) }
        (log)
    };
    let title = format!("{} {} in {}", deployment.service, deployment.version, deployment.environment);
    Ok(Page { title, section: "/history", follows: if is_over && !is_fresh { Follows::Not } else { Follows::Runs }, body })
}

fn head(deployment: &Deployment, course: &Course, asked_back: Option<&str>, now: Timestamp) -> Markup {
    html! {
        p class="crumbs" {
            a href={ "/directives/" (deployment.directive) } { (deployment.directive) } " / "
            a href={ "/plans/" (deployment.plan) } { (deployment.plan) } " / " (deployment.id)
        }
        div class="title" {
            h1 { (name(&deployment.service)) " " (line(&deployment.version, 80)) " in " (name(&deployment.environment)) }
            (deployment_state(deployment.state))
        }
        p class="lead" {
            @if let Purpose::Rollback { of } = &deployment.purpose { "the way back from " a href={ "/deployments/" (of) } { (of) } " · " }
            "asked by " (line(&deployment.created_by, 40)) " " (moment(now, deployment.created_at))
            @if let Some(settled) = deployment.settled_at { " · took " (lasting(settled.since(deployment.created_at))) }
        }
        @if let Some(reason) = &deployment.undo_reason {
            p class="notice" {
                (sign(Tone::Back))
                span {
                    strong { "Went back" } ": " (line(reason, 500))
                    @if let Some(code) = &deployment.failure_code { " " code { (line(code, 60)) } }
                }
            }
        }
        @if let Some(by) = &deployment.rolled_back_by {
            p class="notice" {
                (sign(Tone::Back))
                span {
                    @if deployment.is_withdrawn() { "Withdrawn later" } @else { "Taken back later by " a href={ "/deployments/" (by) } { (by) } }
                    @if let Some(reason) = asked_back { ": " (line(reason, 500)) }
                }
            }
        }
        @if let Some(held) = &deployment.held_by { p class="notice" { (sign(Tone::Asks)) span { "Held by " (line(held, 60)) } } }
        @if let Some(frozen) = &course.frozen {
            p class="notice" { (sign(Tone::Asks)) span { "Waits for a freeze: " (line(&frozen.to_string(), 300)) } }
        }
    }
}

/// What is known of a deployment that is stuck, what is not, and what a person may choose.
fn choices(deployment: &Deployment, known: &stuck::Stuck, restore: Option<&Markup>) -> Markup {
    html! {
        section class="card stuck" aria-labelledby="choose" {
            h2 id="choose" { (sign(Tone::Bad)) "A person must choose" }
            dl {
                dt { "Because" } dd { (line(&known.because, 400)) }
                dt { "Not known" } dd { (line(&known.unknown, 400)) }
                dt { "Seen now" } dd { (line(&known.observed, 400)) }
            }
            ul class="choices" {
                @for choice in Choice::ALL {
                    @if let Some(said) = known.choices.iter().find_map(|said| said.strip_prefix(&format!("{}: ", choice.word()))) {
                        li { strong { (choice.word()) } " " (line(said, 300)) (offer(&stuck::command(&deployment.id, choice), None)) }
                    }
                }
                @if let Some(restore) = restore { (restore) }
            }
        }
    }
}

fn proof(report: &Report, approvals: &[(SignedDecision, bool, Option<String>)]) -> Markup {
    let plan = &report.plan;
    let passed = plan.gates.iter().filter(|gate| gate.verdict == Verdict::Pass).count();
    html! {
        dl class="proof" {
            dt { "Plan" }
            dd { a href={ "/plans/" (plan.id()) } { (plan.id()) } " sha256 " code class="whole" { (plan.sha256()) } }
            dt { "Release" }
            dd {
                code class="whole" { (plan.digest) }
                div class="quiet" { "commit " (line(plan.commit.as_deref().unwrap_or("unknown"), 60)) }
            }
            dt { "Decided by" }
            dd {
                @if plan.approval.is_none() { span class="quiet" { "nobody: this environment asks for no approval" } }
                @else if approvals.is_empty() { (chip(Tone::Asks, "no decision over these bytes is recorded")) }
                @for (signed, holds, fingerprint) in approvals {
                    div {
                        strong { (name(&signed.decision.approver)) }
                        @match signed.decision.verdict { DecisionVerdict::Approve => " approved ", DecisionVerdict::Reject => " rejected " }
                        (short(&signed.decision.subject_sha256)) " "
                        @if *holds { (chip(Tone::Good, "signature verified now")) } @else { (chip(Tone::Bad, "signature does not hold")) }
                        @if let Some(fingerprint) = fingerprint { span class="quiet" { " key " (fingerprint) } }
                    }
                }
            }
            dt { "Gates" }
            dd {
                (passed) " of " (plan.gates.len()) " passed"
                ul class="plain gates" { @for gate in &plan.gates { li {
                    (verdict(gate.verdict)) " " strong { (name(&gate.gate)) } " "
                    @if let Some(value) = &gate.value { (line(value, 120)) " " }
                    @if !gate.value.as_ref().is_some_and(|value| gate.rule.ends_with(value)) { span class="quiet" { (line(&gate.rule, 120)) } }
                    @if let Some(sha256) = &gate.evidence_sha256 { " " a href={ "/evidence/" (sha256) } { "evidence" } }
                } } }
            }
            dt { "Way back" }
            dd {
                (line(&plan.rollback.summary, 300))
                @if let Some(tested) = report.rollback_tested() { div class="quiet" { "rehearsed: " (line(&tested, 200)) } }
            }
            @if let Some(backup) = &report.backup { dt { "Backup" } dd { (line(&backup.location, 200)) } }
        }
    }
}

/// Returns the choice to take data back with the traffic, where the record says that it can be.
fn restore(deployment: &Deployment, report: &Report) -> Option<Markup> {
    use DeploymentState::{Paused, RolledBack, Running, Succeeded, Verifying};
    let data = report.data_return().filter(|_| deployment.rolled_back_by.is_none())?;
    let title = data.title();
    matches!(deployment.state, Running | Paused | Verifying | Succeeded | RolledBack).then(|| {
        html! { li {
            strong { "restore" } " goes back with its data: " (line(&title, 300))
            (offer(&format!("interlock restore {} --reason \"…\"", deployment.id), None))
        } }
    })
}

/// What a person may do while it runs, or after.
fn actions(deployment: &Deployment, restore: Option<Markup>, decider: &Decider) -> Option<Markup> {
    let id = &deployment.id;
    let runs = matches!(deployment.state, DeploymentState::Running | DeploymentState::Verifying | DeploymentState::Queued);
    // What the server holds goes on by a signature over a choice, and by nothing else.
    let is_held = deployment.held_by.as_ref().is_some_and(|holder| *holder != Caller::server().principal);
    let can_go_back = !matches!(deployment.state, DeploymentState::RollingBack | DeploymentState::RolledBack | DeploymentState::Stuck);
    let goes_back = can_go_back && deployment.rolled_back_by.is_none() && deployment.purpose == Purpose::Deploy;
    (runs || goes_back || restore.is_some()).then(|| {
        html! {
            section id="actions" {
                h2 { "What you can do" }
                ul class="choices" {
                    @if runs && is_held {
                        li { strong { "Let it go on" } (command(&format!("interlock hold-deployment {id} --held false"))) }
                    } @else if runs && deployment.held_by.is_none() {
                        li {
                            strong { "Hold" }
                            (form(decider, &format!("/deployments/{id}/hold"), "Hold", &html! {}))
                            (command(&format!("interlock hold-deployment {id} --held true")))
                        }
                    }
                    @if goes_back {
                        li {
                            strong { "Roll back" }
                            (form(decider, &format!("/deployments/{id}/rollback"), "Roll back", &asks_why("back-why")))
                            (command(&format!("interlock rollback-deployment {id} --reason \"…\"")))
                        }
                    }
                    @if let Some(restore) = &restore { (restore) }
                }
                p class="quiet" { "To stop and to go back needs no signature" @if restore.is_some() { "; to take data back does" } "." }
            }
        }
    })
}
