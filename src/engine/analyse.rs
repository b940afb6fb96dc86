//! Compares the new set with the old one while both serve. What cannot be judged in its time is a person's to decide: no data never passes.

use super::{run::Run, steps::StepFailure};
use crate::{
    error::Code,
    model::{
        Action, Verdict,
        analysis::{Analysis, Look, Rails, Sample, SetSample, Traffic, relative},
    },
    targets::probe::Probe,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Our own requests to each set where too few customers come: enough to tell a set without errors from one with one in a hundred.
const OWN_REQUESTS: u64 = 320;

/// How a canary's share is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watching {
    /// Which share of the plan's this is, from 0, and of how many.
    pub stage: (u32, u32),
    /// How long until the first look.
    pub duration: Duration,
    /// How long at most.
    pub at_most: Duration,
}

impl Watching {
    /// Returns how an analysing step of a plan is watched; none for another step.
    pub fn of(plan: &crate::model::Plan, action: &Action) -> Option<Self> {
        let Action::Analyse { percent, duration_ms, at_most_ms } = *action else { return None };
        let shares = plan.steps.iter().filter_map(|step| match step.action {
            Action::Analyse { percent, .. } => Some(percent),
            _ => None,
        });
        let at = shares.clone().position(|share| share == percent)?;
        let stage = (at as u32, shares.count() as u32);
        Some(Watching { stage, duration: Duration::from_millis(duration_ms), at_most: Duration::from_millis(at_most_ms) })
    }

    /// Returns the time between a look that could not tell and the next.
    fn pause(&self) -> Duration {
        (self.duration / 2).max(Duration::from_secs(1))
    }

    /// Returns how many looks there are at most: the first at the end of the watch, then one after each pause, the last at the cap.
    fn looks(&self) -> u32 {
        let beyond = self.at_most.saturating_sub(self.duration);
        1 + beyond.as_millis().div_ceil(self.pause().as_millis()) as u32
    }

    /// Returns which look of all shares together this is: the risk of a false alarm is spent once per deployment, not once per share.
    fn look(&self, number: u32) -> Look {
        let (stage, stages) = self.stage;
        Look { number: stage * self.looks() + number, of: stages * self.looks() }
    }

    /// Returns when a look is taken, counted from the begin.
    fn at(&self, number: u32) -> Duration {
        (self.duration + self.pause() * (number - 1)).min(self.at_most.max(self.duration))
    }
}

impl Run {
    /// Watches a canary's share, and returns what was seen once it can be judged.
    pub(super) async fn analyse(&self, watching: Watching) -> Result<Value, StepFailure> {
        let began = self.engine.steadily();
        let mut number = 1;
        loop {
            self.until(began.plus(watching.at(number))).await;
            let sample = self.sample().await?;
            let settings = self.limits_at_the_end();
            let mut findings = Rails::default().look(&settings, self.engine.steadily(), &sample);
            findings.extend(relative(&settings, watching.look(number), &sample));
            findings.extend(self.figures().await);
            let analysis = Analysis::of(findings, sample.traffic);
            let sentences: Vec<&str> = analysis.sentences().collect();
            let message = sentences.join("; ");
            let seen = json!({ "verdict": analysis.verdict, "look": watching.look(number), "traffic": analysis.traffic,
                "findings": analysis.findings, "requests": { "new": sample.new.requests, "old": sample.old.map(|old| old.requests) } });
            match analysis.verdict {
                Verdict::Pass => return Ok(seen),
                Verdict::Fail => return Err(StepFailure { code: Code::ThresholdCrossed, message, details: seen }),
                Verdict::Inconclusive if number >= watching.looks() => {
                    return Err(StepFailure { code: Code::Inconclusive, message, details: seen });
                }
                Verdict::Inconclusive => number += 1,
            }
        }
    }

    /// Returns what both sets did since traffic moved; where too few customers came, what they answer to our own requests.
    async fn sample(&self) -> Result<Sample, StepFailure> {
        let Some(baseline) = self.baseline().await else {
            return Err(StepFailure::new(Code::RouterFailed, "the watch has no reading to judge from"));
        };
        let restarts = self.restarts(&self.instances()).await;
        let (sample, _) = baseline.sample(&self.label(), restarts, &self.router.measure().await?);
        let too_few = sample.new.requests < self.plan.watch.min_samples;
        match self.probe_path() {
            Some(path) if too_few => Ok(self.own_sample(path, restarts).await?),
            _ => Ok(sample),
        }
    }

    /// Asks both sets directly, and returns what they answered. They are asked in turn, so that a slow moment meets both alike.
    async fn own_sample(&self, path: &str, restarts: Option<u32>) -> Result<Sample, StepFailure> {
        let (new, old) = (self.running(&self.instances()).await?, self.warm_base().await?);
        let mut sample = Sample { traffic: Traffic::Synthetic, ..Sample::default() };
        let mut of_old = SetSample::default();
        for round in 0..OWN_REQUESTS as usize {
            asked(&mut sample.new, path, self.probe(new[round % new.len()].address, &self.spec)).await;
            if !old.is_empty() {
                asked(&mut of_old, path, self.probe(old[round % old.len()].address, &self.spec)).await;
            }
        }
        sample.new.restarts = restarts;
        sample.old = (!old.is_empty()).then_some(of_old);
        Ok(sample)
    }
}

async fn asked(set: &mut SetSample, path: &str, probe: Probe) {
    let (status, took) = probe.timed(path).await;
    set.requests += 1;
    set.errors += u64::from(status.is_none_or(|status| status >= 500));
    *set.latency_ms.entry(took.as_millis() as u64 + 1).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_planned_to_the_cap_and_numbered_over_all_shares() {
        let seconds = Duration::from_secs;
        let watching = Watching { stage: (1, 2), duration: seconds(300), at_most: seconds(900) };
        assert_eq!(watching.looks(), 5);
        assert_eq!([1, 2, 5].map(|number| watching.at(number)), [seconds(300), seconds(450), seconds(900)]);
        assert_eq!(watching.look(5), Look { number: 10, of: 10 });
        let short = Watching { stage: (0, 1), duration: seconds(10), at_most: seconds(10) };
        assert_eq!((short.looks(), short.at(1), short.look(1)), (1, seconds(10), Look { number: 1, of: 1 }));
    }
}
