//! `get_venture`: says where a venture stands in both lifecycles, and what its stages need.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{
    engine::ventures::{Standing, VentureView},
    error::Error,
    model::Who,
    store::{StageWork, Venture},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The operation.
pub struct GetVenture;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Venture id; the active one when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venture: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    venture: Venture,
    /// Directives that name no venture belong to it.
    active: bool,
    /// Green, yellow or red by its deployments of 30 days; unknown without any.
    health: &'static str,
    stages: Vec<Standing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed: Vec<StageWork>,
}

impl Operation for GetVenture {
    const NAME: &'static str = "get_venture";
    const TOOLSET: Toolset = Toolset::Lifecycle;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = include_str!("../../tools/get_venture.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let VentureView { venture, is_the_active_one, standings, passed, health } =
            ctx.engine.venture_view(params.venture.as_deref()).await?;
        let places: Vec<String> = standings
            .iter()
            .map(|one| format!("stage {} of {} ({}): {}", one.stage.number, one.stage.lifecycle, one.stage.name, one.status))
            .collect();
        Ok(Reply {
            state: state(&standings),
            summary: format!("`{}` is at {}", venture.id, if places.is_empty() { "no stage".into() } else { places.join("; ") }),
            guidance: guidance(&standings),
            next_actions: next_actions(&venture, &standings),
            body: Output { venture, active: is_the_active_one, health: health.as_str(), stages: standings, passed },
        })
    }
}

/// Returns the status that needs somebody soonest.
fn state(standings: &[Standing]) -> String {
    let is = |status: &str| standings.iter().any(|one| one.status == status);
    ["blocked", "in_progress"].into_iter().find(|status| is(status)).unwrap_or("not_started").to_owned()
}

fn guidance(standings: &[Standing]) -> String {
    let deploys = standings.iter().any(|one| one.stage.sd_required);
    match deploys {
        true => "A directive into an environment with approval carries the work of such a stage. The server completes it when every exit \
                 gate holds and the stage's artifacts exist; the venture is then one stage further. Nothing else moves it."
            .into(),
        false => {
            "The work of its stages is not a deployment, so nothing here moves it. Deploy as usual: get_metrics shows how that goes.".into()
        }
    }
}

fn next_actions(venture: &Venture, standings: &[Standing]) -> Vec<NextAction> {
    let carried = standings.iter().find_map(|one| one.directive.as_ref().filter(|_| one.status != "completed"));
    if let Some(directive) = carried {
        return vec![NextAction::tool("get_status", json!({ "directive": directive }), "see what the stage's directive waits for")];
    }
    if standings.iter().any(|one| one.stage.sd_required) {
        let why = format!("open the stage's directive: `create_directive` with `venture` = `{}`", venture.id);
        return vec![NextAction::of(Who::Agent, why)];
    }
    Vec::new()
}
