//! Choose for a stuck deployment: try again, take it as done, or go back. What is signed is what was known; a change voids it.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Error, Result},
    model::{Choice, DeploymentId},
    store::DecisionEffect,
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    deployment: DeploymentId,
    choice: Choice,
    reason: String,
}

pub(super) async fn matter(engine: &Arc<Engine>, question: &Question) -> Result<Matter> {
    let Subject { deployment: id, choice, reason } = serde_json::from_value(question.subject.clone())
        .map_err(|error| Error::invalid(format!("`subject` is {{deployment, choice, reason}}: {error}")))?;
    super::check_choice(engine, question, &reason, &format!("choose for `{id}`")).await?;
    let chosen = engine.choice(&id, choice, &reason).await?;
    let deployment = engine.deployment(&id).await?;
    let role = super::role_in(engine, &deployment.environment).await?;
    let document = json!({
        "deployment": id, "service": deployment.service, "environment": deployment.environment, "version": deployment.version,
        "plan": deployment.plan, "choice": choice, "this": chosen.follows, "reason": reason, "stuck": chosen.stuck,
        // To the millisecond: every change of the record moves it.
        "known_at": deployment.updated_at.to_string(), "known_at_ms": deployment.updated_at,
    });
    Ok(Matter {
        environment: Some(deployment.environment),
        role,
        document: super::canonical(&document),
        effect: Box::new(move |_| Ok(DecisionEffect::Resolve(chosen.resolution))),
    })
}
