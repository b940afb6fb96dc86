//! A CI platform on loopback that speaks the documented shapes of GitHub's and GitLab's REST APIs, and can be told to fail or to lie.

use interlock::model::ci::{CiConfig, CiPlace, CiPlatform};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A platform with one repository, `shop/web`.
#[derive(Clone)]
pub struct Forge {
    pub address: SocketAddr,
    pub platform: CiPlatform,
    world: Arc<Mutex<World>>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What the platform has.
#[derive(Clone)]
pub struct World {
    /// Commit, name and the platform's own word: GitHub's conclusion, or its status where there is none; GitLab's status.
    pub checks: Vec<(String, String, String)>,
    /// GitHub's commit statuses, which came before check runs.
    pub statuses: Vec<(String, String, String)>,
    /// GitLab's jobs that may fail.
    pub may_fail: Vec<String>,
    /// The newest commit of `main`.
    pub head: String,
    pub is_protected: bool,
    /// What GitHub's branch protection requires.
    pub required: Vec<String>,
    /// What GitHub's rulesets require.
    pub ruled: Vec<String>,
    /// Whether GitLab merges only after a pipeline that succeeds.
    pub needs_pipeline: bool,
    /// No page is longer.
    pub page: usize,
    pub fault: Fault,
    /// Runs of workflows that were started: name, environment, the platform's word, commit.
    pub runs: Vec<(String, String, String, String)>,
    /// Whether a run that was started shows.
    pub shows_runs: bool,
    /// What each run was told.
    pub told: Vec<BTreeMap<String, String>>,
    /// The word a run of a version starts with, where it is none that waits: how it ends.
    pub outcomes: BTreeMap<String, &'static str>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    None,
    /// It takes the question and never answers.
    Silent,
    /// It answers so, with these headers.
    Says(u16, &'static str, &'static str),
    /// It answers about this commit, whatever it is asked.
    Lies(&'static str),
    /// It has more than it gives.
    Withholds,
    /// It starts what it is asked to, and never answers.
    Unanswered,
}

impl Forge {
    /// Starts one; everything below works until it is told otherwise.
    pub async fn start(platform: CiPlatform, head: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World {
            checks: Vec::new(),
            statuses: Vec::new(),
            may_fail: Vec::new(),
            head: head.into(),
            is_protected: true,
            required: Vec::new(),
            ruled: Vec::new(),
            needs_pipeline: true,
            page: 100,
            fault: Fault::None,
            runs: Vec::new(),
            shows_runs: true,
            told: Vec::new(),
            outcomes: BTreeMap::new(),
        };
        let address = listener.local_addr().unwrap();
        let forge = Forge { address, platform, world: Arc::new(Mutex::new(world)), asked: Arc::default() };
        let served = forge.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().answer(stream));
            }
        });
        forge
    }

    /// Changes what it has.
    pub fn set(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    /// Records how a check of a commit stands.
    pub fn says(&self, commit: &str, name: &str, word: &str) {
        self.set(|world| {
            world.checks.retain(|(of, one, _)| (of.as_str(), one.as_str()) != (commit, name));
            world.checks.push((commit.into(), name.into(), word.into()));
        });
    }

    /// Returns the version that the newest successful run was told.
    pub fn deployed(&self) -> String {
        let world = self.world.lock().unwrap();
        let newest = world.runs.iter().zip(&world.told).rev().find(|((_, _, word, _), _)| word == "success");
        newest.map(|(_, told)| told["version"].clone()).unwrap_or_default()
    }

    /// Returns the version of every run that was started, in order.
    pub fn started(&self) -> Vec<String> {
        self.world.lock().unwrap().told.iter().map(|told| told["version"].clone()).collect()
    }

    /// Lets customers connect to what its runs have deployed, until the task is aborted.
    pub async fn site(&self) -> (SocketAddr, JoinHandle<()>) {
        let (listener, forge) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), self.clone());
        let address = listener.local_addr().unwrap();
        let open = tokio::spawn(async move {
            while let Ok((mut customer, _)) = listener.accept().await {
                let version = forge.deployed();
                tokio::spawn(async move {
                    let _ = customer.read(&mut [0; 1024]).await;
                    let _ = customer.write_all(answer(200, "", &format!("hello from {version}\n")).as_bytes()).await;
                });
            }
        });
        (address, open)
    }

    /// Returns the heads of every question, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns a configuration that asks it for these checks of the commit.
    pub fn config(&self, checks: &[&str]) -> CiConfig {
        CiConfig {
            platform: self.platform,
            repository: "shop/web".into(),
            address: format!("http://{}", self.address),
            token: None,
            base_branch: "main".into(),
            checks: checks.iter().map(|check| (*check).to_owned()).collect(),
            on: CiPlace::Commit,
            required: false,
            timeout_ms: 5_000,
        }
    }

    async fn answer(self, mut stream: TcpStream) {
        let Some((head, body)) = request(&mut stream).await else { return };
        self.asked.lock().unwrap().push(head.clone());
        let mut world = self.world.lock().unwrap().clone();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, headers, body) = match world.fault {
            Fault::Silent => {
                // Held open until the one who asks has gone.
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Fault::Says(status, headers, body) => (status, headers.to_owned(), body.to_owned()),
            _ if head.starts_with("POST ") => {
                let is_answered = world.fault != Fault::Unanswered;
                let (status, body) = world.started(&target, &serde_json::from_str(&body).unwrap_or_default());
                self.set(|kept| (kept.runs, kept.told) = (world.runs.clone(), world.told.clone()));
                if !is_answered {
                    let _ = stream.read(&mut [0; 1]).await;
                    return;
                }
                (status, String::new(), body)
            }
            _ => {
                let (path, query) = target.split_once('?').unwrap_or((&target, ""));
                let (status, headers, body) = match self.platform {
                    CiPlatform::Github => world.github(path, query),
                    CiPlatform::Gitlab => world.gitlab(path, query),
                };
                (status, headers, body.to_string())
            }
        };
        let _ = stream.write_all(answer(status, &headers, &body).as_bytes()).await;
    }
}

/// Returns a whole answer, after which the connection is closed.
fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}", body.len())
}

impl World {
    fn github(&self, path: &str, query: &str) -> (u16, String, Value) {
        let none = || {
            (404, String::new(), json!({ "message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404" }))
        };
        let Some(rest) = path.strip_prefix("/repos/shop/web/") else { return none() };
        let of_commit = |list: &[(String, String, String)], commit: &str| -> Vec<(String, String)> {
            list.iter().filter(|(of, ..)| of == commit).map(|(_, name, word)| (name.clone(), word.clone())).collect()
        };
        match rest.split('/').collect::<Vec<_>>()[..] {
            ["commits", commit, "check-runs"] => {
                let all = of_commit(&self.checks, commit);
                let page = paged(&all, query, self.page);
                let runs: Vec<Value> = page.iter().map(|(name, word)| check_run(name, word, self.commit(commit))).collect();
                (200, String::new(), json!({ "total_count": self.total(all.len()), "check_runs": runs }))
            }
            ["commits", commit, "status"] => {
                let all = of_commit(&self.statuses, commit);
                let page = paged(&all, query, self.page);
                let statuses: Vec<Value> = page
                    .iter()
                    .map(|(context, state)| json!({ "id": 1, "state": state, "context": context, "description": null, "target_url": null }))
                    .collect();
                let body = json!({ "state": "pending", "statuses": statuses, "sha": self.commit(commit), "total_count": all.len(),
                    "repository": { "full_name": "shop/web" }, "commit_url": "", "url": "" });
                (200, String::new(), body)
            }
            ["branches", "main"] => {
                let level = if self.required.is_empty() { "off" } else { "non_admins" };
                let checks: Vec<Value> = self.required.iter().map(|name| json!({ "context": name, "app_id": 15368 })).collect();
                let required = json!({ "enforcement_level": level, "contexts": self.required, "checks": checks });
                let body = json!({ "name": "main", "commit": { "sha": self.head, "url": "" }, "protected": self.is_protected,
                    "protection": { "enabled": self.is_protected, "required_status_checks": required }, "protection_url": "" });
                (200, String::new(), body)
            }
            ["actions", "workflows", "deploy-web.yml" | "release.yml", "runs"] => {
                let runs: Vec<Value> = (0..self.runs.len()).rev().map(|at| self.workflow_run(at)).collect();
                let runs = if self.shows_runs { runs } else { Vec::new() };
                (200, String::new(), json!({ "total_count": runs.len(), "workflow_runs": runs }))
            }
            ["actions", "runs", id] => match id.parse::<usize>().ok().filter(|id| (100..100 + self.runs.len()).contains(id)) {
                Some(id) => (200, String::new(), self.workflow_run(id - 100)),
                None => none(),
            },
            ["rules", "branches", "main"] => {
                let checks: Vec<Value> = self.ruled.iter().map(|name| json!({ "context": name, "integration_id": 15368 })).collect();
                let rule = json!({ "type": "required_status_checks", "ruleset_source_type": "Repository", "ruleset_source": "shop/web",
                    "ruleset_id": 7, "parameters": { "required_status_checks": checks, "strict_required_status_checks_policy": false } });
                let other =
                    json!({ "type": "deletion", "ruleset_source_type": "Repository", "ruleset_source": "shop/web", "ruleset_id": 7 });
                (200, String::new(), if self.ruled.is_empty() { json!([other]) } else { json!([other, rule]) })
            }
            _ => none(),
        }
    }

    fn gitlab(&self, path: &str, query: &str) -> (u16, String, Value) {
        let none = || (404, String::new(), json!({ "message": "404 Not found" }));
        let Some(rest) = path.strip_prefix("/api/v4/projects/shop%2Fweb") else { return none() };
        match rest.split('/').collect::<Vec<_>>()[..] {
            [""] => {
                let body = json!({ "id": 7, "path_with_namespace": "shop/web", "default_branch": "main",
                    "only_allow_merge_if_pipeline_succeeds": self.needs_pipeline, "allow_merge_on_skipped_pipeline": null });
                (200, String::new(), body)
            }
            ["", "pipelines"] => {
                let pipelines = (0..self.runs.len()).rev().map(|at| self.pipeline(at)).collect();
                (200, String::new(), Value::Array(if self.shows_runs { pipelines } else { Vec::new() }))
            }
            ["", "pipelines", id] => match id.parse::<usize>().ok().filter(|id| (100..100 + self.runs.len()).contains(id)) {
                Some(id) => (200, String::new(), self.pipeline(id - 100)),
                None => none(),
            },
            ["", "repository", "branches", "main"] => {
                let commit = json!({ "id": self.head, "short_id": &self.head[..8], "title": "a change" });
                (
                    200,
                    String::new(),
                    json!({ "name": "main", "merged": false, "protected": self.is_protected, "default": true, "commit": commit }),
                )
            }
            ["", "repository", "commits", commit, "statuses"] => {
                let all: Vec<&(String, String, String)> = self.checks.iter().filter(|(of, ..)| of == commit).collect();
                let page = paged(&all, query, self.page);
                let statuses: Vec<Value> = page
                    .iter()
                    .map(|(_, name, status)| {
                        json!({ "id": 93, "sha": self.commit(commit), "ref": "main", "status": status, "name": name, "target_url": "",
                            "allow_failure": self.may_fail.contains(name), "pipeline_id": 46, "coverage": null })
                    })
                    .collect();
                let number: usize = value(query, "page").unwrap_or(1);
                let next = if number * self.page < self.total(all.len()) { (number + 1).to_string() } else { String::new() };
                (200, format!("x-page: {number}\r\nx-next-page: {next}\r\n"), Value::Array(statuses))
            }
            _ => none(),
        }
    }

    /// Starts a run, as each platform is asked to; GitHub answers without a body.
    fn started(&mut self, target: &str, body: &Value) -> (u16, String) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match target {
            "/repos/shop/web/actions/workflows/deploy-web.yml/dispatches" | "/repos/shop/web/actions/workflows/release.yml/dispatches"
                if body["ref"] == "main" =>
            {
                let (name, environment) = (word(&body["inputs"]["interlock"]), word(&body["inputs"]["environment"]));
                let told = serde_json::from_value(body["inputs"].clone()).unwrap();
                self.begin(name, environment, "queued", told);
                (204, String::new())
            }
            "/api/v4/projects/shop%2Fweb/pipeline" if body["ref"] == "main" => {
                let value = |key: &str| word(&body["variables"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap()["value"]);
                let told = body["variables"].as_array().unwrap().iter().map(|one| (word(&one["key"]), word(&one["value"]))).collect();
                self.begin(value("INTERLOCK_RUN"), value("INTERLOCK_ENVIRONMENT"), "created", told);
                (201, self.pipeline(self.runs.len() - 1).to_string())
            }
            _ => match target.strip_suffix("/cancel").and_then(|run| run.rsplit('/').next()?.parse::<usize>().ok()) {
                Some(id) if (100..100 + self.runs.len()).contains(&id) => {
                    self.runs[id - 100].2 = if target.starts_with("/repos") { "cancelled" } else { "canceled" }.into();
                    (202, "{}".into())
                }
                _ => (404, json!({ "message": "Not Found" }).to_string()),
            },
        }
    }

    fn begin(&mut self, name: String, environment: String, word: &str, told: BTreeMap<String, String>) {
        let word = told.get("version").and_then(|version| self.outcomes.get(version)).copied().unwrap_or(word);
        self.runs.push((name, environment, word.into(), self.head.clone()));
        self.told.push(told);
    }

    fn workflow_run(&self, at: usize) -> Value {
        let (name, environment, word, commit) = &self.runs[at];
        let check = check_run("", word, commit);
        json!({ "id": 100 + at, "name": "deploy web", "display_title": format!("deploy web ({environment}) {name}"), "head_branch": "main",
            "head_sha": commit, "event": "workflow_dispatch", "status": check["status"], "conclusion": check["conclusion"],
            "html_url": format!("http://forge/shop/web/actions/runs/{}", 100 + at), "run_attempt": 1 })
    }

    fn pipeline(&self, at: usize) -> Value {
        let (name, environment, word, commit) = &self.runs[at];
        json!({ "id": 100 + at, "iid": 1, "project_id": 7, "name": format!("deploy web {environment} {name}"), "sha": commit, "ref": "main", "status": word, "source": "api",
            "web_url": format!("http://forge/shop/web/-/pipelines/{}", 100 + at) })
    }

    fn commit<'a>(&self, asked: &'a str) -> &'a str {
        match self.fault {
            Fault::Lies(other) => other,
            _ => asked,
        }
    }

    fn total(&self, there: usize) -> usize {
        if self.fault == Fault::Withholds { usize::MAX / 2 } else { there }
    }
}

fn check_run(name: &str, word: &str, commit: &str) -> Value {
    let is_under_way = ["queued", "in_progress", "waiting", "requested", "pending"].contains(&word);
    let (status, conclusion) = if is_under_way { (word, Value::Null) } else { ("completed", json!(word)) };
    json!({ "id": 4, "name": name, "head_sha": commit, "external_id": "", "status": status, "conclusion": conclusion,
        "started_at": "2026-05-04T01:14:52Z", "completed_at": null, "html_url": "", "output": { "title": null, "annotations_count": 0 },
        "check_suite": { "id": 5 }, "app": { "id": 15368, "slug": "github-actions" }, "pull_requests": [] })
}

/// Returns the page that is asked for, of at most `most`.
fn paged<T: Clone>(all: &[T], query: &str, most: usize) -> Vec<T> {
    let (page, per_page): (usize, usize) = (value(query, "page").unwrap_or(1), value(query, "per_page").unwrap_or(30));
    let size = per_page.min(most);
    all.iter().skip((page - 1) * size).take(size).cloned().collect()
}

fn value(query: &str, name: &str) -> Option<usize> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// Reads one request: its head, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
