//! The shop that is disturbed: what runs in it is looked at from outside, and compared with what the record says.

use crate::support::{
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    wire::served,
    workspace::Workspace,
};
use anyhow::{Context, Result, ensure};
use interlock::{
    cli::demo::app::Fault,
    model::InstanceId,
    proxy::{HolderIdentity, ProxyClient},
    shim::{identity::Process, spec::Status},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

/// How soon after a kill anything promised must be so.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A workspace with one service, `web` in `staging`. Ends with everything it started.
pub struct Shop {
    /// Where customers connect.
    pub listen: SocketAddr,
    workspace: Workspace,
    /// Makes versions differ.
    built: u32,
}

/// A shop is a workspace.
impl Deref for Shop {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        &self.workspace
    }
}

impl DerefMut for Shop {
    fn deref_mut(&mut self) -> &mut Workspace {
        &mut self.workspace
    }
}

impl Shop {
    /// Makes the workspace and applies its configuration; a server runs in it.
    pub async fn open(database: Database) -> Result<Self> {
        let listen = free_address();
        let times = Times { deadline: "20s", drain: "1s", bake: "1s" };
        let configuration = service(&demo_app(), times) + &place("staging", listen);
        let mut shop = Shop { listen, workspace: Workspace::new(database, &configuration), built: 0 };
        shop.commit();
        shop.serve(&[]).await?;
        shop.client().call("apply", json!({ "text": configuration })).await?;
        Ok(shop)
    }

    /// Builds the next release, and returns its version.
    pub fn build_next(&mut self, fault: Fault) -> String {
        self.built += 1;
        let version = format!("{}.0.0", self.built);
        self.build_with(&version, fault);
        version
    }

    /// Takes a release from its directive to its plan, as an agent does.
    pub async fn plan(&self, version: &str) -> Result<String> {
        let client = self.client();
        let order = json!({ "service": "web", "environment": "staging", "version": version, "artifact": format!("build/{version}") });
        let directive = client.call("create_directive", order).await?["directive"]["id"].clone();
        client.call("run_predeploy_checks", json!({ "directive": directive })).await?;
        let mut status = client.call("get_status", json!({ "directive": directive })).await?;
        while status["state"] == "checking" {
            let wait = json!({ "directive": directive, "wait_seconds": 20, "since": status["token"] });
            status = client.call("get_status", wait).await?;
        }
        let plan = client.call("plan_deployment", json!({ "directive": directive })).await?;
        plan["plan"].as_str().map(str::to_owned).with_context(|| format!("no plan: {plan}"))
    }

    /// Deploys a release that has no fault, undisturbed; returns its version.
    pub async fn deploy(&mut self) -> Result<String> {
        let version = self.build_next(Fault::None);
        let plan = self.plan(&version).await?;
        let reply = self.client().call("execute_deployment", json!({ "plan": plan })).await?;
        let settled = self.settled(reply["deployment"].as_str().unwrap_or_default()).await?;
        ensure!(settled["state"] == "succeeded", "{settled}");
        Ok(version)
    }

    /// Waits until a deployment is settled; returns `get_deployment` in detail.
    pub async fn settled(&self, deployment: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let ask = json!({ "deployment": deployment, "wait_seconds": 5, "until": "settled", "detail": true });
            let body = self.client().call("get_deployment", ask).await?;
            if ["succeeded", "rolled_back", "stuck"].contains(&body["state"].as_str().unwrap_or_default()) {
                return Ok(body);
            }
            ensure!(began.elapsed() < PATIENCE, "`{deployment}` does not settle: {body}");
        }
    }

    /// Compares everything that can be seen with `version` serving; returns what disagrees, nothing when all is well.
    pub async fn disagreements(&self, version: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let answer = served(self.listen).await;
        if answer != format!("hello from {version}\n") {
            found.push(format!("customers get `{answer}`, not {version}"));
        }
        let status = self.client().call("get_status", json!({})).await?;
        let place = &status["places"][0];
        if place["serves"] != version || !place["under_way"].is_null() {
            found.push(format!("get_status says {place}, not {version}"));
        }
        let wanted = InstanceId::of(&"staging".into(), &"web".into(), &place["deployment"].as_str().unwrap_or_default().into(), 1);
        match self.proxy()?.1.observe().await {
            Ok(in_force) if in_force.split.serving().map(|share| &share.instance).eq([&wanted]) => (),
            other => found.push(format!("the proxy has {other:?}, not {wanted}")),
        }
        let (mut runs, mut known) = (false, Vec::new());
        for (name, status) in self.instances() {
            let instance = status.instance.filter(Process::is_alive);
            known.extend(instance.filter(|_| status.shim.is_alive()).map(|process| process.pid));
            match (status.shim.is_alive(), instance.is_some()) {
                (true, true) if name == wanted.as_str() => runs = true,
                (false, false) => (),
                (shim, app) => found.push(format!("instance {name}: shim alive {shim}, instance alive {app}")),
            }
        }
        if !runs {
            found.push(format!("{wanted} does not run"));
        }
        let strays = self.processes("demo-app").into_iter().filter(|process| !known.contains(&process.pid));
        found.extend(strays.map(|stray| format!("process {} of the service is under no shim", stray.pid)));
        Ok(found)
    }

    /// Waits until nothing disagrees with `version` serving.
    pub async fn agrees(&self, version: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let found = self.disagreements(version).await?;
            if found.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{}", found.join("; "));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns every instance that left a trace, oldest first.
    pub fn instances(&self) -> Vec<(String, Status)> {
        let folders = fs::read_dir(self.instances_dir()).into_iter().flatten().flatten();
        let mut found: Vec<_> =
            folders.filter_map(|folder| Some((folder.file_name().into_string().ok()?, Status::read(&folder.path()).ok()??))).collect();
        found.sort_by_key(|(name, _)| (name.len(), name.clone()));
        found
    }

    /// Returns the proxy's holder, and a client of its control socket.
    pub fn proxy(&self) -> Result<(HolderIdentity, ProxyClient)> {
        let folder = fs::read_dir(self.state_dir().join("proxies"))?.next().context("a proxy was started")??;
        let holder = HolderIdentity::read(&folder.path()).context("no proxy.json")?;
        let control = self.run_dir().join(format!("proxy-{}.sock", folder.file_name().to_string_lossy()));
        Ok((holder, ProxyClient::new(control)))
    }

    /// Returns the proxy's worker: its holder's child.
    pub fn worker(&self) -> Result<i32> {
        let pid = self.proxy()?.0.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("the holder has no worker")
    }
}
