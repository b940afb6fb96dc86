//! One-time links by which a person's browser makes a passkey. Only a link's hash is kept; it is used once.

use super::{
    Result, Store, approvers,
    query::{Read, json as text, sql},
};
use crate::model::{decision::Enrolment, *};
use serde_json::json;
use sqlx::any::AnyRow;

/// A link that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentLink {
    /// SHA-256 of what the link carries.
    pub token_sha256: Sha256,
    /// Who is to be enrolled.
    pub name: ApproverName,
    /// As what.
    pub role: String,
    /// Until when it may be used.
    pub expires_at: Timestamp,
    /// When it was.
    pub used_at: Option<Timestamp>,
}

/// What became of a passkey that was made by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkUse {
    /// Its person is the first approver.
    Enrolled,
    /// It waits for an approver's decision.
    Waits,
    /// The link was used before, or is none.
    Spent,
}

impl Store {
    /// Keeps a link.
    pub async fn add_enrolment_link(&self, by: &Caller, link: &EnrolmentLink) -> Result<()> {
        let mut write = self.write().await?;
        let at = write.at;
        sql("INSERT INTO enrolment_links (token_sha256, number, name, role, created_by, created_at, expires_at)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5, $6 FROM enrolment_links")
        .bind(&link.token_sha256)
        .bind(&link.name)
        .bind(&link.role)
        .bind(&by.principal)
        .bind(at)
        .bind(link.expires_at)
        .run(write.on())
        .await?;
        write.commit(by, "add_enrolment_link", &link.name, json!({ "role": link.role, "expires_at": link.expires_at })).await
    }

    /// Returns a link by its hash.
    pub async fn enrolment_link(&self, token_sha256: &Sha256) -> Result<Option<EnrolmentLink>> {
        let row = sql("SELECT * FROM enrolment_links WHERE token_sha256 = $1").bind(token_sha256).one(self.pool()).await?;
        row.as_ref().map(link_of).transpose()
    }

    /// Uses a link up: its key enrols the first approver, or waits for an approver's decision where there is one.
    pub async fn use_enrolment_link(&self, by: &Caller, token_sha256: &Sha256, new: &Enrolment) -> Result<LinkUse> {
        let mut write = self.write().await?;
        let at = write.at;
        let used = sql("UPDATE enrolment_links SET used_at = $1 WHERE token_sha256 = $2 AND used_at IS NULL").bind(at).bind(token_sha256);
        if used.run(write.on()).await? == 0 {
            return Ok(LinkUse::Spent);
        }
        let outcome = match approvers::enrol_first(&mut write, new).await? {
            true => LinkUse::Enrolled,
            false => {
                sql("UPDATE enrolment_links SET enrolment = $1, public_key = $2 WHERE token_sha256 = $3")
                    .bind(text(new))
                    .bind(&new.public_key.public().0)
                    .bind(token_sha256)
                    .run(write.on())
                    .await?;
                LinkUse::Waits
            }
        };
        let detail = json!({ "role": new.role, "fingerprint": new.public_key.fingerprint(), "waits": outcome == LinkUse::Waits });
        write.commit(by, "use_enrolment_link", &new.name, detail).await?;
        Ok(outcome)
    }

    /// Returns the keys that were made by a link since then and wait for an approver's decision, oldest first.
    pub async fn waiting_enrolments(&self, since: Timestamp) -> Result<Vec<Enrolment>> {
        let rows = sql("SELECT enrolment FROM enrolment_links WHERE enrolment IS NOT NULL AND used_at >= $1
                        AND NOT EXISTS (SELECT 1 FROM approver_keys WHERE approver_keys.public_key = enrolment_links.public_key) ORDER BY number")
        .bind(since)
        .all(self.pool())
        .await?;
        rows.iter().map(|row| row.json("enrolment")).collect()
    }
}

fn link_of(row: &AnyRow) -> Result<EnrolmentLink> {
    Ok(EnrolmentLink {
        token_sha256: row.read("token_sha256")?,
        name: row.read("name")?,
        role: row.read("role")?,
        expires_at: row.read("expires_at")?,
        used_at: row.read("used_at")?,
    })
}
