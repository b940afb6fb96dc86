//! Ventures: the products being launched.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::json;

/// A product being launched, with its place in both lifecycles.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Venture {
            id: row.read("id")?,
            name: row.read("name")?,
            status: row.read("status")?,
            current_lifecycle_stage: row.read("current_lifecycle_stage")?,
            current_workflow_stage: row.read("current_workflow_stage")?,
            created_at: row.read("created_at")?,
            updated_at: row.read("updated_at")?,
        }))
    }

    /// Inserts a venture, or brings it up to date; when it began stays.
    pub async fn upsert_venture(&self, by: &Caller, venture: &Venture) -> Result<()> {
        let mut write = self.write().await?;
        sql("INSERT INTO ventures (id, name, status, current_lifecycle_stage, current_workflow_stage, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET name = $2, status = $3, current_lifecycle_stage = $4, current_workflow_stage = $5, updated_at = $7")
        .bind(&venture.id)
        .bind(&venture.name)
        .bind(&venture.status)
        .bind(venture.current_lifecycle_stage)
        .bind(venture.current_workflow_stage)
        .bind(venture.created_at)
        .bind(venture.updated_at)
        .run(write.on())
        .await?;
        write.commit(by, "upsert_venture", &venture.id, json!({ "name": venture.name, "status": venture.status })).await
    }
}
