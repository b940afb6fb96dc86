//! Asks the CI platform what a gate needs to know of a release's commit and of the base branch.

use crate::{
    gates::ci::{OfCommit, Seen},
    model::ci::{CiConfig, CiFault},
    targets::ci::{Platform, platform},
};

/// Returns what the platform says; what went wrong stands where its answer would.
pub async fn seen(config: &CiConfig, commit: Option<&str>) -> Seen {
    let platform = platform(&config.access()).await;
    let mut seen = Seen::default();
    if config.on.is_commit()
        && let Some(commit) = commit
    {
        seen.commit = Some(checks(&platform, commit).await);
    }
    if config.on.is_base_branch() || config.required {
        let branch = match &platform {
            Ok(platform) => platform.branch(&config.base_branch).await,
            Err(fault) => Err(fault.clone()),
        };
        if let (true, Ok(branch)) = (config.on.is_base_branch(), &branch) {
            seen.head = Some(checks(&platform, &branch.head).await);
        }
        seen.branch = Some(branch);
    }
    seen
}

async fn checks(platform: &Result<Box<dyn Platform>, CiFault>, commit: &str) -> OfCommit {
    let checks = match platform {
        Ok(platform) => platform.checks(commit).await,
        Err(fault) => Err(fault.clone()),
    };
    OfCommit { commit: commit.to_owned(), checks }
}
