//! Ventures: the products being launched, each at a stage of both lifecycles. How they go forward is in [`super::stages`].

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;

/// A product being launched, with its place in both lifecycles.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Venture {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `active` …
    pub status: String,
    /// 1 to 25.
    pub current_lifecycle_stage: Option<i64>,
    /// 1 to 40.
    pub current_workflow_stage: Option<i64>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Store {
    /// Returns the active venture: the furthest in the workflow, the newest of several.
    pub async fn active_venture(&self) -> Result<Option<Venture>> {
        // A venture without a stage comes last; PostgreSQL would sort NULL first.
        let row = sql(
            "SELECT * FROM ventures WHERE status = 'active' ORDER BY COALESCE(current_workflow_stage, 0) DESC, created_at DESC, id LIMIT 1",
        )
        .one(self.pool())
        .await?;
        row.as_ref().map(venture_of).transpose()
    }

    /// Returns a venture.
    pub async fn venture(&self, id: &str) -> Result<Option<Venture>> {
        let row = sql("SELECT * FROM ventures WHERE id = $1").bind(id).one(self.pool()).await?;
        row.as_ref().map(venture_of).transpose()
    }

    /// Records an active venture where it stands in each lifecycle; the one of this id that is there comes back instead, with `true`.
    pub async fn create_venture(&self, by: &Caller, id: &str, name: &str, lifecycle: i64, workflow: i64) -> Result<(Venture, bool)> {
        let mut write = self.write().await?;
        let at = write.at;
        let row = sql("INSERT INTO ventures (id, name, status, current_lifecycle_stage, current_workflow_stage, created_at, updated_at)
                       VALUES ($1, $2, 'active', $3, $4, $5, $5) ON CONFLICT (id) DO NOTHING RETURNING *")
        .bind(id)
        .bind(name)
        .bind(lifecycle)
        .bind(workflow)
        .bind(at)
        .one(write.on())
        .await?;
        let Some(row) = row else {
            let row = sql("SELECT * FROM ventures WHERE id = $1").bind(id).one(write.on()).await?;
            let row = row.ok_or_else(|| anyhow::anyhow!("venture `{id}` has gone"))?;
            return Ok((venture_of(&row)?, true));
        };
        let venture = venture_of(&row)?;
        write.commit(by, "create_venture", id, json!({ "name": name, "vision_v2": lifecycle, "workflow": workflow })).await?;
        Ok((venture, false))
    }
}

fn venture_of(row: &AnyRow) -> Result<Venture> {
    Ok(Venture {
        id: row.read("id")?,
        name: row.read("name")?,
        status: row.read("status")?,
        current_lifecycle_stage: row.read("current_lifecycle_stage")?,
        current_workflow_stage: row.read("current_workflow_stage")?,
        created_at: row.read("created_at")?,
        updated_at: row.read("updated_at")?,
    })
}
