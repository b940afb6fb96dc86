//! `get_status`: says where a directive stands, or where everything stands; waits for a change.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset, guidance, waiting};
use crate::{
    engine::{
        change::ChangeSeen,
        close_watch::CloseWatch,
        environment_setup::{Missing, SetupFact},
        necessity::Necessity,
        status::{Overview, Place},
    },
    error::Error,
    model::{DirectiveId, DirectiveState, PlanId, Sha256, Verdict, Who, text},
    store::InPlace,
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How many places and directives an overview shows; the rest is counted.
const SHOWN: usize = 5;
/// How many questions are shown.
const ASKED: usize = 3;
/// How long an answer is (design: `get_status` at most 2 KB), and what the address of a page takes of it.
const MOST_BYTES: usize = 2_048;
const ADDRESS_BYTES: usize = 128;

/// The operation.
pub struct GetStatus;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Directive id; without it the overview
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
    /// Overview of this service only
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Overview of this environment only
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Wait at most so long for a change, 45 at most
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    /// `token` of an earlier answer: wait only while nothing is new
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Default, Serialize)]
pub struct Output {
    /// Give it as `since` to wait for what is new.
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directive: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_on: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    safe_to_stop: bool,
    /// Gates as `name: verdict (value)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gates: Vec<String>,
    /// Whether the phase is to be gone through, where it says what skips it: `can_execute`, `requires_deployment`, `should_skip`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    necessity: Option<Necessity>,
    /// What its change counts as, where its creator has said what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<ChangeSeen>,
    /// How the close watch over its release stands, which closes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    close_watch: Option<CloseWatch>,
    /// What of configuration, infrastructure and secrets is missing, with what supplies it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    environment_setup: Vec<String>,
    /// What the phase's current step asks, with who answers and how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    asked: Vec<String>,
    /// Steps of the phase that are skipped, each with the fact that does it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<Place>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open_directives: Vec<String>,
    /// How many more there are than shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
    /// Whether the file on disk differs from the newest applied revision, which alone counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    configuration_drifted: bool,
}

impl Operation for GetStatus {
    const NAME: &'static str = "get_status";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = include_str!("../../tools/get_status.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let wait = waiting::Wait { patience: waiting::Patience::of(params.wait_seconds)?, since: params.since.clone(), until_over: false };
        match &params.directive {
            Some(directive) => {
                let id = DirectiveId::from(directive.as_str());
                let id = &id;
                let look = || async move {
                    let view = ctx.engine.view(id).await?;
                    let standing = guidance::of_directive(&view);
                    ctx.progress.tell(0, None, &standing.summary);
                    Ok::<_, Error>((standing.token(), standing.next_actions.is_empty(), (view, standing)))
                };
                let (token, (view, standing)) = waiting::wait(ctx, wait, look).await?;
                let by_person = standing.next_actions.first().is_some_and(|action| action.who == Who::Person);
                let waits = by_person && ["awaiting_approval", "planned", "approved", "paused", "stuck"].contains(&standing.state.as_str());
                let output = Output {
                    token,
                    directive: Some(json!({
                        "id": view.directive.id, "service": view.directive.service, "environment": view.directive.environment,
                        "version": view.directive.version, "digest": view.directive.digest, "commit": view.directive.commit,
                    })),
                    plan: view.plan.as_ref().map(|record| record.id.clone()),
                    deployment: view.deployment.as_ref().map(|deployment| deployment.id.to_string()),
                    waiting_on: waits.then_some("person"),
                    safe_to_stop: waits,
                    gates: view
                        .gates
                        .iter()
                        // What has let a release through says nothing of what is left to do.
                        .filter(|gate| !view.is_deployed() || gate.verdict != Verdict::Pass)
                        .map(|gate| {
                            let value = gate.value.as_ref().map(|value| format!(" ({value})")).unwrap_or_default();
                            format!("{}: {}{value}", gate.gate, gate.verdict)
                        })
                        .collect(),
                    asked: match view.directive.state.is_open() {
                        true => view.checklist.asked.iter().take(ASKED).map(|(_, question)| question.clone()).collect(),
                        false => Vec::new(),
                    },
                    environment_setup: match view.directive.state.is_open() && !view.is_deployed() {
                        true => missing(&view.setup),
                        false => Vec::new(),
                    },
                    skipped: view.checklist.skipped.clone(),
                    necessity: view.necessity.clone(),
                    change: view.change.clone(),
                    close_watch: view.close_watch.clone(),
                    ..Output::default()
                };
                Ok(within(standing.reply(output)))
            }
            None => {
                let asked = &params;
                let look = || async move {
                    let overview = overview(ctx, asked).await?;
                    let seen = serde_json::to_vec(&(&overview.body.places, &overview.body.open_directives)).map_err(Error::internal)?;
                    Ok::<_, Error>((Sha256::of(&seen).short().to_owned(), false, overview))
                };
                let (token, mut overview) = waiting::wait(ctx, wait, look).await?;
                overview.body.token = token;
                Ok(overview)
            }
        }
    }
}

/// Leaves the last of the actions out where they make the answer too long: what is not asked now is asked when the first are done.
fn within(mut reply: Reply<Output>) -> Reply<Output> {
    let bytes = |reply: &Reply<Output>| serde_json::to_vec(reply).map_or(0, |json| json.len()) + ADDRESS_BYTES;
    while reply.next_actions.len() > 2 && bytes(&reply) > MOST_BYTES {
        reply.next_actions.pop();
    }
    reply
}

/// Returns what is missing of what a deployment needs around it, one line each.
fn missing(setup: &[SetupFact]) -> Vec<String> {
    let of = |fact: &SetupFact| {
        let line = |missing: &Missing| text::visible_line(&format!("{}: {}: {}", fact.fact, missing.what, missing.how), 240);
        fact.missing.iter().map(line).collect::<Vec<_>>()
    };
    setup.iter().flat_map(of).take(ASKED).collect()
}

/// A directive as the overview lists it.
type Ordered = InPlace<DirectiveId, DirectiveState>;

async fn overview(ctx: &Context, params: &Params) -> Result<Reply<Output>, Error> {
    let asked = |place: &Place| {
        params.service.as_ref().is_none_or(|service| place.service.as_str() == service)
            && params.environment.as_ref().is_none_or(|environment| place.environment.as_str() == environment)
    };
    let Overview { mut places, is_drifted, mut directives } = ctx.engine.overview().await?;
    places.retain(asked);
    if places.is_empty() && (params.service.is_some() || params.environment.is_some()) {
        return Err(Error::not_found(
            "service or environment",
            params.service.as_ref().or(params.environment.as_ref()).expect("one is given"),
        ));
    }
    // Worst first: what waits for a person or is under way stands before what merely serves.
    places.sort_by_key(|place| (place.person.is_none(), place.under_way.is_none(), place.serves.is_some()));
    let for_those = |directive: &Ordered| {
        params.service.as_ref().is_none_or(|service| directive.service.as_str() == service)
            && params.environment.as_ref().is_none_or(|environment| directive.environment.as_str() == environment)
    };
    directives.retain(for_those);
    // Newest first: it is the one that is being worked on. What waits for a mended release comes last.
    directives.sort_by_key(|directive| directive.state == DirectiveState::Draft);
    let mut next_actions: Vec<NextAction> = Vec::new();
    if let Some(directive) = directives.first() {
        next_actions.push(NextAction::tool("get_status", json!({ "directive": directive.id }), "go on with the newest open directive"));
    }
    if let Some(place) = places.first() {
        let arguments = json!({ "service": place.service, "environment": place.environment, "version": "<version>", "artifact": "<path>" });
        next_actions.push(NextAction::tool("create_directive", arguments, "open a work order for a release"));
    }
    if let Some((place, command)) = places.iter().find_map(|place| Some((place, place.person.as_ref()?))) {
        let why = format!("nothing deploys to {} before a person has decided", place.environment);
        next_actions.push(NextAction::command(command, why));
    }
    if let Some(first) = next_actions.first_mut() {
        first.recommended = true;
    }
    let serving = places.iter().filter(|place| place.serves.is_some()).count();
    let summary = format!("{} of {} places serve; {} open directives", serving, places.len(), directives.len());
    let more = places.len().saturating_sub(SHOWN) + directives.len().saturating_sub(SHOWN);
    places.truncate(SHOWN);
    let open = |directive: &Ordered| {
        format!("{}: {} {} to {} ({})", directive.id, directive.service, directive.version, directive.environment, directive.state.as_str())
    };
    let body = Output {
        open_directives: directives.iter().take(SHOWN).map(open).collect(),
        places,
        more: (more > 0).then_some(more),
        configuration_drifted: is_drifted,
        ..Output::default()
    };
    let guidance = "Nothing deploys without a directive: create one, check it, plan it, execute what is approved.".to_owned();
    Ok(Reply { state: "overview".into(), summary, guidance, next_actions, body })
}
