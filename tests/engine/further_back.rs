//! Going back further than to what served before, told in one process on both databases: who decides, and where it ends.

use crate::{
    database::Database,
    support::databases::databases,
    world::{Shop, person},
};
use interlock::{
    decisions::Question,
    error::Code,
    model::{DecisionKind, DecisionVerdict::Approve, DeploymentId, PlanState},
};
use serde_json::{Value, json};

/// Takes these versions to staging, one after the other; returns their deployments.
async fn deployed(shop: &Shop, versions: &[&str]) -> Vec<Value> {
    let mut deployments = Vec::new();
    for version in versions {
        let settled = shop.deploy(version).await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        deployments.push(settled["deployment"]["id"].clone());
    }
    deployments
}

fn to(deployment: &Value) -> Value {
    json!({ "to": deployment, "reason": "everything since is wrong" })
}

/// Returns the error a person gets who asks for it.
async fn refused(shop: &Shop, subject: Value) -> interlock::error::Error {
    shop.signature(&Question { kind: DecisionKind::Rollback, subject, verdict: Approve }).await.unwrap_err()
}

/// Signs, and returns how the way back settled.
async fn gone_back(shop: &Shop, deployment: &Value) -> Value {
    shop.sign(DecisionKind::Rollback, to(deployment), Approve).await;
    let newest = shop.must("list_deployments", json!({})).await["deployments"][0]["id"].take();
    shop.settled(&newest).await
}

#[tokio::test]
async fn a_signature_brings_an_earlier_release_back_and_an_agent_goes_no_further_than_one_step() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let deployments = deployed(&shop, &["1.0.0", "1.1.0", "1.2.0"]).await;
        let back = gone_back(&shop, &deployments[0]).await;
        assert_eq!((&back["state"], shop.staging.serving()), (&json!("succeeded"), vec!["1.0.0".to_owned()]), "{back:#}");
        let left = shop.must("get_deployment", json!({ "deployment": deployments[2], "detail": true })).await;
        assert_eq!(left["deployment"]["rolled_back_by"], back["deployment"]["id"], "{}: {left:#}", database.name);

        // The way back of a way back is no agent's.
        let asked = json!({ "deployment": back["deployment"]["id"], "reason": "again" });
        let said = shop.call("rollback_deployment", asked).await.unwrap_err().body;
        assert_eq!(said["code"], "nothing_to_roll_back", "{said:#}");
        assert!(said["hint"].as_str().unwrap().contains("interlock rollback --to DEPLOYMENT"), "{said:#}");
        // From there a person may choose again, and a release starts from it as from any other.
        let again = gone_back(&shop, &deployments[1]).await;
        assert_eq!((&again["state"], shop.staging.serving()), (&json!("succeeded"), vec!["1.1.0".to_owned()]), "{again:#}");
        assert_eq!(shop.deploy("1.3.0").await["state"], "succeeded");
    }
}

#[tokio::test]
async fn what_is_no_earlier_release_that_served_well_is_refused_with_a_reason() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let deployments = deployed(&shop, &["1.0.0", "1.1.0", "1.2.0"]).await;
        let says = async |deployment: &Value, code: Code, text: &str| {
            let error = refused(&shop, to(deployment)).await;
            let said = format!("{} {}", error.message, error.hint);
            assert!(error.code == code && said.contains(text), "{text}: {error:?}");
        };
        says(&deployments[2], Code::WrongState, "serves already").await;
        says(&deployments[1], Code::WrongState, "interlock rollback-deployment dep_3").await;
        says(&json!("dep_9"), Code::NotFound, "dep_9").await;
        assert_eq!(refused(&shop, json!({ "to": deployments[0], "reason": " " })).await.code, Code::InvalidArguments);

        let asked = json!({ "deployment": deployments[2], "reason": "it is wrong" });
        let back = shop.must("rollback_deployment", asked).await["deployment"].take();
        shop.settled(&back).await;
        says(&deployments[2], Code::WrongState, "`dep_3` brought 1.2.0, and was taken back").await;
        says(&back, Code::WrongState, "serves already").await;
        let later = deployed(&shop, &["1.4.0"]).await;
        says(&back, Code::WrongState, "name the deployment that brought 1.1.0").await;

        // Bytes that are not there any more cannot be brought back.
        let digest = shop.engine.deployment(&DeploymentId::from("dep_1")).await.unwrap().digest;
        let bytes = shop.engine.release_dir(&digest).await.unwrap();
        std::fs::remove_dir_all(&bytes).unwrap();
        says(&deployments[0], Code::ArtifactChanged, "`keep` says how many releases stay").await;
        assert_eq!((shop.staging.serving(), later.len()), (vec!["1.4.0".to_owned()], 1), "{}: nothing has moved", database.name);
    }
}

#[tokio::test]
async fn without_a_signature_over_its_plan_nothing_goes_further_back() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        deployed(&shop, &["1.0.0", "1.1.0", "1.2.0"]).await;
        let plan = shop.engine.further_back(&"dep_1".into()).await.unwrap();
        // As if somebody had written it into the record.
        shop.engine.store.save_plan(&person(), &plan, PlanState::Approved, None).await.unwrap();
        let error = shop.engine.execute(&person(), &plan.id()).await.unwrap_err();
        assert_eq!(error.code, Code::ApprovalRequired, "{}: {error:?}", database.name);
        assert_eq!(shop.staging.serving(), ["1.2.0"]);
    }
}

#[tokio::test]
async fn it_ends_where_data_was_changed() {
    const TABLE: (&str, &str) = ("0001_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT);");
    const ADD: (&str, &str) = ("0002_add.sql", "ALTER TABLE users ADD COLUMN nick TEXT;");
    const DROP: (&str, &str) = ("0003_drop.sql", "ALTER TABLE users DROP COLUMN email;");
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let data = Database::of(&shop, &[DROP.0], "ask").await;
        for (version, migrations) in [("1.0.0", &[TABLE][..]), ("1.1.0", &[TABLE, ADD]), ("1.2.0", &[TABLE, ADD])] {
            migrations.iter().for_each(|(name, text)| shop.migration(version, name, text));
        }
        let deployments = deployed(&shop, &["1.0.0", "1.1.0", "1.2.0"]).await;
        let back = gone_back(&shop, &deployments[0]).await;
        assert_eq!((&back["state"], shop.staging.serving()), (&json!("succeeded"), vec!["1.0.0".to_owned()]), "{back:#}");
        assert_eq!(data.applied(), [TABLE.0, ADD.0], "what was added stays");

        for version in ["1.3.0", "1.4.0"] {
            [TABLE, ADD, DROP].iter().for_each(|(name, text)| shop.migration(version, name, text));
        }
        let later = deployed(&shop, &["1.3.0"]).await;
        let error = refused(&shop, to(&deployments[1])).await;
        let (id, hint) = (later[0].as_str().unwrap(), error.hint.to_string());
        assert_eq!(error.code, Code::PastMigration, "{error:?}");
        assert!(error.message.contains(&format!("`{id}` has run migration `0003_drop.sql`, and 1.1.0 may not work")), "{error:?}");
        assert!(hint.contains(&format!("interlock restore {id}")), "{error:?}");
        deployed(&shop, &["1.4.0"]).await;
        let error = refused(&shop, to(&deployments[1])).await;
        assert_eq!((error.code, error.hint.contains("no way back past it")), (Code::PastMigration, true), "{error:?}");
        assert!(refused(&shop, to(&later[0])).await.hint.contains("rollback-deployment"), "{}: what served before", database.name);
    }
}
