//! The Strategic Directive: the work order without which nothing deploys.

use super::{change::ChangeKind, digest::Sha256, ids::*, time::Timestamp};
use serde::{Deserialize, Serialize};

/// Where a directive stands. The seed's further states `pending_approval`, `archived`, `deferred` exist in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DirectiveState {
    /// Carries what a failed deployment has left; the next release for its place takes it over.
    Draft,
    /// Open: nothing started, or what was started is taken back.
    Active,
    /// A plan exists or a deployment ran.
    InProgress,
    /// Its exit gates hold.
    Completed,
    /// Given up before anything was deployed.
    Cancelled,
}

impl DirectiveState {
    /// Returns the column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            DirectiveState::Draft => "draft",
            DirectiveState::Active => "active",
            DirectiveState::InProgress => "in_progress",
            DirectiveState::Completed => "completed",
            DirectiveState::Cancelled => "cancelled",
        }
    }

    /// Reads the column's text; the seed states that nothing here sets read as `active`.
    pub fn parse(text: &str) -> Self {
        match text {
            "draft" => DirectiveState::Draft,
            "in_progress" => DirectiveState::InProgress,
            "completed" => DirectiveState::Completed,
            "cancelled" => DirectiveState::Cancelled,
            _ => DirectiveState::Active,
        }
    }

    /// Tells whether work on it may go on.
    pub fn is_open(self) -> bool {
        matches!(self, DirectiveState::Active | DirectiveState::InProgress)
    }
}

/// One service × one environment × one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    /// `SD-DEPLOY-001`.
    pub id: DirectiveId,
    /// Where it stands.
    pub state: DirectiveState,
    /// One line for people; written by the agent.
    pub title: String,
    /// Why; written by the agent.
    pub rationale: String,
    /// What; written by the agent.
    pub description: String,
    /// How far it reaches; written by the agent.
    pub scope: String,
    /// `critical`, `high`, `medium` or `low`.
    pub priority: String,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The version.
    pub version: String,
    /// The full commit id, if known.
    pub commit: Option<String>,
    /// When that commit was made, if known: the beginning of its lead time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub committed_at: Option<Timestamp>,
    /// The pinned release.
    pub digest: Sha256,
    /// What its creator says has changed; the commits decide.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub change: Option<ChangeKind>,
    /// Whether nothing was built for it: its release is the one that served when it was opened, and it deploys nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub nothing_built: bool,
    /// The venture it belongs to, if any.
    pub venture: Option<String>,
    /// Directives that must be completed first.
    pub depends_on: Vec<DirectiveId>,
    /// The phase that governs it, and the hash of its file.
    pub phase: Option<String>,
    /// SHA-256 of the phase file when the directive was created.
    pub phase_sha256: Option<Sha256>,
    /// The directive whose deployment failed, where this one follows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub follows: Option<DirectiveId>,
    /// How many failures in a row led to it.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub depth: i64,
    /// The principal that created it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

fn is_zero(count: &i64) -> bool {
    *count == 0
}
