//! `get_deployment`: says where a deployment stands; waits for a change or for its end.

use super::{Context, Effect, Operation, Reply, Toolset, guidance, waiting};
use crate::{
    error::Error,
    model::{Deployment, DeploymentId, StepState, data::PlannedMigration},
    store::Incident,
};
use serde_json::{Value, json};

/// Until when to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Anything new.
    Change,
    /// Nothing more happens by itself.
    Settled,
}
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct GetDeployment;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Deployment id
    #[arg(long)]
    pub deployment: String,
    /// Wait at most so long, 45 at most
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    /// change (default) or settled
    #[arg(long, value_enum)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// `token` of an earlier answer: wait only while nothing is new
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Every step with what it saw
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<bool>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    deployment: Deployment,
    /// Give it as `since` to wait for what is new.
    token: String,
    /// What is known, what is not, and what a person may choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<crate::engine::stuck::Stuck>,
    /// Steps as `id: state`; with `detail` what each saw.
    steps: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incidents: Vec<Incident>,
    /// How far back one can go, and until when.
    rollback: String,
    /// What the rehearsal of the way back has shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_tested: Option<String>,
    /// Migrations it runs, as `name: class`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    migrations: Vec<String>,
    /// The backup it has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    traffic: crate::engine::report::Traffic,
}

impl Operation for GetDeployment {
    const NAME: &'static str = "get_deployment";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = include_str!("../../tools/get_deployment.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let id = DeploymentId::from(params.deployment);
        let engine = &ctx.engine;
        let until = params.until.unwrap_or(Until::Change);
        let id = &id;
        let look = || async move {
            let deployment = engine.deployment(id).await?;
            let journal = engine.store.journal(id).await?;
            let done = journal.iter().filter(|entry| matches!(entry.state, StepState::Done | StepState::Undone)).count();
            ctx.progress.tell(done as u64, Some(journal.len() as u64), &format!("{} is {}", id, deployment.state.as_str()));
            let course = engine.course(&deployment).await?;
            let standing = guidance::of_deployment(&deployment, &course);
            let token = format!("{}-{done}", standing.token());
            let is_over = deployment.state.is_settled();
            Ok::<_, Error>((token, is_over, (deployment, standing, course.stuck)))
        };
        let wait = waiting::Wait {
            patience: waiting::Patience::of(params.wait_seconds)?,
            since: params.since,
            until_over: until == Until::Settled,
        };
        let (token, (deployment, standing, stuck)) = waiting::wait(ctx, wait, look).await?;
        let mut report = engine.report(&deployment, true).await?;
        for output in report.steps.iter_mut().filter_map(|entry| entry.output.as_object_mut()) {
            // The readings at the switch are the watch's own; `traffic` says what came of them.
            output.remove("before");
            output.remove("old");
            output.remove("beside");
        }
        let detail = params.detail.unwrap_or(false);
        let steps = report
            .steps
            .iter()
            .map(|entry| if detail { json!(entry) } else { json!(format!("{}: {}", entry.step, entry.state.as_str())) })
            .collect();
        let migrations = PlannedMigration::lines(&report.plan.migrations, |migration| format!("{}: {}", migration.name, migration.class));
        let rollback_tested = report.rollback_tested();
        let output = Output {
            deployment,
            token,
            stuck,
            steps,
            incidents: report.incidents,
            rollback: report.plan.rollback.summary.clone(),
            rollback_tested,
            migrations,
            backup: report.backup.map(|backup| backup.summary(engine.clock.now())),
            traffic: report.traffic,
        };
        Ok(standing.reply(output))
    }
}
