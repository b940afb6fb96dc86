//! Approvers and their keys: whose signature counts.

use super::{
    DecisionEffect, RecordDecisionError, Result, Store, Write,
    query::{Read, json as text, sql},
};
use crate::model::{
    decision::{ApproverKey, Enrolment, Signature},
    passkey::{Assertion, Passkey, Unfit},
    *,
};
use serde_json::json;
use sqlx::any::AnyRow;

/// Somebody whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// Their name.
    pub name: ApproverName,
    /// What they may decide: `chairman` …
    pub role: String,
    /// The keys they sign with, in the order of their enrolment; there is at least one.
    pub keys: Vec<HeldKey>,
    /// The nonce of the decision that enrolled them; the first one enrolled themselves.
    pub enrolled_by: Option<String>,
    /// When.
    pub enrolled_at: Timestamp,
}

/// A key of an approver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// The key.
    pub key: ApproverKey,
    /// When its counter was seen to go back: there are two of it, and neither counts since.
    pub cloned_at: Option<Timestamp>,
    /// The nonce of the decision that enrolled it; none for the first approver's first.
    pub enrolled_by: Option<String>,
    /// When.
    pub enrolled_at: Timestamp,
}

impl Approver {
    /// Returns the key that made a signature over exactly this decision; otherwise why none did.
    ///
    /// A key that was cloned is found too: whether it counts is the caller's question.
    pub fn signer(&self, signed: &SignedDecision) -> Result<&HeldKey, Unfit> {
        let is_named = |key: &ApproverKey| match (&signed.signature, key) {
            (Signature::Passkey(assertion), ApproverKey::Passkey(passkey)) => passkey.credential_id == assertion.credential_id,
            (Signature::Ed25519(_), ApproverKey::Ed25519(_)) => true,
            _ => false,
        };
        let mut why = Unfit::OtherCredential;
        for held in self.keys.iter().filter(|held| is_named(&held.key)) {
            match signed.check(&held.key) {
                Ok(()) => return Ok(held),
                Err(unfit) => why = unfit,
            }
        }
        Err(why)
    }

    /// Returns how many of their passkeys were seen to be cloned.
    pub fn clones(&self) -> u64 {
        self.keys.iter().filter(|held| held.cloned_at.is_some()).count() as u64
    }

    /// Tells whether a key of this person that counts has signed exactly this decision.
    pub fn has_signed(&self, signed: &SignedDecision) -> bool {
        self.signer(signed).is_ok_and(|held| held.cloned_at.is_none())
    }
}

impl Store {
    /// Enrols an approver: the first one on trust, every later one by an existing approver's decision. A name or key that is
    /// taken is `WrongState`. Whether the decision counts was checked before.
    pub async fn add_approver(
        &self,
        by: &Caller,
        new: &Enrolment,
        enrolled_by: Option<&SignedDecision>,
    ) -> Result<(), RecordDecisionError> {
        if let Some(decision) = enrolled_by {
            return self.record_decision(by, decision, DecisionEffect::EnrolApprover(new.clone())).await;
        }
        let mut write = self.write().await?;
        if !enrol_first(&mut write, new).await? {
            return Err(RecordDecisionError::WrongState("there is an approver already: only their decision enrols another".into()));
        }
        write.commit(by, "add_approver", &new.name, json!({ "role": new.role, "fingerprint": new.public_key.fingerprint() })).await?;
        Ok(())
    }

    /// Returns an approver.
    pub async fn approver(&self, name: &ApproverName) -> Result<Option<Approver>> {
        let row = sql("SELECT * FROM approvers WHERE name = $1").bind(name).one(self.pool()).await?;
        let keys = sql("SELECT * FROM approver_keys WHERE approver = $1 ORDER BY number").bind(name).all(self.pool()).await?;
        row.map(|row| approver_of(&row, &keys)).transpose()
    }

    /// Returns all approvers, in the order of their enrolment.
    pub async fn approvers(&self) -> Result<Vec<Approver>> {
        let rows = sql("SELECT * FROM approvers ORDER BY number").all(self.pool()).await?;
        let keys = sql("SELECT * FROM approver_keys ORDER BY number").all(self.pool()).await?;
        rows.iter().map(|row| approver_of(row, &keys)).collect()
    }

    /// Returns whose passkey that is, and since when it counts no longer where it was cloned.
    pub async fn passkey(&self, credential_id: &str) -> Result<Option<(Approver, Passkey, Option<Timestamp>)>> {
        let owner = sql("SELECT approver FROM approver_keys WHERE credential_id = $1").bind(credential_id);
        let Some(owner) = owner.value::<ApproverName>(self.pool(), "approver").await? else { return Ok(None) };
        let Some(approver) = self.approver(&owner).await? else { return Ok(None) };
        let passkey = approver.keys.iter().find_map(|held| match &held.key {
            ApproverKey::Passkey(passkey) if passkey.credential_id == credential_id => Some((passkey.clone(), held.cloned_at)),
            _ => None,
        });
        Ok(passkey.map(|(passkey, cloned_at)| (approver, passkey, cloned_at)))
    }

    /// Returns how many passkeys of somebody were seen to be cloned. It only grows: a session is over when it is more than at its beginning.
    pub async fn clones_of(&self, approver: &ApproverName) -> Result<u64> {
        let clones = sql("SELECT COUNT(*) AS clones FROM approver_keys WHERE approver = $1 AND cloned_at IS NOT NULL").bind(approver);
        Ok(clones.value(self.pool(), "clones").await?.unwrap_or(0))
    }

    /// Records that somebody has signed in by a passkey; `false` when its counter went back, or it counts no longer.
    pub async fn use_passkey(&self, by: &Caller, approver: &ApproverName, assertion: &Assertion) -> Result<bool> {
        let mut write = self.write().await?;
        if !count_on(&mut write, assertion).await? {
            return Ok(false);
        }
        write.commit(by, "use_passkey", approver, json!({ "credential_id": assertion.credential_id })).await?;
        Ok(true)
    }

    /// Records that a passkey's counter went back: from here on it counts no longer. `false` when that was known, or it is nobody's.
    pub async fn note_cloned(&self, by: &Caller, assertion: &Assertion) -> Result<bool> {
        let mut write = self.write().await?;
        let (at, id) = (write.at, &assertion.credential_id);
        let row =
            sql("UPDATE approver_keys SET cloned_at = $1 WHERE credential_id = $2 AND cloned_at IS NULL RETURNING approver, sign_count")
                .bind(at)
                .bind(id)
                .one(write.on())
                .await?;
        let Some(row) = row else { return Ok(false) };
        let (approver, known): (ApproverName, u64) = (row.read("approver")?, row.read("sign_count")?);
        let detail = json!({ "credential_id": id, "counter": assertion.sign_count().ok(), "counter_before": known });
        write.commit(by, "note_cloned", approver, detail).await?;
        Ok(true)
    }

    /// Records that a passkey which counts no longer has answered a sign-in, and opened nothing.
    pub async fn note_refused_sign_in(&self, by: &Caller, approver: &ApproverName, assertion: &Assertion) -> Result<()> {
        self.write()
            .await?
            .commit(by, "refuse_sign_in", approver, json!({ "credential_id": assertion.credential_id, "why": "cloned" }))
            .await
    }

    /// Records that somebody tried to decide and was refused.
    pub async fn note_refused_decision(&self, by: &Caller, approver: &ApproverName, detail: serde_json::Value) -> Result<()> {
        self.write().await?.commit(by, "refuse_decision", approver, detail).await
    }
}

/// Inserts the first approver; `false` when there is one.
pub(super) async fn enrol_first(write: &mut Write, new: &Enrolment) -> Result<bool> {
    match sql("SELECT name FROM approvers LIMIT 1").one(write.on()).await? {
        Some(_) => Ok(false),
        None => enrol(write, new, None).await,
    }
}

/// Inserts an approver, or the further key of one; `false` when the name or the key is taken, or nobody has that name and role.
pub(super) async fn enrol(write: &mut Write, new: &Enrolment, enrolled_by: Option<&str>) -> Result<bool> {
    let (at, key, public_key) = (write.at, &new.public_key, new.public_key.public().0.as_str());
    let is_there = match new.further {
        true => {
            let known = sql("SELECT name FROM approvers WHERE name = $1 AND role = $2").bind(&new.name).bind(&new.role);
            known.one(write.on()).await?.is_some()
        }
        false => {
            let inserted = sql("INSERT INTO approvers (name, number, role, public_key, enrolled_by, enrolled_at)
                                SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5 FROM approvers WHERE 1 = 1 ON CONFLICT DO NOTHING");
            let inserted = inserted.bind(&new.name).bind(&new.role).bind(public_key).bind(enrolled_by).bind(at);
            inserted.run(write.on()).await? == 1
        }
    };
    if !is_there {
        return Ok(false);
    }
    let passkey = match key {
        ApproverKey::Passkey(passkey) => Some(passkey),
        ApproverKey::Ed25519(_) => None,
    };
    let inserted =
        sql("INSERT INTO approver_keys (public_key, number, approver, kind, body, credential_id, sign_count, enrolled_by, enrolled_at)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5, $6, $7, $8 FROM approver_keys WHERE 1 = 1 ON CONFLICT DO NOTHING")
        .bind(public_key)
        .bind(&new.name)
        .bind(key.kind())
        .bind(text(key))
        .bind(passkey.map(|passkey| passkey.credential_id.as_str()))
        .bind(passkey.map_or(0, |passkey| passkey.sign_count))
        .bind(enrolled_by)
        .bind(at)
        .run(write.on())
        .await?;
    Ok(inserted == 1)
}

/// Moves a passkey's counter on to what an assertion shows; `false` when it did not go on, or the passkey counts no longer. One that counts
/// nothing says 0 each time.
pub(super) async fn count_on(write: &mut Write, assertion: &Assertion) -> Result<bool> {
    let Ok(shown) = assertion.sign_count() else { return Ok(false) };
    let moved = sql("UPDATE approver_keys SET sign_count = $1 WHERE credential_id = $2 AND cloned_at IS NULL
                     AND (sign_count < $1 OR (sign_count = 0 AND $1 = 0))")
    .bind(shown)
    .bind(&assertion.credential_id)
    .run(write.on())
    .await?;
    Ok(moved == 1)
}

fn approver_of(row: &AnyRow, keys: &[AnyRow]) -> Result<Approver> {
    let name: ApproverName = row.read("name")?;
    let mut held = Vec::new();
    for key in keys {
        if key.read::<ApproverName>("approver")? == name {
            held.push(HeldKey {
                key: key.json("body")?,
                cloned_at: key.read("cloned_at")?,
                enrolled_by: key.read("enrolled_by")?,
                enrolled_at: key.read("enrolled_at")?,
            });
        }
    }
    Ok(Approver { name, role: row.read("role")?, keys: held, enrolled_by: row.read("enrolled_by")?, enrolled_at: row.read("enrolled_at")? })
}
