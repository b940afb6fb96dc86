//! Runbooks: which place has one, and the review of one of them: what the lint says, what it says itself, what changed, and what people
//! have said of its lines.

mod comments;
mod difference;
mod export;
mod rendered;

use super::{
    Ask, Pages,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, command, count, counted, line, moment, name, short, sign, text, words},
};
use crate::{
    engine::{
        asked::Asked,
        lint::{Finding, Level, RULES, score},
        markdown::Document,
        runbook_comments::Commented,
    },
    error::{Error, Result},
    model::{DecisionVerdict, RunbookId, Timestamp, Who},
    store::{RunbookReview, RunbookState, RunbookVersion},
};
use axum::Router;
use maud::{Markup, html};
use std::sync::Arc;

/// How many characters of a runbook a page shows; a longer one is read as a file.
const MOST: usize = 24_000;
/// How many versions a page lists, and how many reviews.
const VERSIONS: u32 = 20;

/// Returns the routes beside the pages: the files of a version, and comments.
pub fn routes(pages: Arc<Pages>) -> Router {
    export::routes(pages.registry.clone()).merge(comments::routes(pages))
}

/// Makes the list.
pub async fn list(ask: Ask) -> Result<Page> {
    let mut found = Vec::new();
    for place in ask.engine.overview().await?.places {
        let id = RunbookId::of(&place.environment, &place.service);
        if let Some(newest) = ask.engine.store.newest_runbook_version(&id).await? {
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
    Ok(Page { title: "Runbooks".into(), section: "/runbooks", follows: Follows::Not, body })
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

/// Makes the page of one; `version` names another than the newest, `against` the one it is compared with.
pub async fn page(ask: Ask) -> Result<Page> {
    let id = RunbookId::from(ask.id.as_str());
    let store = &ask.engine.store;
    let named = |field: &str| ask.asked(field).and_then(|version| version.parse::<i64>().ok());
    let none = || Error::not_found("runbook", &id);
    let newest = &store.newest_runbook_version(&id).await?.ok_or_else(none)?;
    let shown = &store.runbook_version(&id, named("version").unwrap_or(newest.version)).await?.ok_or_else(none)?;
    // Those around the one that is shown, unless that is among the newest.
    let upto = if shown.version + i64::from(VERSIONS) > newest.version { newest.version } else { shown.version + i64::from(VERSIONS / 2) };
    let versions = store.runbook_versions(&id, upto, VERSIONS).await?;
    let against = named("against").unwrap_or(shown.version - 1);
    let before = store.runbook_version(&id, against).await?.filter(|before| before.version != shown.version);
    let reviews = store.runbook_reviews(&id, VERSIONS).await?;
    let comments = ask.engine.runbook_comments(&id).await?;
    let findings: Vec<Finding> = serde_json::from_value(shown.lint.clone()).unwrap_or_default();
    let open = comments.iter().filter(|commented| commented.comment.version == shown.version).count();
    let body = html! {
        p class="crumbs" { a href="/runbooks" { "Runbooks" } " / " (line(id.as_str(), 120)) }
        div class="title" { h1 { (line(id.as_str(), 120)) " version " (shown.version) } (state(shown.state)) }
        p class="lead" {
            "drafted " (moment(ask.now, shown.created_at)) " by " (line(&shown.created_by, 40))
            @if let Some(deployment) = &shown.deployment { " from " a href={ "/deployments/" (deployment) } { (deployment) } }
            " · sha256 " (short(&shown.sha256)) " · lint " (score(&findings)) " of 100"
            @if open > 0 { " · " (counted(open, "comment")) }
            " · " a href={ "/runbooks/" (id) "/v" (shown.version) ".md" } { "Markdown" }
            " · " a href={ "/runbooks/" (id) "/v" (shown.version) ".json" } { "JSON" }
        }
        @if shown.state == RunbookState::InReview {
            aside class="action" {
                h2 { "Your review" }
                @let asked = Asked::of_runbook(&id);
                // Nobody signs here what is not all shown here.
                @if shown.text.len() <= MOST { (ask.decider.form(&asked, &shown.sha256)) } @else {
                    p { "It is longer than this page shows: " a href=(asked.page()) { "read all of it, and decide there" } "." }
                }
                p { "Or type in the workspace's folder:" }
                (command(&format!("interlock runbook publish {id}")))
                (command(&format!("interlock runbook return {id} --reason \"…\"")))
            }
        }
        section { h2 { "Lint" } (lint(&findings)) }
        @if let Some(before) = &before { section class="changes" {
            h2 { "What changed since version " (before.version) }
            (difference::difference(&before.text, &shown.text))
        } }
        section class="runbook" { h2 { "Runbook" } (document(&ask, shown, &comments)) }
        @if shown.version == newest.version { section { h2 { "Comment on a line" } (comments::form(&ask, &id, newest)) } }
        (earlier(ask.now, shown, &comments))
        section { h2 { "The exact text" } (exact(&id, shown, newest)) }
        @if !reviews.is_empty() {
            section { h2 { "Reviews" } ul class="plain" { @for review in &reviews { (reviewed(ask.now, review)) } } }
        }
        @if newest.version > 1 { section { h2 { "Versions" } ul class="plain" { @for version in &versions {
            li {
                a href={ "/runbooks/" (id) "?version=" (version.version) } { "version " (version.version) } " "
                (state(version.state)) " " span class="quiet" { (moment(ask.now, version.created_at)) }
                @if version.version != shown.version {
                    " " a href={ "/runbooks/" (id) "?version=" (shown.version) "&against=" (version.version) } { "compare with this" }
                }
            }
        } }
        @if newest.version > VERSIONS.into() {
            p class="quiet" { (VERSIONS) " of " (count(newest.version as u64)) "; " code { "?version=1" } " in the address is the first." }
        }
        } }
    };
    Ok(Page { title: format!("Runbook {id}"), section: "/runbooks", follows: Follows::Record, body })
}

/// Shows the text as it reads, each comment on it below the block it is about.
fn document(ask: &Ask, shown: &RunbookVersion, comments: &[Commented]) -> Markup {
    if shown.text.len() > MOST {
        return html! { p class="nothing" { "It has " (shown.text.len()) " bytes, and is read as a file." } };
    }
    let document = match Document::read(&shown.text, 1) {
        Ok(document) => document,
        Err(refused) => return html! { p class="nothing" { "It is shown as text alone: " (refused.to_string()) "." } },
    };
    let of_version = || comments.iter().filter(|commented| commented.comment.version == shown.version);
    let first = document.blocks.first().map_or(usize::MAX, |block| block.line);
    let beside = |from: usize, to: usize| {
        let is_here = |line: i64| (from..to).contains(&(line as usize)) || from == first && (line as usize) < first;
        let here = of_version().filter(|commented| is_here(commented.comment.line));
        html! { @for commented in here { (comments::comment(ask.now, commented)) } }
    };
    html! {
        p class="fence-label" { (sign(Tone::Calm)) "from the record; notes of the agent are marked in it" }
        @if let Some(front) = &document.front { pre tabindex="0" { (text(front, MOST)) } }
        div class="document" { (rendered::rendered(&document, &beside)) }
    }
}

/// Shows the bytes that are signed, line by line, with what leads to the form for each.
fn exact(id: &RunbookId, shown: &RunbookVersion, newest: &RunbookVersion) -> Markup {
    let is_cut = shown.text.len() > MOST;
    html! {
        details {
            summary { "as it is signed, with its lines" }
            @if is_cut {
                pre class="document" tabindex="0" { (text(&shown.text, MOST)) }
            } @else {
                pre class="document numbered" tabindex="0" { @for (at, said) in shown.text.lines().enumerate() {
                    @let number = at + 1;
                    span id={ "L" (number) } {
                        @if shown.version == newest.version {
                            a href={ "/runbooks/" (id) "?line=" (number) "#comment" } { (number) }
                        } @else { (number) }
                    }
                    " " (text(said, MOST)) "\n"
                } }
            }
        }
    }
}

/// Shows what was said of other versions.
fn earlier(now: Timestamp, shown: &RunbookVersion, comments: &[Commented]) -> Markup {
    let others: Vec<_> = comments.iter().filter(|commented| commented.comment.version != shown.version).collect();
    html! {
        @if !others.is_empty() {
            section { h2 { "Comments on other versions" } @for commented in others { (comments::comment(now, commented)) } }
        }
    }
}

fn reviewed(now: Timestamp, review: &RunbookReview) -> Markup {
    html! { li {
        "version " (review.version) ": " strong { (name(&review.reviewer)) }
        @match review.verdict { DecisionVerdict::Approve => " published it", DecisionVerdict::Reject => " returned it" }
        @if let Some(reason) = &review.reason { ": " (line(reason, 500)) }
        " " span class="quiet" { (moment(now, review.reviewed_at)) }
    } }
}

/// Shows what the lint found, by rule, with what to do and which side can.
fn lint(findings: &[Finding]) -> Markup {
    let blocking = findings.iter().filter(|finding| finding.level == Level::Block).count();
    let asks = |rule: &str| RULES.iter().find(|(known, _)| *known == rule).map_or("", |(_, asks)| asks);
    html! {
        @if findings.is_empty() { p { (chip(Tone::Good, "no finding")) } } @else {
            p {
                @match blocking {
                    0 => (chip(Tone::Asks, counted(findings.len(), "warning"))),
                    1 => (chip(Tone::Bad, "1 finding keeps it from review")),
                    many => (chip(Tone::Bad, format!("{many} findings keep it from review"))),
                }
            }
            table class="list" {
                (columns(&["Rule", "Line", "What", "Fix", "Side"]))
                tbody { @for finding in findings { tr {
                    td data-label="Rule" {
                        (chip(if finding.level == Level::Block { Tone::Bad } else { Tone::Asks }, line(&finding.rule, 20)))
                        span class="by quiet" { (line(asks(&finding.rule), 120)) }
                    }
                    td data-label="Line" { a href={ "#L" (finding.line) } { (finding.line) } }
                    td data-label="What" { (line(&finding.message, 300)) }
                    td data-label="Fix" { (line(&finding.fix, 200)) }
                    td data-label="Side" {
                        @match finding.side {
                            Who::Agent => "the agent", Who::Person => "a person", Who::Server => "the server", Who::Ci => "the CI",
                        }
                    }
                } } }
            }
        }
    }
}
