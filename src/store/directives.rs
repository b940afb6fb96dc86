//! Directives: the work orders.

use super::{
    Result, Store, Write,
    query::{Read, json as text, one_of, sql},
    releases,
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;

/// A directive before it has an id.
#[derive(Debug, Clone)]
pub struct NewDirective {
    /// One line for people.
    pub title: String,
    /// Why.
    pub rationale: String,
    /// What.
    pub description: String,
    /// How far it reaches.
    pub scope: String,
    /// `critical`, `high`, `medium` or `low`.
    pub priority: String,
    /// The environment.
    pub environment: EnvironmentName,
    /// The venture it belongs to, if any.
    pub venture: Option<String>,
    /// Directives that must be completed first.
    pub depends_on: Vec<DirectiveId>,
    /// The phase that governs it.
    pub phase: Option<String>,
    /// The hash of the phase's file.
    pub phase_sha256: Option<Sha256>,
}

impl Store {
    /// Opens a directive for this release, and remembers the release; the open one for the same service, environment and digest
    /// comes back instead, with `true`.
    pub async fn create_directive(&self, by: &Caller, new: NewDirective, release: &Release) -> Result<(Directive, bool)> {
        let mut write = self.write().await?;
        let open = sql("SELECT * FROM strategic_directives_v2
                        WHERE service = $1 AND environment = $2 AND digest = $3 AND status IN ('active', 'in_progress')")
        .bind(&release.service)
        .bind(&new.environment)
        .bind(&release.digest)
        .one(write.on())
        .await?;
        if let Some(row) = open {
            return Ok((directive_of(&row)?, true));
        }
        releases::remember(&mut write, release).await?;
        let directive = insert(&mut write, by, new, release).await?;
        let detail = json!({ "service": directive.service, "environment": directive.environment, "version": directive.version, "digest": directive.digest });
        write.commit(by, "create_directive", &directive.id, detail).await?;
        Ok((directive, false))
    }

    /// Returns a directive.
    pub async fn directive(&self, id: &DirectiveId) -> Result<Option<Directive>> {
        let row = sql("SELECT * FROM strategic_directives_v2 WHERE id = $1").bind(id).one(self.pool()).await?;
        row.as_ref().map(directive_of).transpose()
    }

    /// Returns the directives work may go on with, oldest first.
    pub async fn open_directives(&self) -> Result<Vec<Directive>> {
        let rows =
            sql("SELECT * FROM strategic_directives_v2 WHERE status IN ('active', 'in_progress') ORDER BY number").all(self.pool()).await?;
        rows.iter().map(directive_of).collect()
    }

    /// Returns the directives of a service in an environment, newest first.
    pub async fn directives_of(&self, service: &ServiceName, environment: &EnvironmentName) -> Result<Vec<Directive>> {
        let rows = sql("SELECT * FROM strategic_directives_v2 WHERE service = $1 AND environment = $2 ORDER BY number DESC")
            .bind(service)
            .bind(environment)
            .all(self.pool())
            .await?;
        rows.iter().map(directive_of).collect()
    }

    /// Moves a directive; `false` when it was in none of the states `from`.
    pub async fn set_directive_state(
        &self,
        by: &Caller,
        id: &DirectiveId,
        from: &[DirectiveState],
        to: DirectiveState,
        reason: Option<&str>,
    ) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE strategic_directives_v2 SET status = $1, status_reason = $2,
                         updated_at = CASE WHEN updated_at < $3 THEN $3 ELSE updated_at + 1 END
                         WHERE id = $4 AND $5 LIKE '%,' || status || ',%'")
        .bind(to)
        .bind(reason)
        .bind(at)
        .bind(id)
        .bind(one_of(from.iter().map(|state| state.as_str())))
        .run(write.on())
        .await?;
        write.commit_moved(moved, by, "set_directive_state", id, json!({ "to": to, "reason": reason })).await
    }
}

/// Opens a directive again whose release was taken back: what is to be done is planned anew.
pub(super) async fn reopen(write: &mut Write, id: &DirectiveId, reason: &str) -> Result<bool> {
    let at = write.at;
    let moved = sql("UPDATE strategic_directives_v2 SET status = 'active', status_reason = $1,
                         updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                     WHERE id = $3 AND status = 'in_progress'")
    .bind(reason)
    .bind(at)
    .bind(id)
    .run(write.on())
    .await?;
    Ok(moved == 1)
}

async fn insert(write: &mut Write, by: &Caller, new: NewDirective, release: &Release) -> Result<Directive> {
    let number: i64 =
        sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM strategic_directives_v2").value(write.on(), "number").await?.unwrap_or(1);
    let directive = Directive {
        id: DirectiveId(format!("SD-DEPLOY-{number:03}")),
        state: DirectiveState::Active,
        title: new.title,
        rationale: new.rationale,
        description: new.description,
        scope: new.scope,
        priority: new.priority,
        service: release.service.clone(),
        environment: new.environment,
        version: release.version.clone(),
        commit: release.commit.clone(),
        digest: release.digest.clone(),
        venture: new.venture,
        depends_on: new.depends_on,
        phase: new.phase,
        phase_sha256: new.phase_sha256,
        created_by: by.principal.clone(),
        created_at: write.at,
        updated_at: write.at,
    };
    sql("INSERT INTO strategic_directives_v2 (id, number, title, status, category, priority, description, rationale, scope, target_application,
             current_phase, created_by, created_at, updated_at, service, environment, release_version, commit_id, digest, venture_id, depends_on,
             phase, phase_sha256)
         VALUES ($1, $2, $3, $4, 'deployment', $5, $6, $7, $8, $9, $10, $11, $12, $12, $9, $13, $14, $15, $16, $17, $18, $10, $19)")
    .bind(&directive.id)
    .bind(number)
    .bind(&directive.title)
    .bind(directive.state)
    .bind(&directive.priority)
    .bind(&directive.description)
    .bind(&directive.rationale)
    .bind(&directive.scope)
    .bind(&directive.service)
    .bind(directive.phase.as_deref())
    .bind(&directive.created_by)
    .bind(directive.created_at)
    .bind(&directive.environment)
    .bind(&directive.version)
    .bind(directive.commit.as_deref())
    .bind(&directive.digest)
    .bind(directive.venture.as_deref())
    .bind(text(&directive.depends_on))
    .bind(directive.phase_sha256.as_ref())
    .run(write.on())
    .await?;
    Ok(directive)
}

fn directive_of(row: &AnyRow) -> Result<Directive> {
    Ok(Directive {
        id: row.read("id")?,
        state: row.read("status")?,
        title: row.read("title")?,
        rationale: row.read("rationale")?,
        description: row.read("description")?,
        scope: row.read("scope")?,
        priority: row.read("priority")?,
        service: row.read("service")?,
        environment: row.read("environment")?,
        version: row.read("release_version")?,
        commit: row.read("commit_id")?,
        digest: row.read("digest")?,
        venture: row.read("venture_id")?,
        depends_on: row.json("depends_on")?,
        phase: row.read("phase")?,
        phase_sha256: row.read("phase_sha256")?,
        created_by: row.read("created_by")?,
        created_at: row.read("created_at")?,
        updated_at: row.read("updated_at")?,
    })
}
