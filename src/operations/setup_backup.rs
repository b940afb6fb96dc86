//! `setup_backup`: takes a backup, verifies it and brings it back in a scratch place, by the commands that are configured.

use super::{
    Context, Effect, NextAction, Operation, Reply, Toolset,
    waiting::{self, Patience, Wait},
};
use crate::{
    engine::backup_proof::{BackupProof, BackupStanding},
    error::Error,
    model::{Directive, DirectiveId, DirectiveState, EnvironmentName, ServiceName, Timestamp, Who},
    store::JobState,
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How long an answer is waited for unless it is said.
const SECONDS: u64 = 30;

/// The operation.
pub struct SetupBackup;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Directive id
    #[arg(long)]
    pub directive: String,
    /// Wait at most so long, 45 at most; 30 when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    directive: DirectiveId,
    service: ServiceName,
    environment: EnvironmentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    /// Whether it was under way, or proven a moment ago, and was not begun by this call.
    existing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_at: Option<Timestamp>,
    #[serde(flatten)]
    seen: Option<BackupProof>,
}

const GUIDANCE: &str = "A backup counts once `verify` has accepted it and `rehearse` has restored it into a scratch place; `restore`, \
     which overwrites data, is never run for a try. What is missing is configured in `backup` of the service by a person, and applied.";

impl Operation for SetupBackup {
    const NAME: &'static str = "setup_backup";
    const TOOLSET: Toolset = Toolset::Setup;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/setup_backup.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        // Before anything is begun: what is refused has changed nothing.
        let patience = Patience::of(Some(params.wait_seconds.unwrap_or(SECONDS)))?;
        let directive = ctx.engine.directive(&DirectiveId::from(params.directive)).await?;
        if directive.state == DirectiveState::Cancelled {
            ctx.engine.open_directive(&directive.id).await?;
        }
        let (begun, existing) = ctx.engine.begin_backup(&ctx.caller, &directive).await?;
        let standing = match begun.job {
            None => begun,
            Some(_) => ended(ctx, &directive, patience).await?,
        };
        Ok(reply(directive, standing, existing))
    }
}

/// Waits until the job has ended, or the time has.
async fn ended(ctx: &Context, directive: &Directive, patience: Patience) -> Result<BackupStanding, Error> {
    let wait = Wait { patience, since: None, until_over: true };
    let look = || async move {
        let standing = ctx.engine.backup_standing(directive).await?;
        let is_over = standing.job.as_ref().is_none_or(|job| job.state != JobState::Running);
        Ok((standing.job.as_ref().map(|job| format!("{:?}", job.state)).unwrap_or_default(), is_over, standing))
    };
    Ok(waiting::wait(ctx, wait, look).await?.1)
}

fn reply(directive: Directive, standing: BackupStanding, existing: bool) -> Reply<Output> {
    let BackupStanding { job, proof } = standing;
    let again = || NextAction::tool("setup_backup", json!({ "directive": directive.id }), "wait for its end");
    let go_on = || NextAction::tool("get_status", json!({ "directive": directive.id }), "go on with the directive");
    let mend = |why: &str| NextAction::of(Who::Person, why);
    let is_running = job.as_ref().is_some_and(|job| job.state == JobState::Running);
    // What an earlier job has found says nothing of one that still runs.
    let is_done = job.as_ref().is_none_or(|job| job.state == JobState::Done);
    let (proof, seen) = if is_done { proof } else { None }.unzip();
    let (state, summary, next) = match (&job, &seen) {
        (Some(_), _) if is_running => ("running", "the backup is under way".to_owned(), again()),
        // What an earlier job has found says nothing of one that came to no end either.
        (Some(job), _) if job.state != JobState::Done => {
            let why = job.detail["error"]["message"].as_str().unwrap_or("the server ended in between").to_owned();
            ("failed", format!("the backup came to no end: {why}"), again())
        }
        (_, Some(seen)) => match (&seen.failed, &seen.not_rehearsed, &seen.backup) {
            (Some(why), ..) => ("failed", why.clone(), mend("mend `backup` in the configuration, or what it runs, and apply it")),
            (None, None, Some(backup)) => ("rehearsed", backup.summary(backup.taken_at), go_on()),
            (None, why, _) => {
                let why = why.as_deref().unwrap_or("it is not known why");
                ("not_rehearsed", format!("a backup was taken; it counts as not rehearsed: {why}"), mend("complete `backup`, and apply it"))
            }
        },
        (_, None) => ("failed", "nothing is known of a backup".to_owned(), again()),
    };
    Reply {
        state: state.to_owned(),
        summary,
        guidance: if state == "rehearsed" { String::new() } else { GUIDANCE.to_owned() },
        next_actions: vec![next.recommended()],
        body: Output {
            directive: directive.id.clone(),
            service: directive.service.clone(),
            environment: directive.environment.clone(),
            job: job.map(|job| job.id),
            existing,
            proven_at: proof.as_ref().map(|proof| proof.proven_at),
            proof: proof.map(|proof| proof.id),
            seen,
        },
    }
}
