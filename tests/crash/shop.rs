//! The shop that is disturbed: what runs in it is looked at from outside, and compared with what the record says.

use super::{cases::Course, commands};
use crate::support::{
    configuration::{self, demo_app, free_address, place, service},
    databases::Database,
    people::Approver,
    wire::{NoReply, served},
    workspace::Workspace,
};
use anyhow::{Context, Result, anyhow, ensure};
use interlock::{
    cli::demo::app::Fault,
    model::InstanceId,
    proxy::{HolderIdentity, ProxyClient},
    shim::{identity::Process, spec::Status},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// How soon after a kill anything promised must be so.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long things take in a shop; configured, like everything else of it.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a new set is watched.
    pub bake: &'static str,
    /// How long an old set may finish.
    pub drain: &'static str,
    /// Pause of a customer between two requests.
    pub pace: Duration,
}

impl Times {
    pub const USUAL: Times = Times { bake: "300ms", drain: "1s", pace: Duration::from_millis(60) };
    /// What a further run of the same cases takes instead, one after the other.
    pub const OTHERS: [Times; 3] = [
        Times { bake: "1s", drain: "2s", pace: Duration::from_millis(20) },
        Times { bake: "100ms", drain: "500ms", pace: Duration::from_millis(40) },
        Times { bake: "2s", drain: "1s", pace: Duration::from_millis(30) },
    ];
}

/// A workspace with one service, `web` in `staging`. Ends with everything it started.
pub struct Shop {
    /// Where customers connect.
    pub listen: SocketAddr,
    /// How its service is deployed.
    pub course: Course,
    /// Who answers what can be judged neither good nor bad.
    pub chairman: Arc<Approver>,
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
    pub async fn open(database: Database, course: Course, times: Times) -> Result<Self> {
        let listen = free_address();
        let Times { bake, drain, .. } = times;
        let data = if course == Course::Data { commands::keys() } else { String::new() };
        let strategy = match course {
            Course::BlueGreen | Course::Data => "",
            Course::Canary => "strategy = { kind = \"canary\", weights = [10, 50, 100], watch = \"1s\", watch_at_most = \"1s\" }\n",
            Course::Rolling => "strategy = { kind = \"rolling\", batch = 1 }\ninstances = 2\n",
        };
        let times = configuration::Times { deadline: "20s", drain, bake };
        let mut configuration = service(&demo_app(), times) + &data + &place("staging", listen) + strategy;
        if course == Course::Canary {
            // A second's customers are too few to judge it. Without a path to ask, a person says how it goes on, and no noise of the machine.
            configuration = configuration.replace(r#"http = "/healthz""#, "tcp = true");
        }
        let mut shop = Shop {
            listen,
            course,
            chairman: Arc::new(Approver::new("ada")),
            workspace: Workspace::new(database, &configuration),
            built: 0,
        };
        if course == Course::Data {
            commands::install(shop.root())?;
        }
        shop.commit();
        shop.serve(&[]).await?;
        shop.client().call("apply", json!({ "text": configuration })).await?;
        if course == Course::Canary {
            shop.client().call("enrol_first", shop.chairman.enrolment("chairman")).await?;
        }
        Ok(shop)
    }

    /// Returns how many instances make a set.
    pub fn instances_wanted(&self) -> u32 {
        if self.course == Course::Rolling { 2 } else { 1 }
    }

    /// Builds the next release, and returns its version.
    pub fn build_next(&mut self, fault: Fault) -> Result<String> {
        self.built += 1;
        let version = format!("{}.0.0", self.built);
        let path = self.build_with(&version, fault);
        if self.course == Course::Data {
            commands::add_migrations(self.root(), &self.root().join(path), self.built)?;
        }
        Ok(version)
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
        let version = self.build_next(Fault::None)?;
        let plan = self.plan(&version).await?;
        let reply = self.client().call("execute_deployment", json!({ "plan": plan })).await?;
        let settled = self.settled(reply["deployment"].as_str().unwrap_or_default()).await?;
        ensure!(settled["state"] == "succeeded", "{settled}");
        Ok(version)
    }

    /// Starts the server, with a failpoint armed; it may be killed there before it answers.
    pub async fn serve_armed(&mut self, place: &str, markers: &Path) -> Result<()> {
        let folder = markers.to_str().context("a path in UTF-8")?;
        match self.serve(&[("INTERLOCK_FAILPOINT", place), ("INTERLOCK_FAILPOINT_DIR", folder)]).await {
            Err(error) if fs::read_dir(markers)?.next().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Starts the server again once it was killed.
    pub async fn serve_again(&mut self) -> Result<()> {
        ensure!(self.ended().await? == Some(Signal::KILL.as_raw()), "the server was not killed");
        self.serve(&[]).await
    }

    /// Waits until a deployment is settled; returns `get_deployment` in detail.
    pub async fn settled(&self, deployment: &str) -> Result<Value> {
        let began = Instant::now();
        loop {
            let body = self.look(deployment).await.map_err(|no_reply| anyhow!("{no_reply:?}"))?;
            if is_settled(&body) {
                return Ok(body);
            }
            ensure!(began.elapsed() < PATIENCE, "`{deployment}` does not settle: {body}");
        }
    }

    /// Returns `get_deployment` in detail, when it is settled or a moment later.
    pub async fn look(&self, deployment: &str) -> Result<Value, NoReply> {
        let ask = json!({ "deployment": deployment, "wait_seconds": 5, "until": "settled", "detail": true });
        self.client().try_call("get_deployment", ask).await
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
        let deployment = place["deployment"].as_str().unwrap_or_default().into();
        let numbers = 1..=self.instances_wanted();
        let wanted: BTreeSet<InstanceId> =
            numbers.map(|number| InstanceId::of(&"staging".into(), &"web".into(), &deployment, number)).collect();
        match self.proxy()?.1.observe().await {
            Ok(in_force) if in_force.split.serving().map(|share| share.instance.clone()).collect::<BTreeSet<_>>() == wanted => (),
            other => found.push(format!("the proxy has {other:?}, not {wanted:?}")),
        }
        let (mut runs, mut known) = (BTreeSet::new(), Vec::new());
        for (name, status) in self.instances() {
            let instance = status.instance.filter(Process::is_alive);
            known.extend(instance.filter(|_| status.shim.is_alive()).map(|process| process.pid));
            match (status.shim.is_alive(), instance.is_some()) {
                (true, true) if wanted.contains(&InstanceId(name.clone())) => _ = runs.insert(InstanceId(name)),
                (false, false) => (),
                (shim, app) => found.push(format!("instance {name}: shim alive {shim}, instance alive {app}")),
            }
        }
        let missing = wanted.difference(&runs).map(|instance| format!("{instance} does not run"));
        found.extend(missing);
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

    /// Returns the percentage of the traffic that a version has at the proxy.
    pub async fn share_of(&self, version: &str) -> Result<u32> {
        let in_force = self.proxy()?.1.observe().await?;
        let weight = |of: Option<&str>| -> u32 {
            in_force.split.serving().filter(|share| of.is_none_or(|of| share.version == of)).map(|share| share.weight).sum()
        };
        Ok(weight(Some(version)) * 100 / weight(None).max(1))
    }

    /// Returns the proxy's worker: its holder's child.
    pub fn worker(&self) -> Result<i32> {
        let pid = self.proxy()?.0.pid;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("the holder has no worker")
    }
}

/// Tells whether `get_deployment` shows an end.
pub fn is_settled(body: &Value) -> bool {
    ["succeeded", "rolled_back", "stuck"].contains(&body["state"].as_str().unwrap_or_default())
}
