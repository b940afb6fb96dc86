//! oha's JSON, which is in seconds. Failed are requests without an answer and those answered 400 and above, as in k6, so that one
//! threshold means the same with both. Requests that oha itself cut off at its deadline are nobody's fault and not counted.

use super::{Format, Measures, ReportError, json};
use serde::Deserialize;
use std::{collections::BTreeMap, io::Read};

const CUT_BY_OHA: &str = "aborted due to deadline";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    summary: Summary,
    latency_percentiles: Percentiles,
    status_code_distribution: BTreeMap<String, u32>,
    #[serde(default)]
    error_distribution: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    success_rate: Option<f64>,
}

#[derive(Deserialize)]
struct Percentiles {
    p95: Option<f64>,
}

/// Returns `requests`, and `p95_ms` and `error_percent` when there were any.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let report: Report = json::read(Format::Oha, reader)?;
    let malformed = |fault: &str| ReportError::malformed(Format::Oha, fault);
    let (mut requests, mut failed) = (0.0, 0.0);
    for (status, count) in &report.status_code_distribution {
        let status: u16 = status.parse().map_err(|_| malformed("a status code is no number"))?;
        requests += f64::from(*count);
        failed += if status >= 400 { f64::from(*count) } else { 0.0 };
    }
    for count in report.error_distribution.iter().filter(|(error, _)| *error != CUT_BY_OHA).map(|(_, count)| f64::from(*count)) {
        (requests, failed) = (requests + count, failed + count);
    }
    let mut measures = Measures::of([("requests", requests)]);
    if requests > 0.0 {
        let success = report.summary.success_rate.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&success) {
            return Err(malformed("`successRate` is not within 0 and 1"));
        }
        // The worse of what is counted and what is said.
        measures.set("error_percent", f64::max(100.0 * failed / requests, 100.0 * (1.0 - success)));
    }
    match report.latency_percentiles.p95 {
        Some(seconds) if seconds < 0.0 => return Err(malformed("a latency is negative")),
        Some(seconds) => measures.set("p95_ms", seconds * 1000.0),
        None => {}
    }
    Ok(measures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(rate: &str, p95: &str, statuses: &str, errors: &str) -> [Option<f64>; 3] {
        let json = format!(
            r#"{{"summary":{{"successRate":{rate},"total":10.0}},"responseTimeHistogram":{{"0.1":3}},"latencyPercentiles":{{"p50":0.1,"p95":{p95},"p99.9":1.0}},
            "rps":{{"mean":1.0}},"details":{{}},"statusCodeDistribution":{statuses},"errorDistribution":{errors}}}"#
        );
        let measures = read(json.as_bytes()).unwrap();
        ["p95_ms", "error_percent", "requests"].map(|name| measures.get(name))
    }

    #[test]
    fn seconds_become_milliseconds_and_every_failure_counts() {
        assert_eq!(measures("1.0", "0.25", r#"{"200":100}"#, "{}"), [Some(250.0), Some(0.0), Some(100.0)]);
        assert_eq!(measures("1.0", "0.25", r#"{"200":90,"302":5,"404":2,"503":3}"#, "{}"), [Some(250.0), Some(5.0), Some(100.0)]);
        assert_eq!(measures("0.9", "0.25", r#"{"200":90}"#, r#"{"connection refused":10}"#), [Some(250.0), Some(10.0), Some(100.0)]);
        assert_eq!(measures("0.5", "0.25", r#"{"200":100}"#, "{}"), [Some(250.0), Some(50.0), Some(100.0)]);
    }

    #[test]
    fn requests_cut_at_the_deadline_are_not_counted() {
        assert_eq!(measures("1.0", "0.25", r#"{"200":100}"#, r#"{"aborted due to deadline":50}"#), [Some(250.0), Some(0.0), Some(100.0)]);
    }

    #[test]
    fn no_request_is_no_rate() {
        assert_eq!(measures("null", "null", "{}", "{}"), [None, None, Some(0.0)]);
    }
}
