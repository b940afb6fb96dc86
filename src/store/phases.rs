//! Phases: the files that directives were begun under, and the directives whose phase left nothing to do.

use super::{
    Result, Store,
    query::{Read, one_of, sql},
};
use crate::model::*;
use serde_json::json;

/// Why a directive's phase left nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseSkip {
    /// The fact that says so.
    pub fact: String,
    /// In words.
    pub reason: String,
    /// Who asked the server to look.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Keeps the text of a phase file under its hash; a second time changes nothing.
    pub async fn keep_phase(&self, by: &Caller, name: &str, sha256: &Sha256, text: &str) -> Result<()> {
        if self.phase_text(sha256).await?.is_some() {
            return Ok(());
        }
        let mut write = self.write().await?;
        let at = write.at;
        let kept = sql("INSERT INTO phases (sha256, name, body, kept_at) VALUES ($1, $2, $3, $4) ON CONFLICT (sha256) DO NOTHING")
            .bind(sha256)
            .bind(name)
            .bind(text)
            .bind(at)
            .run(write.on())
            .await?;
        write.commit_moved(kept, by, "keep_phase", sha256, json!({ "name": name })).await.map(drop)
    }

    /// Returns the text of the phase file with this hash.
    pub async fn phase_text(&self, sha256: &Sha256) -> Result<Option<String>> {
        sql("SELECT body FROM phases WHERE sha256 = $1").bind(sha256).value(self.pool(), "body").await
    }

    /// Completes an open directive because its phase leaves nothing to do; `false` when it was not open any more, or is being deployed.
    pub async fn skip_phase(&self, by: &Caller, id: &DirectiveId, fact: &str, reason: &str) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE strategic_directives_v2 SET status = 'completed', status_reason = $1,
                             updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                         WHERE id = $3 AND $4 LIKE '%,' || status || ',%'
                             AND NOT EXISTS (SELECT 1 FROM deployments WHERE directive_id = strategic_directives_v2.id)")
        .bind(format!("skipped: {reason}"))
        .bind(at)
        .bind(id)
        .bind(one_of([DirectiveState::Active, DirectiveState::InProgress].iter().map(|state| state.as_str())))
        .run(write.on())
        .await?;
        if moved == 1 {
            sql("INSERT INTO phase_skips (directive_id, fact, reason, skipped_by, skipped_at) VALUES ($1, $2, $3, $4, $5)")
                .bind(id)
                .bind(fact)
                .bind(reason)
                .bind(&by.principal)
                .bind(at)
                .run(write.on())
                .await?;
        }
        write.commit_moved(moved, by, "skip_phase", id, json!({ "fact": fact, "reason": reason })).await
    }

    /// Returns why a directive's phase left nothing to do; none where it did not.
    pub async fn phase_skip(&self, id: &DirectiveId) -> Result<Option<PhaseSkip>> {
        let row = sql("SELECT * FROM phase_skips WHERE directive_id = $1").bind(id).one(self.pool()).await?;
        let skip_of = |row: &sqlx::any::AnyRow| {
            Ok(PhaseSkip { fact: row.read("fact")?, reason: row.read("reason")?, by: row.read("skipped_by")?, at: row.read("skipped_at")? })
        };
        row.as_ref().map(skip_of).transpose()
    }
}
