//! `execute_deployment`: starts a plan that is ready; returns at once.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{
    error::Error,
    model::{DeploymentId, PlanId},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct ExecuteDeployment;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Plan id
    #[arg(long)]
    pub plan: String,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    deployment: DeploymentId,
    /// Whether this plan had been executed before.
    existing: bool,
    environment: String,
    version: String,
}

impl Operation for ExecuteDeployment {
    const NAME: &'static str = "execute_deployment";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Deploys;
    const MANUAL: &'static str = include_str!("../../tools/execute_deployment.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let (deployment, existing) = ctx.engine.execute(&ctx.caller, &PlanId::from(params.plan)).await?;
        let standing = guidance::of_deployment(&deployment, &ctx.engine.course(&deployment).await?);
        let (environment, version) = (deployment.environment.to_string(), deployment.version.clone());
        Ok(standing.reply(Output { deployment: deployment.id, existing, environment, version }))
    }
}
