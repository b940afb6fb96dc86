//! Directives: the work orders.

use super::{
    Result, Store, Write,
    query::{Read, json as text, one_of, sql},
    releases, stages,
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
    /// When its commit was made, if known.
    pub committed_at: Option<Timestamp>,
    /// What its creator says has changed.
    pub change: Option<ChangeKind>,
    /// Whether nothing was built for it.
    pub nothing_built: bool,
    /// The venture it belongs to, if any.
    pub venture: Option<String>,
    /// Whether it reaches customers: its environment asks for approval.
    pub reaches_customers: bool,
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
        let reaches_customers = new.reaches_customers;
        // What brings nothing mends nothing: the draft goes on waiting for a release.
        let draft = match new.nothing_built {
            true => None,
            false => draft_of(&mut write, &release.service, &new.environment).await?,
        };
        let directive = match draft {
            Some(draft) => take_over(&mut write, by, draft, new, release).await?,
            None => {
                let directive = directive(by, &mut write, new, release).await?;
                put(&mut write, &directive).await?
            }
        };
        if directive.venture.is_some() && !directive.nothing_built {
            stages::carry(&mut write, &directive, reaches_customers).await?;
        }
        let detail = json!({ "service": directive.service, "environment": directive.environment, "version": directive.version,
            "digest": directive.digest, "follows": directive.follows, "change": directive.change, "nothing_built": directive.nothing_built });
        write.commit(by, "create_directive", &directive.id, detail).await?;
        Ok((directive, false))
    }

    /// Leaves a draft that carries what became of `deployment`; one that stands for the place already carries that from now on. The same
    /// deployment counts once. `description` begins with its id.
    pub async fn open_follow_up(
        &self,
        by: &Caller,
        failed: &Directive,
        deployment: &DeploymentId,
        title: &str,
        description: &str,
    ) -> Result<Directive> {
        let mut write = self.write().await?;
        let at = write.at;
        let earlier = draft_of(&mut write, &failed.service, &failed.environment).await?;
        if let Some(draft) = earlier.as_ref().filter(|draft| draft.description.starts_with(&format!("{deployment}:"))) {
            return Ok(draft.clone());
        }
        let depth = earlier.as_ref().map_or(0, |draft| draft.depth).max(failed.depth) + 1;
        let draft = match earlier {
            Some(draft) => {
                sql("UPDATE strategic_directives_v2 SET title = $1, description = $2, follows = $3, follow_depth = $4,
                     updated_at = CASE WHEN updated_at < $5 THEN $5 ELSE updated_at + 1 END WHERE id = $6")
                .bind(title)
                .bind(description)
                .bind(&failed.id)
                .bind(depth)
                .bind(at)
                .bind(&draft.id)
                .run(write.on())
                .await?;
                Directive { title: title.into(), description: description.into(), follows: Some(failed.id.clone()), depth, ..draft }
            }
            None => {
                let draft = Directive {
                    id: next_id(&mut write).await?,
                    state: DirectiveState::Draft,
                    title: title.into(),
                    description: description.into(),
                    rationale: format!("{} did not stay", failed.id),
                    priority: "high".into(),
                    depends_on: Vec::new(),
                    follows: Some(failed.id.clone()),
                    depth,
                    created_by: by.principal.clone(),
                    created_at: at,
                    updated_at: at,
                    ..failed.clone()
                };
                put(&mut write, &draft).await?
            }
        };
        write.commit(by, "open_follow_up", &draft.id, json!({ "follows": failed.id, "depth": depth })).await?;
        Ok(draft)
    }

    /// Ends what earlier failures of a place have left open, now that `succeeded` serves there; returns what was ended.
    pub async fn close_follow_ups(&self, by: &Caller, succeeded: &Directive) -> Result<Vec<DirectiveId>> {
        let mut write = self.write().await?;
        let at = write.at;
        let rows = sql("UPDATE strategic_directives_v2 SET status = 'cancelled', status_reason = $1,
                            updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                        WHERE service = $3 AND environment = $4 AND id <> $5 AND (status = 'draft' OR (status IN ('active', 'in_progress')
                            AND id IN (SELECT follows FROM strategic_directives_v2 WHERE service = $3 AND environment = $4 AND follows IS NOT NULL)))
                        RETURNING id")
        .bind(format!("{} succeeded", succeeded.id))
        .bind(at)
        .bind(&succeeded.service)
        .bind(&succeeded.environment)
        .bind(&succeeded.id)
        .all(write.on())
        .await?;
        let ended: Vec<DirectiveId> = rows.iter().map(|row| row.read("id")).collect::<Result<_>>()?;
        if !ended.is_empty() {
            write.commit(by, "close_follow_ups", &succeeded.id, json!({ "ended": ended })).await?;
        }
        Ok(ended)
    }

    /// Returns the drafts that failures have left, newest first.
    pub async fn follow_ups(&self) -> Result<Vec<Directive>> {
        let rows = sql("SELECT * FROM strategic_directives_v2 WHERE status = 'draft' ORDER BY number DESC").all(self.pool()).await?;
        rows.iter().map(directive_of).collect()
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

    /// Moves a directive; `false` when it was in none of the states `from`. What completes one is [`Store::complete_directive`].
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
        if matches!(to, DirectiveState::Cancelled | DirectiveState::Draft) {
            stages::note_progress(&mut write, id, false).await?;
        }
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

async fn draft_of(write: &mut Write, service: &ServiceName, environment: &EnvironmentName) -> Result<Option<Directive>> {
    let row =
        sql("SELECT * FROM strategic_directives_v2 WHERE service = $1 AND environment = $2 AND status = 'draft' ORDER BY number DESC")
            .bind(service)
            .bind(environment)
            .one(write.on())
            .await?;
    row.as_ref().map(directive_of).transpose()
}

/// Turns a draft into the work order of the release that mends it; what it follows stays known. One under which a release was planned
/// and given up is left as it stood, and another order carries on: what was planned, or rejected, there is of other bytes.
async fn take_over(write: &mut Write, by: &Caller, draft: Directive, new: NewDirective, release: &Release) -> Result<Directive> {
    let carried = format!("{}\n\nMends {}", new.description, draft.description);
    let order = directive(by, write, new, release).await?;
    let order = Directive { description: carried, follows: draft.follows, depth: draft.depth, ..order };
    let reason = format!("{} mends what it carried", order.id);
    let at = write.at;
    let left = sql("UPDATE strategic_directives_v2 SET status = 'cancelled', status_reason = $1,
                        updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                    WHERE id = $3 AND EXISTS (SELECT 1 FROM plans WHERE directive_id = $3)")
    .bind(&reason)
    .bind(at)
    .bind(&draft.id)
    .run(write.on())
    .await?;
    if left == 0 {
        return put(write, &Directive { id: draft.id, created_at: draft.created_at, ..order }).await;
    }
    let detail = json!({ "to": DirectiveState::Cancelled, "reason": reason });
    write.go_on(by, "set_directive_state", &draft.id, detail).await?;
    put(write, &order).await
}

async fn next_id(write: &mut Write) -> Result<DirectiveId> {
    let number: i64 =
        sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM strategic_directives_v2").value(write.on(), "number").await?.unwrap_or(1);
    Ok(DirectiveId(format!("SD-DEPLOY-{number:03}")))
}

async fn directive(by: &Caller, write: &mut Write, new: NewDirective, release: &Release) -> Result<Directive> {
    Ok(Directive {
        id: next_id(write).await?,
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
        committed_at: new.committed_at,
        digest: release.digest.clone(),
        change: new.change,
        nothing_built: new.nothing_built,
        venture: new.venture,
        depends_on: new.depends_on,
        phase: new.phase,
        phase_sha256: new.phase_sha256,
        follows: None,
        depth: 0,
        created_by: by.principal.clone(),
        created_at: write.at,
        updated_at: write.at,
    })
}

/// Writes a directive and returns it; a draft of this id is this order from now on, and keeps what was recorded under it.
async fn put(write: &mut Write, directive: &Directive) -> Result<Directive> {
    let number: i64 = directive.id.as_str().rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
    let row = sql("INSERT INTO strategic_directives_v2 (id, number, title, status, category, priority, description, rationale, scope, target_application,
             current_phase, created_by, created_at, updated_at, service, environment, release_version, commit_id, digest, venture_id, depends_on,
             phase, phase_sha256, follows, follow_depth, committed_at, claimed_change, nothing_built)
         VALUES ($1, $2, $3, $4, 'deployment', $5, $6, $7, $8, $9, $10, $11, $12, $25, $9, $13, $14, $15, $16, $17, $18, $10, $19, $20, $21,
             $22, $23, $24)
         ON CONFLICT (id) DO UPDATE SET title = $3, status = $4, priority = $5, description = $6, rationale = $7, scope = $8,
             current_phase = $10, created_by = $11, release_version = $14, commit_id = $15, digest = $16, venture_id = $17, depends_on = $18,
             phase = $10, phase_sha256 = $19, follows = $20, follow_depth = $21, committed_at = $22, claimed_change = $23, nothing_built = $24,
             status_reason = NULL, updated_at = CASE WHEN strategic_directives_v2.updated_at < $25 THEN $25
                 ELSE strategic_directives_v2.updated_at + 1 END
         RETURNING *")
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
    .bind(directive.follows.as_ref())
    .bind(directive.depth)
    .bind(directive.committed_at)
    .bind(directive.change.map(ChangeKind::as_str))
    .bind(directive.nothing_built)
    .bind(directive.updated_at)
    .one(write.on())
    .await?;
    directive_of(&row.ok_or_else(|| anyhow::anyhow!("`{}` was written and is not there", directive.id))?)
}

pub(super) fn directive_of(row: &AnyRow) -> Result<Directive> {
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
        committed_at: row.read("committed_at")?,
        digest: row.read("digest")?,
        change: match row.read::<Option<String>>("claimed_change")? {
            Some(_) => Some(row.word("claimed_change")?),
            None => None,
        },
        nothing_built: row.read::<i64>("nothing_built")? != 0,
        venture: row.read("venture_id")?,
        depends_on: row.json("depends_on")?,
        phase: row.read("phase")?,
        phase_sha256: row.read("phase_sha256")?,
        follows: row.read("follows")?,
        depth: row.read("follow_depth")?,
        created_by: row.read("created_by")?,
        created_at: row.read("created_at")?,
        updated_at: row.read("updated_at")?,
    })
}
