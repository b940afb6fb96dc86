//! `run_predeploy_checks`: evaluates the gates; commands whose evidence is missing run as a job.

use super::{Context, Effect, OfDirective, Operation, Reply, Toolset, guidance};
use crate::{
    engine::environment_setup::SetupFact,
    error::Error,
    model::{DirectiveId, GateResult},
};
use serde::Serialize;

/// The operation.
pub struct RunPredeployChecks;

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    directive: DirectiveId,
    /// The job that runs the commands; none when nothing had to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    gates: Vec<GateResult>,
    /// Whether configuration, infrastructure and secrets are there, and what supplies what is not.
    environment_setup: Vec<SetupFact>,
}

impl Operation for RunPredeployChecks {
    const NAME: &'static str = "run_predeploy_checks";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/run_predeploy_checks.md");
    type Params = OfDirective;
    type Output = Output;

    async fn run(ctx: &Context, params: OfDirective) -> Result<Reply<Output>, Error> {
        let directive = ctx.engine.open_directive(&params.id()).await?;
        let (gates, job) = ctx.engine.run_checks(&ctx.caller, &directive).await?;
        let id = directive.id.clone();
        let environment_setup = ctx.engine.environment_setup(&directive, &gates).await?;
        let standing = guidance::of_directive(&ctx.engine.view(&directive.id).await?);
        Ok(standing.reply(Output { directive: id, job: job.map(|job| job.id), gates, environment_setup }))
    }
}
