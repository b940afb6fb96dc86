//! What stands, each by one reading: what nearly every call begins with.

use super::{
    Result, Store,
    directives::directive_of,
    query::{Column, Read, sql},
};
use crate::model::*;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A directive, which configuration counts where it goes, and how much hangs on it: what there is nothing of is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The directive.
    pub directive: Directive,
    /// Which configuration counts in its environment.
    pub revisions: Revisions,
    /// How many jobs of the kind that was asked for work for it now.
    pub jobs: u64,
    /// How many plans were made for it.
    pub plans: u64,
    /// How many files it has left.
    pub artifacts: u64,
    /// How many versions of a runbook were drafted for it.
    pub runbooks: u64,
    /// How many facts of it people have decided.
    pub facts: u64,
    /// How many freezes stand, of any environment.
    pub freezes: u64,
}

/// Which configuration counts in an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revisions {
    /// The revision in force.
    pub in_force: Option<i64>,
    /// The one that waits for an approver.
    pub pending: Option<i64>,
}

/// Which configuration counts anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The newest revision, in force or not.
    pub newest: i64,
    /// Every environment a revision is in force or pending in, with the one in force.
    pub environments: BTreeMap<EnvironmentName, Option<i64>>,
}

/// What stands anywhere, each kind the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Which configuration counts; none before the first.
    pub configuration: Option<Configuration>,
    /// How many freezes stand, of any environment.
    pub freezes: u64,
    /// Directives that are open, and drafts that wait for a release.
    pub directives: Vec<InPlace<DirectiveId, DirectiveState>>,
    /// Deployments that occupy their environments: those that are to go on by themselves, and those that are stuck.
    pub under_way: Vec<InPlace<DeploymentId, DeploymentState>>,
    /// Deployments that brought what serves.
    pub serving: Vec<InPlace<DeploymentId, DeploymentState>>,
}

/// Something that stands in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace<Id, State> {
    /// Its id.
    pub id: Id,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The version it brings or has brought.
    pub version: String,
    /// Where it stands.
    pub state: State,
}

/// The freezes that were not lifted and have not ended by the calendar at `$1`.
macro_rules! freezes {
    () => {
        "FROM freezes WHERE lifted_at IS NULL AND (ends_at IS NULL OR ends_at > $1)"
    };
}

/// The newest revision, and where which is in force, in the columns of what stands; revisions are counted from 1.
macro_rules! configuration {
    () => {
        "SELECT 'revision' AS what, '' AS id, COALESCE(MAX(revision), 0) AS number, '' AS service, '' AS environment, '' AS version, '' AS state
         FROM config_revisions
         UNION ALL
         SELECT 'environment', '', COALESCE(in_force, 0), '', environment, '', '' FROM config_environments"
    };
}

impl Store {
    /// Returns a directive beside what counts for it; its jobs are counted of this kind.
    pub async fn survey(&self, directive: &DirectiveId, jobs: &str, now: Timestamp) -> Result<Option<Survey>> {
        let row = sql(concat!(
            "SELECT directive.*, in_force, pending, (SELECT COUNT(*) ",
            freezes!(),
            ") AS freezes, (SELECT COUNT(*) FROM jobs WHERE directive_id = directive.id AND kind = $3 AND state = 'running') AS jobs,
               (SELECT COUNT(*) FROM plans WHERE directive_id = directive.id) AS plans,
               (SELECT COUNT(*) FROM artifacts WHERE directive_id = directive.id) AS artifacts,
               (SELECT COUNT(*) FROM runbook_versions WHERE directive_id = directive.id) AS runbooks,
               (SELECT COUNT(*) FROM decisions WHERE directive_id = directive.id AND fact IS NOT NULL) AS facts
             FROM strategic_directives_v2 AS directive
             LEFT JOIN config_environments ON config_environments.environment = directive.environment
             WHERE directive.id = $2"
        ))
        .bind(now)
        .bind(directive)
        .bind(jobs)
        .one(self.pool())
        .await?;
        row.as_ref().map(survey_of).transpose()
    }

    /// Returns which configuration counts in an environment.
    pub async fn revisions_in(&self, environment: &EnvironmentName) -> Result<Revisions> {
        let query = sql("SELECT in_force, pending FROM config_environments WHERE environment = $1").bind(environment);
        let row = query.one(self.pool()).await?;
        Ok(row.as_ref().map(revisions_of).transpose()?.unwrap_or_default())
    }

    /// Returns which configuration counts anywhere; none before the first.
    pub async fn configuration(&self) -> Result<Option<Configuration>> {
        Ok(standing_of(&sql(configuration!()).all(self.pool()).await?)?.configuration)
    }

    /// Returns what stands anywhere.
    pub async fn standing(&self, now: Timestamp) -> Result<Standing> {
        let rows = sql(concat!(
            configuration!(),
            " UNION ALL
             SELECT 'freezes', '', COUNT(*), '', '', '', '' ",
            freezes!(),
            " UNION ALL
             SELECT 'directive', id, number, service, environment, release_version, status
             FROM strategic_directives_v2 WHERE status IN ('active', 'in_progress', 'draft')
             UNION ALL
             SELECT 'under_way', id, number, service, environment, version, state
             FROM deployments WHERE ",
            occupies!(),
            " UNION ALL
             SELECT 'serves', id, number, deployments.service, deployments.environment, version, state
             FROM serving JOIN deployments ON deployments.id = serving.deployment_id
             ORDER BY number DESC"
        ))
        .bind(now)
        .all(self.pool())
        .await?;
        standing_of(&rows)
    }
}

fn standing_of(rows: &[AnyRow]) -> Result<Standing> {
    let (mut standing, mut newest, mut environments) = (Standing::default(), 0, BTreeMap::new());
    for row in rows {
        match row.read::<String>("what")?.as_str() {
            "revision" => newest = row.read("number")?,
            "environment" => {
                let in_force = row.read("number")?;
                environments.insert(row.read("environment")?, (in_force > 0).then_some(in_force));
            }
            "freezes" => standing.freezes = row.read("number")?,
            "directive" => standing.directives.push(in_place_of(row)?),
            "under_way" => standing.under_way.push(in_place_of(row)?),
            _ => standing.serving.push(in_place_of(row)?),
        }
    }
    standing.configuration = (newest > 0).then_some(Configuration { newest, environments });
    Ok(standing)
}

fn survey_of(row: &AnyRow) -> Result<Survey> {
    Ok(Survey {
        directive: directive_of(row)?,
        revisions: revisions_of(row)?,
        jobs: row.read("jobs")?,
        plans: row.read("plans")?,
        artifacts: row.read("artifacts")?,
        runbooks: row.read("runbooks")?,
        facts: row.read("facts")?,
        freezes: row.read("freezes")?,
    })
}

fn revisions_of(row: &AnyRow) -> Result<Revisions> {
    Ok(Revisions { in_force: row.read("in_force")?, pending: row.read("pending")? })
}

fn in_place_of<Id: Column, State: Column>(row: &AnyRow) -> Result<InPlace<Id, State>> {
    Ok(InPlace {
        id: row.read("id")?,
        service: row.read("service")?,
        environment: row.read("environment")?,
        version: row.read("version")?,
        state: row.read("state")?,
    })
}
