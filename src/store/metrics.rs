//! What the metrics are computed from: the deployments that settled in a window, what fired in them, what they cost, what people chose.

use super::{
    Result, Store,
    query::{Read, sql},
};
use crate::model::*;
use sqlx::any::AnyRow;

/// Which deployments are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsScope {
    /// Settled at this instant or later.
    pub from: Timestamp,
    /// Settled before this instant.
    pub to: Timestamp,
    /// Of this service only.
    pub service: Option<ServiceName>,
    /// Of this environment only.
    pub environment: Option<EnvironmentName>,
}

/// A deployment that has settled, with what its directive knows and what took it back later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledDeployment {
    /// The deployment.
    pub id: DeploymentId,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The principal that asked for it.
    pub created_by: String,
    /// `succeeded`, `rolled_back` or `stuck`.
    pub state: DeploymentState,
    /// What it takes back, where it is a way back itself.
    pub rollback_of: Option<DeploymentId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When traffic first moved to it.
    pub shifted_at: Option<Timestamp>,
    /// When traffic was back where it came from.
    pub unshifted_at: Option<Timestamp>,
    /// When it settled.
    pub settled_at: Timestamp,
    /// When it was first asked to turn back.
    pub undo_requested_at: Option<Timestamp>,
    /// The principal that asked for that; the server where a trigger fired.
    pub undo_requested_by: Option<String>,
    /// What took it back after it had succeeded; itself where it was withdrawn, because nothing served before it.
    pub rolled_back_by: Option<DeploymentId>,
    /// When traffic had left it by that way back.
    pub taken_back_at: Option<Timestamp>,
    /// Its directive.
    pub directive: DirectiveId,
    /// Whether every exit gate of its directive held (DEPLOY-004).
    pub directive_completed: bool,
    /// Whether its directive mends a failure.
    pub mends: bool,
    /// The venture it belongs to.
    pub venture: Option<String>,
    /// When its commit was made, if known.
    pub committed_at: Option<Timestamp>,
    /// What was measured of it last, of the kind that is asked for.
    pub measured: Option<serde_json::Value>,
}

/// The deployments of a scope, and what else is known of them. Each query sees the same window. With CROSS JOIN, SQLite goes from the
/// window to what hangs on it, and not the other way through all there is.
macro_rules! of_scope {
    ($selected:literal, $order:literal) => {
        concat!(
            $selected,
            " WHERE d.settled_at >= $1 AND d.settled_at < $2 AND ($3 IS NULL OR d.service = $3) AND ($4 IS NULL OR d.environment = $4) ",
            $order
        )
    };
}

impl Store {
    /// Returns the deployments that settled in a window, ways back among them, oldest first, each with the last reading of this kind.
    pub async fn settled_deployments(&self, scope: &MetricsScope, kind: &str) -> Result<Vec<SettledDeployment>> {
        // What was withdrawn names itself as what took it back: when its traffic left is not recorded. Asked for by its key: joined,
        // PostgreSQL reads all that have succeeded for it, as long as it does not know how many they are.
        let text = of_scope!(
            "SELECT d.id, d.service, d.environment, d.created_by, d.state, d.rollback_of, d.created_at, d.shifted_at, d.unshifted_at,
                 d.settled_at, d.undo_requested_at, d.undo_requested_by, d.rolled_back_by, d.directive_id,
                 s.status, s.follow_depth, s.venture_id, s.committed_at,
                 (SELECT body FROM measurements WHERE deployment_id = d.id AND kind = $5 ORDER BY number DESC LIMIT 1) AS measured,
                 (SELECT shifted_at FROM deployments WHERE id = d.rolled_back_by AND id <> d.id AND state = 'succeeded') AS taken_back_at
             FROM deployments d JOIN strategic_directives_v2 s ON s.id = d.directive_id",
            "ORDER BY d.number"
        );
        Self::bound(text, scope).bind(kind).all(self.pool()).await?.iter().map(settled_of).collect()
    }

    /// Returns the instant from which on at most so many deployments of the window settled; none where there are no more than these in it.
    pub async fn settled_most(&self, scope: &MetricsScope, most: u32) -> Result<Option<Timestamp>> {
        let text = of_scope!("SELECT d.settled_at FROM deployments d", "ORDER BY d.settled_at DESC LIMIT 1 OFFSET $5");
        let last: Option<Timestamp> = Self::bound(text, scope).bind(most).value(self.pool(), "settled_at").await?;
        Ok(last.map(|last| Timestamp(last.0 + 1)))
    }

    /// Returns each trigger that fired in those deployments, by its rule, oldest first.
    pub async fn fired_triggers(&self, scope: &MetricsScope) -> Result<Vec<(DeploymentId, String)>> {
        let text = of_scope!(
            "SELECT i.deployment_id, i.rule FROM deployments d CROSS JOIN incidents i",
            "AND i.deployment_id = d.id ORDER BY i.number"
        );
        self.in_scope(text, scope).await?.iter().map(|row| Ok((row.read("deployment_id")?, row.read("rule")?))).collect()
    }

    /// Returns the readings of one kind in the newest so many deployments of a place.
    pub async fn measured_lately(
        &self,
        service: &ServiceName,
        environment: &EnvironmentName,
        kind: &str,
        most: u32,
    ) -> Result<Vec<(DeploymentId, serde_json::Value)>> {
        let query = sql("SELECT m.deployment_id, m.body FROM
                             (SELECT id FROM deployments WHERE service = $1 AND environment = $2 ORDER BY number DESC LIMIT $3) d
                             CROSS JOIN measurements m WHERE m.deployment_id = d.id AND m.kind = $4 ORDER BY m.number");
        let rows = query.bind(service).bind(environment).bind(most).bind(kind).all(self.pool()).await?;
        rows.iter().map(|row| Ok((row.read("deployment_id")?, row.read("body")?))).collect()
    }

    /// Returns those of the deployments in which a person had to choose how a step counts.
    pub async fn decided_by_people(&self, scope: &MetricsScope) -> Result<Vec<DeploymentId>> {
        let text = of_scope!(
            "SELECT DISTINCT j.deployment_id FROM deployments d CROSS JOIN deployment_steps j",
            "AND j.deployment_id = d.id AND j.output LIKE '%\"decided\":{%' ORDER BY j.deployment_id"
        );
        self.in_scope(text, scope).await?.iter().map(|row| row.read("deployment_id")).collect()
    }

    async fn in_scope(&self, text: &'static str, scope: &MetricsScope) -> Result<Vec<AnyRow>> {
        Self::bound(text, scope).all(self.pool()).await
    }

    fn bound(text: &'static str, scope: &MetricsScope) -> super::query::Sql {
        sql(text).bind(scope.from).bind(scope.to).bind(scope.service.as_ref()).bind(scope.environment.as_ref())
    }
}

fn settled_of(row: &AnyRow) -> Result<SettledDeployment> {
    let status: DirectiveState = row.read("status")?;
    Ok(SettledDeployment {
        id: row.read("id")?,
        service: row.read("service")?,
        environment: row.read("environment")?,
        created_by: row.read("created_by")?,
        state: row.read("state")?,
        rollback_of: row.read("rollback_of")?,
        created_at: row.read("created_at")?,
        shifted_at: row.read("shifted_at")?,
        unshifted_at: row.read("unshifted_at")?,
        settled_at: row.read("settled_at")?,
        undo_requested_at: row.read("undo_requested_at")?,
        undo_requested_by: row.read("undo_requested_by")?,
        rolled_back_by: row.read("rolled_back_by")?,
        taken_back_at: row.read("taken_back_at")?,
        directive: row.read("directive_id")?,
        directive_completed: status == DirectiveState::Completed,
        mends: row.read::<i64>("follow_depth")? > 0,
        venture: row.read("venture_id")?,
        committed_at: row.read("committed_at")?,
        measured: row.read("measured")?,
    })
}
