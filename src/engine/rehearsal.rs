//! Tries the way there and back before customers are moved: old → new → old on a second listener of the same router, reading who answers.

use super::{rollout::step, run::Run, steps::StepFailure};
use crate::{
    error::Code,
    model::{
        Action, Base, InstanceId, JournalEntry, ServiceSpec, Step, StepState,
        service::{IdentityCheck, RouterKind},
    },
    targets::{Observed, probe::ProbeFailure},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The second listener closes by itself after so long.
const OPEN: Duration = Duration::from_secs(60);

/// How often it is begun while the router is disturbed.
const ATTEMPTS: u32 = 5;
/// What a router's worker needs to be there again.
const PAUSE: Duration = Duration::from_millis(500);

/// What a rehearsal has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Whether traffic went there and came back.
    pub proven: bool,
    /// Why it is not proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Each move of the second listener's traffic, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Moved>,
}

/// One move of a rehearsal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The version that answered every request.
    pub to: String,
    /// How many requests it answered: one per instance.
    pub answers: usize,
    /// From telling the router to the first answer.
    pub first_answer_ms: u64,
}

/// Adds the rehearsal behind the first check of new instances, where the router has a second listener and versions can be told apart.
pub fn with_rehearsal(rollout: Vec<Step>, spec: &ServiceSpec, version: &str, base: &Base) -> Vec<Step> {
    if !matches!(spec.router, RouterKind::Proxy { .. }) || spec.version.is_none() || base.version == version {
        return rollout;
    }
    let is_check = |step: &Step| matches!(step.action, Action::VerifyInstances | Action::VerifyBatch { .. });
    let Some(at) = rollout.iter().position(is_check) else { return rollout };
    let title = format!("rehearse on a second listener: {0} → {version} → {0}, reading each time who answers", base.version);
    let mut steps = rollout;
    steps.insert(at + 1, step("rehearse", Action::Rehearse, title, None, OPEN.as_millis() as u64));
    steps
}

/// Returns what a deployment's rehearsal has shown, from its journal; none where there was none.
pub fn rehearsal_of(journal: &[JournalEntry]) -> Option<Rehearsal> {
    let entry = journal.iter().find(|entry| entry.step.as_str() == "rehearse" && entry.state == StepState::Done)?;
    serde_json::from_value(entry.output["rehearsal"].clone()).ok()
}

impl Rehearsal {
    fn not_proven(why: String) -> Self {
        Rehearsal { proven: false, why: Some(why), moves: Vec::new() }
    }

    /// Returns one line for people.
    pub fn summary(&self) -> String {
        let versions: Vec<&str> = self.moves.iter().map(|moved| moved.to.as_str()).collect();
        match (&self.why, self.moves.last()) {
            (None, Some(back)) => format!("{} before the switch, back in {} ms", versions.join(" → "), back.first_answer_ms),
            (why, _) => format!("not proven: {}", why.as_deref().unwrap_or("nothing was moved")),
        }
    }
}

/// One side of a rehearsal: its instances, and how they show who they are.
struct Side<'a> {
    version: &'a str,
    spec: &'a ServiceSpec,
    check: &'a IdentityCheck,
    instances: &'a [Observed],
}

impl Run {
    /// Moves a second listener's traffic there and back. A way back that does not work fails; an old set that is broken before
    /// anything was moved proves nothing, and keeps no release from repairing it.
    pub(super) async fn rehearse(&self) -> Result<Value, StepFailure> {
        let rehearsal = self.rehearsed().await?;
        Ok(serde_json::json!({ "rehearsal": rehearsal }))
    }

    async fn rehearsed(&self) -> Result<Rehearsal, StepFailure> {
        let (Some(base), Some(check)) = (&self.base, &self.spec.version) else {
            return Ok(Rehearsal::not_proven("nothing serves that could be gone back to".into()));
        };
        let base_specs = base.instance_specs()?;
        let base_spec = base_specs.first().map_or(&self.spec, |instance| &instance.spec);
        let Some(base_check) = &base_spec.version else {
            return Ok(Rehearsal::not_proven(format!("{} was deployed without a `version` check: nobody can tell it apart", base.version)));
        };
        let (old, new) = (self.warm_base().await?, self.running(&self.started().await?).await?);
        let old = Side { version: &base.version, spec: base_spec, check: base_check, instances: &old };
        let new = Side { version: &self.plan.version, spec: &self.spec, check, instances: &new };
        if let Err(why) = self.answers_directly(&old, &base.instances).await {
            return Ok(Rehearsal::not_proven(format!("{} is broken already: {why}", base.version)));
        }
        let outcome = self.there_and_back_undisturbed(&old, &new).await;
        // It would close by itself; what it showed counts either way.
        if let Err(error) = self.router.close_shadow(self.lease.epoch).await {
            tracing::warn!(deployment.id = %self.id, "the rehearsal's listener stays open for a while: {error}");
        }
        Ok(Rehearsal { proven: true, why: None, moves: outcome? })
    }

    /// Goes there and back; again where the router itself was disturbed: a worker that ended says nothing about the way.
    async fn there_and_back_undisturbed(&self, old: &Side<'_>, new: &Side<'_>) -> Result<Vec<Moved>, StepFailure> {
        let lost_workers = async || self.router.measure().await.ok().map(|samples| samples.lost_workers);
        let mut attempt = 1;
        loop {
            let before = lost_workers().await;
            match self.there_and_back(old, new).await {
                Err(failure) if attempt < ATTEMPTS && (failure.code == Code::RouterFailed || before != lost_workers().await) => {
                    tracing::warn!(deployment.id = %self.id, "the rehearsal begins again: {}", failure.message);
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn there_and_back(&self, old: &Side<'_>, new: &Side<'_>) -> Result<Vec<Moved>, StepFailure> {
        let mut moves = Vec::new();
        for (to, from) in [(old, new), (new, old), (old, new)] {
            let began = Instant::now();
            let split = Run::split(to.instances, from.instances);
            let address = self.router.shadow(&split, self.lease.epoch, OPEN).await?;
            let probe = self.probe(address, to.spec);
            let mut first_answer_ms = None;
            for _ in to.instances {
                if let Err(failure) = probe.identity(to.check, to.version).await {
                    return Err(broken(to.version, moves.len(), address, &failure));
                }
                first_answer_ms.get_or_insert(began.elapsed().as_millis() as u64);
            }
            let first_answer_ms = first_answer_ms.unwrap_or_default();
            moves.push(Moved { to: to.version.to_owned(), answers: to.instances.len(), first_answer_ms });
        }
        Ok(moves)
    }

    /// Returns why the set cannot serve as it stands; all of it must run and show its version.
    async fn answers_directly(&self, side: &Side<'_>, wanted: &[InstanceId]) -> Result<(), String> {
        if side.instances.len() < wanted.len() {
            return Err(format!("{} of its {} instances run", side.instances.len(), wanted.len()));
        }
        for observed in side.instances {
            let identity = self.probe(observed.address, side.spec).identity(side.check, side.version).await;
            identity.map_err(|failure| format!("`{}`: {failure}", observed.instance))?;
        }
        Ok(())
    }
}

fn broken(version: &str, moves: usize, listener: SocketAddr, failure: &ProbeFailure) -> StepFailure {
    let way = if moves == 2 { "the way back does not work" } else { "traffic does not get there" };
    StepFailure {
        code: Code::RehearsalFailed,
        message: format!("{way}: on a second listener, moved to {version}, {failure}"),
        details: serde_json::json!({ "listener": listener, "moves_before": moves, "seen": failure }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{examples, rollout},
        model::Strategy,
    };

    #[test]
    fn every_strategy_rehearses_before_customers_move_and_only_where_it_can_be_seen() {
        let base = examples::base("dep_1");
        let told = ServiceSpec { version: Some(IdentityCheck { http: "/version".into(), token: "{version}".into() }), ..examples::spec() };
        let planned = |spec: &ServiceSpec, strategy, version: &str| {
            with_rehearsal(rollout::steps(spec, strategy, version, Some(&base)), spec, version, &base)
        };
        for strategy in [Strategy::BlueGreen, Strategy::Canary, Strategy::Rolling] {
            let steps = planned(&told, strategy, "1.1.0");
            let at = steps.iter().position(|step| step.action == Action::Rehearse).expect("it rehearses");
            let checked = steps.iter().position(|step| step.id.as_str().starts_with("verify-instances")).unwrap();
            assert_eq!(checked + 1, at, "{strategy:?}");
            assert!(!steps[..at].iter().any(|step| step.action.moves_traffic()), "{strategy:?}");
            assert_eq!(steps[at].title, "rehearse on a second listener: 1.0.0 → 1.1.0 → 1.0.0, reading each time who answers");
            let silent = planned(&examples::spec(), strategy, "1.1.0");
            assert!(!silent.iter().any(|step| step.action == Action::Rehearse), "nobody could tell who answers");
            assert!(!planned(&told, strategy, "1.0.0").iter().any(|step| step.action == Action::Rehearse));
        }
    }

    #[test]
    fn a_rehearsal_says_what_it_has_shown() {
        let moved = |to: &str, first_answer_ms| Moved { to: to.into(), answers: 2, first_answer_ms };
        let moves = vec![moved("1.0.0", 9), moved("1.1.0", 3), moved("1.0.0", 4)];
        let shown = Rehearsal { proven: true, why: None, moves };
        assert_eq!(shown.summary(), "1.0.0 → 1.1.0 → 1.0.0 before the switch, back in 4 ms");
        assert_eq!(Rehearsal::not_proven("1.0.0 is broken already".into()).summary(), "not proven: 1.0.0 is broken already");
    }
}
