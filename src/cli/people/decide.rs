//! Signs a decision: fetches the exact bytes, hashes them here, and binds the signature to them and to the audit chain's head.

use super::api::ask;
use crate::{
    config::Workspace,
    decisions::{Question, Review},
    error::{Code, Error, Result},
    model::{ApproverName, Clock, Decision, Sha256, SignedDecision, SystemClock, digest::hex},
};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a signature may take to reach the server.
const EXPIRES: Duration = Duration::from_secs(300);

/// Fetches what is to be decided, and checks that the hash is of these bytes.
pub async fn fetch(workspace: &Workspace, question: &Question) -> Result<Review> {
    let review: Review = ask(workspace, "review", json!(question)).await?;
    match Sha256::of(review.document.as_bytes()) == review.subject_sha256 && review.kind == question.kind {
        true => Ok(review),
        false => Err(Error::new(Code::DecisionRefused, "the server's hash is not that of the document it sent")),
    }
}

/// Signs the reviewed bytes and hands the decision in.
pub async fn sign(
    workspace: &Workspace,
    question: &Question,
    review: &Review,
    signer: (&ApproverName, &SigningKey),
    reason: Option<String>,
) -> Result<Value> {
    let decision = Decision {
        kind: review.kind,
        subject_sha256: Sha256::of(review.document.as_bytes()),
        environment: review.environment.clone(),
        nonce: hex(&rand::random::<[u8; 16]>()),
        expires_at: SystemClock.now().plus(EXPIRES),
        verdict: question.verdict,
        reason,
        approver: signer.0.clone(),
        audit_head: review.audit_head.clone(),
        origin: None,
    };
    let signed = SignedDecision::sign(decision, signer.1);
    ask(workspace, "decide", json!({ "question": question, "signed": signed })).await
}
