//! Makes the adapters a service's configuration names. One match arm per kind.

use crate::{
    config::Workspace,
    model::{
        ServiceSpec, Sha256,
        service::{RouterKind, TargetKind},
    },
    targets::{
        Router, Target,
        local::{LocalPaths, LocalTarget},
        proxy_router::ProxyRouter,
    },
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Where the engine gets its targets and routers from; tests hand in worlds of their own.
pub trait Adapters: Send + Sync {
    /// Returns the target of a service.
    fn target(&self, spec: &ServiceSpec) -> Arc<dyn Target>;
    /// Returns the router of a service.
    fn router(&self, spec: &ServiceSpec) -> Arc<dyn Router>;
}

/// The real ones: processes of this machine behind the built-in proxy.
pub struct RealAdapters {
    exe: PathBuf,
    workspace: Workspace,
    local: Arc<LocalTarget>,
    routers: Mutex<HashMap<std::net::SocketAddr, Arc<ProxyRouter>>>,
}

impl RealAdapters {
    /// Returns adapters that start `exe` as shim and proxy.
    pub fn new(exe: PathBuf, workspace: Workspace) -> Self {
        let local = Arc::new(LocalTarget::new(LocalPaths {
            exe: exe.clone(),
            instances_dir: workspace.instances_dir(),
            run_dir: workspace.run_dir(),
            workspace: workspace.root.clone(),
            boot_id: std::env::var("INTERLOCK_BOOT_ID").ok().filter(|_| cfg!(debug_assertions)),
        }));
        RealAdapters { exe, workspace, local, routers: Mutex::default() }
    }
}

impl Adapters for RealAdapters {
    fn target(&self, spec: &ServiceSpec) -> Arc<dyn Target> {
        match spec.target {
            TargetKind::Local => self.local.clone(),
        }
    }

    fn router(&self, spec: &ServiceSpec) -> Arc<dyn Router> {
        match spec.router {
            RouterKind::Proxy { listen } => {
                let mut routers = self.routers.lock().expect("no holder of this lock panics");
                let router = routers.entry(listen).or_insert_with(|| {
                    let name = Sha256::of(listen.to_string().as_bytes()).short().to_owned();
                    let folder = self.workspace.state_dir().join("proxies").join(&name);
                    let control = self.workspace.run_dir().join(format!("proxy-{name}.sock"));
                    Arc::new(ProxyRouter::new(self.exe.clone(), folder, listen, control))
                });
                router.clone()
            }
        }
    }
}
