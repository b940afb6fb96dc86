//! The page of a decision of any kind but a plan, which has its own: the document as the terminal shows it, from the very bytes that are
//! signed, and the form that has a passkey sign them.

mod question;

pub use question::question;

use super::{
    Ask,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, command, count, line, name, sign, text},
};
use crate::{
    config::{Change, EnvironmentDifference},
    decisions::{Review, render, review, whole as every_field},
    engine::asked::{Asked, REASON},
    error::Result,
    model::{DecisionKind, DecisionVerdict},
};
use maud::{Markup, html};

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let asked = Asked::read(&ask.id, |field| ask.query.get(field).map(String::as_str))?;
    let title = title(&asked);
    let is_complete = !asked.signs_reason() || asked.field(REASON).is_some();
    let content = match is_complete {
        true => whole(&ask, &asked).await?,
        false => first_why(&asked),
    };
    let body = html! {
        p class="crumbs" { a href=(asked.leads_to()) { (line(&asked.leads_to(), 120)) } " / decision" }
        h1 { (line(&title, 200)) }
        (content)
    };
    Ok(Page { title, section: section(asked.kind()), follows: Follows::Told, body })
}

/// Returns a command that signs, and the page that does the same by passkey where there is one, unless that is where somebody looks.
pub fn offer(typed: &str, here: Option<&str>) -> Markup {
    let page = Asked::of_command(typed).map(|asked| asked.page()).filter(|page| Some(page.as_str()) != here);
    html! {
        (command(typed))
        @if let Some(page) = page { a class="decide" href=(page) { "Decide here" } }
    }
}

async fn whole(ask: &Ask, asked: &Asked) -> Result<Markup> {
    let engine = &ask.engine;
    let question = question(asked, engine, DecisionVerdict::Approve).await?;
    let review = review(engine, &question).await?;
    let proposal = match asked.kind() {
        // Of the text that is signed, and of none that came in since.
        DecisionKind::Configuration => engine.pending_proposal().await?.filter(|proposal| proposal.sha256 == review.subject_sha256),
        _ => None,
    };
    Ok(html! {
        (who(&review))
        div class="decision" {
            div {
                @if asked.kind() == DecisionKind::Approver {
                    p class="notice" {
                        (sign(Tone::Asks))
                        span { "Compare the fingerprint " strong { code { (line(asked.field("fingerprint").unwrap_or_default(), 40)) } }
                            " with the one that its person reads to you. Whoever holds the key of it decides from then on." }
                    }
                }
                @if let Some(proposal) = &proposal { section id="differences" { h2 { "What changes" } (differences(&proposal.differences)) } }
                section id="document" {
                    h2 { "What is signed" }
                    p class="hash" {
                        "sha256 " code class="whole" { (review.subject_sha256) } " over "
                        (count(review.document.len() as u64)) " bytes, shown here as the terminal shows them"
                    }
                    pre class="document" tabindex="0" { (text(&render(&review)?, usize::MAX)) }
                    @let every_field = every_field(&review)?;
                    @if !every_field.is_empty() {
                        pre class="document" tabindex="0" { (text(&every_field, usize::MAX)) }
                    } @else if !matches!(asked.kind(), DecisionKind::Configuration | DecisionKind::Runbook) {
                        details {
                            summary { "The very bytes" }
                            pre class="document" tabindex="0" { (text(&review.document, usize::MAX)) }
                        }
                    }
                }
            }
            aside class="action" aria-labelledby="decide" {
                h2 id="decide" { "Your decision" }
                (ask.decider.form(asked, &review.subject_sha256))
                p { "At the terminal, in the workspace's folder:" }
                (command(&asked.command()))
            }
        }
    })
}

/// Returns who may decide, and where it counts.
fn who(review: &Review) -> Markup {
    html! {
        p class="lead" {
            "needs the signature of "
            @match &review.role {
                Some(role) => { "somebody with the role " strong { (line(role, 40)) } }
                None => "any approver"
            }
            @if let Some(environment) = &review.environment { " · counts in " strong { (name(environment)) } }
        }
    }
}

/// Asks for the reason before there is anything to sign: it is part of it.
fn first_why(asked: &Asked) -> Markup {
    html! {
        p class="lead" { "The reason is part of what is signed, so it comes first." }
        form class="why" method="get" action=(asked.action()) {
            @for (field, value) in asked.fields() { input type="hidden" name=(field) value=(value); }
            label for="reason" { "Why" }
            textarea id="reason" name=(REASON) rows="3" maxlength="500" required {}
            div class="buttons" { button class="main" type="submit" { "Show what is signed" } }
        }
    }
}

/// Returns what a configuration changes, by environment and path.
pub fn differences(differences: &[EnvironmentDifference]) -> Markup {
    html! {
        @for EnvironmentDifference { environment, changes, needs_approval } in differences {
            @let is_new = changes.iter().all(|change| change.old.is_none());
            h3 {
                (name(environment)) " " @if is_new { (chip(Tone::Calm, "new")) " " }
                @if *needs_approval { (chip(Tone::Asks, "needs a signature")) }
            }
            table class="list" {
                @if is_new { (columns(&["Key", "Becomes"])) } @else { (columns(&["Key", "Is", "Becomes"])) }
                tbody { @for Change { path, old, new } in changes {
                    tr {
                        th scope="row" { (line(path.strip_prefix(&format!("environments.{environment}.")).unwrap_or(path), 200)) }
                        @if !is_new { td data-label="Is" { (value(old.as_deref())) } }
                        td data-label="Becomes" { (value(new.as_deref())) }
                    }
                } }
            }
        }
    }
}

fn value(value: Option<&str>) -> Markup {
    html! { @match value { Some(value) => code { (line(value, usize::MAX)) }, None => span class="quiet none" { "nothing" } } }
}

fn title(asked: &Asked) -> String {
    let of = |name: &str| asked.field(name).unwrap_or_default();
    match asked.kind() {
        DecisionKind::Plan => format!("Approve or reject {}", of("plan")),
        DecisionKind::Configuration => "Put the configuration in force".into(),
        DecisionKind::SignOff => format!("Sign off {} for {}", of("fact"), of("directive")),
        DecisionKind::Runbook => format!("Publish or return {}", of("runbook")),
        DecisionKind::Approver => "Admit a passkey".into(),
        DecisionKind::Unfreeze => match asked.field("in") {
            Some(environment) => format!("Lift {} in {environment}", of("freeze")),
            None => format!("Lift {}", of("freeze")),
        },
        DecisionKind::Resolve => format!("Choose {} for {}", of("choice"), of("deployment")),
        DecisionKind::Restore => format!("Take the data of {} back", of("deployment")),
        DecisionKind::Rollback => format!("Go back to {}", of("to")),
    }
}

fn section(kind: DecisionKind) -> &'static str {
    match kind {
        DecisionKind::Plan | DecisionKind::SignOff => "/directives",
        DecisionKind::Configuration => "/configuration",
        DecisionKind::Runbook => "/runbooks",
        DecisionKind::Approver => "/people",
        DecisionKind::Unfreeze => "/freezes",
        DecisionKind::Resolve | DecisionKind::Restore | DecisionKind::Rollback => "/history",
    }
}
