//! A decision: a document a person's key has signed. Checking the signature is pure, so the engine checks it again at execution.

use super::{
    digest::{Sha256, canonical_json, hex, unhex},
    ids::{ApproverName, EnvironmentName},
    passkey::{Assertion, Passkey, RelyingParty, Unfit},
    time::Timestamp,
};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Stands before the signed bytes, so that no signature made for something else fits.
const DOMAIN: &[u8] = b"interlock decision v1\n";

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Over a plan; the subject is the plan's hash.
    Plan,
    /// Over a configuration revision; the subject is the revision's hash.
    Configuration,
    /// Over a fact of a directive, `uat`; the subject is the hash of directive, fact and release digest.
    SignOff,
    /// Over a runbook version; the subject is the hash of its text.
    Runbook,
    /// Over a new approver; the subject is the hash of name, role and public key.
    Approver,
    /// Over a freeze that is to end; the subject is the hash of the freeze and where it is lifted.
    Unfreeze,
    /// Over a deployment that is stuck; the subject is the hash of what is known of it and what is chosen.
    Resolve,
    /// Over data that goes back with a deployment; the subject is the hash of the plan that takes it back.
    Restore,
    /// Over a way back that reaches further than what served before; the subject is the hash of its plan.
    Rollback,
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionVerdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

/// What a person signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What is decided.
    pub kind: DecisionKind,
    /// SHA-256 of the exact bytes the person was shown.
    pub subject_sha256: Sha256,
    /// The environment it counts in; none for runbooks, approvers and what is lifted everywhere.
    pub environment: Option<EnvironmentName>,
    /// Used once: 32 hex digits from the person's side.
    pub nonce: String,
    /// When it may no longer be accepted.
    pub expires_at: Timestamp,
    /// Yes or no.
    pub verdict: DecisionVerdict,
    /// Why; required for a no.
    pub reason: Option<String>,
    /// Who decides.
    pub approver: ApproverName,
    /// The head of the audit chain the person saw: signed with the decision, it anchors the chain.
    pub audit_head: Sha256,
    /// The page where it was decided, `http://localhost:8420`; none at a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// A decision with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDecision {
    /// What was signed.
    pub decision: Decision,
    /// By which key, and how.
    pub signature: Signature,
}

/// What shows that a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Signature {
    /// Ed25519 over the domain line and the decision's canonical JSON, in hex.
    Ed25519(String),
    /// A passkey's assertion; its challenge is [`Decision::challenge`].
    Passkey(Assertion),
}

/// What an approver signs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ApproverKey {
    /// An Ed25519 key, sealed under a passphrase at a terminal.
    Ed25519(PublicKey),
    /// A passkey, in an authenticator that asks who its person is.
    Passkey(Passkey),
}

/// A person who is to decide, or the further key of one who does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The name, `[a-z][a-z0-9-]{0,39}`.
    pub name: ApproverName,
    /// The role, `chairman`.
    pub role: String,
    /// The key they sign with.
    pub public_key: ApproverKey,
    /// Whether they are an approver already, in the same role, who signs with this key too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub further: bool,
}

/// A person's public key, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(pub String);

impl PublicKey {
    /// Returns the public half of a signing key.
    pub fn of(key: &SigningKey) -> Self {
        PublicKey(hex(key.verifying_key().as_bytes()))
    }

    /// Returns what people compare: the first 16 hex digits of the key's SHA-256, in fours.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::of(self.0.as_bytes());
        digest.0.as_bytes()[..16].chunks(4).map(|four| String::from_utf8_lossy(four).into_owned()).collect::<Vec<_>>().join("-")
    }
}

impl ApproverKey {
    /// Returns the word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            ApproverKey::Ed25519(_) => "ed25519",
            ApproverKey::Passkey(_) => "passkey",
        }
    }

    /// Returns the key itself.
    pub fn public(&self) -> &PublicKey {
        match self {
            ApproverKey::Ed25519(key) => key,
            ApproverKey::Passkey(passkey) => &passkey.public_key,
        }
    }

    /// Returns what people compare.
    pub fn fingerprint(&self) -> String {
        self.public().fingerprint()
    }
}

impl From<PublicKey> for ApproverKey {
    fn from(key: PublicKey) -> Self {
        ApproverKey::Ed25519(key)
    }
}

impl Decision {
    /// Returns what a passkey's assertion over this decision answers: the SHA-256 of the very bytes that an Ed25519 key signs.
    pub fn challenge(&self) -> [u8; 32] {
        sha2::Sha256::digest(signed_bytes(self)).into()
    }
}

impl SignedDecision {
    /// Signs a decision.
    pub fn sign(decision: Decision, key: &SigningKey) -> Self {
        let signature = Signature::Ed25519(hex(&key.sign(&signed_bytes(&decision)).to_bytes()));
        SignedDecision { decision, signature }
    }

    /// Refuses unless `key` made this signature over exactly this decision.
    pub fn check(&self, key: &ApproverKey) -> Result<(), Unfit> {
        match (&self.signature, key) {
            (Signature::Ed25519(signature), ApproverKey::Ed25519(key)) => {
                let key = unhex(&key.0).and_then(|bytes| VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()).ok_or(Unfit::Key)?;
                let signature = unhex(signature).and_then(|bytes| ed25519_dalek::Signature::from_slice(&bytes).ok());
                let signature = signature.ok_or(Unfit::Signature)?;
                key.verify_strict(&signed_bytes(&self.decision), &signature).map_err(|_| Unfit::Signature)
            }
            (Signature::Passkey(assertion), ApproverKey::Passkey(passkey)) => {
                let party = self.decision.origin.as_deref().and_then(RelyingParty::at).ok_or(Unfit::NoPage)?;
                passkey.verify(assertion, &self.decision.challenge(), &party)
            }
            _ => Err(Unfit::OtherCredential),
        }
    }

    /// Tells whether `key` made this signature over exactly this decision.
    pub fn is_signed_by(&self, key: &ApproverKey) -> bool {
        self.check(key).is_ok()
    }
}

fn signed_bytes(decision: &Decision) -> Vec<u8> {
    [DOMAIN, &canonical_json(decision)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        Decision {
            kind: DecisionKind::Plan,
            subject_sha256: Sha256::of(b"plan"),
            environment: Some("production".into()),
            nonce: "00".repeat(16),
            expires_at: Timestamp(1),
            verdict: DecisionVerdict::Approve,
            reason: None,
            approver: "ada".into(),
            audit_head: Sha256::of(b"head"),
            origin: None,
        }
    }

    #[test]
    fn a_signature_holds_for_exactly_what_was_signed() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = SignedDecision::sign(decision(), &key);
        let public = ApproverKey::from(PublicKey::of(&key));
        assert!(signed.is_signed_by(&public));
        assert!(!signed.is_signed_by(&PublicKey::of(&SigningKey::from_bytes(&[8; 32])).into()));

        let original = serde_json::to_value(&signed.decision).unwrap();
        let changes = [
            ("kind", "runbook"),
            ("subject_sha256", "00"),
            ("environment", "staging"),
            ("nonce", "11"),
            ("verdict", "reject"),
            ("reason", "because"),
            ("approver", "eve"),
            ("audit_head", "00"),
            ("origin", "http://localhost:1"),
        ];
        for (field, value) in changes {
            let mut changed = original.clone();
            changed[field] = value.into();
            let forged = SignedDecision { decision: serde_json::from_value(changed).unwrap(), signature: signed.signature.clone() };
            assert!(!forged.is_signed_by(&public), "{field}");
        }
        for signature in ["", "zz", "0", "é0"] {
            let signature = Signature::Ed25519(signature.into());
            assert!(!SignedDecision { signature, ..signed.clone() }.is_signed_by(&public));
        }
    }

    #[test]
    fn what_was_signed_before_there_were_passkeys_reads_and_counts_as_it_did() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = serde_json::to_value(SignedDecision::sign(decision(), &key)).unwrap();
        assert!(signed["signature"].is_string() && signed["decision"].get("origin").is_none(), "{signed:#}");
        let read: SignedDecision = serde_json::from_value(signed).unwrap();
        assert!(read.is_signed_by(&serde_json::from_value(serde_json::json!(PublicKey::of(&key).0)).unwrap()));
    }
}
