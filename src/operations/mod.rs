//! Everything a caller may ask, one file each; MCP tools, JSON-RPC methods, CLI subcommands and docs follow from here.
//!
//! To add one: write `tools/<verb_noun>.md` (first paragraph ≤ 400 bytes: what, when, when not, side effect, what next),
//! write `<verb_noun>.rs` beside this file with one type that is an [`Operation`], and add it to [`all`].

mod arguments;
mod deployment_guidance;
mod entry;
mod guidance;
mod refusal;
mod registry;
mod toolset;
mod waiting;

mod cancel_directive;
mod complete_directive;
mod create_directive;
mod create_venture;
mod execute_deployment;
mod generate_workflow;
mod get_deployment;
mod get_metrics;
mod get_runbook;
mod get_status;
mod get_venture;
mod hold_deployment;
mod list_deployments;
mod plan_deployment;
mod read_log;
mod record_evidence;
mod rollback_deployment;
mod run_predeploy_checks;
mod setup_backup;
mod setup_monitoring;
mod trigger_workflow;
mod unneeded;
mod verify_deployment;
mod write_document;
mod write_runbook;

pub use arguments::REQUEST_BYTES;
pub use entry::Entry;
pub use refusal::refusal;
pub use registry::{Refused, Registry};
pub use toolset::{Toolset, asked_in, asking_for};

use crate::{
    engine::Engine,
    error::Error,
    model::{Caller, CallerKind, DirectiveId, Who},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

static ALL: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    vec![
        Entry::of::<get_status::GetStatus>(),
        Entry::of::<create_directive::CreateDirective>(),
        Entry::of::<cancel_directive::CancelDirective>(),
        Entry::of::<record_evidence::RecordEvidence>(),
        Entry::of::<run_predeploy_checks::RunPredeployChecks>(),
        Entry::of::<plan_deployment::PlanDeployment>(),
        Entry::of::<execute_deployment::ExecuteDeployment>(),
        Entry::of::<get_deployment::GetDeployment>(),
        Entry::of::<hold_deployment::HoldDeployment>(),
        Entry::of::<verify_deployment::VerifyDeployment>(),
        Entry::of::<rollback_deployment::RollbackDeployment>(),
        Entry::of::<write_runbook::WriteRunbook>(),
        Entry::of::<get_runbook::GetRunbook>(),
        Entry::of::<complete_directive::CompleteDirective>(),
        Entry::of::<list_deployments::ListDeployments>(),
        Entry::of::<read_log::ReadLog>(),
        Entry::of::<get_metrics::GetMetrics>(),
        Entry::of::<create_venture::CreateVenture>(),
        Entry::of::<get_venture::GetVenture>(),
        Entry::of::<write_document::WriteDocument>(),
        Entry::of::<setup_monitoring::SetupMonitoring>(),
        Entry::of::<setup_backup::SetupBackup>(),
        Entry::of::<generate_workflow::GenerateWorkflow>(),
        Entry::of::<trigger_workflow::TriggerWorkflow>(),
    ]
});

/// Returns every operation, in the order docs and `tools/list` show them.
pub fn all() -> Vec<Entry> {
    ALL.clone()
}

/// Returns the operation of this name.
pub fn find(name: &str) -> Option<Entry> {
    ALL.iter().find(|entry| entry.name == name).cloned()
}

/// Tells whether this caller may call this operation: one function, for listing and for calling.
pub fn may_call(entry: &Entry, caller: &Caller, toolsets: &[Toolset]) -> bool {
    match caller.kind {
        CallerKind::Agent => toolsets.contains(&entry.toolset),
        // What an agent's list of tools costs is no concern of the command line.
        CallerKind::Operator => true,
        // The server acts through the engine; through an edge it only looks.
        CallerKind::Server => entry.effect == Effect::Reads,
    }
}

/// One thing a caller may ask.
pub trait Operation: 'static {
    /// `verb_noun`: the MCP tool, the JSON-RPC method, the file; the CLI writes `verb-noun`.
    const NAME: &'static str;
    /// The set it belongs to.
    const TOOLSET: Toolset;
    /// What it may do to the world.
    const EFFECT: Effect;
    /// `include_str!("../../tools/<NAME>.md")`.
    const MANUAL: &'static str;

    /// Flat, with `#[serde(deny_unknown_fields)]`; optional arguments are `Option`.
    type Params: DeserializeOwned + Serialize + JsonSchema + clap::Args + Send;
    /// What the reply carries beside its envelope.
    type Output: Serialize;

    /// Does it.
    fn run(ctx: &Context, params: Self::Params) -> impl Future<Output = Result<Reply<Self::Output>, Error>> + Send;
}

/// What an operation may reach.
pub struct Context {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Who calls.
    pub caller: Caller,
    /// Where to say how far a long call is.
    pub progress: Progress,
}

/// What an operation takes that is about a directive, and about nothing else.
#[derive(Debug, Deserialize, Serialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct OfDirective {
    /// Directive id
    #[arg(long)]
    directive: String,
}

impl OfDirective {
    /// Returns the id, of whatever directive it may be.
    fn id(self) -> DirectiveId {
        DirectiveId::from(self.directive)
    }
}

/// What an operation may do to the world; fixes the four hints of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reads only.
    Reads,
    /// Writes our records; what serves customers is not touched.
    Records,
    /// Changes what serves customers, or may stop such a change.
    Deploys,
}

/// What clients are told of an operation's effect. Hints only: nothing is enforced by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// Changes nothing.
    pub read_only: bool,
    /// May replace or end something.
    pub destructive: bool,
    /// A second identical call adds nothing.
    pub idempotent: bool,
    /// Reaches beyond our own records.
    pub open_world: bool,
}

impl Effect {
    /// Returns the hints. Every operation is idempotent by nature, so that column is always true.
    pub fn hints(self) -> Hints {
        let (read_only, destructive, open_world) = match self {
            Effect::Reads => (true, false, false),
            Effect::Records => (false, false, false),
            Effect::Deploys => (false, true, true),
        };
        Hints { read_only, destructive, idempotent: true, open_world }
    }
}

/// The answer of an operation; `{state, summary, guidance, next_actions, …body}` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply<T> {
    /// Where the thing asked about stands, in one word.
    pub state: String,
    /// One line in plain words.
    pub summary: String,
    /// The text of the current step, at most 1 KB.
    pub guidance: String,
    /// What can be done next; exactly one is recommended, none when nothing is left.
    pub next_actions: Vec<NextAction>,
    /// The facts.
    #[serde(flatten)]
    pub body: T,
}

/// One thing that can be done next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextAction {
    /// Who can do it.
    pub who: Who,
    /// The operation to call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arguments: Option<Value>,
    /// The command line a person runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// What it is good for.
    pub why: String,
    /// The one to take when in doubt.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub recommended: bool,
    /// How long to wait before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after_seconds: Option<u64>,
}

impl NextAction {
    /// Returns an operation the agent can call.
    pub fn tool(tool: &str, arguments: Value, why: impl Into<String>) -> Self {
        NextAction { tool: Some(tool.into()), arguments: Some(arguments), ..Self::of(Who::Agent, why) }
    }

    /// Returns a command a person can run.
    pub fn command(command: impl Into<String>, why: impl Into<String>) -> Self {
        NextAction { command: Some(command.into()), ..Self::of(Who::Person, why) }
    }

    /// Returns something that is neither a tool nor a command.
    pub fn of(who: Who, why: impl Into<String>) -> Self {
        NextAction { who, tool: None, arguments: None, command: None, why: why.into(), recommended: false, after_seconds: None }
    }

    /// Marks it as the one to take when in doubt.
    pub fn recommended(mut self) -> Self {
        self.recommended = true;
        self
    }
}

type Tell = dyn Fn(u64, Option<u64>, &str) + Send + Sync;

/// Where a long call says how far it is; silent unless the edge attached a sink.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Tell>>);

impl Progress {
    /// Returns a handle that tells `sink`.
    pub fn to(sink: impl Fn(u64, Option<u64>, &str) + Send + Sync + 'static) -> Self {
        Progress(Some(Arc::new(sink)))
    }

    /// Says how far it is.
    pub fn tell(&self, done: u64, total: Option<u64>, message: &str) {
        if let Some(sink) = &self.0 {
            sink(done, total, message);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An operation for the tests of those who use the registry.
    pub(crate) struct GetThing;

    #[derive(Serialize, Deserialize, JsonSchema, clap::Args)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Params {
        #[arg(long)]
        deployment: String,
        #[arg(long)]
        tail: Option<u32>,
    }

    impl Operation for GetThing {
        const NAME: &'static str = "get_thing";
        const TOOLSET: Toolset = Toolset::Core;
        const EFFECT: Effect = Effect::Reads;
        const MANUAL: &'static str = "Shows a thing.";
        type Params = Params;
        type Output = Value;
        async fn run(_: &Context, params: Params) -> Result<Reply<Value>, Error> {
            let body = serde_json::json!({"deployment": params.deployment, "tail": params.tail});
            Ok(Reply { state: "seen".into(), summary: "seen".into(), guidance: String::new(), next_actions: Vec::new(), body })
        }
    }

    #[test]
    fn the_hints_follow_from_the_effect() {
        let row = |effect: Effect| {
            let hints = effect.hints();
            [hints.read_only, hints.destructive, hints.idempotent, hints.open_world]
        };
        assert_eq!(row(Effect::Reads), [true, false, true, false]);
        assert_eq!(row(Effect::Records), [false, false, true, false]);
        assert_eq!(row(Effect::Deploys), [false, true, true, true]);
    }
}
