//! Documents of a deployment that is over: what it did, how the release performs, and what those need who operate it from here.

use super::{
    before::{approved_by, close_watch, gates, head, open_items, vouched},
    case::Case,
    page::{Page, between, code, took},
};
use crate::{
    engine::{
        about_document, data_document,
        report::{Report, Traffic},
        runbook::rollback_argv,
    },
    error::Result,
    model::{Deployment, DeploymentState, ServiceSpec, plan::Watch},
};

/// What the deployment did, step by step, what was checked and seen, and what it cost customers.
pub fn post_deploy_report(case: &Case) -> Result<Page> {
    let report = case.settled()?;
    let deployment = &report.deployment;
    let mut page = Page::titled(&format!("Post-deploy report of {}", deployment.id));
    page.say("");
    page.fact("Outcome", Some(outcome(deployment)));
    head(&mut page, case);
    page.fact("Plan", Some(format!("{} (sha256 {})", deployment.plan, report.plan.sha256())));
    page.fact("Approved by", approved_by(case));
    page.fact("Asked for by", Some(code(&deployment.created_by)));
    times(&mut page, deployment);
    page.section("Checks");
    page.tick(report.smoke_passed(), "smoke checks through the listener");
    page.tick(
        report.step("bake").is_some_and(|entry| entry.state == crate::model::StepState::Done),
        "watched to its end with the old set warm",
    );
    close_watch(&mut page, case);
    page.fact("Way back tried", report.rollback_tested());
    page.section("Traffic since the switch");
    figures(&mut page, deployment, &report.traffic);
    page.section("Gates");
    gates(&mut page, case);
    page.section("Steps");
    let row = |entry: &crate::model::JournalEntry| {
        let title = report.plan.step(&entry.step).map_or(String::new(), |step| step.title.clone());
        [
            entry.step.to_string(),
            title,
            entry.state.as_str().to_owned(),
            entry.attempt.to_string(),
            took(entry).unwrap_or_else(|| "not run".into()),
        ]
    };
    page.table(["Step", "What", "State", "Attempt", "Took"], report.steps.iter().map(row));
    page.section("Data");
    let data = data_document::lines(&report.plan, Some(report));
    if data.is_empty() {
        page.say("No migration was planned and no backup taken.");
    }
    data.iter().for_each(|line| page.say(line));
    page.section("Incidents");
    incidents(&mut page, report);
    Ok(page)
}

/// How the release performs, from the router's counters, beside what served before it.
pub fn baseline(case: &Case) -> Result<Page> {
    let report = case.settled()?;
    let (deployment, plan) = (&report.deployment, &report.plan);
    let mut page = Page::titled(&format!("Performance baseline of {} in {}", deployment.service, deployment.environment));
    page.say("");
    page.fact("Release", Some(format!("{} (sha256 {})", deployment.version, deployment.digest)));
    page.fact("Deployment", Some(format!("{}, {}", deployment.id, outcome(deployment))));
    page.fact("From", deployment.shifted_at.map(|at| at.to_string()));
    page.fact("To", deployment.unshifted_at.or(deployment.settled_at).map(|at| at.to_string()));
    page.section("Figures");
    figures(&mut page, deployment, &report.traffic);
    page.section("Beside what served before");
    match &case.before {
        None => page.say("Nothing served before."),
        Some((before, traffic)) => {
            page.say(format!("{} ({}), over its own watch:\n", before.version, before.id));
            figures(&mut page, before, traffic);
        }
    }
    page.section("Limits it was watched by");
    limits(&mut page, &plan.watch);
    plan.metrics.iter().for_each(|metric| page.say(format!("- {}", metric.summary())));
    page.section("Evidence handed in or observed before it");
    gates(&mut page, case);
    Ok(page)
}

/// What those need who operate it from here: what serves, what to watch, the way back, the runbook, what is open, and how they say that they
/// have it.
pub fn handover(case: &Case) -> Result<Page> {
    let report = case.deployed()?;
    let (deployment, spec) = (&report.deployment, &case.spec);
    let mut page = Page::titled(&format!("Handover of {} in {}", deployment.service, deployment.environment));
    page.section("What is there");
    page.fact("State", Some(outcome(deployment)));
    head(&mut page, case);
    page.fact("Customers since", deployment.shifted_at.map(|at| at.to_string()));
    page.fact("Where", Some(code(&spec.front())));
    page.fact("Instances", Some(spec.instances.to_string()));
    people(&mut page, spec);
    page.section("What it needs");
    let secrets: Vec<&str> = spec.secrets().map(|(name, _)| name).collect();
    page.say(format!("- Secrets, by reference: {}", if secrets.is_empty() { "none".to_owned() } else { secrets.join(", ") }));
    spec.dependencies.iter().for_each(|one| page.say(format!("- `{}` answers at `{}`", one.name, one.tcp)));
    page.section("What to watch");
    page.say(format!("- Health: {}, asked every {} ms", about_document::health(spec), spec.health.interval_ms));
    about_document::addresses(&spec.about).iter().for_each(|line| page.say(line));
    spec.smoke.iter().for_each(|check| page.say(format!("- `GET {}` answers {}", check.http, check.status)));
    limits(&mut page, &report.plan.watch);
    report.plan.metrics.iter().for_each(|metric| page.say(format!("- {}", metric.summary())));
    page.say(format!("- Log: `interlock read-log --deployment {}`", deployment.id));
    page.section("What is normal");
    figures(&mut page, deployment, &report.traffic);
    page.section("The way back");
    page.say(format!("{}.", report.plan.rollback.summary));
    page.say(format!("\n```argv\n{}\n```\n", rollback_argv(report)));
    page.fact("Tried", report.rollback_tested());
    page.section("Runbook");
    runbook(&mut page, case);
    page.section("Open");
    open_items(&mut page, case);
    close_watch(&mut page, case);
    incidents(&mut page, report);
    page.section("Acknowledge it");
    match case.directive.state.is_open() {
        true => {
            page.say(format!("Those who operate it sign that they have what they need: `interlock sign-off {} team`.", case.directive.id));
            page.say("What they sign names this file by its SHA-256.");
        }
        false => page.fact("Signed by", vouched(case, "team")),
    }
    Ok(page)
}

/// Says how a deployment ended, with what took it back.
pub fn outcome(deployment: &Deployment) -> String {
    match (deployment.taken_back(), deployment.state) {
        (Some(end), DeploymentState::Succeeded) => format!("succeeded, later {end}"),
        (_, state) => state.as_str().to_owned(),
    }
}

/// Adds the figures of a release, each with how many requests it rests on.
pub fn figures(page: &mut Page, deployment: &Deployment, traffic: &Traffic) {
    let moved = deployment.shifted_at.is_some();
    let sample = |figure: String| format!("{figure}, of {} requests", traffic.requests);
    page.fact("Requests", moved.then(|| traffic.requests.to_string()));
    page.fact("Errors", traffic.error_percent.map(|percent| sample(format!("{} ({percent:.2} %)", traffic.errors))));
    page.fact("p95", traffic.p95_ms.map(|millis| sample(format!("{millis} ms"))));
    page.fact("Downtime", moved.then(|| format!("{} requests the router failed, or failed probes", traffic.downtime)));
}

/// Adds what was opened in a deployment.
pub fn incidents(page: &mut Page, report: &Report) {
    let row = |incident: &crate::store::Incident| {
        [
            incident.id.clone(),
            incident.rule.clone(),
            incident.severity.clone(),
            incident.opened_at.to_string(),
            code(&incident.summary),
            incident.action.clone(),
        ]
    };
    match report.incidents.is_empty() {
        true => page.say(format!("No incident in {}.", report.deployment.id)),
        false => page.table(["Incident", "Rule", "Severity", "At", "Seen", "Done by itself"], report.incidents.iter().map(row)),
    }
}

/// Adds who owns the service, and whom to call.
pub fn people(page: &mut Page, spec: &ServiceSpec) {
    page.fact("Owner", spec.owner.clone());
    page.fact("Call", spec.escalation.clone());
    for contact in &spec.about.contacts {
        page.say(format!("- {}: {}", code(&contact.role), code(&contact.reach)));
    }
}

/// Adds the runbook as it stands.
pub fn runbook(page: &mut Page, case: &Case) {
    page.fact("Runbook", case.runbook.as_ref().map(|one| format!("{} version {}, {}", one.runbook, one.version, one.state.as_str())));
    let path = case.artifacts.iter().find(|artifact| artifact.name == "runbook").map(|artifact| code(&artifact.path));
    page.fact("Runbook's file", path);
}

/// Adds when traffic goes back by itself.
pub fn limits(page: &mut Page, watch: &Watch) {
    let seconds = watch.sustained_ms / 1000;
    page.say(format!("- Errors above {} % for {seconds} s, over at least {} requests", watch.error_percent, watch.min_samples));
    page.say(format!("- p95 above {} ms for {seconds} s, over at least {} requests", watch.p95_ms, watch.min_samples));
    page.say("- Any request that the router fails");
}

/// Adds when what happened.
pub fn times(page: &mut Page, deployment: &Deployment) {
    page.fact("Accepted", Some(deployment.created_at.to_string()));
    page.fact("Traffic moved", deployment.shifted_at.map(|at| at.to_string()));
    if deployment.unshifted_at.is_some() || deployment.state == DeploymentState::RolledBack {
        page.fact("Traffic back", deployment.unshifted_at.map(|at| at.to_string()));
        page.fact("With customers for", between(deployment.shifted_at, deployment.unshifted_at));
    }
    page.fact("Settled", deployment.settled_at.map(|at| at.to_string()));
    page.fact("Took", between(Some(deployment.created_at), deployment.settled_at));
    if let Some(why) = deployment.undo_reason.as_deref() {
        page.fact("Went back because", Some(code(why)));
    }
}
