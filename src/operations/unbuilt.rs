//! What an agent is told of a directive for which nothing was built and which counts as code all the same.

use super::{NextAction, guidance::Standing};
use crate::{engine::status::DirectiveView, phases::fact_kind};
use serde_json::json;

/// Returns where a directive stands for which nothing was built, while what the commits show asks for a deployment. Pure.
pub(super) fn standing(view: &DirectiveView) -> Standing {
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
