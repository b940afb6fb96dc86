//! Runbooks: one head per service and environment, its versions, and what reviewers said.

use super::{
    Result, Store, Write,
    query::{Read, one_of, sql, word},
};
use crate::model::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// Where a runbook version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunbookState {
    /// The lint has faults.
    Draft,
    /// Waits for a reviewer.
    InReview,
    /// A reviewer has published it.
    Published,
    /// A reviewer has returned it.
    Returned,
    /// A newer version stands in its place.
    Superseded,
}

impl RunbookState {
    /// Returns the column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            RunbookState::Draft => "draft",
            RunbookState::InReview => "in_review",
            RunbookState::Published => "published",
            RunbookState::Returned => "returned",
            RunbookState::Superseded => "superseded",
        }
    }
}

/// A runbook: which of its versions counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runbook {
    /// `rb_…`.
    pub id: RunbookId,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The newest version.
    pub latest_version: i64,
    /// The version a reviewer published last.
    pub published_version: Option<i64>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A version on its way in.
#[derive(Debug, Clone)]
pub struct NewRunbookVersion {
    /// The runbook.
    pub runbook: RunbookId,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The directive it was drafted for.
    pub directive: DirectiveId,
    /// The deployment it was drafted from.
    pub deployment: Option<DeploymentId>,
    /// Its Markdown.
    pub text: String,
    /// What the lint found.
    pub lint: Value,
    /// `Draft`, or `InReview` when the lint is clean.
    pub state: RunbookState,
}

/// A version as it was saved.
#[derive(Debug, Clone, PartialEq)]
pub struct RunbookVersion {
    /// The runbook.
    pub runbook: RunbookId,
    /// From 1.
    pub version: i64,
    /// The directive it was drafted for.
    pub directive: DirectiveId,
    /// The deployment it was drafted from.
    pub deployment: Option<DeploymentId>,
    /// Where it stands.
    pub state: RunbookState,
    /// Its Markdown.
    pub text: String,
    /// The hash of its Markdown: what a reviewer signs.
    pub sha256: Sha256,
    /// What the lint found.
    pub lint: Value,
    /// Who drafted it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// What a reviewer said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunbookReview {
    /// Of which version.
    pub version: i64,
    /// Published, or returned.
    pub verdict: DecisionVerdict,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub reviewer: ApproverName,
    /// When.
    pub reviewed_at: Timestamp,
}

impl Store {
    /// Saves a version and returns its number; the same text as the newest version is that version. An older one that was not
    /// decided yet is superseded.
    pub async fn save_runbook_version(&self, by: &Caller, new: &NewRunbookVersion) -> Result<i64> {
        let mut write = self.write().await?;
        let at = write.at;
        let sha256 = Sha256::of(new.text.as_bytes());
        let newest = sql("SELECT version, sha256, state FROM runbook_versions WHERE runbook_id = $1 ORDER BY version DESC LIMIT 1")
            .bind(&new.runbook)
            .one(write.on())
            .await?;
        let version = match newest {
            Some(row) if row.read::<Sha256>("sha256")? == sha256 && row.word::<RunbookState>("state")? == new.state => {
                return row.read("version");
            }
            Some(row) => row.read::<i64>("version")? + 1,
            None => 1,
        };
        sql("UPDATE runbook_versions SET state = 'superseded' WHERE runbook_id = $1 AND state IN ('draft', 'in_review')")
            .bind(&new.runbook)
            .run(write.on())
            .await?;
        sql("INSERT INTO venture_deployment_runbook (id, service, environment, latest_version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
             ON CONFLICT (id) DO UPDATE SET latest_version = $4, updated_at = $5")
        .bind(&new.runbook)
        .bind(&new.service)
        .bind(&new.environment)
        .bind(version)
        .bind(at)
        .run(write.on())
        .await?;
        sql("INSERT INTO runbook_versions (runbook_id, version, directive_id, deployment_id, state, body, sha256, lint, created_by, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .bind(&new.runbook)
        .bind(version)
        .bind(&new.directive)
        .bind(new.deployment.as_ref())
        .bind(word(&new.state))
        .bind(&new.text)
        .bind(&sha256)
        .bind(&new.lint)
        .bind(&by.principal)
        .bind(at)
        .run(write.on())
        .await?;
        write.commit(by, "save_runbook_version", &new.runbook, json!({ "version": version, "sha256": sha256, "state": new.state })).await?;
        Ok(version)
    }

    /// Returns a runbook's head.
    pub async fn runbook(&self, id: &RunbookId) -> Result<Option<Runbook>> {
        let Some(row) = sql("SELECT * FROM venture_deployment_runbook WHERE id = $1").bind(id).one(self.pool()).await? else {
            return Ok(None);
        };
        Ok(Some(Runbook {
            id: row.read("id")?,
            service: row.read("service")?,
            environment: row.read("environment")?,
            latest_version: row.read("latest_version")?,
            published_version: row.read("published_version")?,
            updated_at: row.read("updated_at")?,
        }))
    }

    /// Returns a runbook's versions up to this one, newest first, at most so many. Each has its whole text, and a place may have one from
    /// every deployment.
    pub async fn runbook_versions(&self, id: &RunbookId, upto: i64, most: u32) -> Result<Vec<RunbookVersion>> {
        let rows = sql("SELECT * FROM runbook_versions WHERE runbook_id = $1 AND version <= $2 ORDER BY version DESC LIMIT $3")
            .bind(id)
            .bind(upto)
            .bind(most)
            .all(self.pool())
            .await?;
        rows.iter().map(version_of).collect()
    }

    /// Returns a version of a runbook.
    pub async fn runbook_version(&self, id: &RunbookId, version: i64) -> Result<Option<RunbookVersion>> {
        Ok(self.runbook_versions(id, version, 1).await?.pop().filter(|found| found.version == version))
    }

    /// Returns the newest version of a runbook.
    pub async fn newest_runbook_version(&self, id: &RunbookId) -> Result<Option<RunbookVersion>> {
        Ok(self.runbook_versions(id, i64::MAX, 1).await?.pop())
    }

    /// Returns the versions of runbooks that were drafted for a directive, newest first.
    pub async fn runbook_versions_for(&self, directive: &DirectiveId) -> Result<Vec<RunbookVersion>> {
        let rows =
            sql("SELECT * FROM runbook_versions WHERE directive_id = $1 ORDER BY version DESC").bind(directive).all(self.pool()).await?;
        rows.iter().map(version_of).collect()
    }

    /// Returns what reviewers said of a runbook last, at most so much, oldest first.
    pub async fn runbook_reviews(&self, id: &RunbookId, most: u32) -> Result<Vec<RunbookReview>> {
        let query = sql("SELECT * FROM runbook_reviews WHERE runbook_id = $1 ORDER BY number DESC LIMIT $2");
        let rows = query.bind(id).bind(most).all(self.pool()).await?;
        let review_of = |row: &AnyRow| {
            Ok(RunbookReview {
                version: row.read("version")?,
                verdict: row.word("verdict")?,
                reason: row.read("reason")?,
                reviewer: row.read("reviewer")?,
                reviewed_at: row.read("reviewed_at")?,
            })
        };
        rows.iter().rev().map(review_of).collect()
    }

    /// Moves a version between draft and review; `false` when it was in none of the states `from`. Publishing and returning are
    /// decisions.
    pub async fn set_runbook_state(
        &self,
        by: &Caller,
        id: &RunbookId,
        version: i64,
        from: &[RunbookState],
        to: RunbookState,
    ) -> Result<bool> {
        let mut write = self.write().await?;
        let moved = shift(&mut write, id, version, from, to, None).await?;
        write.commit_moved(moved.into(), by, "set_runbook_state", id, json!({ "version": version, "to": to })).await
    }
}

/// Publishes or returns a version in review whose text is what was signed; `false` when there is none.
pub(super) async fn review(write: &mut Write, decision: &Decision, id: &RunbookId, version: i64, returned: Option<&str>) -> Result<bool> {
    let at = write.at;
    let to = if returned.is_some() { RunbookState::Returned } else { RunbookState::Published };
    if !shift(write, id, version, &[RunbookState::InReview], to, Some(&decision.subject_sha256)).await? {
        return Ok(false);
    }
    sql("INSERT INTO runbook_reviews (number, runbook_id, version, verdict, reason, reviewer, nonce, reviewed_at)
         SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM runbook_reviews")
    .bind(id)
    .bind(version)
    .bind(word(&decision.verdict))
    .bind(returned.or(decision.reason.as_deref()))
    .bind(&decision.approver)
    .bind(&decision.nonce)
    .bind(at)
    .run(write.on())
    .await?;
    sql("UPDATE venture_deployment_runbook SET published_version = CASE WHEN $1 = 1 THEN $2 ELSE published_version END, updated_at = $3 WHERE id = $4")
        .bind(to == RunbookState::Published)
        .bind(version)
        .bind(at)
        .bind(id)
        .run(write.on())
        .await?;
    Ok(true)
}

async fn shift(
    write: &mut Write,
    id: &RunbookId,
    version: i64,
    from: &[RunbookState],
    to: RunbookState,
    sha256: Option<&Sha256>,
) -> Result<bool> {
    let from: Vec<_> = from.iter().map(word).collect();
    let moved = sql("UPDATE runbook_versions SET state = $1
                     WHERE runbook_id = $2 AND version = $3 AND $4 LIKE '%,' || state || ',%' AND ($5 IS NULL OR sha256 = $5)")
    .bind(word(&to))
    .bind(id)
    .bind(version)
    .bind(one_of(from.iter().map(String::as_str)))
    .bind(sha256)
    .run(write.on())
    .await?;
    Ok(moved == 1)
}

fn version_of(row: &AnyRow) -> Result<RunbookVersion> {
    Ok(RunbookVersion {
        runbook: row.read("runbook_id")?,
        version: row.read("version")?,
        directive: row.read("directive_id")?,
        deployment: row.read("deployment_id")?,
        state: row.word("state")?,
        text: row.read("body")?,
        sha256: row.read("sha256")?,
        lint: row.read("lint")?,
        created_by: row.read("created_by")?,
        created_at: row.read("created_at")?,
    })
}
