//! What stands under a signature without being production itself, and plans whose directive is given up.

use crate::{
    support::databases::databases,
    world::{Shop, person},
};
use interlock::{
    model::{DecisionKind, DecisionVerdict, PlanState, Verdict},
    store::PlanRecord,
};
use serde_json::{Value, json};

#[tokio::test]
async fn what_production_promotes_from_changes_only_with_a_signature() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let easier = shop.text.replace("failed = \"<= 0\"", "failed = \"<= 9\"");
        assert_ne!(easier, shop.text);

        let applied = shop.engine.apply(&person(), &easier).await.unwrap();

        assert!(applied.proposal.expect("a proposal").environments.contains(&"staging".into()), "{}", database.name);
        assert!(!applied.in_force.contains(&"staging".into()));
        assert_eq!(shop.engine.applied(&"staging".into()).await.unwrap().revision, 1, "staging's gates are as they were signed");
    }
}

#[tokio::test]
async fn a_listener_of_production_is_not_taken_through_another_environment() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (free, _) = shop.another_address().await;
        let (moved, _) = shop.another_address().await;
        let playground = |text: &str, listen: &str| {
            format!(
                "{text}\n[environments.dev.services.web]\ntarget = {{ kind = \"local\" }}\nrouter = {{ kind = \"proxy\", listen = \"{listen}\" }}\n"
            )
        };
        let applied = shop.engine.apply(&person(), &playground(&shop.text, &free.to_string())).await.unwrap();
        assert!(applied.in_force.contains(&"dev".into()), "{}: an address of its own needs nobody", database.name);

        // Production is to move elsewhere, so that its address looks free; unsigned, it has not moved.
        let without = shop.text.replace(&shop.at_production.to_string(), &moved.to_string());
        for listen in [shop.at_production.to_string(), format!("0.0.0.0:{}", shop.at_production.port())] {
            let applied = shop.engine.apply(&person(), &playground(&without, &listen)).await.unwrap();
            assert!(!applied.in_force.contains(&"dev".into()), "{listen} on {}", database.name);
            let proposal = applied.proposal.expect("a proposal");
            assert_eq!(proposal.environments, ["dev".into(), "production".into()], "{listen}");
        }
    }
}

#[tokio::test]
async fn the_plans_of_a_cancelled_directive_are_void() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let record = async |plan: &Value| -> PlanRecord { shop.engine.store.plan(&plan.as_str().unwrap().into()).await.unwrap().unwrap() };
        shop.deploy("1.0.0").await;
        let in_staging = shop.order("staging", "1.1.0").await;
        let planned = shop.plan_in_staging(&in_staging).await["plan"].take();
        let in_production = shop.order("production", "1.0.0").await;
        shop.sign(DecisionKind::SignOff, json!({ "directive": in_production, "fact": "uat" }), DecisionVerdict::Approve).await;
        shop.must("run_predeploy_checks", json!({ "directive": in_production })).await;
        let waiting = shop.must("plan_deployment", json!({ "directive": in_production })).await["plan"].take();
        assert_eq!((record(&planned).await.state, record(&waiting).await.state), (PlanState::Planned, PlanState::AwaitingApproval));

        for (directive, plan) in [(in_staging, planned), (in_production, waiting)] {
            shop.must("cancel_directive", json!({ "directive": directive, "reason": "not needed" })).await;

            let void = record(&plan).await;
            assert_eq!((void.state, void.reason.as_deref()), (PlanState::Void, Some("its directive is cancelled")), "{}", database.name);
            assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_void");
        }
        assert_eq!(shop.staging.versions(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn evidence_is_taken_and_judged_where_a_person_begins_every_step_and_no_command_runs() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let gates = "[environments.staging.gates]\ncoverage = { lines_percent = \">= 80\" }\n";
        let feed = "\n[gates]\ncoverage = { command = [\"true\"], report = \"lcov.info\", format = \"lcov\" }\n";
        let text = shop.text.replace("[environments.staging.gates]\n", gates) + feed;
        for (version, progression) in [("1.0.0", "manual"), ("1.1.0", "assisted")] {
            shop.configure(&format!("{text}\n[environments.staging]\nprogression = \"{progression}\"\n")).await;
            let directive = shop.order("staging", version).await;
            let evidence = json!({ "directive": directive, "kind": "tests", "content": crate::world::JUNIT });
            let taken = shop.must("record_evidence", evidence).await;
            let verdict = |gate: &str| {
                let said = taken["gates"].as_array().unwrap().iter().find(|said| said["gate"] == gate).unwrap();
                said["verdict"].as_str().unwrap().to_owned()
            };
            assert_eq!((verdict("tests"), verdict("coverage")), ("pass".into(), "inconclusive".into()), "{}: {taken:#}", database.name);
            let id = directive.as_str().into();
            // The positive control: where the agent drives, the command that is missing is begun with it.
            let job = shop.engine.store.latest_job(&id, interlock::engine::checks::JOB).await.unwrap();
            assert_eq!(job.is_some(), progression == "assisted", "{progression}: {job:?}");
            if progression == "manual" {
                let recorded = shop.engine.store.verdicts(&id).await.unwrap();
                assert!(recorded.iter().any(|result| result.gate.as_str() == "tests" && result.verdict == Verdict::Pass), "{recorded:?}");
                assert_eq!(shop.refused("run_predeploy_checks", json!({ "directive": directive })).await, "denied_by_policy");
            }
        }
    }
}

#[tokio::test]
async fn no_directive_waits_for_one_that_waits_for_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let order = |version: &str, needed: &[&str]| {
            let artifact = shop.build(version);
            json!({ "service": "web", "environment": "staging", "version": version, "artifact": artifact, "depends_on": needed })
        };
        // There is none to depend on before it is ordered, itself least of all.
        for needed in ["SD-DEPLOY-001", "SD-DEPLOY-002"] {
            assert_eq!(shop.refused("create_directive", order("1.0.0", &[needed])).await, "not_found", "{}", database.name);
        }
        let ordered = async |order: Value| shop.must("create_directive", order).await["directive"]["id"].as_str().unwrap().to_owned();
        let first = ordered(order("1.0.0", &[])).await;
        let second = ordered(order("1.1.0", &[&first])).await;
        let refused = shop.call("create_directive", order("1.0.0", &[&second])).await.unwrap_err().error;
        assert_eq!(refused.code.as_str(), "wrong_state", "{refused:?}");
        assert!(refused.message.contains(&format!("`{first}`")) && refused.message.contains(&format!("`{second}`")), "{refused:?}");
        assert!(shop.engine.directive(&first.as_str().into()).await.unwrap().depends_on.is_empty());
        let waits = shop.call("plan_deployment", json!({ "directive": second })).await.unwrap_err().error;
        assert!(waits.message.contains(&format!("`{second}` depends on `{first}`")), "{waits:?}");
        // The positive control: the same orders once more are the same directives, and the first goes to its end.
        assert_eq!((ordered(order("1.0.0", &[])).await, ordered(order("1.1.0", &[&first])).await), (first.clone(), second.clone()));
        shop.plan_in_staging(&first).await;
    }
}
