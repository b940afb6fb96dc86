//! Publish a runbook, or return it with a reason. What is signed is the text.

use super::{Matter, Question, name};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{DecisionVerdict, RunbookId},
    store::{DecisionEffect, RunbookState},
};

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let id = RunbookId::from(name(question)?);
    let newest = engine.store.newest_runbook_version(&id).await?.ok_or_else(|| Error::not_found("runbook", &id))?;
    if newest.state != RunbookState::InReview {
        return Err(Error::new(Code::WrongState, format!("`{id}` version {} is {}, not in review", newest.version, newest.state.as_str())));
    }
    let (version, verdict) = (newest.version, question.verdict);
    Ok(Matter {
        environment: None,
        role: None,
        document: newest.text,
        effect: Box::new(move |signed| {
            Ok(match verdict {
                DecisionVerdict::Approve => DecisionEffect::PublishRunbook { runbook: id, version },
                DecisionVerdict::Reject => {
                    DecisionEffect::ReturnRunbook { runbook: id, version, reason: signed.decision.reason.clone().unwrap_or_default() }
                }
            })
        }),
    })
}
