//! Sign off a fact of a directive that only a person can know; bound to the release's digest.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Error, Result},
    model::{DecisionVerdict, DirectiveId},
    phases,
    store::DecisionEffect,
};
use serde_json::json;

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let (Some(directive), Some(fact)) = (question.subject["directive"].as_str(), question.subject["fact"].as_str()) else {
        return Err(Error::invalid("`subject` is {directive, fact}"));
    };
    if !phases::signable().any(|known| known == fact) {
        let known: Vec<&str> = phases::signable().collect();
        return Err(Error::not_found("fact", fact).hint(format!("facts that are signed: {}", known.join(", "))));
    }
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("a fact that is not so is simply not signed"));
    }
    let directive = engine.open_directive(&DirectiveId::from(directive)).await?;
    let (_, environment, _) = engine.service(&directive.environment, &directive.service).await?;
    let kind = phases::FACTS.iter().find(|kind| kind.signed == Some(fact) || kind.denied == Some(fact));
    let says = kind.map(|kind| if kind.denied == Some(fact) { format!("it is not so: {}", kind.says) } else { kind.says.to_owned() });
    let document = json!({
        "statement": fact, "says": says, "directive": directive.id, "service": directive.service, "environment": directive.environment,
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
