//! Deployments: the claim, which is the one door into an environment, and reading them back.

use super::{
    Result, Store, Write,
    connections::On,
    leases, plans,
    query::{Read, sql},
    stages,
};
use crate::model::*;
use anyhow::Context;
use serde_json::json;
use sqlx::any::AnyRow;

/// What came of trying to start a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The deployment is accepted, and the environment is its own.
    New {
        /// The deployment, queued.
        deployment: Box<Deployment>,
        /// The right to change the environment.
        lease: Lease,
    },
    /// This plan is used already: this is its deployment.
    Existing(Box<Deployment>),
    /// Another deployment of this environment is not settled, or is stuck.
    Busy(Box<Deployment>),
    /// The plan may not be executed as it stands; an approval that has run out reads `expired`.
    PlanNotReady(PlanState),
    /// There is no such plan.
    NoPlan,
}

/// Which deployments are asked for.
#[derive(Debug, Clone, Default)]
pub struct DeploymentFilter {
    /// Of this service only.
    pub service: Option<ServiceName>,
    /// Of this environment only.
    pub environment: Option<EnvironmentName>,
    /// Of this directive only.
    pub directive: Option<DirectiveId>,
    /// In this state only.
    pub state: Option<DeploymentState>,
    /// Only those accepted before this cursor.
    pub before: Option<i64>,
    /// At most so many; 0 stands for 20.
    pub limit: u32,
}

impl Store {
    /// Starts a plan: the plan is used, the environment's epoch raised, the deployment queued and its journal written, all or
    /// nothing. Of any number of callers at once, exactly one gets `New`.
    pub async fn claim_deployment(&self, by: &Caller, plan: &PlanId, holder: &str) -> Result<Claim> {
        let mut write = self.write().await?;
        let used = sql("SELECT * FROM deployments WHERE plan_id = $1").bind(plan).one(write.on()).await?;
        if let Some(row) = used {
            return Ok(Claim::Existing(Box::new(deployment_of(&row)?)));
        }
        let Some(record) = plans::load(write.on(), plan).await? else { return Ok(Claim::NoPlan) };
        let busy = sql(concat!("SELECT * FROM deployments WHERE environment = $1 AND ", occupies!()))
            .bind(&record.plan.environment)
            .one(write.on())
            .await?;
        if let Some(row) = busy {
            return Ok(Claim::Busy(Box::new(deployment_of(&row)?)));
        }
        match record.state {
            PlanState::Approved if record.approval_expires_at.is_some_and(|expires_at| expires_at <= write.at) => {
                return Ok(Claim::PlanNotReady(PlanState::Expired));
            }
            PlanState::Approved | PlanState::Planned => {}
            other => return Ok(Claim::PlanNotReady(other)),
        }
        plans::shift(&mut write, plan, &[PlanState::Approved, PlanState::Planned], PlanState::Used, None).await?;
        let lease = leases::raise(&mut write, &record.plan.environment, holder).await?;
        let deployment = insert(&mut write, by, &record.plan, lease.epoch).await?;
        if deployment.purpose == Purpose::Deploy {
            stages::note_progress(&mut write, &deployment.directive, true).await?;
        }
        let detail = json!({ "plan": plan, "environment": lease.environment, "epoch": lease.epoch, "holder": holder });
        write.commit(by, "claim_deployment", &deployment.id, detail).await?;
        Ok(Claim::New { deployment: Box::new(deployment), lease })
    }

    /// Returns a deployment.
    pub async fn deployment(&self, id: &DeploymentId) -> Result<Option<Deployment>> {
        load(self.pool(), id).await
    }

    /// Returns the deployments asked for, newest first, and the cursor of the next page, if there is one.
    pub async fn deployments(&self, filter: &DeploymentFilter) -> Result<(Vec<Deployment>, Option<i64>)> {
        let limit = if filter.limit == 0 { 20 } else { i64::from(filter.limit) };
        let rows = sql(page_of(filter))
            .bind(filter.service.as_ref())
            .bind(filter.environment.as_ref())
            .bind(filter.state)
            .bind(filter.directive.as_ref())
            .bind(filter.before.unwrap_or(i64::MAX))
            .bind(limit + 1)
            .all(self.pool())
            .await?;
        let page = &rows[..rows.len().min(limit as usize)];
        let next = match page.last() {
            Some(last) if rows.len() > page.len() => Some(last.read("number")?),
            _ => None,
        };
        Ok((page.iter().map(deployment_of).collect::<Result<_>>()?, next))
    }

    /// Returns the deployments that are to go on by themselves, oldest first.
    pub async fn unsettled(&self) -> Result<Vec<Deployment>> {
        let rows =
            sql("SELECT * FROM deployments WHERE state IN ('queued', 'running', 'paused', 'verifying', 'rolling_back') ORDER BY number")
                .all(self.pool())
                .await?;
        rows.iter().map(deployment_of).collect()
    }

    /// Returns the deployments that occupy their environments, oldest first: those that are to go on by themselves, and those that are stuck.
    pub async fn occupying(&self) -> Result<Vec<Deployment>> {
        let rows = sql(concat!("SELECT * FROM deployments WHERE ", occupies!(), " ORDER BY number")).all(self.pool()).await?;
        rows.iter().map(deployment_of).collect()
    }

    /// Returns the newest rollback of a deployment.
    pub async fn rollback_of(&self, id: &DeploymentId) -> Result<Option<Deployment>> {
        let row = sql("SELECT * FROM deployments WHERE rollback_of = $1 ORDER BY number DESC LIMIT 1").bind(id).one(self.pool()).await?;
        row.as_ref().map(deployment_of).transpose()
    }

    /// Returns the newest deployment that brought a release, rollbacks apart.
    pub async fn latest_forward(&self, service: &ServiceName, environment: &EnvironmentName) -> Result<Option<Deployment>> {
        let row =
            sql("SELECT * FROM deployments WHERE service = $1 AND environment = $2 AND rollback_of IS NULL ORDER BY number DESC LIMIT 1")
                .bind(service)
                .bind(environment)
                .one(self.pool())
                .await?;
        row.as_ref().map(deployment_of).transpose()
    }

    /// Returns the newest deployment that brought this release to an environment with success and was not rolled back since.
    pub async fn succeeded_with(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        digest: &Sha256,
    ) -> Result<Option<Deployment>> {
        let row = sql("SELECT * FROM deployments WHERE environment = $1 AND service = $2 AND digest = $3 AND state = 'succeeded'
                       AND rollback_of IS NULL AND rolled_back_by IS NULL ORDER BY number DESC LIMIT 1")
        .bind(environment)
        .bind(service)
        .bind(digest)
        .one(self.pool())
        .await?;
        row.as_ref().map(deployment_of).transpose()
    }
}

/// A page of deployments. SQLite finds nothing by "absent or equal", so what narrows most is said once more, by itself.
macro_rules! page {
    ($narrowed:literal) => {
        concat!(
            "SELECT * FROM deployments WHERE ",
            $narrowed,
            "($1 IS NULL OR service = $1) AND ($2 IS NULL OR environment = $2)
             AND ($3 IS NULL OR state = $3) AND ($4 IS NULL OR directive_id = $4) AND number < $5
             ORDER BY number DESC LIMIT $6"
        )
    };
}

fn page_of(filter: &DeploymentFilter) -> &'static str {
    match filter {
        DeploymentFilter { directive: Some(_), .. } => page!("directive_id = $4 AND "),
        DeploymentFilter { service: Some(_), environment: Some(_), .. } => page!("service = $1 AND environment = $2 AND "),
        DeploymentFilter { state: Some(_), .. } => page!("state = $3 AND "),
        DeploymentFilter { environment: Some(_), .. } => page!("environment = $2 AND "),
        DeploymentFilter { service: Some(_), .. } => page!("service = $1 AND "),
        _ => page!(""),
    }
}

async fn insert(write: &mut Write, by: &Caller, plan: &Plan, epoch: Epoch) -> Result<Deployment> {
    let number: i64 = sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM deployments").value(write.on(), "number").await?.unwrap_or(1);
    let id = DeploymentId(format!("dep_{number}"));
    let at = write.at;
    let rollback_of = match &plan.purpose {
        Purpose::Deploy => None,
        Purpose::Rollback { of } => Some(of),
    };
    sql("INSERT INTO deployments (id, number, plan_id, directive_id, service, environment, rollback_of, version, digest, base, state, epoch,
             created_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'queued', $11, $12, $13, $13)")
    .bind(&id)
    .bind(number)
    .bind(&plan.id())
    .bind(&plan.directive)
    .bind(&plan.service)
    .bind(&plan.environment)
    .bind(rollback_of)
    .bind(&plan.version)
    .bind(&plan.digest)
    .bind(plan.base.as_ref().map(|base| &base.deployment))
    .bind(epoch)
    .bind(&by.principal)
    .bind(at)
    .run(write.on())
    .await?;
    for (ordinal, step) in plan.steps.iter().enumerate() {
        sql("INSERT INTO deployment_steps (deployment_id, ordinal, step, state) VALUES ($1, $2, $3, 'pending')")
            .bind(&id)
            .bind(ordinal)
            .bind(&step.id)
            .run(write.on())
            .await?;
    }
    Ok(load(write.on(), &id).await?.context("reading back the deployment")?)
}

async fn load(on: impl Into<On<'_>>, id: &DeploymentId) -> Result<Option<Deployment>> {
    let row = sql("SELECT * FROM deployments WHERE id = $1").bind(id).one(on).await?;
    row.as_ref().map(deployment_of).transpose()
}

pub(super) fn deployment_of(row: &AnyRow) -> Result<Deployment> {
    Ok(Deployment {
        id: row.read("id")?,
        plan: row.read("plan_id")?,
        directive: row.read("directive_id")?,
        service: row.read("service")?,
        environment: row.read("environment")?,
        purpose: row.read::<Option<DeploymentId>>("rollback_of")?.map_or(Purpose::Deploy, |of| Purpose::Rollback { of }),
        version: row.read("version")?,
        digest: row.read("digest")?,
        base: row.read("base")?,
        state: row.read("state")?,
        epoch: row.read("epoch")?,
        held_by: row.read("held_by")?,
        undo_reason: row.read("undo_reason")?,
        failure_code: row.read("failure_code")?,
        rolled_back_by: row.read("rolled_back_by")?,
        created_by: row.read("created_by")?,
        created_at: row.read("created_at")?,
        shifted_at: row.read("shifted_at")?,
        unshifted_at: row.read("unshifted_at")?,
        settled_at: row.read("settled_at")?,
        updated_at: row.read("updated_at")?,
    })
}
