//! The checks that CI ran: by name, on the release's commit or on the base branch, and whether that branch requires them.

use super::{Ask, needing};
use crate::model::{
    GateResult, Verdict, Who,
    ci::{Branch, Check, CheckState, CiConfig, CiFault, Requires},
    text::visible_line,
};

/// The gate's name.
pub const NAME: &str = "ci";

/// How many names of other checks are told where one is missing.
const TOLD: usize = 8;

/// What the platform answered; none of what was not asked.
#[derive(Debug, Default)]
pub struct Seen {
    /// The release's commit with its checks.
    pub commit: Option<OfCommit>,
    /// The base branch.
    pub branch: Option<Result<Branch, CiFault>>,
    /// The base branch's newest commit with its checks.
    pub head: Option<OfCommit>,
}

/// A commit with its checks.
#[derive(Debug)]
pub struct OfCommit {
    /// The full id.
    pub commit: String,
    /// Its checks.
    pub checks: Result<Vec<Check>, CiFault>,
}

/// One thing found out.
struct Finding {
    verdict: Verdict,
    told: String,
    /// What would make it pass: what, who, how.
    needs: Option<(String, Who, String)>,
}

/// Judges what the platform answered. Live: asked again at execution. Nothing but a success is one: a check that is missing, was skipped
/// or is neutral says nothing, and neither does an answer that did not come.
pub fn evaluate(ask: Ask<'_>, config: &CiConfig, seen: &Seen) -> GateResult {
    let mut findings = Vec::new();
    if config.on.is_commit() {
        match &seen.commit {
            Some(of) => findings.extend(of_commit(config, of, &format!("commit {}", short(&of.commit)))),
            None => findings.push(Finding::asking(
                "the release names no commit",
                "a directive with a commit",
                Who::Agent,
                "create the directive in a git repository, from the commit that CI has checked",
            )),
        }
    }
    let branch = format!("`{}`", visible_line(&config.base_branch, 80));
    match &seen.branch {
        Some(Err(fault)) => findings.push(Finding::of_fault(&format!("branch {branch}"), fault)),
        Some(Ok(found)) if config.required => findings.extend(config.checks.iter().map(|name| required(name, &branch, found, seen))),
        _ => (),
    }
    if let Some(of) = &seen.head {
        findings.extend(of_commit(config, of, &format!("{branch} at {}", short(&of.commit))));
    }
    let worst = [Verdict::Fail, Verdict::Inconclusive].into_iter().find(|verdict| findings.iter().any(|one| one.verdict == *verdict));
    let verdict = worst.unwrap_or(if findings.is_empty() { Verdict::Inconclusive } else { Verdict::Pass });
    let told: Vec<&str> = findings.iter().filter(|one| one.verdict == verdict).map(|one| one.told.as_str()).collect();
    let result = GateResult { live: true, ..ask.result(NAME, config.rule(), verdict, told.join("; ")) };
    match findings.iter().find(|one| one.verdict == verdict).and_then(|one| one.needs.clone()) {
        Some((needs, who, how)) => needing(result, needs, who, how),
        None => result,
    }
}

/// Returns the result where the gate binds and `[ci]` does not say whom to ask.
pub fn unconfigured(ask: Ask<'_>) -> GateResult {
    let result = ask.result(NAME, "CI is green", Verdict::Inconclusive, "no CI is configured: nobody can be asked");
    let how = "write `[ci]` with `platform`, `repository`, `address`, `token` and `checks` into interlock.toml, and run `interlock apply`";
    needing(GateResult { live: true, ..result }, "`[ci]` in the configuration", Who::Person, how)
}

fn of_commit(config: &CiConfig, of: &OfCommit, place: &str) -> Vec<Finding> {
    match &of.checks {
        Err(fault) => vec![Finding::of_fault(place, fault)],
        Ok(checks) => config.checks.iter().map(|name| named(name, checks, place)).collect(),
    }
}

/// Judges every check of one name: the worst counts.
fn named(name: &str, checks: &[Check], place: &str) -> Finding {
    let shown = format!("`{}`", visible_line(name, 80));
    let Some(check) = checks.iter().filter(|check| check.name == name).max_by_key(|check| check.state) else {
        let mut others: Vec<String> = checks.iter().map(|check| format!("`{}`", visible_line(&check.name, 80))).collect();
        others.sort();
        others.dedup();
        let there = match others.len() {
            0 => "there is none".to_owned(),
            count if count > TOLD => format!("there are {} and {} more", others[..TOLD].join(", "), count - TOLD),
            _ => format!("there are {}", others.join(", ")),
        };
        let how = format!("let CI run {shown} there, or correct its name in `[ci] checks`, then call `run_predeploy_checks`");
        return Finding::asking(format!("no check {shown} on {place}; {there}"), format!("a run of {shown}"), Who::Person, how);
    };
    let word = visible_line(&check.word, 40);
    let told = format!("{shown} is {word} on {place}");
    match check.state {
        CheckState::Passed => Finding { verdict: Verdict::Pass, told, needs: None },
        CheckState::Failed => {
            let how = "mend what it found, push, and create a directive for the commit that CI has passed";
            Finding { verdict: Verdict::Fail, told, needs: Some((format!("a success of {shown}"), Who::Agent, how.into())) }
        }
        CheckState::Pending => {
            Finding::asking(told, format!("the end of {shown}"), Who::Ci, "wait until it has ended, then call `run_predeploy_checks`")
        }
        CheckState::Silent => {
            let how = format!("let CI run {shown} to its end, then call `run_predeploy_checks`");
            Finding::asking(format!("{told}, which says nothing about it"), format!("a success of {shown}"), Who::Person, how)
        }
    }
}

fn required(name: &str, branch: &str, found: &Branch, seen: &Seen) -> Finding {
    let shown = format!("`{}`", visible_line(name, 80));
    let checks = || [&seen.commit, &seen.head].into_iter().flatten().filter_map(|of| of.checks.as_ref().ok()).flatten();
    let wanting = match &found.requires {
        Requires::Checks(names) if names.iter().any(|one| one == name) => None,
        Requires::Checks(_) => Some(format!("{branch} does not require {shown}")),
        Requires::Pipeline if checks().any(|check| check.name == name && check.may_fail) => {
            Some(format!("{shown} may fail (`allow_failure`), so {branch} does not require it"))
        }
        Requires::Pipeline => None,
        Requires::Nothing(why) => Some(format!("{branch} requires no check: {}", visible_line(why, 160))),
    };
    match wanting {
        None => Finding { verdict: Verdict::Pass, told: format!("{branch} requires {shown}"), needs: None },
        Some(told) => {
            let how = format!("let the platform require {shown} for {branch}, then call `run_predeploy_checks`");
            Finding { verdict: Verdict::Fail, told, needs: Some((format!("{shown} to be required"), Who::Person, how)) }
        }
    }
}

impl Finding {
    fn asking(told: impl Into<String>, needs: impl Into<String>, who: Who, how: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Inconclusive, told: told.into(), needs: Some((needs.into(), who, how.into())) }
    }

    fn of_fault(place: &str, fault: &CiFault) -> Self {
        let (who, how) = fault.remedy();
        Finding::asking(format!("CI says nothing of {place}: {fault}"), "an answer of the CI platform", who, how)
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}
