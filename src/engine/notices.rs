//! What a change of the record is in a notice: the one line that people read, where it is decided, and of which environments it is.

use super::Engine;
use crate::{
    error::{Error, Result},
    model::{
        Deployment, DeploymentState, DirectiveId, EnvironmentName, Notice, NoticeKind, Plan, PlanId, Purpose, RunbookId, Sha256, Timestamp,
        text::visible_line,
    },
    store::AuditEntry,
};
use serde_json::Value;

/// No name and no version is longer in a notice.
const NAME: usize = 60;
/// No reason is.
const SAID: usize = 300;

/// A notice, and who is told of it.
pub(super) struct Telling {
    pub notice: Notice,
    pub of: Of,
    /// What is told once, however often it is recorded.
    pub topic: Option<String>,
}

/// Of which environments a notice is.
pub(super) enum Of {
    /// Of these.
    These(Vec<EnvironmentName>),
    /// Of every one.
    All,
    /// Of every one with approval.
    Approved,
}

impl Telling {
    fn of(entry: &AuditEntry, kind: NoticeKind, about: &str, title: String, page: String) -> Self {
        let notice = Notice::of(kind, about, &visible_line(&entry.subject, 2 * NAME), title, &page, entry.at);
        Telling { notice, of: Of::All, topic: None }
    }

    fn at(mut self, environment: &EnvironmentName) -> Self {
        self.of = Of::These(vec![environment.clone()]);
        self.notice.environment = Some(environment.clone());
        self
    }

    fn of_plan(self, plan: &Plan) -> Self {
        let mut telling = self.at(&plan.environment);
        telling.notice.service = Some(plan.service.clone());
        telling.notice.version = Some(visible_line(&plan.version, NAME));
        telling
    }

    fn of_deployment(self, deployment: &Deployment) -> Self {
        let mut telling = self.at(&deployment.environment);
        telling.notice.service = Some(deployment.service.clone());
        telling.notice.version = Some(visible_line(&deployment.version, NAME));
        telling
    }

    fn by(mut self, who: &str) -> Self {
        self.notice.by = Some(visible_line(who, NAME));
        self
    }

    fn saying(mut self, said: Option<&str>) -> Self {
        self.notice.said = said.filter(|said| !said.trim().is_empty()).map(|said| visible_line(said, SAID));
        self
    }
}

impl Engine {
    /// Returns what an entry of the audit log is to people elsewhere; none where it is nothing to them by now.
    pub(super) async fn telling(&self, entry: &AuditEntry) -> Result<Option<Telling>> {
        Ok(match entry.action.as_str() {
            "save_plan" | "reopen_request" => {
                let id = PlanId::from(entry.subject.as_str());
                let record = self.store.plan(&id).await?.ok_or_else(|| Error::not_found("plan", &id))?;
                let title = format!("{} waits for an approval", release_of(&record.plan));
                let telling = Telling::of(entry, NoticeKind::Asks, "plan", title, format!("/plans/{id}"));
                Some(telling.of_plan(&record.plan).by(&entry.by.principal))
            }
            "set_pending" => Some(pending(entry)),
            "save_runbook_version" | "set_runbook_state" => {
                let id = RunbookId::from(entry.subject.as_str());
                let runbook = self.store.runbook(&id).await?.ok_or_else(|| Error::not_found("runbook", &id))?;
                let title = format!("the runbook of {} in {} waits for a review", runbook.service, runbook.environment);
                let mut telling =
                    Telling::of(entry, NoticeKind::Asks, "runbook", title, format!("/runbooks/{id}")).at(&runbook.environment);
                telling.notice.service = Some(runbook.service);
                Some(telling.by(&entry.by.principal))
            }
            "use_enrolment_link" => {
                let title =
                    format!("the passkey of {} waits for an approver who compares its fingerprint", visible_line(&entry.subject, NAME));
                let telling = Telling::of(entry, NoticeKind::Asks, "approver", title, "/people".into());
                Some(Telling { of: Of::Approved, ..telling })
            }
            "record_verdicts" => self.asked_by_gates(entry).await?,
            "set_hold" => {
                let deployment = self.deployment(&entry.subject.as_str().into()).await?;
                let title = format!("{} could not be judged, and waits for a choice", shown(&deployment));
                let telling = Telling::of(entry, NoticeKind::Asks, "deployment", title, page_of(&deployment));
                Some(telling.of_deployment(&deployment))
            }
            "transition" => {
                let deployment = self.deployment(&entry.subject.as_str().into()).await?;
                moved(entry, &deployment)
            }
            "mark_rolled_back" => {
                let deployment = self.deployment(&entry.subject.as_str().into()).await?;
                let title = format!("{} was withdrawn: nothing served before it", shown(&deployment));
                Some(Telling::of(entry, NoticeKind::RolledBack, "deployment", title, page_of(&deployment)).of_deployment(&deployment))
            }
            "record_decision" => Some(self.decided(entry).await?),
            "add_freeze" => Some(frozen(entry)),
            _ => None,
        })
    }

    /// Returns what gates ask of people now; what was asked before is not asked again.
    async fn asked_by_gates(&self, entry: &AuditEntry) -> Result<Option<Telling>> {
        let directive = self.directive(&DirectiveId::from(entry.subject.as_str())).await?;
        let verdicts = self.store.verdicts(&directive.id).await?;
        let asks: Vec<&str> = verdicts.iter().filter(|gate| gate.asks_a_person()).map(|gate| gate.gate.as_str()).collect();
        if asks.is_empty() || !directive.state.is_open() {
            return Ok(None);
        }
        let release = format!("{} {} to {}", directive.service, visible_line(&directive.version, NAME), directive.environment);
        let title = format!("{release}: a person is asked about {}", asks.join(", "));
        let telling = Telling::of(entry, NoticeKind::Asks, "sign_off", title, format!("/directives/{}", directive.id));
        let mut telling = telling.at(&directive.environment);
        (telling.notice.service, telling.notice.version) = (Some(directive.service.clone()), Some(visible_line(&directive.version, NAME)));
        telling.topic = Some(format!("{} {}", directive.id, asks.join(",")));
        Ok(Some(telling))
    }

    async fn decided(&self, entry: &AuditEntry) -> Result<Telling> {
        let said = |name: &str| entry.detail[name].as_str().unwrap_or_default();
        let (kind, verdict) = (said("kind"), said("verdict"));
        let subject = entry.subject.split(' ').next().unwrap_or_default();
        let (about, page) = match kind {
            "plan" => ("plan", format!("/plans/{subject}")),
            "configuration" => ("configuration", "/configuration".into()),
            "sign_off" => ("sign_off", format!("/directives/{subject}")),
            "runbook" => ("runbook", format!("/runbooks/{subject}")),
            "approver" => ("approver", "/people".into()),
            "unfreeze" => ("freeze", "/freezes".into()),
            "rollback" => ("plan", format!("/plans/{subject}")),
            _ => ("deployment", format!("/deployments/{subject}")),
        };
        let what = match (kind, verdict) {
            ("plan", "approve") => "has approved",
            ("plan", _) => "has rejected",
            ("runbook", "approve") => "has published",
            ("runbook", _) => "has returned",
            ("configuration", _) => "has put in force",
            ("sign_off", _) => "has signed off",
            ("approver", _) => "has admitted",
            ("unfreeze", _) => "has lifted",
            ("restore", _) => "has asked for the data of",
            ("rollback", _) => "has decided to go back by",
            _ => "has chosen for",
        };
        let (approver, decided) = (visible_line(said("approver"), NAME), visible_line(&entry.subject, 2 * NAME));
        let telling = Telling::of(entry, NoticeKind::Decided, about, format!("{approver} {what} {decided}"), page);
        let mut telling = telling.by(said("approver")).saying(entry.detail["reason"].as_str());
        telling.notice.verdict = Some(verdict.to_owned());
        let decisions = self.store.decisions_over(&Sha256(said("subject_sha256").to_owned())).await?;
        let decision = decisions.into_iter().find(|signed| signed.decision.nonce == said("nonce"));
        if let Some(environment) = decision.and_then(|signed| signed.decision.environment) {
            telling = telling.at(&environment);
        }
        if about == "plan"
            && let Some(record) = self.store.plan(&subject.into()).await?
        {
            telling = telling.of_plan(&record.plan);
            telling.notice.title = format!("{approver} {what} {}", release_of(&record.plan));
        }
        Ok(telling)
    }
}

fn pending(entry: &AuditEntry) -> Telling {
    let environments: Vec<EnvironmentName> = serde_json::from_value(entry.detail["environments"].clone()).unwrap_or_default();
    let names: Vec<&str> = environments.iter().map(EnvironmentName::as_str).collect();
    let title = format!("configuration revision {} waits for a signature for {}", entry.subject, names.join(", "));
    let mut telling = Telling::of(entry, NoticeKind::Asks, "configuration", title, "/decide/configuration".into()).by(&entry.by.principal);
    telling.topic = Some(format!("revision {} {}", entry.subject, names.join(",")));
    telling.of = Of::These(environments);
    telling
}

fn moved(entry: &AuditEntry, deployment: &Deployment) -> Option<Telling> {
    let to: DeploymentState = serde_json::from_value(entry.detail["to"].clone()).ok()?;
    let shown = shown(deployment);
    let (kind, title) = match (to, &deployment.purpose) {
        (DeploymentState::RollingBack, Purpose::Deploy) => (NoticeKind::Failed, format!("{shown} did not go through, and goes back")),
        (DeploymentState::RollingBack, _) => (NoticeKind::Failed, format!("{shown} did not go through")),
        (DeploymentState::RolledBack, _) => (NoticeKind::RolledBack, format!("{shown} was taken back: what served before serves again")),
        (DeploymentState::Stuck, _) => {
            (NoticeKind::Stuck, format!("{shown} is stuck: nobody knows how it stands, and a person must choose"))
        }
        (DeploymentState::Succeeded, Purpose::Deploy) => (NoticeKind::Succeeded, format!("{shown} has succeeded")),
        (DeploymentState::Succeeded, Purpose::Rollback { of }) => (NoticeKind::RolledBack, format!("{of} was taken back: {shown}")),
        _ => return None,
    };
    let telling = Telling::of(entry, kind, "deployment", title, page_of(deployment)).of_deployment(deployment);
    let mut telling = telling.saying(entry.detail["reason"].as_str());
    telling.notice.code = entry.detail["code"].as_str().map(str::to_owned);
    Some(telling)
}

fn frozen(entry: &AuditEntry) -> Telling {
    let until = |name: &str| serde_json::from_value::<Option<Timestamp>>(entry.detail[name].clone()).ok().flatten();
    let place = entry.detail["environment"].as_str();
    let lasts = match (&entry.detail["recurrence"], until("ends_at")) {
        (Value::Null, Some(ends_at)) => format!("until {ends_at}"),
        (Value::Null, None) => "until an approver lifts it".to_owned(),
        _ => "by a calendar".to_owned(),
    };
    let starts = until("starts_at").filter(|starts_at| *starts_at > entry.at).map(|at| format!(" from {at}")).unwrap_or_default();
    let title =
        format!("{} takes no deployment{starts} {lasts}", place.map_or("every environment".into(), |place| visible_line(place, NAME)));
    let telling = Telling::of(entry, NoticeKind::Frozen, "freeze", title, "/freezes".into());
    let telling = match place {
        Some(place) => telling.at(&place.into()),
        None => telling,
    };
    telling.by(&entry.by.principal).saying(entry.detail["reason"].as_str())
}

/// `web 1.2.0 to production`, or the way back.
fn release_of(plan: &Plan) -> String {
    let back = if plan.purpose == Purpose::Deploy { "" } else { "the way back of " };
    format!("{back}{} {} to {}", plan.service, visible_line(&plan.version, NAME), plan.environment)
}

fn shown(deployment: &Deployment) -> String {
    let Deployment { service, version, environment, .. } = deployment;
    format!("{service} {} to {environment}", visible_line(version, NAME))
}

fn page_of(deployment: &Deployment) -> String {
    format!("/deployments/{}", deployment.id)
}
