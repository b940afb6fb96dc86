//! The words of Interlock as types: no I/O, no clock, no other layer. What can be decided without the world is decided here.

pub mod about;
pub mod analysis;
pub mod assessment;
pub mod caller;
pub mod capacity;
pub mod catalog;
pub mod change;
pub mod ci;
pub mod comparator;
pub mod data;
pub mod decision;
pub mod deployment;
pub mod digest;
pub mod directive;
pub mod fault;
pub mod gate;
pub mod hosts;
pub mod ids;
pub mod metric;
pub mod migration;
pub mod monitoring;
pub mod notice;
pub mod passkey;
pub mod plan;
pub mod plan_state;
pub mod quorum;
pub mod recurrence;
pub mod release;
pub mod rollout;
pub mod service;
pub mod split;
pub mod stickiness;
pub mod text;
pub mod time;

pub use assessment::Assessment;
pub use caller::{Caller, CallerKind, Via};
pub use change::ChangeKind;
pub use comparator::{Comparator, Operator};
pub use decision::{Decision, DecisionKind, DecisionVerdict, SignedDecision};
pub use deployment::{Choice, Deployment, DeploymentState, Event, JournalEntry, StepState};
pub use digest::{Sha256, canonical_json};
pub use directive::{Directive, DirectiveState};
pub use fault::{Fault, Faults};
pub use gate::{GateResult, Origin, Verdict, Who};
pub use ids::*;
pub use notice::{Destination, DestinationKind, Notice, NoticeKind};
pub use plan::{Action, Base, Guarantees, Plan, PlannedGate, Purpose, Reversibility, Step};
pub use plan_state::PlanState;
pub use recurrence::{Recurrence, Window};
pub use release::Release;
pub use rollout::{Rollout, Strategy};
pub use service::ServiceSpec;
pub use split::Split;
pub use stickiness::Stickiness;
pub use time::{Clock, ManualClock, Reading, SystemClock, Timestamp};

/// The right to change one environment. Every call that changes a target or a router carries it; a lower epoch is refused there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The environment that may be changed.
    pub environment: EnvironmentName,
    /// The server that holds the right.
    pub holder: String,
    /// The number that tells this holding from every earlier one.
    pub epoch: Epoch,
}
