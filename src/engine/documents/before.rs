//! Documents that stand before a deployment as well as after it: the checklist of its phase, and the word that it is live.

use super::{
    after::people,
    case::Case,
    page::{NOT_RECORDED, Page, code},
};
use crate::{
    engine::{close_watch::CloseWatchState, facts::Fact},
    model::{DeploymentState, Verdict},
    phases::Standing,
};

/// The steps and gates of the directive's phase, each as it stands.
pub fn checklist(case: &Case) -> Page {
    let directive = &case.directive;
    let mut page = Page::titled(&format!("Checklist of {}", directive.id));
    page.say("");
    head(&mut page, case);
    page.fact("Phase", case.phase.as_ref().map(|phase| format!("{} {} (sha256 {})", phase.name, phase.version, phase.sha256)));
    page.section("Steps");
    match &case.phase {
        None => page.say("No phase governs it."),
        Some(phase) => {
            for (number, (step, standing)) in phase.checklist(&case.facts).into_iter().enumerate() {
                let told = match &standing {
                    Standing::Done => "done".to_owned(),
                    Standing::Skipped(why) => format!("skipped: {why}"),
                    Standing::Current(_) => "next".into(),
                    Standing::Open => "open".into(),
                };
                let is_settled = matches!(standing, Standing::Done | Standing::Skipped(_));
                page.tick(is_settled, format!("{}. {} (`{}`, by {}): {told}", number + 1, step.title, step.id, step.by));
                for fact in &step.done_when {
                    page.say(format!("  - `{fact}` {}", stands(case.facts.get(fact))));
                }
            }
        }
    }
    page.section("Gates");
    gates(&mut page, case);
    page.section("Exit");
    open_items(&mut page, case);
    close_watch(&mut page, case);
    page.section("Files");
    let files = case.artifacts.iter().filter(|artifact| !is_of_this_kind(&artifact.name));
    let row = |artifact: &crate::store::Artifact| {
        [code(&artifact.path), artifact.name.clone(), artifact.size_bytes.to_string(), artifact.sha256.to_string()]
    };
    page.table(["File", "What", "Bytes", "SHA-256"], files.map(row));
    page
}

/// A list that named itself would differ from one writing to the next.
fn is_of_this_kind(name: &str) -> bool {
    name == "checklist"
}

/// The word to those who wait for it: what is live, since when, what it cost, how it goes back, and whom to call.
pub fn go_live(case: &Case) -> Page {
    let (directive, deployment) = (&case.directive, case.deployment());
    let (service, environment) = (&directive.service, &directive.environment);
    let version = deployment.map_or(&directive.version, |deployment| &deployment.version);
    let is_live = deployment.is_some_and(|one| one.state == DeploymentState::Succeeded && one.rolled_back_by.is_none());
    let mut page = Page::titled(&match is_live {
        true => format!("{service} {version} is live in {environment}"),
        false => format!("{service} {version} is not live in {environment}"),
    });
    page.say("");
    page.fact("State", deployment.map(|one| one.taken_back().unwrap_or_else(|| one.state.as_str().into())));
    page.fact("Customers since", deployment.and_then(|one| one.shifted_at).map(|at| at.to_string()));
    page.fact("Watched until", deployment.and_then(|one| one.settled_at).map(|at| at.to_string()));
    page.fact("Where", Some(code(&case.spec.front())));
    page.fact("Before it", case.before.as_ref().map(|(before, _)| before.version.clone()));
    page.section("What it is, in the words of who ordered it");
    page.fact("Title", said(&directive.title));
    page.fact("Why", said(&directive.rationale));
    page.fact("What", said(&directive.description));
    page.section("What it cost");
    match case.report.as_ref().filter(|report| report.deployment.shifted_at.is_some()) {
        Some(report) => {
            let traffic = &report.traffic;
            page.say(format!(
                "- Requests the router failed, and failed probes: {}, beside {} that ended",
                traffic.downtime, traffic.requests
            ));
            page.fact("Wrong answers of the application", traffic.error_percent.map(|percent| format!("{percent:.2} %")));
        }
        None => page.fact("Failed requests", None),
    }
    page.section("If it goes wrong");
    page.fact("Way back", case.plan.as_ref().map(|record| record.plan.rollback.summary.clone()));
    page.fact("Way back tried", case.report.as_ref().and_then(|report| report.rollback_tested()));
    people(&mut page, &case.spec);
    page.section("Who decided");
    page.fact("Approved by", approved_by(case));
    page.fact("Those who wait for it were told, says", vouched(case, "told"));
    if directive.state.is_open() {
        page.say(format!("- To say that they were: `interlock sign-off {} told`", directive.id));
    }
    page
}

/// Adds what a directive is: the same lines at the head of each document.
pub fn head(page: &mut Page, case: &Case) {
    let directive = &case.directive;
    page.fact("Directive", Some(format!("{}, {}", directive.id, directive.state.as_str())));
    page.fact("Service", Some(format!("{} in {}", directive.service, directive.environment)));
    page.fact("Version", Some(directive.version.clone()));
    page.fact("Release", Some(format!("sha256 {}", directive.digest)));
    page.fact("Commit", directive.commit.clone());
}

/// Adds every gate with its verdict.
pub fn gates(page: &mut Page, case: &Case) {
    let row = |gate: &crate::model::GateResult| {
        [
            if gate.verdict == Verdict::Pass { "x" } else { " " }.to_owned(),
            gate.gate.to_string(),
            gate.rule.clone(),
            gate.verdict.to_string(),
            code(gate.value.as_deref().unwrap_or(&gate.reason)),
            gate.evidence_sha256.as_ref().map_or(NOT_RECORDED.to_owned(), |sha256| sha256.short().to_owned()),
            gate.asked_by.clone(),
        ]
    };
    page.table(["Passes", "Gate", "Rule", "Verdict", "Value", "Evidence", "Asked by"], case.gates.iter().map(row));
}

/// Adds what keeps the directive open.
pub fn open_items(page: &mut Page, case: &Case) {
    match (case.directive.state.is_open(), case.open.is_empty()) {
        (false, _) => page.say(format!("The directive is {}: no exit gate is open.", case.directive.state.as_str())),
        (true, true) => page.say("Every exit gate holds."),
        (true, false) => case.open.iter().for_each(|(name, fact)| page.tick(false, format!("`{name}` {}", stands(Some(fact))))),
    }
}

/// Adds the close watch over a release in production, which is open until its time has passed.
pub fn close_watch(page: &mut Page, case: &Case) {
    if let Some(watch) = &case.close_watch {
        page.tick(watch.state != CloseWatchState::Open, format!("watched closely in its first days: {}", watch.summary()));
    }
}

/// Says who approved the plan, and that nobody had to.
pub fn approved_by(case: &Case) -> Option<String> {
    let record = case.plan.as_ref()?;
    match (&record.plan.approval, &record.decided_by) {
        (None, _) => Some("nobody: the environment asks for no approval".into()),
        (Some(approval), Some(by)) => Some(format!("{by} ({}), over plan {}", approval.role, record.id)),
        (Some(_), None) => None,
    }
}

/// Says who vouched for a fact of this release, and when.
pub fn vouched(case: &Case, fact: &str) -> Option<String> {
    case.signed(fact).map(|sign_off| format!("{} at {}", sign_off.approver, sign_off.at))
}

fn stands(fact: Option<&Fact>) -> String {
    match fact {
        Some(Fact::True) => "holds".into(),
        Some(Fact::False) => "does not hold".into(),
        Some(Fact::Missing(question)) => format!("is not known: {question}"),
        None => "is not known".into(),
    }
}

fn said(words: &str) -> Option<String> {
    (!words.trim().is_empty()).then(|| code(words))
}
