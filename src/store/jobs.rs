//! Jobs: what the server works on for a directive, outside a deployment.

use super::{
    Result, Store,
    query::{Read, sql, word},
};
use crate::model::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// At work.
    Running,
    /// Went to its end; what it found is in its detail.
    Done,
    /// Could not go to its end.
    Failed,
    /// The server ended in between.
    Interrupted,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// `job_1`.
    pub id: String,
    /// The directive it works for.
    pub directive: DirectiveId,
    /// What is done: `checks` …
    pub kind: String,
    /// Where it stands.
    pub state: JobState,
    /// How far it is, or what came out.
    pub detail: Value,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last said something.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Store {
    /// Begins a job; the running one of the same directive and kind comes back instead, with `true`.
    pub async fn start_job(&self, by: &Caller, directive: &DirectiveId, kind: &str, detail: &Value) -> Result<(Job, bool)> {
        let mut write = self.write().await?;
        let running = sql("SELECT * FROM jobs WHERE directive_id = $1 AND kind = $2 AND state = 'running'")
            .bind(directive)
            .bind(kind)
            .one(write.on())
            .await?;
        if let Some(row) = running {
            return Ok((job_of(&row)?, true));
        }
        let number: i64 = sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM jobs").value(write.on(), "number").await?.unwrap_or(1);
        let job = Job {
            id: format!("job_{number}"),
            directive: directive.clone(),
            kind: kind.to_owned(),
            state: JobState::Running,
            detail: detail.clone(),
            started_at: write.at,
            updated_at: write.at,
            ended_at: None,
        };
        sql("INSERT INTO jobs (id, number, directive_id, kind, state, detail, started_at, updated_at) VALUES ($1, $2, $3, $4, 'running', $5, $6, $6)")
            .bind(&job.id)
            .bind(number)
            .bind(directive)
            .bind(kind)
            .bind(detail)
            .bind(job.started_at)
            .run(write.on())
            .await?;
        write.commit(by, "start_job", &job.id, json!({ "directive": directive, "kind": kind })).await?;
        Ok((job, false))
    }

    /// Notes how far a job is; `false` when it is not running.
    pub async fn update_job(&self, by: &Caller, id: &str, detail: &Value) -> Result<bool> {
        self.move_job(by, "update_job", id, JobState::Running, detail).await
    }

    /// Ends a job; `false` when it is not running.
    pub async fn finish_job(&self, by: &Caller, id: &str, state: JobState, detail: &Value) -> Result<bool> {
        self.move_job(by, "finish_job", id, state, detail).await
    }

    async fn move_job(&self, by: &Caller, action: &str, id: &str, to: JobState, detail: &Value) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE jobs SET state = $1, detail = $2, updated_at = $3, ended_at = $4 WHERE id = $5 AND state = 'running'")
            .bind(word(&to))
            .bind(detail)
            .bind(at)
            .bind((to != JobState::Running).then_some(at))
            .bind(id)
            .run(write.on())
            .await?;
        write.commit_moved(moved, by, action, id, json!({ "to": to })).await
    }

    /// Returns a job.
    pub async fn job(&self, id: &str) -> Result<Option<Job>> {
        let row = sql("SELECT * FROM jobs WHERE id = $1").bind(id).one(self.pool()).await?;
        row.as_ref().map(job_of).transpose()
    }

    /// Returns the jobs at work, oldest first.
    pub async fn running_jobs(&self) -> Result<Vec<Job>> {
        let rows = sql("SELECT * FROM jobs WHERE state = 'running' ORDER BY number").all(self.pool()).await?;
        rows.iter().map(job_of).collect()
    }

    /// Returns the newest job of this kind for a directive.
    pub async fn latest_job(&self, directive: &DirectiveId, kind: &str) -> Result<Option<Job>> {
        let row = sql("SELECT * FROM jobs WHERE directive_id = $1 AND kind = $2 ORDER BY number DESC LIMIT 1")
            .bind(directive)
            .bind(kind)
            .one(self.pool())
            .await?;
        row.as_ref().map(job_of).transpose()
    }
}

fn job_of(row: &AnyRow) -> Result<Job> {
    Ok(Job {
        id: row.read("id")?,
        directive: row.read("directive_id")?,
        kind: row.read("kind")?,
        state: row.word("state")?,
        detail: row.read("detail")?,
        started_at: row.read("started_at")?,
        updated_at: row.read("updated_at")?,
        ended_at: row.read("ended_at")?,
    })
}
