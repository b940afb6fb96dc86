//! What customers felt: the downtime, the share each release had, and requests, errors and latency beside each other.

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

/// A figure of a set: its word, what its bar shows, and how it is said.
type Column = (&'static str, fn(&SetSample) -> f64, fn(&SetSample) -> String);

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

/// Returns both releases beside each other.
pub fn releases(report: &Report, felt: Option<&Felt>) -> Markup {
    let Some((sample, _)) = felt else { return html! {} };
    let old = report.plan.base.as_ref().map(|base| base.version.as_str()).zip(sample.old.as_ref());
    let sets: Vec<(&str, &SetSample, bool)> =
        [Some((report.plan.version.as_str(), &sample.new, true)), old.map(|(version, set)| (version, set, false))]
            .into_iter()
            .flatten()
            .collect();
    let most = |value: fn(&SetSample) -> f64| sets.iter().map(|(_, set, _)| value(set)).fold(0.0, f64::max);
    let columns: [Column; 3] = [
        ("Requests", |set| set.requests as f64, |set| count(set.requests)),
        (
            "Errors",
            |set| error_percent(set).unwrap_or(0.0),
            |set| error_percent(set).map_or("–".into(), |percent| format!("{percent:.2} %")),
        ),
        ("p95", |set| set.p95_ms().unwrap_or(0) as f64, |set| set.p95_ms().map_or("–".into(), |ms| format!("{ms} ms"))),
    ];
    html! {
        table class="list releases" {
            thead { tr { th scope="col" { "Release" } @for (word, ..) in &columns { th scope="col" { (word) } } } }
            tbody {
                @for (version, set, is_new) in &sets {
                    tr {
                        th scope="row" { (line(version, 60)) " " span class="quiet" { @if *is_new { "new" } @else { "before" } } }
                        @for (word, value, said) in &columns {
                            td data-label=(word) { (bar(value(set), most(*value), *is_new)) span { (said(set)) } }
                        }
                    }
                }
            }
        }
    }
}

/// A bar beside its number, which says the same.
fn bar(value: f64, most: f64, is_new: bool) -> Markup {
    let width = if most > 0.0 { (value / most * 100.0).round() } else { 0.0 };
    html! {
        svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect class=(if is_new { "new" } else { "rest" }) x="0" y="0" width=(width) height="8" {}
        }
    }
}

fn error_percent(set: &SetSample) -> Option<f64> {
    (set.requests > 0).then(|| set.errors as f64 * 100.0 / set.requests as f64)
}
