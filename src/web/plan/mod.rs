//! A plan as somebody decides over it: the decision first, then the very bytes that are signed, each gate with what it rests on, and
//! what nothing here has proven.

mod card;
mod changes;
mod document;
#[cfg(test)]
mod drawn_plan;
mod gates;
mod known;
#[cfg(test)]
mod seen_tests;

use super::{
    Ask,
    layout::Page,
    live::Follows,
    passkeys::Decider,
    shown::{Tone, chip, columns, command, line, moment, name, plan_state, short, sign, verdict},
};
use crate::{
    decisions,
    engine::asked::Asked,
    error::{Error, Result},
    model::{DecisionVerdict, Plan, PlanId, PlanState, Reversibility, Sha256, canonical_json},
    store::Approvals,
};
use known::Known;
use maud::{Markup, html};

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, id) = (&ask.engine, PlanId::from(ask.id));
    // Not `plan_record`, which notes that a request has run out: to look changes nothing.
    let record = engine.store.plan(&id).await?.ok_or_else(|| Error::not_found("plan", &id))?;
    let bytes = canonical_json(&record.plan);
    let sha256 = Sha256::of(&bytes);
    let known = Known::of(engine, record, sha256, ask.now).await?;
    let plan = &known.record.plan;
    let title = format!("{} {} in {}", plan.service, plan.version, plan.environment);
    let body = body(&known, &bytes, &ask.decider)?;
    Ok(Page { title, section: "/directives", follows: Follows::Told, body })
}

fn body(known: &Known, bytes: &[u8], decider: &Decider) -> Result<Markup> {
    let (plan, now) = (&known.record.plan, known.now);
    let unproven = gates::unproven(known);
    let fields = decisions::fields(&String::from_utf8_lossy(bytes))?;
    Ok(html! {
        (head(known))
        div class="decision" {
            (card::card(known))
            (action(known, decider))
        }
        section id="unproven" {
            h2 { "What is not proven" }
            ul class="unproven" { @for one in &unproven { li { (sign(Tone::Asks)) span { (one) } } } }
        }
        section id="gates" {
            h2 { "Gates this plan rests on" }
            (gates::table(known))
        }
        section id="changes" {
            h2 { "What changes in the plan" }
            (changes::section(known))
        }
        section id="steps" {
            h2 { "Steps" }
            (steps(plan))
        }
        @if let Some(assessment) = &plan.assessment {
            section id="assessment" {
                h2 { "Assessment" }
                div class="fence" {
                    p class="fence-label" { (sign(Tone::Asks)) "written by the agent; nothing here checked it" }
                    @for one in assessment.lines() { p { (line(&one, 8_000)) } }
                }
            }
        }
        section id="document" {
            h2 { "The exact plan" }
            (document::section(&known.record.id, bytes, &fields, &known.sha256))
        }
        section id="decisions" {
            h2 { "Decisions over these bytes" }
            (decisions(known, now))
        }
    })
}

fn head(known: &Known) -> Markup {
    let (record, plan) = (&known.record, &known.record.plan);
    html! {
        p class="crumbs" { a href={ "/directives/" (plan.directive) } { (name(&plan.directive)) } " / " (record.id) }
        div class="title" {
            h1 {
                (name(&plan.service)) " "
                @if let Some(base) = &plan.base { (line(&base.version, 60)) } @else { "nothing" } " → "
                (line(&plan.version, 60))
            }
            @if known.has_run_out() { (chip(Tone::Calm, "ran out of time")) } @else { (plan_state(record.state)) }
        }
        p class="lead" {
            "in " strong { (name(&plan.environment)) } " · plan " code { (record.id) } " · attempt " (plan.attempt)
            " · frozen " (moment(known.now, record.created_at))
        }
    }
}

/// What is to be done about it, as far as a person is asked.
fn action(known: &Known, decider: &Decider) -> Markup {
    let (record, now) = (&known.record, known.now);
    let role = record.plan.approval.as_ref().map(|approval| approval.role.as_str());
    let asked = Asked::of_plan(&record.id);
    let decided = html! { @if let Some(by) = &record.decided_by { " by " strong { (line(by, 60)) } } };
    html! {
        aside class="action" aria-labelledby="decide" {
            h2 id="decide" { "Your decision" }
            @match (record.state, role) {
                _ if known.has_run_out() => p {
                    "Nobody decided, or used the decision, in time. " code { "plan_deployment" }
                    " opens the request again."
                },
                (PlanState::AwaitingApproval | PlanState::Rejected, Some(_)) if known.overtaken.is_some() => {
                    p { "Overtaken: " (line(known.overtaken.as_deref().unwrap_or_default(), 500)) "." }
                    p class="quiet" { "An approval would count for nothing. " code { "plan_deployment" } " makes a plan that fits." }
                }
                (PlanState::AwaitingApproval, Some(role)) => {
                    p { "Waits for the signature of somebody with the role " strong { (line(role, 40)) } "." }
                    (signatures(known))
                    @if let Some(until) = record.request_expires_at { p class="quiet" { "The request expires " (moment(now, until)) "." } }
                    (decider.form(&asked, &known.sha256))
                    p { "At the terminal, type in the workspace's folder, where the passphrase of your key is asked:" }
                    (command(&format!("interlock approve {}", record.id)))
                    (command(&format!("interlock reject {} --reason \"…\"", record.id)))
                    p class="quiet" {
                        "The signature is over these bytes and no others: " strong { "sha256 " code { (known.sha256.short()) } }
                        ", which the terminal shows too."
                    }
                }
                (PlanState::Approved, _) => {
                    p { "Approved" (decided) "." }
                    @if let Some(until) = record.approval_expires_at {
                        p class="quiet" { "The approval may be used until " (moment(now, until)) "." }
                    }
                    p { "It is executed by the agent, or by hand:" } (command(&format!("interlock execute-deployment {}", record.id)))
                }
                (PlanState::Used, _) => p {
                    "Executed" @if record.decided_by.is_some() { ", approved" (decided) } ". "
                    @if let Some(deployment) = &known.deployment { a href={ "/deployments/" (deployment.id) } { "See " (deployment.id) } }
                },
                (PlanState::Rejected, _) => {
                    p { "Rejected" (decided) ": " (line(record.reason.as_deref().unwrap_or("no reason was given"), 500)) }
                    p class="quiet" { "An approver may approve it after all." }
                    (decider.form_of_yes(&asked, &known.sha256))
                    (command(&format!("interlock approve {}", record.id)))
                }
                (PlanState::Planned, _) => {
                    p { "This environment asks for no approval." }
                    (command(&format!("interlock execute-deployment {}", record.id)))
                }
                (state, _) => p { "It is " (state.as_str()) @if let Some(reason) = &record.reason { ": " (line(reason, 500)) } "." },
            }
        }
    }
}

/// How many signatures are there, where it takes more than one.
fn signatures(known: &Known) -> Markup {
    let Approvals { given, needed, .. } = &known.approvals;
    html! {
        @if *needed > 1 {
            p {
                strong { (given.len()) " of " (needed) " signatures" } " are there"
                @for (at, by) in given.iter().enumerate() { @if at == 0 { ": " } @else { ", " } (name(by)) } "."
            }
        }
    }
}

fn steps(plan: &Plan) -> Markup {
    html! {
        ol class="steps" {
            @for step in &plan.steps {
                li {
                    code { (name(&step.id)) } " " span { (line(&step.title, 240)) }
                    @match (&step.undo, step.reversibility) {
                        (_, Reversibility::Pivot) => (chip(Tone::Bad, "no way back past this")),
                        (Some(undo), _) => span class="quiet undo" { "undone by: " (line(undo, 200)) },
                        (None, _) => {},
                    }
                }
            }
        }
    }
}

fn decisions(known: &Known, now: crate::model::Timestamp) -> Markup {
    html! {
        @if known.decisions.is_empty() {
            p class="nothing" { "Nobody has decided yet." }
        } @else {
            table class="list" {
                (columns(&["Who", "Said", "Why", "Signature", "Over", "Until"]))
                tbody {
                    @for (signed, holds) in &known.decisions {
                        @let decision = &signed.decision;
                        tr {
                            td data-label="Who" { (name(&decision.approver)) }
                            td data-label="Said" {
                                @match decision.verdict {
                                    DecisionVerdict::Approve => (chip(Tone::Good, "approve")),
                                    DecisionVerdict::Reject => (chip(Tone::Bad, "reject")),
                                }
                            }
                            td data-label="Why" {
                                @match &decision.reason {
                                    Some(reason) => (line(reason, 500)),
                                    None => span class="quiet" { "no reason given" }
                                }
                            }
                            td data-label="Signature" {
                                @if *holds { (chip(Tone::Good, "verified now")) } @else { (chip(Tone::Bad, "does not hold")) }
                            }
                            td data-label="Over" { (short(&decision.subject_sha256)) }
                            td data-label="Until" { (moment(now, decision.expires_at)) }
                        }
                    }
                }
            }
        }
        @if known.gates_now.iter().any(|gate| gate.verdict != crate::model::Verdict::Pass) {
            h3 { "Gates as they are now" }
            ul class="plain" { @for gate in known.gates_now.iter().filter(|gate| gate.verdict != crate::model::Verdict::Pass) {
                li { (verdict(gate.verdict)) " " (name(&gate.gate)) ": " (line(&gate.reason, 240)) }
            } }
        }
    }
}
