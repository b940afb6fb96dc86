//! What serves: the last verified set of each service, and the set behind it.

use super::{
    Result, Store,
    query::{Read, json as text, sql},
};
use crate::model::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// A verified set of instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServingSet {
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The deployment that brought it.
    pub deployment: DeploymentId,
    /// Its version.
    pub version: String,
    /// Its release.
    pub digest: Sha256,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// Its instances.
    pub instances: Vec<InstanceId>,
    /// What is needed to start the instances again after a reboot.
    pub specs: Value,
    /// When it was last verified.
    pub verified_at: Timestamp,
    /// What served before: the way back, which reaches one set and no further.
    pub base: Option<Box<ServingSet>>,
}

impl Store {
    /// Returns what serves.
    pub async fn serving(&self, service: &ServiceName, environment: &EnvironmentName) -> Result<Option<ServingSet>> {
        let row = sql("SELECT body FROM serving WHERE service = $1 AND environment = $2")
            .bind(service)
            .bind(environment)
            .one(self.pool())
            .await?;
        row.as_ref().map(set_of).transpose()
    }

    /// Returns everything that serves.
    pub async fn all_serving(&self) -> Result<Vec<ServingSet>> {
        let rows = sql("SELECT body FROM serving ORDER BY environment, service").all(self.pool()).await?;
        rows.iter().map(set_of).collect()
    }

    /// Notes what serves from now on; `false` when `epoch` is no longer the lease's.
    pub async fn set_serving(&self, by: &Caller, epoch: Epoch, set: &ServingSet) -> Result<bool> {
        let mut set = set.clone();
        if let Some(base) = &mut set.base {
            base.base = None;
        }
        let mut write = self.write().await?;
        let at = write.at;
        let written = sql("INSERT INTO serving (service, environment, deployment_id, digest, body, updated_at)
                           SELECT $1, $2, $3, $4, $5, $6 FROM leases WHERE environment = $2 AND epoch = $7
                           ON CONFLICT (service, environment) DO UPDATE SET deployment_id = $3, digest = $4, body = $5, updated_at = $6")
        .bind(&set.service)
        .bind(&set.environment)
        .bind(&set.deployment)
        .bind(&set.digest)
        .bind(text(&set))
        .bind(at)
        .bind(epoch)
        .run(write.on())
        .await?;
        let detail =
            json!({ "service": set.service, "environment": set.environment, "version": set.version, "digest": set.digest, "epoch": epoch });
        write.commit_moved(written, by, "set_serving", &set.deployment, detail).await
    }

    /// Notes that a service serves no more; `false` when it did not, or `epoch` is no longer the lease's.
    pub async fn withdraw_serving(&self, by: &Caller, epoch: Epoch, service: &ServiceName, environment: &EnvironmentName) -> Result<bool> {
        let mut write = self.write().await?;
        let removed = sql("DELETE FROM serving WHERE service = $1 AND environment = $2
                           AND EXISTS (SELECT 1 FROM leases WHERE leases.environment = $2 AND leases.epoch = $3)")
        .bind(service)
        .bind(environment)
        .bind(epoch)
        .run(write.on())
        .await?;
        write.commit_moved(removed, by, "withdraw_serving", service, json!({ "environment": environment, "epoch": epoch })).await
    }
}

fn set_of(row: &AnyRow) -> Result<ServingSet> {
    row.json("body")
}
