//! A plan: the frozen steps of one deployment with its rollback. No clock, port or random value stands in it, so the same input gives the same plan.

use super::{
    assessment::Assessment,
    data::{DataReturn, HookPoint, PlannedMigration, PlannedReturn},
    digest::Sha256,
    ids::*,
    metric::MetricSpec,
    rollout::Strategy,
};
use serde::{Deserialize, Serialize};

/// The frozen, typed steps of one deployment. Its canonical JSON's SHA-256 is its name and what an approval signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The shape of this document; 1.
    pub schema: u32,
    /// `[project] name`.
    pub project: String,
    /// The directive it serves.
    pub directive: DirectiveId,
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Forward, or back.
    pub purpose: Purpose,
    /// The version that will serve afterwards.
    pub version: String,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// The digest of its bytes.
    pub digest: Sha256,
    /// What it replaces; none for a first deployment.
    pub base: Option<Base>,
    /// Counted from the record: 1, and one more after a used or void plan.
    pub attempt: u32,
    /// How traffic moves.
    pub strategy: Strategy,
    /// SHA-256 of the effective configuration of this service × environment.
    pub config_sha256: Sha256,
    /// The phase that governs it, and the hash of its file.
    pub phase: Option<PlannedPhase>,
    /// The gates it rests on.
    pub gates: Vec<PlannedGate>,
    /// Gates over the live world, run again at execution and not bound.
    pub live_gates: Vec<GateName>,
    /// The migrations it runs, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<PlannedMigration>,
    /// The data that a way back takes back with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_return: Option<PlannedReturn>,
    /// The earlier deployment whose release a person has decided to bring back, further than what served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_to: Option<DeploymentId>,
    /// What will be done, in order.
    pub steps: Vec<Step>,
    /// The way back.
    pub rollback: Rollback,
    /// The argv an instance is started with, places unfilled.
    pub command: Vec<String>,
    /// What the router promises.
    pub guarantees: Guarantees,
    /// When traffic goes back by itself.
    pub watch: Watch,
    /// Figures from outside that the new set is judged by; none for a way back, which is judged by nothing but what serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricSpec>,
    /// What the agent has thought through; its words, and no proof of anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
    /// Whose approval it needs, if any.
    pub approval: Option<RequiredApproval>,
}

/// Forward, or back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Purpose {
    /// A new release.
    Deploy,
    /// The way back from `of`.
    Rollback {
        /// The deployment that is undone.
        of: DeploymentId,
    },
}

/// What a plan replaces: the deployment whose verified set serves now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The deployment whose set serves.
    pub deployment: DeploymentId,
    /// Its version.
    pub version: String,
    /// Its release.
    pub digest: Sha256,
}

/// The highest risk that a phase names (seed stage-30: "4/5 Risk Exposure").
pub const MOST_RISK: u8 = 5;

/// The phase a plan stands under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPhase {
    /// Its name.
    pub name: String,
    /// SHA-256 of its file.
    pub sha256: Sha256,
    /// How much is at risk under it, 1 to [`MOST_RISK`]; none where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
}

/// A gate's verdict as a plan rests on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedGate {
    /// The gate.
    pub gate: GateName,
    /// Its rule with the threshold.
    pub rule: String,
    /// Which file asks for it.
    pub asked_by: String,
    /// What it says.
    pub verdict: super::Verdict,
    /// The measured value.
    pub value: Option<String>,
    /// The evidence it rests on.
    pub evidence_sha256: Option<Sha256>,
}

/// One step, with its undo beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in the plan.
    pub id: StepId,
    /// What is done.
    pub action: Action,
    /// One line for people.
    pub title: String,
    /// What undoes it, for people.
    pub undo: Option<String>,
    /// Whether it can be undone.
    pub reversibility: Reversibility,
    /// When it counts as failed.
    pub timeout_ms: u64,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Checks approval, bindings, live gates and freeze again.
    Recheck,
    /// Runs the command that prepares a deployment.
    Prepare,
    /// Takes a backup, and has it verified.
    Backup,
    /// Runs the planned migrations.
    Migrate,
    /// Brings data back to what an earlier release works with, before that one is started.
    ReturnData,
    /// Runs the hooks of a point.
    Hook {
        /// Which.
        at: HookPoint,
    },
    /// Starts the `index`-th instance (from 1) of the new set; a rollback whose base is warm finds it running.
    Start {
        /// From 1.
        index: u32,
    },
    /// Health, identity and smoke, directly on every new instance.
    VerifyInstances,
    /// The same on the `from`-th to the `to`-th new instance alone.
    VerifyBatch {
        /// From 1.
        from: u32,
        /// Included.
        to: u32,
    },
    /// Tries the way there and back on a second listener, and reads each time who answers.
    Rehearse,
    /// Moves all traffic to the new set, at once.
    Shift,
    /// Gives the new set this share of the traffic; the old set keeps the rest.
    ShiftPart {
        /// From 1 to 99.
        percent: u32,
    },
    /// Compares the new set with the old one while both serve.
    Analyse {
        /// The share the new set has meanwhile.
        percent: u32,
        /// For how long.
        duration_ms: u64,
        /// For how long at most, where that brings too few requests to judge.
        at_most_ms: u64,
    },
    /// The first `to` new instances serve in place of as large a part of the old set.
    Replace {
        /// Counted from 1.
        to: u32,
    },
    /// Lets requests on the replaced old instances end, and stops these.
    RetireReplaced {
        /// As in the `Replace` before it.
        to: u32,
    },
    /// Health, identity and smoke again, through the listener.
    VerifyListener,
    /// Waits for requests in flight on the old set.
    Drain,
    /// Watches the new set with the old one warm.
    Bake {
        /// For how long.
        duration_ms: u64,
    },
    /// Stops the old set; its release stays for a way back.
    Retire,
}

impl Action {
    /// Tells whether the step moves traffic: its undo brings all of it back to what served before.
    pub fn moves_traffic(&self) -> bool {
        matches!(self, Action::Shift | Action::ShiftPart { .. } | Action::Replace { .. })
    }

    /// Tells whether its failure is an incident and no reason to turn back.
    pub fn may_fail(&self) -> bool {
        matches!(self, Action::Hook { at } if at.is_after_switch())
    }
}

/// Whether a step can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversibility {
    /// Nothing to undo.
    Free,
    /// Its undo restores what was.
    Compensable,
    /// There is no way back past it.
    Pivot,
}

/// The way back, computed beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// `traffic`: to the base's set. `withdraw`: a first deployment has nothing behind it.
    pub kind: RollbackKind,
    /// The version it returns to.
    pub to_version: Option<String>,
    /// One line for people: `can return to 1.3.9`.
    pub summary: String,
    /// The first migration after which traffic alone is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What the way back past it loses, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
    /// How data goes back past it; none where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataReturn>,
    /// Whether data goes back without asking: whoever signs the plan signs that, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

impl Rollback {
    /// Returns a way back without any data.
    pub fn without_data(kind: RollbackKind, to_version: Option<String>, summary: String) -> Self {
        Rollback { kind, to_version, summary, until: None, loses: None, data: None, automatic: false }
    }
}

/// What a rollback moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackKind {
    /// Traffic only.
    Traffic,
    /// Traffic, after down-migrations gave the database its shape back.
    Database,
    /// Traffic, after the backup was restored.
    Full,
    /// There is none: repairs go forward.
    ForwardOnly,
    /// Traffic is taken away; nothing served before.
    Withdraw,
}

/// What a router promises; printed in every plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarantees {
    /// All traffic moves at one instant.
    pub atomic_switch: bool,
    /// The router tells when the last request on the old set has ended.
    pub drain_signal: bool,
    /// The router counts requests, errors and latency per version.
    pub measures: bool,
    /// One line for people.
    pub summary: String,
}

/// When traffic goes back by itself (DEPLOY-002, DEPLOY-003; figures of seed stage-30).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Error rate above which traffic goes back, percent (5, seed stage-30).
    pub error_percent: u32,
    /// p95 above which traffic goes back, milliseconds (500, seed stage-30).
    pub p95_ms: u64,
    /// How long either must last (120 s, seed stage-30, or the whole bake when that is shorter).
    pub sustained_ms: u64,
    /// Requests below which neither is judged (20).
    pub min_samples: u64,
}

/// The approval a plan needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiredApproval {
    /// The role of those who may give it.
    pub role: String,
    /// How long a given approval may be used.
    pub expires_ms: u64,
    /// How many different people must give it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub signatures: u32,
    /// Whether none of them may be who asked for the plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub four_eyes: bool,
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

impl Plan {
    /// Returns the SHA-256 of the plan's canonical JSON.
    pub fn sha256(&self) -> Sha256 {
        Sha256::of_canonical(self)
    }

    /// Returns the plan's id: `plan_` and the first 16 hex digits of its hash.
    pub fn id(&self) -> PlanId {
        PlanId(format!("plan_{}", &self.sha256().0[..16]))
    }

    /// Returns the name a deployment's requests are counted under: its version, told from an old set of the same version.
    pub fn label(&self, deployment: &DeploymentId) -> String {
        match &self.base {
            Some(base) if base.version == self.version => format!("{} ({deployment})", self.version),
            _ => self.version.clone(),
        }
    }

    /// Returns the step with this id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| &step.id == id)
    }

    /// Returns the ids of the instances that a deployment of this plan starts.
    pub fn instances(&self, deployment: &DeploymentId) -> Vec<InstanceId> {
        let starts = self.steps.iter().filter_map(|step| self.instance_of(deployment, step));
        starts.collect()
    }

    /// Returns the instance that a step starts; none for every other step.
    pub fn instance_of(&self, deployment: &DeploymentId, step: &Step) -> Option<InstanceId> {
        match step.action {
            Action::Start { index } => Some(InstanceId::of(&self.environment, &self.service, deployment, index)),
            _ => None,
        }
    }
}
