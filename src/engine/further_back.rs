//! Goes back further than to what served before: a person decides, and the record says how far that reaches.

use super::{Engine, data_plan::past_data, rollback::Earlier};
use crate::{
    config::ApprovalConfig,
    error::{Code, Error, Result},
    model::{DecisionKind, Deployment, DeploymentId, DeploymentState, EnvironmentName, Plan, Purpose, plan::RequiredApproval},
    store::DeploymentFilter,
};
use std::collections::BTreeSet;

/// What to try where traffic alone goes back no further.
pub const HINT: &str = "an approver goes further back with `interlock rollback --to DEPLOYMENT --reason TEXT`";

impl Engine {
    /// Returns the plan that brings the release of an earlier deployment back, for a person to sign.
    ///
    /// Refuses what never served well, what was taken back, what data has been changed past, and bytes that are not there any more.
    pub async fn further_back(&self, to: &DeploymentId) -> Result<Plan> {
        let to = self.deployment(to).await?;
        let (service, environment) = (&to.service, &to.environment);
        let Some(serving) = self.store.serving(service, environment).await? else {
            return Err(Error::new(Code::NothingToRollBack, format!("nothing serves `{service}` in `{environment}`"))
                .hint("open a directive for the release that is to serve"));
        };
        if serving.deployment == to.id {
            return Err(Error::new(Code::WrongState, format!("`{}` serves already", to.id)).hint("call `get_status` to see what serves"));
        }
        if matches!(to.purpose, Purpose::Rollback { .. }) {
            let message = format!("`{}` is itself a way back", to.id);
            return Err(Error::new(Code::WrongState, message).hint(format!("name the deployment that brought {}", to.version)));
        }
        if to.state != DeploymentState::Succeeded {
            let message = format!("`{}` is {}: only what was verified and served is gone back to", to.id, to.state.as_str());
            return Err(Error::new(Code::WrongState, message).hint("`interlock list-deployments` shows what succeeded"));
        }
        let of = self.deployment(&serving.deployment).await?;
        self.refuse_beyond(&of, &to).await?;
        if of.purpose == Purpose::Deploy && serving.base.is_some_and(|base| base.deployment == to.id) {
            return Err(Error::new(Code::WrongState, format!("`{}` is what served before: that needs no signature", to.id))
                .hint(format!("`interlock rollback-deployment {} --reason TEXT`", of.id)));
        }
        let gone = |error: Error| error.hint("its bytes are not what was deployed, or are gone: `keep` says how many releases stay");
        self.release_dir(&to.digest).await.map_err(gone)?;
        let planned = self.plan_of(&to).await?;
        let spec = self.planned_spec(&planned).await?;
        let serving = self.store.serving(service, environment).await?;
        let serving = serving.ok_or_else(|| Error::new(Code::WrongState, "what serves has just changed"))?;
        let earlier =
            Earlier { version: &to.version, commit: planned.commit.as_deref(), digest: &to.digest, spec: &spec, returns_to: Some(&to.id) };
        self.plan_back(&of, &serving, earlier, None, self.required_approval(environment).await?).await
    }

    /// Returns whose approval an environment asks for.
    pub(super) async fn required_approval(&self, environment: &EnvironmentName) -> Result<Option<RequiredApproval>> {
        let applied = self.applied(environment).await?;
        let approval = applied.config.environment(environment).and_then(|environment| environment.approval.clone());
        Ok(approval.as_ref().map(ApprovalConfig::required))
    }

    /// Refuses a way back that reaches further than the base, unless a person has signed exactly that.
    pub(super) async fn check_further_back(&self, plan: &Plan) -> Result<()> {
        let Some(to) = &plan.returns_to else { return Ok(()) };
        let role = plan.approval.as_ref().map(|approval| approval.role.as_str());
        match self.is_signed(DecisionKind::Rollback, plan, role).await? {
            true => Ok(()),
            false => Err(Error::new(Code::ApprovalRequired, format!("nobody has signed that `{}` goes back to `{to}`", plan.id()))
                .hint(format!("an approver runs `interlock rollback --to {to} --reason TEXT`"))),
        }
    }

    /// Refuses an earlier release that has been taken back since, or past which data was changed.
    async fn refuse_beyond(&self, serving: &Deployment, to: &Deployment) -> Result<()> {
        let (mut before, mut taken_back) = (None, BTreeSet::new());
        loop {
            let (service, environment) = (Some(to.service.clone()), Some(to.environment.clone()));
            let filter = DeploymentFilter { service, environment, before, limit: 100, ..DeploymentFilter::default() };
            // Newest first: what took data back is seen before what had changed it.
            let (page, next) = self.store.deployments(&filter).await?;
            for since in page {
                let went_back = since.state == DeploymentState::RolledBack || since.rolled_back_by.is_some();
                if since.digest == to.digest && since.purpose == Purpose::Deploy && went_back {
                    let message = format!("`{}` brought {}, and was taken back: it is none to go back to", since.id, since.version);
                    return Err(Error::new(Code::WrongState, message).hint("`interlock list-deployments` shows what succeeded"));
                }
                if since.id == to.id {
                    return Ok(());
                }
                let plan = self.plan_of(&since).await?;
                if let Some(planned) = plan.data_return.as_ref().filter(|_| since.state == DeploymentState::Succeeded) {
                    taken_back.insert(planned.of.clone());
                }
                if plan.rollback.until.is_some() && !taken_back.contains(&since.id) {
                    self.refuse_past(&since, &plan, serving, to).await?;
                }
            }
            match next {
                Some(next) => before = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn refuse_past(&self, since: &Deployment, plan: &Plan, serving: &Deployment, to: &Deployment) -> Result<()> {
        let journal = self.store.journal(&since.id).await?;
        let Some(way) = past_data(plan, &journal) else { return Ok(()) };
        let until = way.until.as_deref().unwrap_or("its migrations");
        let message = format!("`{}` has run migration `{until}`, and {} may not work with the database as it is now", since.id, to.version);
        let hint = match way.data.is_some() && since.id == serving.id {
            true => format!("its data goes back first: `interlock restore {} --reason TEXT`", since.id),
            false => "there is no way back past it: repair it with a new release".to_owned(),
        };
        Err(Error::new(Code::PastMigration, message).hint(hint).details(serde_json::json!({ "rollback": way })))
    }
}
