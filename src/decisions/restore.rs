//! Take data back with a deployment's traffic: the person signs the plan that does it, or the turn of one that stands past its migrations.

use super::{Matter, Question};
use crate::{
    engine::{Engine, restore::Restore},
    error::{Error, Result},
    model::DeploymentId,
    store::DecisionEffect,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    deployment: DeploymentId,
    reason: String,
}

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let Subject { deployment: id, reason } = serde_json::from_value(question.subject.clone())
        .map_err(|error| Error::invalid(format!("`subject` is {{deployment, reason}}: {error}")))?;
    super::check_choice(engine, question, &reason, &format!("decide over the data of `{id}`")).await?;
    let deployment = engine.deployment(&id).await?;
    let (document, effect): (String, super::Effect) = match engine.restore_of(&id).await? {
        Restore::Plan(plan) => super::way_back(engine, plan),
        Restore::TurnBack(document) => {
            let document = json!({ "restore": document, "reason": reason });
            (super::canonical(&document), Box::new(move |_| Ok(DecisionEffect::TurnBackWithData { deployment: id, reason })))
        }
    };
    let role = super::role_in(engine, &deployment.environment).await?;
    Ok(Matter { document, environment: Some(deployment.environment), role, effect })
}
