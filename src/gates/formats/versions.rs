//! How far packages are behind what is published. How much was compared is part of every answer: an empty list alone says nothing.

use super::Measures;

/// How many names of packages that were not compared are told.
const TOLD: usize = 3;

/// Returns the first number of a version: `8` of `8.3.2`, `v8.3.2` and `8`.
///
/// `None` where there is no number to go by: `git`, `latest`, `4584adb5`, and a version with an epoch (`1!2.0`), which counts anew.
pub fn major(version: &str) -> Option<u64> {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let number = version.split(['.', '-', '+', '_']).next().unwrap_or_default();
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Counts packages, and keeps the names of those furthest behind.
#[derive(Default)]
pub struct Tally {
    examined: u64,
    outdated: Vec<(u64, String)>,
    unknown: Vec<String>,
    left_out: Vec<String>,
}

impl Tally {
    /// Counts packages that were compared with what is published.
    pub fn examined(&mut self, count: u64) {
        self.examined += count;
    }

    /// Counts one package that has a newer release, so many majors further on.
    pub fn outdated(&mut self, majors_behind: u64, name: &str, current: &str, latest: &str) {
        self.outdated.push((majors_behind, format!("{} {}, newest {}", short(name), short(current), short(latest))));
    }

    /// Counts one package that could not be compared.
    pub fn unknown(&mut self, name: &str) {
        self.unknown.push(short(name));
    }

    /// Names one package that the project itself has left out of the comparison: whoever signs is told.
    pub fn left_out(&mut self, name: &str) {
        self.left_out.push(short(name));
    }

    /// Returns the counts. What could not be compared makes the whole report no answer: `examined` is zero then, and the note says why.
    pub fn measures(mut self) -> Measures {
        self.outdated.sort_by_key(|(majors_behind, _)| std::cmp::Reverse(*majors_behind));
        let furthest = self.outdated.first().map_or(0, |(majors_behind, _)| *majors_behind);
        let examined = if self.unknown.is_empty() { self.examined } else { 0 };
        let mut measures =
            Measures::of([("examined", examined as f64), ("outdated", self.outdated.len() as f64), ("majors_behind", furthest as f64)]);
        if !self.unknown.is_empty() {
            let all = self.examined + self.unknown.len() as u64;
            measures.note(&format!("{} of {all} could not be compared: {}", self.unknown.len(), some(&self.unknown)));
        }
        if !self.left_out.is_empty() {
            measures.note(&format!("{} left out by the tool's own configuration: {}", self.left_out.len(), some(&self.left_out)));
        }
        self.outdated.iter().for_each(|(_, told)| measures.note(told));
        measures
    }
}

fn some(names: &[String]) -> String {
    let more = if names.len() > TOLD { " …" } else { "" };
    format!("{}{more}", names[..names.len().min(TOLD)].join(", "))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_a_version_is_its_major() {
        for (version, expected) in [
            ("8.3.2", Some(8)),
            ("v14", Some(14)),
            ("0.8.5", Some(0)),
            ("2024.10.1", Some(2024)),
            ("1.0.0-rc.1", Some(1)),
            ("3-alpine", Some(3)),
            ("22.04", Some(22)),
            ("1!2.0", None),
            ("git", None),
            ("Removed", None),
            ("---", None),
            ("", None),
            ("v", None),
            ("4584adb5a5ea", None),
            ("+1", None),
            ("99999999999999999999999", None),
            ("-1", None),
        ] {
            assert_eq!(major(version), expected, "{version}");
        }
    }
}
