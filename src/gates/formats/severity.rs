//! How bad a finding is. What has no score counts as critical: nobody has said that it is not.

use super::Measures;

/// How bad, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Critical,
    High,
    Medium,
    Low,
}

impl Severity {
    /// Returns the severity of a CVSS base score.
    pub fn of(score: Option<f64>) -> Self {
        match score {
            Some(score) if !(0.0..9.0).contains(&score) => Severity::Critical,
            Some(score) if score >= 7.0 => Severity::High,
            Some(score) if score >= 4.0 => Severity::Medium,
            Some(_) => Severity::Low,
            None => Severity::Critical,
        }
    }
}

/// Returns the score that a text gives: a number from 0 to 10, or a CVSS vector of version 3 or 4.
pub fn score_of(text: &str) -> Option<f64> {
    let text = text.trim();
    let score = match text.parse::<f64>() {
        Ok(score) => score,
        Err(_) => match text.parse::<cvss::Cvss>().ok()? {
            // The base score alone: a vector's temporal part is somebody's opinion of a day.
            cvss::Cvss::CvssV30(vector) | cvss::Cvss::CvssV31(vector) => {
                // The library gives an incomplete vector of version 3 the score 0; it has none.
                let has_exploit = vector.av.is_some() && vector.ac.is_some() && vector.pr.is_some() && vector.ui.is_some();
                let has_impact = vector.s.is_some() && vector.c.is_some() && vector.i.is_some() && vector.a.is_some();
                (has_exploit && has_impact).then(|| vector.base_score().value())?
            }
            other => other.score(),
        },
    };
    (0.0..=10.0).contains(&score).then_some(score)
}

/// Counts findings, and keeps the names of the worst.
#[derive(Default)]
pub struct Tally {
    counts: [u64; 4],
    worst: Vec<(Severity, String)>,
}

impl Tally {
    /// Counts one finding.
    pub fn add(&mut self, score: Option<f64>, name: &str) {
        let severity = Severity::of(score);
        self.counts[severity as usize] += 1;
        if self.counts[severity as usize] <= super::MAX_NOTES as u64 {
            let score = score.map_or("no score".to_owned(), |score| format!("{score:.1}"));
            self.worst.push((severity, format!("{} ({score})", name.chars().take(100).collect::<String>())));
        }
    }

    /// Returns the counts; `scanned` says how much was looked at, zero when nothing was.
    pub fn measures(mut self, scanned: f64) -> Measures {
        let [critical, high, medium, low] = self.counts.map(|count| count as f64);
        let total = critical + high + medium + low;
        let mut measures = Measures::of([
            ("critical", critical),
            ("high", high),
            ("medium", medium),
            ("low", low),
            ("total", total),
            ("scanned", scanned),
        ]);
        self.worst.sort_by_key(|(severity, _)| *severity);
        self.worst.iter().for_each(|(_, name)| measures.note(name));
        measures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_fall_into_the_bands_of_cvss() {
        for (score, severity) in [
            (Some(10.0), Severity::Critical),
            (Some(9.0), Severity::Critical),
            (Some(8.9), Severity::High),
            (Some(7.0), Severity::High),
            (Some(6.9), Severity::Medium),
            (Some(4.0), Severity::Medium),
            (Some(3.9), Severity::Low),
            (Some(0.0), Severity::Low),
            (Some(f64::NAN), Severity::Critical),
            (Some(-1.0), Severity::Critical),
            (None, Severity::Critical),
        ] {
            assert_eq!(Severity::of(score), severity, "{score:?}");
        }
    }

    #[test]
    fn scores_are_read_from_numbers_and_vectors() {
        for (text, score) in [
            ("9.8", Some(9.8)),
            (" 0 ", Some(0.0)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Some(9.8)),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Some(10.0)),
            ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H", Some(5.5)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", Some(6.1)),
            ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", Some(0.0)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", Some(9.3)),
            ("CVSS:3.1/AV:N", None),
            ("AV:N/AC:L/Au:N/C:P/I:P/A:P", None),
            ("NaN", None),
            ("11", None),
            ("-1", None),
            ("high", None),
            ("", None),
        ] {
            assert_eq!(score_of(text), score, "{text}");
        }
    }
}
