//! JUnit XML. There is no official schema, so only what the known writers agree on is read, and the test cases are counted: the
//! totals in a suite's attributes are somebody's claim. A case that passed at last after failing (`flakyFailure`) passed.

use super::{Format, Limited, Measures, ReportError};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use std::io::{BufReader, Read};

/// Real reports nest suites a few levels deep.
const MAX_DEPTH: usize = 64;

/// Returns `run` (executed), `failed`, `skipped` and `flaky`.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let mut xml = Reader::from_reader(BufReader::new(Limited::new(reader)));
    xml.config_mut().expand_empty_elements = true;
    let (mut counts, mut buffer, mut depth, mut has_root) = (Counts::default(), Vec::new(), 0, false);
    loop {
        buffer.clear();
        match xml.read_event_into(&mut buffer).map_err(|cause| of_xml(&cause))? {
            Event::Start(element) => {
                if depth == 0 && (has_root || !matches!(element.local_name().into_inner(), "testsuites" | "testsuite")) {
                    return Err(malformed("its root is not one `testsuites` or `testsuite`"));
                }
                (has_root, depth) = (true, depth + 1);
                if depth > MAX_DEPTH {
                    return Err(ReportError::TooDeep(MAX_DEPTH));
                }
                counts.open(&element, depth)?;
            }
            Event::End(_) => {
                counts.close(depth);
                depth -= 1;
            }
            Event::DocType(_) => return Err(malformed("a DOCTYPE is refused")),
            Event::GeneralRef(reference) => {
                let is_known = matches!(&*reference.borrow().into_inner(), "lt" | "gt" | "amp" | "quot" | "apos")
                    || matches!(reference.resolve_char_ref(), Ok(Some(_)));
                if !is_known {
                    return Err(malformed("it uses an entity of its own"));
                }
            }
            Event::Eof if depth > 0 => return Err(malformed("it ends in the middle")),
            Event::Eof if !has_root => return Err(malformed("it is empty")),
            Event::Eof => return Ok(counts.measures()),
            _ => {}
        }
    }
}

/// What became of one test case, best first: the worst of its elements counts.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Outcome {
    Passed,
    Flaky,
    Skipped,
    Failed,
}

struct Case {
    depth: usize,
    name: String,
    outcome: Outcome,
}

#[derive(Default)]
struct Counts {
    case: Option<Case>,
    run: u64,
    failed: u64,
    skipped: u64,
    flaky: u64,
    failures: Vec<String>,
}

impl Counts {
    fn open(&mut self, element: &BytesStart<'_>, depth: usize) -> Result<(), ReportError> {
        let outcome = match element.local_name().into_inner() {
            "testcase" if self.case.is_some() => return Err(malformed("a `testcase` stands in another")),
            "testcase" => {
                self.case = Some(case(element, depth)?);
                return Ok(());
            }
            // A rerun stands beside the `failure` of a case that never passed.
            "failure" | "error" | "rerunFailure" | "rerunError" => Outcome::Failed,
            "skipped" => Outcome::Skipped,
            "flakyFailure" | "flakyError" => Outcome::Flaky,
            _ => return Ok(()),
        };
        match &mut self.case {
            Some(case) if case.depth + 1 == depth && case.outcome < outcome => case.outcome = outcome,
            Some(_) => {}
            // A suite that could not be set up has no case to blame.
            None if outcome == Outcome::Failed => self.fail("a whole suite".to_owned()),
            None => {}
        }
        Ok(())
    }

    fn close(&mut self, depth: usize) {
        let Some(case) = self.case.take_if(|case| case.depth == depth) else { return };
        match case.outcome {
            Outcome::Skipped => self.skipped += 1,
            Outcome::Passed => self.run += 1,
            Outcome::Flaky => {
                self.run += 1;
                self.flaky += 1;
            }
            Outcome::Failed => {
                self.run += 1;
                self.fail(case.name);
            }
        }
    }

    fn fail(&mut self, name: String) {
        self.failed += 1;
        if self.failures.len() < super::MAX_NOTES {
            self.failures.push(name);
        }
    }

    fn measures(self) -> Measures {
        let [run, failed, skipped, flaky] = [self.run, self.failed, self.skipped, self.flaky].map(|count| count as f64);
        let mut measures = Measures::of([("run", run), ("failed", failed), ("skipped", skipped), ("flaky", flaky)]);
        self.failures.iter().for_each(|name| measures.note(name));
        measures
    }
}

fn case(element: &BytesStart<'_>, depth: usize) -> Result<Case, ReportError> {
    let (mut name, mut class, mut outcome) = (String::new(), String::new(), Outcome::Passed);
    // Without checks: looking for duplicates takes quadratic time, and costs a hostile report nothing.
    for attribute in element.attributes().with_checks(false) {
        let attribute = attribute.map_err(malformed)?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(malformed)?;
        match attribute.key.local_name().into_inner() {
            "name" => name = value.chars().take(100).collect(),
            "classname" => class = value.chars().take(100).collect(),
            // GoogleTest lists tests it did not run as cases without a child.
            "status" | "result" if matches!(&*value, "notrun" | "skipped" | "suppressed" | "disabled") => outcome = Outcome::Skipped,
            _ => {}
        }
    }
    Ok(Case { depth, name: if class.is_empty() { name } else { format!("{class} {name}") }, outcome })
}

fn malformed(fault: impl std::fmt::Display) -> ReportError {
    ReportError::malformed(Format::Junit, fault)
}

fn of_xml(cause: &quick_xml::Error) -> ReportError {
    match cause {
        quick_xml::Error::Io(cause) => ReportError::of_io(cause),
        cause => malformed(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(xml: &str) -> [f64; 4] {
        let measures = read(xml.as_bytes()).unwrap();
        ["run", "failed", "skipped", "flaky"].map(|name| measures.get(name).unwrap())
    }

    fn fault(xml: &str) -> String {
        read(xml.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn cases_are_counted_and_attributes_are_not_believed() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?><testsuites tests="900" failures="0"><testsuite name="a" tests="900">
            <testcase classname="a" name="one"/><testcase name="two"><failure message="&lt;no&gt;">x &amp; &#65;<![CDATA[<skipped/>]]></failure></testcase>
            <testcase name="three"><skipped/></testcase><testcase name="four"><error/><skipped/></testcase>
            <testsuite name="inner"><testcase name="five"><system-out>ok</system-out></testcase></testsuite></testsuite></testsuites>"#;
        assert_eq!(counts(xml), [4.0, 2.0, 1.0, 0.0]);
        assert_eq!(read(xml.as_bytes()).unwrap().notes, ["two", "four"]);
    }

    #[test]
    fn retried_cases_count_by_their_end() {
        let xml = r#"<testsuite><testcase name="flaky"><flakyFailure message="m"/></testcase>
            <testcase name="bad"><failure/><rerunFailure/><rerunFailure/></testcase><testcase name="refused"><failure/><flakyFailure/></testcase></testsuite>"#;
        assert_eq!(counts(xml), [3.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn what_was_not_run_is_not_counted_as_run() {
        assert_eq!(counts("<testsuites/>"), [0.0; 4]);
        assert_eq!(counts(r#"<testsuite><testcase name="a" status="notrun"/></testsuite>"#), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(counts(r#"<testsuite><error message="setup"/></testsuite>"#), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn hostile_and_broken_files_are_refused() {
        assert!(fault(r#"<!DOCTYPE a [<!ENTITY b "c">]><testsuites/>"#).contains("DOCTYPE"));
        assert!(fault("<testsuite><testcase name='a'><failure>&lol;</failure></testcase></testsuite>").contains("entity"));
        assert_eq!(read(&b"<testsuite><testcase name='&lol;'/></testsuite>"[..]).unwrap_err().code(), "malformed");
        assert!(fault("<testsuite><testcase name='a'/>").contains("middle"));
        assert!(fault("<testsuite/><testsuite/>").contains("root"));
        assert!(fault("<html/>").contains("root"));
        assert!(fault("").contains("empty"));
        assert_eq!(read("<testsuite>".repeat(10_000).as_bytes()).unwrap_err(), ReportError::TooDeep(MAX_DEPTH));
    }
}
