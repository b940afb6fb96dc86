//! `get_metrics`: says how deployments have gone, from the record alone.

use super::{Context, Effect, Operation, Reply, Toolset};
use crate::{
    engine::metrics::{self, Asker, By, Group, GroupFigures, Selection, figure::Figure, figure::Rating, figure::shown},
    error::Error,
    model::{Timestamp, recurrence::instant_of},
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What the answer may cost; the rest is for what is around it.
const BYTES: usize = 7 * 1024;
/// The longest window, in days.
const LONGEST: u32 = 366;

/// The operation.
pub struct GetMetrics;

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
    /// Only what agent, person or server asked for
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only this venture, by id
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venture: Option<String>,
    /// The last so many days; 30 when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Instead of `days`: 2026-11-01, or with a time and an offset
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Up to here; now when absent
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Apart by service, environment, caller, or several with commas
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// csv, for a table
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Default, Serialize)]
pub struct Output {
    from: Timestamp,
    to: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Figure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csv: Option<String>,
    /// Groups that found no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

impl Operation for GetMetrics {
    const NAME: &'static str = "get_metrics";
    const TOOLSET: Toolset = Toolset::Lifecycle;
    const EFFECT: Effect = Effect::Reads;
    const MANUAL: &'static str = include_str!("../../tools/get_metrics.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let is_csv = match params.format.as_deref() {
            None | Some("json") => false,
            Some("csv") => true,
            Some(_) => return Err(Error::invalid("`format` is json or csv")),
        };
        let by = by_of(params.by.as_deref())?;
        let selection = selection_of(ctx.engine.clock.now(), &params)?;
        if let Some(id) = &params.venture
            && ctx.engine.store.venture(id).await?.is_none()
        {
            return Err(Error::not_found("venture", id));
        }
        let (figures, groups) = ctx.engine.metrics_and_parts(&selection, by.as_slice()).await?;
        let health = metrics::health(&figures);
        let summary = summary(&figures, health);
        let (from, to) = (selection.scope.from, selection.scope.to);
        let mut output = Output { from, to, ..Output::default() };
        if is_csv {
            let whole = GroupFigures { group: selected(&selection), figures };
            let groups = if by.is_some() { groups } else { vec![whole] };
            let (csv, more) = metrics::csv(&groups, BYTES);
            (output.csv, output.more) = (Some(csv), (more > 0).then_some(more));
        } else {
            output.metrics = figures;
            with_groups(&mut output, groups);
        }
        Ok(Reply { state: health.as_str().into(), summary, guidance: String::new(), next_actions: Vec::new(), body: output })
    }
}

fn selection_of(now: Timestamp, params: &Params) -> Result<Selection, Error> {
    let caller = match params.caller.as_deref() {
        None => None,
        Some(word) => match Asker::ALL.into_iter().find(|asker| asker.as_str() == word) {
            Some(asker) => Some(asker),
            None => return Err(Error::invalid("`caller` is agent, person or server")),
        },
    };
    let days = params.days.unwrap_or(30);
    if !(1..=LONGEST).contains(&days) {
        return Err(Error::invalid(format!("`days` is 1 to {LONGEST}")));
    }
    let mut selection = Selection { caller, venture: params.venture.clone(), ..Selection::of_days(now, days) };
    let instant = |text: &String| instant_of(text, Some("UTC")).map_err(Error::invalid);
    if let Some(from) = &params.from {
        if params.days.is_some() {
            return Err(Error::invalid("give `days`, or `from` and `to`"));
        }
        selection.scope.from = instant(from)?;
    }
    if let Some(to) = &params.to {
        if params.from.is_none() {
            return Err(Error::invalid("`to` needs `from`"));
        }
        selection.scope.to = instant(to)?;
    }
    if selection.scope.from >= selection.scope.to {
        return Err(Error::invalid("`from` is before `to`"));
    }
    selection.scope.service = params.service.as_deref().map(Into::into);
    selection.scope.environment = params.environment.as_deref().map(Into::into);
    Ok(selection)
}

fn by_of(text: Option<&str>) -> Result<Option<By>, Error> {
    let Some(text) = text else { return Ok(None) };
    let mut by = By::default();
    for word in text.split(',') {
        match word.trim() {
            "service" => by.service = true,
            "environment" => by.environment = true,
            "caller" => by.caller = true,
            _ => return Err(Error::invalid("`by` is service, environment, caller, or several of them with commas")),
        }
    }
    Ok(Some(by))
}

/// Returns what everything that was asked for has in common.
fn selected(selection: &Selection) -> Group {
    let scope = &selection.scope;
    Group { service: scope.service.clone(), environment: scope.environment.clone(), caller: selection.caller }
}

/// Adds the groups that find room, worst first, and says how many did not.
fn with_groups(output: &mut Output, mut groups: Vec<GroupFigures>) {
    groups.sort_by_key(|group| std::cmp::Reverse(group.health()));
    let mut left = BYTES.saturating_sub(json!(output.metrics).to_string().len());
    let all = groups.len();
    for group in groups {
        let shown = in_short(&group);
        let bytes = shown.to_string().len() + 1;
        if bytes > left {
            break;
        }
        left -= bytes;
        output.groups.push(shown);
    }
    let more = all - output.groups.len();
    output.more = (more > 0).then_some(more);
}

/// Returns a group with the values that are known, and what is not green.
fn in_short(group: &GroupFigures) -> Value {
    let mut short = json!(group.group);
    let known = group.figures.iter().filter_map(|figure| Some((figure.name.to_owned(), json!(shown(figure.value?)))));
    let off =
        |rating: Rating| -> Vec<&str> { group.figures.iter().filter(|figure| figure.rating == rating).map(|figure| figure.name).collect() };
    short["rating"] = json!(group.health());
    short["deployments"] = json!(group.figures.first().map_or(0, |figure| figure.n));
    short["values"] = Value::Object(known.collect::<Map<String, Value>>());
    for rating in [Rating::Red, Rating::Yellow] {
        let names = off(rating);
        if !names.is_empty() {
            short[rating.as_str()] = json!(names);
        }
    }
    short
}

fn summary(figures: &[Figure], health: Rating) -> String {
    let deployments = figures.first().map_or(0, |figure| figure.n);
    let named =
        |rating: Rating| -> Vec<&str> { figures.iter().filter(|figure| figure.rating == rating).map(|figure| figure.name).collect() };
    match health {
        Rating::Unknown => format!("{deployments} deployments settled in the window: nothing to rate"),
        Rating::Red | Rating::Yellow => {
            format!("{deployments} deployments settled in the window; {}: {}", health.as_str(), named(health).join(", "))
        }
        _ => format!("{deployments} deployments settled in the window; every target that can be judged is met"),
    }
}
