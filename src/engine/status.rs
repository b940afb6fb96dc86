//! Where things stand: a directive with everything that hangs on it, and the overview of all environments.

use super::{
    Engine,
    change::ChangeSeen,
    close_watch::CloseWatch,
    environment_setup::SetupFact,
    facts::{Fact, Seen},
    freezing,
    necessity::Necessity,
    progression,
    stuck::{self, Stuck},
};
use crate::{
    config::Progression,
    error::Result,
    model::{
        Choice, Deployment, DeploymentState, Directive, DirectiveId, DirectiveState, EnvironmentName, GateResult, PlanState, Purpose,
        ServiceName, Timestamp,
    },
    phases::{Phase, Standing},
    store::{self, Frozen, InForce, InPlace, PhaseSkip, PlanRecord, RunbookVersion, Survey},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// A directive with everything that hangs on it.
pub struct DirectiveView {
    /// The directive.
    pub directive: Directive,
    /// The newest verdict of each gate.
    pub gates: Vec<GateResult>,
    /// Whether checks run now.
    pub is_checking: bool,
    /// The newest forward plan.
    pub plan: Option<PlanRecord>,
    /// The newest forward deployment.
    pub deployment: Option<Deployment>,
    /// A rollback of it that is under way.
    pub rollback: Option<Deployment>,
    /// Exit gates that do not hold.
    pub missing: Vec<(String, Fact)>,
    /// Runbooks written for it.
    pub runbooks: Vec<RunbookVersion>,
    /// The phase that governs it.
    pub phase: Option<Phase>,
    /// The phase's steps, held against the record.
    pub checklist: Checklist,
    /// Whether its phase is to be gone through at all, where the phase says what skips it.
    pub necessity: Option<Necessity>,
    /// What its change counts as, where its creator has said what it is.
    pub change: Option<ChangeSeen>,
    /// How the close watch over its release stands.
    pub close_watch: Option<CloseWatch>,
    /// Why its phase was skipped.
    pub skipped: Option<PhaseSkip>,
    /// Whether configuration, infrastructure and secrets are there.
    pub setup: Vec<SetupFact>,
    /// Whether a plan needs an assessment that nobody has written yet.
    pub unassessed: bool,
    /// How its deployment stands.
    pub course: Course,
    /// When it was looked at.
    pub now: Timestamp,
}

/// Where a phase's steps stand.
#[derive(Debug, Clone, Default)]
pub struct Checklist {
    /// What one needs to know of the current step; none when every step is done or skipped.
    pub step: Option<String>,
    /// What the current step asks, fact and question.
    pub asked: Vec<(String, String)>,
    /// What is asked for each exit: itself, or first whether the step that brings it is needed.
    pub exits: BTreeMap<String, String>,
    /// Steps that are skipped, each with the fact of the record that skips it.
    pub skipped: Vec<String>,
}

impl Checklist {
    fn of(phase: &Phase, facts: &BTreeMap<String, Fact>) -> Self {
        let exits = phase.open_exits(facts).map(|exit| (exit.to_owned(), phase.asked_for(exit, facts).to_owned())).collect();
        let mut checklist = Checklist { exits, ..Checklist::default() };
        for (step, standing) in phase.checklist(facts) {
            match standing {
                Standing::Skipped(why) => checklist.skipped.push(format!("{}: {why}", step.id)),
                Standing::Current(asked) => {
                    checklist.step = Some(phase.told(step, &asked));
                    checklist.asked = asked;
                }
                Standing::Done | Standing::Open => (),
            }
        }
        checklist
    }
}

/// How a deployment, or one that is planned, stands: how far it has come, and what keeps it from going on by itself.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// The share of the traffic the new set has, percent; none before the first move.
    pub share: Option<u32>,
    /// When the watch over all traffic ends.
    pub watched_until: Option<Timestamp>,
    /// The freeze that lasts longest.
    pub frozen: Option<InForce>,
    /// What a person must choose about.
    pub stuck: Option<Stuck>,
    /// Whether a person begins every step there.
    pub is_manual: bool,
}

/// One service in one environment.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// The environment.
    pub environment: EnvironmentName,
    /// The service.
    pub service: ServiceName,
    /// What serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serves: Option<String>,
    /// The deployment whose set serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// A deployment under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_way: Option<String>,
    /// Which freeze is in force, until when and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// What a person must run before anything goes on here.
    #[serde(skip)]
    pub person: Option<String>,
    /// What a deployment there requires.
    pub requires: String,
    /// The address customers connect to.
    pub listen: String,
}

/// Where everything stands.
#[derive(Debug, Default)]
pub struct Overview {
    /// Every service in every environment.
    pub places: Vec<Place>,
    /// Whether the file on disk differs from the newest revision, which alone counts.
    pub is_drifted: bool,
    /// The directives that are open, and the drafts that wait for a release, newest first.
    pub directives: Vec<InPlace<DirectiveId, DirectiveState>>,
}

impl Engine {
    /// Returns a directive with everything that hangs on it.
    pub async fn view(self: &Arc<Self>, id: &DirectiveId) -> Result<DirectiveView> {
        // First of all: when its checks have ended by then, their verdicts are there.
        let survey = self.survey(id).await?;
        let seen = self.seen(&survey).await?;
        let Survey { directive, revisions, jobs, freezes, .. } = survey;
        let config = self.applied_by(&directive.environment, revisions).await?.config;
        let phase = self.phase_begun(&directive, self.phase_in(&config, &directive.environment)?).await?;
        let facts = self.facts_by(&directive, phase.as_ref(), &seen).await?;
        let Seen { verdicts: gates, latest: deployment, plans, setup, runbooks, .. } = seen;
        let newest = plans
            .into_iter()
            .filter(|record| record.plan.purpose == Purpose::Deploy)
            .max_by_key(|record| (record.state != PlanState::Void, record.created_at));
        let rollback = match &deployment {
            Some(deployment) => self.store.rollback_of(&deployment.id).await?.filter(is_open),
            None => None,
        };
        let (mut checklist, mut necessity) = (Checklist::default(), None);
        if let Some(phase) = &phase {
            checklist = Checklist::of(phase, &facts);
            necessity = self.necessity(&directive, Some(phase), &facts, deployment.as_ref()).await?;
        }
        let skipped = match directive.state {
            // What was deployed was not skipped.
            DirectiveState::Completed if deployment.is_none() => self.store.phase_skip(&directive.id).await?,
            _ => None,
        };
        let is_manual = progression::is_manual(&config, &directive.environment);
        let course = match rollback.as_ref().or(deployment.as_ref().filter(|deployment| is_open(deployment))) {
            Some(deployment) => self.course_where(deployment, is_manual).await?,
            None if freezes == 0 => Course { is_manual, ..Course::default() },
            None => Course { frozen: self.frozen(&directive.environment).await?, is_manual, ..Course::default() },
        };
        let close_watch = match &deployment {
            Some(deployment) => self.close_watch(deployment).await?,
            None => None,
        };
        let said = newest.as_ref().is_some_and(|record| record.plan.assessment.is_some());
        let unassessed = !said && directive.state.is_open() && self.needs_assessment(&directive, phase.as_ref()).await?;
        Ok(DirectiveView {
            unassessed,
            setup,
            gates,
            is_checking: jobs > 0,
            plan: newest,
            deployment,
            rollback,
            missing: match directive.state.is_open() {
                true => self.exit_gates(&directive, phase.as_ref(), &facts).await?,
                false => Vec::new(),
            },
            runbooks,
            phase,
            checklist,
            necessity,
            change: if directive.state.is_open() { self.claimed_change(&directive).await? } else { None },
            close_watch,
            skipped,
            course,
            now: self.clock.now(),
            directive,
        })
    }

    /// Returns how a deployment stands.
    pub async fn course(self: &Arc<Self>, deployment: &Deployment) -> Result<Course> {
        self.course_where(deployment, self.is_manual(&deployment.environment).await?).await
    }

    async fn course_where(self: &Arc<Self>, deployment: &Deployment, is_manual: bool) -> Result<Course> {
        let can_be_frozen = !deployment.state.is_settled() && deployment.state != DeploymentState::RollingBack;
        let frozen = match &deployment.purpose {
            Purpose::Deploy if can_be_frozen => self.frozen(&deployment.environment).await?,
            _ => None,
        };
        let moved = self.last_move(deployment).await?;
        let (share, watched_until) = moved.map_or((None, None), |(share, until)| (Some(share), until));
        Ok(Course { share, watched_until, frozen, stuck: self.stuck(deployment).await?, is_manual })
    }

    /// Returns the freeze of an environment that lasts longest.
    async fn frozen(&self, environment: &EnvironmentName) -> Result<Option<InForce>> {
        Ok(longest(self.store.frozen(self.clock.now()).await?.of(environment)).cloned())
    }

    /// Returns every service in every environment, and what is ordered; each question about them is asked once for all.
    pub async fn overview(&self) -> Result<Overview> {
        let (store, now) = (&self.store, self.clock.now());
        let store::Standing { configuration, freezes, directives, under_way, serving } = store.standing(now).await?;
        let Some(configuration) = configuration else { return Ok(Overview { directives, ..Overview::default() }) };
        let freezes = match freezes {
            0 => Frozen::default(),
            _ => store.frozen(now).await?,
        };
        let is_drifted = self.is_drifted(&self.applied_revision(configuration.newest).await?.sha256);
        let mut places = Vec::new();
        for counting in self.environments_by(configuration).await? {
            let environment = counting.environment();
            let frozen = longest(freezes.of(&environment.name));
            let mut requires = Vec::new();
            if !counting.is_in_force {
                requires.push("its configuration signed first".to_owned());
            }
            requires.extend(environment.phase.iter().map(|phase| format!("phase {phase}")));
            requires.extend(environment.after.iter().map(|after| format!("after {after}")));
            requires.extend(environment.approval.iter().map(|approval| format!("approval of {}", approval.role)));
            match environment.progression {
                Progression::Manual => requires.push("a person for every step".to_owned()),
                Progression::Assisted => (),
                Progression::Auto => requires.push("then goes on by itself".to_owned()),
            }
            if requires.is_empty() {
                requires.push("nothing but the server's own gates".to_owned());
            }
            for (service, spec) in &environment.services {
                let here = |one: &&InPlace<_, _>| one.environment == environment.name && &one.service == service;
                let (serving, under_way) = (serving.iter().find(here), under_way.iter().find(here));
                let stuck = under_way.filter(|deployment| deployment.state == DeploymentState::Stuck);
                let chooses = stuck.map(|deployment| stuck::command(&deployment.id, Choice::Retry));
                places.push(Place {
                    environment: environment.name.clone(),
                    service: service.clone(),
                    serves: serving.map(|deployment| deployment.version.clone()),
                    deployment: serving.map(|deployment| deployment.id.to_string()),
                    under_way: under_way
                        .map(|deployment| format!("{} {} is {}", deployment.id, deployment.version, deployment.state.as_str())),
                    person: chooses.or_else(|| frozen.map(|frozen| freezing::command(&frozen.freeze.id))),
                    frozen: frozen.map(InForce::short),
                    requires: requires.join(", "),
                    listen: spec.front(),
                });
            }
        }
        Ok(Overview { places, is_drifted, directives })
    }
}

/// Returns the freeze that lasts longest: when it is over, so are the others.
fn longest<'a>(freezes: impl Iterator<Item = &'a InForce>) -> Option<&'a InForce> {
    freezes.max_by_key(|freeze| (freeze.until.is_none(), freeze.until))
}

/// Tells whether a deployment still occupies its environment.
fn is_open(deployment: &Deployment) -> bool {
    !deployment.state.is_settled() || deployment.state == DeploymentState::Stuck
}

impl DirectiveView {
    /// Returns the deployment that is under way for it, forward or back.
    pub fn under_way(&self) -> Option<&Deployment> {
        self.rollback.as_ref().or(self.deployment.as_ref().filter(|deployment| !deployment.state.is_settled()))
    }

    /// Tells whether its deployment is in force: succeeded and not taken back.
    pub fn is_deployed(&self) -> bool {
        self.deployment
            .as_ref()
            .is_some_and(|deployment| deployment.state == DeploymentState::Succeeded && deployment.rolled_back_by.is_none())
    }
}
