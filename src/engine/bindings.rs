//! What an approval is bound to, compared field by field with what is true now. Pure.

use crate::model::{Base, GateResult, Plan, Sha256, Verdict};

/// What is true now.
pub struct Present<'a> {
    /// The digest of the pinned bytes, recomputed.
    pub digest: &'a Sha256,
    /// SHA-256 of the effective configuration in force.
    pub config_sha256: &'a Sha256,
    /// What serves.
    pub base: Option<&'a Base>,
    /// SHA-256 of the phase file in force.
    pub phase_sha256: Option<&'a Sha256>,
    /// Every gate, evaluated again.
    pub gates: &'a [GateResult],
}

/// How a plan no longer fits the present.
#[derive(Debug, Clone, PartialEq)]
pub enum Drift {
    /// Another deployment has changed what serves: plan again.
    Base {
        /// What the plan starts from.
        planned: String,
        /// What serves now.
        present: String,
    },
    /// A bound field has changed: the approval is void.
    Field {
        /// The field's name.
        field: String,
        /// Its value in the plan.
        planned: String,
        /// Its value now.
        present: String,
    },
    /// A live gate does not pass.
    Gate(Box<GateResult>),
}

/// Returns every way in which the plan no longer fits the present; none means it may go on.
pub fn drifts(plan: &Plan, present: &Present<'_>) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let mut compare = |field: &str, planned: String, present: String| {
        if planned != present {
            drifts.push(Drift::Field { field: field.into(), planned, present });
        }
    };
    compare("release.digest", plan.digest.to_string(), present.digest.to_string());
    compare("configuration", plan.config_sha256.to_string(), present.config_sha256.to_string());
    let phase = |sha256: Option<&Sha256>| sha256.map_or("none".into(), Sha256::to_string);
    compare("phase", phase(plan.phase.as_ref().map(|phase| &phase.sha256)), phase(present.phase_sha256));
    let bound = |gate: &&GateResult| !gate.live;
    for planned in &plan.gates {
        let name = &planned.gate;
        let Some(now) = present.gates.iter().filter(bound).find(|gate| &gate.gate == name) else {
            compare(&format!("gates.{name}"), planned.rule.clone(), "no longer asked for".into());
            continue;
        };
        compare(&format!("gates.{name}.rule"), planned.rule.clone(), now.rule.clone());
        compare(&format!("gates.{name}.verdict"), planned.verdict.to_string(), now.verdict.to_string());
        let sha256 = |sha256: Option<&Sha256>| sha256.map_or("none".into(), Sha256::to_string);
        compare(&format!("gates.{name}.evidence_sha256"), sha256(planned.evidence_sha256.as_ref()), sha256(now.evidence_sha256.as_ref()));
    }
    for added in present.gates.iter().filter(bound).filter(|now| !plan.gates.iter().any(|gate| gate.gate == now.gate)) {
        compare(&format!("gates.{}", added.gate), "not asked for".into(), added.rule.clone());
    }
    let base = |base: Option<&Base>| base.map_or("nothing".into(), |base| format!("{} ({})", base.deployment, base.version));
    if plan.base.as_ref() != present.base {
        drifts.push(Drift::Base { planned: base(plan.base.as_ref()), present: base(present.base) });
    }
    drifts.extend(
        present.gates.iter().filter(|gate| gate.live && gate.verdict != Verdict::Pass).map(|gate| Drift::Gate(Box::new(gate.clone()))),
    );
    drifts
}
