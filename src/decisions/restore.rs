//! Take data back with a deployment's traffic: the person signs the plan that does it, or the turn of one that stands past its migrations.

use super::{Matter, Question};
use crate::{
    engine::{Engine, restore::Restore},
    error::{Code, Error, Result},
    model::{DecisionVerdict, DeploymentId},
    store::DecisionEffect,
};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Where configuration names no approver, how long a decision may wait for the environment to be free.
const EXPIRES: Duration = Duration::from_secs(3_600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    deployment: DeploymentId,
    reason: String,
}

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let Subject { deployment: id, reason } = serde_json::from_value(question.subject.clone())
        .map_err(|error| Error::invalid(format!("`subject` is {{deployment, reason}}: {error}")))?;
    if reason.trim().is_empty() || reason.chars().count() > 500 {
        return Err(Error::invalid("`reason` has 1 to 500 characters"));
    }
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("data that is not to go back is simply not signed for"));
    }
    if engine.store.approvers().await?.is_empty() {
        return Err(Error::new(Code::DeniedByPolicy, format!("nobody is enrolled who could decide over the data of `{id}`"))
            .hint("`interlock approver add NAME` enrols the first approver, who then decides"));
    }
    let deployment = engine.deployment(&id).await?;
    let environment = engine.environments().await?.into_iter().find(|known| known.name == deployment.environment);
    let approval = environment.and_then(|environment| environment.approval);
    let (document, effect): (String, super::Effect) = match engine.restore_of(&id).await? {
        Restore::Plan(plan) => {
            let expires = plan.approval.as_ref().map_or(EXPIRES, |approval| Duration::from_millis(approval.expires_ms));
            let approval_expires_at = engine.clock.now().plus(expires);
            (super::canonical(&plan), Box::new(move |_| Ok(DecisionEffect::Restore { plan, approval_expires_at })))
        }
        Restore::TurnBack(document) => {
            let document = json!({ "restore": document, "reason": reason });
            (super::canonical(&document), Box::new(move |_| Ok(DecisionEffect::TurnBackWithData { deployment: id, reason })))
        }
    };
    Ok(Matter { document, environment: Some(deployment.environment), role: approval.map(|approval| approval.role), effect })
}
