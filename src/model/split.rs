//! A split: weights over the instances of one service. Blue-green is the split 100/0, then 0/100.

use super::ids::InstanceId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One instance's share of a service's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The instance.
    pub instance: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The version it runs; the router counts by it.
    pub version: String,
    /// Its weight among the others; 0 keeps it known and warm without new requests.
    pub weight: u32,
}

/// Who gets a service's traffic. An empty split answers 503: nothing is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Split(pub Vec<Share>);

impl Split {
    /// Returns the instances that get new requests.
    pub fn serving(&self) -> impl Iterator<Item = &Share> {
        self.0.iter().filter(|share| share.weight > 0)
    }
}
