//! A service that is deployed by a CI workflow, over real sockets and with a real server: each change is one run, followed to its end
//! whatever happens in between, and the way back is a run for what served before.

mod support;

// What the other tests of this platform need is not all needed here.
#[allow(dead_code)]
#[path = "engine/forge.rs"]
mod forge;

use forge::{Fault, Forge};
use interlock::model::ci::CiPlatform;
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{
    on_both,
    shop::{Database, Shop, Times, demo_app, free_address, service, text},
    standby::until,
};

on_both!(
    a_release_is_deployed_by_a_run_and_taken_back_by_one,
    an_order_that_nobody_answered_is_looked_for_and_given_once,
    a_server_killed_while_a_run_is_followed_follows_it_and_starts_no_second_one,
    an_abort_ends_the_run_before_the_way_back_begins,
    a_first_release_that_failed_leaves_nothing_behind_only_where_nobody_answers,
);

const HEAD: &str = "2222222222222222222222222222222222222222";

/// A platform whose runs deploy, and what customers see of them.
struct World {
    forge: Forge,
    site: SocketAddr,
}

impl World {
    async fn of(platform: CiPlatform) -> Self {
        let forge = Forge::start(platform, HEAD).await;
        let (site, _) = forge.site().await;
        World { forge, site }
    }

    /// Returns a running shop whose staging is deployed by it; a run may take so long.
    async fn shop(&self, database: Database, timeout: &str) -> Shop {
        Shop::configured(database, |shop| self.configuration(shop, timeout)).await
    }

    fn configuration(&self, shop: &Shop, timeout: &str) -> String {
        shop.write("token", "hunter2hunter2\n");
        let (platform, workflow) = match self.forge.platform {
            CiPlatform::Github => ("github", "workflow = \"release.yml\", "),
            CiPlatform::Gitlab => ("gitlab", ""),
        };
        format!(
            r#"{}
[ci]
platform   = "{platform}"
repository = "shop/web"
address    = "http://{}"
token      = "file:{}"
timeout    = "1s"

[environments.staging.services.web]
target = {{ kind = "ci", {workflow}inputs = {{ version = "{{version}}", digest = "{{digest}}" }}, timeout = "{timeout}" }}
router = {{ kind = "external", address = "{}" }}
"#,
            service(&demo_app(), Times::SHORT),
            self.forge.address,
            shop.root().join("token").display(),
            self.site,
        )
    }

    /// Lets runs of a version end with this word; none lets them wait.
    fn ends(&self, version: &str, word: Option<&'static str>) {
        self.forge.set(|world| match word {
            Some(word) => drop(world.outcomes.insert(version.into(), word)),
            None => drop(world.outcomes.remove(version)),
        });
    }

    /// Ends the newest run.
    fn end(&self, word: &str) {
        self.forge.set(|world| world.runs.last_mut().unwrap().2 = word.into());
    }

    /// Begins a deployment to staging, and returns it once its run is there.
    async fn begun(&self, shop: &Shop, version: &str) -> String {
        let before = self.forge.started().len();
        let directive = shop.directive("staging", version).await;
        let plan = shop.plan(&directive).await;
        let deployment = text(&shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"]);
        until("the run is there", || self.forge.started().len() > before).await.unwrap();
        deployment
    }
}

/// Returns a database of the same kind without a record: each platform has a shop of its own.
async fn another(database: &Database) -> Database {
    match database {
        Database::Sqlite => Database::Sqlite,
        Database::Postgres(_) => Database::postgres().await.expect("there was one"),
    }
}

async fn deploy(shop: &Shop, version: &str) -> Value {
    let artifact = shop.build(version);
    shop.deploy(version, &artifact).await
}

fn step<'a>(body: &'a Value, name: &str) -> &'a Value {
    body["steps"].as_array().unwrap().iter().find(|step| step["step"] == name || step["id"] == name).unwrap_or_else(|| panic!("{body:#}"))
}

async fn a_release_is_deployed_by_a_run_and_taken_back_by_one(database: Database) {
    for (platform, failed) in [(CiPlatform::Github, "failure"), (CiPlatform::Gitlab, "failed")] {
        let world = World::of(platform).await;
        let shop = world.shop(another(&database).await, "30s").await;
        for (version, word) in [("1.0.0", "success"), ("1.1.0", failed), ("1.2.0", "success")] {
            world.ends(version, Some(word));
        }
        let directive = shop.directive("staging", "1.0.0").await;
        let refused = shop.refused("wrong_state", "trigger_workflow", json!({ "directive": directive })).await;
        assert!(text(&refused["hint"]).contains("`plan_deployment`"), "{refused:#}");
        // A generated pipeline asks Interlock: as the target it would start itself.
        let generated = shop.ask("generate_workflow", json!({ "platform": "gitlab", "build": "make dist", "artifact": "dist" })).await;
        match platform {
            CiPlatform::Github => assert_eq!(generated.unwrap()["state"], "shown", "it is another file"),
            CiPlatform::Gitlab => assert!(text(&generated.unwrap_err()["message"]).contains("would start itself")),
        }
        let first = deploy(&shop, "1.0.0").await;
        assert_eq!(first["state"], "succeeded", "{first:#}");
        let run = &step(&first, "start-1")["output"]["run"];
        assert_eq!((&run["id"], &run["word"]), (&json!("100"), &json!("success")), "{first:#}");
        assert!(text(&run["address"]).starts_with("http://forge/"), "{run}");
        let plan = shop.must("get_deployment", json!({ "deployment": first["deployment"]["id"], "detail": true })).await;
        assert!(!plan.to_string().contains("hunter2"), "the token is neither recorded nor said");

        let written = shop.must("write_runbook", json!({ "deployment": first["deployment"]["id"] })).await;
        assert!(shop.read(&text(&written["path"])).contains("Its run was http://forge/"), "{written:#}");

        // What a run has half done is taken back by a run for what served before.
        let second = deploy(&shop, "1.1.0").await;
        assert_eq!(
            (&second["state"], &second["deployment"]["failure_code"]),
            (&json!("rolled_back"), &json!("target_failed")),
            "{second:#}"
        );
        assert!(text(&second["incidents"][0]["summary"]).contains("http://forge/"), "{second:#}");
        assert_eq!(
            (world.forge.started(), world.forge.deployed()),
            (["1.0.0", "1.1.0", "1.0.0"].map(String::from).to_vec(), "1.0.0".into())
        );
        let mut told = Vec::new();
        world.forge.set(|world| told = world.told.clone());
        assert_eq!(told[0]["digest"], told[2]["digest"], "the same bytes");
        assert_ne!(told[0]["digest"], told[1]["digest"]);

        // A release that has succeeded is taken back the same way, and what was seen of its run can be read.
        let third = deploy(&shop, "1.2.0").await;
        assert_eq!(third["state"], "succeeded", "{third:#}");
        let log = shop.must("read_log", json!({ "deployment": third["deployment"]["id"] })).await;
        assert!(log["lines"].to_string().contains("run 103 (http://forge/"), "{log:#}");
        let back = json!({ "deployment": third["deployment"]["id"], "reason": "too slow" });
        let back = shop.must("rollback_deployment", back).await;
        let back = shop.settled(&text(&back["deployment"])).await;
        assert_eq!((&back["state"], world.forge.deployed().as_str()), (&json!("succeeded"), "1.0.0"), "{back:#}");
        assert_eq!(world.forge.started()[3..], ["1.2.0", "1.0.0"]);
    }
}

async fn an_order_that_nobody_answered_is_looked_for_and_given_once(database: Database) {
    for platform in [CiPlatform::Github, CiPlatform::Gitlab] {
        let world = World::of(platform).await;
        let shop = world.shop(another(&database).await, "4s").await;
        world.ends("1.0.0", Some("success"));
        world.forge.set(|world| world.fault = Fault::Unanswered);
        let first = deploy(&shop, "1.0.0").await;
        assert_eq!((&first["state"], world.forge.started().len()), (&json!("succeeded"), 1), "{first:#}");

        // Whoever says no, or does not answer a question, was given no order: nothing is taken back.
        for (version, fault, said) in
            [("1.1.0", Fault::Says(403, "", "no hunter2hunter2 for you"), "403"), ("1.2.0", Fault::Silent, "1000 ms")]
        {
            world.forge.set(|world| world.fault = fault);
            let refused = deploy(&shop, version).await;
            assert_eq!((&refused["state"], world.forge.started().len()), (&json!("rolled_back"), 1), "{refused:#}");
            let summary = text(&refused["incidents"][0]["summary"]);
            assert!(summary.contains("started nothing") && summary.contains(said) && !summary.contains("hunter2"), "{summary}");
        }
        // A run that is slow to be seen is no failure; one that nobody ever sees was never begun.
        world.forge.set(|world| (world.fault, world.shows_runs) = (Fault::Unanswered, false));
        let lost = deploy(&shop, "1.3.0").await;
        assert_eq!((&lost["state"], world.forge.started().len()), (&json!("rolled_back"), 2), "{lost:#}");
        assert!(text(&lost["incidents"][0]["summary"]).contains("was never begun"), "{lost:#}");

        // The positive control: the same platform, heard again.
        world.forge.set(|world| (world.fault, world.shows_runs) = (Fault::None, true));
        world.ends("1.4.0", Some("success"));
        let last = deploy(&shop, "1.4.0").await;
        assert_eq!((&last["state"], world.forge.deployed().as_str()), (&json!("succeeded"), "1.4.0"), "{last:#}");
    }
}

async fn a_server_killed_while_a_run_is_followed_follows_it_and_starts_no_second_one(database: Database) {
    let world = World::of(CiPlatform::Github).await;
    let mut shop = world.shop(database, "60s").await;
    world.ends("1.0.0", Some("success"));
    assert_eq!(deploy(&shop, "1.0.0").await["state"], "succeeded");
    let forward = world.begun(&shop, "1.1.0").await;
    kill(&mut shop).await;
    world.end("success");
    let body = shop.settled(&forward).await;
    assert_eq!(
        (&body["state"], world.forge.started().len(), world.forge.deployed().as_str()),
        (&json!("succeeded"), 2, "1.1.0"),
        "{body:#}"
    );

    // A run that has failed while nobody looked is a failure, and none is begun in its place.
    let failing = world.begun(&shop, "1.2.0").await;
    shop.kill_server().unwrap();
    shop.ended().await.unwrap();
    world.end("failure");
    shop.serve(&[]).await;
    until("the way back is begun", || world.forge.started().len() == 4).await.unwrap();
    assert_eq!(world.forge.started()[2..], ["1.2.0", "1.1.0"]);
    // And so on the way back.
    kill(&mut shop).await;
    world.end("success");
    let body = shop.settled(&failing).await;
    assert_eq!(
        (&body["state"], world.forge.started().len(), world.forge.deployed().as_str()),
        (&json!("rolled_back"), 4, "1.1.0"),
        "{body:#}"
    );
}

/// Kills the server, and starts another one.
async fn kill(shop: &mut Shop) {
    shop.kill_server().unwrap();
    shop.ended().await.unwrap();
    shop.serve(&[]).await;
}

async fn an_abort_ends_the_run_before_the_way_back_begins(database: Database) {
    for (platform, cancelled) in [(CiPlatform::Github, "cancelled"), (CiPlatform::Gitlab, "canceled")] {
        let world = World::of(platform).await;
        let shop = world.shop(another(&database).await, "30s").await;
        world.ends("1.0.0", Some("success"));
        assert_eq!(deploy(&shop, "1.0.0").await["state"], "succeeded");
        let deployment = world.begun(&shop, "1.1.0").await;
        shop.must("rollback_deployment", json!({ "deployment": deployment, "reason": "not now" })).await;
        let body = shop.settled(&deployment).await;
        assert_eq!(
            (&body["state"], world.forge.started()),
            (&json!("rolled_back"), ["1.0.0", "1.1.0", "1.0.0"].map(String::from).to_vec()),
            "{body:#}"
        );
        let mut words = Vec::new();
        world.forge.set(|world| words = world.runs.iter().map(|(_, _, word, _)| word.clone()).collect());
        assert_eq!(words, ["success", cancelled, "success"]);
    }
}

async fn a_first_release_that_failed_leaves_nothing_behind_only_where_nobody_answers(database: Database) {
    let mut world = World::of(CiPlatform::Github).await;
    world.site = free_address();
    let shop = world.shop(database, "2s").await;
    let late = deploy(&shop, "1.0.0").await;
    assert_eq!((&late["state"], world.forge.started().len()), (&json!("rolled_back"), 1), "{late:#}");
    let summary = text(&late["incidents"][0]["summary"]);
    assert!(summary.contains("no end was seen within 2 s") && summary.contains("it may still deploy"), "{summary}");
}
