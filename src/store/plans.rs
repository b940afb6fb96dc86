//! Plans: frozen, kept as the canonical JSON whose hash is their name.

use super::{
    Result, Store, StoreError, Write,
    connections::On,
    query::{Read, one_of, sql},
};
use crate::model::*;
use anyhow::Context;
use serde_json::json;
use sqlx::any::AnyRow;

async fn insert(write: &mut Write, plan: &Plan, state: PlanState, request_expires_at: Option<Timestamp>, by: &str) -> Result<()> {
    let at = write.at;
    sql("INSERT INTO plans (id, number, sha256, directive_id, environment, state, body, request_expires_at, created_by, created_at, updated_at)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9, $9 FROM plans")
    .bind(&plan.id())
    .bind(&plan.sha256())
    .bind(&plan.directive)
    .bind(&plan.environment)
    .bind(state)
    .bind(String::from_utf8(canonical_json(plan)).expect("JSON is UTF-8"))
    .bind(request_expires_at)
    .bind(by)
    .bind(at)
    .run(write.on())
    .await?;
    Ok(())
}

/// Keeps a plan that a decision makes and approves in one; `false` when it is kept already, and does not wait for further approvals.
pub(super) async fn insert_decided(write: &mut Write, plan: &Plan, approver: &ApproverName) -> Result<bool> {
    match load(write.on(), &plan.id()).await? {
        Some(record) => Ok(record.state == PlanState::AwaitingApproval),
        None => insert(write, plan, PlanState::AwaitingApproval, None, approver.as_str()).await.map(|()| true),
    }
}

/// A plan and what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRecord {
    /// Its id.
    pub id: PlanId,
    /// The plan itself.
    pub plan: Plan,
    /// Where it stands.
    pub state: PlanState,
    /// When it was frozen.
    pub created_at: Timestamp,
    /// Who asked for it.
    pub created_by: String,
    /// Until when somebody may decide.
    pub request_expires_at: Option<Timestamp>,
    /// Until when a given approval may be used.
    pub approval_expires_at: Option<Timestamp>,
    /// Who has decided.
    pub decided_by: Option<String>,
    /// Why it was rejected, expired or void.
    pub reason: Option<String>,
}

impl Store {
    /// Keeps a plan; one that is kept already comes back as it stands, with `true`.
    pub async fn save_plan(
        &self,
        by: &Caller,
        plan: &Plan,
        state: PlanState,
        request_expires_at: Option<Timestamp>,
    ) -> Result<(PlanRecord, bool)> {
        let mut write = self.write().await?;
        let id = plan.id();
        if let Some(record) = load(write.on(), &id).await? {
            return Ok((record, true));
        }
        insert(&mut write, plan, state, request_expires_at, &by.principal).await?;
        let record = load(write.on(), &id).await?.context("reading back the plan")?;
        write.commit(by, "save_plan", &id, json!({ "directive": plan.directive, "sha256": plan.sha256(), "state": state })).await?;
        Ok((record, false))
    }

    /// Returns a plan; `Altered` when its text no longer hashes to its name.
    pub async fn plan(&self, id: &PlanId) -> Result<Option<PlanRecord>> {
        load(self.pool(), id).await
    }

    /// Returns the plans of a directive, newest first.
    pub async fn plans_of(&self, directive: &DirectiveId) -> Result<Vec<PlanRecord>> {
        let rows = sql("SELECT * FROM plans WHERE directive_id = $1 ORDER BY number DESC").bind(directive).all(self.pool()).await?;
        rows.iter().map(plan_of).collect()
    }

    /// Returns the plans in a state, oldest first.
    pub async fn plans_in(&self, state: PlanState) -> Result<Vec<PlanRecord>> {
        let rows = sql("SELECT * FROM plans WHERE state = $1 ORDER BY number").bind(state).all(self.pool()).await?;
        rows.iter().map(plan_of).collect()
    }

    /// Moves a plan; `false` when it was in none of the states `from`. Approvals and rejections are decisions and move it otherwise.
    pub async fn move_plan(&self, by: &Caller, id: &PlanId, from: &[PlanState], to: PlanState, reason: Option<&str>) -> Result<bool> {
        let mut write = self.write().await?;
        let moved = shift(&mut write, id, from, to, reason).await?;
        write.commit_moved(moved.into(), by, "move_plan", id, json!({ "to": to, "reason": reason })).await
    }

    /// Opens the request of an expired plan again; `false` when it is not expired.
    pub async fn reopen_request(&self, by: &Caller, id: &PlanId, request_expires_at: Timestamp) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved =
            sql("UPDATE plans SET state = 'awaiting_approval', request_expires_at = $1, approval_expires_at = NULL, decided_by = NULL,
                         reason = NULL, updated_at = $2, decisions_before = (SELECT COALESCE(MAX(number), 0) FROM decisions)
                  WHERE id = $3 AND state = 'expired'")
            .bind(request_expires_at)
            .bind(at)
            .bind(id)
            .run(write.on())
            .await?;
        write.commit_moved(moved, by, "reopen_request", id, json!({ "request_expires_at": request_expires_at })).await
    }
}

pub(super) async fn shift(write: &mut Write, id: &PlanId, from: &[PlanState], to: PlanState, reason: Option<&str>) -> Result<bool> {
    let at = write.at;
    let moved =
        sql("UPDATE plans SET state = $1, reason = COALESCE($2, reason), updated_at = $3 WHERE id = $4 AND $5 LIKE '%,' || state || ',%'")
            .bind(to)
            .bind(reason)
            .bind(at)
            .bind(id)
            .bind(one_of(from.iter().map(|state| state.as_str())))
            .run(write.on())
            .await?;
    Ok(moved == 1)
}

pub(super) async fn load(on: impl Into<On<'_>>, id: &PlanId) -> Result<Option<PlanRecord>> {
    let row = sql("SELECT * FROM plans WHERE id = $1").bind(id).one(on).await?;
    row.as_ref().map(plan_of).transpose()
}

fn plan_of(row: &AnyRow) -> Result<PlanRecord> {
    let (id, body): (PlanId, String) = (row.read("id")?, row.read("body")?);
    let altered = || StoreError::Altered(format!("plan `{id}`"));
    if Sha256::of(body.as_bytes()) != row.read("sha256")? {
        return Err(altered());
    }
    let plan: Plan = serde_json::from_str(&body).with_context(|| format!("reading plan `{id}`"))?;
    if plan.id() != id {
        return Err(altered());
    }
    Ok(PlanRecord {
        plan,
        state: row.read("state")?,
        created_at: row.read("created_at")?,
        created_by: row.read("created_by")?,
        request_expires_at: row.read("request_expires_at")?,
        approval_expires_at: row.read("approval_expires_at")?,
        decided_by: row.read("decided_by")?,
        reason: row.read("reason")?,
        id,
    })
}
