//! `setup_monitoring`: writes the alert rules, scrape configuration, routes and dashboard of a service, and proves that an alert arrives.

use super::{Context, Effect, NextAction, OfDirective, Operation, Reply, Toolset};
use crate::{
    engine::monitoring::{Setup, check::Outcome},
    error::Error,
    model::{DirectiveId, DirectiveState, EnvironmentName, ServiceName, Who},
};
use serde::Serialize;
use serde_json::json;

/// The operation.
pub struct SetupMonitoring;

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    directive: DirectiveId,
    service: ServiceName,
    environment: EnvironmentName,
    #[serde(flatten)]
    setup: Setup,
}

const GUIDANCE: &str = "Written is not active: a service counts as monitored once Prometheus has loaded these rules and a test alert \
     was seen in Alertmanager. A person starts both with the files, and names their addresses in [monitoring]; then call `setup_monitoring` again.";

impl Operation for SetupMonitoring {
    const NAME: &'static str = "setup_monitoring";
    const TOOLSET: Toolset = Toolset::Setup;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/setup_monitoring.md");
    type Params = OfDirective;
    type Output = Output;

    async fn run(ctx: &Context, params: OfDirective) -> Result<Reply<Output>, Error> {
        let directive = ctx.engine.directive(&params.id()).await?;
        // One that is completed may still be monitored anew; one that was given up is not worked on.
        if directive.state == DirectiveState::Cancelled {
            ctx.engine.open_directive(&directive.id).await?;
        }
        let setup = ctx.engine.set_up_monitoring(&ctx.caller, &directive).await?;
        let is_proven = setup.coverage.is_covered();
        Ok(Reply {
            state: if is_proven { "proven" } else { "written" }.to_owned(),
            summary: summary(&setup),
            guidance: if is_proven { String::new() } else { GUIDANCE.to_owned() },
            next_actions: next_actions(&directive.id, &setup),
            body: Output { directive: directive.id, service: directive.service, environment: directive.environment, setup },
        })
    }
}

/// Says what was written, what nobody has checked, and whether an alert arrives.
fn summary(setup: &Setup) -> String {
    let unchecked: Vec<&str> = setup.checked_by.iter().filter(|one| one.outcome == Outcome::Unchecked).map(|one| one.what).collect();
    let checked = match unchecked.as_slice() {
        [] => "checked".to_owned(),
        some => format!("not checked: {}", some.join(", ")),
    };
    let alert = match (&setup.alert, setup.coverage.is_covered()) {
        (_, true) => "an alert was seen to arrive".to_owned(),
        (Some(alert), false) if !alert.because.is_empty() => format!("not proven: {}", alert.because.join("; ")),
        (Some(_), false) => "an alert was seen to arrive, and something else is missing: see `coverage`".to_owned(),
        (None, false) => "not proven: no Alertmanager is configured".to_owned(),
    };
    format!("{} files, {checked}; {alert}", setup.files.len())
}

fn next_actions(directive: &DirectiveId, setup: &Setup) -> Vec<NextAction> {
    if setup.coverage.is_covered() {
        return vec![NextAction::tool("get_status", json!({ "directive": directive }), "go on with the directive").recommended()];
    }
    let path = |kind: &str| setup.files.iter().find(|file| file.kind == kind).map(|file| file.path.as_str()).unwrap_or_default();
    let load =
        format!("start or reload Prometheus with `{}` and Alertmanager with `{}`", path("scrape_configuration"), path("alert_routes"));
    let first = match &setup.alert {
        None => NextAction::command("interlock apply", "write `prometheus` and `alertmanager` into [monitoring], and apply it"),
        Some(_) => NextAction::of(Who::Person, load.clone()),
    };
    let mut actions = vec![first.recommended()];
    if setup.alert.is_none() {
        actions.push(NextAction::of(Who::Person, load));
    }
    actions.push(NextAction::of(Who::Agent, "call `setup_monitoring` again once that is done"));
    actions
}
