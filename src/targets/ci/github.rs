//! GitHub's REST API, version 2022-11-28: check runs and commit statuses of a commit, and what a branch requires by its protection or by
//! rulesets. The token needs read access to checks, commit statuses and contents.

use super::{
    Platform,
    endpoint::{Endpoint, MOST_PAGES, commit_id, same_commit},
};
use crate::{
    model::{
        ci::{Branch, Check, CheckState, CiFault, CiRun, Dispatch, Requires},
        text::has_whole_token,
    },
    targets::http::escaped,
};
use async_trait::async_trait;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use std::collections::BTreeSet;

/// GitHub, asked about one repository.
pub(super) struct Github {
    endpoint: Endpoint,
    repository: String,
}

#[derive(Deserialize)]
struct CheckRuns {
    total_count: usize,
    check_runs: Vec<CheckRun>,
}

#[derive(Deserialize)]
struct CheckRun {
    name: String,
    head_sha: String,
    status: String,
    conclusion: Option<String>,
}

/// The combined status: of each context its newest.
#[derive(Deserialize)]
struct Combined {
    sha: String,
    total_count: usize,
    statuses: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    context: String,
    state: String,
}

#[derive(Deserialize)]
struct BranchAnswer {
    name: String,
    commit: Commit,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    protection: Option<Protection>,
}

#[derive(Deserialize)]
struct Commit {
    sha: String,
}

#[derive(Deserialize)]
struct Protection {
    #[serde(default)]
    required_status_checks: Option<RequiredChecks>,
}

#[derive(Deserialize)]
struct RequiredChecks {
    #[serde(default)]
    enforcement_level: Option<String>,
    #[serde(default)]
    contexts: Vec<String>,
    #[serde(default)]
    checks: Vec<RequiredCheck>,
}

#[derive(Deserialize)]
struct RequiredCheck {
    context: String,
}

/// A rule of a ruleset that is in force for a branch.
#[derive(Deserialize)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    parameters: Option<RuleParameters>,
}

#[derive(Deserialize)]
struct RuleParameters {
    #[serde(default)]
    required_status_checks: Vec<RequiredCheck>,
}

/// Newest first.
#[derive(Deserialize)]
struct WorkflowRuns {
    workflow_runs: Vec<WorkflowRun>,
}

#[derive(Deserialize)]
struct WorkflowRun {
    id: u64,
    /// What `run-name` of the workflow gives.
    #[serde(default)]
    display_title: Option<String>,
    head_sha: String,
    html_url: String,
    status: String,
    conclusion: Option<String>,
}

impl Github {
    pub fn new(endpoint: Endpoint, repository: &str) -> Self {
        let endpoint = endpoint.with("accept", "application/vnd.github+json").with("x-github-api-version", "2022-11-28");
        Github { endpoint, repository: repository.to_owned() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/repos/{}{rest}", self.repository)
    }

    async fn check_runs(&self, commit: &str) -> Result<Vec<Check>, CiFault> {
        let mut checks = Vec::new();
        let mut total = 0;
        for page in 1..=MOST_PAGES {
            let path = self.path(&format!("/commits/{commit}/check-runs?filter=latest&per_page=100&page={page}"));
            let answer: CheckRuns = self.endpoint.get(&path, &format!("commit {commit}")).await?.body;
            let is_last = answer.check_runs.is_empty();
            total = answer.total_count;
            for run in answer.check_runs {
                same_commit(commit, &run.head_sha)?;
                checks.push(run.check());
            }
            if is_last || checks.len() >= total {
                break;
            }
        }
        whole(checks, total)
    }

    async fn statuses(&self, commit: &str) -> Result<Vec<Check>, CiFault> {
        let mut checks = Vec::new();
        let mut total = 0;
        for page in 1..=MOST_PAGES {
            let path = self.path(&format!("/commits/{commit}/status?per_page=100&page={page}"));
            let answer: Combined = self.endpoint.get(&path, &format!("commit {commit}")).await?.body;
            same_commit(commit, &answer.sha)?;
            let is_last = answer.statuses.is_empty();
            total = answer.total_count;
            checks.extend(answer.statuses.into_iter().map(Status::check));
            if is_last || checks.len() >= total {
                break;
            }
        }
        whole(checks, total)
    }

    async fn rules(&self, branch: &str) -> Result<Vec<String>, CiFault> {
        let mut names = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = self.path(&format!("/rules/branches/{}?per_page=100&page={page}", escaped(branch)));
            let rules: Vec<Rule> = self.endpoint.get(&path, &format!("rules of branch `{branch}`")).await?.body;
            let is_last = rules.len() < 100;
            let of_checks = rules.into_iter().filter(|rule| rule.kind == "required_status_checks").filter_map(|rule| rule.parameters);
            names.extend(of_checks.flat_map(|parameters| parameters.required_status_checks).map(|check| check.context));
            if is_last {
                break;
            }
        }
        Ok(names)
    }
}

#[async_trait]
impl Platform for Github {
    async fn checks(&self, commit: &str) -> Result<Vec<Check>, CiFault> {
        let mut checks = self.check_runs(commit).await?;
        checks.extend(self.statuses(commit).await?);
        Ok(checks)
    }

    async fn branch(&self, name: &str) -> Result<Branch, CiFault> {
        let path = self.path(&format!("/branches/{}", escaped(name)));
        let answer: BranchAnswer = self.endpoint.get(&path, &format!("branch `{name}`")).await?.body;
        if answer.name != name {
            return Err(CiFault::Other { asked: format!("branch {name}"), answered: format!("branch {}", answer.name) });
        }
        let of_protection = answer.protection.and_then(|protection| protection.required_status_checks);
        let enforced = of_protection.filter(|required| answer.protected && required.enforcement_level.as_deref() != Some("off"));
        let mut names: BTreeSet<String> = self.rules(name).await?.into_iter().collect();
        if let Some(required) = enforced {
            names.extend(required.contexts);
            names.extend(required.checks.into_iter().map(|check| check.context));
        }
        let requires = match (names.is_empty(), answer.protected) {
            (false, _) => Requires::Checks(names.into_iter().collect()),
            (true, true) => Requires::Nothing("neither its protection nor a ruleset names one".into()),
            (true, false) => Requires::Nothing("it is not protected".into()),
        };
        Ok(Branch { head: commit_id(answer.commit.sha)?, requires })
    }

    async fn dispatch(&self, order: &Dispatch) -> Result<Option<CiRun>, CiFault> {
        let path = self.path(&format!("/actions/workflows/{}/dispatches", escaped(&order.workflow)));
        let mut inputs = json!(order.inputs);
        inputs["environment"] = json!(order.environment);
        inputs["interlock"] = json!(order.name);
        // GitHub answers without a body: which run it is shows by its name.
        let what = format!("workflow `{}`", order.workflow);
        self.endpoint.post::<IgnoredAny>(&path, &json!({ "ref": order.branch, "inputs": inputs }), &what).await?;
        Ok(None)
    }

    async fn run(&self, order: &Dispatch, id: Option<&str>) -> Result<Option<CiRun>, CiFault> {
        if let Some(id) = id {
            let run: WorkflowRun =
                self.endpoint.get(&self.path(&format!("/actions/runs/{}", escaped(id))), &format!("run {id}")).await?.body;
            let run = run.run();
            return if run.id == id {
                Ok(Some(run))
            } else {
                Err(CiFault::Other { asked: format!("run {id}"), answered: format!("run {}", run.id) })
            };
        }
        let path = self.path(&format!(
            "/actions/workflows/{}/runs?event=workflow_dispatch&branch={}&per_page=100",
            escaped(&order.workflow),
            escaped(&order.branch)
        ));
        let runs: WorkflowRuns = self.endpoint.get(&path, &format!("workflow `{}`", order.workflow)).await?.body;
        let is_it = |run: &WorkflowRun| run.display_title.as_deref().is_some_and(|title| has_whole_token(title, &order.name));
        Ok(runs.workflow_runs.into_iter().find(is_it).map(WorkflowRun::run))
    }

    async fn cancel(&self, id: &str) -> Result<(), CiFault> {
        let path = self.path(&format!("/actions/runs/{}/cancel", escaped(id)));
        self.endpoint.post::<IgnoredAny>(&path, &json!({}), &format!("run {id}")).await.map(drop)
    }
}

/// Reads how a check or a workflow's run stands.
fn state(status: &str, conclusion: Option<&str>) -> CheckState {
    match (status, conclusion) {
        ("completed", Some("success")) => CheckState::Passed,
        ("completed", Some("failure" | "timed_out" | "startup_failure")) => CheckState::Failed,
        // neutral, skipped, cancelled, stale, action_required, and what is not documented.
        ("completed", _) => CheckState::Silent,
        ("queued" | "in_progress" | "waiting" | "requested" | "pending", _) => CheckState::Pending,
        _ => CheckState::Silent,
    }
}

impl WorkflowRun {
    fn run(self) -> CiRun {
        // Whatever is not completed may still do something, by a word nobody knows, too.
        let is_over = self.status == "completed";
        let state = if is_over { state(&self.status, self.conclusion.as_deref()) } else { CheckState::Pending };
        let word = self.conclusion.unwrap_or(self.status);
        CiRun { id: self.id.to_string(), commit: self.head_sha, address: self.html_url, word, state }
    }
}

impl CheckRun {
    fn check(self) -> Check {
        let state = state(&self.status, self.conclusion.as_deref());
        let word = self.conclusion.unwrap_or(self.status);
        Check { name: self.name, state, word, may_fail: false }
    }
}

impl Status {
    fn check(self) -> Check {
        let state = match self.state.as_str() {
            "success" => CheckState::Passed,
            "failure" | "error" => CheckState::Failed,
            "pending" => CheckState::Pending,
            _ => CheckState::Silent,
        };
        Check { name: self.context, state, word: self.state, may_fail: false }
    }
}

/// Returns the checks if all of them came.
fn whole(checks: Vec<Check>, total: usize) -> Result<Vec<Check>, CiFault> {
    match checks.len() < total {
        true => Err(CiFault::Incomplete { got: checks.len(), of: total.to_string() }),
        false => Ok(checks),
    }
}
