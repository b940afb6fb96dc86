//! Gates and their verdicts: no data is `inconclusive`, never `pass`.

use super::{digest::Sha256, ids::GateName, time::Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is data, and it is within the threshold.
    Pass,
    /// There is data, and it is not.
    Fail,
    /// There is no data that counts.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
        })
    }
}

/// Where evidence comes from, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Handed over by an agent; never counts in production.
    Claimed,
    /// Signed by a registered CI key. Accepted in configuration, nothing supplies it yet.
    Attested,
    /// A person's signed decision.
    Person,
    /// The server ran the configured command itself.
    Observed,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Claimed => "claimed",
            Origin::Attested => "attested",
            Origin::Person => "person",
            Origin::Observed => "observed",
        })
    }
}

/// Who can do something next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The calling agent.
    Agent,
    /// A person.
    Person,
    /// The CI system.
    Ci,
    /// The server, by itself.
    Server,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Agent => "agent",
            Who::Person => "person",
            Who::Ci => "ci",
            Who::Server => "server",
        })
    }
}

/// One gate's answer for one directive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// The gate.
    pub gate: GateName,
    /// What it says.
    pub verdict: Verdict,
    /// What is compared: `lines_percent >= 80`; `coverage` may hold several rules, joined by `, `.
    pub rule: String,
    /// The measured value, in the rule's words: `lines_percent = 71.4`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
    /// Why, in plain words.
    pub reason: String,
    /// What is missing for a pass.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub needs: Option<String>,
    /// Who can supply it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub who: Option<Who>,
    /// How, exactly: a tool with its arguments, or a command for a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub how: Option<String>,
    /// Which file asks for this gate: `phase phase-06`, `environments.production.gates`, `server`.
    pub asked_by: String,
    /// Whether it reads the live world (freeze, dependencies, secrets): run again at execution, never bound by an approval.
    #[serde(default)]
    pub live: bool,
    /// The evidence it rests on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence_sha256: Option<Sha256>,
    /// When it was evaluated.
    pub checked_at: Timestamp,
}

impl GateResult {
    /// Tells whether it waits for a person.
    pub fn asks_a_person(&self) -> bool {
        self.verdict != Verdict::Pass && self.who == Some(Who::Person)
    }
}
