//! What an approval is bound to, compared field by field with what is true now. Pure.

use crate::model::{Base, GateResult, Plan, Sha256, Verdict, data::PlannedMigration};

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
    /// What is pending in the database.
    pub migrations: &'a [PlannedMigration],
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
    let is_in = |list: &[PlannedMigration], name: &str| list.iter().any(|other| other.name == name);
    for gone in plan.migrations.iter().filter(|planned| !is_in(present.migrations, &planned.name)) {
        compare(&format!("migrations.{}", gone.name), "pending".into(), "not pending: it has run".into());
    }
    for new in present.migrations.iter().filter(|now| !is_in(&plan.migrations, &now.name)) {
        compare(&format!("migrations.{}", new.name), "not pending: it had run".into(), format!("pending ({})", new.class));
    }
    let bound = |gate: &&GateResult| !gate.live;
    for planned in &plan.gates {
        let name = &planned.gate;
        let Some(now) = present.gates.iter().find(|gate| &gate.gate == name) else {
            compare(&format!("gates.{name}"), planned.rule.clone(), "no longer asked for".into());
            continue;
        };
        compare(&format!("gates.{name}.rule"), planned.rule.clone(), now.rule.clone());
        // A person has signed what nobody else could say, and now the world says it: that stops, or it passes, and voids nothing.
        if now.live {
            continue;
        }
        compare(&format!("gates.{name}.verdict"), planned.verdict.to_string(), now.verdict.to_string());
        let sha256 = |sha256: Option<&Sha256>| sha256.map_or("none".into(), Sha256::to_string);
        compare(&format!("gates.{name}.evidence_sha256"), sha256(planned.evidence_sha256.as_ref()), sha256(now.evidence_sha256.as_ref()));
    }
    // What the world said when it was planned, and says no more, is a person's to say: until then it stops, as it would live.
    let asked_live = |gate: &GateResult| plan.live_gates.contains(&gate.gate);
    let is_planned = |now: &GateResult| plan.gates.iter().any(|gate| gate.gate == now.gate) || asked_live(now);
    for added in present.gates.iter().filter(bound).filter(|now| !is_planned(now)) {
        compare(&format!("gates.{}", added.gate), "not asked for".into(), added.rule.clone());
    }
    let base = |base: Option<&Base>| base.map_or("nothing".into(), |base| format!("{} ({})", base.deployment, base.version));
    if plan.base.as_ref() != present.base {
        drifts.push(Drift::Base { planned: base(plan.base.as_ref()), present: base(present.base) });
    }
    let stops = |gate: &&GateResult| (gate.live || asked_live(gate)) && gate.verdict != Verdict::Pass;
    drifts.extend(present.gates.iter().filter(stops).map(|gate| Drift::Gate(Box::new(gate.clone()))));
    drifts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::examples::{base, gate, plan};

    fn present<'a>(plan: &'a Plan, gates: &'a [GateResult]) -> Present<'a> {
        Present {
            digest: &plan.digest,
            config_sha256: &plan.config_sha256,
            base: plan.base.as_ref(),
            phase_sha256: plan.phase.as_ref().map(|phase| &phase.sha256),
            migrations: &plan.migrations,
            gates,
        }
    }

    #[test]
    fn an_unchanged_world_lets_the_plan_go_on() {
        let gates = [gate("tests", Verdict::Pass, false), gate("freeze", Verdict::Pass, true)];
        let plan = plan(&gates, Some(base("dep_1")));
        assert_eq!(drifts(&plan, &present(&plan, &gates)), []);
    }

    #[test]
    fn every_bound_field_voids_and_is_named() {
        let gates = [gate("tests", Verdict::Pass, false)];
        let plan = plan(&gates, Some(base("dep_1")));
        let (other, same) = (Sha256::of(b"other"), present(&plan, &gates));
        let field = |drifts: Vec<Drift>| match drifts.as_slice() {
            [Drift::Field { field, .. }] => field.clone(),
            others => panic!("{others:?}"),
        };
        assert_eq!(field(drifts(&plan, &Present { digest: &other, ..same })), "release.digest");
        let same = present(&plan, &gates);
        assert_eq!(field(drifts(&plan, &Present { config_sha256: &other, ..same })), "configuration");
        let same = present(&plan, &gates);
        assert_eq!(field(drifts(&plan, &Present { phase_sha256: Some(&other), ..same })), "phase");
        for (changed, named) in [
            (GateResult { rule: "failed <= 1".into(), ..gates[0].clone() }, "gates.tests.rule"),
            (GateResult { verdict: Verdict::Inconclusive, ..gates[0].clone() }, "gates.tests.verdict"),
            (GateResult { evidence_sha256: Some(other.clone()), ..gates[0].clone() }, "gates.tests.evidence_sha256"),
        ] {
            assert_eq!(field(drifts(&plan, &present(&plan, &[changed]))), named);
        }
        assert_eq!(field(drifts(&plan, &present(&plan, &[]))), "gates.tests");
        let more = [gates[0].clone(), gate("coverage", Verdict::Pass, false)];
        assert_eq!(field(drifts(&plan, &present(&plan, &more))), "gates.coverage");
    }

    #[test]
    fn a_database_that_was_migrated_meanwhile_voids_the_plan_and_the_file_is_named() {
        let mut plan = plan(&[], Some(base("dep_1")));
        plan.migrations = vec![crate::engine::examples::migration("0041_add.sql", crate::model::migration::MigrationClass::Expand)];
        let field = |drifts: Vec<Drift>| match drifts.as_slice() {
            [Drift::Field { field, .. }] => field.clone(),
            others => panic!("{others:?}"),
        };
        assert_eq!(drifts(&plan, &present(&plan, &[])), []);
        assert_eq!(field(drifts(&plan, &Present { migrations: &[], ..present(&plan, &[]) })), "migrations.0041_add.sql");
        let unplanned = Plan { migrations: Vec::new(), ..plan.clone() };
        assert_eq!(
            field(drifts(&unplanned, &Present { migrations: &plan.migrations, ..present(&unplanned, &[]) })),
            "migrations.0041_add.sql"
        );
    }

    #[test]
    fn another_deployment_makes_the_plan_stale() {
        let plan = plan(&[], Some(base("dep_1")));
        let now = base("dep_2");
        assert!(matches!(drifts(&plan, &Present { base: Some(&now), ..present(&plan, &[]) }).as_slice(), [Drift::Base { .. }]));
        assert!(matches!(drifts(&plan, &Present { base: None, ..present(&plan, &[]) }).as_slice(), [Drift::Base { .. }]));
    }

    #[test]
    fn a_live_gate_stops_and_a_fresh_pass_never_voids() {
        let planned = [gate("freeze", Verdict::Fail, true)];
        let plan = plan(&planned, None);
        assert_eq!(drifts(&plan, &present(&plan, &[gate("freeze", Verdict::Pass, true)])), []);
        assert!(matches!(drifts(&plan, &present(&plan, &planned)).as_slice(), [Drift::Gate(_)]));
    }

    #[test]
    fn what_a_person_signed_and_the_world_says_now_stops_or_passes_and_voids_nothing() {
        let signed = [gate("alerts", Verdict::Pass, false)];
        let plan_of_word = plan(&signed, None);
        let now = |verdict| [gate("alerts", verdict, true)];
        assert_eq!(drifts(&plan_of_word, &present(&plan_of_word, &now(Verdict::Pass))), []);
        for verdict in [Verdict::Fail, Verdict::Inconclusive] {
            assert!(matches!(drifts(&plan_of_word, &present(&plan_of_word, &now(verdict))).as_slice(), [Drift::Gate(_)]), "{verdict}");
        }
        let other = [GateResult { rule: "failed <= 1".into(), ..gate("alerts", Verdict::Pass, true) }];
        assert!(matches!(drifts(&plan_of_word, &present(&plan_of_word, &other)).as_slice(), [Drift::Field { .. }]), "another rule");

        // The other way round: what was readable is a person's to say now.
        let plan_of_world = plan(&now(Verdict::Pass), None);
        assert_eq!(drifts(&plan_of_world, &present(&plan_of_world, &signed)), []);
        let open = [gate("alerts", Verdict::Inconclusive, false)];
        assert!(matches!(drifts(&plan_of_world, &present(&plan_of_world, &open)).as_slice(), [Drift::Gate(_)]));
    }
}
