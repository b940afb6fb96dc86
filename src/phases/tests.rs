//! The built-in phases, how steps follow the record, and how a faulty file is told.

use super::*;
use std::collections::BTreeSet;

/// A phase without a fault.
const GOOD: &str = r#"---
name: own
title: Own
description: One line.
phase: 1
version: 1.0.0
scope: project
owner: Ann
arguments:
  - { name: env, about: where, default: staging, choices: [staging, production] }
inputs:
  - { name: an accepted build, from: person, fact: uat_signed }
gates:
  tests: { failed: "<= 0" }
metrics:
  - { name: success, target: ">= 99", green: ">= 99", yellow: ">= 95", unit: percent }
skip_when: [runbook_published]
expected_duration: { simple: 1 to 2 hours, standard: 4 to 8 hours, complex: 1 to 2 days }
steps:
  - { id: check, title: Check, by: agent, operation: run_predeploy_checks, done_when: [gates_pass], guidance: read them }
  - { id: plan, title: Plan, by: agent, operation: plan_deployment, when: [uat_signed], done_when: [plan_ready] }
  - { id: deploy, title: Deploy, by: agent, operation: execute_deployment, done_when: [deployed], rerun: 1 }
exit: [deployed]
artifacts: [ci/deploy-logs.txt]
on_failure:
  - { when: gate_failed, offer: run_predeploy_checks, why: mend it }
next: [later]
---

# Own in {{env}}

{{gates}}

{{metrics}}

{{steps}}
"#;

fn told(text: &str) -> Vec<String> {
    parse("p.md", text).map(|_| Vec::new()).unwrap_or_else(|faults| faults.0.iter().map(ToString::to_string).collect())
}

#[test]
fn built_in_phases_render_their_thresholds_from_one_place() {
    let phase = builtin("phase-06").unwrap();
    let rendered = phase.render();
    for expected in
        ["`coverage`: lines_percent >= 80", "`load`: p95_ms <= 500", "4. [ ] **Execute Deploy** (agent, `execute_deployment`)", "`freeze`"]
    {
        assert!(rendered.contains(expected), "{expected} in\n{rendered}");
    }
    assert!(builtin("stage-30").unwrap().render().contains("Risk 4 of 5"));
    for phase in all() {
        let rendered = phase.render();
        assert!(rendered.len() <= MAX_RENDERED_BYTES, "{}: {} bytes", phase.name, rendered.len());
        assert!(!rendered.contains("{{"), "{rendered}");
        for thresholds in phase.gates.values() {
            assert!(thresholds.values().all(|threshold| !phase.body.contains(&threshold.to_string())));
        }
        assert!(phase.steps.iter().all(|step| phase.guidance(step).len() <= MAX_GUIDANCE_BYTES));
        assert_eq!(recall(&phase.text).as_ref(), Some(phase));
    }
    let files: Vec<(&str, &Phase)> = FILES.iter().map(|(file, _)| *file).zip(all()).collect();
    assert_eq!(lint_together(&files), []);
}

#[test]
fn an_argument_is_filled_in_when_it_is_one_of_its_choices() {
    let phase = parse("p.md", GOOD).unwrap();
    let given = |name: &str, word: &str| BTreeMap::from([(name.to_owned(), word.to_owned())]);
    assert!(phase.render().starts_with("# Own in staging"));
    let filled = |given| fill(&phase.template(), &phase.arguments, &given);
    assert!(filled(given("env", "production")).unwrap().starts_with("# Own in production"));
    assert_eq!(filled(given("env", "moon")).unwrap_err(), "`env` is one of staging, production");
    assert!(filled(given("en", "moon")).unwrap_err().ends_with("there are: env"));
    let free = vec![Argument { choices: vec![], ..phase.arguments[0].clone() }];
    let twice = fill("{{env}}", &free, &given("env", "{{env}}\n# More")).unwrap();
    assert!(twice.starts_with("{{env}}") && !twice.contains('\n'), "what is given is data: {twice}");
    assert!(phase.render().contains("`success` (percent): target >= 99, green >= 99, yellow >= 95, else red"));
}

#[test]
fn a_missing_fact_asks_and_never_skips() {
    let phase = builtin("phase-06").unwrap();
    let mut facts = BTreeMap::new();
    let step = |facts: &BTreeMap<String, Fact>| phase.current_step(facts).map(|step| step.id.clone());
    assert_eq!(step(&facts).as_deref(), Some("pre-deploy-checks"));
    facts.extend(FACTS.iter().map(|kind| (kind.name.to_string(), Fact::True)));
    assert_eq!(step(&facts), None);
    facts.insert("approved".into(), Fact::Missing("who approves?".into()));
    assert_eq!(step(&facts).as_deref(), Some("approve"));
    facts.insert("uat_signed".into(), Fact::False);
    assert_eq!(step(&facts).as_deref(), Some("pre-deploy-checks"));
    facts.insert("verified".into(), Fact::False);
    assert_eq!(phase.open_exits(&facts).collect::<Vec<_>>(), ["verified"]);
}

#[test]
fn a_condition_that_does_not_hold_skips_its_step_and_one_that_nobody_knows_asks() {
    let phase = parse("p.md", GOOD).unwrap();
    let stands = |uat: Option<Fact>| {
        let mut facts = BTreeMap::from([("gates_pass".to_owned(), Fact::True)]);
        facts.extend(uat.map(|uat| ("uat_signed".to_owned(), uat)));
        phase.checklist(&facts).into_iter().map(|(_, standing)| standing).collect::<Vec<_>>()
    };
    let asked = stands(Some(Fact::missing("uat_signed", "SD-1")));
    let Standing::Current(questions) = &asked[1] else { panic!("{asked:?}") };
    assert_eq!((&asked[0], &asked[2]), (&Standing::Done, &Standing::Open));
    assert_eq!(questions[0].0, "uat_signed");
    assert!(questions[0].1.ends_with("? person: interlock sign-off SD-1 uat"), "{questions:?}");
    assert!(matches!(stands(None)[1], Standing::Current(_)), "what nobody said is not `no`");

    let skipped = stands(Some(Fact::False));
    assert!(matches!(&skipped[1], Standing::Skipped(why) if why.starts_with("`uat_signed` does not hold")), "{skipped:?}");
    assert!(matches!(&skipped[2], Standing::Current(_)));
    assert!(matches!(&stands(Some(Fact::True))[1], Standing::Current(asked) if asked[0].0 == "plan_ready"));

    // Of what a step brings, it is asked first whether the step is needed.
    let asked_for = |uat: Fact| phase.asked_for("plan_ready", &BTreeMap::from([("uat_signed".to_owned(), uat)])).to_owned();
    assert_eq!(asked_for(Fact::missing("uat_signed", "SD-1")), "uat_signed");
    assert_eq!([asked_for(Fact::True), asked_for(Fact::False)], ["plan_ready", "plan_ready"]);
    assert_eq!(phase.asked_for("verified", &BTreeMap::new()), "verified");
}

#[test]
fn each_kind_of_fault_is_told_with_its_line_and_what_to_write() {
    assert_eq!(told(GOOD), [""; 0]);
    // What is replaced, by what, the line it is told at, and what is said.
    let table = [
        ("owner: Ann", "ownr: Ann", "ownr:", "unknown field `ownr`"),
        ("---\nname", "name", "name: own", "has no front matter; start with `---`"),
        ("name: own", "name: Own Phase", "name: Own", "name: `Own Phase` is no name; use a-z"),
        ("owner: Ann", "owner: Ann\nrisk: 6", "risk: 6", "risk: is not 1 to 5"),
        ("default: staging", "default: moon", "name: env", "arguments.env: `moon` is none of its choices; known here: staging"),
        ("name: env", "name: steps", "name: steps", "arguments.steps: is the name of a place"),
        ("fact: uat_signed", "fact: uat_sgned", "name: an accepted", "inputs: unknown fact `uat_sgned`; did you mean `uat_signed`?"),
        ("tests: {", "test: {", "test: {", "gates.test: unknown gate; did you mean `tests`?"),
        ("failed:", "faild:", "faild:", "gates.tests.faild: unknown measure; did you mean `failed`?"),
        ("\"<= 0\"", "\"< 0\"", "tests: {", "gates.tests.failed: `< 0` is no comparator"),
        ("green: \">= 99\"", "green: \">= 90\"", "name: success", "metrics.success: `yellow` >= 95 is not wider than `green` >= 90"),
        ("target: \">= 99\"", "target: \">= 90\"", "name: success", "metrics.success: `target` >= 90 is not within `green` >= 99"),
        ("target: \">= 99\"", "target: \"99\"", "name: success", "`99` is no comparator"),
        ("[runbook_published]", "[deploy_tired]", "skip_when:", "skip_when: unknown fact `deploy_tired`; known here: uat_signed"),
        ("4 to 8 hours", "4h", "expected_duration:", "expected_duration.standard: `4h` is no duration; write \"30 minutes\""),
        ("id: plan", "id: check", "id: check", "steps.check: stands here twice"),
        ("done_when: [plan_ready]", "done_when: []", "id: plan", "steps.plan: is never done; name a fact"),
        ("done_when: [plan_ready]", "done_when: [plan_redy]", "id: plan", "steps.plan.done_when: unknown fact `plan_redy`; did you mean"),
        ("when: [uat_signed]", "when: [uat]", "id: plan", "steps.plan.when: unknown fact `uat`; known here"),
        (
            "operation: plan_deployment",
            "operation: plan_deploymnt",
            "id: plan",
            "steps.plan: unknown operation `plan_deploymnt`; did you mean",
        ),
        (
            "when: [uat_signed]",
            "when: [plan_ready]",
            "id: plan",
            "steps.plan.when: goes round: waits for `plan_ready`, which only itself brings",
        ),
        (
            "when: [uat_signed]",
            "when: [deployed]",
            "id: plan",
            "steps.plan.when: goes round: waits for `deployed`, which only step `deploy`",
        ),
        ("when: [uat_signed]", "when: [runbook_published]", "id: plan", "steps.plan: is never reached: where `runbook_published` holds"),
        (
            "[plan_ready]",
            "[gates_pass]",
            "id: plan",
            "steps.plan: is never reached: the steps before it bring every fact of its `done_when`",
        ),
        (
            "exit: [deployed]",
            "exit: [gates_pass]",
            "id: plan",
            "steps.plan: is never reached: the steps before it bring every fact of `exit`",
        ),
        ("rerun: 1", "rerun: 9", "id: deploy", "steps.deploy.rerun: 9 is too often; at most 3"),
        ("exit: [deployed]", "exit: []", "exit:", "exit: is empty: nothing would end the phase"),
        ("exit: [deployed]", "exit: [deployed, runbook_published]", "exit:", "exit: `runbook_published` stands in `skip_when` too"),
        ("[ci/deploy", "[../deploy", "artifacts:", "artifacts: `../deploy-logs.txt` leads out"),
        ("offer: run_predeploy_checks", "offer: run_checks", "when: gate_failed", "on_failure.gate_failed: unknown operation `run_checks`"),
        ("when: gate_failed", "when: gate_faild", "when: gate_faild", "unknown variant `gate_faild`"),
        ("why: mend it", "why: wait 5 minutes", "when: gate_failed", "on_failure.gate_failed: the prose states a threshold, `5 minutes`"),
        (
            "guidance: read them",
            "guidance: at least 80 %",
            "id: check",
            "steps.check.guidance: the prose states a threshold, `80 %`; write it once",
        ),
        (
            "guidance: read them",
            "guidance: call get_staus",
            "id: check",
            "steps.check.guidance: unknown operation `get_staus`; did you mean `get_status`?",
        ),
        ("# Own in {{env}}", "# Own\nerrors < 5, see `plan_all`", "errors < 5", "the prose states a threshold, `5`"),
        ("# Own in {{env}}", "# Own\nsee `plan_all`", "see `plan", "unknown operation `plan_all`; known here: get_status"),
        ("{{gates}}", "{{gate}}", "{{gate}}", "unknown place `{{gate}}`; did you mean `gates`?"),
        ("{{gates}}", "", "---", "the body does not show `{{gates}}`; write `{{gates}}` on a line of its own"),
        ("{{steps}}", "", "---", "the body does not show `{{steps}}`"),
        ("next: [later]", "next: [\"Later on\"]", "next:", "next: `Later on` is no name"),
    ];
    for (from, to, at, expected) in table {
        assert!(GOOD.contains(from), "{from} stands in the good one");
        let bad = GOOD.replacen(from, to, 1);
        let line = bad.lines().position(|line| line.contains(at)).unwrap_or_else(|| panic!("{at} is nowhere")) + 1;
        let told = told(&bad);
        let is_told = |told: &String| told.starts_with(&format!("p.md:{line}: ")) && told.contains(expected);
        assert!(told.iter().any(is_told), "{from} → {to}: line {line}, {expected} in\n{told:#?}");
    }
    let long = "word ".repeat(250);
    assert!(
        told(&GOOD.replace("guidance: read them", &format!("guidance: {long}")))[0].contains("has more guidance than a result carries")
    );
    assert!(told(&format!("{GOOD}{}", long.repeat(5)))[0].contains("bytes when it is shown, and may have 6144"));
}

#[test]
fn phases_that_go_round_or_share_a_name_are_told() {
    let named = |name: &str, next: &str| {
        parse("p.md", &GOOD.replace("name: own", &format!("name: {name}")).replace("next: [later]", &format!("next: {next}"))).unwrap()
    };
    let (one, two, three) = (named("one", "[two]"), named("two", "[three, gone]"), named("three", "[one]"));
    let told = |phases: &[(&str, &Phase)]| lint_together(phases).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(&[("1.md", &one), ("2.md", &two)]), [""; 0]);
    let line = one.text.lines().position(|line| line.starts_with("next:")).unwrap() + 1;
    let round = told(&[("1.md", &one), ("2.md", &two), ("3.md", &three)]);
    assert_eq!(round.len(), 3, "{round:#?}");
    assert_eq!(round[0], format!("1.md:{line}: next: goes round: `one` comes after itself; break the circle"));
    assert_eq!(told(&[("1.md", &named("one", "[one]"))]).len(), 1);
    let twice = told(&[("1.md", &one), ("other.md", &one)]);
    assert!(twice[0].starts_with("other.md:2: name: `one` is there already: 1.md; give it another name"), "{twice:#?}");
}

#[test]
fn every_fact_is_one_and_says_who_supplies_it() {
    let names: BTreeSet<&str> = FACTS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), FACTS.len());
    let signed: BTreeSet<&str> = signable().collect();
    assert_eq!(signed.len(), signable().count(), "what is signed says one thing");
    for kind in FACTS {
        assert!(!kind.says.is_empty() && !kind.how.is_empty(), "{}", kind.name);
        let how = [kind.signed, kind.denied].into_iter().flatten();
        how.for_each(|fact| assert!(kind.how.contains(&format!("interlock sign-off {{directive}} {fact}")), "{}", kind.name));
    }
}
