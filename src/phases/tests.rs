//! The built-in phase, and how a faulty file is told.

use super::*;

#[test]
fn phase_06_renders_its_thresholds_from_one_place() {
    let phase = builtin("phase-06").unwrap();
    let rendered = phase.render();
    assert!(rendered.len() <= 6 * 1024, "{} bytes", rendered.len());
    assert!(!rendered.contains("{{"), "{rendered}");
    for expected in
        ["`coverage`: lines_percent >= 80", "`load`: p95_ms <= 500", "4. [ ] **Execute Deploy** (agent, `execute_deployment`)", "`freeze`"]
    {
        assert!(rendered.contains(expected), "{expected} in\n{rendered}");
    }
    for thresholds in phase.gates.values() {
        assert!(thresholds.values().all(|threshold| !phase.body.contains(&threshold.to_string())));
    }
    assert!(phase.steps.iter().all(|step| phase.guidance(step).len() <= 1024));
}

#[test]
fn a_missing_fact_asks_and_never_skips() {
    let phase = builtin("phase-06").unwrap();
    let mut facts = BTreeMap::new();
    let step = |facts: &BTreeMap<String, Fact>| phase.current_step(facts).map(|step| step.id.clone());
    assert_eq!(step(&facts).as_deref(), Some("pre-deploy-checks"));
    facts.extend(FACTS.iter().map(|(name, _)| (name.to_string(), Fact::True)));
    assert_eq!(step(&facts), None);
    facts.insert("approved".into(), Fact::Missing("who approves?".into()));
    assert_eq!(step(&facts).as_deref(), Some("approve"));
    facts.insert("uat_signed".into(), Fact::False);
    assert_eq!(step(&facts).as_deref(), Some("pre-deploy-checks"));
    facts.insert("verified".into(), Fact::False);
    assert_eq!(phase.open_exits(&facts).collect::<Vec<_>>(), ["verified"]);
}

#[test]
fn a_phase_with_faults_tells_them_with_their_lines() {
    let good = include_str!("../../prompts/phase-06.md");
    let bad = good
        .replace("{ lines_percent: \">= 80\" }", "{ line_percent: \"> 80\" }")
        .replace("done_when: [approved]", "done_when: [aproved]")
        .replace("operation: write_runbook", "operation: write_runbok")
        .replace("[ci/deploy-logs.txt", "[../deploy-logs.txt")
        .replace("{{gates}}", "{{gate}}");
    let told: Vec<String> = parse("p.md", &bad).unwrap_err().0.iter().map(ToString::to_string).collect();
    let at = |needle: &str| bad.lines().position(|line| line.contains(needle)).unwrap() + 1;
    let expected = [
        (1, "the body does not show `{{gates}}`".to_owned()),
        (at("line_percent"), "gates.coverage.line_percent: unknown measure".into()),
        (at("line_percent"), "gates.coverage.line_percent: `> 80` is no comparator".into()),
        (at("id: approve"), "steps.approve.done_when: unknown fact `aproved`; did you mean `approved`?".into()),
        (at("id: runbook"), "steps.runbook: unknown operation `write_runbok`; did you mean `write_runbook`?".into()),
        (at("artifacts: ["), "artifacts: `../deploy-logs.txt` leads out".into()),
        (at("{{gate}}"), "unknown place `{{gate}}`; did you mean `gates`?".into()),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, (line, text)) in told.iter().zip(expected) {
        assert!(told.starts_with(&format!("p.md:{line}: {text}")), "{told}");
    }
    let shape = parse("p.md", &good.replace("owner: ", "ownr: ")).unwrap_err();
    assert!(shape.to_string().contains("ownr"), "{shape}");
}
