//! `plan_deployment`: freezes the plan and, where the environment asks, opens the approval request.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{
    engine::planning::Wanted,
    error::Error,
    model::{
        Assessment, DirectiveId, GateResult, Plan, PlanId, Sha256, Strategy, Timestamp, data::PlannedMigration, metric::MetricSpec, text,
    },
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct PlanDeployment;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Directive id
    #[arg(long)]
    pub directive: String,
    /// How traffic moves: blue_green (default), canary, rolling; where configuration fixes it, leave it out
    #[arg(long, value_enum)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Your assessment; asked in production by some phases
    #[arg(long, value_name = "JSON")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    plan: PlanId,
    existing: bool,
    sha256: Sha256,
    /// Who is waited for: `person`, or nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_on: Option<&'static str>,
    /// Whether the agent may end its session now.
    safe_to_stop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_expires_at: Option<Timestamp>,
    /// From what to what.
    diff: String,
    rollback: String,
    /// What it does to the database, as `name class: why`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    migrations: Vec<String>,
    guarantees: String,
    /// Figures from outside that it is judged by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<String>,
    steps: Vec<String>,
    /// When few customers are there, by what the router has counted; where a person approves. Advice, and no part of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    quietest: Option<String>,
    /// Live gates that would stop it now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blockers: Vec<GateResult>,
    gates: Vec<String>,
}

impl Operation for PlanDeployment {
    const NAME: &'static str = "plan_deployment";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/plan_deployment.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let directive = ctx.engine.open_directive(&DirectiveId::from(params.directive)).await?;
        let wanted = Wanted { strategy: params.strategy, assessment: params.assessment };
        let planned = ctx.engine.plan_deployment(&ctx.caller, &directive, wanted).await?;
        let plan: &Plan = &planned.record.plan;
        let quietest = match &plan.approval {
            Some(_) => Some(ctx.engine.quiet_hours(&plan.service, &plan.environment).await?.summary()),
            None => None,
        };
        let waits = planned.record.state == crate::model::PlanState::AwaitingApproval;
        let output = Output {
            plan: planned.record.id.clone(),
            existing: planned.existing,
            sha256: plan.sha256(),
            waiting_on: waits.then_some("person"),
            safe_to_stop: waits,
            request_expires_at: planned.record.request_expires_at,
            diff: format!("{} -> {} ({})", plan.base.as_ref().map_or("nothing", |base| &base.version), plan.version, plan.digest.short()),
            rollback: plan.rollback.summary.clone(),
            migrations: PlannedMigration::lines(&plan.migrations, |migration| {
                format!("{} {}: {}", migration.name, migration.class, text::visible_line(&migration.reason, 160))
            }),
            guarantees: plan.guarantees.summary.clone(),
            metrics: plan.metrics.iter().map(MetricSpec::summary).collect(),
            steps: plan.steps.iter().map(|step| format!("{}: {}", step.id, step.title)).collect(),
            quietest,
            gates: planned
                .gates
                .iter()
                .map(|gate| format!("{} {} ({}, asked by {})", gate.gate, gate.verdict, gate.rule, gate.asked_by))
                .collect(),
            blockers: planned.blockers,
        };
        Ok(guidance::of_directive(&ctx.engine.view(&directive.id).await?).reply(output))
    }
}
