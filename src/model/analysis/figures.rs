//! Figures from outside the router, each against its own threshold. Why there is none is a reason to ask, never a pass.

use super::{Check, Finding};
use crate::{gate::Verdict, metric::MetricSpec, text::visible_line};

/// Judges one reading: the figure, or why there is none.
pub fn figure(metric: &MetricSpec, read: Result<f64, String>) -> Finding {
    let (name, threshold) = (visible_line(&metric.name, 60), metric.threshold.to_string());
    let (verdict, value, sentence) = match read {
        Ok(value) if metric.threshold.holds(value) => (Verdict::Pass, value.to_string(), format!("{name} is {value}, within {threshold}")),
        Ok(value) => (Verdict::Fail, value.to_string(), format!("{name} is {value}, not {threshold}")),
        Err(why) => {
            let why = visible_line(&why, 300);
            (Verdict::Inconclusive, format!("none: {why}"), format!("{name} is not known: {why}"))
        }
    };
    let finding = Finding::new(Check::Metric, verdict, value, threshold, sentence);
    Finding { metric: Some(metric.name.clone()), asked: Some(metric.source.summary()), ..finding }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricSource;

    #[test]
    fn only_a_figure_within_its_threshold_passes() {
        let metric = MetricSpec {
            name: "checkout errors".into(),
            source: MetricSource::Prometheus { address: "http://p".into(), query: "up".into(), headers: Default::default() },
            threshold: "<= 0.5".parse().unwrap(),
            interval_ms: 1_000,
            timeout_ms: 1_000,
        };
        let verdict = |read: Result<f64, String>| figure(&metric, read).verdict;
        assert_eq!([verdict(Ok(0.5)), verdict(Ok(-1.0)), verdict(Ok(0.51))], [Verdict::Pass, Verdict::Pass, Verdict::Fail]);
        assert_eq!([verdict(Err("nobody answers".into())), verdict(Err(String::new()))], [Verdict::Inconclusive; 2]);
        let finding = figure(&metric, Ok(2.0));
        assert_eq!(finding.sentence, "checkout errors is 2, not <= 0.5");
        assert_eq!((finding.value.as_str(), finding.asked.as_deref()), ("2", Some("`up` on http://p")));
    }
}
