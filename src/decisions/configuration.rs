//! Apply a configuration revision to the environments that ask for approval.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::DecisionVerdict,
    store::DecisionEffect,
};

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let proposal = engine
        .pending_proposal()
        .await?
        .ok_or_else(|| Error::new(Code::WrongState, "no configuration waits for a decision").hint("run `interlock apply` first"))?;
    if question.subject.as_i64().is_some_and(|revision| revision != proposal.revision) {
        return Err(Error::new(Code::WrongState, format!("revision {} waits, not {}", proposal.revision, question.subject)));
    }
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("a configuration that is not wanted is simply not signed"));
    }
    let role = role(engine, &proposal).await?;
    let (revision, environments) = (proposal.revision, proposal.environments.clone());
    Ok(Matter {
        // One signature covers every environment the revision reaches; each is named in the document.
        environment: None,
        role: Some(role),
        document: proposal.text.clone(),
        effect: Box::new(move |_| Ok(DecisionEffect::ApplyConfiguration { revision, environments })),
    })
}

/// Returns the role that must sign: of the environment as it is in force, so that a change of the role is signed by the old one.
async fn role(engine: &Engine, proposal: &crate::engine::configuration::ConfigurationProposal) -> Result<String> {
    // An environment that another rests on has no role of its own: the one that rests on it signs.
    let new = crate::config::parse(crate::config::FILE_NAME, &proposal.text).map_err(Error::from)?;
    let mut roles = std::collections::BTreeSet::new();
    for name in &proposal.environments {
        let in_force = match engine.applied(name).await {
            Ok(applied) => applied.config.environment(name).and_then(|environment| environment.approval.clone()),
            Err(error) if matches!(error.code, Code::ConfigurationPending | Code::NotFound) => None,
            Err(error) => return Err(error),
        };
        let proposed = new.environment(name).and_then(|environment| environment.approval.clone());
        roles.extend(in_force.or(proposed).map(|approval| approval.role));
    }
    if roles.is_empty() {
        for environment in engine.environments().await? {
            roles.extend(environment.approval.map(|approval| approval.role));
        }
    }
    match (roles.len(), roles.pop_first()) {
        (1, Some(role)) => Ok(role),
        _ => Err(Error::new(Code::WrongState, "the environments reached name different roles; apply them in separate revisions")),
    }
}
