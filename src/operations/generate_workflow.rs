//! `generate_workflow`: makes the CI workflow that takes a service through Interlock, shows what it changes, and writes it when told to.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{
    engine::workflows::{WorkflowOrder, WorkflowPlatform},
    error::Error,
    model::{DirectiveId, Sha256, text},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How much of what changes is shown: a result stays below 8 KB.
const SHOWN: usize = 5_500;

/// The operation.
pub struct GenerateWorkflow;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// github, aws, azure, gcp, vercel (all GitHub Actions) or gitlab
    #[arg(long, value_enum)]
    pub platform: WorkflowPlatform,
    /// Service; the only one when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Command that builds, `make dist`
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// What it builds: folder or .tar.gz in the project
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Write it; needs `directive`
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// Directive that keeps it as an artifact
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    path: String,
    sha256: Sha256,
    written: bool,
    /// What differs from what is there; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

impl Operation for GenerateWorkflow {
    const NAME: &'static str = "generate_workflow";
    const TOOLSET: Toolset = Toolset::Setup;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/generate_workflow.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let asked = json!(params);
        let directive = match params.directive {
            Some(directive) => Some(ctx.engine.open_directive(&DirectiveId::from(directive)).await?.id),
            None => None,
        };
        let writes = params.write.unwrap_or(false);
        if writes && directive.is_none() {
            return Err(Error::invalid("`directive` is missing: what is written is recorded under one"));
        }
        let order = WorkflowOrder {
            platform: params.platform,
            service: params.service,
            build: params.build,
            artifact: params.artifact,
            under: directive.filter(|_| writes),
        };
        let workflow = ctx.engine.generate_workflow(&order).await?;
        let (path, is_same) = (&workflow.path, workflow.diff.is_empty());
        let (state, summary) = match (is_same, workflow.written) {
            (true, _) => ("unchanged", format!("`{path}` is as it should be")),
            (false, true) => ("written", format!("`{path}` is written")),
            (false, false) => ("shown", format!("`{path}` would change; nothing is written")),
        };
        let next = match state {
            "shown" => {
                let mut arguments = asked;
                arguments["write"] = json!(true);
                if arguments.get("directive").is_none() {
                    arguments["directive"] = json!("<directive>");
                }
                NextAction::tool("generate_workflow", arguments, "write it")
            }
            _ => NextAction::of(crate::model::Who::Person, "review and merge it; set the variables that its head names"),
        };
        let lines = workflow.diff.lines().count();
        let shown = text::visible(&workflow.diff, SHOWN);
        let hidden = lines.saturating_sub(shown.lines().count());
        let diff = if hidden > 0 { format!("{shown}\n… {hidden} more lines in the file") } else { shown };
        Ok(Reply {
            state: state.into(),
            summary,
            guidance: String::new(),
            next_actions: vec![next.recommended()],
            body: Output { path: workflow.path, sha256: workflow.sha256, written: workflow.written, diff: (!is_same).then_some(diff) },
        })
    }
}
