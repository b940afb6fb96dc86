//! Sign off a fact of a directive that only a person can know; bound to the release's digest, and to the document that it acknowledges.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{DecisionVerdict, Directive, DirectiveId, Sha256},
    phases,
    store::DecisionEffect,
};
use serde_json::{Value, json};

/// Facts that acknowledge a document, and the kind of it.
const ACKNOWLEDGED: &[(&str, &str)] = &[("team", "handover"), ("told", "go_live")];

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
    let mut document = json!({
        "statement": fact, "says": says, "directive": directive.id, "service": directive.service, "environment": directive.environment,
        "version": directive.version, "digest": directive.digest, "commit": directive.commit,
    });
    if let Some(acknowledged) = acknowledged(engine, &directive, fact).await? {
        document["document"] = acknowledged;
    }
    let fact = fact.to_owned();
    Ok(Matter {
        environment: Some(directive.environment.clone()),
        role: environment.approval.map(|approval| approval.role),
        document: super::canonical(&document),
        effect: Box::new(move |_| Ok(DecisionEffect::SignOff { directive: directive.id, fact, digest: directive.digest })),
    })
}

/// Returns the document that a fact acknowledges, by its path and hash; none where none was written. Refused when the file is another by now:
/// what is read is what is signed.
async fn acknowledged(engine: &Engine, directive: &Directive, fact: &str) -> Result<Option<Value>> {
    let Some((_, kind)) = ACKNOWLEDGED.iter().find(|(known, _)| *known == fact) else { return Ok(None) };
    let artifacts = engine.store.artifacts(&directive.id).await?;
    let Some(written) = artifacts.into_iter().find(|artifact| artifact.name == *kind) else { return Ok(None) };
    let bytes = tokio::fs::read(engine.workspace.root.join(&written.path)).await.unwrap_or_default();
    if Sha256::of(&bytes) != written.sha256 {
        return Err(Error::new(Code::WrongState, format!("`{}` is not as it was written", written.path))
            .hint(format!("have it written again: `interlock write-document --kind {kind} --directive {}`", directive.id)));
    }
    Ok(Some(json!({ "path": written.path, "sha256": written.sha256 })))
}
