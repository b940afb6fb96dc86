//! Freezes: while one is active, its environment takes no deployment. Lifting one is a decision.

use super::{
    Result, Store, Write,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;

/// A time without deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// `frz_1`.
    pub id: String,
    /// Where; everywhere when none.
    pub environment: Option<EnvironmentName>,
    /// Why.
    pub reason: String,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when; until it is lifted when none.
    pub ends_at: Option<Timestamp>,
    /// Who declared it.
    pub created_by: String,
    /// Who lifted it.
    pub lifted_by: Option<ApproverName>,
    /// When it was lifted.
    pub lifted_at: Option<Timestamp>,
}

impl Store {
    /// Declares a freeze of an environment, or of all.
    pub async fn add_freeze(
        &self,
        by: &Caller,
        environment: Option<&EnvironmentName>,
        reason: &str,
        starts_at: Timestamp,
        ends_at: Option<Timestamp>,
    ) -> Result<Freeze> {
        let mut write = self.write().await?;
        let number: i64 = sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM freezes").value(write.on(), "number").await?.unwrap_or(1);
        let freeze = Freeze {
            id: format!("frz_{number}"),
            environment: environment.cloned(),
            reason: reason.to_owned(),
            starts_at,
            ends_at,
            created_by: by.principal.clone(),
            lifted_by: None,
            lifted_at: None,
        };
        sql("INSERT INTO freezes (id, number, environment, reason, starts_at, ends_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(&freeze.id)
            .bind(number)
            .bind(environment)
            .bind(reason)
            .bind(starts_at)
            .bind(ends_at)
            .bind(&freeze.created_by)
            .run(write.on())
            .await?;
        let detail = json!({ "environment": environment, "reason": reason, "starts_at": starts_at, "ends_at": ends_at });
        write.commit(by, "add_freeze", &freeze.id, detail).await?;
        Ok(freeze)
    }

    /// Returns the freezes an environment is under, oldest first.
    pub async fn active_freezes(&self, environment: &EnvironmentName, now: Timestamp) -> Result<Vec<Freeze>> {
        let rows = sql("SELECT * FROM freezes WHERE (environment IS NULL OR environment = $1) AND starts_at <= $2 AND (ends_at IS NULL OR ends_at > $2)
                        AND lifted_at IS NULL ORDER BY number")
        .bind(environment)
        .bind(now)
        .all(self.pool())
        .await?;
        rows.iter().map(freeze_of).collect()
    }

    /// Returns a freeze, also one that is over.
    pub async fn freeze(&self, id: &str) -> Result<Option<Freeze>> {
        let row = sql("SELECT * FROM freezes WHERE id = $1").bind(id).one(self.pool()).await?;
        row.as_ref().map(freeze_of).transpose()
    }
}

/// Ends a freeze now; `false` when it is over.
pub(super) async fn lift(write: &mut Write, id: &str, approver: &ApproverName) -> Result<bool> {
    let at = write.at;
    let lifted =
        sql("UPDATE freezes SET lifted_by = $1, lifted_at = $2 WHERE id = $3 AND lifted_at IS NULL AND (ends_at IS NULL OR ends_at > $2)")
            .bind(approver)
            .bind(at)
            .bind(id)
            .run(write.on())
            .await?;
    Ok(lifted == 1)
}

fn freeze_of(row: &AnyRow) -> Result<Freeze> {
    Ok(Freeze {
        id: row.read("id")?,
        environment: row.read("environment")?,
        reason: row.read("reason")?,
        starts_at: row.read("starts_at")?,
        ends_at: row.read("ends_at")?,
        created_by: row.read("created_by")?,
        lifted_by: row.read("lifted_by")?,
        lifted_at: row.read("lifted_at")?,
    })
}
