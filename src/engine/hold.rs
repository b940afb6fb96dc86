//! Holds a deployment between two steps. Anybody may hold; an agent lifts its own hold and no other, a person lifts any.

use super::Engine;
use crate::{
    error::{Code, Error, Result},
    model::{Caller, CallerKind, Deployment, DeploymentId, DeploymentState},
};

impl Engine {
    /// Holds a deployment, or lifts a hold: one's own, or as a person anybody's. A person's hold takes an agent's place.
    pub async fn hold(&self, by: &Caller, id: &DeploymentId, held: bool) -> Result<Deployment> {
        let deployment = self.deployment(id).await?;
        let refuse = |why: &str| Err(Error::new(Code::WrongState, format!("`{id}` {why}")));
        match deployment.state {
            DeploymentState::Stuck => return refuse("is stuck").map_err(|error| error.hint(super::stuck::hint(id))),
            DeploymentState::RollingBack => return refuse("is on its way back, which nothing holds"),
            state if state.is_settled() => return refuse(&format!("is {}", state.as_str())),
            _ => (),
        }
        let is_another = |holder: &String| *holder != by.principal;
        if let Some(holder) = deployment.held_by.as_ref().filter(|holder| is_another(holder))
            && by.kind != CallerKind::Operator
        {
            let command = format!("interlock hold-deployment {id} --held false");
            return Err(Error::new(Code::DeniedByPolicy, format!("`{id}` is held by `{holder}`"))
                .hint(format!("who holds it lifts it, or a person with `{command}`")));
        }
        let holder = held.then_some(by.principal.as_str());
        if deployment.held_by.as_deref() != holder && !self.store.set_hold(by, id, deployment.held_by.as_deref(), holder).await? {
            return Err(Error::new(Code::Conflict, format!("`{id}` has just changed")));
        }
        self.deployment(id).await
    }
}
