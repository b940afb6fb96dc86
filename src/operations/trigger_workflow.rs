//! `trigger_workflow`: starts the CI workflow of a directive, or says how its run stands.

use super::{Context, Effect, NextAction, OfDirective, Operation, Reply, Toolset};
use crate::{
    error::Error,
    model::{Who, ci::CiRun, text::visible_line},
    store::JobState,
};
use serde::Serialize;
use serde_json::json;

/// The operation.
pub struct TriggerWorkflow;

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Under which it is recorded.
    job: String,
    existing: bool,
    workflow: String,
    commit: String,
    /// The platform's run, once it shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<CiRun>,
    /// Why nothing more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl Operation for TriggerWorkflow {
    const NAME: &'static str = "trigger_workflow";
    const TOOLSET: Toolset = Toolset::Setup;
    const EFFECT: Effect = Effect::Deploys;
    const MANUAL: &'static str = include_str!("../../tools/trigger_workflow.md");
    type Params = OfDirective;
    type Output = Output;

    async fn run(ctx: &Context, params: OfDirective) -> Result<Reply<Output>, Error> {
        let directive = ctx.engine.directive(&params.id()).await?;
        let (job, followed, existing) = ctx.engine.trigger_workflow(&ctx.caller, &directive).await?;
        let word = followed.run.as_ref().map_or("not shown yet".to_owned(), |run| visible_line(&run.word, 40));
        let (state, is_over) = match (job.state, &followed.run) {
            // Whether it deployed, the platform alone knows: nothing is started in its place.
            (JobState::Running, _) if followed.given_up => ("unknown", false),
            (JobState::Running, None) => ("dispatched", false),
            (JobState::Running, Some(_)) => ("running", false),
            (JobState::Done, _) => ("succeeded", true),
            _ => ("failed", true),
        };
        let id = &directive.id;
        let next = match is_over {
            false => {
                let why = match state {
                    "unknown" => "ask again, once whoever keeps `[ci]` has mended why nobody answers; nothing is started twice",
                    _ => "see how its run stands; nothing is started twice",
                };
                let mut again = NextAction::tool("trigger_workflow", json!({ "directive": id }), why);
                again.after_seconds = (state != "unknown").then_some(20);
                again
            }
            true if state == "succeeded" => NextAction::tool("get_status", json!({ "directive": id }), "see what it has deployed"),
            true => NextAction::of(Who::Agent, "read the run's log, mend it, push, and create a directive for the new commit"),
        };
        let summary = match (state, &followed.silent_since) {
            ("unknown", Some(since)) => {
                format!("nobody can be asked since {since} how the workflow `{}` for {id} goes; it may have deployed", followed.workflow)
            }
            _ => format!("the workflow `{}` for {id} is {word}", followed.workflow),
        };
        Ok(Reply {
            state: state.into(),
            summary,
            guidance: String::new(),
            next_actions: vec![next.recommended()],
            body: Output {
                job: job.id,
                existing,
                workflow: followed.workflow,
                commit: followed.commit,
                run: followed.run.map(shown),
                fault: followed.fault,
            },
        })
    }
}

/// Returns a run with the platform's texts as they may be read.
fn shown(run: CiRun) -> CiRun {
    CiRun {
        id: visible_line(&run.id, 40),
        commit: visible_line(&run.commit, 64),
        address: visible_line(&run.address, 300),
        word: visible_line(&run.word, 40),
        ..run
    }
}
