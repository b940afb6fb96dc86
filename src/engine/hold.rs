//! Holds a deployment between two steps. Anybody may hold; an agent lifts its own hold and no other, a person lifts any but the
//! server's: what that asks is answered by a signature.

use super::{Engine, run::Run, steps::StepFailure};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, CallerKind, Deployment, DeploymentId, DeploymentState, Step, StepState},
};
use serde_json::json;
use tracing::info;

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
        // It asks because it could not judge: that is answered by a signature, and by nothing else.
        if deployment.held_by == Some(Caller::server().principal) && by.kind != CallerKind::Server {
            return Err(Error::new(Code::DeniedByPolicy, format!("`{id}` is held by the server, which asks a person"))
                .who(crate::model::Who::Person)
                .hint(super::stuck::hint(id)));
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

impl Run {
    /// Holds the deployment as the server, before a step that could not be judged, and asks a person.
    pub(super) async fn ask_a_person(&self, step: &Step, failure: StepFailure) -> Result<()> {
        info!(deployment.id = %self.id, "`{}` asks a person: {}", self.id, failure.message);
        self.hold_as_server().await?;
        let output = json!({ "error": { "code": failure.code, "message": failure.message, "details": failure.details } });
        self.write(step, &[StepState::Executing], StepState::Pending, Some(&output)).await
    }

    /// Takes the hold over: whoever held it until now, it is no longer theirs to let it go on. Nothing more where it is settled or going back.
    pub(super) async fn hold_as_server(&self) -> Result<()> {
        let by = Caller::server();
        loop {
            let deployment = self.deployment().await?;
            let holder = deployment.held_by;
            let is_over = deployment.state.is_settled() || deployment.state == DeploymentState::RollingBack;
            let is_held = holder.as_ref() == Some(&by.principal);
            if is_over || is_held || self.engine.store.set_hold(&by, &self.id, holder.as_deref(), Some(&by.principal)).await? {
                return Ok(());
            }
        }
    }
}
