//! Decisions: the only code that approves, signs off, publishes, applies, enrols, lifts or chooses. Operations cannot reach it (`tests/tidy.rs`).
//!
//! A decision is a signed document, not a call: [`review`] hands out the exact bytes, a person's side renders and signs them, and
//! [`decide`] accepts the signature or refuses it. To add a kind: a variant of `DecisionKind`, one file here, one arm in each match.

mod approver;
mod configuration;
mod exact;
pub mod passkeys;
mod plan;
mod record;
mod rendered;
mod resolve;
mod restore;
mod rollback;
mod runbook;
mod sign_off;
mod unfreeze;

pub use crate::model::decision::Enrolment;
pub use approver::enrol_first;
pub use exact::{Field, fields};
pub use record::verify_signatures;
pub use rendered::{render, whole};

use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{Caller, Decision, DecisionKind, DecisionVerdict, EnvironmentName, Plan, Sha256, SignedDecision, decision::Signature},
    store::{DecisionEffect, RecordDecisionError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Where configuration names no approver, how long a way back that was decided may wait for the environment to be free.
const EXPIRES: Duration = Duration::from_secs(3_600);

/// How many characters a reason may have.
const LONGEST_REASON: usize = 4_000;

/// What a person is to decide over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What kind.
    pub kind: DecisionKind,
    /// The plan, directive, runbook or revision; for an approver the enrolment itself.
    pub subject: Value,
    /// Yes or no.
    pub verdict: DecisionVerdict,
}

/// The exact bytes a person is shown, and what a decision over them must name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// What kind.
    pub kind: DecisionKind,
    /// Canonical JSON of a plan, sign-off, enrolment, freeze or stuck deployment; the text of a configuration or runbook. The person's side hashes and renders exactly this.
    pub document: String,
    /// SHA-256 of `document`.
    pub subject_sha256: Sha256,
    /// The environment it counts in.
    pub environment: Option<EnvironmentName>,
    /// The head of the audit chain now.
    pub audit_head: Sha256,
    /// The role that may decide; none when any approver may.
    pub role: Option<String>,
    /// What helps to choose, and is no part of what is signed: it changes while the document stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Who may decide over a subject, and what follows.
struct Matter {
    document: String,
    environment: Option<EnvironmentName>,
    role: Option<String>,
    effect: Effect,
}

type Effect = Box<dyn FnOnce(&SignedDecision) -> Result<DecisionEffect> + Send>;

/// Returns the bytes a person decides over.
pub async fn review(engine: &Arc<Engine>, question: &Question) -> Result<Review> {
    let matter = matter(engine, question).await?;
    let advice = match question.kind {
        DecisionKind::Plan => plan::advice(engine, question).await?,
        _ => None,
    };
    Ok(Review {
        advice,
        kind: question.kind,
        subject_sha256: Sha256::of(matter.document.as_bytes()),
        document: matter.document,
        environment: matter.environment,
        audit_head: engine.store.audit_head().await?.1,
        role: matter.role,
    })
}

/// Accepts a decision that a key at a terminal has signed, records it with its effect in one transaction, and returns what follows.
pub async fn decide(engine: &Arc<Engine>, by: &Caller, question: &Question, signed: &SignedDecision) -> Result<Value> {
    match &signed.signature {
        Signature::Ed25519(_) => accept(engine, by, question, signed).await,
        // Only there is it known at which origin it was asked for.
        Signature::Passkey(_) => Err(refused("a passkey decides on the page that asks for it")),
    }
}

/// Accepts a signed decision of either kind of key.
async fn accept(engine: &Arc<Engine>, by: &Caller, question: &Question, signed: &SignedDecision) -> Result<Value> {
    let (decision, refuse) = (&signed.decision, |why: &str| refused(why));
    let matter = matter(engine, question).await?;
    let approver = engine.store.approver(&decision.approver).await?.ok_or_else(|| refuse("nobody of that name is an approver"))?;
    let key =
        approver.signer(signed).map_err(|unfit| refused(format!("the signature is not that person's over this document: {unfit}")))?;
    if key.cloned_at.is_some() {
        return Err(passkeys::no_longer());
    }
    if decision.kind != question.kind || decision.verdict != question.verdict {
        return Err(refuse("the decision is of another kind than what is asked"));
    }
    if decision.subject_sha256 != Sha256::of(matter.document.as_bytes()) {
        return Err(refuse("the decision is over other bytes than those that stand now"));
    }
    if decision.environment != matter.environment {
        return Err(refuse("the decision names another environment"));
    }
    // By the clock that the person signs by: one that was set back would otherwise refuse everybody; a nonce counts once anyhow.
    if decision.expires_at <= engine.clock.now() {
        return Err(refuse("the decision is expired"));
    }
    if matter.role.as_ref().is_some_and(|role| *role != approver.role) {
        return Err(refuse("that person does not have the role this asks for"));
    }
    check_reason(decision)?;
    if decision.kind == DecisionKind::Plan {
        plan::check_approver(engine, question, &decision.approver).await?;
    }
    let effect = (matter.effect)(signed)?;
    let resolved = match &effect {
        DecisionEffect::Resolve(resolution) => Some(resolution.deployment.clone()),
        _ => None,
    };
    let goes_back = match &effect {
        DecisionEffect::GoBack { plan, .. } => Some(plan.id()),
        _ => None,
    };
    match (engine.store.record_decision(by, signed, effect).await, &signed.signature) {
        (Ok(()), _) => {}
        (Err(RecordDecisionError::Cloned), Signature::Passkey(assertion)) => return Err(passkeys::cloned(engine, by, assertion).await?),
        (Err(error), _) => return Err(error.into()),
    }
    if let Some(id) = resolved
        && let Err(error) = engine.go_on(&id).await
    {
        // The decision stands; the background takes the deployment up.
        tracing::warn!(deployment.id = %id, "`{id}` was decided and waits: {error}");
    }
    if let Some(plan) = goes_back
        && let Err(error) = engine.execute(&Caller::server(), &plan).await
    {
        // The decision stands; the background starts it when it can.
        tracing::warn!("`{plan}` is decided and waits: {error}");
    }
    tracing::info!(approver = %approver.name, "`{}` decided: {:?} {:?}", approver.name, decision.verdict, decision.kind);
    let mut recorded = json!({ "recorded": true, "kind": decision.kind, "verdict": decision.verdict, "approver": approver.name,
        "subject_sha256": decision.subject_sha256 });
    if decision.kind == DecisionKind::Plan && decision.verdict == DecisionVerdict::Approve {
        recorded["approvals"] = plan::approvals(engine, question).await?;
    }
    Ok(recorded)
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(Code::DecisionRefused, why)
}

/// Refuses a no without a reason, and a reason that nobody would read.
fn check_reason(decision: &Decision) -> Result<()> {
    let reason = decision.reason.as_deref().unwrap_or_default();
    if decision.verdict == DecisionVerdict::Reject && reason.trim().is_empty() {
        return Err(refused("a refusal needs a reason"));
    }
    match reason.chars().count() > LONGEST_REASON {
        true => Err(refused(format!("a reason has at most {LONGEST_REASON} characters"))),
        false => Ok(()),
    }
}

async fn matter(engine: &Arc<Engine>, question: &Question) -> Result<Matter> {
    match question.kind {
        DecisionKind::Plan => plan::matter(engine, question).await,
        DecisionKind::Configuration => configuration::matter(engine, question).await,
        DecisionKind::SignOff => sign_off::matter(engine, question).await,
        DecisionKind::Runbook => runbook::matter(engine, question).await,
        DecisionKind::Approver => approver::matter(engine, question).await,
        DecisionKind::Unfreeze => unfreeze::matter(engine, question).await,
        DecisionKind::Resolve => resolve::matter(engine, question).await,
        DecisionKind::Restore => restore::matter(engine, question).await,
        DecisionKind::Rollback => rollback::matter(engine, question).await,
    }
}

/// Checks what every choice over a deployment has: a yes, a reason, and somebody enrolled who may decide it.
async fn check_choice(engine: &Engine, question: &Question, reason: &str, what: &str) -> Result<()> {
    if reason.trim().is_empty() || reason.chars().count() > 500 {
        return Err(Error::invalid("`reason` has 1 to 500 characters"));
    }
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("what is not chosen is simply not signed"));
    }
    if engine.store.approvers().await?.is_empty() {
        return Err(Error::new(Code::DeniedByPolicy, format!("nobody is enrolled who could {what}"))
            .hint("`interlock approver add NAME` enrols the first approver, who then decides"));
    }
    Ok(())
}

/// Returns the role that decides in an environment; none where any approver may.
async fn role_in(engine: &Engine, environment: &EnvironmentName) -> Result<Option<String>> {
    let environment = engine.environments().await?.into_iter().find(|known| known.name == *environment);
    Ok(environment.and_then(|environment| environment.approval).map(|approval| approval.role))
}

/// Returns the document and the effect of a way back that is decided by signing its plan.
fn way_back(engine: &Engine, plan: Box<Plan>) -> (String, Effect) {
    let expires = plan.approval.as_ref().map_or(EXPIRES, |approval| Duration::from_millis(approval.expires_ms));
    let approval_expires_at = engine.present().plus(expires);
    (canonical(&plan), Box::new(move |_| Ok(DecisionEffect::GoBack { plan, approval_expires_at })))
}

/// Returns the document of something that is shown as JSON.
fn canonical(value: &impl Serialize) -> String {
    String::from_utf8(crate::model::canonical_json(value)).expect("JSON is UTF-8")
}

/// Reads a subject that is one name.
fn name(question: &Question) -> Result<&str> {
    question.subject.as_str().ok_or_else(|| Error::invalid("`subject` is a name"))
}
