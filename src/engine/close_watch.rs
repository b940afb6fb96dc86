//! The days after a release: an open item of its deployment in production that closes by itself. It is no step, and nothing waits for it: it is
//! computed from the record and an instant, whenever somebody asks.

use super::Engine;
use crate::{
    error::Result,
    model::{Deployment, DeploymentState, Purpose, Timestamp},
    store::DeploymentFilter,
};
use serde::Serialize;
use std::time::Duration;

/// How a close watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseWatchState {
    /// Somebody is to look closely.
    Open,
    /// Its time has passed with nothing wrong.
    Closed,
    /// The release does not serve any more.
    Ended,
}

/// The close watch over a release that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloseWatch {
    /// How it stands.
    pub state: CloseWatchState,
    /// When it closes or has closed by itself, or when it ended.
    pub until: Timestamp,
    /// What has begun it anew, or ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl CloseWatch {
    /// Says how it stands, in words.
    pub fn summary(&self) -> String {
        let because = self.because.as_ref().map(|because| format!("; {because}")).unwrap_or_default();
        match self.state {
            CloseWatchState::Open => format!("open until {}{because}", self.until),
            CloseWatchState::Closed => format!("closed by itself at {}{because}", self.until),
            CloseWatchState::Ended => format!("ended at {}{because}", self.until),
        }
    }
}

/// Something that happened, and when.
type Happened = (Timestamp, String);

/// Returns how a watch of this length stands that began at `since`. Whatever goes wrong begins it anew, also when it had closed; what takes the
/// release away ends it.
fn standing(since: Timestamp, length: Duration, troubles: Vec<Happened>, end: Option<Happened>, now: Timestamp) -> CloseWatch {
    let counts = |(at, _): &Happened| *at >= since && end.as_ref().is_none_or(|(end, _)| at < end);
    let last = troubles.into_iter().filter(counts).max_by_key(|(at, _)| *at);
    let until = last.as_ref().map_or(since, |(at, _)| *at).plus(length);
    let again = last.map(|(_, what)| format!("begun anew after {what}"));
    match end {
        Some((at, what)) if at < until => CloseWatch { state: CloseWatchState::Ended, until: at, because: Some(what) },
        _ if now < until => CloseWatch { state: CloseWatchState::Open, until, because: again },
        _ => CloseWatch { state: CloseWatchState::Closed, until, because: again },
    }
}

impl Engine {
    /// Returns how the close watch over a deployment stands; none but of a release that has succeeded where a person had to approve.
    pub async fn close_watch(&self, deployment: &Deployment) -> Result<Option<CloseWatch>> {
        let (Purpose::Deploy, DeploymentState::Succeeded, Some(since)) = (&deployment.purpose, deployment.state, deployment.settled_at)
        else {
            return Ok(None);
        };
        let plan = self.plan_of(deployment).await?;
        if plan.approval.is_none() {
            return Ok(None);
        }
        // The configuration it was planned with may be known nowhere any more: then the usual length is as good.
        let length = self.planned_spec(&plan).await.map(|spec| spec.monitoring).unwrap_or_default().close_watch();
        let mut troubles = Vec::new();
        for incident in self.store.incidents(&deployment.id).await? {
            troubles.push((incident.opened_at, format!("{} ({})", incident.id, incident.rule)));
        }
        for seen in self.store.measurements(&deployment.id).await? {
            if seen.kind == "verification" && seen.body["passed"] == false {
                troubles.push((seen.measured_at, "a verification that failed".into()));
            }
        }
        let end = self.end_of(deployment, since).await?;
        Ok(Some(standing(since, length, troubles, end, self.present())))
    }

    /// Returns when the release of a deployment that settled at `since` served no more, and what took its place.
    pub(super) async fn end_of(&self, deployment: &Deployment, since: Timestamp) -> Result<Option<Happened>> {
        if let Some(back) = &deployment.rolled_back_by {
            let back = self.deployment(back).await?;
            return Ok(Some((back.created_at, format!("{} has taken it back", back.id))));
        }
        let serving = self.store.serving(&deployment.service, &deployment.environment).await?;
        if serving.as_ref().is_some_and(|set| set.deployment == deployment.id) {
            return Ok(None);
        }
        let (service, environment) = (Some(deployment.service.clone()), Some(deployment.environment.clone()));
        let (later, _) = self.store.deployments(&DeploymentFilter { service, environment, limit: 100, ..Default::default() }).await?;
        let moved = |later: Deployment| later.shifted_at.filter(|at| *at >= since && later.unshifted_at.is_none()).map(|at| (at, later.id));
        let first = later.into_iter().filter(|later| later.id != deployment.id).filter_map(moved).min_by_key(|(at, _)| *at);
        Ok(first.map(|(at, id)| (at, format!("{id} has taken its place"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const HOUR: i64 = 60 * 60 * 1000;

    fn at(hours: i64) -> Timestamp {
        Timestamp(hours * HOUR)
    }

    fn happened(hours: i64, what: &str) -> Happened {
        (at(hours), what.into())
    }

    fn stands(troubles: Vec<Happened>, end: Option<Happened>, hours: i64) -> (CloseWatchState, i64) {
        let watch = standing(at(100), DAY, troubles, end, at(hours));
        (watch.state, watch.until.0 / HOUR)
    }

    #[test]
    fn it_closes_by_itself_when_its_time_has_passed() {
        assert_eq!(stands(vec![], None, 100), (CloseWatchState::Open, 124));
        assert_eq!(stands(vec![], None, 123), (CloseWatchState::Open, 124));
        assert_eq!(stands(vec![], None, 124), (CloseWatchState::Closed, 124));
    }

    #[test]
    fn what_goes_wrong_begins_it_anew_also_when_it_was_closed() {
        let early = || vec![happened(110, "inc_1")];
        assert_eq!(stands(early(), None, 130), (CloseWatchState::Open, 134));
        assert_eq!(stands(early(), None, 134), (CloseWatchState::Closed, 134));
        let late = vec![happened(200, "inc_2"), happened(110, "inc_1")];
        assert_eq!(stands(late, None, 201), (CloseWatchState::Open, 224), "the last one counts");
        // What went wrong in the deployment itself is over.
        assert_eq!(stands(vec![happened(99, "inc_0")], None, 124), (CloseWatchState::Closed, 124));
    }

    #[test]
    fn what_takes_the_release_away_ends_it_unless_it_was_closed_before() {
        assert_eq!(stands(vec![], Some(happened(110, "dep_2 has taken it back")), 111), (CloseWatchState::Ended, 110));
        assert_eq!(stands(vec![], Some(happened(130, "dep_2 has taken its place")), 131), (CloseWatchState::Closed, 124));
        let after = vec![happened(112, "inc_1")];
        assert_eq!(stands(after, Some(happened(110, "dep_2 has taken it back")), 113), (CloseWatchState::Ended, 110));
    }
}
