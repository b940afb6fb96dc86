//! Whether there is anything to deploy: what a phase's `skip_when` says of a directive, and the skip with its reason in the record.
//!
//! Only a fact of the record or a person's signature skips. Once something was deployed under a directive, nothing skips it any more.

use super::{Engine, progression::Step};
use crate::{
    error::Result,
    model::{Caller, Deployment, Directive, Purpose},
    phases::{Fact, Phase, fact_kind},
};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// The fact that a way back is under way; it is over by itself, and what was ordered is still to be deployed then.
pub const EMERGENCY_ROLLBACK: &str = "emergency_rollback";

/// Whether a phase is to be gone through for a directive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Necessity {
    /// Its inputs are there, there is something to deploy, and nothing skips it.
    pub can_execute: bool,
    /// Something has changed that only a deployment brings to customers.
    pub requires_deployment: bool,
    /// What skips it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub should_skip: Option<SkipReason>,
}

/// Why a phase is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkipReason {
    /// The fact.
    pub fact: String,
    /// In words.
    pub reason: String,
}

impl Engine {
    /// Returns whether a phase is to be gone through; `None` for a phase that nothing skips, and once something was deployed.
    pub async fn necessity(
        &self,
        directive: &Directive,
        phase: Option<&Phase>,
        facts: &BTreeMap<String, Fact>,
        deployment: Option<&Deployment>,
    ) -> Result<Option<Necessity>> {
        let Some(phase) = phase.filter(|phase| !phase.skip_when.is_empty() && deployment.is_none() && directive.state.is_open()) else {
            return Ok(None);
        };
        let holds = |fact: &str| facts.get(fact) == Some(&Fact::True);
        // A place that serves development is skipped all the same, and what changes there is still brought by deploying.
        let is_for_development = holds("development_only") && holds("production");
        let changes_nothing = ["documentation_only", "configuration_only", "already_deployed"].into_iter().any(holds);
        let requires_deployment = !changes_nothing && !is_for_development;
        let should_skip = match phase.skipped_by(facts) {
            Some(fact) => Some(SkipReason { fact: fact.to_owned(), reason: self.reason(directive, fact).await? }),
            None => None,
        };
        let can_execute = phase.has_inputs(facts) && requires_deployment && should_skip.is_none();
        Ok(Some(Necessity { can_execute, requires_deployment, should_skip }))
    }

    /// Completes a directive whose phase leaves nothing to do, with the reason in the record; `None` when there is something to do.
    pub async fn skip(&self, by: &Caller, directive: &Directive) -> Result<Option<SkipReason>> {
        let step = Step::of("complete_directive", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        let phase = self.phase_for(directive).await?;
        if phase.as_ref().is_none_or(|phase| phase.skip_when.is_empty()) {
            return Ok(None);
        }
        let facts = self.facts(directive, phase.as_ref()).await?;
        let deployment = self.latest_deployment(directive).await?;
        let necessity = self.necessity(directive, phase.as_ref(), &facts, deployment.as_ref()).await?;
        let Some(skip) = necessity.and_then(|necessity| necessity.should_skip) else { return Ok(None) };
        let is_skipped = self.store.skip_phase(by, &directive.id, &skip.fact, &skip.reason).await?;
        Ok(is_skipped.then_some(skip))
    }

    async fn reason(&self, directive: &Directive, fact: &str) -> Result<String> {
        let says = fact_kind(fact).map_or(fact, |kind| kind.says);
        let signed = self.store.sign_offs(&directive.id).await?;
        if let Some(sign_off) = signed.iter().rev().find(|sign_off| sign_off.fact == fact && sign_off.digest == directive.digest) {
            return Ok(format!("{says}, as {} has signed", sign_off.approver));
        }
        if fact == "development_only" && !self.service(&directive.environment, &directive.service).await?.1.is_production() {
            return Ok("the environment serves development, and nobody approves what goes there".into());
        }
        if fact == EMERGENCY_ROLLBACK
            && let Some(back) = self.way_back_under_way(directive).await?
        {
            return Ok(match &back.purpose {
                Purpose::Rollback { .. } => format!("{says}: {} brings back {}", back.id, back.version),
                Purpose::Deploy => format!("{says}: {} takes {} back", back.id, back.version),
            });
        }
        match self.base(&directive.service, &directive.environment).await? {
            Some(base) if fact == "already_deployed" => Ok(format!("{says}: {} brought them as {}", base.deployment, base.version)),
            _ => Ok(says.to_owned()),
        }
    }
}
