//! SARIF 2.1.0. A finding's severity is `properties.security-severity` of the result, else of its rule; without one it is critical.

use super::{
    Format, Measures, ReportError, json,
    severity::{Tally, score_of},
};
use serde::{Deserialize, de::IgnoredAny};
use std::{collections::HashMap, io::Read};

#[derive(Deserialize)]
struct Log {
    version: String,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    #[serde(default)]
    tool: Tool,
    results: Option<Vec<Finding>>,
    #[serde(default)]
    invocations: Vec<Invocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default)]
    driver: Component,
    #[serde(default)]
    extensions: Vec<Component>,
}

#[derive(Default, Deserialize)]
struct Component {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "security-severity")]
    severity: Option<Score>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Score {
    Number(f64),
    Text(String),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: Option<String>,
    rule_index: Option<i64>,
    rule: Option<RuleReference>,
    kind: Option<String>,
    baseline_state: Option<String>,
    properties: Option<Properties>,
    suppressions: Option<Vec<Suppression>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleReference {
    id: Option<String>,
    index: Option<i64>,
    tool_component: Option<ComponentReference>,
}

#[derive(Deserialize)]
struct ComponentReference {
    index: Option<i64>,
}

#[derive(Deserialize)]
struct Suppression {
    status: Option<String>,
}

/// Returns `critical`, `high`, `medium`, `low`, `total`, and `scanned`: how many tool runs came to their end.
pub fn read(reader: impl Read) -> Result<Measures, ReportError> {
    let log: Log = json::read(Format::Sarif, reader)?;
    if log.version != "2.1.0" {
        return Err(ReportError::malformed(Format::Sarif, format!("version `{}` is not 2.1.0", log.version)));
    }
    let (mut tally, mut scanned, mut broken) = (Tally::default(), 0, 0);
    for run in &log.runs {
        // Without results the tool only describes itself.
        let is_complete = run.results.is_some() && run.invocations.iter().all(|invocation| invocation.execution_successful != Some(false));
        *if is_complete { &mut scanned } else { &mut broken } += 1;
        let rules = Rules::of(&run.tool);
        for finding in run.results.iter().flatten().filter(|finding| finding.counts()) {
            tally.add(rules.score(finding), finding.rule_name().unwrap_or("a finding without a rule"));
        }
    }
    // One tool that did not finish makes the whole report no answer.
    let mut measures = tally.measures(if broken > 0 { 0.0 } else { f64::from(scanned) });
    if broken > 0 {
        measures.notes.insert(0, format!("{broken} of {} tool runs did not finish", log.runs.len()));
        measures.notes.truncate(super::MAX_NOTES);
    }
    Ok(measures)
}

impl Finding {
    fn counts(&self) -> bool {
        let is_fault = !matches!(self.kind.as_deref(), Some("pass" | "notApplicable" | "informational"));
        // Suppressed only when every suppression is accepted: one under review or rejected keeps the finding.
        let is_suppressed = self.suppressions.as_ref().is_some_and(|suppressions| {
            !suppressions.is_empty() && suppressions.iter().all(|one| one.status.as_deref().is_none_or(|status| status == "accepted"))
        });
        is_fault && !is_suppressed && self.baseline_state.as_deref() != Some("absent")
    }

    fn rule_name(&self) -> Option<&str> {
        self.rule_id.as_deref().or_else(|| self.rule.as_ref()?.id.as_deref())
    }
}

/// The rules of one run, by place and by id.
struct Rules<'a> {
    tool: &'a Tool,
    by_id: HashMap<&'a str, &'a Rule>,
}

impl<'a> Rules<'a> {
    fn of(tool: &'a Tool) -> Self {
        let components = tool.extensions.iter().rev().chain([&tool.driver]);
        Rules { tool, by_id: components.flat_map(|component| &component.rules).map(|rule| (rule.id.as_str(), rule)).collect() }
    }

    fn score(&self, finding: &Finding) -> Option<f64> {
        let own = finding.properties.as_ref().and_then(|properties| properties.severity.as_ref());
        match own.or_else(|| self.rule(finding)?.properties.as_ref()?.severity.as_ref())? {
            Score::Number(score) => Some(*score),
            Score::Text(text) => score_of(text),
            Score::Other(_) => None,
        }
    }

    fn rule(&self, finding: &Finding) -> Option<&'a Rule> {
        let reference = finding.rule.as_ref();
        let component = match reference.and_then(|rule| rule.tool_component.as_ref()).and_then(|component| component.index) {
            Some(index) => self.tool.extensions.get(usize::try_from(index).ok()?)?,
            None => &self.tool.driver,
        };
        let index = finding.rule_index.or_else(|| reference?.index).and_then(|index| usize::try_from(index).ok());
        let name = finding.rule_name();
        // An index that points at another rule than the one named is not believed.
        let by_index = index.and_then(|index| component.rules.get(index)).filter(|rule| name.is_none_or(|name| is_of(name, &rule.id)));
        by_index.or_else(|| {
            let name = name?;
            self.by_id.get(name).or_else(|| self.by_id.get(name.split_once('/')?.0)).copied()
        })
    }
}

/// Tells whether a result's rule id is the rule's, or a sub-rule of it: `CA1000/1` is of `CA1000`.
fn is_of(name: &str, rule: &str) -> bool {
    name.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(runs: &str) -> [f64; 6] {
        let measures = read(format!(r#"{{"$schema":"x","version":"2.1.0","runs":{runs}}}"#).as_bytes()).unwrap();
        ["critical", "high", "medium", "low", "total", "scanned"].map(|name| measures.get(name).unwrap())
    }

    #[test]
    fn severity_comes_from_the_result_then_the_rule_then_is_critical() {
        let runs = r#"[{"results":[
            {"ruleId":"A"},{"ruleIndex":1},{"ruleId":"A","properties":{"security-severity":"2.0"}},{"ruleId":"B/1"},{"ruleId":"unknown"},
            {"ruleId":"A","ruleIndex":1},{"rule":{"index":0,"toolComponent":{"index":0}}},{"ruleId":"A","properties":{"security-severity":{}}}],
            "tool":{"driver":{"name":"t","rules":[{"id":"A","properties":{"security-severity":"7.5"}},{"id":"B","properties":{"security-severity":5}}]},
            "extensions":[{"rules":[{"id":"C","properties":{"security-severity":"1.0"}}]}]}}]"#;
        assert_eq!(counts(runs), [2.0, 2.0, 2.0, 2.0, 8.0, 1.0]);
    }

    #[test]
    fn what_is_suppressed_absent_or_no_fault_is_not_counted() {
        let runs = r#"[{"tool":{"driver":{}},"results":[{"suppressions":[{"kind":"inSource"}]},{"suppressions":[{"status":"accepted"}]},
            {"kind":"pass"},{"baselineState":"absent"},{"suppressions":[]},{"suppressions":[{"status":"underReview"}]},{"kind":"fail","baselineState":"new"}]}]"#;
        assert_eq!(counts(runs), [3.0, 0.0, 0.0, 0.0, 3.0, 1.0]);
    }

    #[test]
    fn a_run_that_did_not_finish_scanned_nothing() {
        assert_eq!(counts("[]")[5], 0.0);
        assert_eq!(counts(r#"[{"results":[]}]"#)[5], 1.0);
        assert_eq!(counts(r#"[{"results":[]},{"results":[],"invocations":[{"executionSuccessful":false}]}]"#)[5], 0.0);
        assert_eq!(counts(r#"[{"tool":{}}]"#)[5], 0.0);
    }

    #[test]
    fn other_versions_are_refused() {
        assert!(read(&br#"{"version":"2.0.0","runs":[]}"#[..]).unwrap_err().to_string().contains("2.0.0"));
    }
}
