//! What waits for a person, the oldest first, each with where to look and what to type.

use super::{
    decide::offer,
    shown::{Tone, counted, line, moment, name, sign},
};
use crate::{
    decisions::{Enrolment, passkeys},
    engine::{Engine, freezing, status::Place, stuck},
    error::Result,
    model::{Choice, DeploymentState, PlanState, RunbookId, Timestamp},
    store::RunbookState,
};
use maud::{Markup, html};
use std::{collections::BTreeSet, sync::Arc};

/// Something that waits for a person.
pub struct Waiting {
    /// What it asks for: `Approve or reject`.
    asks: &'static str,
    /// What it is about.
    about: Markup,
    /// Its page.
    page: Option<String>,
    /// Since when, where that is known.
    since: Option<Timestamp>,
    /// Until when.
    until: Option<Timestamp>,
    /// What to type.
    command: String,
}

/// Returns what waits for a person.
pub async fn waiting(engine: &Arc<Engine>, places: &[Place], now: Timestamp) -> Result<Vec<Waiting>> {
    let mut waiting = plans(engine, now).await?;
    waiting.extend(stopped(engine).await?);
    waiting.extend(configuration(engine).await?);
    waiting.extend(passkeys(engine).await?);
    waiting.extend(sign_offs(engine).await?);
    waiting.extend(runbooks(engine, places).await?);
    waiting.extend(freezes(engine, places, now).await?);
    waiting.sort_by_key(|one| one.since.unwrap_or_default());
    Ok(waiting)
}

async fn plans(engine: &Engine, now: Timestamp) -> Result<Vec<Waiting>> {
    let plans = engine.store.plans_in(PlanState::AwaitingApproval).await?;
    let open = plans.into_iter().filter(|record| record.request_expires_at.is_none_or(|until| until > now));
    let asked = |record: crate::store::PlanRecord| {
        let from = record.plan.base.as_ref().map_or("nothing", |base| base.version.as_str());
        Waiting {
            asks: "Approve or reject",
            about: html! {
                (name(&record.plan.service)) " " (line(from, 60)) " → " (line(&record.plan.version, 60)) " in "
                (name(&record.plan.environment))
            },
            page: Some(format!("/plans/{}", record.id)),
            since: Some(record.created_at),
            until: record.request_expires_at,
            command: format!("interlock approve {}", record.id),
        }
    };
    Ok(open.map(asked).collect())
}

async fn stopped(engine: &Arc<Engine>) -> Result<Vec<Waiting>> {
    let mut waiting = Vec::new();
    for deployment in engine.store.occupying().await? {
        if !matches!(deployment.state, DeploymentState::Stuck | DeploymentState::Paused) {
            continue;
        }
        let Some(known) = engine.stuck(&deployment).await? else { continue };
        waiting.push(Waiting {
            asks: "Choose how it goes on",
            about: html! {
                (name(&deployment.service)) " " (line(&deployment.version, 60)) " in " (name(&deployment.environment))
                ": " (line(&known.unknown, 160))
            },
            page: Some(format!("/deployments/{}", deployment.id)),
            since: Some(deployment.updated_at),
            until: None,
            // Which choice is theirs to say, beside what is known and what is not.
            command: stuck::command(&deployment.id, Choice::Retry).replace(Choice::Retry.word(), "CHOICE"),
        });
    }
    Ok(waiting)
}

async fn configuration(engine: &Engine) -> Result<Option<Waiting>> {
    let Some(proposal) = engine.pending_proposal().await? else { return Ok(None) };
    let environments: Vec<String> = proposal.environments.iter().map(ToString::to_string).collect();
    let changes = proposal.differences.iter().map(|difference| difference.changes.len()).sum();
    let since = engine.store.revision(proposal.revision).await?.map(|record| record.created_at);
    Ok(Some(Waiting {
        asks: "Sign the configuration",
        about: html! { "revision " (proposal.revision) " in " (line(&environments.join(", "), 120)) ", " (counted(changes, "change")) },
        page: Some("/configuration".into()),
        since,
        until: None,
        command: "interlock apply".into(),
    }))
}

async fn passkeys(engine: &Engine) -> Result<Vec<Waiting>> {
    let waits = |enrolment: Enrolment| Waiting {
        asks: "Compare a fingerprint",
        about: html! { "the passkey of " (name(&enrolment.name)) ", " (line(&enrolment.role, 60)) },
        page: Some("/people".into()),
        since: None,
        until: None,
        command: format!("interlock approver admit {}", enrolment.public_key.fingerprint()),
    };
    Ok(passkeys::waiting(engine).await?.into_iter().map(waits).collect())
}

async fn sign_offs(engine: &Engine) -> Result<Vec<Waiting>> {
    let mut waiting = Vec::new();
    for directive in engine.store.open_directives().await? {
        for gate in engine.store.verdicts(&directive.id).await? {
            if !gate.asks_a_person() {
                continue;
            }
            waiting.push(Waiting {
                asks: "Look at a gate",
                about: html! {
                    (name(&gate.gate)) " for " (name(&directive.service)) " " (line(&directive.version, 60)) ": "
                    (line(gate.needs.as_deref().unwrap_or(&gate.reason), 160))
                },
                page: Some(format!("/directives/{}", directive.id)),
                since: Some(gate.checked_at),
                until: None,
                command: gate.how.unwrap_or_else(|| format!("interlock get-status {}", directive.id)),
            });
        }
    }
    Ok(waiting)
}

async fn runbooks(engine: &Engine, places: &[Place]) -> Result<Vec<Waiting>> {
    let mut waiting = Vec::new();
    for place in places {
        let id = RunbookId::of(&place.environment, &place.service);
        let Some(newest) = engine.store.newest_runbook_version(&id).await? else { continue };
        if newest.state == RunbookState::InReview {
            waiting.push(Waiting {
                asks: "Review a runbook",
                about: html! { (name(&place.service)) " in " (name(&place.environment)) ", version " (newest.version) },
                page: Some(format!("/runbooks/{id}")),
                since: Some(newest.created_at),
                until: None,
                command: format!("interlock runbook publish {id}"),
            });
        }
    }
    Ok(waiting)
}

/// A freeze that the server itself has declared waits for somebody who looks; one that people declared is their own.
async fn freezes(engine: &Engine, places: &[Place], now: Timestamp) -> Result<Vec<Waiting>> {
    let mut waiting = Vec::new();
    let environments: BTreeSet<_> = places.iter().map(|place| &place.environment).collect();
    for environment in environments {
        for frozen in engine.store.active_freezes(environment, now).await? {
            if frozen.freeze.created_by != "server" {
                continue;
            }
            waiting.push(Waiting {
                asks: "Look, then let it go on",
                about: html! { (name(environment)) " is frozen: " (line(&frozen.freeze.reason, 160)) },
                page: Some("/freezes".into()),
                since: frozen.freeze.created_at,
                until: frozen.until,
                command: freezing::command(&frozen.freeze.id),
            });
        }
    }
    Ok(waiting)
}

/// Returns them as a list.
pub fn list(waiting: &[Waiting], now: Timestamp) -> Markup {
    html! {
        @if waiting.is_empty() {
            p class="nothing" { (sign(Tone::Good)) "Nothing waits for a person." }
        } @else {
            ul class="inbox" {
                @for one in waiting {
                    li {
                        div {
                            strong class="asks-for" { (sign(Tone::Asks)) (one.asks) }
                            @match &one.page {
                                Some(page) => a class="row" href=(page) { (one.about) },
                                None => span { (one.about) },
                            }
                            span class="quiet" {
                                @if let Some(since) = one.since { "asked " (moment(now, since)) }
                                @if let Some(until) = one.until { " · expires " (moment(now, until)) }
                            }
                        }
                        div { (offer(&one.command, one.page.as_deref())) }
                    }
                }
            }
        }
    }
}
