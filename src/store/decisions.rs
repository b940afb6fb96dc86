//! Decisions: a signed document and what it brings about, in one transaction. Whether the signature counts is checked before.

use super::{
    Result, Store, StoreError, Write, approvals, approvers, freezes, plans,
    query::{Read, json as text, sql, word},
    revisions, runbooks, stages,
    transitions::{self, Resolution},
};
use crate::{
    error::{Code, Error},
    model::{
        decision::{Enrolment, Signature},
        *,
    },
};
use serde_json::json;

/// What a decision brings about.
#[derive(Debug, Clone, PartialEq)]
pub enum DecisionEffect {
    /// A plan that waits, or was rejected, is approved.
    ApprovePlan {
        /// The plan.
        plan: PlanId,
        /// Until when it may be used.
        approval_expires_at: Timestamp,
    },
    /// A plan that waits or is approved is rejected.
    RejectPlan {
        /// The plan.
        plan: PlanId,
        /// Why.
        reason: String,
    },
    /// A fact of a directive is vouched for.
    SignOff {
        /// The directive.
        directive: DirectiveId,
        /// `uat` …
        fact: String,
        /// The release it is about.
        digest: Sha256,
    },
    /// A configuration revision is in force.
    ApplyConfiguration {
        /// The revision.
        revision: i64,
        /// Where.
        environments: Vec<EnvironmentName>,
    },
    /// A runbook version in review is published.
    PublishRunbook {
        /// The runbook.
        runbook: RunbookId,
        /// Its version.
        version: i64,
    },
    /// A runbook version in review goes back to its author.
    ReturnRunbook {
        /// The runbook.
        runbook: RunbookId,
        /// Its version.
        version: i64,
        /// Why.
        reason: String,
    },
    /// Somebody else may decide, or an approver with a further key.
    EnrolApprover(Enrolment),
    /// The plan of a way back stands, approved.
    GoBack {
        /// The plan.
        plan: Box<Plan>,
        /// Until when it may be used.
        approval_expires_at: Timestamp,
    },
    /// A deployment that stands past its migrations turns back, and takes its data back.
    TurnBackWithData {
        /// The deployment.
        deployment: DeploymentId,
        /// Why.
        reason: String,
    },
    /// A freeze ends now.
    LiftFreeze {
        /// The freeze.
        id: String,
        /// Of a freeze of all: only here.
        environment: Option<EnvironmentName>,
    },
    /// A stuck deployment goes on.
    Resolve(Resolution),
}

/// Why a decision was not recorded. In each case nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordDecisionError {
    /// The nonce was used before: this is a decision sent twice.
    #[error("this decision was used already")]
    NonceUsed,
    /// The passkey's counter did not go on: there are two of it, or it was found to be cloned before.
    #[error("the passkey's counter went back: it was cloned, and counts no longer")]
    Cloned,
    /// What it is about does not wait for it, or is something else by now.
    #[error("{0}")]
    WrongState(String),
    /// The database could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RecordDecisionError> for Error {
    fn from(error: RecordDecisionError) -> Self {
        match error {
            RecordDecisionError::NonceUsed | RecordDecisionError::Cloned => Error::new(Code::DecisionRefused, error.to_string()),
            RecordDecisionError::WrongState(why) => Error::new(Code::WrongState, why),
            RecordDecisionError::Store(error) => error.into(),
        }
    }
}

/// A fact somebody vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOff {
    /// `uat` …
    pub fact: String,
    /// The release it is about.
    pub digest: Sha256,
    /// Who.
    pub approver: ApproverName,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Records a decision whose signature was checked, and brings its effect about: both or neither.
    pub async fn record_decision(&self, by: &Caller, signed: &SignedDecision, effect: DecisionEffect) -> Result<(), RecordDecisionError> {
        let decision = &signed.decision;
        let mut write = self.write().await?;
        if !insert(&mut write, signed, &effect).await? {
            return Err(RecordDecisionError::NonceUsed);
        }
        if let Signature::Passkey(assertion) = &signed.signature
            && !approvers::count_on(&mut write, assertion).await?
        {
            return Err(RecordDecisionError::Cloned);
        }
        let subject = subject_of(&effect);
        if !bring_about(&mut write, decision, &effect).await? {
            return Err(RecordDecisionError::WrongState(format!("{subject} does not wait for this decision")));
        }
        let mut detail = json!({ "kind": decision.kind, "verdict": decision.verdict, "approver": decision.approver, "subject_sha256": decision.subject_sha256,
            "nonce": decision.nonce, "reason": decision.reason });
        if let Some(origin) = &decision.origin {
            detail["origin"] = json!(origin);
        }
        if let DecisionEffect::Resolve(resolution) = &effect {
            detail["choice"] = json!(resolution.choice);
            detail["step"] = json!({ "id": resolution.step, "counts_as": resolution.step_to });
        }
        write.commit(by, "record_decision", subject, detail).await?;
        Ok(())
    }

    /// Returns the decisions over a document, oldest first.
    pub async fn decisions_over(&self, subject_sha256: &Sha256) -> Result<Vec<SignedDecision>> {
        let rows =
            sql("SELECT body FROM decisions WHERE subject_sha256 = $1 ORDER BY number").bind(subject_sha256).all(self.pool()).await?;
        rows.iter().map(|row| row.json("body")).collect()
    }

    /// Returns at most `limit` decisions after the one with this number, oldest first, each with its number.
    pub async fn decisions_after(&self, number: i64, limit: u32) -> Result<Vec<(i64, SignedDecision)>> {
        let rows = sql("SELECT number, body FROM decisions WHERE number > $1 ORDER BY number LIMIT $2").bind(number).bind(limit);
        rows.all(self.pool()).await?.iter().map(|row| Ok((row.read("number")?, row.json("body")?))).collect()
    }

    /// Returns what was vouched for in a directive, oldest first.
    pub async fn sign_offs(&self, directive: &DirectiveId) -> Result<Vec<SignOff>> {
        let rows = sql(
            "SELECT fact, digest, approver, decided_at FROM decisions WHERE directive_id = $1 AND fact IS NOT NULL AND verdict = 'approve'
                        ORDER BY number",
        )
        .bind(directive)
        .all(self.pool())
        .await?;
        let sign_off_of = |row: &sqlx::any::AnyRow| {
            Ok(SignOff {
                fact: row.read("fact")?,
                digest: row.read("digest")?,
                approver: row.read("approver")?,
                at: row.read("decided_at")?,
            })
        };
        rows.iter().map(sign_off_of).collect()
    }
}

/// Inserts a decision; `false` when its nonce was used.
async fn insert(write: &mut Write, signed: &SignedDecision, effect: &DecisionEffect) -> Result<bool> {
    let decision = &signed.decision;
    let (directive, fact, digest) = match effect {
        DecisionEffect::SignOff { directive, fact, digest } => (Some(directive), Some(fact), Some(digest)),
        _ => (None, None, None),
    };
    let at = write.at;
    let inserted = sql(
        "INSERT INTO decisions (number, nonce, kind, subject_sha256, environment, verdict, approver, audit_head, body, directive_id, fact,
                            digest, decided_at)
                        SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM decisions WHERE 1 = 1
                        ON CONFLICT (nonce) DO NOTHING",
    )
    .bind(&decision.nonce)
    .bind(word(&decision.kind))
    .bind(&decision.subject_sha256)
    .bind(decision.environment.as_ref())
    .bind(word(&decision.verdict))
    .bind(&decision.approver)
    .bind(&decision.audit_head)
    .bind(text(signed))
    .bind(directive)
    .bind(fact)
    .bind(digest)
    .bind(at)
    .run(write.on())
    .await?;
    Ok(inserted == 1)
}

/// Does what was decided; `false` when its subject does not wait for it, or is not what was signed.
async fn bring_about(write: &mut Write, decision: &Decision, effect: &DecisionEffect) -> Result<bool> {
    let at = write.at;
    let moved = match effect {
        DecisionEffect::ApprovePlan { plan, approval_expires_at } => {
            approvals::approve(write, decision, plan, *approval_expires_at).await?
        }
        DecisionEffect::RejectPlan { plan, reason } => {
            sql("UPDATE plans SET state = 'rejected', reason = $1, decided_by = $2, updated_at = $3
                 WHERE id = $4 AND sha256 = $5 AND state IN ('awaiting_approval', 'approved')")
            .bind(reason)
            .bind(&decision.approver)
            .bind(at)
            .bind(plan)
            .bind(&decision.subject_sha256)
            .run(write.on())
            .await?
        }
        // The decision itself is the record; it only needs its directive.
        DecisionEffect::SignOff { directive, .. } => {
            let found = sql("SELECT id FROM strategic_directives_v2 WHERE id = $1").bind(directive).one(write.on()).await?;
            u64::from(found.is_some())
        }
        DecisionEffect::ApplyConfiguration { revision, environments } => {
            let sha256: Option<Sha256> =
                sql("SELECT sha256 FROM config_revisions WHERE revision = $1").bind(*revision).value(write.on(), "sha256").await?;
            if sha256.as_ref() != Some(&decision.subject_sha256) {
                return Ok(false);
            }
            revisions::put_in_force(write, *revision, environments).await?;
            1
        }
        DecisionEffect::PublishRunbook { runbook, version } => runbooks::review(write, decision, runbook, *version, None).await?.into(),
        DecisionEffect::ReturnRunbook { runbook, version, reason } => {
            runbooks::review(write, decision, runbook, *version, Some(reason)).await?.into()
        }
        DecisionEffect::EnrolApprover(new) => approvers::enrol(write, new, Some(&decision.nonce)).await?.into(),
        DecisionEffect::GoBack { plan, approval_expires_at } => match plans::insert_decided(write, plan, &decision.approver).await? {
            true => approvals::approve(write, decision, &plan.id(), *approval_expires_at).await?,
            false => 0,
        },
        DecisionEffect::TurnBackWithData { deployment, reason } => {
            transitions::ask_undo(write, deployment, decision.approver.as_str(), reason, "restore").await?
        }
        DecisionEffect::LiftFreeze { id, environment } => freezes::lift(write, id, environment.as_ref(), &decision.approver).await?.into(),
        DecisionEffect::Resolve(resolution) => transitions::resolve(write, resolution, &decision.approver).await?.into(),
    };
    match effect {
        DecisionEffect::ApprovePlan { plan, .. } if moved > 0 => note_progress(write, plan, true).await?,
        DecisionEffect::RejectPlan { plan, .. } if moved > 0 => note_progress(write, plan, false).await?,
        _ => {}
    }
    Ok(moved > 0)
}

/// Notes that the stage's work goes on, or does not, with the plan that was decided over.
async fn note_progress(write: &mut Write, plan: &PlanId, goes_on: bool) -> Result<()> {
    let directive: Option<DirectiveId> =
        sql("SELECT directive_id FROM plans WHERE id = $1").bind(plan).value(write.on(), "directive_id").await?;
    match directive {
        Some(directive) => stages::note_progress(write, &directive, goes_on).await,
        None => Ok(()),
    }
}

fn subject_of(effect: &DecisionEffect) -> String {
    match effect {
        DecisionEffect::ApprovePlan { plan, .. } | DecisionEffect::RejectPlan { plan, .. } => plan.to_string(),
        DecisionEffect::SignOff { directive, fact, .. } => format!("{directive} {fact}"),
        DecisionEffect::ApplyConfiguration { revision, .. } => format!("revision {revision}"),
        DecisionEffect::PublishRunbook { runbook, version } | DecisionEffect::ReturnRunbook { runbook, version, .. } => {
            format!("{runbook} version {version}")
        }
        DecisionEffect::EnrolApprover(new) => format!("approver {}", new.name),
        DecisionEffect::GoBack { plan, .. } => plan.id().to_string(),
        DecisionEffect::TurnBackWithData { deployment, .. } => deployment.to_string(),
        DecisionEffect::LiftFreeze { id, environment: None } => id.clone(),
        DecisionEffect::LiftFreeze { id, environment: Some(environment) } => format!("{id} in {environment}"),
        DecisionEffect::Resolve(resolution) => resolution.deployment.to_string(),
    }
}
