//! k6: the file of `--summary-export`, and the data that `handleSummary` gets; both in milliseconds. In a rate such as
//! `http_req_failed`, `passes` counts the samples that were true: the failed requests.

use super::{Format, Measures, ReportError, json};
use serde::Deserialize;
use std::io::Read;

#[derive(Deserialize)]
struct Summary {
    metrics: Metrics,
}

#[derive(Deserialize)]
struct Metrics {
    http_req_duration: Option<Metric>,
    http_req_failed: Option<Metric>,
    http_reqs: Option<Metric>,
}

/// A metric with its numbers in itself (`--summary-export`) or under `values` (`handleSummary`).
#[derive(Deserialize)]
struct Metric {
    values: Option<Numbers>,
    #[serde(flatten)]
    own: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    #[serde(rename = "p(95)")]
    p95: Option<f64>,
    count: Option<f64>,
    passes: Option<f64>,
    fails: Option<f64>,
    #[serde(alias = "value")]
    rate: Option<f64>,
}

impl Metric {
    fn numbers(&self) -> &Numbers {
        self.values.as_ref().unwrap_or(&self.own)
    }
}

/// Returns `requests`, and `p95_ms` and `error_percent` where the summary has them.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let Summary { metrics } = json::read(Format::K6, reader)?;
    let malformed = |fault: &str| ReportError::malformed(Format::K6, fault);
    let requests = metrics.http_reqs.as_ref().and_then(|metric| metric.numbers().count).unwrap_or(0.0);
    let mut measures = Measures::of([("requests", requests)]);
    if let Some(p95) = metrics.http_req_duration.as_ref().and_then(|metric| metric.numbers().p95) {
        measures.set("p95_ms", p95);
    }
    if let Some(failed) = metrics.http_req_failed.as_ref().map(Metric::numbers) {
        let rate = match (failed.passes, failed.fails) {
            (Some(failed), Some(fine)) if failed + fine > 0.0 => Some(failed / (failed + fine)),
            (Some(_), Some(_)) => None,
            _ => failed.rate,
        };
        if rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err(malformed("the rate of failed requests is not within 0 and 1"));
        }
        rate.into_iter().for_each(|rate| measures.set("error_percent", rate * 100.0));
    }
    match measures.values.values().all(|value| *value >= 0.0) {
        true => Ok(measures),
        false => Err(malformed("a measure is negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(json: &str) -> [Option<f64>; 3] {
        let measures = read(json.as_bytes()).unwrap();
        ["p95_ms", "error_percent", "requests"].map(|name| measures.get(name))
    }

    #[test]
    fn both_shapes_say_the_same() {
        let legacy = r#"{"metrics":{"http_req_duration":{"avg":1,"p(90)":2,"p(95)":412.5,"thresholds":{"p(95)<500":false}},
            "http_req_duration{expected_response:true}":{"p(95)":1},"http_req_failed":{"passes":5,"fails":995,"value":0.005},"http_reqs":{"count":1000,"rate":33.3}},
            "root_group":{"name":"","checks":{}}}"#;
        let current = r#"{"options":{},"state":{},"metrics":{"http_req_duration":{"type":"trend","contains":"time","values":{"p(95)":412.5}},
            "http_req_failed":{"type":"rate","contains":"default","values":{"rate":0.005,"passes":5,"fails":995},"thresholds":{"rate<0.1":{"ok":true}}},
            "http_reqs":{"type":"counter","values":{"count":1000,"rate":33.3}}}}"#;
        for summary in [legacy, current] {
            assert_eq!(measures(summary), [Some(412.5), Some(0.5), Some(1000.0)]);
        }
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        assert_eq!(measures(r#"{"metrics":{"iterations":{"count":3}}}"#), [None, None, Some(0.0)]);
        assert_eq!(measures(r#"{"metrics":{"http_req_failed":{"value":0.25},"http_reqs":{"count":4}}}"#), [None, Some(25.0), Some(4.0)]);
        assert_eq!(measures(r#"{"metrics":{"http_req_failed":{"passes":0,"fails":0,"value":0}}}"#), [None, None, Some(0.0)]);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for json in [
            r#"{"metrics":{"http_req_failed":{"value":7}}}"#,
            r#"{"metrics":{"http_reqs":{"count":-4}}}"#,
            r#"{"metrics":{"http_reqs":{"count":1e999}}}"#,
        ] {
            assert_eq!(read(json.as_bytes()).unwrap_err().code(), "malformed", "{json}");
        }
    }
}
