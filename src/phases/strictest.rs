//! Several files may ask for the same gate: the strictest threshold of each measure counts, and says who asked.

use crate::model::Comparator;
use std::{collections::BTreeMap, fmt};

/// Two files ask for opposite things of one measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Contradiction {
    /// The measure.
    pub measure: String,
    /// What one asks, and who.
    pub one: (Comparator, String),
    /// What the other asks, and who.
    pub other: (Comparator, String),
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contradiction { measure, one, other } = self;
        write!(f, "`{measure} {}` of {} contradicts `{measure} {}` of {}", other.0, other.1, one.0, one.1)
    }
}

/// Returns the strictest threshold per measure with the file that asked, or every contradiction.
///
/// `asked` names each file with its thresholds (phase, environment, `[gates]`); of equal thresholds the first one's name stays.
pub fn strictest(asked: &[(&str, &BTreeMap<String, Comparator>)]) -> Result<BTreeMap<String, (Comparator, String)>, Vec<Contradiction>> {
    let mut found: BTreeMap<String, (Comparator, String)> = BTreeMap::new();
    let mut contradictions = Vec::new();
    for (by, thresholds) in asked {
        for (measure, threshold) in *thresholds {
            let asking = (*threshold, (*by).to_owned());
            match found.get(measure).map(|one| (one, one.0.strictest(*threshold))) {
                None => drop(found.insert(measure.clone(), asking)),
                Some((one, None)) => contradictions.push(Contradiction { measure: measure.clone(), one: one.clone(), other: asking }),
                Some((one, Some(strict))) if strict == one.0 => (),
                Some(_) => drop(found.insert(measure.clone(), asking)),
            }
        }
    }
    if contradictions.is_empty() { Ok(found) } else { Err(contradictions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds(pairs: &[(&str, &str)]) -> BTreeMap<String, Comparator> {
        pairs.iter().map(|(measure, text)| (measure.to_string(), text.parse().unwrap())).collect()
    }

    #[test]
    fn the_strictest_counts_and_says_who_asked() {
        let phase = thresholds(&[("p95_ms", "<= 500")]);
        let environment = thresholds(&[("p95_ms", "<= 200"), ("requests", ">= 100")]);
        let feed = thresholds(&[("p95_ms", "<= 200"), ("error_percent", "<= 1")]);
        let found = strictest(&[("phase phase-06", &phase), ("environments.production.gates", &environment), ("gates", &feed)]).unwrap();
        let shown: Vec<String> = found.iter().map(|(measure, (threshold, by))| format!("{measure} {threshold} {by}")).collect();
        assert_eq!(
            shown,
            ["error_percent <= 1 gates", "p95_ms <= 200 environments.production.gates", "requests >= 100 environments.production.gates"]
        );
    }

    #[test]
    fn contradictions_are_told_with_both_sides() {
        let (one, other) = (thresholds(&[("run", ">= 1")]), thresholds(&[("run", "<= 0")]));
        let told = strictest(&[("phase phase-06", &one), ("gates", &other)]).unwrap_err();
        assert_eq!(told[0].to_string(), "`run <= 0` of gates contradicts `run >= 1` of phase phase-06");
    }
}
