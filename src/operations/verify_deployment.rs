//! `verify_deployment`: checks now what serves, and returns the report; it never moves traffic.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{error::Error, model::DeploymentId};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct VerifyDeployment;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Deployment id
    #[arg(long)]
    pub deployment: String,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    deployment: DeploymentId,
    report: serde_json::Value,
}

impl Operation for VerifyDeployment {
    const NAME: &'static str = "verify_deployment";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/verify_deployment.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let deployment = ctx.engine.deployment(&DeploymentId::from(params.deployment)).await?;
        let report = ctx.engine.verify_now(&ctx.caller, &deployment).await?;
        let mut standing = guidance::of_deployment(&deployment, &ctx.engine.course(&deployment).await?);
        let outcome = if report["passed"] == true { "passed" } else { "did not pass" };
        standing.summary = format!("the checks of {} {outcome} now; {}", deployment.id, standing.summary);
        Ok(standing.reply(Output { deployment: deployment.id, report }))
    }
}
