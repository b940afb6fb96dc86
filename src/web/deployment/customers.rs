//! What customers felt: the downtime, the figures that matter most, and the share each release had.

use super::charts::error_percent;
use crate::{
    engine::{report::Report, status::Course},
    model::{
        Deployment, DeploymentState, Timestamp,
        analysis::{Sample, SetSample},
    },
    web::shown::{Tone, chip, count, lasting, line},
};
use maud::{Markup, html};

/// What customers felt: both sets since traffic moved, and the downtime; none when traffic never moved.
pub type Felt = (Sample, u64);

/// Returns the figures that matter most.
pub fn tiles(deployment: &Deployment, report: &Report, felt: Option<&Felt>, now: Timestamp) -> Markup {
    let new = felt.map(|(sample, _)| &sample.new);
    let took = deployment.settled_at.unwrap_or(now).since(deployment.created_at);
    html! {
        dl class="tiles" {
            div { dt { "Downtime" } dd { @match felt {
                None => span class="quiet" { "traffic never moved" },
                Some((_, 0)) => (chip(Tone::Good, "none measured")),
                Some((_, failed)) => (chip(Tone::Bad, format!("{} failed requests", count(*failed)))),
            } } }
            div { dt { "Requests" } dd { @match new { Some(set) => (count(set.requests)), None => "–" } } }
            div { dt { "Errors" } dd { @match new.and_then(error_percent) { Some(percent) => (format!("{percent:.2} %")), None => "–" } } }
            div { dt { "p95" } dd { @match new.and_then(SetSample::p95_ms) { Some(ms) => { (ms) " ms" }, None => "–" } } }
            div { dt { @if deployment.settled_at.is_some() { "Took" } @else { "Runs for" } } dd { (lasting(took)) } }
            @if let Some(ms) = report.rollback_ms() { div { dt { "Back within" } dd { (lasting(std::time::Duration::from_millis(ms))) } } }
        }
    }
}

/// Returns a picture of who gets the traffic now, and the same in words.
pub fn split(deployment: &Deployment, report: &Report, course: &Course) -> Markup {
    let share = match deployment.state {
        DeploymentState::RolledBack => 0,
        DeploymentState::Succeeded if deployment.rolled_back_by.is_some() => 0,
        DeploymentState::Succeeded => 100,
        _ if deployment.unshifted_at.is_some() => 0,
        _ => course.share.unwrap_or(0).min(100),
    };
    let old = report.plan.base.as_ref().map(|base| base.version.clone());
    let rest = 100 - share;
    let tense = match deployment.state.is_settled() {
        true if deployment.rolled_back_by.is_some() => "since it was taken back",
        true => "when it settled",
        false => "now",
    };
    html! {
        figure class="split" {
            svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-labelledby="split-words" {
                rect class="rest" x="0" y="0" width="100" height="8" {}
                @if share > 0 { rect class="new" x="0" y="0" width=(share) height="8" {} }
            }
            figcaption id="split-words" {
                span class="key new" { (line(&deployment.version, 60)) " " strong { (share) " %" } }
                span class="key rest" { @match &old { Some(old) => (line(old, 60)), None => "nothing" } " " strong { (rest) " %" } }
                span class="quiet" { "of the traffic, " (tense) }
            }
        }
    }
}
