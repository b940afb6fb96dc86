//! Measurements: what was measured during a deployment, reading by reading.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// One reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What was measured: `watch`, `smoke`, `switch` …
    pub kind: String,
    /// The figures.
    pub body: Value,
    /// When.
    pub measured_at: Timestamp,
}

impl Store {
    /// Records a reading.
    pub async fn add_measurement(&self, by: &Caller, deployment: &DeploymentId, kind: &str, body: &Value) -> Result<()> {
        let mut write = self.write().await?;
        let at = write.at;
        sql("INSERT INTO measurements (number, deployment_id, kind, body, measured_at)
             SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, $4 FROM measurements")
        .bind(deployment)
        .bind(kind)
        .bind(body)
        .bind(at)
        .run(write.on())
        .await?;
        let sha256 = Sha256::of(body.to_string().as_bytes());
        write.commit(by, "add_measurement", deployment, json!({ "kind": kind, "sha256": sha256 })).await
    }

    /// Notes what the router of a deployment that serves has counted at the beginning of an hour, and forgets the hours before `keep_from`.
    pub async fn note_hour(&self, by: &Caller, deployment: &DeploymentId, body: &Value, keep_from: Timestamp) -> Result<()> {
        let mut write = self.write().await?;
        let at = write.at;
        sql("INSERT INTO measurements (number, deployment_id, kind, body, measured_at)
             SELECT COALESCE(MAX(number), 0) + 1, $1, 'hour', $2, $3 FROM measurements")
        .bind(deployment)
        .bind(body)
        .bind(at)
        .run(write.on())
        .await?;
        sql("DELETE FROM measurements WHERE kind = 'hour' AND measured_at < $1").bind(keep_from).run(write.on()).await?;
        let sha256 = Sha256::of(body.to_string().as_bytes());
        write.commit(by, "note_hour", deployment, json!({ "sha256": sha256 })).await
    }

    /// Returns what was noted of a place at the beginning of each hour since an instant, oldest first.
    pub async fn noted_hours(&self, service: &ServiceName, environment: &EnvironmentName, since: Timestamp) -> Result<Vec<Measurement>> {
        // By the hours, each with its deployment: a join may go by every deployment the place has had, and an order by an index by all
        // that was ever measured.
        let rows = sql("SELECT * FROM measurements WHERE kind = 'hour' AND measured_at >= $3
                            AND (SELECT service = $1 AND environment = $2 FROM deployments WHERE deployments.id = measurements.deployment_id)
                        ORDER BY +number")
        .bind(service)
        .bind(environment)
        .bind(since)
        .all(self.pool())
        .await?;
        rows.iter().map(measurement_of).collect()
    }

    /// Returns a deployment's readings, oldest first.
    pub async fn measurements(&self, deployment: &DeploymentId) -> Result<Vec<Measurement>> {
        let rows = sql("SELECT * FROM measurements WHERE deployment_id = $1 ORDER BY number").bind(deployment).all(self.pool()).await?;
        rows.iter().map(measurement_of).collect()
    }
}

fn measurement_of(row: &AnyRow) -> Result<Measurement> {
    Ok(Measurement { kind: row.read("kind")?, body: row.read("body")?, measured_at: row.read("measured_at")? })
}
