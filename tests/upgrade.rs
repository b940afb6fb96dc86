//! The server is upgraded in the middle of ten deployments under load: each settles, no request is lost, and proxies and shims that the
//! version before has started go on being driven. The version before refuses a record that is newer than it.

mod support;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use interlock::{
    cli::demo::{
        app::Fault,
        load::{Load, LoadHandle, LoadOptions},
    },
    proxy::{HolderIdentity, ProxyClient, build::build_of},
    server::Running,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Executor};
use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, time::Duration, time::Instant};
use support::{
    BINARY, PATIENCE,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    on_both, previous,
    standby::{Standby, until},
    wire::{finish, said, served},
    workspace::{Workspace, signal},
};

on_both!(ten_deployments_that_the_version_before_began_are_finished_by_this_one);

/// Deployments under way at the upgrade.
const DEPLOYMENTS: usize = 10;
/// A watch so long that all of them are under way on a slow machine, too, and one for the others.
const LONG: &str = "25s";
const SHORT: &str = "500ms";

async fn ten_deployments_that_the_version_before_began_are_finished_by_this_one(database: Database) {
    let Some(before) = previous::program().await else { return };
    // On one database it is killed and the next is started, on the other the next one waits for the end of it.
    let harm = if database == Database::Sqlite { Signal::KILL } else { Signal::TERM };
    upgraded(&before, database, harm).await.unwrap_or_else(|error| panic!("{error:#}"));
}

async fn upgraded(before: &Path, database: Database, harm: Signal) -> Result<()> {
    let mut shop = Shop::open(before, database).await?;
    try_join_all(shop.places.iter().map(|place| shop.deploy(place, "1.0.0"))).await?;
    let loads = shop.loads().await?;

    shop.apply(LONG).await?;
    // Two of them are bad, which shows only to customers: they go back.
    let (mut plans, mut deployments) = (Vec::new(), Vec::new());
    for (number, place) in shop.places.iter().enumerate() {
        plans.push(shop.plan(place, if number % 5 == 4 { "2.0.0-bad" } else { "2.0.0" }).await?);
    }
    for plan in plans {
        let reply = shop.workspace.client().call("execute_deployment", json!({ "plan": plan })).await?;
        deployments.push(reply["deployment"].as_str().context("a deployment has an id")?.to_owned());
    }
    let stood = try_join_all(deployments.iter().map(|deployment| shop.stands_at(deployment))).await?;
    let (server, began) = (Running::of(&shop.workspace).context("a server runs")?, Instant::now());
    let standby = match harm {
        Signal::KILL => {
            signal(server.pid as i32, harm);
            shop.workspace.ended().await?;
            shop.workspace.serve(&[]).await?;
            None
        }
        _ => {
            let standby = Standby::of(&shop.workspace).await?;
            signal(server.pid as i32, harm);
            standby.serves(&shop.workspace).await?;
            shop.workspace.ended().await?;
            Some(standby)
        }
    };
    println!("figure: {harm:?} with deployments at {stood:?}; this version answers after {:?}", began.elapsed());
    ensure!(stood.iter().collect::<BTreeSet<_>>().len() > 2, "they stood at different steps: {stood:?}");

    for (number, (place, deployment)) in shop.places.iter().zip(&deployments).enumerate() {
        let settled = shop.settled(deployment).await?;
        let (state, serves) = if number % 5 == 4 { ("rolled_back", "1.0.0") } else { ("succeeded", "2.0.0") };
        ensure!(settled["state"] == state, "{}: {settled}", place.environment);
        ensure!(served(place.listen).await == format!("hello from {serves}\n"), "{}: {settled}", place.environment);
    }
    println!("figure: all settled after {:?}", began.elapsed());
    shop.proxies_are_of_this_build().await?;
    shop.apply(SHORT).await?;
    // What the version before has started is replaced and ended by this one.
    try_join_all(shop.places[..3].iter().map(|place| shop.deploy(place, "3.0.0"))).await?;
    let mut answers = 0;
    for load in loads {
        let report = load.stop().await;
        ensure!(report.failed == 0, "{} requests failed: {:?}", report.failed, report.failures);
        answers += report.versions.values().map(|seen| seen.answers).sum::<u64>();
    }
    println!("figure: {answers} requests, 0 failed");
    ensure!(answers > 1000, "only {answers} requests");

    // Back to the version before is refused once the record is newer than it.
    match standby {
        Some(standby) => drop(standby),
        None => shop.workspace.stop().await?,
    }
    shop.record_is_newer().await?;
    let refused = finish(&mut shop.workspace.program(before, &["serve"])).await;
    ensure!((refused.status.code(), said(&refused.stderr)) == (Some(1), "database_newer".into()), "{refused:?}");
    for place in &shop.places[..3] {
        ensure!(served(place.listen).await == "hello from 3.0.0\n", "what serves goes on");
    }
    shop.record_is_as_before().await
}

/// Ten environments with the same service.
struct Shop {
    places: Vec<Place>,
    workspace: Workspace,
}

struct Place {
    environment: String,
    listen: SocketAddr,
}

impl Shop {
    /// Makes the workspace; a server of the version before runs in it.
    async fn open(before: &Path, database: Database) -> Result<Self> {
        let places: Vec<Place> =
            (0..DEPLOYMENTS).map(|number| Place { environment: format!("env{number}"), listen: free_address() }).collect();
        let mut workspace = Workspace::new(database, &configuration(&places, SHORT));
        for (version, fault) in
            [("1.0.0", Fault::None), ("2.0.0", Fault::None), ("2.0.0-bad", Fault::LiveForwarded), ("3.0.0", Fault::None)]
        {
            workspace.build_with(version, fault);
        }
        workspace.commit();
        let command = workspace.program(before, &["serve", "--listen", "127.0.0.1:0"]);
        workspace.start(command).await?;
        let shop = Shop { places, workspace };
        shop.apply(SHORT).await?;
        Ok(shop)
    }

    /// Applies the configuration with this watch.
    async fn apply(&self, bake: &'static str) -> Result<()> {
        let text = configuration(&self.places, bake);
        self.workspace.client().call("apply", json!({ "text": text })).await.map(drop)
    }

    async fn plan(&self, place: &Place, version: &str) -> Result<String> {
        let client = self.workspace.client();
        let artifact = format!("build/{version}");
        let order = json!({ "service": "web", "environment": place.environment, "version": version, "artifact": artifact });
        let directive = client.call("create_directive", order).await?["directive"]["id"].take();
        let plan = client.call("plan_deployment", json!({ "directive": directive })).await?;
        plan["plan"].as_str().map(str::to_owned).with_context(|| format!("no plan: {plan}"))
    }

    async fn deploy(&self, place: &Place, version: &str) -> Result<()> {
        let plan = self.plan(place, version).await?;
        let reply = self.workspace.client().call("execute_deployment", json!({ "plan": plan })).await?;
        let settled = self.settled(reply["deployment"].as_str().unwrap_or_default()).await?;
        ensure!(settled["state"] == "succeeded", "{settled}");
        Ok(())
    }

    async fn settled(&self, deployment: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let ask = json!({ "deployment": deployment, "wait_seconds": 5, "until": "settled", "detail": true });
            let body = self.workspace.client().call("get_deployment", ask).await?;
            if ["succeeded", "rolled_back", "stuck"].contains(&body["state"].as_str().unwrap_or_default()) {
                return Ok(body);
            }
            ensure!(began.elapsed() < PATIENCE, "`{deployment}` does not settle: {body}");
        }
    }

    /// Returns the last step of a deployment that has begun; an error when it is settled.
    async fn stands_at(&self, deployment: &str) -> Result<String> {
        let body = self.workspace.client().call("get_deployment", json!({ "deployment": deployment, "detail": true })).await?;
        ensure!(body["deployment"]["settled_at"].is_null(), "it is settled before the upgrade: {body}");
        let steps = body["steps"].as_array().context("steps")?;
        let begun = steps.iter().rfind(|step| step["state"] != "pending");
        Ok(begun.map_or("queued".to_owned(), |step| format!("{} {}", text(&step["step"]), text(&step["state"]))))
    }

    async fn loads(&self) -> Result<Vec<LoadHandle>> {
        let options = LoadOptions {
            get: 1,
            post: 0,
            events: 0,
            keep_alive: 1,
            websocket: 0,
            pace: Duration::from_millis(100),
            patience: Duration::from_secs(60),
            ..Default::default()
        };
        let loads: Vec<_> = self.places.iter().map(|place| Load::start(place.listen, options.clone())).collect();
        for load in &loads {
            until("the load starts", || load.snapshot().kinds.len() == 2).await?;
        }
        Ok(loads)
    }

    async fn proxies_are_of_this_build(&self) -> Result<()> {
        let mut proxies = 0;
        for folder in fs::read_dir(self.workspace.state_dir().join("proxies"))? {
            let folder = folder?;
            HolderIdentity::read(&folder.path()).context("no proxy.json")?;
            let control = self.workspace.run_dir().join(format!("proxy-{}.sock", folder.file_name().to_string_lossy()));
            let about = ProxyClient::new(control).version().await?;
            ensure!(about.build == build_of(Path::new(BINARY)), "{about:?} is not of this build");
            proxies += 1;
        }
        ensure!(proxies == DEPLOYMENTS, "{proxies} proxies");
        Ok(())
    }

    async fn record_is_newer(&self) -> Result<()> {
        self.outside(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'later', success, checksum, 1 FROM _sqlx_migrations WHERE version = (SELECT MIN(version) FROM _sqlx_migrations)",
        )
        .await
    }

    async fn record_is_as_before(&self) -> Result<()> {
        self.outside("DELETE FROM _sqlx_migrations WHERE version = 9999").await
    }

    async fn outside(&self, statement: &'static str) -> Result<()> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.workspace.database.url(&self.workspace)).await?;
        connection.execute(statement).await?;
        Ok(connection.close().await?)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for place in &self.places {
            let mut down = self.workspace.interlock(&["down", &place.environment]).into_std();
            let _ = down.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
        }
    }
}

fn configuration(places: &[Place], bake: &'static str) -> String {
    let times = Times { deadline: "60s", drain: "2s", bake };
    places.iter().fold(service(&demo_app(), times), |text, one| text + &place(&one.environment, one.listen))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
