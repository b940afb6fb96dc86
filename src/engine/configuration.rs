//! The applied configuration: what is in force per environment, and how a new revision gets there. The file on disk is never used.

use super::{Engine, phase_rules};
use crate::{
    config::{self, EnvironmentConfig, EnvironmentDifference, ProjectConfig},
    error::{Code, Error, Result},
    model::{Caller, EnvironmentName, Plan, ServiceName, ServiceSpec, Sha256},
    store::{Configuration, Revision, Revisions},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

/// A revision as it is in force somewhere.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its number, from 1.
    pub revision: i64,
    /// The hash of its text.
    pub sha256: Sha256,
    /// What it says.
    pub config: Arc<ProjectConfig>,
}

/// An environment by what counts there.
pub(super) struct Counting {
    config: Arc<ProjectConfig>,
    name: EnvironmentName,
    /// Whether it is in force; otherwise it is as the newest revision has it, which waits for its first signature.
    pub(super) is_in_force: bool,
}

impl Counting {
    pub(super) fn environment(&self) -> &EnvironmentConfig {
        &self.config.environments[&self.name]
    }
}

/// What waits for a signature when a configuration reaches an environment with approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationProposal {
    /// The revision.
    pub revision: i64,
    /// SHA-256 of its text.
    pub sha256: Sha256,
    /// The environments that wait for the signature.
    pub environments: Vec<EnvironmentName>,
    /// What changes in them.
    pub differences: Vec<EnvironmentDifference>,
    /// The whole text.
    pub text: String,
}

/// What applying a text did.
#[derive(Debug, Clone, Serialize)]
pub struct ApplyOutcome {
    /// The revision's number.
    pub revision: i64,
    /// The environments where it is in force now.
    pub in_force: Vec<EnvironmentName>,
    /// What changed, per environment.
    pub differences: Vec<EnvironmentDifference>,
    /// What waits for an approver's decision.
    pub proposal: Option<ConfigurationProposal>,
}

impl Engine {
    /// Returns the configuration in force in an environment.
    pub async fn applied(&self, environment: &EnvironmentName) -> Result<Applied> {
        self.applied_by(environment, self.store.revisions_in(environment).await?).await
    }

    /// Returns [`Engine::applied`] by the revisions that count there.
    pub(super) async fn applied_by(&self, environment: &EnvironmentName, revisions: Revisions) -> Result<Applied> {
        match revisions {
            Revisions { in_force: Some(revision), .. } => self.applied_revision(revision).await,
            Revisions { pending: Some(_), .. } => Err(Error::new(
                Code::ConfigurationPending,
                format!("the configuration of `{environment}` waits for its first approver's signature"),
            )),
            Revisions { .. } => Err(Error::not_found("environment", environment)),
        }
    }

    /// Returns an environment as configured, with the service's specification.
    pub async fn service(&self, environment: &EnvironmentName, service: &ServiceName) -> Result<(Applied, EnvironmentConfig, ServiceSpec)> {
        let applied = self.applied(environment).await?;
        let (config, spec) = service_of(&applied.config, environment, service)?;
        Ok((applied, config, spec))
    }

    /// Returns the newest revision, in force or not; `None` before the first.
    pub async fn newest(&self) -> Result<Option<Applied>> {
        match self.store.latest_revision().await? {
            Some(record) => Ok(Some(self.parsed.of(&record)?)),
            None => Ok(None),
        }
    }

    /// Returns every environment as it is in force; one that still waits for its first signature, as the newest revision has it.
    pub async fn environments(&self) -> Result<Vec<EnvironmentConfig>> {
        let Some(configuration) = self.store.configuration().await? else { return Ok(Vec::new()) };
        Ok(self.environments_by(configuration).await?.iter().map(|counting| counting.environment().clone()).collect())
    }

    /// Returns every environment by what counts anywhere.
    pub(super) async fn environments_by(&self, configuration: Configuration) -> Result<Vec<Counting>> {
        let newest = self.applied_revision(configuration.newest).await?.config;
        let mut revisions: BTreeMap<EnvironmentName, Option<i64>> = newest.environments.keys().map(|name| (name.clone(), None)).collect();
        revisions.extend(configuration.environments);
        let mut environments = Vec::new();
        for (name, revision) in revisions {
            let config = match revision {
                Some(revision) => self.applied_revision(revision).await?.config,
                None => newest.clone(),
            };
            if config.environment(&name).is_some() {
                environments.push(Counting { config, name, is_in_force: revision.is_some() });
            }
        }
        Ok(environments)
    }

    /// Returns the service as the configuration has it that the plan is bound to, whatever is in force by now.
    pub async fn planned_spec(&self, plan: &Plan) -> Result<ServiceSpec> {
        let newest = self.store.latest_revision().await?.map_or(0, |record| record.revision);
        for revision in (1..=newest).rev() {
            let config = self.applied_revision(revision).await?.config;
            if config.effective_sha256(&plan.environment, &plan.service).as_ref() == Some(&plan.config_sha256) {
                let environment = config.environment(&plan.environment);
                let spec = environment.and_then(|environment| environment.services.get(&plan.service)).cloned();
                return spec.ok_or_else(|| Error::not_found("service", &plan.service));
            }
        }
        Err(Error::new(Code::ApprovalVoid, format!("no stored configuration is the one `{}` was made with", plan.id())))
    }

    pub(super) async fn applied_revision(&self, revision: i64) -> Result<Applied> {
        if let Some(applied) = self.parsed.known(revision) {
            return Ok(applied);
        }
        let record = self.store.revision(revision).await?.ok_or_else(|| Error::not_found("configuration revision", revision))?;
        self.parsed.of(&record)
    }

    /// Stores a text as a revision, with the phase files it names in it. It comes into force at once where nobody has to sign, and waits elsewhere.
    pub async fn apply(&self, by: &Caller, text: &str) -> Result<ApplyOutcome> {
        let text = &config::with_phases(&self.workspace, text)?;
        let new = parse(text)?;
        phase_rules::check(&new, text)?;
        let sha256 = Sha256::of(text.as_bytes());
        let mut differences = Vec::new();
        for difference in self.differences(&new).await? {
            differences.push(difference);
        }
        let revision = self.store.add_revision(by, text, &sha256).await?;
        let (waiting, free): (Vec<_>, Vec<_>) = differences.iter().partition(|difference| difference.needs_approval);
        let waiting: Vec<EnvironmentDifference> =
            waiting.into_iter().filter(|difference| !difference.changes.is_empty()).cloned().collect();
        let mut in_force: Vec<EnvironmentName> = free.into_iter().map(|difference| difference.environment.clone()).collect();
        // An environment whose effective configuration stays the same moves on with the revision: nothing there changes.
        let unchanged = new.environments.keys().filter(|name| !differences.iter().any(|difference| &difference.environment == *name));
        in_force.extend(unchanged.cloned());
        self.store.set_in_force(by, revision, &in_force).await?;
        let environments: Vec<EnvironmentName> = waiting.iter().map(|difference| difference.environment.clone()).collect();
        self.store.set_pending(by, revision, &environments).await?;
        let proposal = (!environments.is_empty()).then(|| ConfigurationProposal {
            revision,
            sha256,
            environments,
            differences: waiting,
            text: text.to_owned(),
        });
        Ok(ApplyOutcome { revision, in_force, differences, proposal })
    }

    /// Returns the proposal that waits for a decision, if any.
    pub async fn pending_proposal(&self) -> Result<Option<ConfigurationProposal>> {
        let Some(record) = self.store.latest_revision().await? else { return Ok(None) };
        let new = self.parsed.of(&record)?.config;
        let differences: Vec<_> = self
            .differences(&new)
            .await?
            .into_iter()
            .filter(|difference| difference.needs_approval && !difference.changes.is_empty())
            .collect();
        let environments: Vec<EnvironmentName> = differences.iter().map(|difference| difference.environment.clone()).collect();
        Ok((!environments.is_empty()).then(|| ConfigurationProposal {
            revision: record.revision,
            sha256: record.sha256.clone(),
            environments,
            differences,
            text: record.text.clone(),
        }))
    }

    /// Returns what a configuration would change, per environment, against what is in force there.
    pub async fn differences(&self, new: &ProjectConfig) -> Result<Vec<EnvironmentDifference>> {
        let mut revisions: BTreeMap<EnvironmentName, Option<i64>> = new.environments.keys().map(|name| (name.clone(), None)).collect();
        revisions.extend(self.store.configured_environments().await?);
        let mut differences = Vec::new();
        for (environment, revision) in revisions {
            let old = match revision {
                Some(revision) => Some(self.applied_revision(revision).await?.config),
                None => None,
            };
            let found = config::difference(old.as_deref(), new).into_iter().find(|difference| difference.environment == environment);
            differences.extend(found);
        }
        let (names, listeners) = self.guarded().await?;
        for difference in &mut differences {
            let own = new.environment(&difference.environment);
            let takes = own.is_some_and(|environment| {
                environment.services.values().any(|spec| {
                    let address = spec.router.listen();
                    listeners.iter().any(|(owner, taken)| *owner != difference.environment && overlap(address, *taken))
                })
            });
            difference.needs_approval |= takes || names.contains(&difference.environment);
        }
        Ok(differences)
    }

    /// Returns what stands under a signature beside the approved environments themselves: those they name in `after`, and their listeners.
    async fn guarded(&self) -> Result<(BTreeSet<EnvironmentName>, Vec<(EnvironmentName, SocketAddr)>)> {
        let (mut names, mut listeners) = (BTreeSet::new(), Vec::new());
        for (name, revision) in self.store.configured_environments().await? {
            let Some(revision) = revision else { continue };
            let config = self.applied_revision(revision).await?.config;
            let Some(environment) = config.environment(&name).filter(|environment| environment.is_production()) else { continue };
            listeners.extend(environment.services.values().map(|spec| (name.clone(), spec.router.listen())));
            let next = |name: &EnvironmentName| config.environment(name).and_then(|environment| environment.after.clone());
            names.extend(std::iter::successors(environment.after.clone(), next));
        }
        Ok((names, listeners))
    }
}

/// Configurations that were read a moment ago; a revision never changes. Almost every call needs one, and the same.
#[derive(Default)]
pub(super) struct Parsed(Mutex<Vec<Applied>>);

impl Parsed {
    /// How many are kept: what is in force in a few environments, and the newest.
    const MOST: usize = 8;

    /// Returns what a revision says, where it was read.
    fn known(&self, revision: i64) -> Option<Applied> {
        let kept = self.0.lock().expect("nothing panics here");
        kept.iter().find(|one| one.revision == revision).cloned()
    }

    fn of(&self, record: &Revision) -> Result<Applied> {
        if let Some(applied) = self.known(record.revision) {
            return Ok(applied);
        }
        let applied = Applied { revision: record.revision, sha256: record.sha256.clone(), config: Arc::new(parse(&record.text)?) };
        let mut kept = self.0.lock().expect("nothing panics here");
        if kept.len() == Self::MOST {
            kept.remove(0);
        }
        kept.push(applied.clone());
        Ok(applied)
    }
}

/// Returns an environment as a configuration has it, with the service's specification.
pub(super) fn service_of(
    config: &ProjectConfig,
    environment: &EnvironmentName,
    service: &ServiceName,
) -> Result<(EnvironmentConfig, ServiceSpec)> {
    let environment = config.environment(environment).cloned().ok_or_else(|| Error::not_found("environment", environment))?;
    let spec = environment.services.get(service).cloned().ok_or_else(|| {
        let hint = format!("`{}` has: {}", environment.name, names(environment.services.keys()));
        Error::not_found("service", service).hint(hint)
    })?;
    Ok((environment, spec))
}

fn parse(text: &str) -> Result<ProjectConfig> {
    Ok(config::parse(config::FILE_NAME, text)?)
}

/// Tells whether two addresses cannot both be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Joins names for a message.
pub fn names<T: ToString>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{}`", name.to_string())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
