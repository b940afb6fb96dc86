//! Everything the record has of one work order, gathered once for the document that is made of it.

use crate::{
    engine::{
        Engine,
        close_watch::CloseWatch,
        facts::Fact,
        monitoring::Coverage,
        report::{Report, Traffic},
    },
    error::{Code, Error, Result},
    model::{Deployment, DeploymentId, Directive, DirectiveId, GateResult, ServiceSpec},
    phases::Phase,
    store::{Artifact, Incident, PlanRecord, RunbookVersion, SignOff},
};
use std::collections::BTreeMap;

/// What a document is to be about; the newest deployment where nothing is named.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// A directive: its newest deployment.
    pub directive: Option<String>,
    /// A deployment.
    pub deployment: Option<String>,
    /// An incident: the deployment it happened in.
    pub incident: Option<String>,
}

/// Everything the record has of one work order.
pub struct Case {
    /// The directive.
    pub directive: Directive,
    /// The service as it was planned; as it is configured where nothing is planned.
    pub spec: ServiceSpec,
    /// The plan of the deployment, else the newest one.
    pub plan: Option<PlanRecord>,
    /// The deployment, with all that was recorded of it.
    pub report: Option<Report>,
    /// What the release did that served before.
    pub before: Option<(Deployment, Traffic)>,
    /// The incident it is about.
    pub incident: Option<Incident>,
    /// The phase that governs the directive.
    pub phase: Option<Phase>,
    /// What the phase asks, as it stands.
    pub facts: BTreeMap<String, Fact>,
    /// Exit gates that do not hold.
    pub open: Vec<(String, Fact)>,
    /// The newest verdict of each gate.
    pub gates: Vec<GateResult>,
    /// What people vouched for.
    pub sign_offs: Vec<SignOff>,
    /// The files it left.
    pub artifacts: Vec<Artifact>,
    /// The newest version of the runbook.
    pub runbook: Option<RunbookVersion>,
    /// Directives that carry what failed in this one.
    pub follow_ups: Vec<Directive>,
    /// How the close watch over the release stands, where there is one.
    pub close_watch: Option<CloseWatch>,
    /// What is watched of the service.
    pub coverage: Coverage,
}

impl Case {
    /// Returns the deployment's report; refused where nothing was deployed.
    pub fn deployed(&self) -> Result<&Report> {
        self.report.as_ref().ok_or_else(|| {
            Error::new(Code::WrongState, format!("`{}` has deployed nothing yet", self.directive.id)).hint("write it after the deployment")
        })
    }

    /// Returns the report of a deployment that is over; refused while it is under way.
    pub fn settled(&self) -> Result<&Report> {
        let report = self.deployed()?;
        let deployment = &report.deployment;
        match deployment.state.is_settled() {
            true => Ok(report),
            false => Err(Error::new(
                Code::WrongState,
                format!("`{}` is {}: this is written from a finished run", deployment.id, deployment.state.as_str()),
            )
            .after(5)),
        }
    }

    /// Returns the deployment, if there is one.
    pub fn deployment(&self) -> Option<&Deployment> {
        self.report.as_ref().map(|report| &report.deployment)
    }

    /// Returns who vouched last for a fact about exactly this release.
    pub fn signed(&self, fact: &str) -> Option<&SignOff> {
        self.sign_offs.iter().rev().find(|sign_off| sign_off.fact == fact && sign_off.digest == self.directive.digest)
    }
}

impl Engine {
    /// Gathers what the record has; `by_incident` asks for the newest incident where nothing is named.
    pub(super) async fn case(&self, about: &About, by_incident: bool) -> Result<Case> {
        let named = [&about.directive, &about.deployment, &about.incident].into_iter().flatten().count();
        if named > 1 {
            return Err(Error::invalid("give one of `directive`, `deployment` and `incident`"));
        }
        let mut incident = match &about.incident {
            Some(id) => Some(self.store.incident(id).await?.ok_or_else(|| Error::not_found("incident", id))?),
            None if named == 0 && by_incident => Some(
                self.store
                    .latest_incidents(1)
                    .await?
                    .pop()
                    .ok_or_else(|| Error::new(Code::NotFound, "no incident is recorded").hint("name a `deployment`, or go on"))?,
            ),
            None => None,
        };
        let deployment = match (&incident, &about.deployment, &about.directive) {
            (Some(incident), ..) => Some(self.deployment(&incident.deployment).await?),
            (None, Some(id), _) => Some(self.deployment(&DeploymentId::from(id.as_str())).await?),
            (None, None, Some(_)) => None,
            (None, None, None) => Some(self.newest_deployment().await?),
        };
        let directive = match (&deployment, &about.directive) {
            (Some(deployment), _) => self.directive(&deployment.directive).await?,
            (None, Some(id)) => self.directive(&DirectiveId::from(id.as_str())).await?,
            (None, None) => return Err(Error::invalid("name a `directive`")),
        };
        let deployment = match deployment {
            Some(deployment) => Some(deployment),
            None => self.latest_deployment(&directive).await?,
        };
        if let (None, true, Some(deployment)) = (&incident, by_incident, &deployment) {
            incident = self.store.incidents(&deployment.id).await?.pop();
        }
        self.case_of(directive, deployment, incident).await
    }

    async fn case_of(&self, directive: Directive, deployment: Option<Deployment>, incident: Option<Incident>) -> Result<Case> {
        let plan = match &deployment {
            Some(deployment) => self.store.plan(&deployment.plan).await?,
            None => self.store.plans_of(&directive.id).await?.into_iter().max_by_key(|record| record.created_at),
        };
        let planned = match &plan {
            Some(record) => self.planned_spec(&record.plan).await.ok(),
            None => None,
        };
        let spec = match planned {
            Some(spec) => spec,
            None => self.service(&directive.environment, &directive.service).await?.2,
        };
        let report = match &deployment {
            Some(deployment) => Some(self.report(deployment, false).await?),
            None => None,
        };
        let before = match deployment.as_ref().and_then(|deployment| deployment.base.clone()) {
            Some(base) => match self.store.deployment(&base).await? {
                Some(base) => Some((base.clone(), self.report(&base, false).await?.traffic)),
                None => None,
            },
            None => None,
        };
        let close_watch = match &deployment {
            Some(deployment) => self.close_watch(deployment).await?,
            None => None,
        };
        let phase = self.phase_for(&directive).await?;
        let facts = self.facts(&directive, phase.as_ref()).await?;
        let open = match directive.state.is_open() {
            true => self.exit_gates(&directive, phase.as_ref(), &facts).await?,
            false => Vec::new(),
        };
        let mut follow_ups = self.store.directives_of(&directive.service, &directive.environment).await?;
        follow_ups.retain(|follow_up| follow_up.follows.as_ref() == Some(&directive.id));
        Ok(Case {
            close_watch,
            coverage: self.coverage(&spec).await?,
            facts,
            open,
            gates: self.store.verdicts(&directive.id).await?,
            sign_offs: self.store.sign_offs(&directive.id).await?,
            artifacts: self.store.artifacts(&directive.id).await?,
            runbook: self.store.runbook_versions_for(&directive.id).await?.into_iter().next(),
            spec,
            plan,
            report,
            before,
            incident,
            phase,
            follow_ups,
            directive,
        })
    }

    async fn newest_deployment(&self) -> Result<Deployment> {
        let (newest, _) = self.store.deployments(&crate::store::DeploymentFilter { limit: 1, ..Default::default() }).await?;
        newest
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(Code::NotFound, "nothing was deployed yet").hint("name the `directive` the document is to be about"))
    }
}
