//! Holds a deployment between two steps. Anybody may hold; only who holds lifts it, or a person by a decision.

use super::Engine;
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Deployment, DeploymentId},
};

impl Engine {
    /// Holds a deployment, or lifts the caller's own hold.
    pub async fn hold(&self, by: &Caller, id: &DeploymentId, held: bool) -> Result<Deployment> {
        let deployment = self.deployment(id).await?;
        if deployment.state.is_settled() {
            return Err(Error::new(Code::WrongState, format!("`{id}` is {}", deployment.state.as_str())));
        }
        match (&deployment.held_by, held) {
            (Some(holder), _) if *holder != by.principal => {
                return Err(Error::new(Code::DeniedByPolicy, format!("`{id}` is held by `{holder}`")).hint("who holds it lifts it"));
            }
            (Some(_), true) | (None, false) => (),
            (None, true) => _ = self.store.set_hold(by, id, Some(&by.principal)).await?,
            (Some(_), false) => _ = self.store.set_hold(by, id, None).await?,
        }
        self.deployment(id).await
    }
}
