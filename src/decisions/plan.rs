//! Approve or reject a plan: the person signs the plan itself, and so everything in it.

use super::{Matter, Question, name};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{ApproverName, DecisionKind, DecisionVerdict, PlanId, PlanState},
    store::{Approvals, DecisionEffect},
};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let record = engine.plan_record(&PlanId::from(name(question)?)).await?;
    let Some(required) = record.plan.approval.clone() else {
        return Err(Error::new(Code::WrongState, format!("`{}` needs no approval", record.id)));
    };
    // An approver may approve after all what was rejected: that is how a rejected plan is reopened.
    let open = match question.verdict {
        DecisionVerdict::Approve => matches!(record.state, PlanState::AwaitingApproval | PlanState::Rejected),
        DecisionVerdict::Reject => matches!(record.state, PlanState::AwaitingApproval | PlanState::Approved),
    };
    if !open {
        let reason = record.reason.as_deref().unwrap_or("no reason recorded");
        return Err(Error::new(Code::WrongState, format!("`{}` is {} ({reason})", record.id, record.state.as_str()))
            .hint("call `plan_deployment` for a plan that stands"));
    }
    // It would be void at execution: nobody is asked to sign what counts for nothing.
    if let (DecisionVerdict::Approve, Some(why)) = (question.verdict, engine.overtaken(&record.plan).await?) {
        return Err(why);
    }
    let (id, verdict) = (record.id.clone(), question.verdict);
    let approval_expires_at = engine.present().plus(Duration::from_millis(required.expires_ms));
    Ok(Matter {
        environment: Some(record.plan.environment.clone()),
        role: Some(required.role),
        document: super::canonical(&record.plan),
        effect: Box::new(move |signed| {
            Ok(match verdict {
                DecisionVerdict::Approve => DecisionEffect::ApprovePlan { plan: id, approval_expires_at },
                DecisionVerdict::Reject => {
                    DecisionEffect::RejectPlan { plan: id, reason: signed.decision.reason.clone().unwrap_or_default() }
                }
            })
        }),
    })
}

/// Refuses an approval that would count for nothing: a second one of the same person, and under `four_eyes` that of who asked.
pub(super) async fn check_approver(engine: &Engine, question: &Question, approver: &ApproverName) -> Result<()> {
    let record = engine.plan_record(&PlanId::from(name(question)?)).await?;
    let Some(required) = record.plan.approval.as_ref().filter(|_| question.verdict == DecisionVerdict::Approve) else { return Ok(()) };
    let Approvals { given, needed, asked_by } = engine.store.approvals(&record, DecisionKind::Plan).await?;
    if required.four_eyes && asked_by.contains(approver.as_str()) {
        return Err(super::refused(format!("`{approver}` has asked for `{}`: under `four_eyes` somebody else approves it", record.id)));
    }
    // A rejected plan has none: a yes after all is the first again.
    match given.contains(approver) {
        true => Err(super::refused(format!(
            "`{approver}` has approved `{}` already: it has {} of {needed} approvals, each of somebody else",
            record.id,
            given.len()
        ))),
        false => Ok(()),
    }
}

/// Returns which of the approvals it needs a plan has, for who has just decided.
pub(super) async fn approvals(engine: &Engine, question: &Question) -> Result<Value> {
    let record = engine.plan_record(&PlanId::from(name(question)?)).await?;
    let Approvals { given, needed, .. } = engine.store.approvals(&record, DecisionKind::Plan).await?;
    Ok(json!({ "given": given, "needed": needed }))
}

/// Returns when few customers are there, as the router has counted them.
pub(super) async fn advice(engine: &Engine, question: &Question) -> Result<Option<String>> {
    let plan = engine.plan_record(&PlanId::from(name(question)?)).await?.plan;
    let hours = engine.quiet_hours(&plan.service, &plan.environment).await?;
    Ok(Some(format!("quietest hour: {}", hours.summary())))
}
