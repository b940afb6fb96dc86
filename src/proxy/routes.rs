//! Which service a request is for: by its host, or the one that names no hosts.

use super::{
    access::AccessLog,
    control::StateSource,
    hold::Hold,
    probe,
    shadow::Shadow,
    state::{Saved, Service},
    switch::{InForceRules, Switch},
};
use arc_swap::ArcSwap;
use interlock_model::{Clock, SystemClock, hosts};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

/// How long requests wait for the server to say again what is in force, when the state cannot be read.
const LOST: Duration = Duration::from_secs(30);

/// The longest that requests wait.
pub const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// Everything the data plane needs: shared by every connection of a worker.
pub struct Routes {
    /// Where customers connect.
    pub listen: SocketAddr,
    /// The value of the header that marks the proxy's own requests; nobody outside knows it.
    pub probe_secret: String,
    /// Where ended requests are written down.
    pub access: AccessLog,
    /// On while nobody knows what should be in force.
    pub lost: Hold,
    /// Counts up whenever a service is put in force.
    pub installs: watch::Sender<u64>,
    /// Requests for a host that nobody answers for.
    pub unrouted: AtomicU64,
    /// Second listeners, by service.
    pub shadows: Mutex<BTreeMap<String, Shadow>>,
    is_leaving: AtomicBool,
    services: Mutex<BTreeMap<String, Placed>>,
    table: ArcSwap<ByHost>,
}

struct Placed {
    switch: Arc<Switch>,
    probing: AbortHandle,
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

#[derive(Default)]
struct ByHost {
    claims: BTreeMap<String, Arc<Switch>>,
    every: Option<Arc<Switch>>,
}

/// Where a request goes.
pub enum Route {
    /// To this service.
    To(Arc<Switch>),
    /// Nowhere: there are services, none of them for its host.
    NoSuchHost,
    /// Nowhere: there is no service.
    NoService,
}

impl Routes {
    /// Returns routes to nothing.
    pub fn new(listen: SocketAddr, probe_secret: String, access: AccessLog) -> Self {
        Routes {
            listen,
            probe_secret,
            access,
            lost: Hold::default(),
            installs: watch::Sender::new(0),
            unrouted: AtomicU64::new(0),
            shadows: Mutex::default(),
            is_leaving: AtomicBool::new(false),
            services: Mutex::default(),
            table: ArcSwap::default(),
        }
    }

    /// Puts a remembered state in force.
    pub fn restore(self: &Arc<Self>, saved: &Saved, source: StateSource) {
        saved.present().for_each(|(name, service)| self.install(name, service));
        if source == StateSource::Unreadable {
            self.lost.set(Some(Instant::now() + LOST));
        }
    }

    /// Puts a service in force as it is remembered: a request counted after this returns is on its split.
    pub fn install(self: &Arc<Self>, name: &str, service: &Service) {
        let mut services = self.services.lock().expect("nothing panics here");
        // Named at last: it keeps what is in flight and what was counted.
        if let Some(unnamed) = services.remove("") {
            unnamed.switch.name.store(Arc::new(name.to_owned()));
            services.insert(name.to_owned(), unnamed);
        }
        let switch = &services.entry(name.to_owned()).or_insert_with(|| self.place(name)).switch;
        let Service { hosts, stickiness, access_log, .. } = service.clone();
        switch.rules.store(Arc::new(InForceRules { hosts, stickiness, access_log }));
        switch.hold.set(held_until(service));
        switch.probe.send_if_modified(|plan| std::mem::replace(plan, service.probe.clone()) != service.probe);
        switch.install(&service.split);
        self.table.store(Arc::new(ByHost::of(&services)));
        drop(services);
        self.installs.send_modify(|installs| *installs += 1);
    }

    /// Takes a service off the listener and returns it, with what is in flight on it.
    pub fn remove(&self, name: &str) -> Option<Arc<Switch>> {
        let mut services = self.services.lock().expect("nothing panics here");
        let removed = services.remove(name)?.switch.clone();
        self.table.store(Arc::new(ByHost::of(&services)));
        self.shadows.lock().expect("nothing panics here").remove(name);
        Some(removed)
    }

    /// Returns where a request with this host goes.
    pub fn find(&self, host: Option<&str>) -> Route {
        let table = self.table.load();
        let claimed = match table.claims.is_empty() {
            true => None,
            false => host.and_then(|host| hosts::find(&table.claims, host)),
        };
        match claimed.or(table.every.as_ref()) {
            Some(switch) => Route::To(switch.clone()),
            None if table.claims.is_empty() => Route::NoService,
            None => Route::NoSuchHost,
        }
    }

    /// Returns a service by its name.
    pub fn service(&self, name: &str) -> Option<Arc<Switch>> {
        self.services.lock().expect("nothing panics here").get(name).map(|placed| placed.switch.clone())
    }

    /// Returns every service.
    pub fn all(&self) -> Vec<(String, Arc<Switch>)> {
        self.services.lock().expect("nothing panics here").iter().map(|(name, placed)| (name.clone(), placed.switch.clone())).collect()
    }

    /// Returns whether clients are asked to connect again: another worker takes over.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    /// From now on clients are asked to connect again, and the proxy asks nothing by itself.
    pub fn leave(&self) {
        self.is_leaving.store(true, Relaxed);
        self.services.lock().expect("nothing panics here").values().for_each(|placed| placed.probing.abort());
        self.shadows.lock().expect("nothing panics here").clear();
    }

    fn place(self: &Arc<Self>, name: &str) -> Placed {
        let switch = Arc::new(Switch::new(name));
        let probing = tokio::spawn(probe::run(switch.clone(), self.listen, self.probe_secret.clone())).abort_handle();
        if self.is_leaving() {
            probing.abort();
        }
        Placed { switch, probing }
    }
}

/// Returns until when a service's requests wait; `None` when that time is over.
pub fn held_until(service: &Service) -> Option<Instant> {
    let left = service.held_until?.since(SystemClock.now());
    // A clock that was set back must not hold for longer than anybody may ask for.
    (!left.is_zero()).then(|| Instant::now() + left.min(LONGEST_HOLD))
}

impl ByHost {
    fn of(services: &BTreeMap<String, Placed>) -> Self {
        let mut table = ByHost::default();
        for Placed { switch, .. } in services.values() {
            let rules = switch.rules.load();
            if rules.hosts.is_empty() {
                table.every = Some(switch.clone());
            }
            table.claims.extend(rules.hosts.iter().map(|host| (host.clone(), switch.clone())));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(hosts: &[&str]) -> Service {
        Service { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), ..Service::default() }
    }

    fn found(routes: &Routes, host: Option<&str>) -> String {
        match routes.find(host) {
            Route::To(switch) => switch.name.load().to_string(),
            Route::NoSuchHost => "no such host".into(),
            Route::NoService => "no service".into(),
        }
    }

    #[tokio::test]
    async fn a_request_finds_its_service_by_host() {
        let routes = Arc::new(Routes::new(([127, 0, 0, 1], 1).into(), "secret".into(), AccessLog::off()));
        assert_eq!(found(&routes, Some("a.test")), "no service");
        routes.install("", &service(&[]));
        assert_eq!((found(&routes, Some("a.test")), found(&routes, None)), (String::new(), String::new()));
        let unnamed = routes.service("").unwrap();
        routes.install("a", &service(&["a.test"]));
        assert!(Arc::ptr_eq(&unnamed, &routes.service("a").unwrap()), "named, it is still the same");
        routes.install("b", &service(&["b.test", "*.b.test"]));
        assert_eq!((found(&routes, Some("A.test:80")), found(&routes, Some("x.b.test"))), ("a".into(), "b".into()));
        assert_eq!((found(&routes, Some("c.test")), found(&routes, None)), ("no such host".into(), "no such host".into()));
        routes.install("rest", &service(&[]));
        assert_eq!((found(&routes, Some("c.test")), found(&routes, None)), ("rest".into(), "rest".into()));
        assert_eq!(found(&routes, Some("a.test")), "a", "who names a host goes before who names none");
        routes.remove("rest");
        assert!(routes.remove("a").is_some() && routes.remove("a").is_none());
        assert_eq!(found(&routes, Some("a.test")), "no such host");
        routes.remove("b");
        assert_eq!(found(&routes, Some("b.test")), "no service");
    }
}
