//! What a new set is judged by at the end of its watch, and what figures from outside say of it until then.

use super::{
    run::Run,
    steps::StepFailure,
    watch::{Trigger, trigger},
};
use crate::{
    error::Code,
    model::{
        Action, Step, Verdict,
        analysis::{Analysis, Finding, Rails, Traffic, figure},
        metric::MetricSpec,
    },
    targets::metrics::{self, Around},
};
use futures_util::future::{join_all, select_all};
use serde_json::json;
use std::time::Duration;

impl Run {
    /// Judges the whole watch at its end: a limit that was crossed all along, or only lately, is not outlived. No reading never passes.
    pub(super) async fn judged(&self, step: &Step) -> Result<Option<Trigger>, StepFailure> {
        let Action::Bake { duration_ms } = step.action else { return Ok(None) };
        if self.is_a_persons().await {
            return Ok(None);
        }
        let Some(baseline) = self.baseline().await else {
            return Err(StepFailure::new(Code::RouterFailed, "the watch has no reading to judge from"));
        };
        let now = self.router.measure().await?;
        let restarts = self.restarts(&self.started().await?).await;
        let (sample, downtime) = baseline.sample(&self.label(), restarts, &now);
        match trigger(&mut Rails::default(), &self.limits_at_the_end(), self.engine.steadily(), &sample, downtime) {
            Some(trigger) => Ok(Some(trigger)),
            None => self.judged_by_figures(Duration::from_millis(duration_ms)).await,
        }
    }

    /// Reads every figure. While one is not known they are read again, for as long as the watch took; then a person is asked.
    async fn judged_by_figures(&self, at_most: Duration) -> Result<Option<Trigger>, StepFailure> {
        let Some(interval) = self.plan.metrics.iter().map(|metric| Duration::from_millis(metric.interval_ms)).min() else {
            return Ok(None);
        };
        let deadline = self.engine.steadily().plus(at_most);
        loop {
            let analysis = Analysis::of(self.figures().await, Traffic::Customers);
            let message = analysis.sentences().collect::<Vec<_>>().join("; ");
            let now = self.engine.steadily();
            match analysis.verdict {
                Verdict::Pass => return Ok(None),
                Verdict::Fail => return Ok(Some(Trigger { findings: analysis.findings, ..Trigger::new("DEPLOY-002", message) })),
                Verdict::Inconclusive if now >= deadline => {
                    let details = json!({ "findings": analysis.findings });
                    return Err(StepFailure { code: Code::Inconclusive, message, details });
                }
                Verdict::Inconclusive => self.until(now.plus(interval).min(deadline)).await,
            }
        }
    }

    /// Reads every figure of the plan now.
    pub(super) async fn figures(&self) -> Vec<Finding> {
        join_all(self.plan.metrics.iter().map(|metric| self.figure(metric))).await
    }

    /// Reads the plan's figures at their intervals until one crosses its threshold. What is not known is judged at the watch's end.
    pub(super) async fn crossed(&self) -> Trigger {
        if self.plan.metrics.is_empty() {
            return std::future::pending().await;
        }
        select_all(self.plan.metrics.iter().map(|metric| Box::pin(self.crossing(metric)))).await.0
    }

    async fn crossing(&self, metric: &MetricSpec) -> Trigger {
        loop {
            tokio::time::sleep(Duration::from_millis(metric.interval_ms)).await;
            let finding = self.figure(metric).await;
            if finding.verdict == Verdict::Fail {
                return Trigger { findings: vec![finding.clone()], ..Trigger::new("DEPLOY-002", finding.sentence) };
            }
        }
    }

    async fn figure(&self, metric: &MetricSpec) -> Finding {
        let places = [
            ("version", self.plan.version.as_str()),
            ("service", self.plan.service.as_str()),
            ("environment", self.plan.environment.as_str()),
            ("deployment", self.id.as_str()),
        ];
        let around = Around { folder: &self.engine.workspace.root, env: &self.spec.env, places: &places };
        figure(metric, metrics::read(metric, around).await)
    }
}
