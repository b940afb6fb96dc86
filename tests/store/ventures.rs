//! Ventures and their stages, on both databases: which one is active, and that no sequence of changes takes one further than a stage.

use crate::world::*;
use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

/// A venture that stands before its deployment in both lifecycles.
async fn shop(store: &Store) -> Venture {
    store.create_venture(&agent(), "shop", "Shop", 22, 30).await.unwrap().0
}

fn into_production(venture: &str) -> NewDirective {
    NewDirective { venture: Some(venture.into()), reaches_customers: true, ..order("production") }
}

async fn directive_of(store: &Store, version: &str) -> Directive {
    store.create_directive(&agent(), into_production("shop"), &release("web", version)).await.unwrap().0
}

async fn add_runbook(store: &Store, directive: &DirectiveId) {
    let artifact = NewArtifact {
        directive: directive.clone(),
        name: "deployment_runbook".into(),
        path: "docs/runbook.md".into(),
        sha256: Sha256::of(b"runbook"),
        size_bytes: 7,
    };
    store.add_artifact(&agent(), &artifact).await.unwrap();
}

async fn statuses(store: &Store) -> Vec<(String, i64, String)> {
    store.stage_work("shop").await.unwrap().into_iter().map(|work| (work.lifecycle, work.stage, work.status)).collect()
}

fn at(status: &str) -> Vec<(String, i64, String)> {
    vec![("vision_v2".into(), 22, status.into()), ("workflow".into(), 30, status.into())]
}

#[tokio::test]
async fn the_venture_furthest_in_the_workflow_is_the_active_one() {
    for database in databases().await {
        let store = database.open().await;
        let active = async || store.active_venture().await.unwrap().map(|venture| venture.id);
        assert_eq!(active().await, None, "{}", database.name);
        let (first, existing) = store.create_venture(&agent(), "old", "Old", 21, 29).await.unwrap();
        assert_eq!((first.status.as_str(), first.current_lifecycle_stage, first.current_workflow_stage), ("active", Some(21), Some(29)));
        assert!(!existing && store.create_venture(&agent(), "old", "Another", 1, 1).await.unwrap() == (first.clone(), true));
        assert_eq!((store.venture("old").await.unwrap(), store.venture("none").await.unwrap()), (Some(first), None));
        store.create_venture(&agent(), "near", "Near", 22, 3).await.unwrap();
        assert_eq!(active().await.as_deref(), Some("old"));
        database.clock.advance(Duration::from_secs(1));
        store.create_venture(&agent(), "new", "New", 1, 29).await.unwrap();
        assert_eq!(active().await.as_deref(), Some("new"), "of several as far, the newest");
        database.tamper("INSERT INTO ventures (id, name, status, current_workflow_stage, created_at, updated_at) VALUES ('far', 'Far', 'paused', 40, 9, 9)").await;
        database.tamper("INSERT INTO ventures (id, name, status, created_at, updated_at) VALUES ('none', 'None', 'active', 9, 9)").await;
        assert_eq!(active().await.as_deref(), Some("new"));
    }
}

#[tokio::test]
async fn both_lifecycles_are_there_with_what_the_seeds_say_of_them() {
    for database in databases().await {
        let store = database.open().await;
        let (vision, workflow) = (store.stages("vision_v2").await.unwrap(), store.stages("workflow").await.unwrap());
        assert_eq!((vision.len(), workflow.len(), store.stages("other").await.unwrap().len()), (25, 40, 0), "{}", database.name);
        let numbers = |stages: &[Stage]| stages.iter().map(|stage| stage.number).collect::<Vec<_>>();
        assert_eq!((numbers(&vision), numbers(&workflow)), ((1..=25).collect(), (1..=40).collect()));
        let phases: std::collections::BTreeMap<&str, usize> = vision.iter().fold(Default::default(), |mut phases, stage| {
            *phases.entry(stage.phase.as_str()).or_default() += 1;
            phases
        });
        let expected =
            [("THE TRUTH", 5), ("THE ENGINE", 4), ("THE IDENTITY", 3), ("THE BLUEPRINT", 4), ("THE BUILD LOOP", 4), ("LAUNCH & LEARN", 5)];
        assert_eq!(phases, expected.into());
        assert_eq!(workflow.iter().filter(|stage| stage.phase == "EXEC").map(|stage| stage.number).min(), Some(26));
        let deploys = |stages: &[Stage]| stages.iter().filter(|stage| stage.sd_required).cloned().collect::<Vec<_>>();
        let [stage_22] = &deploys(&vision)[..] else { panic!("{vision:?}") };
        let [stage_30] = &deploys(&workflow)[..] else { panic!("{workflow:?}") };
        assert_eq!(
            (stage_22.number, stage_22.name.as_str(), stage_22.governed_by.as_deref()),
            (22, "Deployment & Infrastructure", Some("stage-22"))
        );
        assert_eq!((stage_22.work_type.as_str(), &stage_22.required_artifacts), ("sd_required", &vec!["deployment_runbook".to_owned()]));
        assert_eq!(
            (stage_30.number, stage_30.name.as_str(), stage_30.governed_by.as_deref()),
            (30, "Production Deployment", Some("stage-30"))
        );
        assert_eq!(vision[0].name, "Stage 1", "no source names it");
    }
}

#[tokio::test]
async fn completing_the_stages_directive_takes_a_venture_one_stage_further() {
    for database in databases().await {
        let store = database.open().await;
        shop(&store).await;
        let rehearsal = NewDirective { reaches_customers: false, ..into_production("shop") };
        let (staging, _) = store.create_directive(&agent(), rehearsal, &release("web", "0.9.0")).await.unwrap();
        assert_eq!(statuses(&store).await, [], "{}: what does not reach customers carries no stage", database.name);
        let done = store.complete_directive(&server(), &staging.id, "done", None).await.unwrap();
        assert_eq!((done, store.venture("shop").await.unwrap().unwrap().current_workflow_stage), (Completion::Completed(vec![]), Some(30)));

        let directive = directive_of(&store, "1.0.0").await;
        assert_eq!(statuses(&store).await, at("in_progress"));
        assert!(store.rate_stage_work(&server(), &directive.id, Some("yellow")).await.unwrap());
        assert!(!store.rate_stage_work(&server(), &directive.id, Some("yellow")).await.unwrap(), "nothing new, nothing recorded");
        assert_eq!(store.missing_stage_artifacts(&directive.id).await.unwrap(), ["deployment_runbook"]);
        let before = store.sequence().await.unwrap();
        let refused = store.complete_directive(&server(), &directive.id, "done", Some("green")).await.unwrap();
        assert_eq!(refused, Completion::Missing(vec!["deployment_runbook".into()]));
        assert_eq!((store.sequence().await.unwrap(), statuses(&store).await), (before, at("in_progress")), "nothing was changed");
        assert!(store.directive(&directive.id).await.unwrap().unwrap().state.is_open());

        add_runbook(&store, &directive.id).await;
        let done = store.complete_directive(&server(), &directive.id, "done", Some("green")).await.unwrap();
        assert_eq!(done, Completion::Completed(vec![("vision_v2".into(), 23), ("workflow".into(), 31)]), "{}", database.name);
        assert_eq!(statuses(&store).await, at("completed"));
        let work = store.stage_work("shop").await.unwrap();
        assert!(work.iter().all(|work| work.health.as_deref() == Some("green") && work.completed_at.is_some()), "{work:?}");
        assert_eq!(store.complete_directive(&server(), &directive.id, "again", None).await.unwrap(), Completion::NotOpen);
        let venture = store.venture("shop").await.unwrap().unwrap();
        assert_eq!((venture.current_lifecycle_stage, venture.current_workflow_stage), (Some(23), Some(31)));
        // Its later deployments carry no stage: the work of those is not a deployment.
        let later = directive_of(&store, "1.1.0").await;
        let done = store.complete_directive(&server(), &later.id, "done", None).await.unwrap();
        assert_eq!((done, statuses(&store).await), (Completion::Completed(vec![]), at("completed")));
    }
}

#[tokio::test]
async fn what_failed_is_held_or_taken_back_leaves_its_stage_blocked() {
    for database in databases().await {
        let store = database.open().await;
        shop(&store).await;
        let directive = directive_of(&store, "1.0.0").await;
        let (first, _) = claim(&store, &plan(&store, &directive).await.id).await;
        let held = walk(&store, &first, &[Event::Started, Event::Held]).await;
        assert_eq!(statuses(&store).await, at("blocked"), "{}: held", database.name);
        let going = walk(&store, &held, &[Event::Released]).await;
        assert_eq!(statuses(&store).await, at("in_progress"));
        walk(&store, &going, &[Event::Undo, Event::Undone]).await;
        assert_eq!(statuses(&store).await, at("blocked"), "failed");
        let (second, _) = claim(&store, &plan(&store, &directive).await.id).await;
        assert_eq!(statuses(&store).await, at("in_progress"), "tried again");
        let second = walk(&store, &second, SUCCESS).await;
        store.mark_rolled_back(&agent(), &second.id, &second.id).await.unwrap();
        assert_eq!(statuses(&store).await, at("blocked"), "taken back");
        let given_up = [DirectiveState::Active, DirectiveState::InProgress];
        store.set_directive_state(&agent(), &directive.id, &given_up, DirectiveState::Cancelled, None).await.unwrap();
        assert_eq!(statuses(&store).await, at("blocked"), "given up");
        directive_of(&store, "1.1.0").await;
        assert_eq!(statuses(&store).await, at("in_progress"), "the newest directive carries the stage");
    }
}

/// One thing that may happen to a venture.
#[derive(Debug, Clone, Copy)]
enum Act {
    CreateAgain,
    Order(u8, bool),
    Runbook(u8),
    Deploy(u8, bool),
    Complete(u8),
    Cancel(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = 0..2u8;
    let act = prop_oneof![
        1 => Just(Act::CreateAgain),
        3 => (which.clone(), any::<bool>()).prop_map(|(version, customers)| Act::Order(version, customers)),
        3 => which.clone().prop_map(Act::Runbook),
        3 => (which.clone(), any::<bool>()).prop_map(|(version, succeeds)| Act::Deploy(version, succeeds)),
        5 => which.clone().prop_map(Act::Complete),
        1 => which.prop_map(Act::Cancel),
    ];
    proptest::collection::vec(act, 8..24)
}

/// What is known of a venture before and after an act; `with_artifacts` says that the completed directive carries the stage and has its runbook.
fn is_legal(before: (i64, i64), after: (i64, i64), completed: bool, with_artifacts: bool) -> Result<(), String> {
    for (from, to) in [(before.0, after.0), (before.1, after.1)] {
        if to != from && (to != from + 1 || !completed) {
            return Err(format!("from {from} to {to}"));
        }
    }
    if after.0 != before.0 && !with_artifacts {
        return Err("without its artifacts".into());
    }
    Ok(())
}

async fn place(store: &Store) -> (i64, i64) {
    let venture = store.venture("shop").await.unwrap().unwrap();
    (venture.current_lifecycle_stage.unwrap(), venture.current_workflow_stage.unwrap())
}

/// Does one act; returns whether it completed a directive, and whether that one carried a stage with its artifacts.
async fn happen(store: &Store, act: Act) -> (bool, bool) {
    let version = |version: u8| format!("1.{version}.0");
    let of = async |wanted: u8| {
        let all = store.directives_of(&"web".into(), &"production".into()).await.unwrap();
        all.into_iter().find(|directive| directive.version == version(wanted))
    };
    match act {
        Act::CreateAgain => {
            store.create_venture(&agent(), "shop", "Shop", 1, 1).await.unwrap();
        }
        Act::Order(wanted, reaches_customers) => {
            let order = NewDirective { reaches_customers, ..into_production("shop") };
            store.create_directive(&agent(), order, &release("web", &version(wanted))).await.unwrap();
        }
        Act::Runbook(wanted) => {
            if let Some(directive) = of(wanted).await {
                add_runbook(store, &directive.id).await;
            }
        }
        Act::Deploy(wanted, succeeds) => {
            if let Some(directive) = of(wanted).await {
                let (started, _) = claim(store, &plan(store, &directive).await.id).await;
                walk(store, &started, if succeeds { SUCCESS } else { &[Event::Started, Event::Undo, Event::Undone] }).await;
            }
        }
        Act::Complete(wanted) => {
            let Some(directive) = of(wanted).await else { return (false, false) };
            let work = store.stage_work("shop").await.unwrap();
            let carries = work.iter().any(|work| work.directive.as_ref() == Some(&directive.id) && work.status != "completed");
            let runbook = !store.artifacts(&directive.id).await.unwrap().is_empty();
            let done = store.complete_directive(&server(), &directive.id, "done", None).await.unwrap();
            return (matches!(done, Completion::Completed(_)), carries && runbook);
        }
        Act::Cancel(wanted) => {
            if let Some(directive) = of(wanted).await {
                let from = [DirectiveState::Active, DirectiveState::InProgress];
                store.set_directive_state(&agent(), &directive.id, &from, DirectiveState::Cancelled, None).await.unwrap();
            }
        }
    }
    (false, false)
}

#[tokio::test]
async fn no_sequence_takes_a_venture_further_than_one_stage_or_without_artifacts() {
    for database in databases().await {
        let store = database.open().await;
        shop(&store).await;
        let mut runner = TestRunner::deterministic();
        let (mut completed, mut forward, mut acted) = (0, 0, 0);
        for _ in 0..40 {
            // Each sequence begins anew at the stages before the deployment; earlier directives stay.
            database.tamper("UPDATE ventures SET current_lifecycle_stage = 22, current_workflow_stage = 30").await;
            database.tamper("DELETE FROM venture_stage_work").await;
            database.tamper("UPDATE strategic_directives_v2 SET status = 'archived', release_version = 'old', digest = id").await;
            for act in acts().new_tree(&mut runner).unwrap().current() {
                let before = place(&store).await;
                let (is_completed, with_artifacts) = happen(&store, act).await;
                let after = place(&store).await;
                is_legal(before, after, is_completed, with_artifacts).unwrap_or_else(|why| panic!("{act:?} on {}: {why}", database.name));
                acted += 1;
                completed += usize::from(is_completed);
                forward += usize::from(after != before);
            }
        }
        assert!(acted > 200 && forward >= 5 && completed > forward, "{acted} acts, {completed} completed, {forward} forward");
        // The same judge catches a leap, a step that nothing completed, and one without artifacts.
        let before = place(&store).await;
        database.tamper("UPDATE ventures SET current_lifecycle_stage = current_lifecycle_stage + 2").await;
        assert!(is_legal(before, place(&store).await, true, true).is_err());
        assert!(is_legal((22, 30), (22, 31), false, true).is_err() && is_legal((22, 30), (23, 31), true, false).is_err());
        assert!(is_legal((22, 30), (23, 31), true, true).is_ok());
    }
}
