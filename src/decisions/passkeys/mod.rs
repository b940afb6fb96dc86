//! Passkeys: how a page enrols one, and how a person decides with one. What a page shows is prepared here, what a browser answers is
//! checked here; what counts is decided where every decision is.
//!
//! Each of them begins and ends. What was begun is kept in memory for a few minutes, is ended once, and nobody can begin more than a few at
//! once. A restart forgets it: the person presses the button again.

mod begun;
mod enrolment;
mod options;
mod sign_in;

pub use enrolment::{AskedEnrolment, Enrolled, Invited, Link, LinkAsked, link, waiting};
pub use sign_in::{AskedSignIn, SignedIn};

use super::{Question, Review, accept, refused, review};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{
        ApproverName, Caller, Decision, Sha256, SignedDecision,
        decision::{ApproverKey, Signature},
        digest::hex,
        passkey::{Assertion, RelyingParty},
    },
    store::Approver,
};
use begun::Begun;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a person may take at the authenticator (WebAuthn level 3, 15.1, recommends five minutes).
const PATIENCE: Duration = Duration::from_secs(300);

/// How many decisions somebody can have begun at once, and passkeys by one link: a few windows; the oldest is forgotten.
const MOST: usize = 8;

/// What a page asks of passkeys, at the one origin where it is served.
pub struct Passkeys {
    engine: Arc<Engine>,
    party: RelyingParty,
    decisions: Mutex<Begun<Prepared>>,
    enrolments: Mutex<Begun<enrolment::Prepared>>,
    sign_ins: Mutex<Begun<sign_in::Prepared>>,
}

/// A decision that waits for its signature.
struct Prepared {
    question: Question,
    decision: Decision,
}

/// What a person is about to decide.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionAsked {
    /// Over what, and the verdict.
    pub question: Question,
    /// SHA-256 of the document that the page has shown: what stands now must be that.
    pub shown_sha256: Sha256,
    /// Why; a no needs a reason.
    pub reason: Option<String>,
    /// Who decides.
    pub approver: ApproverName,
}

/// A decision that the browser has sign.
#[derive(Debug, Clone, Serialize)]
pub struct AskedDecision {
    /// What the answer names, once.
    pub handle: String,
    /// Everything that is signed.
    pub decision: Decision,
    /// What it is over.
    pub review: Review,
    /// For `navigator.credentials.get`, as `PublicKeyCredential.parseRequestOptionsFromJSON` reads it.
    pub options: Value,
}

impl Passkeys {
    /// Returns them for pages at this origin, `http://localhost:8420`; refused for one that browsers give no passkeys to.
    pub fn at(engine: Arc<Engine>, origin: &str) -> Result<Self> {
        let party = RelyingParty::at(origin).ok_or_else(|| {
            Error::invalid(format!("`{origin}` can have no passkeys")).hint("browsers give them to http://localhost:PORT and https://NAME")
        })?;
        let (decisions, enrolments) = (Mutex::new(Begun::of(MOST)), Mutex::new(Begun::of(MOST)));
        Ok(Passkeys { engine, party, decisions, enrolments, sign_ins: Mutex::new(Begun::of(sign_in::MOST)) })
    }

    /// Prepares a decision: what is signed by the authenticator is exactly what comes back, verdict and reason included.
    pub async fn begin_decision(&self, asked: &DecisionAsked) -> Result<AskedDecision> {
        let DecisionAsked { question, shown_sha256, reason, approver } = asked;
        let review = review(&self.engine, question).await?;
        if review.subject_sha256 != *shown_sha256 {
            return Err(refused("what stands now is not what the page has shown").hint("load the page again, read it, then decide"));
        }
        let held = self.approver(approver).await?;
        if review.role.as_ref().is_some_and(|role| *role != held.role) {
            return Err(refused("that person does not have the role this asks for"));
        }
        let passkeys = self.passkeys_of(&held)?;
        let decision = Decision {
            kind: review.kind,
            subject_sha256: review.subject_sha256.clone(),
            environment: review.environment.clone(),
            nonce: hex(&rand::random::<[u8; 16]>()),
            expires_at: self.engine.clock.now().plus(PATIENCE),
            verdict: question.verdict,
            reason: reason.clone(),
            approver: approver.clone(),
            audit_head: review.audit_head.clone(),
            origin: Some(self.party.origin().to_owned()),
        };
        super::check_reason(&decision)?;
        let options = options::request(&self.party, &decision.challenge(), &passkeys);
        let (handle, now) = (decision.nonce.clone(), self.engine.present());
        let prepared = Prepared { question: question.clone(), decision: decision.clone() };
        self.decisions().begin(&handle, approver.as_str(), now, prepared);
        Ok(AskedDecision { handle, decision, review, options })
    }

    /// Ends a decision with what the authenticator of its person, who calls, has signed, and returns what follows. Whatever comes of it, it
    /// has ended; a refusal is recorded.
    pub async fn finish_decision(&self, by: &Caller, handle: &str, answer: &Value) -> Result<Value> {
        let assertion = options::assertion(answer)?;
        let begun = self.decisions().end(handle, self.engine.present())?;
        let Prepared { question, decision } = begun;
        let signed = SignedDecision { decision, signature: Signature::Passkey(assertion) };
        let decided = match by.principal == signed.decision.approver.as_str() {
            true => accept(&self.engine, by, &question, &signed).await,
            false => Err(refused(format!("`{}` is to sign this, and `{}` answers", signed.decision.approver, by.principal))),
        };
        if let Err(error) = &decided
            && error.code == Code::DecisionRefused
        {
            let decision = &signed.decision;
            let detail = json!({ "kind": decision.kind, "verdict": decision.verdict, "subject_sha256": decision.subject_sha256,
                "nonce": decision.nonce, "why": error.message });
            self.engine.store.note_refused_decision(by, &decision.approver, detail).await?;
        }
        decided
    }

    async fn approver(&self, name: &ApproverName) -> Result<Approver> {
        self.engine.store.approver(name).await?.ok_or_else(|| refused("nobody of that name is an approver"))
    }

    /// Returns the ids of somebody's passkeys that count here.
    fn passkeys_of(&self, approver: &Approver) -> Result<Vec<String>> {
        let here = approver.keys.iter().filter(|held| held.cloned_at.is_none()).filter_map(|held| match &held.key {
            ApproverKey::Passkey(passkey) if passkey.rp_id == self.party.id() => Some(passkey.credential_id.clone()),
            _ => None,
        });
        let here: Vec<String> = here.collect();
        match here.is_empty() {
            true => Err(refused(format!("`{}` has no passkey for `{}`", approver.name, self.party.id()))
                .hint(format!("`interlock approver link {} --role {}` makes a link to enrol one", approver.name, approver.role))),
            false => Ok(here),
        }
    }

    fn decisions(&self) -> MutexGuard<'_, Begun<Prepared>> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enrolments(&self) -> MutexGuard<'_, Begun<enrolment::Prepared>> {
        self.enrolments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign_ins(&self) -> MutexGuard<'_, Begun<sign_in::Prepared>> {
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a passkey whose counter was seen to go back before.
pub(super) fn no_longer() -> Error {
    refused("that passkey was cloned, and counts no longer").hint(ANOTHER)
}

/// Records that the counter of a passkey went back, and returns the refusal.
pub(super) async fn cloned(engine: &Engine, by: &Caller, assertion: &Assertion) -> Result<Error> {
    engine.store.note_cloned(by, assertion).await?;
    tracing::warn!("the counter of passkey `{}` went back: it was cloned, and counts no longer", assertion.credential_id);
    Ok(refused("the passkey's counter went back: it was cloned, and counts no longer").hint(ANOTHER))
}

const ANOTHER: &str = "another approver, or another key of this one, enrols a new passkey: `interlock approver link`";
