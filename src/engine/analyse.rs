//! Compares the new set with the old one while both serve. What cannot be judged in its time is a person's to decide: no data never passes.

use super::{
    run::Run,
    steps::StepFailure,
    watch::{Watcher, window},
};
use crate::{error::Code, model::plan::Watch};
use serde_json::{Value, json};
use std::time::Duration;

impl Run {
    /// Watches a canary's share, and returns what was seen once it can be judged.
    pub(super) async fn analyse(&self, duration_ms: u64, at_most_ms: u64) -> Result<Value, StepFailure> {
        let began = self.engine.clock.now();
        loop {
            self.until(began.plus(Duration::from_millis(duration_ms))).await;
            let Some(baseline) = self.baseline().await else {
                return Err(StepFailure::new(Code::RouterFailed, "the watch has no reading to judge from"));
            };
            let now = self.router.measure().await?;
            let (seen, old) = (window(&self.label(), &baseline.before, &now), baseline.old_set(&now));
            let limits = Watch { sustained_ms: 0, ..self.plan.watch.clone() };
            if let Some(trigger) = Watcher::default().look(&limits, self.engine.clock.now(), &seen, old.as_ref()) {
                return Err(StepFailure::new(Code::ThresholdCrossed, trigger.reason));
            }
            if seen.requests >= limits.min_samples {
                return Ok(json!({ "verdict": "pass", "new": seen, "old": old }));
            }
            if self.engine.clock.now() >= began.plus(Duration::from_millis(at_most_ms)) {
                let message = format!("inconclusive: needs {} requests, has {}", limits.min_samples, seen.requests);
                let details = json!({ "verdict": "inconclusive", "new": seen, "old": old });
                return Err(StepFailure { code: Code::Inconclusive, message, details });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
