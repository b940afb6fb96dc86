//! A report gate's verdict from its rule and the recorded evidence. Pure: the same input gives the same text.
//!
//! Evidence *stands* when its origin is accepted, it is bound to this commit and artifact, and it is fresh. The latest that stands
//! decides alone: an older pass never hides a newer report that cannot be read. No data is `inconclusive`, never `pass`.

use super::formats::{Format, Measures};
use crate::model::{Comparator, DirectiveId, GateName, GateResult, Origin, Sha256, Timestamp, Verdict, Who, text::visible_line};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One piece of evidence, as recorded.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceView<'a> {
    /// Where it comes from.
    pub origin: Origin,
    /// The raw report's digest.
    pub sha256: &'a Sha256,
    /// What it says; `None` when it cannot be read, and `fault` says why.
    pub measures: Option<&'a Measures>,
    /// What went wrong while it was made or read: unreadable, timed out, no report.
    pub fault: Option<&'a str>,
    /// How the observed command ended; `None` when it was ended by a signal, or nothing was run.
    pub exit_code: Option<i32>,
    /// The commit it is bound to.
    pub commit: Option<&'a str>,
    /// The artifact it is bound to.
    pub digest: &'a Sha256,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// What a gate asks, from configuration and phase together.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRule {
    /// The gate.
    pub gate: GateName,
    /// The directive it is asked for; stands in `how`.
    pub directive: DirectiveId,
    /// Measure → threshold, and which file asks for it.
    pub thresholds: BTreeMap<String, (Comparator, String)>,
    /// Exit codes of the command that are as good as 0.
    pub allowed_exit: Vec<i32>,
    /// How old evidence may be.
    pub max_age_ms: u64,
    /// The origins that count here.
    pub accepted: BTreeSet<Origin>,
    /// Whether the server can observe: a command is configured.
    pub has_command: bool,
    /// Whether `record_evidence` may be offered; it never is where `claimed` does not count.
    pub can_claim: bool,
}

/// Measures that say how much was looked at: zero is no data, whatever the others say.
const VOLUMES: [(&str, &str); 5] = [
    ("run", "the report shows 0 tests that were run"),
    ("requests", "the report shows 0 requests"),
    ("lines", "the report shows 0 lines"),
    ("scanned", "the report shows no scan that came to its end"),
    ("examined", "the report shows no comparison of packages that came to its end"),
];

/// Returns what the gate says of the release with this commit and digest.
pub fn evaluate(rule: &GateRule, evidence: &[EvidenceView<'_>], commit: Option<&str>, digest: &Sha256, now: Timestamp) -> GateResult {
    let mut result = rule.blank(now);
    if rule.thresholds.is_empty() {
        result.reason = format!("`{}` has no threshold", rule.gate);
        return rule.configure(result, "a threshold");
    }
    // The later of two recorded in the same millisecond is the one further down the list.
    let newest_first = || {
        let mut views: Vec<_> = evidence.iter().enumerate().collect();
        views.sort_by_key(|(index, view)| std::cmp::Reverse((view.recorded_at, *index)));
        views.into_iter().map(|(_, view)| view)
    };
    let Some(view) = newest_first().find(|view| rule.dismissal(view, commit, digest, now).is_none()) else {
        result.reason = match newest_first().next() {
            None => format!("there is no evidence for `{}`", rule.gate),
            Some(latest) => {
                let why = rule.dismissal(latest, commit, digest, now).expect("no evidence stands");
                let others = if evidence.len() > 1 { "; neither do the others" } else { "" };
                format!("no evidence counts: the latest {why}{others}")
            }
        };
        return rule.ask_for_evidence(result);
    };
    result.evidence_sha256 = Some(view.sha256.clone());
    let (measures, missing) = match rule.usable(view) {
        Ok(usable) => usable,
        Err(why) => {
            result.reason = why;
            return rule.ask_for_better(result);
        }
    };
    let values: Vec<_> = rule.shown(measures).collect();
    result.value = (!values.is_empty()).then(|| values.join(", "));
    let broken: Vec<_> = rule.broken(measures).collect();
    if !broken.is_empty() {
        let told: Vec<_> = broken.iter().map(|(name, value, threshold)| format!("{name} is {value}, must be {threshold}")).collect();
        result.verdict = Verdict::Fail;
        result.reason = format!("{}{}", told.join("; "), notes(measures));
        return rule.ask_for_change(result, broken.iter().map(|(name, _, threshold)| format!("{name} {threshold}")).collect());
    }
    if !missing.is_empty() {
        result.reason = format!("the report does not say {}", missing.join(", "));
        return rule.ask_for_better(result);
    }
    if let Some(why) = rule.ended_badly(view) {
        result.reason = why;
        return rule.ask_for_better(result);
    }
    result.verdict = Verdict::Pass;
    result.reason = format!("{} evidence of {}", view.origin, view.recorded_at);
    result
}

impl GateRule {
    fn blank(&self, now: Timestamp) -> GateResult {
        let rules: Vec<_> = self.thresholds.iter().map(|(name, (threshold, _))| format!("{name} {threshold}")).collect();
        let askers: BTreeSet<_> = self.thresholds.values().map(|(_, by)| by.as_str()).collect();
        GateResult {
            gate: self.gate.clone(),
            verdict: Verdict::Inconclusive,
            rule: rules.join(", "),
            value: None,
            reason: String::new(),
            needs: None,
            who: None,
            how: None,
            asked_by: askers.into_iter().collect::<Vec<_>>().join(", "),
            live: false,
            evidence_sha256: None,
            checked_at: now,
        }
    }

    /// Returns why evidence does not stand at all; `None` when it does.
    fn dismissal(&self, view: &EvidenceView<'_>, commit: Option<&str>, digest: &Sha256, now: Timestamp) -> Option<String> {
        let age = now.since(view.recorded_at);
        if !self.accepted.contains(&view.origin) {
            let accepted: Vec<_> = self.accepted.iter().rev().map(Origin::to_string).collect();
            return Some(format!("is {}, and only {} counts here", view.origin, or_nothing(&accepted.join(", "))));
        }
        if view.digest != digest {
            return Some(format!("is for the artifact {}, not for {}", view.digest.short(), digest.short()));
        }
        if commit.is_some() && view.commit != commit {
            let of = view.commit.map_or("no commit".to_owned(), |commit| format!("the commit {}", abbreviated(commit)));
            return Some(format!("is for {of}, not for {}", abbreviated(commit.unwrap_or_default())));
        }
        if view.recorded_at > now {
            return Some(format!("is dated {}, which is in the future", view.recorded_at));
        }
        (age > Duration::from_millis(self.max_age_ms))
            .then(|| format!("is {} old, and at most {} counts", hours(age), hours(Duration::from_millis(self.max_age_ms))))
    }

    /// Returns the measures and which thresholds have none, or why this evidence says nothing.
    fn usable<'a>(&self, view: &EvidenceView<'a>) -> Result<(&'a Measures, Vec<String>), String> {
        if let Some(fault) = view.fault {
            return Err(visible_line(fault, 300));
        }
        let measures = view.measures.ok_or("the report cannot be read")?;
        if let Some((_, why)) = VOLUMES.iter().find(|(name, _)| measures.get(name) == Some(0.0)) {
            return Err(format!("{why}{}", notes(measures)));
        }
        let has_value = |name: &str| measures.get(name).is_some_and(f64::is_finite);
        Ok((measures, self.thresholds.keys().filter(|name| !has_value(name)).map(|name| format!("`{name}`")).collect()))
    }

    /// Returns why a report within its thresholds is not believed.
    fn ended_badly(&self, view: &EvidenceView<'_>) -> Option<String> {
        match view.exit_code {
            Some(0) => None,
            Some(code) if self.allowed_exit.contains(&code) => None,
            Some(code) => Some(format!("the report is within the thresholds, but the command exited with {code}")),
            None if view.origin == Origin::Observed => {
                Some("the report is within the thresholds, but the command was ended by a signal".into())
            }
            None => None,
        }
    }

    fn shown(&self, measures: &Measures) -> impl Iterator<Item = String> {
        let values = self.thresholds.iter().filter_map(|(name, (threshold, _))| Some((name, threshold, measures.get(name)?)));
        values.map(|(name, threshold, value)| format!("{name} = {}", rounded(value, *threshold)))
    }

    fn broken(&self, measures: &Measures) -> impl Iterator<Item = (&str, f64, Comparator)> {
        let values = self.thresholds.iter().filter_map(|(name, (threshold, _))| Some((name.as_str(), measures.get(name)?, *threshold)));
        values
            .filter(|(_, value, threshold)| value.is_finite() && !threshold.holds(*value))
            .map(|(name, value, threshold)| (name, rounded(value, threshold), threshold))
    }

    /// There is nothing that stands: somebody must supply it.
    fn ask_for_evidence(&self, result: GateResult) -> GateResult {
        let needs = format!("a report for `{}` of this commit and artifact", self.gate);
        match self.supply() {
            Supply::Observe => super::needing(result, needs, Who::Agent, self.call("run_predeploy_checks")),
            Supply::Claim => super::needing(result, needs, Who::Agent, self.claim()),
            Supply::Configure => self.configure(result, "a `command`"),
        }
    }

    /// There is a report, and it says nothing that counts: the same again would say the same.
    fn ask_for_better(&self, result: GateResult) -> GateResult {
        let needs = format!("a report for `{}` that can be judged", self.gate);
        match self.supply() {
            Supply::Observe => {
                let how = format!(
                    "read the command's output, mend what it complains of, then {}; where the command itself is wrong, a person corrects \
                     `[gates]` `{}` in interlock.toml and runs `interlock apply`",
                    self.call("run_predeploy_checks"),
                    self.gate
                );
                super::needing(result, needs, Who::Agent, how)
            }
            Supply::Claim => super::needing(result, needs, Who::Agent, self.claim()),
            Supply::Configure => self.configure(result, "a `command`"),
        }
    }

    /// The report counts and says no: only other bytes will pass.
    fn ask_for_change(&self, result: GateResult, needs: Vec<String>) -> GateResult {
        let then = match self.supply() {
            Supply::Observe => "`run_predeploy_checks`",
            Supply::Claim => "`record_evidence` with its report",
            Supply::Configure => return self.configure(result, "a `command`"),
        };
        let how = format!("mend the cause, commit, build the artifact again, `create_directive` for it, then {then}");
        super::needing(result, needs.join(", "), Who::Agent, how)
    }

    fn configure(&self, result: GateResult, what: &str) -> GateResult {
        let how = format!("configure {what} for `{}` in `[gates]` of interlock.toml, then run `interlock apply`", self.gate);
        super::needing(result, format!("{what} for `{}` in the applied configuration", self.gate), Who::Person, how)
    }

    fn supply(&self) -> Supply {
        match () {
            _ if self.has_command && self.accepted.contains(&Origin::Observed) => Supply::Observe,
            _ if self.can_claim && self.accepted.contains(&Origin::Claimed) => Supply::Claim,
            _ => Supply::Configure,
        }
    }

    fn call(&self, tool: &str) -> String {
        format!("call `{tool}` with `{{\"directive\": \"{}\"}}`", self.directive)
    }

    fn claim(&self) -> String {
        let formats: Vec<_> = Format::natural(&self.gate).iter().map(Format::to_string).collect();
        format!(
            "call `record_evidence` with `{{\"directive\": \"{}\", \"kind\": \"{}\", \"path\": …}}`, a report in the format {}",
            self.directive,
            self.gate,
            formats.join(" or ")
        )
    }
}

/// How evidence can come to be.
enum Supply {
    Observe,
    Claim,
    Configure,
}

fn notes(measures: &Measures) -> String {
    let quoted: Vec<_> = measures.notes.iter().map(|note| format!("`{}`", visible_line(note, 120).replace('`', "'"))).collect();
    if quoted.is_empty() { String::new() } else { format!(" ({})", quoted.join(", ")) }
}

/// Rounds for reading, unless that would put the value on the other side of its threshold.
fn rounded(value: f64, threshold: Comparator) -> f64 {
    let short = (value * 100.0).round() / 100.0;
    if threshold.holds(short) == threshold.holds(value) { short } else { value }
}

fn abbreviated(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

fn hours(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
