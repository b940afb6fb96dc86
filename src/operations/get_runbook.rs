//! `get_runbook`: returns a runbook's text, its state, what the lint found, and what reviewers and commenters said.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{
    engine::runbook_comments::{Became, Commented},
    error::Error,
    model::{RunbookId, text},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The operation.
pub struct GetRunbook;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Runbook id
    #[arg(long)]
    pub runbook: String,
    /// Version; the newest when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// With the reviews, and the comments on lines
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comments: Option<bool>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    runbook: String,
    version: i64,
    text: String,
    /// What the lint found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Value>,
    /// What reviewers said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comments: Vec<Value>,
    /// What people said of single lines, and what became of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    line_comments: Vec<Commented>,
}

impl Operation for GetRunbook {
    const NAME: &'static str = "get_runbook";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = include_str!("../../tools/get_runbook.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let id = RunbookId::from(params.runbook);
        let versions = ctx.engine.store.runbook_versions(&id).await?;
        let wanted = params.version.or_else(|| versions.iter().map(|version| version.version).max());
        let mut said = ctx.engine.runbook_comments(&id, &versions).await?;
        for commented in &mut said {
            let comment = &mut commented.comment;
            (comment.quote, comment.text) = (text::visible_line(&comment.quote, 400), text::visible(&comment.text, 2_000));
        }
        let waiting = said.iter().filter(|commented| commented.became != Became::Answered).count();
        let Some(version) = versions.into_iter().find(|version| Some(version.version) == wanted) else {
            return Err(Error::not_found("runbook", &id));
        };
        let (comments, line_comments) = match params.comments.unwrap_or(false) {
            true => (ctx.engine.store.runbook_reviews(&id).await?.iter().map(|review| serde_json::json!(review)).collect(), said),
            false => Default::default(),
        };
        let state = version.state.as_str().to_owned();
        let findings = version.lint.as_array().cloned().unwrap_or_default();
        let publish = NextAction::command(format!("interlock runbook publish {id}"), "a person reviews it").recommended();
        Ok(Reply {
            summary: format!("{id} version {} is {state}", version.version),
            guidance: match waiting {
                0 => String::new(),
                1 => "1 comment waits for the next version: read it with `comments`".into(),
                many => format!("{many} comments wait for the next version: read them with `comments`"),
            },
            next_actions: if state == "in_review" { vec![publish] } else { Vec::new() },
            state,
            body: Output {
                runbook: id.to_string(),
                version: version.version,
                text: text::visible(&version.text, 7_000),
                findings,
                comments,
                line_comments,
            },
        })
    }
}
