//! What an agent is told about where a directive or a deployment stands: one word, one line, the current step, and what can be done next. Pure.

pub use super::deployment_guidance::of_deployment;
use super::{NextAction, Reply, unneeded};
use crate::{
    engine::{
        freezing,
        progression::{STEPS, as_command},
        status::{Course, DirectiveView},
    },
    model::{Assessment, DirectiveState, GateResult, PlanState, Sha256, Verdict, Who, text},
    phases::fact_kind,
};
use serde_json::json;

/// How many actions are named.
const MOST_ACTIONS: usize = 5;

/// Where something stands, in words.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Standing {
    /// One word.
    pub state: String,
    /// One line.
    pub summary: String,
    /// At most 1 KB.
    pub guidance: String,
    /// What can be done; exactly one recommended, or none at all.
    pub next_actions: Vec<NextAction>,
}

impl Standing {
    /// Returns the token that changes when this does; `since` compares with it.
    pub fn token(&self) -> String {
        Sha256::of_canonical(&(&self.state, &self.summary)).short().to_owned()
    }

    /// Returns the reply that says this, with its facts.
    pub fn reply<T>(self, body: T) -> Reply<T> {
        Reply { state: self.state, summary: self.summary, guidance: self.guidance, next_actions: self.next_actions, body }
    }

    /// Adds what only a person's sign-off answers, as the current step and the open exits ask for it.
    fn ask(&mut self, view: &DirectiveView) {
        let exits = view.missing.iter().filter(|_| view.is_deployed());
        let exits = exits.map(|(fact, _)| view.checklist.exits.get(fact).unwrap_or(fact));
        for kind in view.checklist.asked.iter().map(|(fact, _)| fact).chain(exits).filter_map(|fact| fact_kind(fact)) {
            let command = kind.how.replace("{directive}", view.directive.id.as_str());
            let is_new = !self.next_actions.iter().any(|action| action.command.as_ref() == Some(&command));
            if kind.signed.is_some() && is_new && self.next_actions.len() < MOST_ACTIONS {
                self.next_actions.push(NextAction::command(command, kind.says));
            }
        }
    }

    /// Hands the steps among the actions to a person, where a person begins every one of them.
    pub(super) fn handed(mut self, course: &Course) -> Self {
        if course.is_manual {
            self.next_actions.iter_mut().for_each(hand_to_person);
        }
        self
    }

    pub(super) fn of(state: &str, summary: String, guidance: &str, mut next_actions: Vec<NextAction>) -> Self {
        if let Some(first) = next_actions.first_mut() {
            first.recommended = true;
        }
        Standing { state: state.into(), summary, guidance: guidance.into(), next_actions }
    }
}

/// Returns where a directive stands.
pub fn of_directive(view: &DirectiveView) -> Standing {
    let mut standing = directive_standing(view);
    // After a failure what matters is the failure, not the step of the checklist it leads back to.
    let went_wrong = matches!(
        standing.state.as_str(),
        "rolled_back" | "rolling_back" | "stuck" | "rejected" | "nothing_to_deploy" | "not_built" | "way_back_first"
    );
    if view.directive.state.is_open() && !went_wrong {
        if let Some(step) = &view.checklist.step {
            standing.guidance = step.chars().take(1000).collect();
        }
        standing.ask(view);
    }
    standing.handed(&view.course)
}

/// Makes a step that an agent would take the command a person types.
fn hand_to_person(action: &mut NextAction) {
    if let Some(tool) = action.tool.take_if(|tool| STEPS.contains(&tool.as_str())) {
        action.command = Some(as_command(&tool, &action.arguments.take().unwrap_or_default()));
        action.who = Who::Person;
    }
}

fn directive_standing(view: &DirectiveView) -> Standing {
    let directive = &view.directive;
    let (id, version) = (&directive.id, &directive.version);
    match directive.state {
        DirectiveState::Completed => {
            if let Some(skip) = &view.skipped {
                return Standing::of("completed", format!("{id} is completed without a deployment: {}", skip.reason), "", vec![]);
            }
            return Standing::of(
                "completed",
                format!("{id} is completed: {version} serves {}; nothing to do", directive.environment),
                "",
                vec![],
            );
        }
        DirectiveState::Cancelled => return Standing::of("cancelled", format!("{id} is cancelled; nothing to do"), "", vec![]),
        DirectiveState::Draft => {
            let arguments =
                json!({ "service": directive.service, "environment": directive.environment, "version": "<version>", "artifact": "<path>" });
            let mend = NextAction::tool("create_directive", arguments, "mend it, commit, build; the new release takes this directive over");
            let carried = text::visible_line(&directive.description, 300);
            return Standing::of(
                "draft",
                format!("{id} waits for a release that mends {carried}"),
                "Read what failed, mend it, and order the new release.",
                vec![mend],
            );
        }
        DirectiveState::Active | DirectiveState::InProgress => (),
    }
    if let Some(skip) = view.necessity.as_ref().and_then(|necessity| necessity.should_skip.as_ref()) {
        return unneeded::skipped(directive, skip);
    }
    if directive.nothing_built {
        return unneeded::unbuilt(view);
    }
    if let Some(deployment) = view.under_way() {
        return of_deployment(deployment, &view.course);
    }
    if view.is_deployed() {
        return deployed(view);
    }
    if let Some(deployment) = &view.deployment
        && view.plan.as_ref().is_none_or(|plan| plan.id == deployment.plan)
    {
        let mut standing = of_deployment(deployment, &view.course);
        if standing.state == "rolled_back" {
            let again =
                NextAction::tool("plan_deployment", json!({ "directive": id }), "try the same release again; its cause lay elsewhere");
            standing.summary = format!("{}; {id} is open again", standing.summary);
            standing.next_actions.push(again);
        }
        return standing;
    }
    if view.is_checking {
        let wait =
            NextAction::tool("get_status", json!({ "directive": id, "wait_seconds": 45 }), "the checks run; wait for their verdicts");
        return Standing::of(
            "checking",
            format!("pre-deploy checks of {id} are running"),
            "Wait for the checks; their commands run in a clean checkout of the commit.",
            vec![wait],
        );
    }
    match &view.plan {
        Some(record) if record.state != PlanState::Void => planned(view, record),
        _ => gates(view),
    }
}

fn gates(view: &DirectiveView) -> Standing {
    let id = &view.directive.id;
    let check = NextAction::tool("run_predeploy_checks", json!({ "directive": id }), "evaluate every gate");
    if view.gates.is_empty() {
        return Standing::of(
            "open",
            format!("{id} is open; its gates are not checked yet"),
            "Run the pre-deploy checks, then plan.",
            vec![check],
        );
    }
    let failing: Vec<&GateResult> = view.gates.iter().filter(|gate| gate.verdict != Verdict::Pass && !gate.live).collect();
    if failing.is_empty() {
        let mut arguments = json!({ "directive": id });
        if view.unassessed {
            arguments["assessment"] = Assessment::template();
        }
        let plan = NextAction::tool("plan_deployment", arguments, "every bound gate passes: freeze the plan");
        return Standing::of("checked", format!("the gates of {id} pass; it is not planned yet"), "Plan the deployment.", vec![plan]);
    }
    let names: Vec<String> = failing.iter().map(|gate| format!("{} {}", gate.gate, gate.verdict)).collect();
    let mut actions: Vec<NextAction> = failing.iter().map(|gate| gate_action(view, gate)).collect();
    // What a person must supply comes after what the agent can do itself.
    actions.sort_by_key(|action| action.who != Who::Agent || action.tool.is_none());
    actions.dedup();
    actions.truncate(MOST_ACTIONS - 1);
    if actions.iter().all(|action| action.tool.is_none()) {
        let again = NextAction::tool("run_predeploy_checks", json!({ "directive": id }), "evaluate the gates again, once it is there");
        actions.push(again);
    }
    Standing::of(
        "gates_failing",
        format!("{id} waits for gates: {}", names.join(", ")),
        "Each gate says what it needs, who can supply it and how.",
        actions,
    )
}

fn gate_action(view: &DirectiveView, gate: &GateResult) -> NextAction {
    let id = &view.directive.id;
    let why = format!("{}: {}", gate.gate, gate.needs.as_deref().unwrap_or(&gate.reason));
    match (gate.verdict, gate.who) {
        (_, Some(Who::Person)) => NextAction { who: Who::Person, command: gate.how.clone(), ..NextAction::of(Who::Person, why) },
        (Verdict::Inconclusive, Some(Who::Agent)) if gate.how.as_deref().is_some_and(|how| how.contains("record_evidence")) => {
            NextAction::tool("record_evidence", json!({ "directive": id, "kind": gate.gate, "path": "<path of the report>" }), why)
        }
        (Verdict::Inconclusive, Some(Who::Agent)) => NextAction::tool("run_predeploy_checks", json!({ "directive": id }), why),
        (_, who) => NextAction::of(who.unwrap_or(Who::Agent), format!("{why}; mend it, commit, build, and create a new directive")),
    }
}

fn planned(view: &DirectiveView, record: &crate::store::PlanRecord) -> Standing {
    let (directive, plan) = (&view.directive.id, &record.id);
    let again = NextAction::tool("plan_deployment", json!({ "directive": directive }), "open a new request");
    match record.state {
        PlanState::AwaitingApproval => {
            let until = record.request_expires_at.map(|at| format!("; the request stands until {at}")).unwrap_or_default();
            let approve =
                NextAction::command(format!("interlock approve {plan}"), "only a person decides; it is safe to stop and come back");
            let wait = NextAction::tool("get_status", json!({ "directive": directive, "wait_seconds": 45 }), "wait for the decision");
            Standing::of(
                "awaiting_approval",
                format!("{plan} waits for a person{until}"),
                "A person decides elsewhere. It is safe to stop; waiting is optional.",
                vec![approve, wait],
            )
        }
        PlanState::Planned | PlanState::Approved => {
            let execute = NextAction::tool("execute_deployment", json!({ "plan": plan }), "start it; the call returns at once");
            if let Some(frozen) = &view.course.frozen {
                let lift = NextAction::command(freezing::command(&frozen.freeze.id), "only an approver lifts a freeze; it is safe to stop");
                let wait = NextAction::tool("get_status", json!({ "directive": directive, "wait_seconds": 45 }), "wait for its end");
                let summary = format!("{plan} is {}; {} is frozen: {frozen}", record.state.as_str(), view.directive.environment);
                return Standing::of(record.state.as_str(), summary, "Nothing starts while it is frozen.", vec![lift, wait]);
            }
            Standing::of(
                record.state.as_str(),
                format!("{plan} is {} and can start", record.state.as_str()),
                "Execute the plan, then wait with get_deployment.",
                vec![execute],
            )
        }
        PlanState::Rejected => {
            let reason = text::visible_line(record.reason.as_deref().unwrap_or("no reason was given"), 300);
            let mend = NextAction::of(Who::Agent, "mend what the reason names, and create a new directive");
            let reopen = NextAction::command(format!("interlock approve {plan}"), "an approver may approve it after all");
            Standing::of("rejected", format!("{plan} was rejected: {reason}"), "The reason is a person's; follow it.", vec![mend, reopen])
        }
        PlanState::Expired => Standing::of("expired", format!("{plan} is expired"), "Plan again to open a new request.", vec![again]),
        PlanState::Void | PlanState::Used => Standing::of("void", format!("{plan} can no longer be used"), "Plan again.", vec![again]),
    }
}

fn deployed(view: &DirectiveView) -> Standing {
    let (id, version) = (&view.directive.id, &view.directive.version);
    let deployment = view.deployment.as_ref().map(|deployment| deployment.id.to_string()).unwrap_or_default();
    let missing: Vec<&str> = view.missing.iter().map(|(name, _)| name.as_str()).collect();
    let mut actions = Vec::new();
    let is_unwritten = missing.contains(&"runbook_published") && view.runbooks.is_empty();
    if missing.contains(&"runbook_written") || is_unwritten {
        actions.push(NextAction::tool("write_runbook", json!({ "deployment": deployment }), "draft the runbook from the recorded run"));
    }
    if missing.contains(&"runbook_published")
        && let Some(runbook) = view.runbooks.first()
    {
        actions.push(NextAction::command(format!("interlock runbook publish {}", runbook.runbook), "a person reviews and publishes it"));
    }
    actions.push(NextAction::tool("complete_directive", json!({ "directive": id }), "ask the server to look at the exit gates"));
    Standing::of(
        "deployed",
        format!(
            "{version} takes all traffic of {}; open: {}",
            view.directive.environment,
            if missing.is_empty() { "nothing".into() } else { missing.join(", ") }
        ),
        "Supply what the exit gates still ask for.",
        actions,
    )
}
