//! Waits for something new without holding a lock or a transaction: looks, and looks again when the record grows.

use super::Context;
use crate::error::{Error, Result};
use std::time::Duration;

/// Clients cut calls at about a minute; a wait ends before.
pub(super) const MOST_SECONDS: u64 = 45;
/// A second process may write to the same database: the record is looked at again at least this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long an answer may be waited for.
pub struct Patience(Duration);

impl Patience {
    /// Returns so many seconds, none for a single look; refuses more than clients wait for an answer.
    pub fn of(seconds: Option<u64>) -> Result<Self> {
        match seconds.unwrap_or(0) {
            seconds if seconds > MOST_SECONDS => {
                Err(Error::invalid(format!("`wait_seconds` is at most {MOST_SECONDS}; call again to wait longer")))
            }
            seconds => Ok(Patience(Duration::from_secs(seconds))),
        }
    }
}

/// How long to wait, and for what.
pub struct Wait {
    /// At most so long.
    pub patience: Patience,
    /// The token of an earlier answer; none waits for a change from now on.
    pub since: Option<String>,
    /// Whether only the end counts.
    pub until_over: bool,
}

/// Looks until the token differs, it is over, or the time is: `look` returns the token, whether it is over, and what was seen.
pub async fn wait<T, F: Future<Output = Result<(String, bool, T)>>>(
    ctx: &Context,
    wait: Wait,
    look: impl Fn() -> F,
) -> Result<(String, T)> {
    let deadline = tokio::time::Instant::now() + wait.patience.0;
    let mut changes = ctx.engine.store.changes();
    let (mut token, mut is_over, mut seen) = look().await?;
    let since = wait.since.unwrap_or_else(|| token.clone());
    while !is_over && (wait.until_over || token == since) && tokio::time::Instant::now() < deadline {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let _ = tokio::time::timeout(left.min(LOOK_AGAIN), changes.changed()).await;
        (token, is_over, seen) = look().await?;
    }
    Ok((token, seen))
}
