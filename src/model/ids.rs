//! Names and numbers of things, each a type of its own, so that one is never taken for another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Returns the text of this name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok($name(text.to_owned()))
            }
        }
    )*};
}

text_id! {
    /// A directive, `SD-DEPLOY-001`.
    DirectiveId;
    /// A plan, `plan_` and the first 16 hex digits of its SHA-256.
    PlanId;
    /// A deployment, `dep_1`, counted from the record.
    DeploymentId;
    /// A runbook, `rb_` and the environment and service it is for.
    RunbookId;
    /// A service of the project, as `interlock.toml` names it.
    ServiceName;
    /// An environment of the project, as `interlock.toml` names it.
    EnvironmentName;
    /// One running copy of a release: `<environment>-<service>-<deployment>-<index>`.
    InstanceId;
    /// A person who may decide.
    ApproverName;
    /// A gate: `tests`, `coverage`, `freeze` …
    GateName;
    /// A step of a plan, unique in it: `start-1`, `shift` …
    StepId;
    /// A piece of evidence, `ev_` and a counter.
    EvidenceId;
}

impl RunbookId {
    /// Returns the id of the runbook of a service in an environment.
    pub fn of(environment: &EnvironmentName, service: &ServiceName) -> Self {
        RunbookId(format!("rb_{environment}_{service}"))
    }
}

impl InstanceId {
    /// Returns the id of the `index`-th instance (from 1) that `deployment` starts.
    pub fn of(environment: &EnvironmentName, service: &ServiceName, deployment: &DeploymentId, index: u32) -> Self {
        InstanceId(format!("{environment}-{service}-{deployment}-{index}"))
    }
}

/// The epoch of an environment's lease: it only grows, and a lower one is refused wherever it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
