//! Figures of how deployments go, from the record alone; what the record does not know is unknown, and says what it needs.

use super::{
    Ask,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, columns, command, count, lasting, line, moment, sign, words},
};
use crate::{
    engine::metrics::{
        Asker, By, GroupFigures, NEWEST, Selection,
        figure::{Figure, Rating, Unit},
    },
    error::{Error, Result},
};
use maud::{Markup, html};
use std::time::Duration;

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let days = match ask.asked("days").map(str::parse) {
        None => 30,
        Some(Ok(days @ 1..=366)) => days,
        Some(_) => return Err(Error::invalid("`days` is 1 to 366")),
    };
    let asked = Selection::of_days(ask.now, days);
    let selection = ask.engine.lately(asked.clone()).await?;
    let places = By { service: true, environment: true, caller: false };
    let callers = By { service: false, environment: false, caller: true };
    let (whole, parts) = ask.engine.metrics_and_parts(&selection, &[places, callers]).await?;
    let (of_callers, of_places): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.group.caller.is_some());
    let body = html! {
        h1 { "Figures" }
        p class="lead" {
            "Of what settled in the last " (days) " days, from the record alone. " code { "docs/metrics.md" }
            " has each formula."
        }
        form method="get" class="filter" {
            label { "days " select name="days" { @for one in [7, 30, 90, 366] { option value=(one) selected[one == days] { (one) } } } }
            button type="submit" { "Show" }
        }
        @if selection != asked {
            p class="notice" {
                (sign(Tone::Asks))
                span {
                    "More than " (count(NEWEST.into())) " deployments settled in that time; here are the newest, since "
                    (moment(ask.now, selection.scope.from)) ". " (command(&format!("interlock get-metrics --days {days}"))) " counts all."
                }
            }
        }
        section { h2 { "All deployments" } (table(&whole)) }
        section {
            h2 { "Agents beside people" }
            (beside(&of_callers, |group| group.group.caller.map_or("unknown", Asker::as_str).to_owned()))
        }
        section { h2 { "Each place" } (beside(&of_places, |group| {
            let (service, environment) = (group.group.service.as_ref(), group.group.environment.as_ref());
            format!("{} in {}", service.map_or("all", |name| name.as_str()), environment.map_or("all", |name| name.as_str()))
        })) }
    };
    Ok(Page { title: "Figures".into(), section: "/figures", follows: Follows::Not, body })
}

fn table(figures: &[Figure]) -> Markup {
    html! {
        table class="list" {
            (columns(&["Figure", "#Value", "Rating", "Should be", "#Readings", "Spread"]))
            tbody { @for figure in figures { tr {
                th scope="row" { (words(figure.name)) }
                td data-label="Value" class="number" { (value(figure)) }
                td data-label="Rating" { (rating(figure.rating)) }
                td data-label="Should be" { @match (figure.target, figure.needs) {
                    (Some(target), _) => (line(target, 80)),
                    (None, Some(needs)) if figure.value.is_none() => span class="quiet" { "needs " (line(needs, 200)) },
                    _ => "–",
                } }
                td data-label="Readings" class="number" { (figure.n) }
                td data-label="Spread" {
                    @if let Some(spread) = &figure.spread {
                        span class="quiet" { "half within " (seconds(spread.p50)) ", 95 % within " (seconds(spread.p95)) }
                    }
                    @for (rule, fired) in &figure.rules { div class="quiet" { (rule) ": " (fired) } } }
            } } }
        }
    }
}

/// Returns groups beside each other: a row for each figure that any of them knows.
fn beside(groups: &[GroupFigures], label: impl Fn(&GroupFigures) -> String) -> Markup {
    let names: Vec<&'static str> = groups.first().map(|first| first.figures.iter().map(|figure| figure.name).collect()).unwrap_or_default();
    let of = |group: &GroupFigures, name: &str| group.figures.iter().find(|figure| figure.name == name).cloned();
    let known = names.into_iter().filter(|name| groups.iter().any(|group| of(group, name).is_some_and(|figure| figure.value.is_some())));
    html! {
        @if groups.is_empty() { p class="nothing" { "Nothing has settled in this time." } } @else {
            table class="list" {
                thead {
                    tr {
                        th scope="col" { "Figure" }
                        @for group in groups { th scope="col" class="number" { (line(&label(group), 80)) } }
                    }
                }
                tbody { @for name in known { tr {
                    th scope="row" { (words(name)) }
                    @for group in groups {
                        td data-label=(label(group)) class="number" {
                            @match of(group, name) { Some(figure) => (value(&figure)), None => "–" }
                        }
                    }
                } } }
            }
        }
    }
}

fn value(figure: &Figure) -> Markup {
    let said = figure.value.map(|value| match figure.unit {
        Unit::Percent => format!("{value:.1} %"),
        Unit::Seconds => seconds(value),
        Unit::Failures => format!("{value:.0}"),
        Unit::PerDeployment => format!("{value:.2} each"),
        Unit::PerDay => format!("{value:.2} a day"),
    });
    html! { @match said { Some(said) => (said), None => span class="quiet" { "unknown" } } }
}

fn seconds(value: f64) -> String {
    lasting(Duration::from_millis((value * 1_000.0).max(0.0) as u64))
}

fn rating(rating: Rating) -> Markup {
    let tone = match rating {
        Rating::Green => Tone::Good,
        Rating::Yellow => Tone::Asks,
        Rating::Red => Tone::Bad,
        Rating::Unknown | Rating::Unrated => Tone::Calm,
    };
    chip(tone, rating.as_str())
}
