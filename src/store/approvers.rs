//! Approvers: whose signature counts.

use super::{
    DecisionEffect, RecordDecisionError, Result, Store, Write,
    query::{Read, sql},
};
use crate::model::{decision::PublicKey, *};
use serde_json::json;
use sqlx::any::AnyRow;

/// Somebody whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// Their name.
    pub name: ApproverName,
    /// What they may decide: `chairman` …
    pub role: String,
    /// The key they sign with.
    pub key: PublicKey,
    /// The nonce of the decision that enrolled them; the first one enrolled themselves.
    pub enrolled_by: Option<String>,
    /// When.
    pub enrolled_at: Timestamp,
}

impl Store {
    /// Enrols an approver: the first one on trust, every later one by an existing approver's decision. A name or key that is
    /// taken is `WrongState`. Whether the decision counts was checked before.
    pub async fn add_approver(
        &self,
        by: &Caller,
        name: &ApproverName,
        role: &str,
        key: &PublicKey,
        enrolled_by: Option<&SignedDecision>,
    ) -> Result<(), RecordDecisionError> {
        if let Some(decision) = enrolled_by {
            let effect = DecisionEffect::EnrolApprover { name: name.clone(), role: role.to_owned(), key: key.clone() };
            return self.record_decision(by, decision, effect).await;
        }
        let mut write = self.write().await?;
        if sql("SELECT name FROM approvers LIMIT 1").one(write.on()).await?.is_some() {
            return Err(RecordDecisionError::WrongState("there is an approver already: only their decision enrols another".into()));
        }
        enrol(&mut write, name, role, key, None).await?;
        write.commit(by, "add_approver", name, json!({ "role": role, "fingerprint": key.fingerprint() })).await?;
        Ok(())
    }

    /// Returns an approver.
    pub async fn approver(&self, name: &ApproverName) -> Result<Option<Approver>> {
        let row = sql("SELECT * FROM approvers WHERE name = $1").bind(name).one(self.pool()).await?;
        row.as_ref().map(approver_of).transpose()
    }

    /// Returns all approvers, in the order of their enrolment.
    pub async fn approvers(&self) -> Result<Vec<Approver>> {
        let rows = sql("SELECT * FROM approvers ORDER BY number").all(self.pool()).await?;
        rows.iter().map(approver_of).collect()
    }
}

/// Inserts an approver; `false` when the name or the key is taken.
pub(super) async fn enrol(write: &mut Write, name: &ApproverName, role: &str, key: &PublicKey, enrolled_by: Option<&str>) -> Result<bool> {
    let at = write.at;
    let inserted = sql("INSERT INTO approvers (name, number, role, public_key, enrolled_by, enrolled_at)
                        SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5 FROM approvers WHERE 1 = 1 ON CONFLICT DO NOTHING")
    .bind(name)
    .bind(role)
    .bind(key.0.as_str())
    .bind(enrolled_by)
    .bind(at)
    .run(write.on())
    .await?;
    Ok(inserted == 1)
}

fn approver_of(row: &AnyRow) -> Result<Approver> {
    Ok(Approver {
        name: row.read("name")?,
        role: row.read("role")?,
        key: PublicKey(row.read("public_key")?),
        enrolled_by: row.read("enrolled_by")?,
        enrolled_at: row.read("enrolled_at")?,
    })
}
