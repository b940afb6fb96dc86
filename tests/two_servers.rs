//! Two servers in two folders on one PostgreSQL: asked at the same time, one of them gets the environment. The other says who has it,
//! nothing is done under a lease that was taken over, and what is done is counted where it is done.

mod support;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};
use support::{
    PATIENCE,
    databases::Database,
    standby::until,
    wire::{Client, NoReply},
    workspace::Workspace,
};

const ENVIRONMENTS: usize = 8;
const ROUNDS_EACH: usize = 25;

/// What the servers deploy with: it notes who changed what under which epoch, and then waits to be aborted.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
case "$1" in
apply) echo "${2%%-*} $2 $3 applied" >> effects; exec sleep 600 ;;
undo) echo "${2%%-*} $2 $3 undone" >> effects ;;
observe) echo '{"running": false}' ;;
esac
"#;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_asked_at_once_exactly_one_gets_the_environment() {
    let Some(database) = Database::postgres().await else { return };
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("deploy.sh"), SCRIPT).unwrap();
    let configuration = configuration(place.path());
    let mut servers = [(); 2].map(|()| Workspace::new(database.clone(), &configuration));
    for server in &mut servers {
        server.serve(&[]).await.unwrap();
    }
    servers[0].client().call("apply", json!({ "text": configuration })).await.unwrap();

    let began = Instant::now();
    let effects = place.path().join("effects");
    let rounds = (0..ENVIRONMENTS).map(|number| race(&servers, number, &effects));
    let rounds: Vec<Round> = futures_util::future::try_join_all(rounds).await.unwrap().into_iter().flatten().collect();

    let mut refusals: Vec<Duration> = rounds.iter().map(|round| round.refused_in).collect();
    refusals.sort();
    let same_plan = rounds.iter().filter(|round| round.existing).count();
    let by_first = rounds.iter().filter(|round| round.winner == 0).count();
    println!(
        "figure: {} rounds in {:.1} s: the first server won {by_first}; {same_plan} losers got the same deployment, {} `conflict`; refusals p50 {:?}, p99 {:?}",
        rounds.len(),
        began.elapsed().as_secs_f64(),
        rounds.len() - same_plan,
        refusals[refusals.len() / 2],
        refusals[refusals.len() * 99 / 100],
    );
    assert_eq!(rounds.len(), ENVIRONMENTS * ROUNDS_EACH);
    assert!(same_plan >= 50 && rounds.len() - same_plan >= 50, "both kinds of losing were seen");
    assert!(by_first > 0 && by_first < rounds.len(), "both servers have won");

    // Each winner has applied once and undone once, none under a lower epoch than one that was there before in its environment.
    let effects = fs::read_to_string(effects).unwrap();
    assert_eq!(unpromised(&effects, &rounds), Vec::<String>::new());
    // The control: one more change, under an epoch that is over, is found.
    let late = effects.lines().next().unwrap();
    assert_eq!(unpromised(&format!("{effects}{late}\n"), &rounds).len(), 2, "a stale change, done twice");
    for server in &servers {
        server.client().call("audit_verify", json!({})).await.unwrap();
    }
}

/// One race.
struct Round {
    winner: usize,
    /// The instance that the deployment of the winner started.
    instance: String,
    /// Whether the loser was given the winner's deployment, instead of `conflict`.
    existing: bool,
    refused_in: Duration,
}

/// Both servers are asked to execute, again and again, in one environment: the same plan, or each another service's.
async fn race(servers: &[Workspace; 2], number: usize, effects: &Path) -> Result<Vec<Round>> {
    let (environment, mut rounds) = (format!("env{number}"), Vec::new());
    for round in 0..ROUNDS_EACH {
        let version = format!("{number}.{round}.0");
        let services = if round % 2 == 0 { ["web", "web"] } else { ["web", "api"] };
        let mut plans = Vec::new();
        for service in services {
            plans.push(planned(servers, service, &environment, &version).await?);
        }
        let (first, second) = tokio::join!(execute(servers[0].client(), &plans[0]), execute(servers[1].client(), &plans[1]));
        let (answers, took) = ([first.0?, second.0?], [first.1, second.1]);
        let is_new = |answer: &Value| answer["existing"] == false;
        ensure!(answers.iter().filter(|answer| is_new(answer)).count() == 1, "{environment} {round}: {answers:?}");
        let winner = usize::from(is_new(&answers[1]));
        let (won, lost) = (&answers[winner], &answers[1 - winner]);
        let deployment = won["deployment"].as_str().context("a deployment has an id")?.to_owned();
        let existing = lost["existing"] == true;
        ensure!(existing || lost["code"] == "conflict", "{environment} {round}: {lost}");
        let named = if existing { &lost["deployment"] } else { &lost["details"]["deployment"] };
        ensure!(*named == *deployment, "{environment} {round}: the loser names another deployment: {answers:?}");
        let instance = format!("{environment}-{}-{deployment}-1", services[winner]);
        let applied = format!("{instance} ");
        until(&applied, || fs::read_to_string(effects).is_ok_and(|text| text.contains(&applied))).await?;
        let back = json!({ "deployment": deployment, "reason": "the race is over" });
        servers[winner].client().call("rollback_deployment", back).await?;
        let settled = settled(&servers[winner].client(), &deployment).await?;
        ensure!(settled["state"] == "rolled_back", "{environment} {round}: {settled}");
        rounds.push(Round { winner, instance, existing, refused_in: took[1 - winner] });
    }
    Ok(rounds)
}

async fn execute(client: Client, plan: &str) -> (Result<Value>, Duration) {
    let asked = Instant::now();
    let answer = match client.try_call("execute_deployment", json!({ "plan": plan })).await {
        Ok(reply) => Ok(reply),
        Err(NoReply::Refused(mut refusal)) => Ok(refusal["data"].take()),
        Err(NoReply::Gone(how)) => Err(anyhow::anyhow!(how)),
    };
    (answer, asked.elapsed())
}

/// Orders a release at both servers, so that both have its bytes, and plans it.
async fn planned(servers: &[Workspace; 2], service: &str, environment: &str, version: &str) -> Result<String> {
    let mut directive = Value::Null;
    for server in servers {
        let artifact = format!("build/{service}-{version}");
        server.write(&format!("{artifact}/app"), &format!("{service} {version}"));
        let order = json!({ "service": service, "environment": environment, "version": version, "artifact": artifact });
        directive = server.client().call("create_directive", order).await?["directive"]["id"].take();
    }
    let plan = servers[0].client().call("plan_deployment", json!({ "directive": directive })).await?;
    plan["plan"].as_str().map(str::to_owned).with_context(|| format!("no plan: {plan}"))
}

async fn settled(client: &Client, deployment: &str) -> Result<Value> {
    let began = Instant::now();
    loop {
        let body = client.call("get_deployment", json!({ "deployment": deployment, "wait_seconds": 5, "until": "settled" })).await?;
        if ["succeeded", "rolled_back", "stuck"].contains(&body["state"].as_str().unwrap_or_default()) {
            return Ok(body);
        }
        ensure!(began.elapsed() < PATIENCE, "`{deployment}` does not settle: {body}");
    }
}

/// Compares what was done with who won; returns what was not promised.
fn unpromised(effects: &str, rounds: &[Round]) -> Vec<String> {
    let (mut found, mut done) = (Vec::new(), HashSet::new());
    let mut seen = HashMap::<&str, i64>::new();
    for line in effects.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (environment, instance, epoch, did) = (words[0], words[1], words[2].parse().unwrap_or(0), words[3]);
        let highest = seen.entry(environment).or_default();
        if epoch < *highest {
            found.push(format!("`{line}` was done under an epoch that was over: {highest} was there"));
        }
        *highest = epoch.max(*highest);
        if !done.insert((instance, did)) || !rounds.iter().any(|round| round.instance == instance) {
            found.push(format!("`{line}` was done twice, or for nobody who had won"));
        }
    }
    if done.len() != 2 * rounds.len() {
        found.push(format!("{} changes of {} winners", done.len(), rounds.len()));
    }
    found
}

fn configuration(place: &Path) -> String {
    let script = place.join("deploy.sh");
    let mut text = String::from("[project]\nname = \"shop\"\n");
    for service in ["web", "api"] {
        text += &format!(
            r#"
[services.{service}]
owner      = "platform"
escalation = "oncall@shop.test"
command = ["{{release}}/app"]
health  = {{ alive = true, interval = "20ms", successes = 1 }}
drain = "0s"
bake  = "0s"
"#
        );
    }
    for number in 0..ENVIRONMENTS {
        for service in ["web", "api"] {
            let argv = |word: &str| format!(r#"["sh", "{}", "{word}", "{{instance}}", "{{epoch}}"]"#, script.display());
            text += &format!(
                r#"
[environments.env{number}.services.{service}]
target = {{ kind = "command", apply = {}, observe = {}, undo = {} }}
router = {{ kind = "external", address = "127.0.0.1:9" }}
"#,
                argv("apply"),
                argv("observe"),
                argv("undo")
            );
        }
    }
    text
}
