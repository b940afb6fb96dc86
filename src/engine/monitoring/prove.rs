//! The proof that an alert arrives: Prometheus has the rules, and a test alert sent to Alertmanager is shown there. Recorded each time it
//! is tried, also when it fails; it counts for exactly the rules it was made with.

use super::rules::{self, rules};
use crate::{
    engine::Engine,
    error::Result,
    model::{
        Caller, Directive, ServiceSpec, Sha256,
        service::{HealthCheck, RouterKind},
    },
    store::{NewProof, Proof, ProofKind},
    targets::metrics::alerting::{Alertmanager, LoadedRule, loaded_rules},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::{Duration, Instant};

/// The name of the alert that is fired to see whether one arrives.
pub const TEST_ALERT: &str = "InterlockTestAlert";
/// How long Alertmanager may take to show it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Patience with one question.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A proof this young is not made again: a call whose answer was lost can be repeated.
const FRESH: Duration = Duration::from_secs(10 * 60);

/// What was seen of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertProof {
    /// SHA-256 of the rules it was made with.
    pub rules_sha256: Sha256,
    /// How many rules there are.
    pub rules: usize,
    /// How many of them Prometheus has loaded; none where it was not asked or did not answer.
    pub loaded: Option<usize>,
    /// Whether Alertmanager has shown the test alert as active.
    pub arrived: bool,
    /// Whom Alertmanager tells of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<String>,
    /// How long it took to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
    /// Why something of it is not known or not so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// What is watched of a service. All four make it covered; what nobody has seen is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// It is asked whether it is healthy; that its process is alive says too little.
    pub health: bool,
    /// It has metrics: its proxy's, or its own.
    pub metrics: bool,
    /// Prometheus has loaded the rules that the configuration in force gives.
    pub alert: bool,
    /// A test alert was seen to arrive, with these rules.
    pub proven: bool,
}

impl Coverage {
    /// Tells whether nothing is missing.
    pub fn is_covered(self) -> bool {
        self.health && self.metrics && self.alert && self.proven
    }

    /// Returns the coverage of a service by the newest proof there is of its alerts. Pure.
    pub fn of(spec: &ServiceSpec, proof: Option<&Proof>) -> Coverage {
        let rules_sha256 = digest(spec);
        let seen = proof.and_then(|proof| serde_json::from_value::<AlertProof>(proof.detail.clone()).ok());
        let seen = seen.filter(|seen| seen.rules_sha256 == rules_sha256);
        Coverage {
            health: spec.health.check != HealthCheck::Alive,
            metrics: spec.monitoring.metrics.is_some() || matches!(spec.router, RouterKind::Proxy { .. }),
            alert: seen.as_ref().is_some_and(|seen| seen.rules > 0 && seen.loaded == Some(seen.rules)),
            proven: seen.is_some_and(|seen| seen.arrived),
        }
    }
}

impl Engine {
    /// Returns what is watched of a service now.
    pub async fn coverage(&self, spec: &ServiceSpec) -> Result<Coverage> {
        let proof = self.store.latest_proof(&spec.service, &spec.environment, ProofKind::Alert).await?;
        Ok(Coverage::of(spec, proof.as_ref()))
    }

    /// Fires a test alert and records what became of it; the proof of a moment ago for the same rules comes back instead, with `true`.
    pub(super) async fn prove_alert(&self, by: &Caller, directive: &Directive, spec: &ServiceSpec) -> Result<(Option<AlertProof>, bool)> {
        if spec.monitoring.watchers.alertmanager.is_none() {
            return Ok((None, false));
        }
        let last = self.store.latest_proof(&spec.service, &spec.environment, ProofKind::Alert).await?;
        if let Some(last) = last.filter(|last| Coverage::of(spec, Some(last)).is_covered())
            && self.clock.now().since(last.proven_at) < FRESH
            && last.proven_at <= self.clock.now()
        {
            return Ok((serde_json::from_value(last.detail).ok(), true));
        }
        let proof = self.tried(spec).await;
        let (service, environment) = (spec.service.clone(), spec.environment.clone());
        let new = NewProof { directive: directive.id.clone(), service, environment, kind: ProofKind::Alert, detail: json!(proof) };
        self.store.add_proof(by, new).await?;
        Ok((Some(proof), false))
    }

    async fn tried(&self, spec: &ServiceSpec) -> AlertProof {
        let all = rules(spec);
        let mut proof = AlertProof {
            rules_sha256: digest(spec),
            rules: all.len(),
            loaded: None,
            arrived: false,
            receivers: Vec::new(),
            millis: None,
            because: Vec::new(),
        };
        let watchers = &spec.monitoring.watchers;
        match &watchers.prometheus {
            None => proof.because.push("`prometheus` of [monitoring] is not set: whether the rules are loaded is not known".into()),
            Some(address) => match loaded_rules(address, ANSWER).await {
                Ok(loaded) => {
                    let count = all.iter().filter(|rule| loaded.iter().any(|one| is_loaded(rule, spec, one))).count();
                    if count < all.len() {
                        proof.because.push(format!("Prometheus has loaded {count} of {} rules: reload it with these files", all.len()));
                    }
                    proof.loaded = Some(count);
                }
                Err(why) => proof.because.push(format!("Prometheus was not asked: {why}")),
            },
        }
        if let Some(address) = &watchers.alertmanager {
            match self.fired(address, spec).await {
                Ok((receivers, millis)) => {
                    (proof.arrived, proof.receivers, proof.millis) = (true, receivers, Some(millis));
                }
                Err(why) => proof.because.push(format!("the test alert was not seen to arrive: {why}")),
            }
        }
        proof
    }

    /// Sends the test alert, waits until it is shown as active, and ends it; returns whom it tells and how long that took.
    async fn fired(&self, address: &str, spec: &ServiceSpec) -> std::result::Result<(Vec<String>, u64), String> {
        let alertmanager = Alertmanager::at(address, ANSWER).await?;
        let nonce = format!("{:016x}", rand::random::<u64>());
        let labels = json!({
            "alertname": TEST_ALERT, "service": spec.service, "environment": spec.environment, "severity": "test", "proof": nonce,
        });
        let summary = format!("a test by interlock whether alerts of {} arrive; nothing is wrong", spec.routed_as());
        let alert = json!({ "labels": labels, "annotations": { "summary": summary } });
        let begun = Instant::now();
        alertmanager.send(&alert).await?;
        let shown = loop {
            let shown = alertmanager.shown(&[("alertname", TEST_ALERT), ("proof", &nonce)]).await;
            match shown {
                Ok(found) if found.iter().any(|alert| alert.state == "active") => break Ok(found),
                Ok(found) if begun.elapsed() > PATIENCE => {
                    let state = found.first().map_or("it is not there".to_owned(), |alert| format!("it is {}", alert.state));
                    break Err(format!("{state} after {} s", PATIENCE.as_secs()));
                }
                Err(why) if begun.elapsed() > PATIENCE => break Err(why),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        let millis = begun.elapsed().as_millis() as u64;
        let mut over = alert;
        over["endsAt"] = json!(self.clock.now().to_string());
        if let Err(why) = alertmanager.send(&over).await {
            tracing::warn!("ending the test alert of `{}`: {why}; it ends by itself", spec.routed_as());
        }
        let mut receivers: Vec<String> = shown?.into_iter().flat_map(|alert| alert.receivers).collect();
        receivers.sort();
        receivers.dedup();
        Ok((receivers, millis))
    }
}

/// Returns SHA-256 of a service's rules as the file has them, with who is to watch and whom it tells: a proof counts for these alone.
pub(super) fn digest(spec: &ServiceSpec) -> Sha256 {
    Sha256::of_canonical(&(rules::file(spec), &spec.monitoring.watchers))
}

fn is_loaded(rule: &rules::Rule, spec: &ServiceSpec, loaded: &LoadedRule) -> bool {
    let is_of_it = loaded.service == spec.service.as_str() && loaded.environment == spec.environment.as_str();
    loaded.name == rule.name && is_of_it && loaded.digest == rule.digest() && loaded.is_healthy
}
