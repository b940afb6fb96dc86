//! Proofs: what was tried out about a service where it runs, outside of a deployment, and what was seen.

use super::{
    Result, Store,
    query::{Read, sql, word},
};
use crate::model::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// Whether an alert arrives.
    Alert,
    /// Whether a backup can be brought back.
    Backup,
}

/// A proof on its way in.
#[derive(Debug, Clone)]
pub struct NewProof {
    /// For which directive it was tried.
    pub directive: DirectiveId,
    /// The service.
    pub service: ServiceName,
    /// Where it runs.
    pub environment: EnvironmentName,
    /// What was tried.
    pub kind: ProofKind,
    /// What was seen.
    pub detail: Value,
}

/// A proof as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// `proof_1`.
    pub id: String,
    /// For which directive it was tried.
    pub directive: DirectiveId,
    /// The service.
    pub service: ServiceName,
    /// Where it runs.
    pub environment: EnvironmentName,
    /// What was tried.
    pub kind: ProofKind,
    /// What was seen.
    pub detail: Value,
    /// Who asked for it.
    pub proven_by: String,
    /// When it was over.
    pub proven_at: Timestamp,
}

impl Store {
    /// Records what was seen.
    pub async fn add_proof(&self, by: &Caller, new: NewProof) -> Result<Proof> {
        let mut write = self.write().await?;
        let number: i64 = sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM proofs").value(write.on(), "number").await?.unwrap_or(1);
        let NewProof { directive, service, environment, kind, detail } = new;
        let proven_by = by.principal.clone();
        let proof = Proof { id: format!("proof_{number}"), directive, service, environment, kind, detail, proven_by, proven_at: write.at };
        sql("INSERT INTO proofs (id, number, directive_id, service, environment, kind, detail, proven_by, proven_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&proof.id)
        .bind(number)
        .bind(&proof.directive)
        .bind(&proof.service)
        .bind(&proof.environment)
        .bind(word(&proof.kind))
        .bind(&proof.detail)
        .bind(&proof.proven_by)
        .bind(proof.proven_at)
        .run(write.on())
        .await?;
        let sha256 = Sha256::of(proof.detail.to_string().as_bytes());
        let of = json!({ "kind": proof.kind, "service": proof.service, "environment": proof.environment, "sha256": sha256 });
        write.commit(by, "add_proof", &proof.id, of).await?;
        Ok(proof)
    }

    /// Returns the newest proof of this kind for a service where it runs.
    pub async fn latest_proof(&self, service: &ServiceName, environment: &EnvironmentName, kind: ProofKind) -> Result<Option<Proof>> {
        let row = sql("SELECT * FROM proofs WHERE service = $1 AND environment = $2 AND kind = $3 ORDER BY number DESC LIMIT 1")
            .bind(service)
            .bind(environment)
            .bind(word(&kind))
            .one(self.pool())
            .await?;
        row.as_ref().map(proof_of).transpose()
    }
}

fn proof_of(row: &AnyRow) -> Result<Proof> {
    Ok(Proof {
        id: row.read("id")?,
        directive: row.read("directive_id")?,
        service: row.read("service")?,
        environment: row.read("environment")?,
        kind: row.word("kind")?,
        detail: row.read("detail")?,
        proven_by: row.read("proven_by")?,
        proven_at: row.read("proven_at")?,
    })
}
