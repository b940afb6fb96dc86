//! `record_evidence`: hands over a report for a gate, where handed-over evidence counts.

use super::{Context, Effect, Operation, Reply, Toolset, guidance};
use crate::{
    config::ReportFormat,
    engine::checks::HandedOver,
    error::{Code, Error},
    model::{DirectiveId, GateResult},
};
use std::io::Read;

/// The largest report (design §6).
const MAX_BYTES: u64 = 32 * 1024 * 1024;
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The operation.
pub struct RecordEvidence;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Directive id
    #[arg(long)]
    pub directive: String,
    /// Gate: tests, coverage, load, vulnerabilities or outdated
    #[arg(long)]
    pub kind: String,
    /// Path of the report in the workspace
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The report itself
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    gates: Vec<GateResult>,
}

impl Operation for RecordEvidence {
    const NAME: &'static str = "record_evidence";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/record_evidence.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let survey = ctx.engine.open_survey(&DirectiveId::from(params.directive)).await?;
        let body = match (&params.path, params.content) {
            (Some(path), None) => read(ctx, path)?,
            (None, Some(content)) => content.into_bytes(),
            _ => return Err(Error::invalid("give either `path` or `content`")),
        };
        let bound = ctx.engine.bound_by(&survey.directive, survey.revisions).await?;
        let bindings = &bound.bindings;
        let Some(binding) = bindings.iter().find(|binding| binding.rule.gate.as_str() == params.kind) else {
            let known = crate::engine::configuration::names(bindings.iter().map(|binding| &binding.rule.gate));
            return Err(Error::not_found("gate", &params.kind).hint(format!("gates that bind here: {known}")));
        };
        let format = match binding.feed.as_ref().and_then(|feed| feed.format) {
            Some(format) => format,
            None => natural_format(&params.kind, &body)?,
        };
        let report = HandedOver { kind: params.kind, body, format };
        let gates = ctx.engine.record_evidence(&ctx.caller, &survey.directive, &bound, report).await?;
        Ok(guidance::of_directive(&ctx.engine.view(&survey.directive.id).await?).reply(Output { gates }))
    }
}

fn read(ctx: &Context, path: &str) -> Result<Vec<u8>, Error> {
    let path = ctx.engine.workspace.resolve_inside(path).map_err(Error::invalid)?;
    let file = std::fs::File::open(&path).map_err(|error| Error::new(Code::NotFound, format!("the report cannot be read: {error}")))?;
    let mut body = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut body)
        .map_err(|error| Error::new(Code::NotFound, format!("the report cannot be read: {error}")))?;
    match body.len() as u64 > MAX_BYTES {
        true => Err(Error::invalid("a report has at most 32 MiB")),
        false => Ok(body),
    }
}

/// Returns the format a gate's reports usually have, told from what stands in it where there are two.
fn natural_format(gate: &str, body: &[u8]) -> Result<ReportFormat, Error> {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    match gate {
        "tests" => Ok(ReportFormat::Junit),
        "coverage" => Ok(ReportFormat::Lcov),
        "vulnerabilities" if text.contains("\"runs\"") || text.contains("sarif") => Ok(ReportFormat::Sarif),
        "vulnerabilities" => Ok(ReportFormat::CargoAudit),
        "load" if text.contains("latencyPercentiles") => Ok(ReportFormat::Oha),
        "load" => Ok(ReportFormat::K6),
        // Renovate writes its problems first, which may be long.
        "outdated" if String::from_utf8_lossy(body).contains("\"packageFiles\"") => Ok(ReportFormat::Renovate),
        "outdated" => Ok(ReportFormat::Outdated),
        other => Err(Error::invalid(format!("gate `{other}` takes no report"))),
    }
}
