//! Runbooks: which place has one, and one of them as it would be published, with what the lint says.

use super::{
    Ask,
    decide::offer,
    layout::Page,
    shown::{Tone, chip, columns, command, counted, line, moment, name, short, sign, text, words},
};
use crate::{
    error::{Error, Result},
    model::{DecisionVerdict, RunbookId},
    store::{RunbookState, RunbookVersion},
};
use maud::{Markup, html};

/// How many characters of a runbook a page shows.
const MOST: usize = 48_000;

/// Makes the list.
pub async fn list(ask: Ask) -> Result<Page> {
    let mut found = Vec::new();
    for place in ask.engine.overview().await?.places {
        let id = RunbookId::of(&place.environment, &place.service);
        if let Some(newest) = ask.engine.store.runbook_versions(&id).await?.into_iter().max_by_key(|version| version.version) {
            found.push((place, newest));
        }
    }
    let body = html! {
        h1 { "Runbooks" }
        p class="lead" { "Drafted from the record of a deployment, held against it, and published by a person." }
        @if found.is_empty() {
            p class="nothing" { "None yet: " (command("interlock write-runbook DEPLOYMENT")) " drafts one." }
        } @else {
            table class="list" {
                (columns(&["Runbook", "Place", "Version", "State", "Drafted"]))
                tbody { @for (place, newest) in &found { tr {
                    td data-label="Runbook" { a href={ "/runbooks/" (newest.runbook) } { (newest.runbook) } }
                    td data-label="Place" { (name(&place.service)) " in " (name(&place.environment)) }
                    td data-label="Version" { (newest.version) }
                    td data-label="State" { (state(newest.state)) }
                    td data-label="Drafted" { (moment(ask.now, newest.created_at)) " by " (line(&newest.created_by, 40)) }
                } } }
            }
        }
    };
    Ok(Page { title: "Runbooks".into(), section: "/runbooks", is_live: false, body })
}

fn state(state: RunbookState) -> Markup {
    let tone = match state {
        RunbookState::Published => Tone::Good,
        RunbookState::InReview => Tone::Asks,
        RunbookState::Returned => Tone::Bad,
        RunbookState::Draft | RunbookState::Superseded => Tone::Calm,
    };
    chip(tone, words(state.as_str()))
}

/// Makes the page of one; `version` names another than the newest.
pub async fn page(ask: Ask) -> Result<Page> {
    let id = RunbookId::from(ask.id.as_str());
    let mut versions = ask.engine.store.runbook_versions(&id).await?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    let wanted: Option<i64> =
        ask.asked("version").and_then(|version| version.parse().ok()).or(versions.first().map(|newest| newest.version));
    let shown = versions.iter().find(|version| Some(version.version) == wanted).ok_or_else(|| Error::not_found("runbook", &id))?;
    let reviews = ask.engine.store.runbook_reviews(&id).await?;
    let body = html! {
        p class="crumbs" { a href="/runbooks" { "Runbooks" } " / " (line(id.as_str(), 120)) }
        div class="title" { h1 { (line(id.as_str(), 120)) " version " (shown.version) } (state(shown.state)) }
        p class="lead" {
            "drafted " (moment(ask.now, shown.created_at)) " by " (line(&shown.created_by, 40))
            @if let Some(deployment) = &shown.deployment { " from " a href={ "/deployments/" (deployment) } { (deployment) } }
            " · sha256 " (short(&shown.sha256))
        }
        @if shown.state == RunbookState::InReview {
            aside class="action" { h2 { "Your review" } p { "Type in the workspace's folder:" }
                (offer(&format!("interlock runbook publish {id}"), None)) (command(&format!("interlock runbook return {id} --reason \"…\""))) }
        }
        section { h2 { "Lint" } (lint(shown)) }
        @if !reviews.is_empty() { section { h2 { "Reviews" } ul class="plain" { @for review in &reviews {
            li {
                "version " (review.version) ": " strong { (name(&review.reviewer)) }
                @match review.verdict { DecisionVerdict::Approve => " published it", DecisionVerdict::Reject => " returned it" }
                @if let Some(reason) = &review.reason { ": " (line(reason, 500)) }
                " " span class="quiet" { (moment(ask.now, review.reviewed_at)) }
            }
        } } } }
        section {
            h2 { "Text" }
            div class="fence" {
                p class="fence-label" { (sign(Tone::Calm)) "from the record; notes of the agent are marked in it" }
                pre class="document" tabindex="0" { (text(&shown.text, MOST)) }
            }
        }
        @if versions.len() > 1 { section { h2 { "Versions" } ul class="plain" { @for version in &versions {
            li {
                a href={ "/runbooks/" (id) "?version=" (version.version) } { "version " (version.version) } " "
                (state(version.state)) " " span class="quiet" { (moment(ask.now, version.created_at)) }
            }
        } } } }
    };
    Ok(Page { title: format!("Runbook {id}"), section: "/runbooks", is_live: false, body })
}

fn lint(version: &RunbookVersion) -> Markup {
    let faults: Vec<_> = version.lint.as_array().into_iter().flatten().collect();
    let said = |fault: &serde_json::Value, field: &str| fault[field].as_str().unwrap_or_default().to_owned();
    html! {
        @if faults.is_empty() { p { (chip(Tone::Good, "no fault")) } } @else {
            p { (chip(Tone::Asks, counted(faults.len(), "fault"))) }
            ul class="plain" { @for fault in &faults {
                li {
                    code { (line(&said(fault, "rule"), 20)) } " line " (fault["line"].as_u64().unwrap_or_default())
                    ": " (line(&said(fault, "message"), 300)) " "
                    span class="quiet" { "for the " (line(&said(fault, "side"), 20)) }
                }
            } }
        }
    }
}
