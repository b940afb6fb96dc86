//! GitLab's REST API, version 4: the statuses of a commit (its jobs, and what others report), and whether a branch is reached only through
//! a pipeline that succeeds. The token needs `read_api`.

use super::{
    Platform,
    endpoint::{Endpoint, MOST_PAGES, commit_id, same_commit},
};
use crate::{
    model::ci::{Branch, Check, CheckState, CiFault, Requires},
    targets::http::escaped,
};
use async_trait::async_trait;
use serde::Deserialize;

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
}

impl Status {
    fn check(self) -> Check {
        let state = match self.status.as_str() {
            "success" => CheckState::Passed,
            "failed" => CheckState::Failed,
            "created" | "waiting_for_resource" | "preparing" | "pending" | "running" | "scheduled" => CheckState::Pending,
            // canceled, skipped, manual, and what is not documented.
            _ => CheckState::Silent,
        };
        Check { name: self.name, state, word: self.status, may_fail: self.allow_failure }
    }
}
