//! Where a plan stands between being made and being run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Frozen; needs no approval.
    Planned,
    /// Waits for a person.
    AwaitingApproval,
    /// A person has signed it.
    Approved,
    /// A deployment runs or ran it.
    Used,
    /// A person has refused it.
    Rejected,
    /// Nobody decided in time, or the approval was not used in time.
    Expired,
    /// What it was bound to has changed.
    Void,
}

impl PlanState {
    /// Returns the column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            PlanState::Planned => "planned",
            PlanState::AwaitingApproval => "awaiting_approval",
            PlanState::Approved => "approved",
            PlanState::Used => "used",
            PlanState::Rejected => "rejected",
            PlanState::Expired => "expired",
            PlanState::Void => "void",
        }
    }

    /// Reads the column's text; anything unknown is `void`, which nothing executes.
    pub fn parse(text: &str) -> Self {
        match text {
            "planned" => PlanState::Planned,
            "awaiting_approval" => PlanState::AwaitingApproval,
            "approved" => PlanState::Approved,
            "used" => PlanState::Used,
            "rejected" => PlanState::Rejected,
            "expired" => PlanState::Expired,
            _ => PlanState::Void,
        }
    }
}
