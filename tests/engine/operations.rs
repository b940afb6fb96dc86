//! The contract of the operations: their names, parameters and effects, and the hints that follow.

use interlock::operations::{self, Effect, Effect::*};
use std::collections::BTreeSet;

/// Name, required parameters, others, effect.
const CONTRACT: &[(&str, &str, &str, Effect)] = &[
    ("get_status", "", "directive service environment wait_seconds since", Reads),
    (
        "create_directive",
        "service environment",
        "version artifact change commit title rationale description scope priority venture depends_on",
        Records,
    ),
    ("cancel_directive", "directive reason", "", Records),
    ("record_evidence", "directive kind", "path content", Records),
    ("run_predeploy_checks", "directive", "", Records),
    ("plan_deployment", "directive", "strategy assessment", Records),
    ("execute_deployment", "plan", "", Deploys),
    ("get_deployment", "deployment", "wait_seconds until since detail", Reads),
    ("hold_deployment", "deployment held", "", Deploys),
    ("verify_deployment", "deployment", "", Records),
    ("rollback_deployment", "reason", "deployment service environment", Deploys),
    ("write_runbook", "", "deployment directive notes", Records),
    ("get_runbook", "runbook", "version comments", Reads),
    ("complete_directive", "directive", "", Records),
    ("list_deployments", "", "service environment state cursor limit", Reads),
    ("read_log", "deployment", "source grep tail cursor", Reads),
    ("get_metrics", "", "service environment caller venture days from to by format", Reads),
    ("create_venture", "name", "venture lifecycle_stage workflow_stage", Records),
    ("get_venture", "", "venture", Reads),
    ("write_document", "kind", "directive deployment incident notes claims commands rerun", Records),
    ("setup_monitoring", "directive", "", Records),
    ("setup_backup", "directive", "wait_seconds", Records),
    ("generate_workflow", "platform", "service build artifact write directive", Records),
    ("trigger_workflow", "directive", "", Deploys),
];

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

#[test]
fn the_operations_are_as_promised() {
    let all = operations::all();
    assert_eq!(all.iter().map(|entry| entry.name).collect::<Vec<_>>(), CONTRACT.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    for (entry, (name, required, optional, effect)) in all.iter().zip(CONTRACT.iter().copied()) {
        assert_eq!(entry.required().into_iter().collect::<BTreeSet<_>>(), words(required), "{name}");
        let properties: BTreeSet<&str> = entry.input_schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(properties, &words(required) | &words(optional), "{name}");
        assert_eq!(entry.input_schema["additionalProperties"], false, "{name}");
        assert_eq!(entry.effect, effect, "{name}");

        let hints = entry.effect.hints();
        let shown = [hints.read_only, hints.destructive, hints.idempotent, hints.open_world];
        let expected = match effect {
            Reads => [true, false, true, false],
            Records => [false, false, true, false],
            Deploys => [false, true, true, true],
        };
        assert_eq!(shown, expected, "{name}");
    }
}

#[test]
fn no_parameter_weakens_safety() {
    for entry in operations::all() {
        for parameter in entry.input_schema["properties"].as_object().unwrap().keys() {
            let weakens = ["force", "skip", "override", "confirm", "allow", "dry_run"].iter().any(|word| parameter.contains(word));
            assert!(!weakens, "`{parameter}` of {}", entry.name);
        }
    }
}
