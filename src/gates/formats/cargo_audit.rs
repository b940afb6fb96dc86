//! `cargo audit --json`: the advisories in `vulnerabilities.list`. Warnings (unmaintained, unsound, yanked) are not counted.

use super::{
    Format, Measures, ReportError, json,
    severity::{Tally, score_of},
};
use serde::Deserialize;
use std::io::Read;

#[derive(Deserialize)]
struct Report {
    lockfile: Option<Lockfile>,
    vulnerabilities: Vulnerabilities,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lockfile {
    dependency_count: Option<f64>,
}

#[derive(Deserialize)]
struct Vulnerabilities {
    #[serde(default)]
    found: bool,
    list: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Vulnerability {
    advisory: Advisory,
}

#[derive(Deserialize)]
struct Advisory {
    id: String,
    #[serde(default)]
    package: String,
    cvss: Option<String>,
    informational: Option<serde::de::IgnoredAny>,
}

/// Returns `critical`, `high`, `medium`, `low`, `total`, and `scanned`: how many packages were looked at.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let report: Report = json::read(Format::CargoAudit, reader)?;
    if report.vulnerabilities.found && report.vulnerabilities.list.is_empty() {
        return Err(ReportError::malformed(Format::CargoAudit, "it says vulnerabilities were found and lists none"));
    }
    let mut tally = Tally::default();
    for Vulnerability { advisory } in report.vulnerabilities.list {
        if advisory.informational.is_none() {
            tally.add(advisory.cvss.as_deref().and_then(score_of), &format!("{} {}", advisory.id, advisory.package));
        }
    }
    // cargo-audit has always said how many packages it looked at; a report that does not has looked at none.
    Ok(tally.measures(report.lockfile.and_then(|lockfile| lockfile.dependency_count).unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advisories_are_counted_by_their_score() {
        let report = r#"{"database":{"advisory-count":1},"lockfile":{"dependency-count":12},"vulnerabilities":{"found":true,"count":4,"list":[
            {"advisory":{"id":"RUSTSEC-1","package":"low","cvss":"CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N","informational":null}},
            {"advisory":{"id":"RUSTSEC-2","package":"none","cvss":null}},
            {"advisory":{"id":"RUSTSEC-3","package":"high","cvss":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"},"package":{"name":"high"}},
            {"advisory":{"id":"RUSTSEC-4","package":"gone","informational":"unmaintained"}}]},"warnings":{"yanked":[{}]}}"#;
        let measures = read(report.as_bytes()).unwrap();
        let counts = ["critical", "high", "medium", "low", "total", "scanned"].map(|name| measures.get(name).unwrap());
        assert_eq!(counts, [1.0, 1.0, 0.0, 1.0, 3.0, 12.0]);
        assert_eq!(measures.notes, ["RUSTSEC-2 none (no score)", "RUSTSEC-3 high (7.5)", "RUSTSEC-1 low (1.6)"]);
    }

    #[test]
    fn a_report_without_the_packages_it_looked_at_has_looked_at_none() {
        let scanned = |lockfile: &str| {
            let report = format!(r#"{{{lockfile}"vulnerabilities":{{"found":false,"count":0,"list":[]}}}}"#);
            read(report.as_bytes()).unwrap().get("scanned")
        };
        assert_eq!(scanned(""), Some(0.0));
        assert_eq!(scanned(r#""lockfile":{},"#), Some(0.0));
        assert_eq!(scanned(r#""lockfile":{"dependency-count":12},"#), Some(12.0));
    }

    #[test]
    fn a_report_that_contradicts_itself_is_refused() {
        assert_eq!(read(&br#"{"vulnerabilities":{"found":true,"list":[]}}"#[..]).unwrap_err().code(), "malformed");
        assert_eq!(read(&br#"{"vulnerabilities":{"found":true}}"#[..]).unwrap_err().code(), "malformed");
    }
}
