//! Metrics, from the record alone: which deployments are looked at, the figures of them, and the figures of each part of them.
//!
//! [`formulas`] are pure; here they get their rows. What is not in the record is `unknown`, and says what it needs.

mod csv;
pub mod figure;
pub mod formulas;
#[cfg(test)]
mod tests;

pub use csv::csv;

use super::Engine;
use crate::{
    error::Result,
    model::{DeploymentId, EnvironmentName, ServiceName, Timestamp},
    store::MetricsScope,
};
use figure::{Figure, Rating};
use formulas::{Run, Watched, figures};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The reading of what a deployment cost customers, made when it settles.
pub(super) const TRAFFIC: &str = "traffic";

/// How many deployments a page's figures and a venture's health look back over, at most: both are asked for while somebody waits.
pub const NEWEST: u32 = 300;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Of which deployments.
    pub scope: MetricsScope,
    /// Asked for by this kind of caller only.
    pub caller: Option<Asker>,
    /// Of this venture only.
    pub venture: Option<String>,
}

impl Selection {
    /// Returns everything that settled in the last so many days.
    pub fn of_days(now: Timestamp, days: u32) -> Selection {
        let from = now.minus(Duration::from_secs(u64::from(days) * 86_400));
        // What has settled in this very millisecond is in it.
        let to = now.plus(Duration::from_millis(1));
        Selection { scope: MetricsScope { from, to, service: None, environment: None }, caller: None, venture: None }
    }
}

/// Who asked for a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// An agent.
    Agent,
    /// Somebody at the command line.
    Person,
    /// The server by itself.
    Server,
}

impl Asker {
    /// Every kind.
    pub const ALL: [Asker; 3] = [Asker::Agent, Asker::Person, Asker::Server];

    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Asker::Agent => "agent",
            Asker::Person => "person",
            Asker::Server => "server",
        }
    }

    /// Returns which kind of caller a principal is.
    fn of(principal: &str) -> Asker {
        match principal {
            "agent" => Asker::Agent,
            "server" => Asker::Server,
            _ => Asker::Person,
        }
    }
}

/// What a group has in common; what is absent differs in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Asker>,
}

/// By what deployments are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct By {
    /// By service.
    pub service: bool,
    /// By environment.
    pub environment: bool,
    /// By who asked.
    pub caller: bool,
}

/// The figures of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupFigures {
    /// What its deployments have in common.
    pub group: Group,
    /// The figures.
    pub figures: Vec<Figure>,
}

impl GroupFigures {
    /// Returns the worst rating of its figures.
    pub fn health(&self) -> Rating {
        health(&self.figures)
    }
}

/// Returns the worst rating of figures; `Unknown` where none is rated.
pub fn health(figures: &[Figure]) -> Rating {
    Rating::worst(figures.iter().map(|figure| figure.rating))
}

impl Engine {
    /// Returns the metrics of a selection.
    pub async fn metrics(&self, selection: &Selection) -> Result<Vec<Figure>> {
        Ok(self.metrics_and_parts(selection, &[]).await?.0)
    }

    /// Returns the metrics of each part of a selection, divided in each of these ways, each in the order of its parts' names.
    pub async fn metrics_by(&self, selection: &Selection, ways: &[By]) -> Result<Vec<GroupFigures>> {
        Ok(self.metrics_and_parts(selection, ways).await?.1)
    }

    /// Returns both, of the same deployments.
    pub async fn metrics_and_parts(&self, selection: &Selection, ways: &[By]) -> Result<(Vec<Figure>, Vec<GroupFigures>)> {
        let runs = self.runs(selection).await?;
        let watched = self.watched(selection, &runs).await?;
        let parts = ways.iter().flat_map(|by| grouped(&runs, *by, window(selection), &watched)).collect();
        Ok((figures(&runs, window(selection), &watched), parts))
    }

    /// Returns the selection no further back than its newest [`NEWEST`] deployments go.
    pub async fn lately(&self, selection: Selection) -> Result<Selection> {
        let from = self.store.settled_most(&selection.scope, NEWEST).await?.unwrap_or(selection.scope.from);
        Ok(Selection { scope: MetricsScope { from, ..selection.scope }, ..selection })
    }

    async fn runs(&self, selection: &Selection) -> Result<Vec<Run>> {
        let scope = &selection.scope;
        let mut fired: BTreeMap<DeploymentId, Vec<String>> = BTreeMap::new();
        for (deployment, rule) in self.store.fired_triggers(scope).await? {
            fired.entry(deployment).or_default().push(rule);
        }
        let decided: BTreeSet<DeploymentId> = self.store.decided_by_people(scope).await?.into_iter().collect();
        let runs = self.store.settled_deployments(scope, TRAFFIC).await?.into_iter().map(|deployment| Run {
            fired: fired.remove(&deployment.id).unwrap_or_default(),
            downtime: deployment.measured.as_ref().and_then(|traffic| traffic["downtime"].as_u64()),
            was_decided: decided.contains(&deployment.id),
            deployment,
        });
        Ok(runs.filter(|run| is_selected(run, selection)).collect())
    }

    /// Returns the services of a selection, each where it runs, as they are watched now; of a venture, those it has deployed.
    async fn watched(&self, selection: &Selection, runs: &[Run]) -> Result<Vec<Watched>> {
        let scope = &selection.scope;
        let mut watched = Vec::new();
        for spec in self.environments().await?.into_iter().flat_map(|environment| environment.services.into_values()) {
            let is_of_it = |run: &Run| run.deployment.service == spec.service && run.deployment.environment == spec.environment;
            let is_selected = scope.service.as_ref().is_none_or(|service| *service == spec.service)
                && scope.environment.as_ref().is_none_or(|environment| *environment == spec.environment)
                && (selection.venture.is_none() || runs.iter().any(is_of_it));
            if is_selected {
                let is_covered = self.coverage(&spec).await?.is_covered();
                watched.push(Watched { service: spec.service, environment: spec.environment, is_covered });
            }
        }
        Ok(watched)
    }
}

fn window(selection: &Selection) -> Duration {
    selection.scope.to.since(selection.scope.from)
}

fn is_selected(run: &Run, selection: &Selection) -> bool {
    let by_caller = selection.caller.is_none_or(|caller| Asker::of(&run.deployment.created_by) == caller);
    let of_venture = selection.venture.is_none() || selection.venture == run.deployment.venture;
    by_caller && of_venture
}

fn grouped(runs: &[Run], by: By, window: Duration, watched: &[Watched]) -> Vec<GroupFigures> {
    let mut groups: BTreeMap<Group, Vec<Run>> = BTreeMap::new();
    for run in runs {
        let deployment = &run.deployment;
        let group = Group {
            service: by.service.then(|| deployment.service.clone()),
            environment: by.environment.then(|| deployment.environment.clone()),
            caller: by.caller.then(|| Asker::of(&deployment.created_by)),
        };
        groups.entry(group).or_default().push(run.clone());
    }
    let is_in = |place: &Watched, group: &Group| {
        let service = group.service.as_ref().is_none_or(|service| *service == place.service);
        service && group.environment.as_ref().is_none_or(|environment| *environment == place.environment)
    };
    let of = |(group, runs): (Group, Vec<Run>)| {
        let watched: Vec<Watched> = watched.iter().filter(|place| is_in(place, &group)).cloned().collect();
        GroupFigures { figures: figures(&runs, window, &watched), group }
    };
    groups.into_iter().map(of).collect()
}
