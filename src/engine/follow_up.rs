//! What a failed deployment leaves behind: a draft directive that carries it, which the next release for its place takes over. After three
//! failures in a row the next one freezes the environment until a person has looked.

use super::Engine;
use crate::{
    error::{Code, Result},
    model::{Caller, Deployment, DeploymentState, Purpose, text::visible_line},
    store::NewFreeze,
};
use serde_json::json;

/// How many follow-ups may fail in a row.
const DEEPEST: i64 = 3;
/// The measurement that says that a failure has been followed up.
const FOLLOWED_UP: &str = "followed_up";

impl Engine {
    /// Follows up a settled deployment. Safe to do twice.
    pub(super) async fn follow_up(&self, deployment: &Deployment) -> Result<()> {
        let by = Caller::server();
        if deployment.purpose != Purpose::Deploy {
            return Ok(());
        }
        let directive = self.directive(&deployment.directive).await?;
        if deployment.state == DeploymentState::Succeeded {
            self.store.close_follow_ups(&by, &directive).await?;
            return Ok(());
        }
        if !has_failed(deployment) || self.has_measured(deployment, FOLLOWED_UP).await? {
            return Ok(());
        }
        let reason = visible_line(deployment.undo_reason.as_deref().unwrap_or("no reason recorded"), 400);
        let title = format!("mend {} {} in {}", deployment.service, deployment.version, deployment.environment);
        let incidents = self.store.incidents(&deployment.id).await?;
        let incidents: Vec<String> = incidents.iter().map(|incident| format!("{} {}", incident.id, incident.rule)).collect();
        let carried = match incidents.is_empty() {
            true => format!("{}: {reason}", deployment.id),
            false => format!("{}: {reason} ({})", deployment.id, incidents.join(", ")),
        };
        let draft = self.store.open_follow_up(&by, &directive, &deployment.id, &title, &carried).await?;
        let frozen = draft.depth > DEEPEST;
        if frozen {
            let reason = format!("{} failed {} times in a row; the last was {}", deployment.service, draft.depth, deployment.id);
            let environment = Some(deployment.environment.clone());
            let now = self.clock.now();
            let frozen_already =
                self.store.active_freezes(&deployment.environment, now).await?.iter().any(|known| known.freeze.reason == reason);
            if !frozen_already {
                self.store.add_freeze(&by, NewFreeze { environment, reason, starts_at: None, ends_at: None, recurrence: None }).await?;
            }
        }
        let followed = json!({ "directive": draft.id, "depth": draft.depth, "frozen": frozen });
        self.store.add_measurement(&by, &deployment.id, FOLLOWED_UP, &followed).await?;
        Ok(())
    }
}

/// Tells whether the release is to blame: what somebody took back, or what never began, asks for nothing new.
fn has_failed(deployment: &Deployment) -> bool {
    let code = deployment.failure_code.as_deref();
    deployment.state == DeploymentState::RolledBack && code.is_some_and(|code| code != Code::Aborted.as_str())
}
