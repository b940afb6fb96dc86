//! `interlock demo`: the whole main job, end to end, with real processes, and what it measured.

use super::{
    agent::Agent,
    app::Fault,
    chairman::Chairman,
    load::{Load, LoadOptions},
    shop::Shop,
    summary::{self, Measured},
};
use crate::{
    cli::{people::api::ask, stop},
    config::Workspace,
    model::DecisionKind,
    targets::Samples,
};
use anyhow::{Context, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::{path::Path, time::Instant};

pub(in crate::cli) fn command(command: Command) -> Command {
    command.about("Deploy, break, roll back and measure a throw-away service on this machine").arg(
        Arg::new("keep")
            .long("keep")
            .action(ArgAction::SetTrue)
            .help("Leave it running; first asks for a passphrase of yours, so that you can approve"),
    )
}

pub(in crate::cli) fn run(matches: &ArgMatches) -> Result<(), crate::error::Error> {
    let keep = matches.get_flag("keep");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(crate::error::Error::internal)?;
    let outcome = runtime.block_on(demo(keep));
    runtime.shutdown_background();
    outcome.map_err(|error| {
        crate::error::Error::new(crate::error::Code::TargetFailed, format!("the demo failed: {error:#}"))
            .hint("run it again; with --keep its workspace stays for a look")
    })
}

async fn demo(keep: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let exe = std::env::current_exe().context("finding this program")?;
    let folder = std::env::temp_dir().join(format!("interlock-demo-{:08x}", rand::random::<u32>()));
    std::fs::create_dir_all(&folder)?;
    let shop = Shop::open(&folder, &exe)?;
    let workspace = Workspace::at(&folder)?;
    println!("workspace {}", folder.display());
    let outcome = story(&exe, &shop, &workspace, keep).await;
    if keep && outcome.is_ok() {
        println!(
            "left running; `interlock down production`, `interlock down staging` and `interlock stop` end it (--workspace {})",
            folder.display()
        );
    } else {
        put_away(&workspace).await;
        if outcome.is_ok() {
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
    let measured = outcome?;
    summary::print(&measured, started.elapsed());
    summary::connect(&exe, keep.then_some(folder.as_path()));
    summary::verdict(&measured)
}

async fn story(exe: &Path, shop: &Shop, workspace: &Workspace, keep: bool) -> anyhow::Result<Measured> {
    shop.write_version("1.0.0", Fault::None)?;
    let text = std::fs::read_to_string(workspace.config_file())?;
    let applied: Value = ask(workspace, "apply", json!({ "text": text })).await?;
    println!("server    started; configuration revision {} is in force in staging, production waits for a signature", applied["revision"]);
    let chairman = Chairman::enrol(workspace).await?;
    println!("approver  demo-chairman {} (a random passphrase in memory; for this demo only)", chairman.fingerprint());
    chairman.approve(DecisionKind::Configuration, applied["revision"].clone()).await?;
    println!("          signed the configuration: gates coverage and vulnerabilities are off in it, tests and load are observed");
    if keep {
        super::keep::enrol_person(workspace, &chairman).await?;
    }
    let mut agent = Agent::connect(exe, workspace.root.as_path()).await?;
    println!("agent     connected over stdio through `interlock mcp`");

    deliver(&mut agent, &chairman, "1.0.0", "staging").await?;
    let first = deliver(&mut agent, &chairman, "1.0.0", "production").await?;
    ensure!(first.succeeded(), "1.0.0 did not reach production: {}", first.body["summary"]);

    let before = samples(workspace).await?;
    let load = Load::start(shop.production, LoadOptions::default());
    println!("load      GET, POST, events, keep-alive and websockets on http://{}", shop.production);

    shop.write_version("2.0.0", Fault::None)?;
    deliver(&mut agent, &chairman, "2.0.0", "staging").await?;
    let good = deliver(&mut agent, &chairman, "2.0.0", "production").await?;
    ensure!(good.succeeded(), "2.0.0 did not reach production: {}", good.body["summary"]);

    shop.write_version("3.0.0", Fault::LiveForwarded)?;
    let staged = deliver(&mut agent, &chairman, "3.0.0", "staging").await?;
    ensure!(staged.succeeded(), "3.0.0 must pass staging for the demo");
    let bad = deliver(&mut agent, &chairman, "3.0.0", "production").await?;
    ensure!(bad.state() == "rolled_back", "3.0.0 must be rolled back, and is {}", bad.state());
    println!("          3.0.0 misbehaves only behind the proxy with MODE=live: rolled back by itself");

    let reply = agent
        .must(
            "rollback_deployment",
            json!({ "service": "web", "environment": "production", "reason": "the demo shows a rollback on demand" }),
        )
        .await?;
    let back = settled(&mut agent, reply["deployment"].as_str().unwrap_or_default()).await?;
    ensure!(back.state() == "succeeded" && back.body["deployment"]["version"] == "1.0.0", "the rollback ended {}", back.state());
    println!("          rolled 2.0.0 back to 1.0.0 on demand, without an approval");
    let runbook =
        agent.must("write_runbook", json!({ "deployment": good.id(), "notes": "Watch the first minute after the switch." })).await?;
    chairman.approve(DecisionKind::Runbook, runbook["runbook"].clone()).await?;
    println!(
        "runbook   {} version {} drafted from the record and published: {}",
        runbook["runbook"].as_str().unwrap_or_default(),
        runbook["version"],
        runbook["path"].as_str().unwrap_or_default()
    );

    let client = load.stop().await;
    let after = samples(workspace).await?;
    let audit: Value = ask(workspace, "audit_verify", json!({})).await?;
    let calls = agent.calls;
    agent.hang_up().await?;
    Ok(Measured { client, before, after, good: good.body, bad: bad.body, back: back.body, calls, audit })
}

/// A deployment that is settled.
struct Settled {
    body: Value,
}

impl Settled {
    fn state(&self) -> &str {
        self.body["state"].as_str().unwrap_or_default()
    }

    fn succeeded(&self) -> bool {
        self.state() == "succeeded"
    }

    fn id(&self) -> &str {
        self.body["deployment"]["id"].as_str().unwrap_or_default()
    }
}

/// Takes a version from directive to its settled deployment, as an agent does.
async fn deliver(agent: &mut Agent, chairman: &Chairman, version: &str, environment: &str) -> anyhow::Result<Settled> {
    let started = Instant::now();
    let order = json!({ "service": "web", "environment": environment, "version": version, "artifact": "app", "title": format!("demo: web {version}") });
    let directive = agent.must("create_directive", order).await?["directive"]["id"].as_str().context("a directive has an id")?.to_owned();
    agent.must("run_predeploy_checks", json!({ "directive": directive })).await?;
    let mut status = agent.must("get_status", json!({ "directive": directive })).await?;
    while status["state"] == "checking" {
        status = agent.must("get_status", json!({ "directive": directive, "wait_seconds": 45, "since": status["token"] })).await?;
    }
    if status["next_actions"].to_string().contains("sign-off") {
        chairman.approve(DecisionKind::SignOff, json!({ "directive": directive, "fact": "uat" })).await?;
    }
    let plan = agent.must("plan_deployment", json!({ "directive": directive })).await?;
    let id = plan["plan"].clone();
    if plan["state"] == "awaiting_approval" {
        match agent.call("execute_deployment", json!({ "plan": id })).await? {
            Err(refusal) if refusal["code"] == "approval_required" => (),
            other => bail!("an unapproved plan must be refused: {other:?}"),
        }
        chairman.approve(DecisionKind::Plan, id.clone()).await?;
    }
    let reply = agent.must("execute_deployment", json!({ "plan": id })).await?;
    let outcome = settled(agent, reply["deployment"].as_str().unwrap_or_default()).await?;
    println!(
        "deploy    web {version} to {environment}: {} {} after {:.1} s",
        outcome.id(),
        outcome.state(),
        started.elapsed().as_secs_f64()
    );
    Ok(outcome)
}

async fn settled(agent: &mut Agent, deployment: &str) -> anyhow::Result<Settled> {
    for _ in 0..4 {
        let body = agent
            .must("get_deployment", json!({ "deployment": deployment, "wait_seconds": 45, "until": "settled", "detail": true }))
            .await?;
        if ["succeeded", "rolled_back", "stuck"].contains(&body["state"].as_str().unwrap_or_default()) {
            return Ok(Settled { body });
        }
    }
    bail!("`{deployment}` did not settle")
}

async fn samples(workspace: &Workspace) -> anyhow::Result<Samples> {
    Ok(ask(workspace, "measure", json!({ "service": "web", "environment": "production" })).await?)
}

async fn put_away(workspace: &Workspace) {
    for environment in ["production", "staging"] {
        if let Err(error) = ask::<Value>(workspace, "down", json!({ "environment": environment })).await {
            eprintln!("ending {environment}: {error}");
        }
    }
    if let Err(error) = stop::stop(workspace).await {
        eprintln!("stopping the server: {error}");
    }
}
