//! A deployment's states, its journal, and the one table of legal moves between states.

use super::{digest::Sha256, ids::*, plan::Purpose, time::Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Accepted, not started.
    Queued,
    /// Walking its plan.
    Running,
    /// Held, or frozen before its next change.
    Paused,
    /// All traffic is on the new set, which is watched.
    Verifying,
    /// Done: the new set serves and the watch is over.
    Succeeded,
    /// On the way back.
    RollingBack,
    /// What served before serves again.
    RolledBack,
    /// The outcome cannot be known or undone; a person chooses.
    Stuck,
}

/// What can happen to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The worker took it up.
    Started,
    /// Somebody holds it.
    Held,
    /// A freeze is in force before a step that changes something.
    Frozen,
    /// Hold or freeze are over before the switch.
    Released,
    /// Hold or freeze are over during the watch.
    ReleasedToVerifying,
    /// The listener answers with the new identity; the watch begins.
    Shifted,
    /// The last step is done.
    Finished,
    /// A step failed, a trigger fired, or somebody aborted.
    Undo,
    /// Everything that was done is undone.
    Undone,
    /// An outcome cannot be known or an undo cannot be done.
    Lost,
    /// A person has chosen: it goes on forward.
    Resumed,
    /// A person has chosen: it goes back.
    ResumedBack,
}

impl DeploymentState {
    /// Returns the state after `event`; `None` when that cannot happen here.
    pub fn after(self, event: Event) -> Option<DeploymentState> {
        use DeploymentState::*;
        match (self, event) {
            (Queued, Event::Started) => Some(Running),
            (Running | Verifying, Event::Held | Event::Frozen) => Some(Paused),
            (Paused, Event::Released) => Some(Running),
            (Paused, Event::ReleasedToVerifying) => Some(Verifying),
            (Running, Event::Shifted) => Some(Verifying),
            (Running | Verifying, Event::Finished) => Some(Succeeded),
            (Queued | Running | Paused | Verifying, Event::Undo) => Some(RollingBack),
            (RollingBack, Event::Undone) => Some(RolledBack),
            (Running | Paused | Verifying | RollingBack, Event::Lost) => Some(Stuck),
            (Stuck, Event::Resumed) => Some(Running),
            (Stuck, Event::ResumedBack) => Some(RollingBack),
            _ => None,
        }
    }

    /// Tells whether nothing more happens by itself.
    pub fn is_settled(self) -> bool {
        matches!(self, DeploymentState::Succeeded | DeploymentState::RolledBack | DeploymentState::Stuck)
    }

    /// Returns the column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            DeploymentState::Queued => "queued",
            DeploymentState::Running => "running",
            DeploymentState::Paused => "paused",
            DeploymentState::Verifying => "verifying",
            DeploymentState::Succeeded => "succeeded",
            DeploymentState::RollingBack => "rolling_back",
            DeploymentState::RolledBack => "rolled_back",
            DeploymentState::Stuck => "stuck",
        }
    }

    /// Reads the column's text; anything unknown is `stuck`, which asks a person.
    pub fn parse(text: &str) -> Self {
        match text {
            "queued" => DeploymentState::Queued,
            "running" => DeploymentState::Running,
            "paused" => DeploymentState::Paused,
            "verifying" => DeploymentState::Verifying,
            "succeeded" => DeploymentState::Succeeded,
            "rolling_back" => DeploymentState::RollingBack,
            "rolled_back" => DeploymentState::RolledBack,
            _ => DeploymentState::Stuck,
        }
    }
}

/// What a person may choose for a deployment that is stuck, or asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Look whether the unknown step happened, and do it if not; judge again what could not be judged.
    Retry,
    /// Take the person's word that it happened, or is good.
    MarkDone,
    /// Go back from what is done.
    RollBack,
}

impl Choice {
    /// Every choice.
    pub const ALL: [Choice; 3] = [Choice::Retry, Choice::MarkDone, Choice::RollBack];

    /// Returns the word the command line has for it.
    pub fn word(self) -> &'static str {
        match self {
            Choice::Retry => "retry",
            Choice::MarkDone => "mark-done",
            Choice::RollBack => "roll-back",
        }
    }
}

/// One run of one plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// `dep_1`.
    pub id: DeploymentId,
    /// The plan it runs.
    pub plan: PlanId,
    /// The directive it serves.
    pub directive: DirectiveId,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Forward, or back.
    pub purpose: Purpose,
    /// The version it brings.
    pub version: String,
    /// The release it brings.
    pub digest: Sha256,
    /// The deployment whose set served before.
    pub base: Option<DeploymentId>,
    /// Where it stands.
    pub state: DeploymentState,
    /// The epoch of the lease it last ran under.
    pub epoch: Epoch,
    /// Who holds it: a principal.
    pub held_by: Option<String>,
    /// Why it is going or went back: the abort's or the trigger's words.
    pub undo_reason: Option<String>,
    /// The code of what failed.
    pub failure_code: Option<String>,
    /// The rollback deployment that undid it after success; itself where it was withdrawn.
    pub rolled_back_by: Option<DeploymentId>,
    /// Who asked for it.
    pub created_by: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When traffic moved to it.
    pub shifted_at: Option<Timestamp>,
    /// When traffic moved back.
    pub unshifted_at: Option<Timestamp>,
    /// When it settled.
    pub settled_at: Option<Timestamp>,
    /// When it last changed; `since` compares with it.
    pub updated_at: Timestamp,
}

impl Deployment {
    /// Says what became of a success that did not last: `taken back by dep_3` or `withdrawn`; none of any other.
    pub fn taken_back(&self) -> Option<String> {
        self.rolled_back_by.as_ref().map(|by| match self.is_withdrawn() {
            true => "withdrawn".to_owned(),
            false => format!("taken back by {by}"),
        })
    }

    /// Tells whether it was taken out of service after success with nothing to go back to.
    pub fn is_withdrawn(&self) -> bool {
        self.rolled_back_by.as_ref() == Some(&self.id)
    }
}

/// Where a step stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Written down before anything happens.
    Intent,
    /// Happening; after a crash its outcome is unknown.
    Executing,
    /// Happened.
    Done,
    /// Did not work.
    Failed,
    /// Crashed in between: `observe()` decides.
    Unknown,
    /// Its undo is happening.
    Undoing,
    /// Undone.
    Undone,
}

impl StepState {
    /// Returns the column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            StepState::Pending => "pending",
            StepState::Intent => "intent",
            StepState::Executing => "executing",
            StepState::Done => "done",
            StepState::Failed => "failed",
            StepState::Unknown => "unknown",
            StepState::Undoing => "undoing",
            StepState::Undone => "undone",
        }
    }

    /// Reads the column's text; anything else is `unknown`, which is observed before anything happens.
    pub fn parse(text: &str) -> Self {
        match text {
            "pending" => StepState::Pending,
            "intent" => StepState::Intent,
            "executing" => StepState::Executing,
            "done" => StepState::Done,
            "failed" => StepState::Failed,
            "undoing" => StepState::Undoing,
            "undone" => StepState::Undone,
            _ => StepState::Unknown,
        }
    }
}

/// One row of a deployment's journal: the truth after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its place in the plan, from 0.
    pub ordinal: i64,
    /// The step.
    pub step: StepId,
    /// Where it stands.
    pub state: StepState,
    /// How often it was begun.
    pub attempt: i64,
    /// When it was last begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What came out, for the record: addresses, counts, argv, the error.
    pub output: serde_json::Value,
}
