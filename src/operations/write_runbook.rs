//! `write_runbook`: drafts a runbook from the recorded run, and sends a clean draft to review.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{
    engine::lint::{self, Finding},
    error::{Code, Error},
    model::{DeploymentId, DirectiveId},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The operation.
pub struct WriteRunbook;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Deployment id; or give directive
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Directive id: its newest deployment
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
    /// Your own words; fenced and marked as unverified
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    runbook: String,
    version: i64,
    /// Where it was written in the workspace.
    path: String,
    /// From 100: 20 less for each finding that blocks, 3 for each other.
    score: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
}

impl Operation for WriteRunbook {
    const NAME: &'static str = "write_runbook";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/write_runbook.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let deployment = match (params.deployment, params.directive) {
            (Some(deployment), _) => ctx.engine.deployment(&DeploymentId::from(deployment)).await?,
            (None, Some(directive)) => {
                let directive = ctx.engine.directive(&DirectiveId::from(directive)).await?;
                let newest = ctx.engine.latest_deployment(&directive).await?;
                newest.ok_or_else(|| {
                    Error::new(Code::WrongState, format!("`{}` has deployed nothing yet", directive.id))
                        .hint("write the runbook after the deployment")
                })?
            }
            (None, None) => return Err(Error::invalid("give either `deployment` or `directive`")),
        };
        let written = ctx.engine.write_runbook(&ctx.caller, &deployment, params.notes.as_deref()).await?;
        let blocking: Vec<&Finding> = written.blocking().collect();
        let clean = blocking.is_empty();
        let action = match (clean, blocking.iter().find(|finding| finding.side == crate::model::Who::Agent)) {
            (true, _) => NextAction::command(format!("interlock runbook publish {}", written.runbook), "a person reviews it"),
            (false, Some(finding)) => NextAction::tool(
                "write_runbook",
                json!({ "deployment": deployment.id, "notes": "<mended notes>" }),
                format!("{}: {}", finding.rule, finding.message),
            ),
            (false, None) => NextAction::of(crate::model::Who::Person, format!("{}; {}", blocking[0].message, blocking[0].fix)),
        };
        let score = lint::score(&written.findings);
        let summary = match blocking.len() {
            0 => "clean and waits for review".to_owned(),
            1 => "a draft: 1 finding keeps it from review".to_owned(),
            many => format!("a draft: {many} findings keep it from review"),
        };
        Ok(Reply {
            state: if clean { "in_review" } else { "draft" }.into(),
            summary: format!("{} version {} is {summary}", written.runbook, written.version),
            guidance: "The runbook is written from the record; only your notes are yours to mend.".into(),
            next_actions: vec![action.recommended()],
            body: Output { runbook: written.runbook, version: written.version, path: written.path, score, findings: written.findings },
        })
    }
}
