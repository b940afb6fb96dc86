//! `cancel_directive`: gives up a directive that has deployed nothing.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{error::Error, model::DirectiveId};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct CancelDirective;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Directive id
    #[arg(long)]
    pub directive: String,
    /// Why
    #[arg(long)]
    pub reason: String,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    directive: DirectiveId,
}

impl Operation for CancelDirective {
    const NAME: &'static str = "cancel_directive";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/cancel_directive.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let directive = ctx.engine.cancel_directive(&ctx.caller, &DirectiveId::from(params.directive), &params.reason).await?;
        let id = directive.id.clone();
        Ok(guidance::of_directive(&ctx.engine.view(&directive.id).await?).reply(Output { directive: id }))
    }
}
