//! Configuration revisions: what was handed in, what is in force where, and what waits for an approver.

use super::{
    Result, Store, Write,
    query::{Read, sql},
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// The text of a configuration, as it was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number, from 1.
    pub revision: i64,
    /// The text.
    pub text: String,
    /// The hash of the text.
    pub sha256: Sha256,
    /// Who handed it in.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

impl Store {
    /// Keeps a configuration and returns its number; the same as the newest one is the newest one.
    pub async fn add_revision(&self, by: &Caller, text: &str, sha256: &Sha256) -> Result<i64> {
        let mut write = self.write().await?;
        let newest = sql("SELECT * FROM config_revisions ORDER BY revision DESC LIMIT 1").one(write.on()).await?;
        let newest = newest.as_ref().map(revision_of).transpose()?;
        let revision = match newest {
            Some(newest) if newest.sha256 == *sha256 => return Ok(newest.revision),
            Some(newest) => newest.revision + 1,
            None => 1,
        };
        let at = write.at;
        sql("INSERT INTO config_revisions (revision, body, sha256, created_by, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(revision)
            .bind(text)
            .bind(sha256)
            .bind(&by.principal)
            .bind(at)
            .run(write.on())
            .await?;
        write.commit(by, "add_revision", revision, json!({ "sha256": sha256 })).await?;
        Ok(revision)
    }

    /// Returns a revision.
    pub async fn revision(&self, revision: i64) -> Result<Option<Revision>> {
        let row = sql("SELECT * FROM config_revisions WHERE revision = $1").bind(revision).one(self.pool()).await?;
        row.as_ref().map(revision_of).transpose()
    }

    /// Returns the newest revision.
    pub async fn latest_revision(&self) -> Result<Option<Revision>> {
        let row = sql("SELECT * FROM config_revisions ORDER BY revision DESC LIMIT 1").one(self.pool()).await?;
        row.as_ref().map(revision_of).transpose()
    }

    /// Returns every environment a revision is in force or pending in, with the one in force.
    pub async fn configured_environments(&self) -> Result<BTreeMap<EnvironmentName, Option<i64>>> {
        let rows = sql("SELECT environment, in_force FROM config_environments").all(self.pool()).await?;
        rows.iter().map(|row| Ok((row.read("environment")?, row.read("in_force")?))).collect()
    }

    /// Puts a revision in force where nobody needs to decide; what waited there and is not newer waits no more.
    pub async fn set_in_force(&self, by: &Caller, revision: i64, environments: &[EnvironmentName]) -> Result<()> {
        let mut write = self.write().await?;
        put_in_force(&mut write, revision, environments).await?;
        write.commit(by, "set_in_force", revision, json!({ "environments": environments })).await
    }

    /// Lets a revision wait for the approvers of these environments.
    pub async fn set_pending(&self, by: &Caller, revision: i64, environments: &[EnvironmentName]) -> Result<()> {
        let mut write = self.write().await?;
        for environment in environments {
            sql("INSERT INTO config_environments (environment, pending) VALUES ($1, $2) ON CONFLICT (environment) DO UPDATE SET pending = $2")
                .bind(environment)
                .bind(revision)
                .run(write.on())
                .await?;
        }
        write.commit(by, "set_pending", revision, json!({ "environments": environments })).await
    }
}

pub(super) async fn put_in_force(write: &mut Write, revision: i64, environments: &[EnvironmentName]) -> Result<()> {
    for environment in environments {
        sql(
            "INSERT INTO config_environments (environment, in_force) VALUES ($1, $2) ON CONFLICT (environment) DO UPDATE SET in_force = $2,
                 pending = CASE WHEN config_environments.pending <= $2 THEN NULL ELSE config_environments.pending END",
        )
        .bind(environment)
        .bind(revision)
        .run(write.on())
        .await?;
    }
    Ok(())
}

fn revision_of(row: &AnyRow) -> Result<Revision> {
    Ok(Revision {
        revision: row.read("revision")?,
        text: row.read("body")?,
        sha256: row.read("sha256")?,
        created_by: row.read("created_by")?,
        created_at: row.read("created_at")?,
    })
}
