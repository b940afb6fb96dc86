//! Lift a freeze: for good, or a freeze of all in one environment. Whoever approves there decides; where nobody has to approve, any
//! approver does.

use super::{Matter, Question};
use crate::{
    engine::{Engine, freezing},
    error::{Code, Error, Result},
    model::{DecisionVerdict, EnvironmentName},
    store::DecisionEffect,
};
use serde_json::json;
use std::collections::BTreeSet;

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let subject = &question.subject;
    let id =
        subject.as_str().or(subject["freeze"].as_str()).ok_or_else(|| Error::invalid("`subject` is a freeze, or {freeze, environment}"))?;
    let asked = subject["environment"].as_str().map(EnvironmentName::from);
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("a freeze that is to stay is simply not lifted"));
    }
    let freeze = engine.store.freeze(id).await?.ok_or_else(|| Error::not_found("freeze", id).hint("`interlock freezes` lists them"))?;
    if freeze.is_over(engine.clock.now()) {
        return Err(Error::new(Code::WrongState, format!("`{id}` is over")).hint("`interlock freezes` lists those that are not"));
    }
    // A freeze of one environment has only that one to be lifted in.
    let lifted_in = match (&freeze.environment, asked) {
        (Some(own), Some(asked)) if *own != asked => return Err(Error::invalid(format!("`{id}` freezes `{own}`, not `{asked}`"))),
        (Some(_), _) => None,
        (None, asked) => asked,
    };
    let environment = lifted_in.clone().or_else(|| freeze.environment.clone());
    let role = role(engine, id, environment.as_ref()).await?;
    let document = json!({
        "statement": "this freeze is lifted", "where": lifted_in.as_ref().map_or("wherever it holds", EnvironmentName::as_str),
        "freeze": freeze, "lifted_before_in": engine.store.freeze_lifts(id).await?,
    });
    let id = id.to_owned();
    Ok(Matter {
        environment,
        role,
        document: super::canonical(&document),
        effect: Box::new(move |_| Ok(DecisionEffect::LiftFreeze { id, environment: lifted_in })),
    })
}

/// Returns the role that lifts: the environment's; everywhere the one that all ask for. None when any approver may.
async fn role(engine: &Engine, id: &str, environment: Option<&EnvironmentName>) -> Result<Option<String>> {
    if engine.store.approvers().await?.is_empty() {
        return Err(Error::new(Code::DeniedByPolicy, format!("nobody is enrolled who could lift `{id}`"))
            .hint(format!("`interlock approver add NAME` enrols the first approver, who then runs `{}`", freezing::command(id))));
    }
    let configured = engine.environments().await?;
    if let Some(environment) = environment
        && !configured.iter().any(|known| known.name == *environment)
    {
        return Err(Error::not_found("environment", environment));
    }
    let concerned = configured.into_iter().filter(|known| environment.is_none_or(|environment| known.name == *environment));
    let mut roles: BTreeSet<String> = concerned.filter_map(|known| known.approval).map(|approval| approval.role).collect();
    if roles.len() > 1 {
        let roles: Vec<String> = roles.into_iter().collect();
        return Err(Error::new(Code::WrongState, format!("the environments ask for different roles: {}", roles.join(", ")))
            .hint(format!("each lifts it where it approves: `{} --in ENV`", freezing::command(id))));
    }
    Ok(roles.pop_first())
}
