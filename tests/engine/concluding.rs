//! What follows when a deployment has settled, taken up by a server that can no longer know everything.

use crate::{
    support::databases::databases,
    world::{PATIENCE, Shop},
};
use interlock::model::DeploymentId;
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Returns what was recorded when a deployment was concluded.
async fn concluded(shop: &Shop, deployment: &DeploymentId) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let measured = shop.engine.store.measurements(deployment).await.unwrap();
        if let Some(concluded) = measured.into_iter().find(|measurement| measurement.kind == "concluded") {
            return concluded.body;
        }
        assert!(Instant::now() < until, "{deployment} is never concluded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_service_gone_from_every_configuration_is_concluded_with_what_is_known() {
    for database in databases().await {
        let mut shop = Shop::open(&database.url).await;
        let settled = shop.deploy("1.0.0").await;
        let deployment = settled["deployment"]["id"].as_str().unwrap().into();
        let directive = settled["deployment"]["directive"].as_str().unwrap().into();
        shop.configure(&shop.text.replace("services.web]", "services.till]")).await;
        shop.rest().await;
        // As after a kill right when it settled, and with the revision gone that knew the service.
        database.tamper("DELETE FROM config_revisions WHERE revision = 1; DELETE FROM measurements; DELETE FROM artifacts").await;

        shop.restart().await;

        let concluded = concluded(&shop, &deployment).await;
        let left_out: Vec<&str> = concluded["left_out"].as_array().unwrap().iter().map(|what| what.as_str().unwrap()).collect();
        assert!(matches!(left_out[..], [what] if what.contains("needs its configuration")), "{concluded:#}");
        let written = shop.engine.store.artifacts(&directive).await.unwrap();
        assert_eq!(written.iter().map(|artifact| artifact.name.as_str()).collect::<Vec<_>>(), ["deploy_logs", "smoke_report"]);

        // It is over: the next server has nothing to take up.
        shop.rest().await;
        let before = shop.engine.store.sequence().await.unwrap();
        shop.restart().await;
        shop.rest().await;
        assert_eq!(shop.engine.store.sequence().await.unwrap(), before, "{}", database.name);
    }
}

#[tokio::test]
async fn a_service_gone_from_the_configuration_in_force_still_gets_all_its_files() {
    for database in databases().await {
        let mut shop = Shop::open(&database.url).await;
        let settled = shop.deploy("1.0.0").await;
        let directive = settled["deployment"]["directive"].as_str().unwrap().into();
        shop.configure(&shop.text.replace("services.web]", "services.till]")).await;
        shop.rest().await;
        database.tamper("DELETE FROM measurements; DELETE FROM artifacts").await;

        shop.restart().await;

        let until = Instant::now() + PATIENCE;
        while shop.engine.store.artifacts(&directive).await.unwrap().len() < 4 {
            assert!(Instant::now() < until, "{}: files are missing", database.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let concluded = async || {
            let measured = shop.engine.store.measurements(&settled["deployment"]["id"].as_str().unwrap().into()).await.unwrap();
            measured.into_iter().find(|measurement| measurement.kind == "concluded").map_or(Value::Null, |concluded| concluded.body)
        };
        while concluded().await.is_null() {
            assert!(Instant::now() < until, "{}: never concluded", database.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(concluded().await["left_out"], json!([]));
    }
}

#[tokio::test]
async fn a_file_in_whose_place_somebodys_stands_keeps_no_deployment_from_its_end() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let own = crate::phases::own("deployed, report_written");
        shop.configure(&crate::phases::with(&shop, &shop.text, "staging", &own)).await;
        let folder = shop.engine.workspace.root.join("post-deploy");
        fs::create_dir_all(&folder).unwrap();
        let theirs = ["smoke-report.json", "smoke-report.interlock.json"].map(|name| folder.join(name));
        theirs.iter().for_each(|path| fs::write(path, "somebody's").unwrap());

        let settled = shop.deploy("1.0.0").await;

        let (deployment, directive) = (settled["deployment"]["id"].as_str().unwrap().into(), &settled["deployment"]["directive"]);
        let concluded = concluded(&shop, &deployment).await;
        let left_out = concluded["left_out"].as_array().unwrap();
        assert!(left_out.len() == 1 && left_out[0].as_str().unwrap().contains("post-deploy/smoke-report.json"), "{concluded:#}");
        let written = shop.engine.store.artifacts(&directive.as_str().unwrap().into()).await.unwrap();
        let written: Vec<&str> = written.iter().map(|artifact| artifact.name.as_str()).collect();
        assert_eq!(written, ["deploy_logs", "deployment_plan", "status"], "{}", database.name);

        // Whoever asks for the end is told what is in the way, and once it is gone the file is written.
        let asked = json!({ "directive": directive });
        let refused = shop.call("complete_directive", asked.clone()).await.unwrap_err().body;
        assert_eq!((&refused["code"], &refused["who"]), (&json!("target_failed"), &json!("person")), "{refused:#}");
        assert!(refused["message"].as_str().unwrap().contains("it is somebody's"), "{refused:#}");
        fs::remove_file(&theirs[1]).unwrap();
        assert_eq!(shop.must("complete_directive", asked).await["completed"], true, "{}", database.name);
        assert!(fs::read_to_string(&theirs[1]).unwrap().contains("\"generated_by\": \"interlock\""));
        assert_eq!(fs::read_to_string(&theirs[0]).unwrap(), "somebody's");
    }
}
