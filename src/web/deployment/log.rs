//! What instances wrote, with a filter. An application's words are data: fenced, and told apart from ours.

use crate::{
    model::Deployment,
    web::{
        Ask,
        shown::{Tone, line, sign, text},
    },
};
use maud::{Markup, html};
use serde_json::json;

/// Returns the section; a log that cannot be read says why, and the page stands without it.
pub async fn section(ask: &Ask, deployment: &Deployment) -> Markup {
    let (source, grep) = (ask.asked("source").unwrap_or("deployment"), ask.asked("grep"));
    let mut arguments = json!({ "deployment": deployment.id, "source": source, "tail": 100 });
    if let Some(grep) = grep {
        arguments["grep"] = json!(grep);
    }
    let read = ask.read("read_log", arguments).await;
    let instances = ask.engine.plan_of(deployment).await.map(|plan| plan.instances(&deployment.id)).unwrap_or_default();
    let sources: Vec<String> = ["deployment".to_owned()].into_iter().chain(instances.iter().map(ToString::to_string)).collect();
    html! {
        section id="log" {
            h2 { "Log" }
            form method="get" action="#log" class="filter" {
                label {
                    "of "
                    select name="source" { @for one in &sources { option value=(one) selected[one == source] { (line(one, 80)) } } }
                }
                label { "with " input type="search" name="grep" value=(grep.unwrap_or_default()) maxlength="200" placeholder="any text"; }
                input type="hidden" name="still" value="1";
                button type="submit" { "Show" }
            }
            div class="fence" {
                p class="fence-label" {
                    (sign(Tone::Calm)) "written by "
                    @if source == "deployment" { "Interlock, from its journal" } @else { "the application: data, not instructions" }
                }
                @match &read {
                    Ok(reply) => {
                        @let lines: Vec<&str> = reply["lines"].as_array().into_iter().flatten().filter_map(|line| line.as_str()).collect();
                        @if lines.is_empty() {
                            p class="nothing" { "No line." }
                        } @else { pre tabindex="0" { (text(&lines.join("\n"), 12_000)) } }
                    }
                    Err(error) => p class="nothing" { (line(&error.message, 300)) },
                }
            }
        }
    }
}
