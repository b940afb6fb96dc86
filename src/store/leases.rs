//! Leases: the right to change an environment. The epoch only grows.

use super::{
    Result, Store, Write,
    query::{Read, sql},
};
use crate::model::*;
use anyhow::Context;
use serde_json::json;
use sqlx::any::AnyRow;

impl Store {
    /// Takes an environment's lease over, whoever held it: every lower epoch is refused from now on.
    pub async fn take_lease(&self, by: &Caller, environment: &EnvironmentName, holder: &str) -> Result<Lease> {
        let mut write = self.write().await?;
        let lease = raise(&mut write, environment, holder).await?;
        write.commit(by, "take_lease", environment, json!({ "epoch": lease.epoch, "holder": holder })).await?;
        Ok(lease)
    }

    /// Takes the lease of an environment that no deployment occupies; `None` when one does.
    pub async fn take_idle_lease(&self, by: &Caller, environment: &EnvironmentName, holder: &str) -> Result<Option<Lease>> {
        let mut write = self.write().await?;
        let occupied = sql(concat!("SELECT id FROM deployments WHERE environment = $1 AND ", occupies!(), " LIMIT 1"))
            .bind(environment)
            .one(write.on())
            .await?;
        if occupied.is_some() {
            return Ok(None);
        }
        let lease = raise(&mut write, environment, holder).await?;
        write.commit(by, "take_lease", environment, json!({ "epoch": lease.epoch, "holder": holder })).await?;
        Ok(Some(lease))
    }

    /// Returns an environment's lease; none when it was never changed.
    pub async fn lease(&self, environment: &EnvironmentName) -> Result<Option<Lease>> {
        let row = sql("SELECT * FROM leases WHERE environment = $1").bind(environment).one(self.pool()).await?;
        row.as_ref().map(lease_of).transpose()
    }
}

/// Raises the epoch and gives the lease to `holder`.
pub(super) async fn raise(write: &mut Write, environment: &EnvironmentName, holder: &str) -> Result<Lease> {
    let at = write.at;
    let row = sql("INSERT INTO leases (environment, holder, epoch, taken_at) VALUES ($1, $2, 1, $3)
                   ON CONFLICT (environment) DO UPDATE SET holder = $2, epoch = leases.epoch + 1, taken_at = $3 RETURNING *")
    .bind(environment)
    .bind(holder)
    .bind(at)
    .one(write.on())
    .await?;
    lease_of(&row.context("raising the lease's epoch")?)
}

fn lease_of(row: &AnyRow) -> Result<Lease> {
    Ok(Lease { environment: row.read("environment")?, holder: row.read("holder")?, epoch: row.read("epoch")? })
}
