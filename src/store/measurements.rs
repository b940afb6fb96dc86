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

    /// Returns a deployment's readings, oldest first.
    pub async fn measurements(&self, deployment: &DeploymentId) -> Result<Vec<Measurement>> {
        let rows = sql("SELECT * FROM measurements WHERE deployment_id = $1 ORDER BY number").bind(deployment).all(self.pool()).await?;
        let measurement_of =
            |row: &AnyRow| Ok(Measurement { kind: row.read("kind")?, body: row.read("body")?, measured_at: row.read("measured_at")? });
        rows.iter().map(measurement_of).collect()
    }
}
