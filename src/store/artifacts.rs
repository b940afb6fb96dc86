//! Artifacts: the files a directive has left in the workspace.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;

/// A file that was written.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// For which directive.
    pub directive: DirectiveId,
    /// What it is, by the name the phase knows: `docs/deployment.md`.
    pub name: String,
    /// Where it really stands, inside the workspace.
    pub path: String,
    /// The hash of its bytes.
    pub sha256: Sha256,
    /// How many bytes.
    pub size_bytes: u64,
}

/// A file as it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What it is.
    pub name: String,
    /// Where it stands.
    pub path: String,
    /// The hash of its bytes.
    pub sha256: Sha256,
    /// How many bytes.
    pub size_bytes: u64,
    /// When.
    pub written_at: Timestamp,
}

impl Store {
    /// Records a file; the same name written again replaces what was recorded.
    pub async fn add_artifact(&self, by: &Caller, new: &NewArtifact) -> Result<()> {
        let mut write = self.write().await?;
        let at = write.at;
        sql("INSERT INTO artifacts (directive_id, name, path, sha256, size_bytes, written_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (directive_id, name) DO UPDATE SET path = $3, sha256 = $4, size_bytes = $5, written_at = $6")
        .bind(&new.directive)
        .bind(&new.name)
        .bind(&new.path)
        .bind(&new.sha256)
        .bind(new.size_bytes)
        .bind(at)
        .run(write.on())
        .await?;
        write.commit(by, "add_artifact", &new.directive, json!({ "name": new.name, "path": new.path, "sha256": new.sha256 })).await
    }

    /// Returns a directive's files, by name.
    pub async fn artifacts(&self, directive: &DirectiveId) -> Result<Vec<Artifact>> {
        let rows = sql("SELECT * FROM artifacts WHERE directive_id = $1 ORDER BY name").bind(directive).all(self.pool()).await?;
        let artifact_of = |row: &AnyRow| {
            Ok(Artifact {
                name: row.read("name")?,
                path: row.read("path")?,
                sha256: row.read("sha256")?,
                size_bytes: row.read("size_bytes")?,
                written_at: row.read("written_at")?,
            })
        };
        rows.iter().map(artifact_of).collect()
    }
}
