//! Dossiers: what an agent claims about a directive, and the commands that regenerate it, with what came of them.

use super::{
    Result, Store,
    query::{Read, json as text, sql},
};
use crate::model::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What is kept for a directive's dossier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dossier {
    /// The claims, word for word.
    pub claims: Vec<String>,
    /// The commands: argv.
    pub commands: Vec<Vec<String>>,
    /// What came of those that were run, in their order.
    pub runs: Vec<CommandRuns>,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRuns {
    /// The argv.
    pub command: Vec<String>,
    /// What came of it when it was first run.
    pub first: CommandRun,
    /// What came of it when it was last run.
    pub last: CommandRun,
}

/// One run of a command in a clean checkout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRun {
    /// The commit.
    pub commit: String,
    /// When.
    pub at: Timestamp,
    /// The exit code; none where it was ended or never began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why its output does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The hash of its standard output.
    pub sha256: Sha256,
    /// How many bytes that has.
    pub size_bytes: u64,
    /// Its beginning.
    pub output: String,
}

impl CommandRuns {
    /// Tells whether it worked, and the last run said what the first one said.
    pub fn holds(&self) -> bool {
        let worked = |run: &CommandRun| run.exit_code == Some(0) && run.fault.is_none();
        worked(&self.first) && worked(&self.last) && self.first.sha256 == self.last.sha256
    }
}

impl Store {
    /// Returns what is kept for a directive's dossier; empty where nothing was.
    pub async fn dossier(&self, directive: &DirectiveId) -> Result<Dossier> {
        let Some(row) = sql("SELECT * FROM dossiers WHERE directive_id = $1").bind(directive).one(self.pool()).await? else {
            return Ok(Dossier::default());
        };
        Ok(Dossier { claims: row.json("claims")?, commands: row.json("commands")?, runs: row.json("runs")? })
    }

    /// Keeps what a directive's dossier claims and how it is regenerated; what is kept already is not recorded again.
    pub async fn keep_dossier(&self, by: &Caller, directive: &DirectiveId, dossier: &Dossier) -> Result<()> {
        if self.dossier(directive).await? == *dossier {
            return Ok(());
        }
        let mut write = self.write().await?;
        let at = write.at;
        sql("INSERT INTO dossiers (directive_id, claims, commands, runs, kept_by, kept_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (directive_id) DO UPDATE SET claims = $2, commands = $3, runs = $4, kept_by = $5, kept_at = $6")
        .bind(directive)
        .bind(text(&dossier.claims))
        .bind(text(&dossier.commands))
        .bind(text(&dossier.runs))
        .bind(&by.principal)
        .bind(at)
        .run(write.on())
        .await?;
        let runs: Vec<&Sha256> = dossier.runs.iter().map(|runs| &runs.last.sha256).collect();
        let detail = json!({ "claims": dossier.claims.len(), "commands": dossier.commands, "runs": runs });
        write.commit(by, "keep_dossier", directive, detail).await
    }
}
