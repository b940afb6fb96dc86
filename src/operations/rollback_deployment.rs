//! `rollback_deployment`: takes a deployment back: one call, no approval, traffic only.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{
    error::Error,
    model::{DeploymentId, EnvironmentName, ServiceName},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct RollbackDeployment;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Why; recorded
    #[arg(long)]
    pub reason: String,
    /// Deployment id; or give service and environment
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Service
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Environment
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    /// The deployment that goes back, or is itself the way back.
    deployment: DeploymentId,
    /// Whether the same was asked before.
    existing: bool,
    version: String,
}

impl Operation for RollbackDeployment {
    const NAME: &'static str = "rollback_deployment";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Deploys;
    const MANUAL: &'static str = include_str!("../../tools/rollback_deployment.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        if params.reason.trim().is_empty() {
            return Err(Error::invalid("`reason` is empty: say why"));
        }
        let (deployment, existing) = match (params.deployment, params.service, params.environment) {
            (Some(deployment), None, None) => ctx.engine.roll_back(&ctx.caller, &DeploymentId::from(deployment), &params.reason).await?,
            (None, Some(service), Some(environment)) => {
                let (service, environment) = (ServiceName::from(service), EnvironmentName::from(environment));
                ctx.engine.roll_back_serving(&ctx.caller, &service, &environment, &params.reason).await?
            }
            _ => return Err(Error::invalid("give either `deployment`, or `service` and `environment`")),
        };
        let standing = guidance::of_deployment(&deployment, &ctx.engine.course(&deployment).await?);
        let version = deployment.version.clone();
        Ok(standing.reply(Output { deployment: deployment.id, existing, version }))
    }
}
