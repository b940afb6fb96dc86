//! The named facts a phase's checklist asks for, computed from the record alone. A fact nobody supplied is missing, and asks.

use super::{
    Engine,
    environment_setup::{SetupFact, is_ready, setup},
};
use crate::{
    error::Result,
    model::{Deployment, DeploymentState, Directive, GateResult, JournalEntry, PlanState, Purpose, StepState, Verdict},
    phases::{FACTS, Phase},
    store::{self, Artifact, DeploymentFilter, PlanRecord, RunbookState, RunbookVersion, Survey},
};
use std::collections::{BTreeMap, BTreeSet};

pub use crate::phases::Fact;

/// What the record has of a directive's work.
pub(super) struct Seen {
    pub verdicts: Vec<GateResult>,
    /// The newest forward deployment.
    pub latest: Option<Deployment>,
    /// Its journal.
    pub journal: Vec<JournalEntry>,
    pub artifacts: Vec<Artifact>,
    pub plans: Vec<PlanRecord>,
    pub setup: Vec<SetupFact>,
    /// The versions of its runbook, newest first.
    pub runbooks: Vec<RunbookVersion>,
    /// How many facts people have decided.
    pub signed: u64,
}

impl Seen {
    /// Returns what a gate said last; none while nobody knows.
    pub fn verdict(&self, gate: &str) -> Option<Verdict> {
        let verdict = self.verdicts.iter().find(|result| result.gate.as_str() == gate).map(|result| result.verdict);
        verdict.filter(|verdict| *verdict != Verdict::Inconclusive)
    }
}

impl Engine {
    /// Returns every fact a phase asks about a directive, and those of every deployment.
    pub async fn facts(&self, directive: &Directive, phase: Option<&Phase>) -> Result<BTreeMap<String, Fact>> {
        self.facts_by(directive, phase, &self.seen(&self.survey(&directive.id).await?).await?).await
    }

    /// Reads what the record has of a directive's work.
    pub(super) async fn seen(&self, survey: &Survey) -> Result<Seen> {
        let (id, store) = (&survey.directive.id, &self.store);
        let ((plans, latest, journal), verdicts, artifacts, runbooks) = tokio::try_join!(
            self.planned(survey),
            store.verdicts(id),
            unless_none(survey.artifacts, store.artifacts(id)),
            unless_none(survey.runbooks, store.runbook_versions_for(id)),
        )?;
        let setup = setup(survey.revisions.into(), &verdicts);
        Ok(Seen { latest, journal, artifacts, plans, setup, runbooks, verdicts, signed: survey.facts })
    }

    /// Returns the plans of a directive, and its newest forward deployment with its journal.
    async fn planned(&self, survey: &Survey) -> store::Result<(Vec<PlanRecord>, Option<Deployment>, Vec<JournalEntry>)> {
        // Plans first: one that is used by then has its deployment, and without one there is none.
        let plans = unless_none(survey.plans, self.store.plans_of(&survey.directive.id)).await?;
        if plans.iter().all(|record| record.state != PlanState::Used) {
            return Ok((plans, None, Vec::new()));
        }
        let latest = newest_forward(self.store.deployments(&deployments_of(&survey.directive)).await?);
        let journal = match &latest {
            Some(deployment) => self.store.journal(&deployment.id).await?,
            None => Vec::new(),
        };
        Ok((plans, latest, journal))
    }

    /// Returns [`Engine::facts`] by what was read of the record.
    pub(super) async fn facts_by(&self, directive: &Directive, phase: Option<&Phase>, seen: &Seen) -> Result<BTreeMap<String, Fact>> {
        let mut known: BTreeMap<&str, Option<bool>> = facts_of_work(seen).into_iter().collect();
        let asked: BTreeSet<&str> = phase.into_iter().flat_map(Phase::asked_facts).collect();
        if asked.iter().any(|fact| !known.contains_key(fact)) {
            known.extend(self.facts_of_place(directive, seen).await?);
        }
        // Last of all: what a person denies while the rest is looked at counts.
        let signed = unless_none(seen.signed, self.store.sign_offs(&directive.id)).await?;
        for kind in FACTS.iter().filter(|kind| kind.signed.is_some()) {
            let is_over_it = |fact: &str| kind.signed == Some(fact) || kind.denied == Some(fact);
            let last = signed.iter().rev().find(|sign_off| sign_off.digest == directive.digest && is_over_it(&sign_off.fact));
            let fact = known.entry(kind.name).or_insert(None);
            match last {
                Some(sign_off) if kind.signed == Some(sign_off.fact.as_str()) => *fact = Some(true),
                // What the record shows, nobody signs away.
                Some(_) if *fact != Some(true) => *fact = Some(false),
                _ => (),
            }
        }
        let shown = |(name, known): (&str, Option<bool>)| {
            let fact = match known {
                Some(true) => Fact::True,
                Some(false) => Fact::False,
                None => Fact::missing(name, directive.id.as_str()),
            };
            (name.to_owned(), fact)
        };
        Ok(known.into_iter().map(shown).collect())
    }

    /// Returns the newest forward deployment of a directive.
    pub async fn latest_deployment(&self, directive: &Directive) -> Result<Option<Deployment>> {
        Ok(newest_forward(self.store.deployments(&deployments_of(directive)).await?))
    }

    /// Returns the exit gates of a directive that do not hold, by the facts of its phase; none means that it is done.
    pub async fn exit_gates(
        &self,
        directive: &Directive,
        phase: Option<&Phase>,
        facts: &BTreeMap<String, Fact>,
    ) -> Result<Vec<(String, Fact)>> {
        let open: Vec<&str> = match phase {
            Some(phase) => phase.open_exits(facts).collect(),
            None => ["deployed"].into_iter().filter(|fact| facts.get(*fact) != Some(&Fact::True)).collect(),
        };
        let fact = |name: &str| facts.get(name).cloned().unwrap_or_else(|| Fact::missing(name, directive.id.as_str()));
        let mut open: Vec<(String, Fact)> = open.into_iter().map(|name| (name.to_owned(), fact(name))).collect();
        for (name, fact) in self.lacks_for_its_stage(directive).await? {
            if open.iter().all(|(known, _)| *known != name) {
                open.push((name, fact));
            }
        }
        Ok(open)
    }
}

/// Asks for what was counted, unless there is none.
async fn unless_none<T>(count: u64, asked: impl Future<Output = store::Result<Vec<T>>>) -> store::Result<Vec<T>> {
    match count {
        0 => Ok(Vec::new()),
        _ => asked.await,
    }
}

fn deployments_of(directive: &Directive) -> DeploymentFilter {
    DeploymentFilter { directive: Some(directive.id.clone()), limit: 50, ..Default::default() }
}

fn newest_forward((deployments, _): (Vec<Deployment>, Option<i64>)) -> Option<Deployment> {
    deployments.into_iter().find(|deployment| deployment.purpose == Purpose::Deploy)
}

/// Returns the facts of every deployment: gates, plan, approval, what came of it, and what was written.
fn facts_of_work(seen: &Seen) -> Vec<(&'static str, Option<bool>)> {
    let worst = seen.verdicts.iter().map(|result| result.verdict).max_by_key(|verdict| match verdict {
        Verdict::Pass => 0,
        Verdict::Inconclusive => 1,
        Verdict::Fail => 2,
    });
    let said = |verdict: Option<Verdict>| match verdict {
        Some(Verdict::Pass) => Some(true),
        Some(Verdict::Fail) => Some(false),
        Some(Verdict::Inconclusive) | None => None,
    };
    let passed = |gate: &str| said(seen.verdict(gate));
    let forward: Vec<_> = seen.plans.iter().filter(|record| record.plan.purpose == Purpose::Deploy).collect();
    let any = |states: &[PlanState]| forward.iter().any(|record| states.contains(&record.state));
    use PlanState::{Approved, AwaitingApproval, Planned, Rejected, Used};
    let approved = match any(&[Planned, Approved, Used]) {
        true => Some(true),
        false => any(&[Rejected]).then_some(false),
    };
    let deployed = match seen.latest.as_ref().map(|deployment| (deployment.state, deployment.rolled_back_by.is_some())) {
        Some((DeploymentState::Succeeded, false)) => Some(true),
        Some((DeploymentState::RolledBack | DeploymentState::Stuck, _) | (DeploymentState::Succeeded, true)) => Some(false),
        _ => None,
    };
    let written = |kind: &str| seen.artifacts.iter().any(|artifact| artifact.name == kind).then_some(true);
    let any_runbook = |states: &[RunbookState]| seen.runbooks.iter().any(|runbook| states.contains(&runbook.state)).then_some(true);
    vec![
        ("gates_pass", said(worst)),
        ("secrets_present", passed("secrets")),
        ("environment_ready", is_ready(&seen.setup)),
        ("rollback_ready", passed("rollback_ready")),
        ("alerts_nominal", passed("alerts")),
        ("logs_clean", passed("logs")),
        ("quota_sufficient", passed("quota")),
        ("tested_before", passed("promoted_from")),
        ("plan_ready", any(&[Planned, AwaitingApproval, Approved, Used]).then_some(true)),
        ("assessed", forward.iter().any(|record| record.state != PlanState::Void && record.plan.assessment.is_some()).then_some(true)),
        ("approved", approved),
        ("deployed", deployed),
        ("smoke_passed", step_fact(&seen.journal, "verify-listener")),
        ("verified", step_fact(&seen.journal, "bake")),
        ("report_written", written("smoke_report")),
        ("logs_written", written("deploy_logs")),
        ("runbook_written", any_runbook(&[RunbookState::InReview, RunbookState::Published])),
        ("runbook_published", any_runbook(&[RunbookState::Published])),
        ("uat_signed", None),
    ]
}

fn step_fact(journal: &[JournalEntry], step: &str) -> Option<bool> {
    match journal.iter().find(|entry| entry.step.as_str() == step).map(|entry| entry.state) {
        Some(StepState::Done) => Some(true),
        Some(StepState::Failed) => Some(false),
        _ => None,
    }
}
