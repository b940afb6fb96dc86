//! `create_directive`: opens the work order without which nothing deploys.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{
    engine::{change::ChangeSeen, directives::Order},
    error::Error,
    model::ChangeKind,
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct CreateDirective;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Service, as `interlock.toml` names it
    #[arg(long)]
    pub service: String,
    /// Environment
    #[arg(long)]
    pub environment: String,
    /// Version the artifact shows, `1.4.0`
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Path in the workspace: file, folder or .tar.gz
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// What has changed; instead of version and artifact where nothing was built; commits decide
    #[arg(long, value_enum)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeKind>,
    /// Commit; default HEAD
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// One line
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rationale: Option<String>,
    /// What
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How far it reaches
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// critical, high, medium or low
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Venture id
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venture: Option<String>,
    /// Directives to complete first
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    directive: crate::model::Directive,
    existing: bool,
    /// What the change counts as, where the caller has said what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<ChangeSeen>,
    /// What a deployment there requires.
    gates: Vec<String>,
}

impl Operation for CreateDirective {
    const NAME: &'static str = "create_directive";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/create_directive.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let order = Order {
            service: params.service,
            environment: params.environment,
            version: params.version,
            artifact: params.artifact,
            change: params.change,
            commit: params.commit,
            title: params.title,
            rationale: params.rationale,
            description: params.description,
            scope: params.scope,
            priority: params.priority,
            venture: params.venture,
            depends_on: params.depends_on,
        };
        let (directive, existing) = ctx.engine.create_directive(&ctx.caller, order).await?;
        let gates = ctx.engine.bound(&directive).await?.bindings.into_iter().map(|binding| binding.rule.gate.to_string()).collect();
        let view = ctx.engine.view(&directive.id).await?;
        Ok(guidance::of_directive(&view).reply(Output { directive, existing, change: view.change, gates }))
    }
}
