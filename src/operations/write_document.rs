//! `write_document`: writes a document from the record into the workspace.

use super::{Context, Effect, NextAction, Operation, Reply, Toolset};
use crate::{
    engine::documents::{About, DocumentKind, Said, WrittenDocument},
    error::Error,
    model::Sha256,
};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How much of what is missing or wrong an answer tells; the file says the rest.
const MOST_TOLD: usize = 20;

/// The operation.
pub struct WriteDocument;

/// What it takes.
#[derive(Debug, Deserialize, Serialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Which document
    #[arg(long, value_enum)]
    pub kind: DocumentKind,
    /// About this directive
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
    /// About this deployment; the newest when nothing is named
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// About this incident
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Your own words; fenced and marked as unverified
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// dossier: claims, each citing repo@commit:path:lines "quote"; kept when left out
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Vec<String>>,
    /// dossier: read-only commands that regenerate it; kept when left out
    #[arg(long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
    /// dossier: run its commands again
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<bool>,
}

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    kind: DocumentKind,
    directive: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    /// Where it was written in the workspace.
    path: String,
    sha256: Sha256,
    bytes: u64,
    /// Whether the record had exactly this document already.
    existing: bool,
    /// What the record does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// What keeps a dossier from counting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    /// How far the work is proven, from 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
}

impl Operation for WriteDocument {
    const NAME: &'static str = "write_document";
    const TOOLSET: Toolset = Toolset::Setup;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/write_document.md");
    type Params = Params;
    type Output = Output;

    async fn run(ctx: &Context, params: Params) -> Result<Reply<Output>, Error> {
        let about = About { directive: params.directive, deployment: params.deployment, incident: params.incident };
        let said = Said { claims: params.claims, commands: params.commands, rerun: params.rerun.unwrap_or(false) };
        let written = ctx.engine.write_document(&ctx.caller, params.kind, &about, params.notes.as_deref(), &said).await?;
        let lacks = match written.missing.len() {
            0 => "the record has all it asks for".to_owned(),
            count => format!("{count} values are not recorded, and said so"),
        };
        let (kind, verb) = (params.kind.as_str(), if written.existing { "stands unchanged" } else { "is written" });
        Ok(Reply {
            state: if written.faults.is_empty() { "written" } else { "draft" }.into(),
            summary: format!("{kind} of {} {verb} at `{}`; {lacks}", written.directive, written.path),
            guidance: "The text is in the file and comes from the record: it is not edited by hand. Only your notes are your words.".into(),
            next_actions: next(params.kind, &written),
            body: Output {
                kind: params.kind,
                directive: written.directive.to_string(),
                deployment: written.deployment,
                path: written.path,
                sha256: written.sha256,
                bytes: written.size_bytes,
                existing: written.existing,
                missing: written.missing.into_iter().take(MOST_TOLD).collect(),
                faults: written.faults.into_iter().take(MOST_TOLD).collect(),
                score: written.score.map(|score| (score * 10.0).round() / 10.0),
            },
        })
    }
}

fn next(kind: DocumentKind, written: &WrittenDocument) -> Vec<NextAction> {
    let directive = &written.directive;
    let sign = |fact: &str, why: &str| NextAction::command(format!("interlock sign-off {directive} {fact}"), why);
    let status = NextAction::tool("get_status", json!({ "directive": directive }), "see what is open");
    match kind {
        DocumentKind::Dossier if !written.faults.is_empty() => {
            let mended = json!({ "kind": kind, "directive": directive, "claims": ["<mended claims, all of them>"] });
            let why = format!("{} faults keep it a draft; {}", written.faults.len(), written.faults[0]);
            vec![NextAction::tool("write_document", mended, why).recommended(), status]
        }
        DocumentKind::Handover if written.is_open => {
            vec![sign("team", "those who operate it say that they have what they need").recommended(), status]
        }
        DocumentKind::GoLive if written.is_open => vec![sign("told", "those who wait for it were told").recommended(), status],
        _ => vec![status.recommended()],
    }
}
