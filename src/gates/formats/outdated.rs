//! A small format of our own, for tools whose lists of outdated packages do not say how many they looked at: `npm outdated --json`
//! prints `{}` when everything is current, and when nothing was looked at.
//!
//! `{"tool": "npm", "examined": 42, "outdated": [{"name": "uuid", "current": "8.3.2", "latest": "14.0.3"}]}`; and, where the tool
//! says so, `"unknown": ["…"]` for what it could not compare, and `"withdrawn": [{"name": "…"}]` for what was yanked or is kept by
//! nobody. `docs/outdated.md` has a line for each of npm, pip and cargo that writes it.

use super::{
    Format, Measures, ReportError, json,
    versions::{Tally, major},
};
use serde::Deserialize;
use std::io::Read;

/// An unknown field is refused: it may be a misspelt one that would have said that something is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    tool: String,
    examined: u64,
    outdated: Vec<Package>,
    #[serde(default)]
    unknown: Vec<String>,
    withdrawn: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    current: Option<String>,
    latest: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Returns `examined`, `outdated`, `majors_behind`: by how many majors the furthest is behind; and `withdrawn`, where it is said.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let report: Report = json::read(Format::Outdated, reader)?;
    let malformed = |fault: String| ReportError::malformed(Format::Outdated, fault);
    if report.tool.trim().is_empty() {
        return Err(malformed("`tool` is empty, and names what compared".into()));
    }
    let named = [("outdated", report.outdated.len()), ("withdrawn", report.withdrawn.as_ref().map_or(0, Vec::len))];
    if let Some((list, count)) = named.into_iter().find(|(_, count)| *count as u64 > report.examined) {
        return Err(malformed(format!("`{list}` names {count} packages, and `examined` is {}", report.examined)));
    }
    let mut tally = Tally::default();
    tally.examined(report.examined);
    for Package { name, current, latest } in &report.outdated {
        let version = |field: &str, version: &Option<String>| {
            let version = version.clone().ok_or_else(|| malformed(format!("`{name}` is outdated and has no `{field}`")))?;
            let major = major(&version).ok_or_else(|| malformed(format!("`{field}` of `{name}` is `{version}`, which is no version")))?;
            Ok((version, major))
        };
        let ((current, used), (latest, newest)) = (version("current", current)?, version("latest", latest)?);
        if current == latest {
            return Err(malformed(format!("`{name}` is outdated, and both `current` and `latest` are `{current}`")));
        }
        tally.outdated(newest.saturating_sub(used), name, &current, &latest);
    }
    report.unknown.iter().for_each(|name| tally.unknown(name));
    let mut measures = tally.measures();
    if let Some(withdrawn) = &report.withdrawn {
        measures.set("withdrawn", withdrawn.len() as f64);
        withdrawn.iter().for_each(|package| measures.note(&format!("{} was withdrawn", package.name)));
    }
    Ok(measures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(report: &str) -> [Option<f64>; 4] {
        let measures = read(report.as_bytes()).unwrap();
        ["examined", "outdated", "majors_behind", "withdrawn"].map(|name| measures.get(name))
    }

    #[test]
    fn the_furthest_behind_is_counted_in_majors() {
        let uuid = r#"{"name":"uuid","current":"8.3.2","latest":"14.0.3","wanted":"8.3.2"}"#;
        let ahead = r#"{"name":"ms","current":"3.0.0-canary.1","latest":"2.1.3"}"#;
        assert_eq!(counts(r#"{"tool":"npm","examined":42,"outdated":[]}"#), [Some(42.0), Some(0.0), Some(0.0), None]);
        let both = format!(r#"{{"tool":"npm","examined":42,"outdated":[{ahead},{uuid}],"withdrawn":[]}}"#);
        assert_eq!(counts(&both), [Some(42.0), Some(2.0), Some(6.0), Some(0.0)]);
        assert_eq!(read(both.as_bytes()).unwrap().notes, ["uuid 8.3.2, newest 14.0.3", "ms 3.0.0-canary.1, newest 2.1.3"]);
        let gone = r#"{"tool":"npm","examined":2,"outdated":[],"withdrawn":[{"name":"left-pad","why":"use String.padStart"}]}"#;
        assert_eq!(counts(gone), [Some(2.0), Some(0.0), Some(0.0), Some(1.0)]);
    }

    #[test]
    fn what_could_not_be_compared_is_no_answer() {
        let report = r#"{"tool":"pip","examined":40,"outdated":[],"unknown":["a","b","c","d"]}"#;
        assert_eq!(counts(report)[0], Some(0.0));
        assert_eq!(read(report.as_bytes()).unwrap().notes, ["4 of 44 could not be compared: a, b, c …"]);
        assert_eq!(counts(r#"{"tool":"pip","examined":0,"outdated":[]}"#)[0], Some(0.0));
    }

    #[test]
    fn what_contradicts_itself_or_says_too_little_is_refused_and_says_why() {
        let fault = |report: &str| {
            let err = read(report.as_bytes()).unwrap_err();
            assert_eq!(err.code(), "malformed", "{report}");
            err.to_string()
        };
        let one = |fields: &str| format!(r#"{{"tool":"npm","examined":9,"outdated":[{{"name":"uuid"{fields}}}]}}"#);
        for (report, expected) in [
            (r#"{"tool":"npm","outdated":[]}"#.to_owned(), "missing field `examined`"),
            (r#"{"examined":4,"outdated":[]}"#.to_owned(), "missing field `tool`"),
            (r#"{"tool":" ","examined":4,"outdated":[]}"#.to_owned(), "`tool` is empty"),
            (r#"{"tool":"npm","examined":4}"#.to_owned(), "missing field `outdated`"),
            (r#"{"tool":"npm","examined":-1,"outdated":[]}"#.to_owned(), "invalid value: integer `-1`"),
            (r#"{"tool":"npm","examined":"4","outdated":[]}"#.to_owned(), "invalid type: string \"4\""),
            (r#"{"tool":"npm","examined":4,"outdated":{}}"#.to_owned(), "expected a sequence"),
            (r#"{"tool":"npm","examined":4,"outdated":[],"unkown":["a"]}"#.to_owned(), "unknown field `unkown`"),
            (r#"{"tool":"npm","examined":0,"outdated":[{"name":"a","current":"1","latest":"2"}]}"#.to_owned(), "`examined` is 0"),
            (r#"{"tool":"npm","examined":0,"outdated":[],"withdrawn":[{"name":"a"}]}"#.to_owned(), "`withdrawn` names 1 packages"),
            // What npm prints instead of a list when its registry does not answer, and of what is not installed.
            (one(r#","summary":"request failed""#), "`uuid` is outdated and has no `current`"),
            (one(r#","current":null,"latest":"14.0.3""#), "`uuid` is outdated and has no `current`"),
            (one(r#","current":"8.3.2""#), "`uuid` is outdated and has no `latest`"),
            (one(r#","current":"8.3.2","latest":"Removed""#), "`latest` of `uuid` is `Removed`, which is no version"),
            (one(r#","current":"8.3.2","latest":"8.3.2""#), "both `current` and `latest` are `8.3.2`"),
        ] {
            let told = fault(&report);
            assert!(told.contains(expected), "not `{expected}`: {told}");
        }
    }
}
