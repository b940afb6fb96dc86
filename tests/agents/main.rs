//! Agents over stdio, with the real program as their MCP server, real processes to deploy, and people who sign: every built-in phase to
//! its end by what it offers, and what stops one that does not do what it should.

#[path = "../support/mod.rs"]
mod support;

mod desk;
mod refusals;

use desk::{Desk, PHASES};
use serde_json::Value;
use support::{databases::Database, on_both, wire::served};

/// The most calls from an order to a release that serves, waits and decisions apart.
const MOST_CALLS: usize = 10;

on_both!(every_phase_is_driven_to_its_end_over_stdio,);

async fn every_phase_is_driven_to_its_end_over_stdio(database: Database) {
    let name = if database == Database::Sqlite { "sqlite" } else { "postgres" };
    let mut desk = Desk::open(database).await;
    for (number, phase) in PHASES.into_iter().enumerate() {
        let version = format!("1.{number}.0");
        desk.under(phase).await;
        let artifact = desk.release(&version);
        for environment in ["staging", "production"] {
            let mut agent = desk.agent();
            let (directive, seen) = agent.order(environment, &version, &artifact).await;
            agent.drive(&directive, seen, if environment == "staging" { "completed" } else { "succeeded" }).await;
            if environment == "production" {
                println!("figure: {name} {phase}: {} calls from the order to `succeeded`: {}", agent.calls.len(), agent.calls.join(" "));
                assert!(agent.calls.len() <= MOST_CALLS, "{:?}", agent.calls);
                agent.drive(&directive, Value::Null, "completed").await;
            }
            let skipped = std::mem::take(&mut agent.skipped);
            let address = if environment == "staging" { desk.shop.staging } else { desk.shop.production };
            assert_eq!(served(address).await, format!("hello from {version}\n"), "{phase}");
            let of = |step: &str| skipped.iter().any(|skipped| skipped.starts_with(step));
            match (environment, phase) {
                ("production", "stage-30") => assert!(of("backup: `keeps_data` does not hold"), "{skipped:?}"),
                ("production", "deployment-operations") => {
                    assert!(of("setup-backup-recovery") && of("train-operations-team"), "{skipped:?}")
                }
                _ => assert!(skipped.is_empty(), "{phase}: {skipped:?}"),
            }
        }
    }
    // What no reply offers, an agent that knows nothing else does not reach for.
    for tool in ["record_evidence", "create_directive", "run_predeploy_checks", "plan_deployment", "execute_deployment", "write_runbook"] {
        assert!(desk.called.contains(tool), "{tool} was never offered");
    }
}
