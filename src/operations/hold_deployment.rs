//! `hold_deployment`: holds a deployment between two steps, or lifts the caller's own hold.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{error::Error, model::DeploymentId};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct HoldDeployment;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Deployment id
    #[arg(long)]
    pub deployment: String,
    /// true holds, false lifts your own hold
    #[arg(long, action = clap::ArgAction::Set)]
    pub held: bool,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    deployment: DeploymentId,
    held: bool,
}

impl Operation for HoldDeployment {
    const NAME: &'static str = "hold_deployment";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Deploys;
    const MANUAL: &'static str = include_str!("../../tools/hold_deployment.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let id = DeploymentId::from(params.deployment);
        let deployment = ctx.engine.hold(&ctx.caller, &id, params.held).await?;
        let held = deployment.held_by.is_some();
        Ok(guidance::of_deployment(&deployment, &ctx.engine.course(&deployment).await?).reply(Output { deployment: id, held }))
    }
}
