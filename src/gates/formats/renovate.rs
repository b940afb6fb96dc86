//! The report of Renovate (`--report-type=file`), which names every dependency of every ecosystem it knows with what is newer. One
//! without updates was compared, or left out, or could not be looked up: only its other fields tell which.

use super::{
    Format, Measures, ReportError, json,
    versions::{Tally, major},
};
use serde::{Deserialize, de::IgnoredAny};
use std::{collections::BTreeMap, io::Read};

/// Bunyan's level of an error, which Renovate logs by: it ends with exit code 0 all the same, and may have looked at nothing.
const ERROR: f64 = 50.0;

/// Why a dependency is left out without a loss: it is published nowhere. Any other reason but [`UNWANTED`] is one why Renovate could
/// not tell.
const UNPUBLISHED: [&str; 8] =
    ["file", "file-dependency", "inherited-dependency", "internal-package", "local", "local-chart", "local-dependency", "path-dependency"];

/// Why one is left out that the repository's configuration names.
const UNWANTED: [&str; 3] = ["disabled", "ignored", "package-rules"];

/// What is no newer release: a range or digest written out, a lock file renewed.
const NO_RELEASE: [&str; 4] = ["pin", "pinDigest", "lockFileMaintenance", "bump"];

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    problems: Vec<Problem>,
    repositories: BTreeMap<String, Repository>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repository {
    #[serde(default)]
    problems: Vec<Problem>,
    package_files: BTreeMap<String, Vec<PackageFile>>,
}

#[derive(Deserialize)]
struct Problem {
    level: f64,
    #[serde(default)]
    msg: String,
}

#[derive(Deserialize)]
struct PackageFile {
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    dep_name: Option<String>,
    current_version: Option<String>,
    current_digest: Option<IgnoredAny>,
    skip_reason: Option<String>,
    warnings: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    updates: Vec<Update>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    #[serde(default)]
    update_type: String,
    new_version: Option<String>,
    new_major: Option<f64>,
}

/// Returns `examined`, `outdated`, and `majors_behind`: by how many majors the furthest is behind.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let report: Report = json::read(Format::Renovate, reader)?;
    let mut tally = Tally::default();
    let problems = report.problems.iter().chain(report.repositories.values().flat_map(|repository| &repository.problems));
    for problem in problems.filter(|problem| problem.level >= ERROR) {
        tally.unknown(&problem.msg);
    }
    let files = report.repositories.values().flat_map(|repository| repository.package_files.values().flatten());
    for dependency in files.flat_map(|file| &file.deps) {
        dependency.count(&mut tally);
    }
    Ok(tally.measures())
}

impl Dependency {
    fn count(&self, tally: &mut Tally) {
        let name = self.dep_name.as_deref().unwrap_or("one without a name");
        match self.skip_reason.as_deref() {
            Some(reason) if UNPUBLISHED.contains(&reason) => return,
            Some(reason) if UNWANTED.contains(&reason) => return tally.left_out(name),
            Some(reason) => return tally.unknown(&format!("{name} ({reason})")),
            None => (),
        }
        // Warnings are there, and none, only when the registry was asked and answered.
        let was_looked_up = self.warnings.as_ref().is_some_and(Vec::is_empty);
        if !was_looked_up || (self.current_version.is_none() && self.current_digest.is_none()) {
            return tally.unknown(name);
        }
        let newer: Vec<&Update> = self.updates.iter().filter(|update| !NO_RELEASE.contains(&update.update_type.as_str())).collect();
        let behind: Option<Vec<u64>> = newer.iter().map(|update| self.majors_behind(update)).collect();
        let Some(behind) = behind else { return tally.unknown(name) };
        tally.examined(1);
        if let Some((majors_behind, update)) = behind.into_iter().zip(newer).max_by_key(|(majors_behind, _)| *majors_behind) {
            let (current, latest) = (self.current_version.as_deref(), update.new_version.as_deref());
            tally.outdated(majors_behind, name, current.unwrap_or("a digest"), latest.unwrap_or(&update.update_type));
        }
    }

    /// Returns by how many majors an update is further on; `None` when it is by an unknown number.
    fn majors_behind(&self, update: &Update) -> Option<u64> {
        if update.update_type != "major" {
            return Some(0);
        }
        // Some schemes call more than the first number the major: Ubuntu's 22.04 and 24.04 are two apart.
        let newest = update.new_major.filter(|newest| (0.0..1e15).contains(newest))? as u64;
        Some(newest.saturating_sub(major(self.current_version.as_deref()?)?).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(dependencies: &str) -> String {
        format!(
            r#"{{"problems":[],"repositories":{{"local":{{"problems":[],"branches":[],"packageFiles":{{"npm":[{{"deps":[{dependencies}]}}]}}}}}}}}"#
        )
    }

    fn counts(report: &str) -> [f64; 3] {
        let measures = read(report.as_bytes()).unwrap();
        ["examined", "outdated", "majors_behind"].map(|name| measures.get(name).unwrap())
    }

    const CURRENT: &str = r#"{"depName":"ms","currentVersion":"2.1.3","warnings":[],"updates":[]}"#;

    #[test]
    fn an_update_counts_by_how_far_it_is() {
        let uuid = |updates: &str| format!(r#"{{"depName":"uuid","currentVersion":"8.3.2","warnings":[],"updates":[{updates}]}}"#);
        let of = |updates: &str| counts(&report(&format!("{CURRENT},{}", uuid(updates))));
        assert_eq!(of(""), [2.0, 0.0, 0.0]);
        assert_eq!(of(r#"{"updateType":"patch","newMajor":8,"newVersion":"8.3.4"}"#), [2.0, 1.0, 0.0]);
        let both = r#"{"updateType":"major","newMajor":14,"newVersion":"14.0.3"},{"updateType":"patch","newMajor":8}"#;
        assert_eq!(of(both), [2.0, 1.0, 6.0]);
        assert_eq!(read(report(&uuid(both)).as_bytes()).unwrap().notes, ["uuid 8.3.2, newest 14.0.3"]);
        for none in NO_RELEASE {
            assert_eq!(of(&format!(r#"{{"updateType":"{none}"}}"#)), [2.0, 0.0, 0.0], "{none}");
        }
        // What is replaced or was taken out of its registry has no newer release of its own, and is out of date.
        for other in ["replacement", "rollback", "digest", "one of tomorrow"] {
            assert_eq!(of(&format!(r#"{{"updateType":"{other}"}}"#)), [2.0, 1.0, 0.0], "{other}");
        }
        let ubuntu = r#"{"depName":"ubuntu","currentVersion":"22.04","warnings":[],"updates":[{"updateType":"major","newMajor":24.04}]}"#;
        assert_eq!(counts(&report(ubuntu)), [1.0, 1.0, 2.0]);
        let digest = r#"{"depName":"checkout","currentDigest":"4584adb","warnings":[],"updates":[]}"#;
        assert_eq!(counts(&report(digest)), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn what_was_not_looked_up_is_no_answer() {
        for unknown in [
            r#"{"depName":"a","currentVersion":"1.0.0","updates":[],"warnings":[{"topic":"a","message":"Failed to look up npm package a"}]}"#,
            r#"{"depName":"a","currentVersion":"1.0.0","updates":[]}"#,
            r#"{"depName":"a","updates":[],"warnings":[]}"#,
            r#"{"depName":"a","updates":[],"skipReason":"github-token-required"}"#,
            r#"{"depName":"a","updates":[],"skipReason":"a reason of tomorrow"}"#,
            r#"{"depName":"a","currentVersion":"jammy","warnings":[],"updates":[{"updateType":"major","newMajor":24}]}"#,
            r#"{"depName":"a","currentVersion":"1.0.0","warnings":[],"updates":[{"updateType":"major"}]}"#,
            "{}",
        ] {
            let text = report(&format!("{CURRENT},{unknown}"));
            assert_eq!(counts(&text)[0], 0.0, "{unknown}");
            assert!(read(text.as_bytes()).unwrap().notes[0].starts_with("1 of 2 could not be compared: "), "{unknown}");
        }
        let skipped = |reason: &str| report(&format!(r#"{CURRENT},{{"depName":"a","updates":[],"skipReason":"{reason}"}}"#));
        let notes = |reason: &str| read(skipped(reason).as_bytes()).unwrap().notes;
        assert!(UNPUBLISHED.iter().chain(&UNWANTED).all(|reason| counts(&skipped(reason)) == [1.0, 0.0, 0.0]));
        // What the repository itself keeps out of sight, whoever signs is told.
        assert!(UNPUBLISHED.iter().all(|reason| notes(reason).is_empty()));
        assert!(UNWANTED.iter().all(|reason| notes(reason) == ["1 left out by the tool's own configuration: a"]));
        // Nothing but what is left out is nothing.
        assert_eq!(counts(&report(r#"{"depName":"a","updates":[],"skipReason":"ignored"}"#))[0], 0.0);
        assert_eq!(counts(r#"{"problems":[],"repositories":{}}"#)[0], 0.0);
    }

    #[test]
    fn a_run_with_an_error_is_no_answer() {
        let with = |level: u32| report(CURRENT).replacen("\"problems\":[]", &format!(r#""problems":[{{"level":{level},"msg":"no"}}]"#), 1);
        assert_eq!((counts(&with(40))[0], counts(&with(50))[0], counts(&with(60))[0]), (1.0, 0.0, 0.0));
        let inside = report(CURRENT).replace(r#""problems":[],"branches""#, r#""problems":[{"level":50,"msg":"no"}],"branches""#);
        assert_eq!(counts(&inside)[0], 0.0);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for none in [r#"{"repositories":[]}"#, r#"{"repositories":{"local":{}}}"#, r#"{"outdated":[],"examined":4,"tool":"npm"}"#] {
            assert_eq!(read(none.as_bytes()).unwrap_err().code(), "malformed", "{none}");
        }
    }
}
