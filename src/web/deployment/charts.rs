//! Small pictures of what both releases did: requests, errors and p95 as bars, and how long answers took as curves. Each number stands
//! beside its bar, a curve says in words what it shows, and no set is told from the other by colour alone.

use crate::{
    engine::report::Report,
    model::{
        analysis::{Sample, SetSample},
        text::visible_line,
    },
    web::shown::{count, line},
};
use maud::{Markup, html};
use std::fmt::Write;

/// A point of a curve is drawn where it is so far from the one before, in hundredths of the picture: at most 200 of them, whatever was counted.
const STEP: f64 = 1.0;

/// A release, and what it did.
struct Set<'a> {
    version: &'a str,
    is_new: bool,
    did: &'a SetSample,
}

/// A figure of each release: its word, the value of a bar, how it is said, and the limit it is held against, in its unit.
struct Figure {
    word: &'static str,
    value: fn(&SetSample) -> Option<f64>,
    said: fn(f64) -> String,
    unit: &'static str,
    limit: Option<f64>,
}

/// Returns both releases beside each other.
pub fn charts(report: &Report, sample: &Sample) -> Markup {
    let plan = &report.plan;
    let old = plan.base.as_ref().zip(sample.old.as_ref()).map(|(base, did)| Set { version: &base.version, is_new: false, did });
    let sets: Vec<Set<'_>> = [Some(Set { version: &plan.version, is_new: true, did: &sample.new }), old].into_iter().flatten().collect();
    let figures = [
        Figure { word: "Requests", value: |did| Some(did.requests as f64), said: |value| count(value as u64), unit: "", limit: None },
        Figure {
            word: "Errors",
            value: error_percent,
            said: |value| format!("{value:.2} %"),
            unit: "%",
            limit: Some(f64::from(plan.watch.error_percent)),
        },
        Figure {
            word: "p95",
            value: |did| did.p95_ms().map(|ms| ms as f64),
            said: |value| format!("{value} ms"),
            unit: "ms",
            limit: Some(plan.watch.p95_ms as f64),
        },
    ];
    html! {
        div class="charts" {
            @for figure in &figures { (bars(figure, &sets)) }
            (curves(&sets, plan.watch.min_samples))
        }
    }
}

/// Returns errors in percent; none without requests.
pub fn error_percent(did: &SetSample) -> Option<f64> {
    (did.requests > 0).then(|| did.errors as f64 * 100.0 / did.requests as f64)
}

fn named(set: &Set<'_>) -> Markup {
    html! { (line(set.version, 40)) " " span class="quiet" { @if set.is_new { "new" } @else { "before" } } }
}

fn bars(figure: &Figure, sets: &[Set<'_>]) -> Markup {
    let values = || sets.iter().filter_map(|set| (figure.value)(set.did));
    // A limit far beyond what was seen would make every bar a dot: it is said, and drawn only where it is near.
    let most = values().fold(0.0, f64::max);
    let near = figure.limit.filter(|limit| *limit <= most * 4.0);
    let whole = near.map_or(most, |limit| most.max(limit * 1.1));
    let at = |value: f64| if whole > 0.0 { (value / whole * 1_000.0).round() / 10.0 } else { 0.0 };
    html! {
        figure class="chart" {
            figcaption { (figure.word) @if let Some(limit) = figure.limit { span class="quiet" { "limit " (limit) " " (figure.unit) } } }
            @for set in sets {
                @let value = (figure.value)(set.did);
                div class="set" { span { (named(set)) } strong { @match value { Some(value) => ((figure.said)(value)), None => "–" } } }
                svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                    rect class="rail" x="0" y="0" width="100" height="8" {}
                    rect class=(if set.is_new { "new" } else { "rest" }) x="0" y="0" width=(value.map_or(0.0, at)) height="8" {}
                    @if let Some(limit) = near { path class="limit" d={ "M" (at(limit)) " 0V8" } {} }
                }
            }
        }
    }
}

/// Returns how many of the requests were answered within how long, of each release that had as many as are judged: fewer make no curve.
fn curves(sets: &[Set<'_>], fewest: u64) -> Markup {
    let drawn: Vec<&Set<'_>> = sets.iter().filter(|set| set.did.latency_ms.values().sum::<u64>() >= fewest.max(1)).collect();
    let Some(longest) = drawn.iter().filter_map(|set| set.did.latency_ms.keys().next_back()).max() else { return html! {} };
    let words: Vec<String> = drawn.iter().map(|set| in_words(set)).collect();
    html! {
        figure class="chart wide" {
            figcaption {
                "Answered within"
                span class="keys" { @for set in &drawn { span class={ "key " (if set.is_new { "new" } else { "rest" }) } { (named(set)) } } }
            }
            svg class="curve" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label=(words.join(" ")) {
                path class="guide" d="M0 5H100M0 50H100M0 100H100" {}
                @for set in drawn.iter().rev() {
                    path class=(if set.is_new { "new" } else { "rest" }) d=(curve(set.did, *longest)) {}
                }
            }
            div class="set quiet" { span { "0 ms" } span { "lines: 50 % and 95 %" } span { (longest) " ms" } }
        }
    }
}

fn in_words(set: &Set<'_>) -> String {
    let requests: u64 = set.did.latency_ms.values().sum();
    let within = |percent: u64| set.did.at_rank((requests * percent).div_ceil(100)).unwrap_or_default();
    let version = visible_line(set.version, 40);
    format!("{version}: half of the requests within {} ms, 95 % within {} ms, all within {} ms.", within(50), within(95), within(100))
}

/// Returns the line of the share that was answered, over the time on a logarithmic scale, in a square of 100 whose origin is above.
fn curve(did: &SetSample, longest: u64) -> String {
    let (all, widest) = (did.latency_ms.values().sum::<u64>().max(1) as f64, ((1 + longest.max(1)) as f64).ln());
    // None is answered before the fastest.
    let at = |ms: u64| ((1 + ms) as f64).ln() / widest * 100.0;
    let fastest = at(did.latency_ms.keys().next().copied().unwrap_or(0));
    let (mut path, mut answered, mut last) = (format!("M0 100H{fastest:.1}"), 0, (0.0, 100.0));
    let end = did.latency_ms.keys().next_back();
    for (bound, requests) in &did.latency_ms {
        answered += requests;
        let (x, y) = (at(*bound), 100.0 - answered as f64 / all * 100.0);
        if x - last.0 >= STEP || last.1 - y >= STEP || Some(bound) == end {
            let _ = write!(path, "L{x:.1} {y:.1}");
            last = (x, y);
        }
    }
    path + "L100 0"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(latency_ms: &[(u64, u64)], errors: u64) -> SetSample {
        let requests = latency_ms.iter().map(|(_, count)| count).sum();
        SetSample { requests, errors, latency_ms: latency_ms.iter().copied().collect(), restarts: None }
    }

    #[test]
    fn a_curve_rises_from_nothing_to_all_and_keeps_within_its_picture() {
        assert_eq!(curve(&did(&[(9, 1), (99, 3)], 0), 99), "M0 100H50.0L50.0 75.0L100.0 0.0L100 0");
        assert_eq!(curve(&did(&[(0, 20)], 0), 0), "M0 100H0.0L0.0 0.0L100 0");
        let many: Vec<(u64, u64)> = (1..=20_000).map(|ms| (ms, 1 + ms % 7)).collect();
        let path = curve(&did(&many, 0), 30_000);
        assert!(path.len() < 3_000, "{} bytes", path.len());
        let number = |part: &str| part.parse::<f64>().unwrap();
        let points = path.split('L').skip(1).map(|point| point.split_once(' ').unwrap());
        let points: Vec<(f64, f64)> = points.map(|(x, y)| (number(x), number(y))).collect();
        assert!(points.len() > 50 && points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1), "{points:?}");
        assert!(points.iter().all(|(x, y)| (0.0..=100.0).contains(x) && (0.0..=100.0).contains(y)), "{points:?}");
        assert_eq!(points.last().unwrap().1, 0.0);
    }

    #[test]
    fn what_a_picture_shows_stands_beside_it_in_words_and_nothing_is_nothing() {
        let (new, old, none) = (did(&[(4, 19), (80, 1)], 1), did(&[(2, 10)], 0), did(&[], 0));
        let set = |did, is_new| Set { version: "<1>", is_new, did };
        let shown = curves(&[set(&new, true), set(&old, false)], 10).0;
        assert!(shown.contains("&lt;1&gt;: half of the requests within 4 ms, 95 % within 4 ms, all within 80 ms."), "{shown}");
        assert!(shown.contains("half of the requests within 2 ms"), "{shown}");
        assert!(!curves(&[set(&new, true), set(&old, false)], 11).0.contains("within 2 ms"), "too few make no curve");
        assert_eq!((curves(&[set(&new, true)], 21).0, curves(&[set(&none, true)], 0).0), (String::new(), String::new()));
        let errors = Figure { word: "Errors", value: error_percent, said: |value| format!("{value:.2} %"), unit: "%", limit: Some(5.0) };
        let shown = bars(&errors, &[set(&new, true), set(&none, false)]).0;
        assert!(
            shown.contains("<strong>5.00 %</strong>") && shown.contains("<strong>–</strong>") && shown.contains("limit 5 %"),
            "{shown}"
        );
        assert!(shown.contains("class=\"limit\" d=\"M90.9 0V8\""), "{shown}");
        // One that is far away is said, and would only make dots of the bars.
        let far = Figure { limit: Some(50.0), ..errors };
        assert!(!bars(&far, &[set(&new, true)]).0.contains("class=\"limit\""));
        assert!(bars(&far, &[set(&none, true)]).0.contains("width=\"0\""));
    }
}
