//! Stages of the two lifecycles, the work of a venture at them, and the one way forward: the transaction that completes a directive.

use super::{
    Result, Store, Write,
    query::{Read, one_of, sql},
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;

/// A stage, as the lifecycle has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stage {
    /// `vision_v2` or `workflow`.
    pub lifecycle: String,
    /// Its number.
    pub number: i64,
    /// Its name; `Stage 7` where no source gives one.
    pub name: String,
    /// The phase it lies in; empty where no source gives one.
    pub phase: String,
    /// `artifact_only`, `automated_check`, `decision_gate` or `sd_required`.
    pub work_type: String,
    /// Whether a directive carries its work.
    #[serde(skip)]
    pub sd_required: bool,
    /// What must exist before a venture leaves it.
    pub required_artifacts: Vec<String>,
    /// The phase file that governs its directive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governed_by: Option<String>,
}

/// The work of a venture at a stage.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StageWork {
    /// `vision_v2` or `workflow`.
    pub lifecycle: String,
    /// The stage's number.
    pub stage: i64,
    /// The directive that carries it.
    pub directive: Option<DirectiveId>,
    /// `not_started`, `in_progress`, `blocked`, `completed` or `skipped`.
    pub status: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was completed.
    pub completed_at: Option<Timestamp>,
    /// `green`, `yellow` or `red`, as it was when a deployment last settled.
    pub health: Option<String>,
}

/// What came of completing a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// It is completed; its venture is now at these stages: lifecycle and number.
    Completed(Vec<(String, i64)>),
    /// It is not open.
    NotOpen,
    /// These artifacts of the stage it carries are not there. Nothing was changed.
    Missing(Vec<String>),
}

impl Store {
    /// Returns the stages of a lifecycle, in their order.
    pub async fn stages(&self, lifecycle: &str) -> Result<Vec<Stage>> {
        let rows = sql("SELECT * FROM lifecycle_stage_config WHERE lifecycle = $1 ORDER BY stage_number").bind(lifecycle).all(self.pool());
        rows.await?.iter().map(stage_of).collect()
    }

    /// Returns the work of a venture, in the order of the stages.
    pub async fn stage_work(&self, venture: &str) -> Result<Vec<StageWork>> {
        let rows = sql("SELECT * FROM venture_stage_work WHERE venture_id = $1 ORDER BY lifecycle, lifecycle_stage")
            .bind(venture)
            .all(self.pool());
        let work_of = |row: &AnyRow| {
            Ok(StageWork {
                lifecycle: row.read("lifecycle")?,
                stage: row.read("lifecycle_stage")?,
                directive: row.read("sd_id")?,
                status: row.read("stage_status")?,
                started_at: row.read("started_at")?,
                completed_at: row.read("completed_at")?,
                health: row.read("health_score")?,
            })
        };
        rows.await?.iter().map(work_of).collect()
    }

    /// Returns the required artifacts that the stage's work carried by this directive lacks; none where it carries none.
    pub async fn missing_stage_artifacts(&self, directive: &DirectiveId) -> Result<Vec<String>> {
        let rows = sql(CARRIED).bind(directive).all(self.pool()).await?;
        let there = sql(THERE).bind(directive).all(self.pool()).await?;
        missing_of(&rows, &there)
    }

    /// Completes an open directive whose exit gates hold, and takes its venture one stage forward where it carries the stage's work: all
    /// or nothing, and not without the stage's artifacts.
    pub async fn complete_directive(&self, by: &Caller, id: &DirectiveId, reason: &str, health: Option<&str>) -> Result<Completion> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE strategic_directives_v2 SET status = 'completed', status_reason = $1,
                             updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                         WHERE id = $3 AND status IN ('active', 'in_progress')")
        .bind(reason)
        .bind(at)
        .bind(id)
        .run(write.on())
        .await?;
        if moved == 0 {
            return Ok(Completion::NotOpen);
        }
        let carried = sql(CARRIED).bind(id).all(write.on()).await?;
        let there = sql(THERE).bind(id).all(write.on()).await?;
        let missing = missing_of(&carried, &there)?;
        if !missing.is_empty() {
            return Ok(Completion::Missing(missing));
        }
        let mut forward = Vec::new();
        for row in &carried {
            let (venture, lifecycle, stage): (String, String, i64) =
                (row.read("venture_id")?, row.read("lifecycle")?, row.read("stage_number")?);
            complete_work(&mut write, &venture, &lifecycle, stage, health).await?;
            if let Some(next) = step_forward(&mut write, &venture, &lifecycle, stage).await? {
                forward.push((lifecycle, next));
            }
        }
        write.commit(by, "complete_directive", id, json!({ "reason": reason, "forward": forward, "health": health })).await?;
        Ok(Completion::Completed(forward))
    }

    /// Notes how well the deployments of the stage's work go that a directive carries; `false` when it carries none that is open.
    pub async fn rate_stage_work(&self, by: &Caller, directive: &DirectiveId, health: Option<&str>) -> Result<bool> {
        let mut write = self.write().await?;
        let rated = sql("UPDATE venture_stage_work SET health_score = $1
                         WHERE sd_id = $2 AND stage_status NOT IN ('completed', 'skipped') AND COALESCE(health_score, '') <> COALESCE($1, '')")
        .bind(health)
        .bind(directive)
        .run(write.on())
        .await?;
        write.commit_moved(rated, by, "rate_stage_work", directive, json!({ "health": health })).await
    }
}

/// The open work that a directive carries, at the stage where its venture still stands.
const CARRIED: &str = "SELECT w.venture_id, c.lifecycle, c.stage_number, c.required_artifacts
    FROM venture_stage_work w JOIN ventures v ON v.id = w.venture_id
        JOIN lifecycle_stage_config c ON c.lifecycle = w.lifecycle AND c.stage_number = w.lifecycle_stage
    WHERE w.sd_id = $1 AND w.stage_status NOT IN ('completed', 'skipped')
        AND c.stage_number = CASE WHEN c.lifecycle = 'workflow' THEN v.current_workflow_stage ELSE v.current_lifecycle_stage END
    ORDER BY c.lifecycle";

/// The artifacts of a directive; a runbook that is linted and handed to review, or published, is one.
const THERE: &str = "SELECT name FROM artifacts WHERE directive_id = $1
    UNION SELECT 'deployment_runbook' AS name FROM runbook_versions WHERE directive_id = $1 AND state IN ('in_review', 'published')";

fn missing_of(carried: &[AnyRow], there: &[AnyRow]) -> Result<Vec<String>> {
    let there: Vec<String> = there.iter().map(|row| row.read("name")).collect::<Result<_>>()?;
    let mut missing = Vec::new();
    for row in carried {
        missing.extend(row.json::<Vec<String>>("required_artifacts")?.into_iter().filter(|name| !there.contains(name)));
    }
    missing.dedup();
    Ok(missing)
}

async fn complete_work(write: &mut Write, venture: &str, lifecycle: &str, stage: i64, health: Option<&str>) -> Result<()> {
    let at = write.at;
    sql("UPDATE venture_stage_work SET stage_status = 'completed', completed_at = $1, health_score = $2
         WHERE venture_id = $3 AND lifecycle = $4 AND lifecycle_stage = $5")
    .bind(at)
    .bind(health)
    .bind(venture)
    .bind(lifecycle)
    .bind(stage)
    .run(write.on())
    .await?;
    Ok(())
}

/// Takes a venture from a stage to the next; none where it stands elsewhere, or this was the last.
async fn step_forward(write: &mut Write, venture: &str, lifecycle: &str, stage: i64) -> Result<Option<i64>> {
    let at = write.at;
    let moved = sql("UPDATE ventures SET
             current_workflow_stage = CASE WHEN $1 = 'workflow' THEN current_workflow_stage + 1 ELSE current_workflow_stage END,
             current_lifecycle_stage = CASE WHEN $1 = 'workflow' THEN current_lifecycle_stage ELSE current_lifecycle_stage + 1 END,
             updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
         WHERE id = $3 AND $4 = CASE WHEN $1 = 'workflow' THEN current_workflow_stage ELSE current_lifecycle_stage END
             AND EXISTS (SELECT 1 FROM lifecycle_stage_config WHERE lifecycle = $1 AND stage_number = $4 + 1)")
    .bind(lifecycle)
    .bind(at)
    .bind(venture)
    .bind(stage)
    .run(write.on())
    .await?;
    Ok((moved == 1).then_some(stage + 1))
}

/// Lets a new directive carry the work of the stages where its venture stands, if a directive is what they ask for: one that reaches
/// customers, or is governed by the stage's own phase. The newest directive carries a stage.
pub(super) async fn carry(write: &mut Write, directive: &Directive, reaches_customers: bool) -> Result<()> {
    let at = write.at;
    let governed = directive.phase.as_ref().map(|phase| format!("%\"phase\":\"{phase}\"%"));
    sql("INSERT INTO venture_stage_work (venture_id, lifecycle, lifecycle_stage, sd_id, stage_status, work_type, started_at)
         SELECT v.id, c.lifecycle, c.stage_number, $1, 'in_progress', c.work_type, $2
         FROM ventures v JOIN lifecycle_stage_config c
             ON c.stage_number = CASE WHEN c.lifecycle = 'workflow' THEN v.current_workflow_stage ELSE v.current_lifecycle_stage END
         WHERE v.id = $3 AND v.status = 'active' AND c.sd_required = 1 AND ($4 = 1 OR c.metadata LIKE $5)
         ON CONFLICT (venture_id, lifecycle, lifecycle_stage) DO UPDATE SET sd_id = $1, stage_status = 'in_progress'
             WHERE venture_stage_work.stage_status NOT IN ('completed', 'skipped')")
    .bind(&directive.id)
    .bind(at)
    .bind(directive.venture.as_deref())
    .bind(reaches_customers)
    .bind(governed)
    .run(write.on())
    .await?;
    Ok(())
}

/// Notes that the stage's work a directive carries goes on, or does not.
pub(super) async fn note_progress(write: &mut Write, directive: &DirectiveId, goes_on: bool) -> Result<()> {
    sql("UPDATE venture_stage_work SET stage_status = $1 WHERE sd_id = $2 AND $3 LIKE '%,' || stage_status || ',%'")
        .bind(if goes_on { "in_progress" } else { "blocked" })
        .bind(directive)
        .bind(one_of(["not_started", "in_progress", "blocked"]))
        .run(write.on())
        .await?;
    Ok(())
}

fn stage_of(row: &AnyRow) -> Result<Stage> {
    let metadata: serde_json::Value = row.json("metadata")?;
    Ok(Stage {
        lifecycle: row.read("lifecycle")?,
        number: row.read("stage_number")?,
        name: row.read("stage_name")?,
        phase: row.read("phase_name")?,
        work_type: row.read("work_type")?,
        sd_required: row.read::<i64>("sd_required")? == 1,
        required_artifacts: row.json("required_artifacts")?,
        governed_by: metadata["phase"].as_str().map(str::to_owned),
    })
}
