//! Reports read into numbers. Bounded memory whatever arrives; percentages are recomputed from counts where there are counts.
//!
//! To add a format: a file with `read(reader) -> Result<Measures, ReportError>`, a variant of [`Format`], one match arm.

pub mod cargo_audit;
mod json;
pub mod junit;
pub mod k6;
pub mod lcov;
pub mod oha;
pub mod outdated;
pub mod renovate;
pub mod sarif;
mod severity;
mod versions;

pub use crate::config::ReportFormat as Format;

use crate::model::{GateName, text::visible_line};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

/// The largest report that is read.
pub const MAX_REPORT_BYTES: u64 = 32 * 1024 * 1024;

const MAX_NOTES: usize = 5;

impl Format {
    /// Returns the formats that can feed a gate; none for a gate that reads no report.
    pub fn natural(gate: &GateName) -> &'static [Format] {
        match gate.as_str() {
            "tests" => &[Format::Junit],
            "coverage" => &[Format::Lcov],
            "vulnerabilities" => &[Format::Sarif, Format::CargoAudit],
            "load" => &[Format::K6, Format::Oha],
            "outdated" => &[Format::Renovate, Format::Outdated],
            _ => &[],
        }
    }

    /// Returns the names of the measures this format yields, for configuration to check thresholds against.
    pub fn measures(self) -> &'static [&'static str] {
        match self {
            Format::Junit => &["run", "failed", "skipped", "flaky"],
            Format::Lcov => &["lines", "lines_hit", "lines_percent"],
            Format::Sarif | Format::CargoAudit => &["critical", "high", "medium", "low", "total", "scanned"],
            Format::K6 | Format::Oha => &["p95_ms", "error_percent", "requests"],
            Format::Renovate => &["examined", "outdated", "majors_behind"],
            Format::Outdated => &["examined", "outdated", "majors_behind", "withdrawn"],
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Junit => "junit",
            Format::Lcov => "lcov",
            Format::Sarif => "sarif",
            Format::CargoAudit => "cargo-audit",
            Format::K6 => "k6",
            Format::Oha => "oha",
            Format::Renovate => "renovate",
            Format::Outdated => "outdated",
        })
    }
}

/// What a report says in numbers, with a few short notes for people: the first failed tests, the worst advisories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Every measure by name; a value is always finite.
    pub values: BTreeMap<String, f64>,
    /// At most five lines, made safe to show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Measures {
    /// Returns a measure.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    fn of<const N: usize>(values: [(&str, f64); N]) -> Self {
        Measures { values: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), notes: Vec::new() }
    }

    fn set(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_owned(), value);
    }

    fn note(&mut self, text: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(visible_line(text, 120));
        }
    }
}

/// Why a report cannot be read. The text is safe to show and is what an `inconclusive` verdict says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It has more than 32 MiB.
    #[error("the report is larger than {} MiB", MAX_REPORT_BYTES / 1024 / 1024)]
    TooLarge,
    /// It is nested deeper than any real report.
    #[error("the report is nested deeper than {0} levels")]
    TooDeep(usize),
    /// It holds more entries than any real report.
    #[error("the report holds more than {0} entries")]
    TooMany(usize),
    /// It is not what the format says, or ends in the middle.
    #[error("the report is no {format} report: {fault}")]
    Malformed {
        /// The format it was read as.
        format: Format,
        /// What does not fit.
        fault: String,
    },
    /// Its bytes could not be read.
    #[error("the report cannot be read: {0}")]
    Unreadable(String),
}

impl ReportError {
    /// Returns the error in one word: `too_large`, `too_deep`, `too_many`, `malformed`, `unreadable`.
    pub fn code(&self) -> &'static str {
        match self {
            ReportError::TooLarge => "too_large",
            ReportError::TooDeep(_) => "too_deep",
            ReportError::TooMany(_) => "too_many",
            ReportError::Malformed { .. } => "malformed",
            ReportError::Unreadable(_) => "unreadable",
        }
    }

    fn malformed(format: Format, fault: impl fmt::Display) -> Self {
        ReportError::Malformed { format, fault: visible_line(&fault.to_string(), 200) }
    }

    fn of_io(cause: &io::Error) -> Self {
        match cause.get_ref().is_some_and(|inner| inner.is::<PastLimit>()) {
            true => ReportError::TooLarge,
            false => ReportError::Unreadable(visible_line(&cause.to_string(), 200)),
        }
    }
}

/// Returns what a report says.
pub fn read_report(format: Format, bytes: &[u8]) -> Result<Measures, ReportError> {
    read_from(format, bytes)
}

/// Returns what a report says, reading no more than [`MAX_REPORT_BYTES`] of it.
pub fn read_from(format: Format, reader: impl Read) -> Result<Measures, ReportError> {
    match format {
        Format::Junit => junit::read(reader),
        Format::Lcov => lcov::read(reader),
        Format::Sarif => sarif::read(reader),
        Format::CargoAudit => cargo_audit::read(reader),
        Format::K6 => k6::read(reader),
        Format::Oha => oha::read(reader),
        Format::Renovate => renovate::read(reader),
        Format::Outdated => outdated::read(reader),
    }
}

/// Returns what a report says and which of `formats` it is: for evidence that is handed over without naming its format.
pub fn read_any(formats: &[Format], bytes: &[u8]) -> Result<(Format, Measures), ReportError> {
    let mut faults = Vec::new();
    for format in formats {
        match read_report(*format, bytes) {
            Ok(measures) => return Ok((*format, measures)),
            Err(err) => faults.push(err),
        }
    }
    // A limit says more than "not this format"; otherwise the first format's complaint stands for all.
    let limit = faults.iter().position(|fault| !matches!(fault, ReportError::Malformed { .. })).unwrap_or(0);
    Err(match faults.is_empty() {
        true => ReportError::Unreadable("no format is known for this kind of evidence".into()),
        false => faults.swap_remove(limit),
    })
}

#[derive(Debug, thiserror::Error)]
#[error("past the limit")]
struct PastLimit;

/// A reader that fails, instead of ending, once more than the limit has been read.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Limited<R> {
    fn new(inner: R) -> Self {
        Limited { inner, left: MAX_REPORT_BYTES }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One more than is left, so that a report of exactly the limit ends well.
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX).saturating_add(1));
        let count = self.inner.read(&mut buffer[..room])?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(PastLimit))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Format; 8] =
        [Format::Junit, Format::Lcov, Format::Sarif, Format::CargoAudit, Format::K6, Format::Oha, Format::Renovate, Format::Outdated];

    #[test]
    fn formats_are_named_as_in_configuration() {
        for format in ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.to_string());
        }
        assert_eq!(Format::natural(&"vulnerabilities".into()), [Format::Sarif, Format::CargoAudit]);
        assert!(Format::natural(&"freeze".into()).is_empty());
    }

    #[test]
    fn an_endless_report_is_refused_and_not_read_on() {
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b' ');
                self.0 += buffer.len() as u64;
                assert!(self.0 < 2 * MAX_REPORT_BYTES, "read on past the limit");
                Ok(buffer.len())
            }
        }
        for format in ALL {
            assert_eq!(read_from(format, Endless(0)).unwrap_err().code(), "too_large", "{format}");
        }
    }

    #[test]
    fn garbage_is_an_error_in_every_format_and_never_a_panic() {
        for format in ALL {
            for garbage in [&b"hello"[..], b"\xff\xfe\x00", b"{", b"<", b"[]", b"null", b"{}", b"<html></html>", b"\0\0\0", b"-1"] {
                let err = read_report(format, garbage).expect_err(&format!("{format} {garbage:?}"));
                assert_eq!(err.code(), "malformed", "{format} {garbage:?}");
            }
        }
    }

    #[test]
    fn the_format_of_evidence_is_found() {
        let audit = br#"{"vulnerabilities":{"found":false,"count":0,"list":[]}}"#;
        assert_eq!(read_any(Format::natural(&"vulnerabilities".into()), audit).unwrap().0, Format::CargoAudit);
        assert_eq!(read_any(Format::natural(&"vulnerabilities".into()), b"{}").unwrap_err().code(), "malformed");
        assert_eq!(read_any(&[], b"{}").unwrap_err().code(), "unreadable");
    }
}
