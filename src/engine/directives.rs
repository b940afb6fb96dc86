//! Opens and cancels work orders. The release's bytes are copied and pinned before the directive exists.

use super::{Engine, checks, git, recheck::artifact_error};
use crate::{
    config::ProjectConfig,
    error::{Code, Error, Result},
    model::{Caller, ChangeKind, Directive, DirectiveId, DirectiveState, EnvironmentName, PlanState, Release, ServiceName, Sha256, text},
    phases::{self, Phase},
    store::{NewDirective, Survey},
};
use serde_json::json;

/// What a caller says about a new directive. Texts are an agent's words: stored as data, never joined to ours.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The service.
    pub service: String,
    /// The environment.
    pub environment: String,
    /// The version; with `artifact`, or neither where nothing was built.
    pub version: Option<String>,
    /// The artifact's path in the workspace.
    pub artifact: Option<String>,
    /// What has changed, as the caller says; the commits decide.
    pub change: Option<ChangeKind>,
    /// The commit; the workspace's HEAD when absent.
    pub commit: Option<String>,
    /// One line.
    pub title: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// What.
    pub description: Option<String>,
    /// How far it reaches.
    pub scope: Option<String>,
    /// `critical`, `high`, `medium` (default) or `low`.
    pub priority: Option<String>,
    /// The venture.
    pub venture: Option<String>,
    /// Directives that must be completed first.
    pub depends_on: Vec<String>,
}

impl Engine {
    /// Opens a directive; one that is open for the same service, environment and digest is returned with `true`.
    pub async fn create_directive(&self, by: &Caller, order: Order) -> Result<(Directive, bool)> {
        let (service, environment) = (ServiceName::from(order.service), EnvironmentName::from(order.environment));
        self.service(&environment, &service).await?;
        let built = built(order.version, order.artifact)?;
        let priority = order.priority.unwrap_or_else(|| "medium".into());
        if !["critical", "high", "medium", "low"].contains(&priority.as_str()) {
            return Err(Error::invalid("`priority` is one of critical, high, medium, low"));
        }
        let mut depends_on = Vec::new();
        for id in order.depends_on {
            depends_on.push(self.directive(&DirectiveId::from(id)).await?.id);
        }
        let commit = self.resolve_commit(order.commit.as_deref()).await?;
        let committed_at = match &commit {
            Some(id) => git::committed_at(&self.workspace.root, id).await,
            None => None,
        };
        let phase = self.phase_of(&environment).await?;
        let venture = self.venture_for(order.venture.as_deref(), phase.as_ref()).await?;
        let reaches_customers =
            self.applied(&environment).await?.config.environment(&environment).is_some_and(|one| one.approval.is_some());
        if let Some(phase) = &phase {
            self.store.keep_phase(by, &phase.name, &phase.sha256, &phase.text).await?;
        }
        let _pinning = self.pinning.lock().await;
        let nothing_built = built.is_none();
        let release = match built {
            Some((version, artifact)) => {
                let (releases, root) = (self.releases.clone(), self.workspace.root.clone());
                let pinned = self.blocking(move || releases.pin(&root, &artifact)).await?.map_err(artifact_error)?;
                let (service, digest) = (service.clone(), pinned.digest);
                Release { service, version, commit: commit.clone(), digest, files: pinned.files, size_bytes: pinned.size_bytes }
            }
            None => {
                let serving = self.release_that_serves(&service, &environment, order.change, phase.as_ref()).await?;
                let known = self.store.release(&serving.digest).await?.ok_or_else(|| Error::not_found("release", &serving.digest))?;
                // The order is about this commit; that of the release stays as it was recorded.
                Release { version: serving.version, commit: commit.clone(), ..known }
            }
        };
        let line = |text: Option<String>, otherwise: String| text.map_or(otherwise, |text| text.trim().to_owned());
        let otherwise = match order.change.filter(|_| nothing_built) {
            Some(change) => format!("{} of {service} in {environment}", change.as_str()),
            None => format!("deploy {service} {} to {environment}", release.version),
        };
        let title = line(order.title, otherwise);
        if title.chars().count() > 500 {
            return Err(Error::invalid("`title` has at most 500 characters"));
        }
        let new = NewDirective {
            title,
            rationale: line(order.rationale, "none given".into()),
            description: line(order.description, format!("{service} {} ({})", release.version, release.digest.short())),
            scope: line(order.scope, format!("{service} in {environment}")),
            priority,
            environment,
            committed_at,
            change: order.change,
            nothing_built,
            venture,
            reaches_customers,
            depends_on,
            phase: phase.as_ref().map(|phase| phase.name.clone()),
            phase_sha256: phase.map(|phase| phase.sha256),
        };
        let (change, depends_on) = (order.change, new.depends_on.clone());
        if !nothing_built {
            self.make_room(by, &new, &release).await?;
        }
        let (directive, existing) = self.store.create_directive(by, new, &release).await?;
        if existing {
            let is_same = directive.version == release.version
                && directive.nothing_built == nothing_built
                && (directive.change == change || !nothing_built && change.is_none())
                && (directive.commit == release.commit || !nothing_built);
            if !is_same {
                return Err(open_otherwise(&directive));
            }
            // What an order waits for stands from its beginning: so none waits for one that waits for it.
            if let Some(more) = depends_on.iter().find(|needed| !directive.depends_on.contains(needed)) {
                let (id, by) = (&directive.id, &directive.created_by);
                let message = format!("`{id}` is open for these bytes, and does not depend on `{more}`");
                let hint = format!("that is said when it is ordered; `{by}` ordered it and alone may call `cancel_directive` for {id}");
                return Err(Error::new(Code::WrongState, message).hint(hint).details(json!({ "directive": id })));
            }
        }
        Ok((directive, existing))
    }

    /// Cancels an order for these bytes for which nothing was built and whose claim does not stand: it leads nowhere, and would keep
    /// whoever has built something waiting for its creator.
    async fn make_room(&self, by: &Caller, new: &NewDirective, release: &Release) -> Result<()> {
        let of_them =
            |one: &Directive| one.service == release.service && one.environment == new.environment && one.digest == release.digest;
        let open = self.store.open_directives().await?;
        let Some(refuted) = open.into_iter().find(|one| one.nothing_built && of_them(one)) else { return Ok(()) };
        let phase = self.phase_for(&refuted).await?;
        let facts = self.facts(&refuted, phase.as_ref()).await?;
        let necessity = self.necessity(&refuted, phase.as_ref(), &facts, None).await?;
        let is_checked = self.claimed_change(&refuted).await?.is_some_and(|change| change.is_checked);
        if is_checked && necessity.is_none_or(|necessity| necessity.should_skip.is_none()) {
            let open = [DirectiveState::Active, DirectiveState::InProgress];
            let reason = "its change counts as code, and what was built was ordered in its place";
            self.store.set_directive_state(by, &refuted.id, &open, DirectiveState::Cancelled, Some(reason)).await?;
        }
        Ok(())
    }

    /// Gives a directive up; only its creator may, and only while nothing was deployed.
    pub async fn cancel_directive(&self, by: &Caller, id: &DirectiveId, reason: &str) -> Result<Directive> {
        let directive = self.directive(id).await?;
        if directive.state == DirectiveState::Cancelled {
            return Ok(directive);
        }
        if directive.created_by != by.principal {
            return Err(Error::new(Code::DeniedByPolicy, format!("`{id}` was created by `{}`", directive.created_by))
                .hint("its creator may cancel it"));
        }
        let filter = crate::store::DeploymentFilter { directive: Some(id.clone()), limit: 1, ..Default::default() };
        let (deployments, _) = self.store.deployments(&filter).await?;
        if let Some(deployment) = deployments.first() {
            return Err(Error::new(Code::WrongState, format!("`{id}` has deployed: `{}`", deployment.id))
                .hint("call `rollback_deployment` to take it back"));
        }
        for record in self.store.plans_of(id).await? {
            let open = [PlanState::Planned, PlanState::AwaitingApproval, PlanState::Approved];
            self.store.move_plan(by, &record.id, &open, PlanState::Void, Some("its directive is cancelled")).await?;
        }
        let open = [DirectiveState::Active, DirectiveState::InProgress];
        // What failed before is still to be mended: the directive waits for another release, and the row of failures is not forgotten.
        let to = if directive.depth > 0 { DirectiveState::Draft } else { DirectiveState::Cancelled };
        if !self.store.set_directive_state(by, id, &open, to, Some(reason)).await? {
            return Err(Error::new(Code::WrongState, format!("`{id}` is {}", directive.state.as_str())));
        }
        self.directive(id).await
    }

    /// Returns a directive, or `not_found`.
    pub async fn directive(&self, id: &DirectiveId) -> Result<Directive> {
        self.store.directive(id).await?.ok_or_else(|| Error::not_found("directive", id))
    }

    /// Refuses unless the directive is open.
    pub async fn open_directive(&self, id: &DirectiveId) -> Result<Directive> {
        let directive = self.directive(id).await?;
        must_be_open(&directive)?;
        Ok(directive)
    }

    /// Returns a directive beside what counts for it, or `not_found`; `jobs` are its checks.
    pub async fn survey(&self, id: &DirectiveId) -> Result<Survey> {
        self.store.survey(id, checks::JOB, self.clock.now()).await?.ok_or_else(|| Error::not_found("directive", id))
    }

    /// Returns [`Engine::survey`], and refuses unless the directive is open.
    pub async fn open_survey(&self, id: &DirectiveId) -> Result<Survey> {
        let survey = self.survey(id).await?;
        must_be_open(&survey.directive)?;
        Ok(survey)
    }

    /// Returns the phase the environment's configuration names; never the agent's choice.
    pub async fn phase_of(&self, environment: &EnvironmentName) -> Result<Option<Phase>> {
        self.phase_in(&self.applied(environment).await?.config, environment)
    }

    /// Returns the phase a configuration names for an environment.
    pub(super) fn phase_in(&self, config: &ProjectConfig, environment: &EnvironmentName) -> Result<Option<Phase>> {
        let Some(name) = config.environment(environment).and_then(|environment| environment.phase.clone()) else { return Ok(None) };
        let own = config.phases.get(&name).and_then(|text| self.recalled.of(text));
        own.or_else(|| phases::builtin(&name).cloned()).map(Some).ok_or_else(|| Error::not_found("phase", &name))
    }

    /// Returns the project's own phases, as the newest configuration has them.
    pub async fn own_phases(&self) -> Result<Vec<Phase>> {
        let newest = self.newest().await?;
        let texts = newest.iter().flat_map(|applied| applied.config.phases.values());
        Ok(texts.filter_map(|text| self.recalled.of(text)).collect())
    }

    /// Returns the phase a directive was begun under, as its file stood then; where none was, the one in force.
    ///
    /// Its steps and exits are those it was begun for. Gates are always those in force: what is asked of a release is what is applied now.
    pub async fn phase_for(&self, directive: &Directive) -> Result<Option<Phase>> {
        let in_force = self.phase_of(&directive.environment).await?;
        self.phase_begun(directive, in_force).await
    }

    /// Returns [`Engine::phase_for`] of a directive beside the phase in force.
    pub(super) async fn phase_begun(&self, directive: &Directive, in_force: Option<Phase>) -> Result<Option<Phase>> {
        let Some(sha256) = &directive.phase_sha256 else { return Ok(in_force) };
        if in_force.as_ref().is_some_and(|phase| phase.sha256 == *sha256) {
            return Ok(in_force);
        }
        Ok(self.phase_with(sha256).await?.or(in_force))
    }

    /// Returns the phase whose file has this hash: one of Interlock's, or one that something was begun under.
    pub(super) async fn phase_with(&self, sha256: &Sha256) -> Result<Option<Phase>> {
        match phases::all().iter().find(|phase| phase.sha256 == *sha256) {
            Some(phase) => Ok(Some(phase.clone())),
            None => Ok(self.store.phase_text(sha256).await?.and_then(|text| self.recalled.of(&text))),
        }
    }

    async fn resolve_commit(&self, asked: Option<&str>) -> Result<Option<String>> {
        let root = &self.workspace.root;
        match asked {
            None => Ok(git::commit(root, "HEAD").await),
            Some(revision) => match git::commit(root, revision).await {
                Some(id) => Ok(Some(id)),
                None => Err(Error::invalid(format!("no commit `{}` in the workspace's repository", text::visible_line(revision, 80)))),
            },
        }
    }
}

/// Refuses a directive that is over.
fn must_be_open(directive: &Directive) -> Result<()> {
    match directive.state.is_open() {
        true => Ok(()),
        false => Err(Error::new(Code::WrongState, format!("`{}` is {}", directive.id, directive.state.as_str()))
            .hint("create a new directive for further work")),
    }
}

/// Refuses an order for bytes that another one is open for.
fn open_otherwise(directive: &Directive) -> Error {
    let change = directive.change.map(|change| format!(", as {}", change.as_str())).unwrap_or_default();
    let (id, version) = (&directive.id, &directive.version);
    let message = match directive.nothing_built {
        true => {
            let commit = directive.commit.as_deref().map(|commit| format!(" at commit {commit}")).unwrap_or_default();
            format!("`{id}` is open with nothing built{change}{commit}")
        }
        false => format!("`{id}` is open for these bytes as version {version}{change}"),
    };
    let by = &directive.created_by;
    let hint = format!(
        "the bytes are the same: use that directive or complete it; `{by}` ordered it and alone may call `cancel_directive` for {id}"
    );
    Error::new(Code::WrongState, message).hint(hint).details(json!({ "directive": id }))
}

/// Returns version and artifact of what was built; none where neither is given.
fn built(version: Option<String>, artifact: Option<String>) -> Result<Option<(String, String)>> {
    let lacking = match (version, artifact) {
        (None, None) => return Ok(None),
        (Some(version), Some(artifact)) => {
            check_version(&version)?;
            return Ok(Some((version, artifact)));
        }
        (Some(_), None) => "`version` is given without `artifact`",
        (None, Some(_)) => "`artifact` is given without `version`",
    };
    Err(Error::invalid(lacking).hint("give both of what was built, or neither and `change` where nothing was"))
}

fn check_version(version: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".+_-".contains(&byte);
    match (1..=64).contains(&version.len()) && version.bytes().all(fits) && version.as_bytes()[0].is_ascii_alphanumeric() {
        true => Ok(()),
        false => Err(Error::invalid("`version` has 1 to 64 letters, digits, `.`, `-`, `_` or `+`, and begins with a letter or digit")),
    }
}
