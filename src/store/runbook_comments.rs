//! What people say of single lines of a runbook. It decides nothing.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use serde::Serialize;
use serde_json::json;
use sqlx::any::AnyRow;

/// How many comments a version takes.
pub const MOST_COMMENTS: i64 = 200;

/// A comment on its way in.
#[derive(Debug, Clone)]
pub struct NewRunbookComment {
    /// On which runbook.
    pub runbook: RunbookId,
    /// On which version: the newest.
    pub version: i64,
    /// The line of its text, from 1.
    pub line: i64,
    /// What that line says.
    pub quote: String,
    /// What is said of it.
    pub text: String,
}

/// A comment as it was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunbookComment {
    /// Counted over all comments, from 1.
    pub number: i64,
    /// On which version.
    pub version: i64,
    /// The line of its text, from 1.
    pub line: i64,
    /// What that line says.
    pub quote: String,
    /// What is said of it.
    pub text: String,
    /// Who has said it.
    pub author: ApproverName,
    /// When.
    pub commented_at: Timestamp,
}

impl Store {
    /// Saves a comment on a runbook's newest version and returns its number; none where there is a newer version, or room for no more.
    pub async fn add_runbook_comment(&self, by: &Caller, new: &NewRunbookComment) -> Result<Option<i64>> {
        let mut write = self.write().await?;
        let at = write.at;
        let row = sql("INSERT INTO runbook_comments (number, runbook_id, version, line, quote, body, author, commented_at)
             SELECT (SELECT COALESCE(MAX(number), 0) + 1 FROM runbook_comments), id, latest_version, $3, $4, $5, $6, $7
             FROM venture_deployment_runbook
             WHERE id = $1 AND latest_version = $2
                 AND (SELECT COUNT(*) FROM runbook_comments WHERE runbook_id = $1 AND version = $2) < $8
             RETURNING number")
        .bind(&new.runbook)
        .bind(new.version)
        .bind(new.line)
        .bind(&new.quote)
        .bind(&new.text)
        .bind(&by.principal)
        .bind(at)
        .bind(MOST_COMMENTS)
        .one(write.on())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let number: i64 = row.read("number")?;
        let said = json!({ "number": number, "version": new.version, "line": new.line, "text_sha256": Sha256::of(new.text.as_bytes()) });
        write.commit(by, "add_runbook_comment", &new.runbook, said).await?;
        Ok(Some(number))
    }

    /// Returns what people have said of a runbook's lines, oldest first.
    pub async fn runbook_comments(&self, id: &RunbookId) -> Result<Vec<RunbookComment>> {
        let rows = sql("SELECT * FROM runbook_comments WHERE runbook_id = $1 ORDER BY number").bind(id).all(self.pool()).await?;
        let comment_of = |row: &AnyRow| {
            Ok(RunbookComment {
                number: row.read("number")?,
                version: row.read("version")?,
                line: row.read("line")?,
                quote: row.read("quote")?,
                text: row.read("body")?,
                author: row.read("author")?,
                commented_at: row.read("commented_at")?,
            })
        };
        rows.iter().map(comment_of).collect()
    }
}
