//! `create_venture`: records a product being launched, where it stands in both lifecycles.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{engine::ventures::NewVenture, error::Error, store::Venture};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The operation.
pub struct CreateVenture;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What people call it
    #[arg(long)]
    pub name: String,
    /// Its id; made from the name when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venture: Option<String>,
    /// Where it stands in Vision V2, 1 to 22; 1 when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_stage: Option<i64>,
    /// Where it stands in the 40-stage workflow, 1 to 30; 1 when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_stage: Option<i64>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    venture: Venture,
    existing: bool,
}

impl Operation for CreateVenture {
    const NAME: &'static str = "create_venture";
    const TOOLSET: Toolset = Toolset::Lifecycle;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/create_venture.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let Params { name, venture: id, lifecycle_stage, workflow_stage } = params;
        let new = NewVenture { name, id, lifecycle_stage, workflow_stage };
        let (venture, existing) = ctx.engine.create_venture(&ctx.caller, new).await?;
        let there = if existing { "is there" } else { "is recorded" };
        let stage = |stage: Option<i64>| stage.map_or("none".to_owned(), |stage| stage.to_string());
        let summary = format!(
            "`{}` {there}: stage {} of vision_v2, {} of workflow",
            venture.id,
            stage(venture.current_lifecycle_stage),
            stage(venture.current_workflow_stage)
        );
        let next = NextAction::tool("get_venture", json!({ "venture": venture.id }), "see what its stages need");
        Ok(Reply {
            state: venture.status.clone(),
            summary,
            guidance: String::new(),
            next_actions: vec![next.recommended()],
            body: Output { venture, existing },
        })
    }
}
