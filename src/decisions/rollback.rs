//! Go back further than to what served before: the person signs the plan that does it.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Error, Result},
    model::DeploymentId,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    to: DeploymentId,
    reason: String,
}

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let Subject { to, reason } = serde_json::from_value(question.subject.clone())
        .map_err(|error| Error::invalid(format!("`subject` is {{to, reason}}: {error}")))?;
    super::check_choice(engine, question, &reason, &format!("go back to `{to}`")).await?;
    let plan = engine.further_back(&to).await?;
    let environment = plan.environment.clone();
    let (document, effect) = super::way_back(engine, Box::new(plan));
    Ok(Matter { document, role: super::role_in(engine, &environment).await?, environment: Some(environment), effect })
}
