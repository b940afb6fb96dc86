//! No errors in the logs of the environment before, for as long as it was watched there.

use super::{
    Ask, needing,
    sign_off::{SignedFact, or_word},
};
use crate::model::{Comparator, DeploymentId, EnvironmentName, GateResult, Sha256, Verdict, Who, text::visible_line};
use std::{collections::BTreeMap, time::Duration};

/// The gate's name.
pub const NAME: &str = "logs";

/// What a person signs where there are no lines to read.
pub const FACT: &str = "logs";

/// For how many minutes the release must have been there, unless a threshold on `minutes` says otherwise: a bake of the usual length.
const MINUTES: f64 = 10.0;
/// How many lines are told.
const TOLD: usize = 3;

/// What makes a line an error, unless `[services.X.monitoring] errors` says otherwise: the words of common loggers, as they write them.
pub const ERRORS: [&str; 10] = [
    "ERROR",
    "FATAL",
    "CRITICAL",
    "PANIC",
    "panicked at",
    "Traceback (most recent call last)",
    "level=error",
    "level=fatal",
    "\"level\":\"error\"",
    "\"level\":\"fatal\"",
];

/// What the instances of the environment before have written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Read {
    /// For how long the release served there after its deployment had succeeded.
    pub watched: Duration,
    /// Whether it serves there no more: no waiting makes that longer.
    pub is_over: bool,
    /// How many lines there are.
    pub lines: u64,
    /// Whether there were more before them, which nobody can read.
    pub is_cut: bool,
    /// How many of them are errors.
    pub errors: u64,
    /// The first of those, each with the instance that wrote it.
    pub first: Vec<(String, String)>,
}

/// What is known of the environment before.
#[derive(Debug, Clone, PartialEq)]
pub enum Logs<'a> {
    /// These bytes have not succeeded there.
    NotDeployed,
    /// Its logs cannot be read, and why.
    Unreadable(&'a DeploymentId, String),
    /// They were read.
    Read(&'a DeploymentId, Read),
}

/// Counts what a line is held against: errors, and what makes one none after all.
#[derive(Debug, Clone, Copy)]
pub struct Pattern<'a> {
    /// A line with one of these is an error.
    pub errors: &'a [String],
    /// Unless it has one of these.
    pub except: &'a [String],
}

impl Pattern<'_> {
    /// Tells whether a line is an error. A word counts where it stands alone: `ERROR` is not in `ERRORS` or `NO_ERROR`.
    pub fn is_error(&self, line: &str) -> bool {
        let has = |words: &[String]| words.iter().any(|word| stands_in(line, word));
        let is_one = if self.errors.is_empty() { ERRORS.iter().any(|word| stands_in(line, word)) } else { has(self.errors) };
        is_one && !has(self.except)
    }
}

impl Read {
    /// Counts one more line of an instance.
    pub fn count(&mut self, instance: &str, line: &str, pattern: Pattern<'_>) {
        self.lines += 1;
        if pattern.is_error(line) {
            self.errors += 1;
            if self.first.len() < TOLD {
                self.first.push((instance.to_owned(), visible_line(line, 160)));
            }
        }
    }
}

fn stands_in(line: &str, word: &str) -> bool {
    let is_part = |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric() || character == '_');
    let (first, last) = (word.chars().next(), word.chars().next_back());
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        let goes_on = is_part(first) && is_part(before) || is_part(last) && is_part(after);
        !goes_on
    })
}

/// Judges the logs against thresholds on `error_lines` and `minutes`. Live: read again at execution, as lines are added.
pub fn evaluate(
    ask: Ask<'_>,
    limits: &BTreeMap<&str, Comparator>,
    after: &EnvironmentName,
    logs: &Logs<'_>,
    word: (&Sha256, &[SignedFact<'_>]),
) -> GateResult {
    let shown = |measure: &str, otherwise: String| limits.get(measure).map_or(otherwise, |limit| format!("{measure} {limit}"));
    let rule =
        format!("{}, {} in `{after}`", shown("error_lines", "error_lines <= 0".into()), shown("minutes", format!("minutes >= {MINUTES}")));
    let result = |verdict, reason: String| GateResult { live: true, ..ask.result(NAME, rule.clone(), verdict, reason) };
    let (deployment, read) = match logs {
        Logs::NotDeployed => {
            let open = result(Verdict::Inconclusive, format!("these bytes have not succeeded in `{after}`: there is no log of them"));
            let how = format!("deploy the same artifact to `{after}` first: `create_directive` with `environment: \"{after}\"`");
            return needing(open, format!("a successful deployment of these bytes to `{after}`"), Who::Agent, how);
        }
        Logs::Unreadable(deployment, why) => {
            let open = result(Verdict::Inconclusive, format!("the logs of `{deployment}` cannot be read: {}", visible_line(why, 200)));
            return needing(open, "logs that can be read", Who::Person, "see that the target shows logs; then call `run_predeploy_checks`");
        }
        Logs::Read(deployment, read) => (deployment, read),
    };
    let minutes = read.watched.as_secs_f64() / 60.0;
    let value = Some(format!("{} of {} lines, {minutes:.0} minutes", read.errors, read.lines));
    let is_clean = limits.get("error_lines").map_or(read.errors == 0, |limit| limit.holds(read.errors as f64));
    if !is_clean {
        let told: Vec<String> = read.first.iter().map(|(instance, line)| format!("{instance} wrote `{line}`")).collect();
        let reason = format!("{} of {} lines of `{deployment}` are errors: {}", read.errors, read.lines, told.join("; "));
        let how = format!("`read_log` of `{deployment}` shows the rest; mend it, or name what is harmless in `except` of `monitoring`");
        return GateResult { value, ..needing(result(Verdict::Fail, reason), "a log without errors", Who::Agent, how) };
    }
    if !limits.get("minutes").map_or(minutes >= MINUTES, |limit| limit.holds(minutes)) {
        if read.is_over {
            let reason = format!("`{deployment}` was there for {minutes:.0} minutes, and serves there no more: its log says too little");
            let how = format!("deploy the same artifact to `{after}` again, wait there, and call `run_predeploy_checks`");
            return GateResult { value, ..needing(result(Verdict::Inconclusive, reason), "more time there", Who::Agent, how) };
        }
        let reason = format!("`{deployment}` has been there for {minutes:.0} minutes: 0 of {} lines say little yet", read.lines);
        let how = "wait until then, and call `run_predeploy_checks`";
        return GateResult { value, ..needing(result(Verdict::Inconclusive, reason), "more time there", Who::Server, how) };
    }
    if read.is_cut {
        let reason =
            format!("`{deployment}` has written more than is read: nothing is known of what stands before its last {} lines", read.lines);
        return or_word(ask, GateResult { value, ..result(Verdict::Inconclusive, reason) }, FACT, word.0, word.1);
    }
    if read.lines == 0 {
        let open = result(Verdict::Inconclusive, format!("`{deployment}` has written no line: nothing is known of its errors"));
        return or_word(ask, GateResult { value, ..open }, FACT, word.0, word.1);
    }
    let reason = format!("{} of {} lines of `{deployment}` are errors", read.errors, read.lines);
    GateResult { value, ..result(Verdict::Pass, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_line_is_an_error_by_a_word_that_stands_alone() {
        let usual = Pattern { errors: &[], except: &[] };
        for line in [
            "2026-01-02 ERROR cannot connect",
            "[ERROR]",
            "ERROR",
            "thread 'main' panicked at src/main.rs:1",
            r#"{"level":"error","msg":"x"}"#,
            "ts=1 level=error msg=x",
            "Traceback (most recent call last):",
        ] {
            assert!(usual.is_error(line), "{line}");
        }
        for line in ["", "0 errors", "NO_ERROR", "ERRORS=0", "level=errors", "TERROR", "an error was mended", r#"{"level":"info"}"#] {
            assert!(!usual.is_error(line), "{line}");
        }
        let (errors, except) = (["Fehler".to_owned()], ["bekannter Fehler".to_owned()]);
        let own = Pattern { errors: &errors, except: &except };
        assert!(own.is_error("ein Fehler") && !own.is_error("ein bekannter Fehler") && !own.is_error("ERROR"));
    }

    #[test]
    fn no_errors_over_the_whole_watch_pass_and_no_lines_ask() {
        let (directive, digest, deployment, by) = ("SD-DEPLOY-001".into(), Sha256::of(b"a"), DeploymentId::from("dep_7"), "dana".into());
        let ask = Ask { directive: &directive, by: "phase deployment-plan", now: Timestamp(100) };
        let word = [SignedFact { fact: FACT, digest: &digest, accepted: true, by: &by, at: Timestamp(50) }];
        let of = |limits: &[(&'static str, &str)], logs: Logs<'_>, word: &[SignedFact<'_>]| {
            let limits = limits.iter().map(|(measure, limit)| (*measure, limit.parse().unwrap())).collect();
            evaluate(ask, &limits, &"staging".into(), &logs, (&digest, word))
        };
        let wrote = |minutes: u64, lines: &[&str]| {
            let mut read = Read { watched: Duration::from_secs(60 * minutes), ..Read::default() };
            lines.iter().for_each(|line| read.count("web-1", line, Pattern { errors: &[], except: &[] }));
            Logs::Read(&deployment, read)
        };
        let passed = of(&[], wrote(10, &["INFO a", "INFO b"]), &[]);
        assert_eq!((passed.verdict, passed.reason.as_str()), (Verdict::Pass, "0 of 2 lines of `dep_7` are errors"));
        let failed = of(&[], wrote(10, &["INFO a", "ERROR b\u{202e}", "ERROR c", "ERROR d", "ERROR e"]), &word);
        assert_eq!((failed.verdict, failed.who), (Verdict::Fail, Some(Who::Agent)), "nobody signs away what is there");
        assert!(failed.reason.starts_with("4 of 5 lines of `dep_7` are errors: web-1 wrote `ERROR b"), "{}", failed.reason);
        assert!(!failed.reason.contains('\u{202e}') && !failed.reason.contains("ERROR e"), "{}", failed.reason);
        let early = of(&[], wrote(9, &["INFO a"]), &word);
        assert_eq!((early.verdict, early.who), (Verdict::Inconclusive, Some(Who::Server)));
        assert_eq!(of(&[("minutes", ">= 5")], wrote(9, &["INFO a"]), &[]).verdict, Verdict::Pass);
        assert_eq!(of(&[("error_lines", "<= 1")], wrote(10, &["ERROR a", "b"]), &[]).verdict, Verdict::Pass);
        let cut = |line: &str| match wrote(10, &[line]) {
            Logs::Read(deployment, read) => Logs::Read(deployment, Read { is_cut: true, ..read }),
            other => other,
        };
        let open = of(&[], cut("INFO a"), &[]);
        assert_eq!((open.verdict, open.how.as_deref()), (Verdict::Inconclusive, Some("interlock sign-off SD-DEPLOY-001 logs")), "{open:?}");
        assert_eq!((of(&[], cut("INFO a"), &word).verdict, of(&[], cut("ERROR a"), &word).verdict), (Verdict::Pass, Verdict::Fail));
        let silent = of(&[], wrote(10, &[]), &[]);
        assert_eq!((silent.verdict, silent.how.as_deref()), (Verdict::Inconclusive, Some("interlock sign-off SD-DEPLOY-001 logs")));
        assert_eq!(of(&[], wrote(10, &[]), &word).verdict, Verdict::Pass);
        assert_eq!(of(&[], Logs::NotDeployed, &word).who, Some(Who::Agent));
        assert_eq!(of(&[], Logs::Unreadable(&deployment, "gone".into()), &word).verdict, Verdict::Inconclusive);
    }
}
