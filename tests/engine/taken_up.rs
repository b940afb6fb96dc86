//! What another hand, or the next server, finds half done.

use crate::{
    support::databases::databases,
    world::{Shop, agent, person},
};
use interlock::{error::Code, model::Caller, store::JobState, targets::Target};
use serde_json::{Value, json};

#[tokio::test]
async fn a_deployment_under_way_keeps_its_lease() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.halt();
        let deployment = shop.begin("1.1.0", "start staging-web-dep_2-1").await;
        let epoch = async || shop.engine.store.lease(&"staging".into()).await.unwrap().unwrap().epoch;
        let before = epoch().await;

        shop.engine.look_after().await.unwrap();
        let down = shop.engine.down(&person(), &"staging".into()).await.unwrap_err();
        let idle = shop.engine.store.take_idle_lease(&Caller::server(), &"staging".into(), "another").await.unwrap();

        assert_eq!((down.code, idle, epoch().await), (Code::Conflict, None, before), "{}", database.name);
        shop.staging.go_on();
        assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
    }
}

#[tokio::test]
async fn a_deployment_taken_up_runs_the_service_as_it_was_planned() {
    for database in databases().await {
        let mut shop = Shop::open(&database.url).await;
        shop.deploy("1.0.0").await;
        shop.staging.halt();
        let deployment = shop.begin("1.1.0", "start staging-web-dep_2-1").await;
        shop.rest().await;
        shop.configure(&shop.text.replace("\"--port\"", "\"--verbose\", \"--port\"")).await;
        shop.staging.go_on();

        shop.restart().await;

        assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
        let argv = async |instance: &str| shop.staging.target().observe(&instance.into()).await.unwrap().unwrap().argv;
        assert_eq!(argv("staging-web-dep_2-1").await, ["{release}/web", "--port", "{port}"], "{}", database.name);
        assert_eq!(shop.deploy("1.2.0").await["state"], "succeeded");
        assert_eq!(argv("staging-web-dep_3-1").await, ["{release}/web", "--verbose", "--port", "{port}"]);
    }
}

#[tokio::test]
async fn checks_that_a_server_left_running_are_interrupted_by_the_next() {
    for database in databases().await {
        let mut shop = Shop::open(&database.url).await;
        let directive = shop.order("staging", "1.0.0").await;
        let asked = json!({ "directive": directive });
        let store = shop.engine.store.clone();
        let (job, _) = store.start_job(&agent(), &directive.as_str().into(), "predeploy_checks", &Value::Null).await.unwrap();
        assert_eq!(shop.must("get_status", asked.clone()).await["state"], "checking");

        shop.restart().await;

        assert_eq!(store.job(&job.id).await.unwrap().unwrap().state, JobState::Interrupted, "{}", database.name);
        assert_eq!(shop.must("get_status", asked).await["state"], "open");
    }
}
