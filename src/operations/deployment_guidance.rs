//! What an agent is told about where a deployment stands. Pure.

use super::{NextAction, guidance::Standing};
use crate::{
    engine::{
        freezing,
        status::Course,
        stuck::{self, Stuck},
    },
    model::{Choice, Deployment, DeploymentId, DeploymentState, Purpose, Who, text},
};
use serde_json::json;

/// Returns where a deployment stands, with its steps as a person's where a person begins every one of them.
pub fn of_deployment(deployment: &Deployment, course: &Course) -> Standing {
    standing(deployment, course).handed(course)
}

fn standing(deployment: &Deployment, course: &Course) -> Standing {
    let (id, version, environment) = (&deployment.id, &deployment.version, &deployment.environment);
    let wait =
        NextAction::tool("get_deployment", json!({ "deployment": id, "wait_seconds": 45, "until": "settled" }), "wait until it is settled");
    let back = NextAction::tool("rollback_deployment", json!({ "deployment": id, "reason": "<why>" }), "take it back; needs no approval");
    // A way back is not taken back: that would bring the bad release again.
    let or_back = |first: NextAction| match &deployment.purpose {
        Purpose::Deploy => vec![first, back.clone()],
        Purpose::Rollback { .. } => vec![first],
    };
    let look = NextAction::tool("get_deployment", json!({ "deployment": id, "detail": true }), "read what was seen");
    let log = NextAction::tool("read_log", json!({ "deployment": id, "tail": 50 }), "read what the instances wrote");
    let reason = text::visible_line(deployment.undo_reason.as_deref().unwrap_or("no reason recorded"), 300);
    let state = deployment.state.as_str();
    match deployment.state {
        DeploymentState::Queued | DeploymentState::Running => {
            let summary = match course.share {
                Some(100) => format!("{version} takes the traffic of {environment}; it is being checked through the listener"),
                Some(share) => format!("{version} takes {share} % of the traffic of {environment}; what served before takes the rest"),
                None => format!("{id} brings {version} to {environment}; customers are not touched yet"),
            };
            let summary = summary + pauses_soon(course);
            Standing::of(state, summary, "The server walks the plan. Wait; you may stop and come back.", or_back(wait))
        }
        DeploymentState::Verifying => {
            let until = course.watched_until.map(|until| format!("; watched until {}", until.hour_minute()));
            let summary = format!("{version} takes all traffic of {environment}{}; nothing to do", until.unwrap_or_default());
            let summary = summary + pauses_soon(course);
            Standing::of(state, summary, "The new set is watched with the old one warm. Wait, or take it back.", or_back(wait))
        }
        DeploymentState::Paused => paused(deployment, course, or_back(wait)),
        DeploymentState::RollingBack => {
            Standing::of(state, format!("{id} is on its way back: {reason}"), "The server takes it back. Wait.", vec![wait])
        }
        DeploymentState::RolledBack => {
            let mend = NextAction::of(Who::Agent, "mend it, commit, build, and create a new directive");
            let mut actions = vec![look, log];
            // What answered where it was tried before, and not here, often differs in what it leans on, not in its bytes.
            if deployment.failure_code.as_deref() == Some("smoke_failed") {
                let again = json!({ "directive": deployment.directive });
                actions.push(NextAction::tool("run_predeploy_checks", again, "ask dependencies and secrets again"));
                let flags = format!("compare the feature flags and `env` of {environment} with those of where it has worked");
                actions.push(NextAction::of(Who::Agent, flags));
            }
            actions.push(mend);
            Standing::of(
                state,
                format!("{id} did not stay: {reason}; what served before serves {environment}"),
                "Read what was seen, mend it, and start with a new directive.",
                actions,
            )
        }
        DeploymentState::Stuck => {
            let unknown =
                course.stuck.as_ref().map_or(String::new(), |stuck| format!("; unknown is {}; {}", stuck.unknown, stuck.observed));
            Standing::of(
                state,
                format!("{id} is stuck: {reason}{unknown}"),
                "Tell the user: a person must choose. Nothing else deploys here until then.",
                course.stuck.iter().flat_map(|stuck| choices(id, stuck)).chain([look]).collect(),
            )
        }
        DeploymentState::Succeeded => match deployment.taken_back() {
            Some(end) => {
                Standing::of("rolled_back", format!("{id} succeeded and was {end}"), "Mend it, and start with a new directive.", vec![look])
            }
            None => Standing::of(
                state,
                format!("{version} takes all traffic of {environment}; the watch is over"),
                "Nothing more happens by itself.",
                vec![],
            ),
        },
    }
}

/// Returns the command of each choice a person has.
fn choices<'a>(id: &'a DeploymentId, stuck: &'a Stuck) -> impl Iterator<Item = NextAction> + 'a {
    stuck.choices.iter().filter_map(|line| {
        let (word, does) = line.split_once(": ")?;
        let choice = Choice::ALL.into_iter().find(|choice| choice.word() == word)?;
        Some(NextAction::command(stuck::command(id, choice), does))
    })
}

fn pauses_soon(course: &Course) -> &'static str {
    if course.frozen.is_some() { "; it is frozen, and pauses before its next change" } else { "" }
}

/// It is held, frozen, or both; `otherwise` is what can be done instead of waiting for those who can let it go on.
fn paused(deployment: &Deployment, course: &Course, otherwise: Vec<NextAction>) -> Standing {
    let id = &deployment.id;
    if let Some(stuck) = &course.stuck {
        return Standing::of(
            deployment.state.as_str(),
            format!("{id} asks a person: {}; unknown is {}; {}", stuck.because, stuck.unknown, stuck.observed),
            "Tell the user: it is neither good nor bad, and a person must choose. Its triggers stay armed.",
            choices(id, stuck).chain(otherwise).collect(),
        );
    }
    let (mut why, mut actions) = (Vec::new(), Vec::new());
    if let Some(holder) = &deployment.held_by {
        why.push(format!("held by {holder}"));
        actions.push(match holder.as_str() {
            "agent" => NextAction::tool("hold_deployment", json!({ "deployment": id, "held": false }), "lift your own hold"),
            _ => NextAction::command(format!("interlock hold-deployment {id} --held false"), "a person's hold is a person's to lift"),
        });
    }
    if let Some(frozen) = &course.frozen {
        why.push(format!("frozen: {frozen}"));
        actions.push(NextAction::command(freezing::command(&frozen.freeze.id), "only an approver lifts a freeze; it is safe to stop"));
    }
    let goes_on = if why.is_empty() { "about to go on".to_owned() } else { why.join(", and ") };
    actions.extend(otherwise);
    Standing::of(
        deployment.state.as_str(),
        format!("{id} is {goes_on}"),
        "It stands between two steps and goes on by itself when that is over; its triggers stay armed.",
        actions,
    )
}
