//! `get_runbook`: returns a runbook's text, its state, what the lint found, and what reviewers and commenters said.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{
    engine::runbook_comments::{COMMENT_CHARS, Commented},
    error::Error,
    model::{RunbookId, text},
    store::RunbookReview,
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much of the comments is shown at once, bytes: with the rest of the reply at most 8 KB.
const COMMENTS_BYTES: usize = 6 * 1024;
/// How many reviews are shown, the latest.
const MOST_REVIEWS: u32 = 3;

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
    /// In place of the text the latest reviews, and the comments on lines
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comments: Option<bool>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    runbook: String,
    version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// What the lint found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Value>,
    /// What reviewers said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comments: Vec<Value>,
    /// What people said of single lines, and what became of it; what waits for the agent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    line_comments: Vec<Commented>,
    /// How many more comments there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_comments: Option<usize>,
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
        let version = match params.version {
            Some(version) => ctx.engine.store.runbook_version(&id, version).await?,
            None => ctx.engine.store.newest_runbook_version(&id).await?,
        };
        let version = version.ok_or_else(|| Error::not_found("runbook", &id))?;
        let said = ctx.engine.runbook_comments(&id).await?;
        let waiting = said.iter().filter(|commented| commented.waits_for_agent()).count();
        let of_people = params.comments.unwrap_or(false);
        let (comments, (line_comments, more)) = match of_people {
            true => (of_reviewers(ctx.engine.store.runbook_reviews(&id, MOST_REVIEWS).await?), shown(said)),
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
                text: (!of_people).then(|| text::visible(&version.text, 7_000)),
                findings,
                comments,
                line_comments,
                more_comments: Some(more).filter(|more| *more > 0),
            },
        })
    }
}

fn of_reviewers(reviews: Vec<RunbookReview>) -> Vec<Value> {
    let visible = |review: RunbookReview| RunbookReview { reason: review.reason.map(|reason| text::visible(&reason, 500)), ..review };
    reviews.into_iter().map(|review| serde_json::json!(visible(review))).collect()
}

/// Returns the comments that fit, those that wait for the agent first, and how many more there are.
fn shown(mut said: Vec<Commented>) -> (Vec<Commented>, usize) {
    said.sort_by_key(|commented| !commented.waits_for_agent());
    for commented in &mut said {
        let comment = &mut commented.comment;
        (comment.quote, comment.text) = (text::visible_line(&comment.quote, 200), text::visible(&comment.text, COMMENT_CHARS));
        // One alone always fits, whatever it is made of.
        comment.quote.truncate(comment.quote.floor_char_boundary(400));
        comment.text.truncate(comment.text.floor_char_boundary(COMMENTS_BYTES / 3));
    }
    let mut room = COMMENTS_BYTES;
    let fits = |commented: &&Commented| {
        let bytes = serde_json::to_vec(commented).map_or(usize::MAX, |json| json.len());
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    let fitting = said.iter().take_while(fits).count();
    let more = said.len() - fitting;
    said.truncate(fitting);
    (said, more)
}
