//! The named facts a phase's checklist asks for, computed from the record alone. A fact nobody supplied is missing, and asks.

use super::Engine;
use crate::{
    error::Result,
    model::{Deployment, DeploymentState, Directive, JournalEntry, PlanState, Purpose, RunbookId, StepState, Verdict},
    store::{DeploymentFilter, RunbookState, RunbookVersion},
};
use std::collections::BTreeMap;

pub use crate::phases::Fact;

impl Engine {
    /// Returns every fact the server can compute about a directive.
    pub async fn facts(&self, directive: &Directive) -> Result<BTreeMap<String, Fact>> {
        let mut facts = BTreeMap::new();
        let mut set = |name: &str, fact: Fact| {
            // What is missing asks in the words of the catalog of facts.
            let fact = if matches!(fact, Fact::Missing(_)) { Fact::missing(name, directive.id.as_str()) } else { fact };
            facts.insert(name.to_owned(), fact);
        };
        let verdicts = self.store.verdicts(&directive.id).await?;
        let said = |verdict: Option<Verdict>| match verdict {
            Some(Verdict::Pass) => Fact::True,
            Some(Verdict::Fail) => Fact::False,
            Some(Verdict::Inconclusive) | None => Fact::Missing(String::new()),
        };
        let of = |gate: &str| verdicts.iter().find(|result| result.gate.as_str() == gate).map(|result| result.verdict);
        let worst = verdicts.iter().map(|result| result.verdict).max_by_key(|verdict| match verdict {
            Verdict::Pass => 0,
            Verdict::Inconclusive => 1,
            Verdict::Fail => 2,
        });
        set("gates_pass", said(worst));
        set("secrets_present", said(of("secrets")));
        let signed = self.store.sign_offs(&directive.id).await?;
        let uat = signed.iter().any(|sign_off| sign_off.fact == "uat" && sign_off.digest == directive.digest);
        set("uat_signed", if uat { Fact::True } else { Fact::Missing(String::new()) });

        let plans = self.store.plans_of(&directive.id).await?;
        let forward: Vec<_> = plans.iter().filter(|record| record.plan.purpose == Purpose::Deploy).collect();
        let any = |states: &[PlanState]| forward.iter().any(|record| states.contains(&record.state));
        use PlanState::{Approved, AwaitingApproval, Planned, Rejected, Used};
        set("plan_ready", truth(any(&[Planned, AwaitingApproval, Approved, Used])));
        set(
            "approved",
            if any(&[Planned, Approved, Used]) {
                Fact::True
            } else if any(&[Rejected]) {
                Fact::False
            } else {
                Fact::Missing(String::new())
            },
        );

        let latest = self.latest_deployment(directive).await?;
        let state = latest.as_ref().map(|deployment| (deployment.state, deployment.rolled_back_by.is_some()));
        set(
            "deployed",
            match state {
                Some((DeploymentState::Succeeded, false)) => Fact::True,
                Some((DeploymentState::RolledBack | DeploymentState::Stuck, _) | (DeploymentState::Succeeded, true)) => Fact::False,
                _ => Fact::Missing(String::new()),
            },
        );
        let journal = match &latest {
            Some(deployment) => self.store.journal(&deployment.id).await?,
            None => Vec::new(),
        };
        set("smoke_passed", step_fact(&journal, "verify-listener"));
        set("verified", step_fact(&journal, "bake"));
        let artifacts = self.store.artifacts(&directive.id).await?;
        let written = |kind: &str| truth(artifacts.iter().any(|artifact| artifact.name == kind));
        set("report_written", written("smoke_report"));
        set("logs_written", written("deploy_logs"));
        let runbooks = self.runbooks_of(directive).await?;
        let any = |states: &[RunbookState]| runbooks.iter().any(|runbook| states.contains(&runbook.state));
        set("runbook_written", truth(any(&[RunbookState::InReview, RunbookState::Published])));
        set("runbook_published", truth(any(&[RunbookState::Published])));
        Ok(facts)
    }

    /// Returns the versions of the runbook that were written for a directive, newest first.
    pub async fn runbooks_of(&self, directive: &Directive) -> Result<Vec<RunbookVersion>> {
        let id = RunbookId::of(&directive.environment, &directive.service);
        let mut versions = self.store.runbook_versions(&id).await?;
        versions.retain(|version| version.directive == directive.id);
        versions.sort_by_key(|version| std::cmp::Reverse(version.version));
        Ok(versions)
    }

    /// Returns the newest forward deployment of a directive.
    pub async fn latest_deployment(&self, directive: &Directive) -> Result<Option<Deployment>> {
        let filter = DeploymentFilter { directive: Some(directive.id.clone()), limit: 50, ..Default::default() };
        let (deployments, _) = self.store.deployments(&filter).await?;
        Ok(deployments.into_iter().find(|deployment| deployment.purpose == Purpose::Deploy))
    }

    /// Returns the exit gates of a directive that do not hold; none means that it is done.
    pub async fn exit_gates(&self, directive: &Directive) -> Result<Vec<(String, Fact)>> {
        let facts = self.facts(directive).await?;
        let asked = match self.phase_for(directive).await? {
            Some(phase) => phase.exit.clone(),
            None => vec!["deployed".to_owned()],
        };
        let fact = |name: &String| facts.get(name).cloned().unwrap_or_else(|| Fact::missing(name, directive.id.as_str()));
        let mut open: Vec<(String, Fact)> =
            asked.into_iter().map(|name| (name.clone(), fact(&name))).filter(|(_, fact)| *fact != Fact::True).collect();
        for (name, fact) in self.lacks_for_its_stage(directive).await? {
            if open.iter().all(|(known, _)| *known != name) {
                open.push((name, fact));
            }
        }
        Ok(open)
    }
}

fn truth(holds: bool) -> Fact {
    if holds { Fact::True } else { Fact::Missing(String::new()) }
}

fn step_fact(journal: &[JournalEntry], step: &str) -> Fact {
    match journal.iter().find(|entry| entry.step.as_str() == step).map(|entry| entry.state) {
        Some(StepState::Done) => Fact::True,
        Some(StepState::Failed) => Fact::False,
        _ => Fact::Missing(String::new()),
    }
}
