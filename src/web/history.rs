//! History: every deployment, newest first, by service, environment and state.

use super::{Ask, home::deployments, layout::Page, live::Follows, shown::line};
use crate::{
    error::{Error, Result},
    model::{DeploymentState, EnvironmentName, ServiceName},
    store::DeploymentFilter,
};
use maud::html;
use std::collections::BTreeSet;

const ON_A_PAGE: u32 = 40;
const STATES: &[&str] = &["queued", "running", "paused", "verifying", "succeeded", "rolling_back", "rolled_back", "stuck"];

/// Makes the page.
pub async fn page(ask: Ask) -> Result<Page> {
    let (engine, now) = (&ask.engine, ask.now);
    let (service, environment, state) = (ask.asked("service"), ask.asked("environment"), ask.asked("state"));
    let state_asked = match state {
        None => None,
        Some(word) if STATES.contains(&word) => Some(DeploymentState::parse(word)),
        Some(_) => return Err(Error::invalid(format!("`state` is one of {}", STATES.join(", ")))),
    };
    let before = match ask.asked("before").map(str::parse) {
        None => None,
        Some(Ok(before)) => Some(before),
        Some(Err(_)) => return Err(Error::invalid("`before` is the number an earlier page ended with")),
    };
    let filter = DeploymentFilter {
        service: service.map(ServiceName::from),
        environment: environment.map(EnvironmentName::from),
        state: state_asked,
        before,
        limit: ON_A_PAGE,
        ..Default::default()
    };
    let (found, next) = engine.store.deployments(&filter).await?;
    let environments = engine.environments().await?;
    let names: BTreeSet<String> = environments.iter().map(|environment| environment.name.to_string()).collect();
    let services: BTreeSet<String> =
        environments.iter().flat_map(|environment| environment.services.keys()).map(ToString::to_string).collect();
    let pick = |name: &'static str, word: &'static str, all: Vec<String>, chosen: Option<&str>| {
        html! {
            label { (word) " " select name=(name) {
                option value="" { "any" }
                @for one in &all { option value=(one) selected[chosen == Some(one.as_str())] { (line(one, 60)) } }
            } }
        }
    };
    let older = next.map(|next| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("service", service), ("environment", environment), ("state", state)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("before", &next.to_string());
        format!("/history?{}", query.finish())
    });
    let body = html! {
        h1 { "History" }
        form method="get" class="filter" {
            (pick("service", "service", services.into_iter().collect(), service))
            (pick("environment", "environment", names.into_iter().collect(), environment))
            (pick("state", "state", STATES.iter().map(|state| (*state).to_owned()).collect(), state))
            button type="submit" { "Show" }
        }
        (deployments(&found, now))
        @if let Some(older) = older { p { a href=(older) { "Older" } } }
    };
    Ok(Page { title: "History".into(), section: "/history", follows: Follows::Not, body })
}
