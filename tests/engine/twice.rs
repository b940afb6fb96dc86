//! Every step and every undo done twice: the second time changes nothing. A server that was killed between an effect and its record does
//! just that when it comes back.
//!
//! The test is the worker here: it asks the same `decide::next` what is to be done, and does everything two times.

use crate::{database::Database, support::databases::databases, world::Shop};
use interlock::{
    engine::{
        decide::{self, Asked, Move},
        run::Run,
        steps, undo,
    },
    model::{Caller, DeploymentId, DeploymentState, Event, Step, StepState},
    store::DeploymentChange,
    targets::{Router, Target},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CANARY: &str = "strategy = { kind = \"canary\", weights = [20, 60, 100], watch = \"1s\" }";
const ROLLING: &str = "strategy = { kind = \"rolling\", batch = 2 }\ninstances = 3";
const RENAME: (&str, &str) = ("0042_rename.sql", "ALTER TABLE users RENAME COLUMN mail TO email;");
const DROP: (&str, &str) = ("0042_drop.sql", "ALTER TABLE users DROP COLUMN email;");

/// What was done twice, and what the second time has changed.
#[derive(Default)]
struct Twice {
    done: Vec<String>,
    differences: Vec<String>,
    state: Option<DeploymentState>,
}

/// Everything a step may change: instances, traffic, data, and the record of what serves. Times of looking are left out.
async fn seen(shop: &Shop, run: &Run, data: Option<&Database>) -> Value {
    let mut serving = json!(run.engine.store.serving(&run.plan.service, &run.plan.environment).await.unwrap());
    let mut deployment = json!(run.deployment().await.unwrap());
    if let Some(serving) = serving.as_object_mut() {
        serving.remove("verified_at");
    }
    deployment.as_object_mut().unwrap().remove("updated_at");
    let incidents = run.engine.store.incidents(&run.id).await.unwrap().len();
    json!({
        "instances": shop.staging.target().list().await.unwrap(), "split": shop.staging.router().observe().await.unwrap(),
        "serving": serving, "deployment": deployment, "incidents": incidents, "data": data.map(Database::applied),
    })
}

impl Twice {
    /// Does an act two times; returns what came out the second time.
    async fn act(&mut self, shop: &Shop, run: &Run, data: Option<&Database>, step: &Step, back: bool) -> Value {
        let name = if back { format!("undo-{}", step.id) } else { step.id.to_string() };
        let mut outputs = Vec::new();
        let mut worlds = Vec::new();
        for time in ["first", "second"] {
            let outcome = if back { undo::undo(run, step).await } else { steps::perform(run, step).await };
            outputs.push(outcome.unwrap_or_else(|failure| panic!("{name}, the {time} time: {failure:?}")));
            worlds.push(seen(shop, run, data).await);
        }
        let fields = worlds[0].as_object().unwrap().keys();
        let differ = fields.filter(|field| worlds[0][*field] != worlds[1][*field]);
        self.differences.extend(differ.map(|field| format!("{name} {field}: {} then {}", worlds[0][field], worlds[1][field])));
        self.done.push(name);
        outputs.pop().unwrap()
    }
}

/// Walks what the agent has just begun; before the step `turns_at` it is told to turn back.
async fn walk(shop: &Shop, deployment: &DeploymentId, data: Option<&Database>, turns_at: Option<&str>) -> Twice {
    let (engine, by) = (&shop.engine, Caller::server());
    let begun = engine.deployment(deployment).await.unwrap();
    let lease = engine.store.lease(&begun.environment).await.unwrap().unwrap();
    let run = Run::of(engine, &begun, lease).await.unwrap();
    let mut twice = Twice::default();
    let mut undo = false;
    loop {
        let (now, journal) = (run.deployment().await.unwrap(), run.journal().await.unwrap());
        let asked = Asked { undo, data: undo && run.plan.rollback.automatic, ..Asked::default() };
        let event = match decide::next(now.state, &run.plan.steps, &journal, asked) {
            Move::Do(step) if !undo && turns_at == Some(step.id.as_str()) => {
                undo = true;
                continue;
            }
            Move::Do(step) => {
                run.write(step, &[StepState::Pending], StepState::Executing, None).await.unwrap();
                let output = twice.act(shop, &run, data, step, false).await;
                run.write(step, &[StepState::Executing], StepState::Done, Some(&output)).await.unwrap();
                continue;
            }
            Move::Undo(step) => {
                run.write(step, &[StepState::Executing, StepState::Done], StepState::Undoing, None).await.unwrap();
                let output = twice.act(shop, &run, data, step, true).await;
                run.write(step, &[StepState::Undoing], StepState::Undone, Some(&output)).await.unwrap();
                continue;
            }
            Move::Start => Event::Started,
            Move::BeginWatch => Event::Shifted,
            Move::TurnBack => Event::Undo,
            Move::Finish => Event::Finished,
            Move::FinishUndo => Event::Undone,
            Move::Nothing => {
                twice.state = Some(now.state);
                return twice;
            }
            other => panic!("{other:?}"),
        };
        let change = DeploymentChange { undo_reason: undo.then(|| "turned back".into()), ..DeploymentChange::default() };
        engine.store.transition(&by, &run.id, run.lease.epoch, now.state, event, change).await.unwrap().unwrap();
    }
}

/// Begins a deployment that no worker of the engine walks.
async fn begun(shop: &Shop, version: &str) -> DeploymentId {
    let directive = shop.order("staging", version).await;
    let plan = shop.plan_in_staging(&directive).await["plan"].take();
    shop.rest().await;
    let reply = shop.must("execute_deployment", json!({ "plan": plan })).await;
    reply["deployment"].as_str().unwrap().into()
}

/// A shop where 1.0.0 serves; with data where it says how that goes back.
async fn opened(url: &str, placement: &str, on_rollback: Option<&str>) -> (Shop, Option<Database>) {
    let shop = Shop::open_with(url, placement).await;
    let Some(migration) = on_rollback else {
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        return (shop, None);
    };
    let data = Database::of(&shop, &[RENAME.0, DROP.0], "automatic").await;
    for version in ["1.0.0", "1.1.0"] {
        shop.migration(version, "0001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, mail TEXT);");
    }
    let (name, sql) = if migration == "down" { RENAME } else { DROP };
    shop.migration("1.1.0", name, sql);
    if migration == "down" {
        shop.migration("1.1.0", "0042_rename.down.sql", "ALTER TABLE users RENAME COLUMN email TO mail;");
    }
    assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
    (shop, Some(data))
}

/// What is deployed: the lines of its placement, and how its data goes back where it has any.
const KINDS: [(&str, &str, Option<&str>); 5] = [
    ("blue-green", "", None),
    ("canary", CANARY, None),
    ("rolling", ROLLING, None),
    ("migrations that can be undone", "", Some("down")),
    ("migrations that a backup undoes", "", Some("restore")),
];

#[tokio::test]
async fn every_step_done_twice_changes_nothing_the_second_time() {
    let mut done = BTreeSet::new();
    for (kind, placement, data) in KINDS {
        for database in databases().await {
            let (mut shop, data) = opened(&database.url, placement, data).await;
            let deployment = begun(&shop, "1.1.0").await;
            let forward = walk(&shop, &deployment, data.as_ref(), None).await;
            // And taken back again, which is a deployment of its own.
            let asked = json!({ "deployment": deployment, "reason": "done twice" });
            let back = shop.must("rollback_deployment", asked).await["deployment"].as_str().unwrap().into();
            let back = walk(&shop, &back, data.as_ref(), None).await;
            for twice in [forward, back] {
                assert_eq!(twice.differences, [""; 0], "{kind} on {}", database.name);
                assert_eq!(twice.state, Some(DeploymentState::Succeeded), "{kind} on {}: {:?}", database.name, twice.done);
                done.extend(twice.done);
            }
            shop.restart().await;
            let all = shop.staging.running().len();
            assert_eq!(shop.staging.serving(), vec!["1.0.0"; all], "{kind} on {}", database.name);
        }
    }
    println!("figure: {} steps, each done twice, no difference", done.len());
    assert!(done.contains("return-data") && done.contains("replace-2") && done.contains("analyse-60"), "{done:?}");
}

#[tokio::test]
async fn every_undo_done_twice_changes_nothing_the_second_time() {
    let mut undone = BTreeSet::new();
    for (kind, placement, data) in KINDS {
        for database in databases().await {
            // Everything that can be undone was done by then, and nothing is recorded as what serves.
            let (mut shop, data) = opened(&database.url, placement, data).await;
            let deployment = begun(&shop, "1.1.0").await;
            let twice = walk(&shop, &deployment, data.as_ref(), Some("retire")).await;
            assert_eq!(twice.differences, [""; 0], "{kind} on {}", database.name);
            assert_eq!(twice.state, Some(DeploymentState::RolledBack), "{kind} on {}: {:?}", database.name, twice.done);
            undone.extend(twice.done.into_iter().filter(|name| name.starts_with("undo-")));
            shop.restart().await;
            let all = shop.staging.running().len();
            assert_eq!(shop.staging.serving(), vec!["1.0.0"; all], "{kind} on {}", database.name);
            assert!(data.is_none_or(|data| data.applied() == ["0001_users.sql"]), "{kind} on {}", database.name);
        }
    }
    println!("figure: {} undos, each done twice, no difference", undone.len());
    let expected = ["migrate", "replace-2", "replace-3", "shift", "shift-20", "shift-60", "start-1", "start-2", "start-3"];
    assert_eq!(undone.into_iter().collect::<Vec<_>>(), expected.map(|step| format!("undo-{step}")));
}

/// The control: a step that is not safe to do twice is found.
#[tokio::test]
async fn migrations_that_run_again_are_seen_as_a_difference() {
    for database in databases().await {
        let (shop, data) = opened(&database.url, "", Some("down")).await;
        data.as_ref().unwrap().forgets();
        let deployment = begun(&shop, "1.1.0").await;
        let twice = walk(&shop, &deployment, data.as_ref(), Some("start-1")).await;
        assert_eq!(twice.differences.len(), 1, "{:?}", twice.differences);
        assert!(twice.differences[0].starts_with("migrate data: "), "{:?}", twice.differences);
    }
}
