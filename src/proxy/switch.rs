//! One service's split in force, swapped at one instant, and the choice of an instance for each request.

use super::{
    control::{Drained, Measured, ProbePlan},
    counters::{Totals, VersionCounters},
    hold::Hold,
    instance::{Claim, Instance},
    sticky::Wish,
    table::Table,
};
use arc_swap::ArcSwap;
use interlock_model::{InstanceId, Split, Stickiness};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long websockets are left alone at a drain, patience permitting.
const WEBSOCKET_GRACE: Duration = Duration::from_secs(10);

/// How long what was told to end may take to do so.
const ENDING: Duration = Duration::from_secs(5);

/// What the data plane needs of a service: shared by every connection.
pub struct Switch {
    /// The service's name; empty while it has none.
    pub name: ArcSwap<String>,
    /// How its requests are told from others.
    pub rules: ArcSwap<InForceRules>,
    /// The proxy's own counters.
    pub totals: Arc<Totals>,
    /// What the proxy requests by itself.
    pub probe: watch::Sender<Option<ProbePlan>>,
    /// Whether new requests wait.
    pub hold: Hold,
    table: ArcSwap<Table>,
    instances: Mutex<Vec<Arc<Instance>>>,
    versions: Mutex<BTreeMap<String, Arc<VersionCounters>>>,
}

/// How a service's requests are told from others, and from each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InForceRules {
    /// The hosts it answers for; empty for all.
    pub hosts: Vec<String>,
    /// What a returning client is known by.
    pub stickiness: Stickiness,
    /// Whether its requests are written down.
    pub access_log: bool,
}

/// What is told that its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Websockets.
    Websockets,
    /// Every other request.
    Requests,
}

impl Switch {
    /// Returns a switch with nothing in force.
    pub fn new(name: &str) -> Self {
        Switch {
            name: ArcSwap::from_pointee(name.to_owned()),
            rules: ArcSwap::default(),
            totals: Arc::default(),
            probe: watch::Sender::new(None),
            hold: Hold::default(),
            table: ArcSwap::from_pointee(Table::of(Vec::new())),
            instances: Mutex::default(),
            versions: Mutex::default(),
        }
    }

    /// Puts a split in force: a request counted after this returns is on it.
    pub fn install(&self, split: &Split) {
        let mut instances = self.instances.lock().expect("nothing panics here");
        let mut slots = Vec::new();
        for share in &split.0 {
            let known = instances.iter().find(|instance| instance.is(share)).cloned();
            let instance = known.unwrap_or_else(|| {
                let instance = Arc::new(Instance::new(share, self.counters(&share.version)));
                instances.push(instance.clone());
                instance
            });
            if share.weight > 0 {
                instance.revive();
                slots.push((instance, i64::from(share.weight)));
            }
        }
        self.table.store(Arc::new(Table::of(slots)));
        instances.retain(|instance| instance.in_flight() > 0 || split.0.iter().any(|share| instance.is(share)));
    }

    /// Returns whether something is in force.
    pub fn is_serving(&self) -> bool {
        !self.table.load().is_empty()
    }

    /// Returns whether new requests may go to this instance.
    pub fn is_in_force(&self, instance: &Arc<Instance>) -> bool {
        !instance.is_draining() && self.table.load().has(instance)
    }

    /// Claims an instance for a request; `None` when nothing is in force.
    pub fn claim(&self, is_synthetic: bool, wish: &Wish) -> Option<Claim> {
        loop {
            let instance = self.table.load().pick(wish)?;
            // Counted first, looked at second: whoever takes the instance out of force and then finds nothing in flight
            // knows that no request can still reach it.
            instance.enter();
            if self.is_in_force(&instance) {
                return Some(Claim::entered(instance, self.totals.clone(), is_synthetic));
            }
            instance.leave();
        }
    }

    /// Waits until nothing is in flight on the instance, at most `patience`; then ends what is left.
    pub async fn drain(&self, id: &InstanceId, patience: Duration) -> Drained {
        let began = Instant::now();
        #[cfg(debug_assertions)]
        if std::env::var_os("INTERLOCK_FAULT_NO_DRAIN").is_some() {
            return Drained::default();
        }
        let instances: Vec<_> = self.instances.lock().expect("nothing panics here").iter().filter(|one| one.id == *id).cloned().collect();
        let mut report = Drained::default();
        let drains = instances.iter().map(|instance| drain_one(instance, began, patience));
        for one in futures_util::future::join_all(drains).await {
            report.completed += one.completed;
            report.cut += one.cut;
            report.drained += one.drained;
            report.revived |= one.revived;
        }
        report.millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        report
    }

    /// Returns whether it knows this instance.
    pub fn knows(&self, id: &InstanceId) -> bool {
        self.instances.lock().expect("nothing panics here").iter().any(|instance| instance.id == *id)
    }

    /// Returns the instances it knows.
    pub fn ids(&self) -> Vec<InstanceId> {
        self.instances.lock().expect("nothing panics here").iter().map(|instance| instance.id.clone()).collect()
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> u64 {
        self.instances.lock().expect("nothing panics here").iter().map(|instance| instance.in_flight()).sum()
    }

    /// Tells what is in flight that its time is over, wherever it is.
    pub fn tell(&self, ending: Ending) {
        for instance in self.instances.lock().expect("nothing panics here").iter() {
            let endings = instance.endings();
            match ending {
                Ending::Websockets => endings.websockets.cancel(),
                Ending::Requests => endings.requests.cancel(),
            }
        }
    }

    /// Returns the counters.
    pub fn measure(&self, lost_workers: u64) -> Measured {
        let instances = self.instances.lock().expect("nothing panics here");
        let in_flight = |version: &str| instances.iter().filter(|instance| instance.version == version).map(|one| one.in_flight()).sum();
        let versions = self.versions.lock().expect("nothing panics here");
        Measured {
            versions: versions.iter().map(|(version, counters)| (version.clone(), counters.read(in_flight(version)))).collect(),
            router_failures: self.totals.router_failures.load(Relaxed),
            drained: self.totals.drained.load(Relaxed),
            probes: self.totals.probes.load(Relaxed),
            failed_probes: self.totals.failed_probes.load(Relaxed),
            lost_workers,
        }
    }

    /// Closes idle connections that nobody will use.
    pub fn tidy(&self) {
        for instance in self.instances.lock().expect("nothing panics here").iter() {
            instance.pool.expire();
        }
    }

    fn counters(&self, version: &str) -> Arc<VersionCounters> {
        self.versions.lock().expect("nothing panics here").entry(version.to_owned()).or_default().clone()
    }
}

async fn drain_one(instance: &Instance, began: Instant, patience: Duration) -> Drained {
    let before = counts(instance);
    let endings = instance.begin_drain();
    let websockets_end = began + patience.min(WEBSOCKET_GRACE);
    let requests_end = began + patience;
    let last = requests_end + ENDING;
    let mut revived = false;
    loop {
        // Registered before looking: what changes in between is not missed.
        let changed = instance.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !instance.is_draining() {
            revived = true;
            break;
        }
        let now = Instant::now();
        if instance.in_flight() == 0 || now >= last {
            break;
        }
        if now >= websockets_end {
            endings.websockets.cancel();
        }
        if now >= requests_end {
            endings.requests.cancel();
        }
        let next = [websockets_end, requests_end, last].into_iter().find(|end| *end > now).unwrap_or(last);
        tokio::select! {
            () = changed => {}
            () = sleep_until(next) => {}
        }
    }
    let after = counts(instance);
    Drained { completed: after.0 - before.0, cut: after.1 - before.1, drained: after.2 - before.2, millis: 0, revived }
}

fn counts(instance: &Instance) -> (u64, u64, u64) {
    let ended = &instance.ended;
    (ended.completed.load(Relaxed), ended.cut.load(Relaxed), ended.drained.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Outcome;
    use interlock_model::split::Share;

    fn split(weights: &[(&str, u32)]) -> Split {
        let share = |(id, weight): &(&str, u32)| Share {
            instance: (*id).into(),
            address: ([127, 0, 0, 1], 1).into(),
            version: format!("v-{id}"),
            weight: *weight,
        };
        Split(weights.iter().map(share).collect())
    }

    #[tokio::test]
    async fn a_drain_waits_for_claims_and_nothing_new_comes() {
        let switch = Arc::new(Switch::new("web"));
        switch.install(&split(&[("a", 1)]));
        let mut claim = switch.claim(false, &Wish::Any).unwrap();
        switch.install(&split(&[("a", 0), ("b", 1)]));
        let drain = tokio::spawn({
            let switch = switch.clone();
            async move { switch.drain(&"a".into(), Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        assert!(!drain.is_finished());
        assert_eq!(switch.claim(false, &Wish::Any).unwrap().instance.id.as_str(), "b");
        claim.answered(200);
        drop(claim);
        let report = drain.await.unwrap();
        assert_eq!((report.completed, report.cut, report.drained, report.revived), (1, 0, 0, false));
        let measured = switch.measure(0);
        assert_eq!((measured.versions["v-a"].requests, measured.versions["v-a"].in_flight), (1, 0));
    }

    #[tokio::test]
    async fn patience_ends_what_is_left_and_counts_it() {
        let switch = Switch::new("web");
        switch.install(&split(&[("a", 1)]));
        let mut claim = switch.claim(false, &Wish::Any).unwrap();
        let endings = claim.endings.clone();
        let cut = tokio::spawn(async move {
            endings.websockets.cancelled().await;
            endings.requests.cancelled().await;
            claim.end(Outcome::Cut);
        });
        let report = switch.drain(&"a".into(), Duration::from_millis(50)).await;
        cut.await.unwrap();
        assert_eq!((report.completed, report.cut), (0, 1));
        assert_eq!(switch.measure(0).router_failures, 1);
    }

    #[tokio::test]
    async fn traffic_that_comes_back_ends_the_drain() {
        let switch = Arc::new(Switch::new("web"));
        switch.install(&split(&[("a", 1)]));
        let claim = switch.claim(false, &Wish::Any).unwrap();
        let drain = tokio::spawn({
            let switch = switch.clone();
            async move { switch.drain(&"a".into(), Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        assert!(switch.claim(false, &Wish::Any).is_none(), "the only instance drains");
        switch.install(&split(&[("a", 1)]));
        assert!(drain.await.unwrap().revived);
        assert!(switch.claim(false, &Wish::Any).is_some());
        assert!(!claim.endings.requests.is_cancelled());
    }

    #[tokio::test]
    async fn each_version_is_counted_exactly_beside_the_other() {
        let switch = Switch::new("web");
        switch.install(&split(&[("a", 90), ("b", 10), ("c", 0)]));
        for number in 0..1000 {
            let mut claim = switch.claim(false, &Wish::Any).unwrap();
            match number % 100 {
                0..5 => claim.answered(500),
                5..8 => claim.failed(),
                _ => claim.answered(200),
            }
        }
        drop(switch.claim(true, &Wish::Any));
        let measured = switch.measure(0);
        let (a, b) = (&measured.versions["v-a"], &measured.versions["v-b"]);
        assert_eq!((a.requests, b.requests), (900, 100), "the proxy's own apart");
        assert_eq!((a.errors + b.errors, a.router_errors + b.router_errors), (50, 30));
        for one in [a, b] {
            let answered = one.requests - one.router_errors;
            assert_eq!(one.latency_ms.values().sum::<u64>(), answered);
            assert_eq!(one.classes.values().sum::<u64>(), one.requests);
            assert_eq!(
                (one.classes.get(&0).copied().unwrap_or(0), one.classes.get(&5).copied().unwrap_or(0)),
                (one.router_errors, one.errors)
            );
        }
        assert_eq!(measured.versions["v-c"].requests, 0, "known, warm, and left alone");
    }
}
