//! Refusals: how often a caller was told the same no in a row.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use anyhow::Context;
use serde_json::json;

impl Store {
    /// Counts a refusal, and returns how often this caller was refused this operation with these arguments and this code in a row.
    pub async fn count_refusal(&self, by: &Caller, operation: &str, arguments_sha256: &Sha256, code: &str) -> Result<i64> {
        let mut write = self.write().await?;
        let at = write.at;
        let row =
            sql("INSERT INTO refusals (principal, operation, arguments_sha256, code, attempts, refused_at) VALUES ($1, $2, $3, $4, 1, $5)
                       ON CONFLICT (principal, operation, arguments_sha256) DO UPDATE SET
                           attempts = CASE WHEN refusals.code = $4 THEN refusals.attempts + 1 ELSE 1 END, code = $4, refused_at = $5
                       RETURNING attempts")
            .bind(&by.principal)
            .bind(operation)
            .bind(arguments_sha256)
            .bind(code)
            .bind(at)
            .one(write.on())
            .await?;
        let attempts = row.context("counting the refusal")?.read("attempts")?;
        write.commit(by, "refused", operation, json!({ "code": code, "attempts": attempts, "arguments_sha256": arguments_sha256 })).await?;
        Ok(attempts)
    }

    /// Begins anew: the call was accepted. Costs only a read when there is nothing to forget.
    pub async fn clear_refusals(&self, by: &Caller, operation: &str, arguments_sha256: &Sha256) -> Result<bool> {
        let known = sql("SELECT code FROM refusals WHERE principal = $1 AND operation = $2 AND arguments_sha256 = $3")
            .bind(&by.principal)
            .bind(operation)
            .bind(arguments_sha256)
            .one(self.pool())
            .await?;
        if known.is_none() {
            return Ok(false);
        }
        let mut write = self.write().await?;
        sql("DELETE FROM refusals WHERE principal = $1 AND operation = $2 AND arguments_sha256 = $3")
            .bind(&by.principal)
            .bind(operation)
            .bind(arguments_sha256)
            .run(write.on())
            .await?;
        write.commit(by, "clear_refusals", operation, json!({ "arguments_sha256": arguments_sha256 })).await?;
        Ok(true)
    }
}
