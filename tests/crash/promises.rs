//! What customers are promised while a deployment is disturbed, held against what they saw.

use interlock::cli::demo::tally::LoadReport;
use serde_json::Value;

/// The clocks of load and record are read at different instants of one machine.
const SLACK_MS: i64 = 50;

/// Compares what customers saw with the record; returns what was not promised.
pub fn unpromised(report: &LoadReport, old: &str, new: &str, settled: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let deployment = &settled["deployment"];
    // A rolling deployment verifies its instances one after the other: none gets traffic before the first.
    let is_check = |entry: &&Value| entry["step"].as_str().is_some_and(|step| step.starts_with("verify-instances"));
    let verified_at = settled["steps"].as_array().into_iter().flatten().find(is_check).and_then(|entry| entry["ended_at"].as_i64());
    for (version, seen) in &report.versions {
        match version.as_str() {
            version if version == old => {
                if seen.wrong > 0 {
                    found.push(format!("{} wrong answers of {old}, which served before", seen.wrong));
                }
            }
            version if version == new => {
                if verified_at.is_none_or(|verified| seen.first_at + SLACK_MS < verified) {
                    found.push(format!("{new} answered customers before it was verified"));
                }
                if deployment["shifted_at"].is_null() {
                    found.push(format!("{new} answered customers and was never shifted to"));
                }
                if deployment["unshifted_at"].as_i64().is_some_and(|back| seen.last_started_at > back + SLACK_MS) {
                    found.push(format!("{new} answered customers after traffic had moved back"));
                }
                if seen.wrong > 0 && deployment["unshifted_at"].is_null() {
                    found.push(format!("{} wrong answers of {new}, which serves", seen.wrong));
                }
            }
            other => found.push(format!("customers were sent to {other}, which nobody deployed")),
        }
    }
    if report.versions.get(old).is_none_or(|seen| seen.answers == 0) {
        found.push(format!("no customer saw {old}"));
    }
    found
}
