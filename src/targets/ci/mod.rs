//! What a CI platform says of a commit and of a branch: [`Platform`], one file each. To add one: a variant of
//! [`crate::model::ci::CiPlatform`], a file here, an arm in [`platform`].
//!
//! Plain HTTP only, as for figures: the address is loopback or a private network, where something forwards to the platform with TLS.

mod endpoint;
mod github;
mod gitlab;
pub mod ordered;

use crate::model::ci::{Branch, Check, CiAccess, CiFault, CiPlatform, CiRun, Dispatch};
use async_trait::async_trait;
use endpoint::Endpoint;

/// A CI platform, asked about one repository.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Returns every check of exactly this commit, of several runs of one the newest.
    async fn checks(&self, commit: &str) -> Result<Vec<Check>, CiFault>;
    /// Returns the branch of this name.
    async fn branch(&self, name: &str) -> Result<Branch, CiFault>;
    /// Starts a workflow; the run comes back where the platform says at once which it is.
    async fn dispatch(&self, order: &Dispatch) -> Result<Option<CiRun>, CiFault>;
    /// Returns the run of this id; without one the newest that was started under the order's name, if it is there yet.
    async fn run(&self, order: &Dispatch, id: Option<&str>) -> Result<Option<CiRun>, CiFault>;
    /// Asks a run to end; it may take a while until it has.
    async fn cancel(&self, id: &str) -> Result<(), CiFault>;
}

/// Returns the platform that is configured, its secrets resolved for this asking.
pub async fn platform(access: &CiAccess) -> Result<Box<dyn Platform>, CiFault> {
    Ok(match access.platform {
        CiPlatform::Github => {
            Box::new(github::Github::new(Endpoint::resolved(access, "authorization", "Bearer ").await?, &access.repository))
        }
        CiPlatform::Gitlab => Box::new(gitlab::Gitlab::new(Endpoint::resolved(access, "private-token", "").await?, &access.repository)),
    })
}
