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

/// Every fact.
pub const FACTS: &[FactKind] = &[
    FactKind {
        signed: Some("uat"),
        ..computed(
            "uat_signed",
            "a person has signed user acceptance for exactly this release",
            Who::Person,
            "interlock sign-off {directive} uat",
        )
    },
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
