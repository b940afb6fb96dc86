//! Being built.

/// Runs deployments.
pub struct Engine;
