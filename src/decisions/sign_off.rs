//! Sign off a fact of a directive that only a person can know; bound to the release's digest.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Error, Result},
    model::{DecisionVerdict, DirectiveId},
    store::DecisionEffect,
};
use serde_json::json;

/// The facts a person may sign. Further ones come with phase files.
const FACTS: &[&str] = &["uat"];

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let (Some(directive), Some(fact)) = (question.subject["directive"].as_str(), question.subject["fact"].as_str()) else {
        return Err(Error::invalid("`subject` is {directive, fact}"));
    };
    if !FACTS.contains(&fact) {
        return Err(Error::not_found("fact", fact).hint(format!("facts that are signed: {}", FACTS.join(", "))));
    }
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("a fact that is not so is simply not signed"));
    }
    let directive = engine.open_directive(&DirectiveId::from(directive)).await?;
    let (_, environment, _) = engine.service(&directive.environment, &directive.service).await?;
    let document = json!({
        "statement": fact, "directive": directive.id, "service": directive.service, "environment": directive.environment,
        "version": directive.version, "digest": directive.digest, "commit": directive.commit,
    });
    let fact = fact.to_owned();
    Ok(Matter {
        environment: Some(directive.environment.clone()),
        role: environment.approval.map(|approval| approval.role),
        document: super::canonical(&document),
        effect: Box::new(move |_| Ok(DecisionEffect::SignOff { directive: directive.id, fact, digest: directive.digest })),
    })
}
