//! Incidents: a trigger fired in a deployment, on what evidence, and what was done by itself.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// What has happened.
#[derive(Debug, Clone)]
pub struct NewIncident {
    /// In which deployment.
    pub deployment: DeploymentId,
    /// The trigger: `DEPLOY-002`.
    pub rule: String,
    /// `P0` …
    pub severity: String,
    /// What was seen, for people.
    pub summary: String,
    /// What was done by itself.
    pub action: String,
    /// The figures it rests on.
    pub evidence: Value,
}

/// An incident as it was recorded.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Incident {
    /// `inc_1`.
    pub id: String,
    /// In which deployment.
    pub deployment: DeploymentId,
    /// The trigger.
    pub rule: String,
    /// `P0` …
    pub severity: String,
    /// What was seen.
    pub summary: String,
    /// What was done by itself.
    pub action: String,
    /// The figures it rests on.
    pub evidence: Value,
    /// When.
    pub opened_at: Timestamp,
}

impl Store {
    /// Records an incident.
    pub async fn add_incident(&self, by: &Caller, new: NewIncident) -> Result<Incident> {
        let mut write = self.write().await?;
        let number: i64 =
            sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM incidents").value(write.on(), "number").await?.unwrap_or(1);
        let NewIncident { deployment, rule, severity, summary, action, evidence } = new;
        let incident = Incident { id: format!("inc_{number}"), deployment, rule, severity, summary, action, evidence, opened_at: write.at };
        sql("INSERT INTO incidents (id, number, deployment_id, rule, severity, summary, action, evidence, opened_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&incident.id)
        .bind(number)
        .bind(&incident.deployment)
        .bind(&incident.rule)
        .bind(&incident.severity)
        .bind(&incident.summary)
        .bind(&incident.action)
        .bind(&incident.evidence)
        .bind(incident.opened_at)
        .run(write.on())
        .await?;
        let detail =
            json!({ "deployment": incident.deployment, "rule": incident.rule, "severity": incident.severity, "action": incident.action });
        write.commit(by, "add_incident", &incident.id, detail).await?;
        Ok(incident)
    }

    /// Returns a deployment's incidents, oldest first.
    pub async fn incidents(&self, deployment: &DeploymentId) -> Result<Vec<Incident>> {
        let rows = sql("SELECT * FROM incidents WHERE deployment_id = $1 ORDER BY number").bind(deployment).all(self.pool()).await?;
        rows.iter().map(incident_of).collect()
    }

    /// Returns an incident.
    pub async fn incident(&self, id: &str) -> Result<Option<Incident>> {
        let row = sql("SELECT * FROM incidents WHERE id = $1").bind(id).one(self.pool()).await?;
        row.as_ref().map(incident_of).transpose()
    }

    /// Returns the incidents that were opened last, of any deployment, newest first.
    pub async fn latest_incidents(&self, most: u32) -> Result<Vec<Incident>> {
        let rows = sql("SELECT * FROM incidents ORDER BY number DESC LIMIT $1").bind(i64::from(most)).all(self.pool()).await?;
        rows.iter().map(incident_of).collect()
    }
}

fn incident_of(row: &AnyRow) -> Result<Incident> {
    Ok(Incident {
        id: row.read("id")?,
        deployment: row.read("deployment_id")?,
        rule: row.read("rule")?,
        severity: row.read("severity")?,
        summary: row.read("summary")?,
        action: row.read("action")?,
        evidence: row.read("evidence")?,
        opened_at: row.read("opened_at")?,
    })
}
