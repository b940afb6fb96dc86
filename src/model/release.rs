//! A release: immutable, named by the digest of its bytes.

use super::{digest::Sha256, ids::ServiceName};
use serde::{Deserialize, Serialize};

/// What is deployed: bytes copied and pinned when the directive is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The service it is a release of.
    pub service: ServiceName,
    /// The version it claims and must show: `1.4.0`.
    pub version: String,
    /// The full commit id, when the workspace is a git repository.
    pub commit: Option<String>,
    /// SHA-256 over sorted (path, exec bit, size, sha256) of its files.
    pub digest: Sha256,
    /// Number of files.
    pub files: u64,
    /// Size of all files together.
    pub size_bytes: u64,
}
