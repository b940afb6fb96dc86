//! People who sign, with keys of their own.

use ed25519_dalek::SigningKey;
use interlock::{
    decisions::Review,
    model::{ApproverName, Clock, Decision, DecisionVerdict, SignedDecision, SystemClock, decision::PublicKey},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A person who signs.
pub struct Approver {
    /// The name.
    pub name: ApproverName,
    /// The key.
    pub key: SigningKey,
}

impl Approver {
    /// Returns a person with a new key.
    pub fn new(name: &str) -> Self {
        Approver { name: name.into(), key: SigningKey::from_bytes(&rand::random()) }
    }

    /// Returns the enrolment of this person with a role.
    pub fn enrolment(&self, role: &str) -> Value {
        json!({ "name": self.name, "role": role, "public_key": PublicKey::of(&self.key) })
    }

    /// Returns the decision over what was reviewed, unsigned.
    pub fn decision(&self, review: &Review, verdict: DecisionVerdict, reason: Option<&str>) -> Decision {
        Decision {
            kind: review.kind,
            subject_sha256: review.subject_sha256.clone(),
            environment: review.environment.clone(),
            nonce: format!("{:032x}", rand::random::<u128>()),
            expires_at: SystemClock.now().plus(Duration::from_secs(300)),
            verdict,
            reason: reason.map(str::to_owned),
            approver: self.name.clone(),
            audit_head: review.audit_head.clone(),
            origin: None,
        }
    }

    /// Signs it.
    pub fn sign(&self, decision: Decision) -> SignedDecision {
        SignedDecision::sign(decision, &self.key)
    }
}
