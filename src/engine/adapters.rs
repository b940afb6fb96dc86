//! Makes the adapters a service's configuration names. One match arm per kind.

use crate::{
    config::Workspace,
    model::{
        Clock, ServiceSpec, Sha256,
        service::{RouterKind, TargetKind},
    },
    proxy::{HolderIdentity, services_in},
    targets::{
        Router, Target,
        ci_runner::CiRunner,
        command::CommandRunner,
        external::ExternalRouter,
        local::{LocalPaths, LocalTarget},
        proxy_router::{ProxyRouter, Route},
    },
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Where the engine gets its targets and routers from; tests hand in worlds of their own.
pub trait Adapters: Send + Sync {
    /// Returns the target of a service.
    fn target(&self, spec: &ServiceSpec) -> Arc<dyn Target>;
    /// Returns the router of a service.
    fn router(&self, spec: &ServiceSpec) -> Arc<dyn Router>;
    /// Returns the routers that run, whoever started them and however long ago.
    fn running_routers(&self) -> Vec<RunningRouter> {
        Vec::new()
    }
}

/// A router that runs, of one service at one address.
pub struct RunningRouter {
    /// Where it listens.
    pub address: SocketAddr,
    /// The service, as [`ServiceSpec::routed_as`] names it; none for whatever is there.
    pub service: Option<String>,
    /// The router.
    pub router: Arc<dyn Router>,
}

/// The real ones: processes of this machine behind the built-in proxy.
pub struct RealAdapters {
    exe: PathBuf,
    workspace: Workspace,
    local: Arc<LocalTarget>,
    command: Arc<CommandRunner>,
    ci: Arc<CiRunner>,
    proxies: Mutex<HashMap<SocketAddr, ProxyRouter>>,
    externals: Mutex<HashMap<RouterKind, Arc<ExternalRouter>>>,
}

impl RealAdapters {
    /// Returns adapters that start `exe` as shim and proxy.
    pub fn new(exe: PathBuf, workspace: Workspace, clock: Arc<dyn Clock>) -> Self {
        let local = Arc::new(LocalTarget::new(LocalPaths {
            exe: exe.clone(),
            instances_dir: workspace.instances_dir(),
            run_dir: workspace.run_dir(),
            workspace: workspace.root.clone(),
            boot_id: std::env::var("INTERLOCK_BOOT_ID").ok().filter(|_| cfg!(debug_assertions)),
        }));
        let command = Arc::new(CommandRunner::new(workspace.state_dir().join("commands"), workspace.jobs_dir(), workspace.root.clone()));
        let ci = Arc::new(CiRunner::new(workspace.state_dir().join("ci"), clock));
        RealAdapters { exe, workspace, local, command, ci, proxies: Mutex::default(), externals: Mutex::default() }
    }
}

impl Adapters for RealAdapters {
    fn target(&self, spec: &ServiceSpec) -> Arc<dyn Target> {
        match &spec.target {
            TargetKind::Local => self.local.clone(),
            TargetKind::Command(_) => self.command.clone(),
            TargetKind::Ci(_) => self.ci.clone(),
        }
    }

    fn router(&self, spec: &ServiceSpec) -> Arc<dyn Router> {
        match &spec.router {
            RouterKind::Proxy { listen } => {
                let (hosts, stickiness) = (spec.hosts.clone(), spec.rollout.stickiness.clone());
                Arc::new(self.proxy(*listen).serving(Route { service: spec.routed_as(), hosts, stickiness, access_log: true }))
            }
            RouterKind::External { address, switch } => {
                let mut externals = self.externals.lock().expect("no holder of this lock panics");
                let external = externals.entry(spec.router.clone()).or_insert_with(|| {
                    let name = Sha256::of(address.to_string().as_bytes()).short().to_owned();
                    let folder = self.workspace.state_dir().join("routers").join(name);
                    let (jobs, root) = (self.workspace.jobs_dir(), self.workspace.root.clone());
                    Arc::new(ExternalRouter::new(*address, switch.clone(), folder, jobs, root))
                });
                external.clone()
            }
        }
    }

    fn running_routers(&self) -> Vec<RunningRouter> {
        let folders = std::fs::read_dir(self.proxies_dir()).into_iter().flatten().flatten();
        let mut running = Vec::new();
        for folder in folders.map(|folder| folder.path()) {
            let Some(holder) = HolderIdentity::read(&folder).filter(HolderIdentity::is_alive) else { continue };
            let (address, proxy) = (holder.listen, self.proxy(holder.listen));
            let named: Vec<String> = services_in(&folder).into_iter().filter(|name| !name.is_empty()).collect();
            if named.is_empty() {
                running.push(RunningRouter { address, service: None, router: Arc::new(proxy.clone()) });
            }
            let of_service = |name: String| RunningRouter { address, router: Arc::new(proxy.naming(&name)), service: Some(name) };
            running.extend(named.into_iter().map(of_service));
        }
        running
    }
}

impl RealAdapters {
    fn proxies_dir(&self) -> PathBuf {
        self.workspace.state_dir().join("proxies")
    }

    /// Returns the router of whatever is at this address; one for all its services, so that its proxy is started once.
    fn proxy(&self, listen: SocketAddr) -> ProxyRouter {
        let mut proxies = self.proxies.lock().expect("no holder of this lock panics");
        let proxy = proxies.entry(listen).or_insert_with(|| {
            let name = Sha256::of(listen.to_string().as_bytes()).short().to_owned();
            let control = self.workspace.run_dir().join(format!("proxy-{name}.sock"));
            ProxyRouter::new(self.exe.clone(), self.proxies_dir().join(&name), listen, control)
        });
        proxy.clone()
    }
}
