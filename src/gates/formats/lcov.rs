//! LCOV. Lines are counted from the `DA` records, a file that is listed twice once; `LF` and `LH` count only where there are none.

use super::{Format, Limited, Measures, ReportError};
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Read},
};

const MAX_FILES: usize = 200_000;
const KNOWN: [&str; 15] = ["TN", "VER", "FN", "FNDA", "FNF", "FNH", "FNL", "FNA", "BRDA", "BRF", "BRH", "MCDC", "MCF", "MCH", "BA"];

#[derive(Default)]
struct Record {
    file: String,
    has_lines: bool,
    found: u64,
    hit: u64,
}

/// Returns `lines`, `lines_hit` and, when there are lines, `lines_percent`.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let mut reader = BufReader::new(Limited::new(reader));
    let mut files: HashMap<String, BTreeMap<u32, bool>> = HashMap::new();
    let (mut found, mut hit) = (0, 0);
    let (mut record, mut line, mut number): (Option<Record>, _, _) = (None, Vec::new(), 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(|cause| ReportError::of_io(&cause))? == 0 {
            break;
        }
        number += 1;
        let malformed = |fault: &str| ReportError::malformed(Format::Lcov, format!("line {number} {fault}"));
        let text = std::str::from_utf8(&line).map_err(|_| malformed("is not UTF-8"))?.trim_start_matches('\u{feff}').trim();
        let (key, value) = text.split_once(':').unwrap_or((text, ""));
        match (key, &mut record) {
            ("", _) if value.is_empty() => {}
            (comment, _) if comment.starts_with('#') => {}
            ("SF", Some(_)) => return Err(malformed("starts a file inside another")),
            ("SF", none) => *none = Some(Record { file: value.to_owned(), ..Record::default() }),
            ("DA", Some(record)) => {
                let (at, count) = line_count(value).ok_or_else(|| malformed("has no line number and count"))?;
                if !files.contains_key(&record.file) {
                    files.insert(record.file.clone(), BTreeMap::new());
                }
                let lines = files.get_mut(&record.file).expect("the file was just inserted");
                *lines.entry(at).or_default() |= count > 0.0;
                record.has_lines = true;
            }
            ("LF", Some(record)) => record.found = value.parse().map_err(|_| malformed("has no number"))?,
            ("LH", Some(record)) => record.hit = value.parse().map_err(|_| malformed("has no number"))?,
            ("end_of_record", open) => {
                let record = open.take().ok_or_else(|| malformed("ends a file that was not started"))?;
                if !record.has_lines {
                    if record.hit > record.found {
                        return Err(malformed("ends a file with more lines hit than found"));
                    }
                    (found, hit) = (found + record.found, hit + record.hit);
                }
            }
            (known, _) if KNOWN.contains(&known) => {}
            _ => return Err(malformed("is no LCOV record")),
        }
        if files.len() > MAX_FILES {
            return Err(ReportError::TooMany(MAX_FILES));
        }
    }
    if record.is_some() {
        return Err(ReportError::malformed(Format::Lcov, "it ends in the middle"));
    }
    for lines in files.values() {
        found += lines.len() as u64;
        hit += lines.values().filter(|is_hit| **is_hit).count() as u64;
    }
    let mut measures = Measures::of([("lines", found as f64), ("lines_hit", hit as f64)]);
    if found > 0 {
        measures.set("lines_percent", 100.0 * hit as f64 / found as f64);
    }
    Ok(measures)
}

/// Reads `line,count[,checksum]`; a count may be huge, or negative where gcov has lost count.
fn line_count(value: &str) -> Option<(u32, f64)> {
    let mut parts = value.split(',');
    let (line, count) = (parts.next()?.trim().parse().ok()?, parts.next()?.trim().parse::<f64>().ok()?);
    count.is_finite().then_some((line, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Option<f64> {
        read(text.as_bytes()).unwrap().get("lines_percent")
    }

    #[test]
    fn lines_are_counted_and_totals_are_not_believed() {
        assert_eq!(percent("SF:a.rs\nDA:1,1\nDA:2,0\nDA:3,5,checksum\nDA:4,0\nLF:4\nLH:4\nend_of_record\n"), Some(50.0));
        assert_eq!(percent("TN:\r\nSF:a.rs\r\nFN:1,main\r\nFNDA:1,main\r\nDA:1,99999999999999\r\nend_of_record\r\n"), Some(100.0));
    }

    #[test]
    fn a_file_listed_twice_counts_once() {
        assert_eq!(percent("SF:a\nDA:1,0\nDA:2,1\nend_of_record\nSF:a\nDA:1,3\nDA:2,0\nend_of_record"), Some(100.0));
    }

    #[test]
    fn totals_stand_in_where_there_are_no_lines() {
        assert_eq!(percent("SF:a\nLF:10\nLH:8\nend_of_record\nSF:b\nDA:1,0\nDA:2,0\nLF:2\nLH:2\nend_of_record"), Some(800.0 / 12.0));
    }

    #[test]
    fn nothing_measured_is_no_percentage() {
        for empty in ["", "\n\n", "TN:x\nSF:a\nend_of_record"] {
            assert_eq!((percent(empty), read(empty.as_bytes()).unwrap().get("lines")), (None, Some(0.0)));
        }
    }

    #[test]
    fn broken_files_name_the_line() {
        for (text, fault) in [
            ("SF:a\nDA:x,1\nend_of_record", "line 2"),
            ("SF:a\nDA:1\nend_of_record", "line 2"),
            ("SF:a\nDA:1,NaN\nend_of_record", "line 2"),
            ("SF:a\nDA:1,1\n", "middle"),
            ("DA:1,1\n", "line 1"),
            ("SF:a\nLF:1\nLH:2\nend_of_record", "line 4"),
            ("<html>", "line 1"),
        ] {
            assert!(read(text.as_bytes()).unwrap_err().to_string().contains(fault), "{text}");
        }
    }
}
