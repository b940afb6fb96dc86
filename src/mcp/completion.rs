//! What a half-typed argument may become: names from the record, so that nobody copies an id by hand.

use super::{Handler, resources};
use crate::{
    error::Error,
    model::{Caller, PlanState, RunbookId, text},
    operations::{Context, Progress, Refused},
    phases::Prompt,
    store::DeploymentFilter,
};
use rmcp::model::{CompleteRequestParams, CompletionInfo, Reference};
use serde_json::json;
use std::{collections::HashMap, sync::Arc};

/// How many deployments are looked through.
const LOOKED_THROUGH: u32 = 200;

/// What belongs to what is typed: the other arguments that are filled in already.
type Given = HashMap<String, String>;

/// Returns what the argument may become, the best first.
pub(super) async fn complete(handler: &Handler, caller: Caller, request: CompleteRequestParams) -> Result<CompletionInfo, Refused> {
    let (name, typed) = (request.argument.name, request.argument.value);
    let given = request.context.and_then(|context| context.arguments).unwrap_or_default();
    let asked = json!({ "argument": text::visible_line(&name, 40) });
    let phases = handler.phases().await;
    let of = request.r#ref;
    let find = async |ctx: Arc<Context>, _| Ok(json!(candidates(&ctx, &phases, &of, &name, &typed, &given).await?));
    let found = handler.registry.run(caller, Progress::default(), "completion", asked, find).await?;
    let found: Vec<String> = serde_json::from_value(found).unwrap_or_default();
    let (total, most) = (found.len(), CompletionInfo::MAX_VALUES);
    let shown = found.into_iter().take(most).collect();
    Ok(CompletionInfo::with_pagination(shown, Some(total as u32), total > most).unwrap_or_default())
}

async fn candidates(
    ctx: &Context,
    phases: &[Prompt],
    of: &Reference,
    name: &str,
    typed: &str,
    given: &Given,
) -> Result<Vec<String>, Error> {
    match of {
        Reference::Prompt(prompt) => {
            let Some(prompt) = phases.iter().chain(crate::phases::tasks()).find(|known| known.name == prompt.name) else {
                return Err(Error::invalid(format!("no prompt `{}`", text::visible_line(&prompt.name, 60))));
            };
            let Some(argument) = prompt.arguments.iter().find(|argument| argument.name == name) else {
                return Err(Error::invalid(format!("prompt `{}` has no argument `{}`", prompt.name, text::visible_line(name, 40))));
            };
            if !argument.choices.is_empty() {
                return Ok(matching(argument.choices.clone(), typed));
            }
        }
        Reference::Resource(template) if !resources::has_place(&template.uri, name) => {
            let uri = text::visible_line(&template.uri, 80);
            return Err(Error::invalid(format!("no template `{uri}` with a place `{}`", text::visible_line(name, 40))));
        }
        _ => {}
    }
    if name == "phase" {
        return Ok(called_for(phases, typed));
    }
    Ok(matching(named(ctx, name, given).await?, typed))
}

/// Returns every name of a kind, the likeliest first; none for words that nothing is named by.
async fn named(ctx: &Context, kind: &str, given: &Given) -> Result<Vec<String>, Error> {
    let store = &ctx.engine.store;
    let fits = |key: &str, value: &str| given.get(key).is_none_or(|given| given == value);
    let mut found: Vec<String> = match kind {
        "environment" | "env" => ctx.engine.environments().await?.iter().map(|environment| environment.name.to_string()).collect(),
        "service" => {
            let environments = ctx.engine.environments().await?;
            let here = environments.iter().filter(|environment| fits("environment", environment.name.as_str()));
            here.flat_map(|environment| environment.services.keys().map(ToString::to_string)).collect()
        }
        "directive" => store.open_directives().await?.iter().rev().map(|directive| directive.id.to_string()).collect(),
        "plan" => {
            let mut plans = store.plans_in(PlanState::AwaitingApproval).await?;
            plans.extend(store.plans_in(PlanState::Approved).await?);
            plans.iter().map(|plan| plan.id.to_string()).collect()
        }
        "runbook" => {
            let serving = store.all_serving().await?;
            serving.iter().map(|set| RunbookId::of(&set.environment, &set.service).to_string()).collect()
        }
        "deployment" | "version" => {
            let filter = DeploymentFilter { limit: LOOKED_THROUGH, ..Default::default() };
            let newest = store.deployments(&filter).await?.0.into_iter();
            let mut here = newest.filter(|one| fits("service", one.service.as_str()) && fits("environment", one.environment.as_str()));
            match kind {
                "deployment" => here.map(|one| one.id.to_string()).collect(),
                _ => {
                    let open = store.open_directives().await?;
                    let open = open.iter().rev().filter(|one| fits("service", one.service.as_str()));
                    open.map(|one| one.version.clone()).chain(here.by_ref().map(|one| one.version)).collect()
                }
            }
        }
        _ => Vec::new(),
    };
    let mut seen = std::collections::HashSet::new();
    found.retain(|name| seen.insert(name.clone()));
    Ok(found)
}

/// Returns what begins with what is typed, then what contains it; upper and lower case are one.
fn matching(names: Vec<String>, typed: &str) -> Vec<String> {
    let typed = typed.to_lowercase();
    let (mut begins, rest): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.to_lowercase().starts_with(&typed));
    begins.extend(rest.into_iter().filter(|name| name.to_lowercase().contains(&typed)));
    begins
}

/// Returns the phases by name, then those that a word typed calls for.
fn called_for(phases: &[Prompt], typed: &str) -> Vec<String> {
    let mut found = matching(phases.iter().map(|phase| phase.name.clone()).collect(), typed);
    let typed = typed.to_lowercase();
    let calls = |phase: &&Prompt| phase.triggers.iter().any(|trigger| trigger.to_lowercase().contains(&typed));
    let called: Vec<String> = phases.iter().filter(calls).map(|phase| phase.name.clone()).filter(|name| !found.contains(name)).collect();
    found.extend(called);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_it_comes_before_what_contains_it() {
        let names = ["dep_12", "old_dep", "dep_2", "x"].map(str::to_owned).to_vec();
        assert_eq!(matching(names.clone(), "DEP"), ["dep_12", "dep_2", "old_dep"]);
        assert_eq!(matching(names.clone(), "").len(), 4);
        assert_eq!(matching(names, "none"), [""; 0]);
    }

    #[test]
    fn a_phase_is_found_by_its_name_and_by_a_word_that_calls_for_it() {
        let phases: Vec<Prompt> = crate::phases::all().iter().map(Prompt::from).collect();
        assert_eq!(called_for(&phases, "stage-2"), ["stage-22"]);
        assert!(called_for(&phases, "infrastructure").contains(&"stage-22".to_owned()));
        assert_eq!(called_for(&phases, "").len(), phases.len());
        assert_eq!(called_for(&phases, "gardening"), [""; 0]);
    }
}
