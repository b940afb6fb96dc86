//! `environment_setup`: whether infrastructure, secrets and configuration are there for a directive, and what supplies what is not. From
//! the record alone: what the last checks have seen, and which configuration is in force.

use super::Engine;
use crate::{
    error::Result,
    gates::{dependencies, quota, secrets},
    model::{Directive, GateResult, Verdict},
    store::Revisions,
};
use serde::Serialize;

/// The facts, in the order a person supplies them.
const FACTS: [&str; 3] = ["configuration", "infrastructure", "secrets"];

/// One of `configuration`, `infrastructure`, `secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetupFact {
    /// Which.
    pub fact: &'static str,
    /// Whether it holds; none while nobody has looked.
    pub holds: Option<bool>,
    /// What is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// The command that supplies it, or what a person does.
    pub how: String,
}

/// What waits for an approver's signature before it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configured {
    /// Nothing: what is applied is in force.
    InForce,
    /// This revision.
    Waits(i64),
}

impl Engine {
    /// Returns the three facts for a directive, by these verdicts.
    pub async fn environment_setup(&self, directive: &Directive, gates: &[GateResult]) -> Result<Vec<SetupFact>> {
        Ok(setup(self.store.revisions_in(&directive.environment).await?.into(), gates))
    }
}

impl From<Revisions> for Configured {
    fn from(revisions: Revisions) -> Self {
        revisions.pending.map_or(Configured::InForce, Configured::Waits)
    }
}

/// Returns the three facts. Pure.
pub fn setup(configured: Configured, gates: &[GateResult]) -> Vec<SetupFact> {
    let of = |fact: &'static str| match fact {
        "configuration" => configuration(configured),
        "secrets" => seen(fact, gates, &[secrets::NAME]),
        // Room is looked at where a gate asks for it.
        fact => seen(fact, gates, &[dependencies::NAME, quota::NAME]),
    };
    FACTS.map(of).into()
}

/// Tells whether all three hold; none while one of them is not known and none is missing.
pub fn is_ready(facts: &[SetupFact]) -> Option<bool> {
    match facts.iter().any(|fact| fact.holds == Some(false)) {
        true => Some(false),
        false => facts.iter().all(|fact| fact.holds == Some(true)).then_some(true),
    }
}

fn configuration(configured: Configured) -> SetupFact {
    let missing = match configured {
        Configured::InForce => Vec::new(),
        Configured::Waits(revision) => vec![Missing {
            what: format!("an approver's signature over revision {revision} of the configuration"),
            how: "interlock apply".into(),
        }],
    };
    SetupFact { fact: "configuration", holds: Some(missing.is_empty()), missing }
}

/// The first gate is the server's own and binds everywhere; the others count where they bind.
fn seen(fact: &'static str, gates: &[GateResult], names: &[&str]) -> SetupFact {
    let of = |name: &&str| gates.iter().find(|gate| gate.gate.as_str() == *name);
    let found: Vec<&GateResult> = names.iter().filter_map(of).collect();
    let open = found.iter().filter(|gate| gate.verdict != Verdict::Pass);
    let missing: Vec<Missing> = open
        .map(|gate| Missing {
            what: gate.needs.clone().unwrap_or_else(|| gate.reason.clone()),
            how: gate.how.clone().unwrap_or_else(|| "run_predeploy_checks".into()),
        })
        .collect();
    let was_looked_at = found.iter().any(|gate| gate.gate.as_str() == names[0]);
    let fails = found.iter().any(|gate| gate.verdict == Verdict::Fail);
    let holds = match (fails, was_looked_at && missing.is_empty()) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    SetupFact { fact, holds, missing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::examples::gate, model::Who};

    fn lost(name: &str, needs: &str, how: &str) -> GateResult {
        let fails = gate(name, Verdict::Fail, true);
        GateResult { needs: Some(needs.into()), who: Some(Who::Person), how: Some(how.into()), ..fails }
    }

    #[test]
    fn each_fact_that_is_missing_names_what_supplies_it() {
        let all =
            || vec![gate("secrets", Verdict::Pass, true), gate("dependencies", Verdict::Pass, true), gate("quota", Verdict::Pass, true)];
        let ready = setup(Configured::InForce, &all());
        assert_eq!((is_ready(&ready), ready.iter().all(|fact| fact.missing.is_empty())), (Some(true), true));
        assert_eq!(is_ready(&setup(Configured::InForce, &all()[..2])), Some(true), "room is not asked for everywhere");

        let without = |index: usize, gate: GateResult| {
            let mut gates = all();
            gates[index] = gate;
            gates
        };
        for (configured, gates, fact, how) in [
            (Configured::Waits(7), all(), "configuration", "interlock apply"),
            (Configured::InForce, without(0, lost("secrets", "a value for `KEY`", "export KEY=…")), "secrets", "export KEY=…"),
            (Configured::InForce, without(1, lost("dependencies", "a connection to `db`", "start db")), "infrastructure", "start db"),
            (Configured::InForce, without(2, lost("quota", "memory", "make room")), "infrastructure", "make room"),
        ] {
            let facts = setup(configured, &gates);
            let missing: Vec<&SetupFact> = facts.iter().filter(|fact| fact.holds != Some(true)).collect();
            let [one] = missing[..] else { panic!("{facts:?}") };
            assert_eq!((one.fact, one.missing[0].how.as_str(), is_ready(&facts)), (fact, how, Some(false)), "{facts:?}");
        }
    }

    #[test]
    fn what_nobody_has_looked_at_is_not_known() {
        let facts = setup(Configured::InForce, &[]);
        assert_eq!(facts.iter().map(|fact| fact.holds).collect::<Vec<_>>(), [Some(true), None, None]);
        assert_eq!(is_ready(&facts), None);
        let asks =
            [gate("secrets", Verdict::Pass, true), gate("dependencies", Verdict::Pass, true), gate("quota", Verdict::Inconclusive, true)];
        assert_eq!(is_ready(&setup(Configured::InForce, &asks)), None);
    }
}
