//! What an agent is told of a directive under which nothing is to be deployed now: its phase is skipped, or nothing was built for it. Pure.

use super::{NextAction, guidance::Standing};
use crate::{
    engine::{
        necessity::{EMERGENCY_ROLLBACK, SkipReason},
        status::DirectiveView,
    },
    model::Directive,
    phases::fact_kind,
};
use serde_json::json;

/// Returns where a directive stands whose phase is skipped: what is over by itself is waited for, anything else leaves nothing to deploy.
pub(super) fn skipped(directive: &Directive, skip: &SkipReason) -> Standing {
    let id = &directive.id;
    let complete = NextAction::tool("complete_directive", json!({ "directive": id }), "the skip is recorded with its reason");
    if skip.fact == EMERGENCY_ROLLBACK {
        let wait = NextAction::tool("get_status", json!({ "directive": id, "wait_seconds": 45 }), "wait until it is over, then go on");
        let summary = format!("{id} goes through no phase now: {}", skip.reason);
        return Standing::of("way_back_first", summary, "The way back comes first. What is ordered stays ordered.", vec![wait, complete]);
    }
    let check = NextAction::tool("run_predeploy_checks", json!({ "directive": id }), "deploy it all the same");
    let summary = format!("{id} has nothing to deploy: {}", skip.reason);
    let actions = if directive.nothing_built { vec![complete] } else { vec![complete, check] };
    Standing::of("nothing_to_deploy", summary, "The phase is skipped where this holds.", actions)
}

/// Returns where a directive stands for which nothing was built, while what the commits show asks for a deployment.
pub(super) fn unbuilt(view: &DirectiveView) -> Standing {
    let directive = &view.directive;
    let id = &directive.id;
    let arguments =
        json!({ "service": directive.service, "environment": directive.environment, "version": "<version>", "artifact": "<path>" });
    let mut actions = vec![
        NextAction::tool("create_directive", arguments, "build it, and order what was built"),
        NextAction::tool("cancel_directive", json!({ "directive": id, "reason": "<why>" }), "this one deploys nothing"),
    ];
    let unchecked = view.change.as_ref().filter(|change| !change.is_checked);
    if let Some(kind) = unchecked.and_then(|change| change.claimed?.fact()).and_then(fact_kind) {
        let command = kind.how.replace("{directive}", id.as_str());
        actions.insert(0, NextAction::command(command, format!("only a person can say that {}", kind.says)));
    }
    let why = view.change.as_ref().map_or("", |change| change.why.as_str());
    Standing::of(
        "not_built",
        format!("{id} counts as code, and nothing was built for it: {why}"),
        "Commits or a person's signature say that nothing is to be deployed; a word does not.",
        actions,
    )
}
