//! A rollout: the strategy by which a service's traffic moves to a new release, with its stages, as the applied configuration says.

use super::stickiness::Stickiness;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Strategy {
    /// A whole new set beside the old one, then one atomic switch.
    #[default]
    BlueGreen,
    /// A whole new set beside the old one, which gets a growing share and is compared with the old set at each.
    Canary,
    /// Instances take the places of old ones batch by batch; a new one serves before an old one goes.
    Rolling,
}

impl Strategy {
    /// Returns the name configuration and plans write.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::BlueGreen => "blue_green",
            Strategy::Canary => "canary",
            Strategy::Rolling => "rolling",
        }
    }
}

/// How one service's traffic moves in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The strategy configuration fixes; without one a plan may ask for any, and gets blue-green.
    pub strategy: Option<Strategy>,
    /// The shares a canary gets one after the other, percent; the last is 100 (10 → 50 → 100, seed stage-30).
    pub weights: Vec<u32>,
    /// How long each share below 100 is watched (300 s, seed stage-30).
    pub watch_ms: u64,
    /// How long at most, where the watch ends without enough requests to judge; then a person is asked.
    pub watch_at_most_ms: u64,
    /// What a customer that comes again is known by, to be given the release it had.
    #[serde(default, skip_serializing_if = "Stickiness::is_none")]
    pub stickiness: Stickiness,
    /// How many instances a rolling deployment replaces at a time.
    pub batch: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout {
            strategy: None,
            weights: vec![10, 50, 100],
            watch_ms: 300_000,
            watch_at_most_ms: 900_000,
            stickiness: Stickiness::None,
            batch: 1,
        }
    }
}

impl Rollout {
    /// Tells whether configuration says nothing of its own: then it stands in no document, and in no hash.
    pub fn is_default(&self) -> bool {
        *self == Rollout::default()
    }
}
