//! Looks at instances and listeners the way a customer would: health, identity, smoke; and watches the new set while it serves.

use super::{
    run::{Run, fenced},
    steps::StepFailure,
    traffic::Baseline,
    watch::{Trigger, trigger},
};
use crate::{
    error::Code,
    model::{
        Caller, InstanceId, ServiceSpec,
        analysis::{Rails, Settings},
        plan::Watch,
        service::HealthCheck,
    },
    store::{ServingSet, TrafficMove},
    targets::{
        DrainReport, InstanceSpec, Observed,
        probe::{Probe, ProbeFailure},
    },
};
use serde_json::{Value, json};
use std::time::Duration;

/// How often the router probes itself through its listener while a deployment is under way.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// How often the new set's counters are read.
const SAMPLING: Duration = Duration::from_millis(250);
/// After so many readings without an instance or a router (5 s) the watch is over: no data is never a pass.
const BLIND: u32 = 20;

impl Run {
    /// Checks one instance directly: health first, then identity and smoke.
    pub async fn verify_instance(&self, observed: &Observed, version: &str, spec: &ServiceSpec) -> Result<Value, StepFailure> {
        let probe = self.probe(observed.address, spec);
        let failed = |failure: ProbeFailure| StepFailure::from(failure).of(&observed.instance);
        let health = probe.health(&spec.health, || self.has_ended(observed)).await.map_err(failed)?;
        let identity = match &spec.version {
            Some(check) => Some(probe.identity(check, version).await.map_err(failed)?),
            None => None,
        };
        let smoke = probe.smoke_again(&spec.smoke, self.smoke_reruns().await).await.map_err(failed)?;
        Ok(json!({ "instance": observed.instance, "address": observed.address, "health": health, "identity": identity, "smoke": smoke }))
    }

    /// Returns how the instance's process has ended since it was observed; `None` while it runs.
    async fn has_ended(&self, observed: &Observed) -> Option<String> {
        match self.target.observe(&observed.instance).await {
            Ok(Some(now)) if now.running && now.restarts == observed.restarts => None,
            Ok(Some(now)) => Some(now.last_exit.unwrap_or_else(|| "it was started again".into())),
            Ok(None) => Some("it is gone".into()),
            // A target that does not answer says nothing about the instance.
            Err(_) => None,
        }
    }

    pub(super) fn probe(&self, address: std::net::SocketAddr, spec: &ServiceSpec) -> Probe {
        Probe { cwd: Some(self.engine.workspace.root.clone()), host: spec.host(), ..Probe::new(address) }
    }

    /// Checks identity and smoke through the listener, as a customer reaches it.
    pub async fn verify_listener(&self, version: &str, spec: &ServiceSpec) -> Result<Value, StepFailure> {
        let listen = spec.router.listen();
        let probe = self.probe(listen, spec);
        let identity = match &spec.version {
            Some(check) => Some(probe.identity(check, version).await?),
            None => None,
        };
        let smoke = probe.smoke_again(&spec.smoke, self.smoke_reruns().await).await?;
        Ok(json!({ "listener": spec.front(), "identity": identity, "smoke": smoke }))
    }

    /// Returns how often smoke checks are run again: what the step of the phase says that waits for them; never without a phase.
    async fn smoke_reruns(&self) -> u32 {
        let Some(planned) = &self.plan.phase else { return 0 };
        // A phase that cannot be read asks for nothing: a failed check then counts at once.
        let phase = self.engine.phase_with(&planned.sha256).await.ok().flatten();
        let steps = phase.iter().flat_map(|phase| &phase.steps);
        steps.filter(|step| step.done_when.iter().any(|fact| fact == "smoke_passed")).map(|step| step.rerun).max().unwrap_or(0)
    }

    /// Returns the path the router probes itself with; none when health is not asked over HTTP.
    pub fn probe_path(&self) -> Option<&str> {
        match &self.spec.health.check {
            HealthCheck::Http(path) => Some(path),
            _ => None,
        }
    }

    /// Drains instances together, each with the service's patience.
    pub async fn drain<'a>(&self, instances: impl Iterator<Item = &'a InstanceId>) -> Result<Vec<DrainReport>, StepFailure> {
        let patience = Duration::from_millis(self.spec.drain_ms);
        let drains = instances.map(|instance| self.router.drain(instance, patience));
        Ok(futures_util::future::try_join_all(drains).await?)
    }

    /// Returns the old set's instances that still run.
    pub async fn warm_base(&self) -> Result<Vec<Observed>, StepFailure> {
        let mut warm = Vec::new();
        for instance in self.base.iter().flat_map(|base| &base.instances) {
            warm.extend(self.target.observe(instance).await?.filter(|observed| observed.running));
        }
        Ok(warm)
    }

    /// Makes sure every instance of the old set runs and is verified, and returns them.
    pub async fn restored_base(&self, base: &ServingSet) -> Result<Vec<Observed>, StepFailure> {
        let mut restored = Vec::new();
        for spec in base.instance_specs()? {
            let running = self.target.observe(&spec.id).await?.filter(|observed| observed.running);
            let observed = match running {
                Some(observed) => observed,
                None => {
                    self.engine.release_dir(&spec.digest).await?;
                    self.target.start(&self.lease, &spec).await?
                }
            };
            // A warm healthy one costs milliseconds; one that runs and fails must not get traffic.
            self.verify_instance(&observed, &spec.version, &spec.spec).await?;
            restored.push(observed);
        }
        Ok(restored)
    }

    /// Watches the new set's counters until a trigger fires.
    pub async fn watched(&self, baseline: &Baseline, started: &[InstanceId]) -> Trigger {
        let (mut rails, settings) = (Rails::default(), Settings::new(self.plan.watch.clone()));
        let (mut restarts, mut gone, mut blind) = (self.restarts(started).await, 0, 0);
        loop {
            tokio::time::sleep(SAMPLING).await;
            restarts = match restarts {
                Some(restarts) => Some(restarts),
                None => self.restarts(started).await,
            };
            let ended = self.running(started).await.is_err_and(|failure| failure.code == Code::InstanceExited);
            let measured = self.router.measure().await;
            gone = if ended { gone + 1 } else { 0 };
            blind = if measured.is_err() { blind + 1 } else { 0 };
            if gone >= BLIND || blind >= BLIND {
                return Trigger::new("DEPLOY-003", format!("{} or its router is gone", self.plan.version));
            }
            if let (Some(then), Some(now)) = (restarts, self.restarts(started).await)
                && now > then
            {
                let reason = format!("{} ended and was started again {} times", self.plan.version, now - then);
                return Trigger::new("DEPLOY-002", reason);
            }
            let Ok(samples) = measured else { continue };
            let (sample, downtime) = baseline.sample(&self.label(), Some(0), &samples);
            if let Some(trigger) = trigger(&mut rails, &settings, self.engine.steadily(), &sample, downtime) {
                return trigger;
            }
        }
    }

    /// Returns the limits for a judgement of a whole watch at its end: nothing is left to last.
    pub(super) fn limits_at_the_end(&self) -> Settings {
        Settings::new(Watch { sustained_ms: 0, ..self.plan.watch.clone() })
    }

    pub(super) async fn restarts(&self, instances: &[InstanceId]) -> Option<u32> {
        let mut total = 0;
        for instance in instances {
            total += self.target.observe(instance).await.ok()??.restarts;
        }
        Some(total)
    }

    /// Records the instant traffic moved.
    pub async fn note_shift(&self) -> Result<(), StepFailure> {
        fenced(self.engine.store.note_traffic(&Caller::server(), &self.id, self.lease.epoch, TrafficMove::To).await?)
    }

    /// Records the new set as the verified one that serves; what served before stays known behind it.
    pub async fn record_serving(&self) -> Result<(), StepFailure> {
        let release_dir = self.engine.release_dir(&self.plan.digest).await?;
        let specs: Vec<InstanceSpec> =
            (1..=self.instances().len() as u32).map(|index| self.instance_spec(index, release_dir.clone())).collect();
        let set = ServingSet {
            service: self.plan.service.clone(),
            environment: self.plan.environment.clone(),
            deployment: self.id.clone(),
            version: self.plan.version.clone(),
            digest: self.plan.digest.clone(),
            commit: self.plan.commit.clone(),
            instances: self.instances(),
            specs: serde_json::to_value(specs).expect("instance specifications are JSON"),
            verified_at: self.engine.clock.now(),
            // Only one set back is remembered: going further is a person's decision.
            base: self.base.clone().map(|base| Box::new(ServingSet { base: None, ..base })),
        };
        fenced(self.engine.store.set_serving(&Caller::server(), self.lease.epoch, &set).await?)
    }
}

impl ServingSet {
    /// Returns what its instances run, to start them again.
    pub fn instance_specs(&self) -> Result<Vec<InstanceSpec>, StepFailure> {
        serde_json::from_value(self.specs.clone()).map_err(|error| {
            StepFailure::new(crate::error::Code::Internal, format!("the recorded set of `{}` cannot be read: {error}", self.deployment))
        })
    }
}
