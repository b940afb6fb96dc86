//! How a deployment moves: one fenced update each; nothing moved means that somebody else won.

use super::{
    Result, Store, Write,
    deployments::deployment_of,
    directives,
    query::{Read, sql},
    stages,
};
use crate::model::*;
use serde_json::json;

/// What changes with a deployment's state; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct DeploymentChange {
    /// Why it goes back.
    pub undo_reason: Option<String>,
    /// The code of what failed.
    pub failure_code: Option<String>,
    /// `Some(None)` clears the hold.
    pub held_by: Option<Option<String>>,
}

/// Where traffic moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficMove {
    /// To the new set.
    To,
    /// Back to what served before.
    Back,
}

/// Somebody wants a deployment undone; the worker sees it between and during steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoRequest {
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// The code the deployment will carry.
    pub code: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Moves a deployment by an event; `None` when it is no longer in `from`, the event cannot happen there, or `epoch` is no
    /// longer the lease's. Settling sets `settled_at`; one that went back leaves its directive open again, as `active`.
    pub async fn transition(
        &self,
        by: &Caller,
        id: &DeploymentId,
        epoch: Epoch,
        from: DeploymentState,
        event: Event,
        change: DeploymentChange,
    ) -> Result<Option<Deployment>> {
        let Some(to) = from.after(event) else { return Ok(None) };
        let mut write = self.write().await?;
        let at = write.at;
        let row =
            sql("UPDATE deployments SET state = $1, undo_reason = COALESCE($2, undo_reason), failure_code = COALESCE($3, failure_code),
                           held_by = CASE WHEN $4 = 1 THEN $5 ELSE held_by END, settled_at = $6,
                           resolved_at = CASE WHEN $6 IS NULL THEN resolved_at ELSE NULL END,
                           updated_at = CASE WHEN updated_at < $7 THEN $7 ELSE updated_at + 1 END
                       WHERE id = $8 AND state = $9 AND epoch = $10
                           AND epoch = (SELECT leases.epoch FROM leases WHERE leases.environment = deployments.environment) RETURNING *")
            .bind(to)
            .bind(change.undo_reason.as_deref())
            .bind(change.failure_code.as_deref())
            .bind(change.held_by.is_some())
            .bind(change.held_by.flatten())
            .bind(to.is_settled().then_some(at))
            .bind(at)
            .bind(id)
            .bind(from)
            .bind(epoch)
            .one(write.on())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let deployment = deployment_of(&row)?;
        // In the same transaction: after a crash the record never says that what was taken back still stands.
        let reopened = match (to, &deployment.purpose) {
            (DeploymentState::Succeeded, Purpose::Rollback { of }) => {
                sql("UPDATE deployments SET rolled_back_by = $1 WHERE id = $2 AND rolled_back_by IS NULL")
                    .bind(id)
                    .bind(of)
                    .run(write.on())
                    .await?;
                directives::reopen(&mut write, &deployment.directive, &format!("{of} was taken back by {id}")).await?
            }
            (DeploymentState::RolledBack, Purpose::Deploy) => {
                let reason = deployment.undo_reason.as_deref().unwrap_or("no reason was given");
                directives::reopen(&mut write, &deployment.directive, &format!("{id} went back: {reason}")).await?
            }
            _ => false,
        };
        if let Some(goes_on) = stage_goes_on(&deployment) {
            stages::note_progress(&mut write, &deployment.directive, goes_on).await?;
        }
        let detail = json!({
            "from": from, "event": event, "to": to, "epoch": epoch, "reason": change.undo_reason, "code": change.failure_code,
            "reopened": reopened.then_some(&deployment.directive),
        });
        write.commit(by, "transition", id, detail).await?;
        Ok(Some(deployment))
    }

    /// Notes the instant traffic moved to a deployment, or back; `false` when `epoch` is no longer the lease's. The first note stays.
    pub async fn note_traffic(&self, by: &Caller, id: &DeploymentId, epoch: Epoch, moved: TrafficMove) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let (shifted_at, unshifted_at) = match moved {
            TrafficMove::To => (Some(at), None),
            TrafficMove::Back => (None, Some(at)),
        };
        let noted = sql("UPDATE deployments SET shifted_at = COALESCE(shifted_at, $1), unshifted_at = COALESCE(unshifted_at, $2),
                             updated_at = CASE WHEN updated_at < $3 THEN $3 ELSE updated_at + 1 END
                         WHERE id = $4 AND epoch = $5
                             AND epoch = (SELECT leases.epoch FROM leases WHERE leases.environment = deployments.environment)")
        .bind(shifted_at)
        .bind(unshifted_at)
        .bind(at)
        .bind(id)
        .bind(epoch)
        .run(write.on())
        .await?;
        write.commit_moved(noted, by, "note_traffic", id, json!({ "moved": moved, "epoch": epoch })).await
    }

    /// Hands a deployment to the lease that was taken over; `false` when that lease is not the newest, or the deployment is settled.
    pub async fn set_epoch(&self, by: &Caller, id: &DeploymentId, epoch: Epoch) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE deployments SET epoch = $1, updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                         WHERE id = $3 AND epoch <= $1 AND settled_at IS NULL
                             AND $1 = (SELECT leases.epoch FROM leases WHERE leases.environment = deployments.environment)")
        .bind(epoch)
        .bind(at)
        .bind(id)
        .run(write.on())
        .await?;
        write.commit_moved(moved, by, "set_epoch", id, json!({ "epoch": epoch })).await
    }

    /// Holds a deployment, or lifts the hold; `false` when `from` is not who holds it, or it is settled or on its way back. Who may is
    /// decided above.
    pub async fn set_hold(&self, by: &Caller, id: &DeploymentId, from: Option<&str>, held_by: Option<&str>) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE deployments SET held_by = $1, updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                         WHERE id = $3 AND settled_at IS NULL AND state <> 'rolling_back' AND COALESCE(held_by, '') = $4")
        .bind(held_by)
        .bind(at)
        .bind(id)
        .bind(from.unwrap_or_default())
        .run(write.on())
        .await?;
        write.commit_moved(moved, by, "set_hold", id, json!({ "from": from, "held_by": held_by })).await
    }

    /// Asks for a running deployment to be undone; only the first request counts.
    pub async fn request_undo(&self, by: &Caller, id: &DeploymentId, reason: &str, code: &str) -> Result<bool> {
        let mut write = self.write().await?;
        let moved = ask_undo(&mut write, id, &by.principal, reason, code).await?;
        write.commit_moved(moved, by, "request_undo", id, json!({ "reason": reason, "code": code })).await
    }

    /// Returns who wants a deployment undone, if anybody does.
    pub async fn undo_request(&self, id: &DeploymentId) -> Result<Option<UndoRequest>> {
        let row = sql("SELECT * FROM deployments WHERE id = $1 AND undo_requested_at IS NOT NULL").bind(id).one(self.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(UndoRequest {
            by: row.read("undo_requested_by")?,
            reason: row.read("undo_requested_reason")?,
            code: row.read("undo_requested_code")?,
            at: row.read("undo_requested_at")?,
        }))
    }

    /// Notes which rollback undid a deployment that had succeeded; `false` when one did already. Its directive is open again.
    pub async fn mark_rolled_back(&self, by: &Caller, id: &DeploymentId, by_deployment: &DeploymentId) -> Result<bool> {
        let mut write = self.write().await?;
        let at = write.at;
        let row = sql("UPDATE deployments SET rolled_back_by = $1, updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                       WHERE id = $3 AND rolled_back_by IS NULL RETURNING *")
        .bind(by_deployment)
        .bind(at)
        .bind(id)
        .one(write.on())
        .await?;
        let Some(row) = row else { return Ok(false) };
        let directive = deployment_of(&row)?.directive;
        let reopened = directives::reopen(&mut write, &directive, &format!("{id} was taken back")).await?;
        stages::note_progress(&mut write, &directive, false).await?;
        let detail = json!({ "rolled_back_by": by_deployment, "reopened": reopened.then_some(directive) });
        write.commit(by, "mark_rolled_back", id, detail).await?;
        Ok(true)
    }
}

/// Tells whether the stage's work goes on where a deployment stands so; none where it says nothing about it.
fn stage_goes_on(deployment: &Deployment) -> Option<bool> {
    use DeploymentState::*;
    match (&deployment.purpose, deployment.state) {
        (Purpose::Deploy, Running | Verifying | Succeeded) => Some(true),
        (Purpose::Deploy, Paused | RollingBack | RolledBack | Stuck) => Some(false),
        // What it has brought was taken back.
        (Purpose::Rollback { .. }, Succeeded) => Some(false),
        _ => None,
    }
}

/// What a person has chosen for a deployment that is stuck or asks, as it changes the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Where it stood then: stuck, or paused by the server.
    pub from: DeploymentState,
    /// Its `updated_at` when the person saw it: whatever changes afterwards voids the choice.
    pub seen_at: Timestamp,
    /// Where it goes on.
    pub event: Event,
    /// The step that is unknown.
    pub step: StepId,
    /// As what it counts from now on.
    pub step_to: StepState,
    /// What was chosen.
    pub choice: Choice,
    /// Why.
    pub reason: String,
}

/// Lets a deployment go on as a person has chosen; `false` when it does not stand as it was seen.
pub(super) async fn resolve(write: &mut Write, resolution: &Resolution, approver: &ApproverName) -> Result<bool> {
    let moved = match resolution.from {
        DeploymentState::Paused => answer(write, resolution, approver).await?,
        _ => unstick(write, resolution).await?,
    };
    Ok(moved && mark(write, resolution, approver).await?)
}

/// Lifts the server's own hold, and asks for the way back where that was chosen.
async fn answer(write: &mut Write, resolution: &Resolution, approver: &ApproverName) -> Result<bool> {
    let at = write.at;
    let moved = sql("UPDATE deployments SET held_by = NULL,
                         undo_requested_at = CASE WHEN $1 = 1 AND undo_requested_at IS NULL THEN $2 ELSE undo_requested_at END,
                         undo_requested_by = CASE WHEN $1 = 1 AND undo_requested_at IS NULL THEN $3 ELSE undo_requested_by END,
                         undo_requested_reason = CASE WHEN $1 = 1 AND undo_requested_at IS NULL THEN $4 ELSE undo_requested_reason END,
                         undo_requested_code = CASE WHEN $1 = 1 AND undo_requested_at IS NULL THEN $5 ELSE undo_requested_code END,
                         updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                     WHERE id = $6 AND state = 'paused' AND held_by = $7 AND updated_at = $8")
    .bind(resolution.event == Event::Undo)
    .bind(at)
    .bind(approver)
    .bind(&resolution.reason)
    .bind("aborted")
    .bind(&resolution.deployment)
    .bind(Caller::server().principal)
    .bind(resolution.seen_at)
    .run(write.on())
    .await?;
    Ok(moved == 1)
}

async fn unstick(write: &mut Write, resolution: &Resolution) -> Result<bool> {
    let at = write.at;
    let Some(to) = DeploymentState::Stuck.after(resolution.event) else { return Ok(false) };
    let is_back = to == DeploymentState::RollingBack;
    // Forward again, the wish to go back is answered: it was seen, and decided against.
    let moved = sql("UPDATE deployments SET state = $1, settled_at = NULL, resolved_at = $2,
                         undo_reason = CASE WHEN $3 = 1 THEN COALESCE(undo_reason, $4) ELSE NULL END,
                         failure_code = CASE WHEN $3 = 1 THEN failure_code ELSE NULL END,
                         undo_requested_at = CASE WHEN $3 = 1 THEN undo_requested_at ELSE NULL END,
                         updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at + 1 END
                     WHERE id = $5 AND state = 'stuck' AND updated_at = $6")
    .bind(to)
    .bind(at)
    .bind(is_back)
    .bind(&resolution.reason)
    .bind(&resolution.deployment)
    .bind(resolution.seen_at)
    .run(write.on())
    .await?;
    Ok(moved == 1)
}

/// Notes in the journal what the step counts as, on whose word.
async fn mark(write: &mut Write, resolution: &Resolution, approver: &ApproverName) -> Result<bool> {
    let at = write.at;
    let seen = sql("SELECT output FROM deployment_steps WHERE deployment_id = $1 AND step = $2")
        .bind(&resolution.deployment)
        .bind(&resolution.step)
        .one(write.on())
        .await?;
    let Some(seen) = seen else { return Ok(false) };
    // What the step wrote stays: the watch reads from it.
    let mut output = match seen.read::<serde_json::Value>("output")? {
        serde_json::Value::Object(output) => output,
        _ => serde_json::Map::new(),
    };
    let decided = json!({ "choice": resolution.choice, "by": approver, "reason": resolution.reason, "at": at });
    output.insert("decided".to_owned(), decided);
    let ends = matches!(resolution.step_to, StepState::Done | StepState::Undone);
    let marked = sql("UPDATE deployment_steps SET state = $1, output = $2, ended_at = CASE WHEN $3 = 1 THEN $4 ELSE ended_at END
                      WHERE deployment_id = $5 AND step = $6")
    .bind(resolution.step_to)
    .bind(&serde_json::Value::Object(output))
    .bind(ends)
    .bind(at)
    .bind(&resolution.deployment)
    .bind(&resolution.step)
    .run(write.on())
    .await?;
    Ok(marked == 1)
}

/// Asks for a deployment to be undone; nothing moves when that was asked before, or it is settled or on its way back.
pub(super) async fn ask_undo(write: &mut Write, id: &DeploymentId, by: &str, reason: &str, code: &str) -> Result<u64> {
    let at = write.at;
    sql("UPDATE deployments SET undo_requested_at = $1, undo_requested_by = $2, undo_requested_reason = $3, undo_requested_code = $4,
                             updated_at = CASE WHEN updated_at < $1 THEN $1 ELSE updated_at + 1 END
                         WHERE id = $5 AND undo_requested_at IS NULL AND state IN ('queued', 'running', 'paused', 'verifying')")
    .bind(at)
    .bind(by)
    .bind(reason)
    .bind(code)
    .bind(id)
    .run(write.on())
    .await
}
