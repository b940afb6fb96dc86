//! `list_deployments`: lists deployments, newest first.

use super::{Context, Effect, Operation, Reply, Toolset};
use crate::{
    error::Error,
    model::{DeploymentState, EnvironmentName, ServiceName},
    store::DeploymentFilter,
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The operation.
pub struct ListDeployments;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Only this service
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only this environment
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Only this state
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `next_cursor` of the page before
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 50; 20 when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    deployments: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<i64>,
}

impl Operation for ListDeployments {
    const NAME: &'static str = "list_deployments";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = include_str!("../../tools/list_deployments.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let state = match params.state.as_deref() {
            None => None,
            Some(text) => match DeploymentState::parse(text) {
                state if state.as_str() == text => Some(state),
                _ => {
                    return Err(Error::invalid(
                        "`state` is one of queued, running, paused, verifying, succeeded, rolling_back, rolled_back, stuck",
                    ));
                }
            },
        };
        let before = match params.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(before)) => Some(before),
            Some(Err(_)) => return Err(Error::invalid("`cursor` is the `next_cursor` of an earlier page")),
        };
        let limit = params.limit.unwrap_or(20);
        if !(1..=50).contains(&limit) {
            return Err(Error::invalid("`limit` is 1 to 50"));
        }
        let filter = DeploymentFilter {
            service: params.service.map(ServiceName::from),
            environment: params.environment.map(EnvironmentName::from),
            state,
            before,
            limit,
            ..Default::default()
        };
        let (deployments, next_cursor) = ctx.engine.store.deployments(&filter).await?;
        let deployments: Vec<Value> = deployments
            .iter()
            .map(|deployment| {
                json!({
                    "id": deployment.id, "service": deployment.service, "environment": deployment.environment, "version": deployment.version,
                    "state": deployment.state, "purpose": deployment.purpose, "directive": deployment.directive,
                    "created_at": deployment.created_at, "settled_at": deployment.settled_at, "rolled_back_by": deployment.rolled_back_by,
                })
            })
            .collect();
        let more = if next_cursor.is_some() { "; more follow" } else { "" };
        Ok(Reply {
            state: "listed".into(),
            summary: format!("{} deployments{more}", deployments.len()),
            guidance: String::new(),
            next_actions: Vec::new(),
            body: Output { deployments, next_cursor },
        })
    }
}
