//! A venture on its way through both lifecycles: the phases, the stage it stands at with what that needs, and what it has passed.

use super::{
    Ask,
    layout::Page,
    live::Follows,
    shown::{Tone, chip, command, line, name, sign, words},
};
use crate::{
    engine::{
        metrics::figure::Rating,
        ventures::{Standing, VentureView},
    },
    error::{Code, Result},
    store::{Stage, StageWork},
};
use maud::{Markup, html};

/// Makes the page of the active one.
pub async fn active(ask: Ask) -> Result<Page> {
    match ask.engine.venture_view(None).await {
        Err(error) if error.code == Code::NotFound => {
            let body = html! {
                h1 { "Ventures" }
                p class="nothing" {
                    "None yet: " (command("interlock create-venture --name NAME"))
                    " records the product that is being launched."
                }
            };
            Ok(page_of("Ventures", body))
        }
        Err(error) => Err(error),
        Ok(view) => shown(&ask, &view).await,
    }
}

/// Makes the page of one.
pub async fn page(ask: Ask) -> Result<Page> {
    let view = ask.engine.venture_view(Some(&ask.id)).await?;
    shown(&ask, &view).await
}

async fn shown(ask: &Ask, view: &VentureView) -> Result<Page> {
    let venture = &view.venture;
    let mut ways = Vec::new();
    for standing in &view.standings {
        ways.push((standing, ask.engine.store.stages(&standing.stage.lifecycle).await?));
    }
    let health = match view.health {
        Rating::Green => Tone::Good,
        Rating::Yellow => Tone::Asks,
        Rating::Red => Tone::Bad,
        Rating::Unknown | Rating::Unrated => Tone::Calm,
    };
    let body = html! {
        div class="title" { h1 { (line(&venture.name, 120)) } (chip(health, format!("health {}", view.health.as_str()))) }
        p class="lead" {
            code { (line(&venture.id, 120)) } " · " (line(&venture.status, 30))
            @if view.is_the_active_one { " · directives that name no venture belong to it" }
        }
        @for (standing, stages) in &ways {
            section {
                h2 {
                    (words(&standing.stage.lifecycle)) ": stage " (standing.stage.number) " of " (stages.len()) ", "
                    (line(&standing.stage.name, 120))
                }
                (current(standing))
                (phases(standing, stages, &view.passed))
            }
        }
    };
    Ok(page_of(&venture.name, body))
}

fn page_of(title: &str, body: Markup) -> Page {
    Page { title: title.to_owned(), section: "/ventures", follows: Follows::Not, body }
}

/// The stage it stands at.
fn current(standing: &Standing) -> Markup {
    html! {
        div class="card" {
            dl {
                dt { "Stands" } dd { (status(&standing.status)) }
                dt { "Carried by" }
                dd {
                    @match &standing.directive {
                        Some(directive) => a href={ "/directives/" (directive) } { (directive) },
                        None if standing.stage.sd_required => "no directive yet: a deployment carries this stage",
                        None => "work that is no deployment",
                    }
                }
                dt { "Missing" }
                dd {
                    @if standing.missing_artifacts.is_empty() { (chip(Tone::Good, "nothing")) } @else {
                        ul class="plain" {
                            @for artifact in &standing.missing_artifacts { li { (sign(Tone::Asks)) " " (line(artifact, 120)) } }
                        }
                    }
                }
                dt { "Then" } dd { @match &standing.next { Some(next) => (line(next, 120)), None => "it is through" } }
            }
        }
    }
}

/// Every phase with its stages; the one it stands in is open.
fn phases(standing: &Standing, stages: &[Stage], passed: &[StageWork]) -> Markup {
    let of_phases = stages.chunk_by(|one, next| one.phase == next.phase);
    html! {
        div class="phases" {
            @for stages in of_phases {
                @let is_here = stages.iter().any(|stage| stage.number == standing.stage.number);
                @let phase = stages.first().map(|stage| stage.phase.as_str()).filter(|phase| !phase.is_empty());
                details open[is_here] {
                    summary {
                        (line(phase.unwrap_or("stages"), 80)) " "
                        span class="quiet" {
                            (stages.iter().filter(|stage| stage.number < standing.stage.number).count()) " of "
                            (stages.len()) " passed"
                        }
                    }
                    ol class="steps" start=[stages.first().map(|stage| stage.number)] {
                        @for stage in stages {
                            li {
                                (name(&stage.name)) " "
                                @if stage.number == standing.stage.number { (chip(Tone::Busy, "here")) }
                                @else if stage.number < standing.stage.number { (chip(Tone::Good, "passed")) }
                                @if let Some(directive) = carried_by(passed, stage) {
                                    " " a href={ "/directives/" (directive) } { (directive) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn carried_by<'a>(passed: &'a [StageWork], stage: &Stage) -> Option<&'a crate::model::DirectiveId> {
    passed.iter().find(|work| work.lifecycle == stage.lifecycle && work.stage == stage.number)?.directive.as_ref()
}

fn status(status: &str) -> Markup {
    let tone = match status {
        "completed" => Tone::Good,
        "blocked" => Tone::Bad,
        "in_progress" => Tone::Busy,
        _ => Tone::Calm,
    };
    chip(tone, words(status))
}
