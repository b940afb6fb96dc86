//! The journal: a step is written down before and after it happens.

use super::{
    Result, Store,
    query::{Read, one_of, sql},
};
use crate::model::*;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

impl Store {
    /// Returns a deployment's journal, in the plan's order.
    pub async fn journal(&self, id: &DeploymentId) -> Result<Vec<JournalEntry>> {
        let rows = sql("SELECT * FROM deployment_steps WHERE deployment_id = $1 ORDER BY ordinal").bind(id).all(self.pool()).await?;
        let entry_of = |row: &AnyRow| {
            Ok(JournalEntry {
                ordinal: row.read("ordinal")?,
                step: row.read("step")?,
                state: row.read("state")?,
                attempt: row.read("attempt")?,
                started_at: row.read("started_at")?,
                ended_at: row.read("ended_at")?,
                output: row.read("output")?,
            })
        };
        rows.iter().map(entry_of).collect()
    }

    /// Moves a step; `false` when it was in none of the states `from`, or when `epoch` is no longer the lease's.
    ///
    /// `intent` begins an attempt and forgets how the last one ended; `done`, `failed` and `undone` end it. Output stays until
    /// other output is given.
    #[allow(clippy::too_many_arguments)]
    pub async fn write_step(
        &self,
        by: &Caller,
        id: &DeploymentId,
        epoch: Epoch,
        step: &StepId,
        from: &[StepState],
        to: StepState,
        output: Option<&Value>,
    ) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let begins = to == StepState::Intent;
        let ends = matches!(to, StepState::Done | StepState::Failed | StepState::Undone);
        let moved = sql("UPDATE deployment_steps SET state = $1, output = COALESCE($2, output), attempt = attempt + $3,
                             started_at = CASE WHEN $3 = 1 THEN $5 ELSE started_at END,
                             ended_at = CASE WHEN $3 = 1 THEN NULL WHEN $4 = 1 THEN $5 ELSE ended_at END
                         WHERE deployment_id = $6 AND step = $7 AND $8 LIKE '%,' || state || ',%' AND EXISTS (
                             SELECT 1 FROM deployments JOIN leases ON leases.environment = deployments.environment
                             WHERE deployments.id = $6 AND deployments.epoch = $9 AND leases.epoch = $9)")
        .bind(to)
        .bind(output)
        .bind(begins)
        .bind(ends)
        .bind(at)
        .bind(id)
        .bind(step)
        .bind(one_of(from.iter().map(|state| state.as_str())))
        .bind(epoch)
        .run(write.on())
        .await?;
        if moved == 0 {
            return Ok(false);
        }
        sql("UPDATE deployments SET updated_at = CASE WHEN updated_at < $1 THEN $1 ELSE updated_at + 1 END WHERE id = $2")
            .bind(at)
            .bind(id)
            .run(write.on())
            .await?;
        write.commit(by, "write_step", id, json!({ "step": step, "to": to, "epoch": epoch })).await?;
        Ok(true)
    }
}
