//! Every fact a phase may wait for: what it says, and who supplies it where the record does not have it.
//!
//! To add one: a row here, and its arm in `engine::facts`. A fact with [`FactKind::signed`] needs no arm: a person's sign-off is its record.

use crate::model::Who;

/// A named fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactKind {
    /// Its name in phase files.
    pub name: &'static str,
    /// What it says when it holds.
    pub says: &'static str,
    /// Who supplies it.
    pub who: Who,
    /// How; `{directive}` stands for the directive's id.
    pub how: &'static str,
    /// The fact a person signs for it.
    pub signed: Option<&'static str>,
    /// The fact a person signs when it does not hold.
    pub denied: Option<&'static str>,
}

/// A fact that the server computes from its record.
const fn computed(name: &'static str, says: &'static str, who: Who, how: &'static str) -> FactKind {
    FactKind { name, says, who, how, signed: None, denied: None }
}

/// A fact that a person may sign; what the record says besides, `engine::facts` adds.
const fn signed(name: &'static str, says: &'static str, how: &'static str, signed: &'static str, denied: Option<&'static str>) -> FactKind {
    FactKind { name, says, who: Who::Person, how, signed: Some(signed), denied }
}

/// Every fact.
pub const FACTS: &[FactKind] = &[
    signed("uat_signed", "a person has signed user acceptance for exactly this release", "interlock sign-off {directive} uat", "uat", None),
    computed("gates_pass", "every gate that binds here passes", Who::Agent, "run_predeploy_checks"),
    computed("secrets_present", "every secret that the service refers to can be resolved", Who::Person, "put the missing secret in place"),
    computed("plan_ready", "a plan is frozen and still starts from what serves", Who::Agent, "plan_deployment"),
    computed("approved", "a person's approval of that plan is in force, or none is needed here", Who::Person, "interlock approve PLAN"),
    computed("deployed", "the release takes all traffic of the service", Who::Agent, "execute_deployment"),
    computed(
        "smoke_passed",
        "every smoke check was answered as said, on the instances and through the listener",
        Who::Server,
        "verify_deployment shows it",
    ),
    computed("verified", "the watch with the old set warm has ended well", Who::Server, "get_deployment shows it"),
    computed("runbook_written", "a runbook without lint faults is drafted from this deployment", Who::Agent, "write_runbook"),
    computed("runbook_published", "a person has published that runbook", Who::Person, "interlock runbook publish RUNBOOK"),
    computed("report_written", "the deploy log and the smoke report lie in the workspace", Who::Server, "complete_directive shows it"),
    computed("ordered", "an open directive orders this work", Who::Agent, "create_directive"),
    computed(
        "dependencies_completed",
        "every directive this one depends on is completed",
        Who::Agent,
        "complete the directives it depends on",
    ),
    computed("production", "the environment asks for a person's approval", Who::Server, "the applied configuration says it"),
    computed("environment_new", "nothing of the service served here before", Who::Server, "the record says it"),
    computed("environment_ready", "infrastructure, secrets and configuration of the service are there", Who::Agent, "run_predeploy_checks"),
    computed("rollback_ready", "what serves now can be brought back", Who::Agent, "run_predeploy_checks"),
    computed(
        "tested_before",
        "these bytes have succeeded in the environment before",
        Who::Agent,
        "deploy them there first; `after` names it",
    ),
    computed("green_ready", "the new set is healthy beside the old one", Who::Server, "get_deployment shows it"),
    computed("traffic_moved", "traffic has moved to the new set", Who::Server, "get_deployment shows it"),
    computed(
        "backup_taken",
        "a backup was taken and verified",
        Who::Person,
        "configure `backup`, run `interlock apply`, and deploy, or setup_backup",
    ),
    computed("baseline_recorded", "the figures of the release after its watch are recorded", Who::Server, "get_deployment shows it"),
    computed(
        "documents_written",
        "`docs/deployment.md` and `status.md` are written from the record",
        Who::Server,
        "complete_directive shows it",
    ),
    signed(
        "rollback_tested",
        "the way back was tried",
        "interlock sign-off {directive} rollback, once it was tried by hand",
        "rollback",
        None,
    ),
    signed(
        "infrastructure_specified",
        "the infrastructure it needs is written down and agreed",
        "interlock sign-off {directive} infrastructure",
        "infrastructure",
        None,
    ),
    signed(
        "release_approved",
        "a person has approved this release for production",
        "interlock sign-off {directive} release",
        "release",
        None,
    ),
    computed(
        "assessed",
        "the plan carries an assessment of data, threats, risk, way back and monitoring, for who approves to sign",
        Who::Agent,
        "plan_deployment, with `assessment`",
    ),
    signed(
        "monitoring_active",
        "dashboards and alerts stand, and a test alert has arrived",
        "interlock sign-off {directive} monitoring",
        "monitoring",
        None,
    ),
    signed(
        "alerts_nominal",
        "nothing that watches the service raises an alert",
        "run_predeploy_checks; where nothing watches, interlock sign-off {directive} alerts",
        "alerts",
        None,
    ),
    signed(
        "alerts_quiet",
        "no alert of the service fires after its deployment",
        "interlock sign-off {directive} alerts_after",
        "alerts_after",
        None,
    ),
    signed(
        "quota_sufficient",
        "the place it goes to has disk, ports, descriptors and memory for it",
        "run_predeploy_checks; where the target cannot say, interlock sign-off {directive} quota",
        "quota",
        None,
    ),
    signed(
        "logs_clean",
        "the log of this release in the environment before holds no error",
        "run_predeploy_checks; where there is no line, interlock sign-off {directive} logs",
        "logs",
        None,
    ),
    signed(
        "monitoring_required",
        "it is to be monitored from outside",
        "interlock sign-off {directive} to_monitor, or else interlock sign-off {directive} no_monitoring",
        "to_monitor",
        Some("no_monitoring"),
    ),
    signed(
        "keeps_data",
        "the service keeps data",
        "interlock sign-off {directive} data, or else interlock sign-off {directive} no_data",
        "data",
        Some("no_data"),
    ),
    signed(
        "handover_required",
        "other people will operate it",
        "interlock sign-off {directive} handover, or else interlock sign-off {directive} no_handover",
        "handover",
        Some("no_handover"),
    ),
    signed("team_trained", "those who operate it know what they need", "interlock sign-off {directive} team", "team", None),
    signed("stakeholders_told", "those who wait for it know that it is live", "interlock sign-off {directive} told", "told", None),
    signed(
        "documentation_only",
        "nothing but documentation has changed",
        "interlock sign-off {directive} documentation_only",
        "documentation_only",
        None,
    ),
    signed(
        "configuration_only",
        "nothing but `interlock.toml` has changed, which is applied and not deployed",
        "interlock sign-off {directive} configuration_only",
        "configuration_only",
        None,
    ),
    signed(
        "development_only",
        "nothing but tests, CI or settings of editors has changed, or the environment itself serves development",
        "interlock sign-off {directive} development_only",
        "development_only",
        None,
    ),
    computed("already_deployed", "these bytes serve here already", Who::Server, "the record says it"),
    computed("emergency_rollback", "a way back is under way here", Who::Server, "the record says it"),
];

/// Returns the fact of this name.
pub fn fact_kind(name: &str) -> Option<&'static FactKind> {
    FACTS.iter().find(|kind| kind.name == name)
}

/// Returns what a person may sign off, in the catalog's order.
pub fn signable() -> impl Iterator<Item = &'static str> {
    FACTS.iter().flat_map(|kind| [kind.signed, kind.denied]).flatten()
}

/// Returns what a fact says.
pub(super) fn meaning(fact: &str) -> &str {
    fact_kind(fact).map_or(fact, |kind| kind.says)
}

/// A fact as the record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows; the question that settles it, with who answers and how.
    Missing(String),
}

impl Fact {
    /// Returns the fact of this name as one nobody knows.
    pub fn missing(name: &str, directive: &str) -> Fact {
        Fact::Missing(match fact_kind(name) {
            Some(kind) => format!("{}? {}: {}", kind.says, kind.who, kind.how.replace("{directive}", directive)),
            None => format!("nobody has supplied `{name}`"),
        })
    }
}
