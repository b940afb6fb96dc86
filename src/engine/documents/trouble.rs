//! Documents of what went wrong, and of what to do when it does.

use super::{
    after::{figures, outcome, people, times},
    before::{gates, head},
    case::Case,
    page::{Page, between, code, took},
};
use crate::{
    engine::{about_document, report::Report, runbook::rollback_argv, stuck},
    error::{Error, Result},
    model::{Choice, StepState, Timestamp, plan::RollbackKind},
    store::Incident,
};

/// One incident: what was seen, on what evidence, what was done by itself, and what it cost.
pub fn incident(case: &Case) -> Result<Page> {
    let report = case.deployed()?;
    let deployment = &report.deployment;
    let incident = case.incident.as_ref().ok_or_else(|| Error::not_found("incident in deployment", &deployment.id))?;
    let mut page = Page::titled(&format!("Incident {}", incident.id));
    page.say("");
    page.fact("Rule", Some(incident.rule.clone()));
    page.fact("Severity", Some(incident.severity.clone()));
    page.fact("At", Some(incident.opened_at.to_string()));
    page.fact("Seen", Some(code(&incident.summary)));
    page.fact("Done by itself", Some(incident.action.clone()));
    page.fact("Deployment", Some(format!("{}, {}", deployment.id, outcome(deployment))));
    head(&mut page, case);
    page.section("What it cost");
    cost(&mut page, report);
    page.section("Evidence");
    match &incident.evidence {
        serde_json::Value::Null => page.say("The summary says all that was measured."),
        evidence => page.quote(&format!("{evidence:#}")),
    }
    page.section("Timeline");
    timeline(&mut page, report);
    page.section("What follows");
    follow_ups(&mut page, case);
    Ok(page)
}

/// What happened in a deployment, from the record: impact, time until it was seen and until it was over, what failed, what held, what follows.
pub fn postmortem(case: &Case) -> Result<Page> {
    let report = case.settled()?;
    let deployment = &report.deployment;
    let mut page = Page::titled(&format!("Postmortem of {}", deployment.id));
    page.say("");
    page.fact("Outcome", Some(outcome(deployment)));
    head(&mut page, case);
    times(&mut page, deployment);
    page.section("Impact");
    cost(&mut page, report);
    page.section("Detection and recovery");
    let first = report.incidents.first();
    page.fact("First seen", first.map(|incident| incident.opened_at.to_string()));
    let shifted = deployment.shifted_at.filter(|shifted| first.is_some_and(|incident| incident.opened_at >= *shifted));
    page.fact("From customers to seen", between(shifted, first.map(|incident| incident.opened_at)));
    page.fact("From seen to back", report.rollback_ms().map(|millis| format!("{millis} ms")));
    page.section("What was seen");
    for incident in &report.incidents {
        page.say(format!(
            "- {} {} ({}): {}; done by itself: {}",
            incident.id,
            incident.rule,
            incident.severity,
            code(&incident.summary),
            incident.action
        ));
    }
    if report.incidents.is_empty() {
        page.say("No incident.");
    }
    page.section("What failed");
    let mut failed = report.steps.iter().filter(|entry| !entry.output["error"].is_null() || entry.state == StepState::Failed).peekable();
    if failed.peek().is_none() {
        page.say("No step failed.");
    }
    for entry in failed {
        let said = entry.output["error"]["message"].as_str().map_or_else(|| "no message recorded".into(), code);
        page.say(format!("- `{}` is {}: {said}", entry.step, entry.state.as_str()));
    }
    page.section("What held");
    gates(&mut page, case);
    page.say("");
    page.fact("Way back tried before", report.rollback_tested());
    page.section("Timeline");
    timeline(&mut page, report);
    page.section("Cause");
    page.fact("Root cause", None);
    page.say("\nThe record shows what happened, not why the release was made so; notes of the agent, where there are any, stand below.");
    page.section("What follows");
    follow_ups(&mut page, case);
    Ok(page)
}

/// What to do at this place when something goes wrong: what the server does by itself, and each command people have.
pub fn incident_procedures(case: &Case) -> Result<Page> {
    let directive = &case.directive;
    let (service, environment) = (&directive.service, &directive.environment);
    let mut page = Page::titled(&format!("Incident procedures of {service} in {environment}"));
    page.section("Whom to call");
    people(&mut page, &case.spec);
    page.section("What the server does by itself");
    let watch = case.plan.as_ref().map(|record| &record.plan.watch);
    let limits = watch.map(|watch| {
        format!("errors above {} % or p95 above {} ms for {} s", watch.error_percent, watch.p95_ms, watch.sustained_ms / 1000)
    });
    page.table(
        ["Rule", "When", "What it does"],
        [
            ["DEPLOY-001".to_owned(), "a check fails before traffic moved".into(), "ends the deployment: nothing has moved".into()],
            [
                "DEPLOY-002".into(),
                format!("smoke checks fail, or {}", limits.as_deref().unwrap_or("a limit of the plan is crossed")),
                "traffic goes back to what served before, which is verified again".into(),
            ],
            ["DEPLOY-003".into(), "the router fails a request".into(), "traffic goes back; severity P0".into()],
        ],
    );
    page.section("Look");
    page.say(format!("1. What serves, and what is under way: `interlock get-status --service {service} --environment {environment}`."));
    if let Some(deployment) = case.deployment() {
        page.say(format!("2. What the last deployment did: `interlock get-deployment --deployment {} --detail`.", deployment.id));
        page.say(format!("3. What its instances wrote: `interlock read-log --deployment {}`.", deployment.id));
    }
    about_document::addresses(&case.spec.about).iter().for_each(|line| page.say(line));
    page.section("Take it back");
    page.fact("As planned", case.plan.as_ref().map(|record| record.plan.rollback.summary.clone()));
    if let Some(report) = &case.report {
        page.say(format!("\n```argv\n{}\n```\n", rollback_argv(report)));
        page.say("It needs no approval and moves traffic only.");
        match case.plan.as_ref().map(|record| record.plan.rollback.kind) {
            Some(RollbackKind::Database | RollbackKind::Full) => {
                page.say(format!(
                    "Past its migrations an approver takes the data back, too: `interlock restore {}`.",
                    report.deployment.id
                ));
            }
            Some(RollbackKind::ForwardOnly) => page.say("Past its migrations there is no way back: repair it with a new release."),
            _ => (),
        }
        page.say("Further back than to what served before, an approver signs: `interlock rollback --to DEPLOYMENT --reason TEXT`.");
    }
    page.section("Stop everything else");
    page.say(format!("- No deployment starts, one under way pauses: `interlock freeze {environment} --reason TEXT`."));
    page.say("- The same everywhere: `interlock freeze --all --reason TEXT`.");
    page.say("- Over again, by an approver's signature: `interlock unfreeze FREEZE`; `interlock freezes` lists them.");
    page.section("When it is stuck");
    let id = case.deployment().map_or("DEPLOYMENT".into(), |deployment| deployment.id.clone());
    page.say("An outcome is unknown, and a person chooses, with a signature:\n");
    for choice in Choice::ALL {
        page.say(format!("- `{}`", stuck::command(&id, choice)));
    }
    page.section("Afterwards");
    page.say("1. Write down what happened: `write_document` with the kind `postmortem`.");
    page.say("2. The failed release is carried by a directive of its own; the next release for this place takes it over.");
    Ok(page)
}

fn cost(page: &mut Page, report: &Report) {
    let deployment = &report.deployment;
    page.fact("With customers for", between(deployment.shifted_at, deployment.unshifted_at.or(deployment.settled_at)));
    figures(page, deployment, &report.traffic);
}

fn follow_ups(page: &mut Page, case: &Case) {
    if case.follow_ups.is_empty() {
        page.say("No directive carries it on.");
    }
    for follow_up in &case.follow_ups {
        page.say(format!("- {} is {}: {}", follow_up.id, follow_up.state.as_str(), code(&follow_up.title)));
    }
}

/// Adds what happened, in order; of the same instant the journal's order counts.
fn timeline(page: &mut Page, report: &Report) {
    let deployment = &report.deployment;
    let mut lines: Vec<(Timestamp, String)> = vec![(deployment.created_at, "accepted".into())];
    let mut add = |at: Option<Timestamp>, what: String| lines.extend(at.map(|at| (at, what)));
    for entry in &report.steps {
        add(entry.started_at, format!("`{}` begins: {}, {}", entry.step, entry.state.as_str(), took(entry).unwrap_or("not ended".into())));
    }
    add(deployment.shifted_at, "traffic is with the new set".into());
    let seen = |incident: &Incident| format!("{} {}: {}", incident.id, incident.rule, code(&incident.summary));
    report.incidents.iter().for_each(|incident| add(Some(incident.opened_at), seen(incident)));
    add(deployment.unshifted_at, "traffic is back".into());
    add(deployment.settled_at, deployment.state.as_str().to_owned());
    lines.sort_by_key(|(at, _)| *at);
    page.table(["At", "What"], lines.into_iter().map(|(at, what)| [at.to_string(), what]));
}
