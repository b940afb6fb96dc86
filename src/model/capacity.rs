//! What a place where instances run has left, and what a deployment needs of it.

use super::ids::InstanceId;
use std::collections::BTreeMap;

/// What a place has left, as it says itself; none of what it cannot say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Free bytes of every disk that a deployment writes to; folders on one disk are one entry.
    pub disks: Vec<Disk>,
    /// Ports that an instance can still be given.
    pub ports: Option<u64>,
    /// File descriptors that one instance may open.
    pub descriptors_each: Option<u64>,
    /// File descriptors that the whole system may still open.
    pub descriptors: Option<u64>,
    /// Bytes of memory that can be had without swapping.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory that each running instance has.
    pub used_bytes: BTreeMap<InstanceId, u64>,
}

/// A disk that a deployment writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What lies there.
    pub holds: Vec<Holds>,
    /// Bytes that may still be written.
    pub free_bytes: u64,
}

/// What lies on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The bytes of releases.
    Releases,
    /// The folders of instances, with their logs.
    Instances,
}
