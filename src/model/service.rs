//! A service in one environment, as the applied configuration says it runs. Its canonical JSON is the effective configuration that approvals bind.

use super::{
    about::About,
    ci::CiAccess,
    data::DataSpec,
    ids::{EnvironmentName, ServiceName},
    metric::MetricSpec,
    monitoring::Monitoring,
    rollout::Rollout,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One service × environment, every default filled in. Durations are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The team that owns it; stands in runbooks.
    pub owner: Option<String>,
    /// Whom to call; stands in runbooks.
    pub escalation: Option<String>,
    /// The argv of an instance; `{release}`, `{port}`, `{version}` are filled in. No shell.
    pub command: Vec<String>,
    /// When an instance counts as healthy.
    pub health: Health,
    /// How an instance shows its identity.
    pub version: Option<IdentityCheck>,
    /// Requests that must be answered as said.
    pub smoke: Vec<SmokeCheck>,
    /// How long requests in flight on the old set may take to end.
    pub drain_ms: u64,
    /// How long the new set is watched with the old one warm.
    pub bake_ms: u64,
    /// How many releases stay on disk for a way back.
    pub keep: u32,
    /// How many instances make a set.
    pub instances: u32,
    /// Environment variables; a value `env:NAME`, `file:PATH` or `exec:ARGV` is a secret reference, resolved as late as possible.
    pub env: BTreeMap<String, String>,
    /// What must answer before a deployment starts.
    pub dependencies: Vec<Dependency>,
    /// The hosts customers ask it for; empty for every host that no other service of its listener names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Where instances run.
    pub target: TargetKind,
    /// What moves traffic.
    pub router: RouterKind,
    /// How traffic moves to a new release.
    #[serde(default, skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// The commands that keep and change its data, and its hooks.
    #[serde(default, skip_serializing_if = "DataSpec::is_default")]
    pub data: DataSpec,
    /// Figures from outside that a new set is judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricSpec>,
    /// What people want to know about it.
    #[serde(default, skip_serializing_if = "About::is_default")]
    pub about: About,
    /// How it is watched from outside.
    #[serde(default, skip_serializing_if = "Monitoring::is_default")]
    pub monitoring: Monitoring,
}

/// When an instance counts as healthy: `successes` in a row before `deadline_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is asked.
    pub check: HealthCheck,
    /// Time between two checks.
    pub interval_ms: u64,
    /// Patience with one check.
    pub timeout_ms: u64,
    /// How many in a row make it healthy.
    pub successes: u32,
    /// When to give up.
    pub deadline_ms: u64,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// A GET of this path answers 2xx; redirects are not followed.
    Http(String),
    /// A TCP connection to the instance's port opens (`true` in configuration).
    Tcp,
    /// This argv exits 0; `{port}` is filled in.
    Exec(Vec<String>),
    /// The process is alive.
    Alive,
}

/// How an instance shows which version it is: the token stands in the answer as a whole word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityCheck {
    /// The path that is fetched.
    pub http: String,
    /// The token; `{version}` is filled in.
    pub token: String,
}

/// A request that must be answered as said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeCheck {
    /// The path that is fetched.
    pub http: String,
    /// The status it must have.
    pub status: u16,
    /// A text the body must contain.
    pub contains: Option<String>,
}

/// Something a deployment depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name in gates and messages.
    pub name: String,
    /// `host:port` that must accept a connection.
    pub tcp: String,
}

/// Where instances run. To add a kind: a variant here, one file in `src/targets/`, one match arm there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TargetKind {
    /// Processes on this machine, each under its own shim.
    Local,
    /// Whatever these commands deploy to: an existing `deploy.sh`, `kubectl` …
    Command(CommandTarget),
    /// Whatever a CI workflow deploys to.
    Ci(CiTarget),
}

impl TargetKind {
    /// Returns how long one change there may take, milliseconds; 0 where starting a process is all of it.
    pub fn timeout_ms(&self) -> u64 {
        match self {
            TargetKind::Local => 0,
            TargetKind::Command(target) => target.timeout_ms,
            TargetKind::Ci(target) => target.timeout_ms,
        }
    }
}

/// The commands that wrap an existing way to deploy. Argv, no shell; `{version}`, `{release}`, `{digest}`, `{instance}`, `{service}`,
/// `{environment}` and `{epoch}` are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandTarget {
    /// Makes this version run; safe twice. Exit 0 says that it does.
    pub apply: Vec<String>,
    /// Prints what runs, as JSON: `{"running": true, "version": "1.4.0", "address": "10.0.0.7:80"}`; without `address` the router's is asked.
    pub observe: Vec<String>,
    /// Takes back what `apply` did for this version; safe twice.
    pub undo: Vec<String>,
    /// Prints the newest lines of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Vec<String>>,
    /// How long one of them may take.
    pub timeout_ms: u64,
}

/// The workflow that deploys a service. What it is told is filled in like a command's argv, without `{release}`: the release's bytes are
/// where the platform keeps them, under their version or digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiTarget {
    /// Whom to ask: what `[ci]` says. An approval is bound to it, and the way back asks whoever was asked.
    pub access: CiAccess,
    /// GitHub's file in `.github/workflows`; of GitLab `.gitlab-ci.yml`.
    pub workflow: String,
    /// The branch it runs on.
    pub branch: String,
    /// What it is told, by name, beside the environment and its own name.
    pub inputs: BTreeMap<String, String>,
    /// How long a run may take.
    pub timeout_ms: u64,
}

/// What moves traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RouterKind {
    /// `interlock proxy` on this address.
    Proxy {
        /// `ip:port` customers connect to.
        listen: std::net::SocketAddr,
    },
    /// Something Interlock does not run: it moves traffic by itself when the target changes, or by this command.
    External {
        /// `ip:port` customers connect to.
        address: std::net::SocketAddr,
        /// Moves traffic to `{version}`; without it the target's `apply` does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<Vec<String>>,
    },
}

impl RouterKind {
    /// Returns the address customers connect to.
    pub fn listen(&self) -> std::net::SocketAddr {
        match self {
            RouterKind::Proxy { listen } => *listen,
            RouterKind::External { address, .. } => *address,
        }
    }
}

impl ServiceSpec {
    /// Says where customers reach it: `127.0.0.1:8080`, or ``shop.example and 2 more on 127.0.0.1:8080``.
    pub fn front(&self) -> String {
        let listen = self.router.listen();
        match self.hosts.as_slice() {
            [] => listen.to_string(),
            [only] => format!("{only} on {listen}"),
            [first, more @ ..] => format!("{first} and {} more on {listen}", more.len()),
        }
    }

    /// Returns the host that requests of ours ask for; none where any will do. Of a wildcard it is one that nobody has.
    pub fn host(&self) -> Option<String> {
        let exact = self.hosts.iter().find(|host| !host.starts_with('*'));
        exact.or(self.hosts.first()).map(|host| host.replace('*', "interlock-probe"))
    }

    /// Returns the name its router knows it by: unique on a listener that several environments share.
    pub fn routed_as(&self) -> String {
        format!("{}/{}", self.environment, self.service)
    }

    /// Returns the environment variables whose value is a secret reference, by name.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, SecretRef)> {
        self.env.iter().filter_map(|(name, value)| SecretRef::parse(value).map(|reference| (name.as_str(), reference)))
    }
}

/// Where a secret's value comes from. The value itself is never held here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// A variable of the server's environment.
    Env(String),
    /// The content of a file, without its last line feed.
    File(String),
    /// The output of a command, words split at spaces, without its last line feed.
    Exec(Vec<String>),
}

impl SecretRef {
    /// Reads `env:NAME`, `file:PATH` or `exec:ARGV`; any other text is a plain value and gives `None`.
    pub fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.split_once(':')?;
        match scheme {
            "env" => Some(SecretRef::Env(rest.to_owned())),
            "file" => Some(SecretRef::File(rest.to_owned())),
            "exec" => Some(SecretRef::Exec(rest.split_whitespace().map(str::to_owned).collect())),
            _ => None,
        }
    }
}

/// Fills `{name}` places in a text; unknown places stay as they are.
pub fn fill(text: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}
