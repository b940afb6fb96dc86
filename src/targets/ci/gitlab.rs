//! GitLab's REST API, version 4: the statuses of a commit (its jobs, and what others report), and whether a branch is reached only through
//! a pipeline that succeeds. The token needs `read_api`.

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
use serde_json::{Value, json};

/// GitLab, asked about one project.
pub(super) struct Gitlab {
    endpoint: Endpoint,
    /// `/api/v4/projects/group%2Fname`.
    project: String,
}

#[derive(Deserialize)]
struct Status {
    sha: String,
    name: String,
    status: String,
    #[serde(default)]
    allow_failure: bool,
}

#[derive(Deserialize)]
struct BranchAnswer {
    name: String,
    #[serde(default)]
    protected: bool,
    commit: Commit,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
}

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    only_allow_merge_if_pipeline_succeeds: bool,
    /// `null` where nobody has ever set it.
    #[serde(default)]
    allow_merge_on_skipped_pipeline: Option<bool>,
}

#[derive(Deserialize)]
struct Pipeline {
    id: u64,
    sha: String,
    status: String,
    web_url: String,
    #[serde(default)]
    name: Option<String>,
}

impl Gitlab {
    pub fn new(endpoint: Endpoint, repository: &str) -> Self {
        Gitlab { endpoint, project: format!("/api/v4/projects/{}", escaped(repository)) }
    }
}

#[async_trait]
impl Platform for Gitlab {
    async fn checks(&self, commit: &str) -> Result<Vec<Check>, CiFault> {
        let mut checks = Vec::new();
        let mut page = "1".to_owned();
        for _ in 0..MOST_PAGES {
            // Without `all`, GitLab gives of each job the newest run.
            let path = format!("{}/repository/commits/{commit}/statuses?per_page=100&page={}", self.project, escaped(&page));
            let answer = self.endpoint.get::<Vec<Status>>(&path, &format!("commit {commit}")).await?;
            for status in answer.body {
                same_commit(commit, &status.sha)?;
                checks.push(status.check());
            }
            match answer.next {
                Some(next) => page = next,
                None => return Ok(checks),
            }
        }
        Err(CiFault::Incomplete { got: checks.len(), of: "more".into() })
    }

    async fn branch(&self, name: &str) -> Result<Branch, CiFault> {
        let path = format!("{}/repository/branches/{}", self.project, escaped(name));
        let answer: BranchAnswer = self.endpoint.get(&path, &format!("branch `{name}`")).await?.body;
        if answer.name != name {
            return Err(CiFault::Other { asked: format!("branch {name}"), answered: format!("branch {}", answer.name) });
        }
        let project: Project = self.endpoint.get(&self.project, "project").await?.body;
        let requires = if !answer.protected {
            Requires::Nothing("it is not protected".into())
        } else if !project.only_allow_merge_if_pipeline_succeeds {
            Requires::Nothing("the project merges without a pipeline that succeeds".into())
        } else if project.allow_merge_on_skipped_pipeline == Some(true) {
            Requires::Nothing("the project merges when the pipeline was skipped".into())
        } else {
            Requires::Pipeline
        };
        Ok(Branch { head: commit_id(answer.commit.id)?, requires })
    }

    async fn dispatch(&self, order: &Dispatch) -> Result<Option<CiRun>, CiFault> {
        let variable = |key: &str, value: &str| json!({ "key": key, "value": value });
        let own = [variable("INTERLOCK_ENVIRONMENT", &order.environment), variable("INTERLOCK_RUN", &order.name)];
        let told = order.inputs.iter().map(|(key, value)| variable(key, value));
        let variables: Vec<Value> = own.into_iter().chain(told).collect();
        let body = json!({ "ref": order.branch, "variables": variables });
        let started = self.endpoint.post::<Pipeline>(&format!("{}/pipeline", self.project), &body, "pipeline").await?;
        started.map(|pipeline| Some(pipeline.run())).ok_or_else(|| CiFault::Malformed("it names no pipeline".into()))
    }

    async fn run(&self, order: &Dispatch, id: Option<&str>) -> Result<Option<CiRun>, CiFault> {
        let Some(id) = id else {
            // Only where the answer to its start was lost: what it is called is what its `workflow: name` gives.
            let path = format!("{}/pipelines?source=api&ref={}&per_page=100", self.project, escaped(&order.branch));
            let pipelines = self.endpoint.get::<Vec<Pipeline>>(&path, "pipelines").await?.body;
            let is_it = |pipeline: &Pipeline| pipeline.name.as_deref().is_some_and(|name| has_whole_token(name, &order.name));
            return Ok(pipelines.into_iter().find(is_it).map(Pipeline::run));
        };
        let path = format!("{}/pipelines/{}", self.project, escaped(id));
        let run = self.endpoint.get::<Pipeline>(&path, &format!("pipeline {id}")).await?.body.run();
        if run.id == id {
            Ok(Some(run))
        } else {
            Err(CiFault::Other { asked: format!("pipeline {id}"), answered: format!("pipeline {}", run.id) })
        }
    }

    async fn cancel(&self, id: &str) -> Result<(), CiFault> {
        let path = format!("{}/pipelines/{}/cancel", self.project, escaped(id));
        self.endpoint.post::<IgnoredAny>(&path, &json!({}), &format!("pipeline {id}")).await.map(drop)
    }
}

/// Reads how a job or a pipeline stands.
fn state(status: &str) -> CheckState {
    match status {
        "success" => CheckState::Passed,
        "failed" => CheckState::Failed,
        "created" | "waiting_for_resource" | "preparing" | "pending" | "running" | "scheduled" => CheckState::Pending,
        // canceled, skipped, manual, and what is not documented.
        _ => CheckState::Silent,
    }
}

impl Pipeline {
    fn run(self) -> CiRun {
        // Whatever has not ended may still do something: what waits for a hand, is being cancelled, or has a word nobody knows.
        let is_over = ["success", "failed", "canceled", "skipped"].contains(&self.status.as_str());
        let state = if is_over { state(&self.status) } else { CheckState::Pending };
        CiRun { id: self.id.to_string(), commit: self.sha, address: self.web_url, state, word: self.status }
    }
}

impl Status {
    fn check(self) -> Check {
        let state = state(&self.status);
        Check { name: self.name, state, word: self.status, may_fail: self.allow_failure }
    }
}
