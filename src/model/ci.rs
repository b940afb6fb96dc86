//! `[ci]` of the configuration, and what a CI platform says of a commit and of a branch.

use super::{gate::Who, text::visible_line};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[ci]`: whom to ask, and what must have succeeded there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CiConfig {
    /// What speaks there.
    pub platform: CiPlatform,
    /// `owner/name`, of GitLab with every group before it.
    pub repository: String,
    /// The root of GitHub's API, or of a GitLab: `http://host:port/path`, or the reference to it.
    pub address: String,
    /// The reference to a token; without one nothing but public projects answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The branch that releases are built from.
    pub base_branch: String,
    /// The checks that must have succeeded, by name.
    pub checks: Vec<String>,
    /// Where they must have.
    pub on: CiPlace,
    /// Whether the platform must require them for `base_branch`.
    pub required: bool,
    /// Patience with one answer, milliseconds.
    pub timeout_ms: u64,
}

/// How a CI platform is asked about one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiAccess {
    /// What speaks there.
    pub platform: CiPlatform,
    /// `owner/name`, of GitLab with every group before it.
    pub repository: String,
    /// The root of GitHub's API, or of a GitLab, or the reference to it.
    pub address: String,
    /// The reference to a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Patience with one answer, milliseconds.
    pub timeout_ms: u64,
}

/// A CI platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CiPlatform {
    /// GitHub's REST API.
    Github,
    /// GitLab's REST API, version 4.
    Gitlab,
}

/// Where checks must have succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CiPlace {
    /// On the release's commit.
    Commit,
    /// On the newest commit of the base branch.
    BaseBranch,
    /// On both.
    Both,
}

impl CiPlace {
    /// Tells whether the release's commit is looked at.
    pub fn is_commit(self) -> bool {
        self != CiPlace::BaseBranch
    }

    /// Tells whether the base branch is.
    pub fn is_base_branch(self) -> bool {
        self != CiPlace::Commit
    }
}

impl CiConfig {
    /// Returns how the platform is asked.
    pub fn access(&self) -> CiAccess {
        CiAccess {
            platform: self.platform,
            repository: self.repository.clone(),
            address: self.address.clone(),
            token: self.token.clone(),
            timeout_ms: self.timeout_ms,
        }
    }

    /// Says what is asked for, on one line: ``"build", "test" succeed on the commit``.
    pub fn rule(&self) -> String {
        let names: Vec<String> = self.checks.iter().map(|check| format!("`{}`", visible_line(check, 80))).collect();
        let branch = format!("`{}`", visible_line(&self.base_branch, 80));
        let place = match self.on {
            CiPlace::Commit => "on the commit".to_owned(),
            CiPlace::BaseBranch => format!("on {branch}"),
            CiPlace::Both => format!("on the commit and on {branch}"),
        };
        let required = if self.required { format!(", and {branch} requires them") } else { String::new() };
        format!("{} succeed {place}{required}", names.join(", "))
    }
}

/// One check of one commit. Of several with one name, each counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: CheckState,
    /// The platform's own word for that.
    pub word: String,
    /// Whether the platform lets it fail (`allow_failure`), so that it holds nothing up.
    pub may_fail: bool,
}

/// How a check stands, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It succeeded.
    Passed,
    /// It has not ended.
    Pending,
    /// It ended without a verdict: neutral, skipped, cancelled, or a word nobody knows.
    Silent,
    /// It failed.
    Failed,
}

/// A branch as the platform has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its newest commit.
    pub head: String,
    /// What must have succeeded before something gets there.
    pub requires: Requires,
}

/// What a platform requires for a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requires {
    /// These checks, by name.
    Checks(Vec<String>),
    /// Every check that may not fail.
    Pipeline,
    /// Nothing, and why.
    Nothing(String),
}

/// A workflow to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// GitHub's file in `.github/workflows`; GitLab has one pipeline.
    pub workflow: String,
    /// The branch it runs on.
    pub branch: String,
    /// Where it deploys to.
    pub environment: String,
    /// What it is told beside.
    pub inputs: BTreeMap<String, String>,
    /// What it is told to be called, so that it is found again.
    pub name: String,
}

/// A run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiRun {
    /// The platform's id.
    pub id: String,
    /// The commit it runs on.
    pub commit: String,
    /// Where a person sees it.
    pub address: String,
    /// The platform's own word for how it stands.
    pub word: String,
    /// How it stands.
    pub state: CheckState,
}

/// Why a platform gave no answer that counts. No fault is ever a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CiFault {
    /// `address` or `token` cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// Nobody answers.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("it gave no answer within {after_ms} ms")]
    TimedOut {
        /// The patience there was.
        after_ms: u64,
    },
    /// 401.
    #[error("it refuses the token (401)")]
    Unauthorized,
    /// 403.
    #[error("it does not let the token at {what} (403): {head}")]
    Forbidden {
        /// What was asked for.
        what: String,
        /// The beginning of its answer.
        head: String,
    },
    /// 403 or 429 with the limits used up.
    #[error("its rate limit is used up (for {} s)", .after_seconds.map_or("some".to_owned(), |seconds| seconds.to_string()))]
    RateLimited {
        /// How long it asks to wait, where it says so.
        after_seconds: Option<u64>,
    },
    /// 404, or 422 for a commit that nobody has pushed.
    #[error("it has no {what} ({status})")]
    Missing {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
    },
    /// Another answer that is no success.
    #[error("it answered {status} for {what}: {head}")]
    Refused {
        /// The status.
        status: u16,
        /// What was asked for.
        what: String,
        /// The beginning of its answer.
        head: String,
    },
    /// What came is no JSON, or not of the documented shape.
    #[error("its answer is not readable: {0}")]
    Malformed(String),
    /// The answer is about something else than was asked.
    #[error("asked about {asked}, it answered about {answered}")]
    Other {
        /// What was asked.
        asked: String,
        /// What came.
        answered: String,
    },
    /// More is there than came.
    #[error("only {got} of {of} checks came")]
    Incomplete {
        /// How many came.
        got: usize,
        /// How many there are.
        of: String,
    },
}

impl CiFault {
    /// Returns who can do something about it, and what.
    pub fn remedy(&self) -> (Who, String) {
        let again = "then call `run_predeploy_checks`";
        match self {
            CiFault::Unusable(_) => (Who::Person, format!("mend `[ci]` in interlock.toml, or supply what it refers to, {again}")),
            CiFault::Unreachable(_) | CiFault::TimedOut { .. } => {
                (Who::Person, format!("see that `[ci] address` leads to the platform from the server's machine, {again}"))
            }
            CiFault::Unauthorized => (Who::Person, format!("supply a valid token where `[ci] token` refers to, {again}")),
            CiFault::Forbidden { what, .. } => (Who::Person, format!("let the token of `[ci]` at {what}, {again}")),
            CiFault::RateLimited { after_seconds } => {
                let wait = after_seconds.map_or("some minutes".to_owned(), |seconds| format!("{seconds} s"));
                (Who::Agent, format!("wait {wait}, {again}"))
            }
            CiFault::Missing { what, .. } if what.starts_with("commit") => {
                (Who::Agent, format!("push the {what} to `[ci] repository`, {again}"))
            }
            CiFault::Missing { what, .. } => {
                (Who::Person, format!("correct `[ci]` in interlock.toml, or let its token see {what}, {again}"))
            }
            CiFault::Refused { status, .. } if *status >= 500 => (Who::Ci, format!("wait until the platform works again, {again}")),
            CiFault::Refused { .. } | CiFault::Malformed(_) | CiFault::Other { .. } | CiFault::Incomplete { .. } => {
                (Who::Person, format!("look what answers at `[ci] address`: it is no platform of the kind `[ci] platform` names, {again}"))
            }
        }
    }
}
