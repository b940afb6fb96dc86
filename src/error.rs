//! The one error that crosses the edges: a stable code, a message for people, a hint, and who can do something about it.

use crate::model::Who;
use serde::{Deserialize, Serialize};

/// Why a call was refused or failed. Messages are lower-case, name the thing in backticks, and never hold a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable code callers match on.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: String,
    /// Who can do something about it.
    pub who: Who,
    /// How long to wait before the same call may work; `None` when the same call will fail again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after_seconds: Option<u64>,
    /// Further facts: faults, gates, the field that changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<serde_json::Value>,
}

/// Result of anything that crosses an edge.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, exit $exit:literal, who $who:ident, hint $hint:literal;)*) => {
        /// What went wrong, in one word. Never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code, in the order the docs list them.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// Returns the code's text.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }

            /// Returns what it means, for the docs.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+)),* }
            }

            /// Returns the exit code of the command line.
            pub fn exit(self) -> u8 {
                match self { $(Code::$name => $exit),* }
            }

            fn who(self) -> Who {
                match self { $(Code::$name => Who::$who),* }
            }

            fn hint(self) -> &'static str {
                match self { $(Code::$name => $hint),* }
            }
        }
    };
}

codes! {
    /// An argument is missing, of the wrong type, unknown or out of range.
    InvalidArguments = "invalid_arguments", exit 2, who Agent, hint "correct the argument and call again";
    /// No workspace was found.
    NoWorkspace = "no_workspace", exit 2, who Person, hint "run `interlock init` in the project's folder, or pass --workspace";
    /// The configuration has faults; all of them are listed.
    InvalidConfiguration = "invalid_configuration", exit 2, who Agent, hint "mend every listed line, then `interlock apply`";
    /// A configuration revision waits for an approver's signature.
    ConfigurationPending = "configuration_pending", exit 3, who Person, hint "an approver runs `interlock apply`";
    /// There is nothing of that name or id.
    NotFound = "not_found", exit 1, who Agent, hint "call `get_status` to see what there is";
    /// The artifact is missing, unreadable, empty, or leads out of the workspace.
    InvalidArtifact = "invalid_artifact", exit 1, who Agent, hint "build the artifact inside the workspace and name its path";
    /// The pinned bytes of a release no longer match their digest.
    ArtifactChanged = "artifact_changed", exit 9, who Person, hint "the release store was altered: create a new directive from the artifact";
    /// The directive, plan or deployment is not in a state that allows this.
    WrongState = "wrong_state", exit 6, who Agent, hint "call `get_status` with the directive to see what is next";
    /// Somebody else changes this environment now.
    Conflict = "conflict", exit 6, who Agent, hint "wait for the running deployment with `get_deployment`, then call again";
    /// A gate does not pass.
    GateFailed = "gate_failed", exit 4, who Agent, hint "see `details.gates`: each says what it needs, who can supply it and how";
    /// The plan waits for a person.
    ApprovalRequired = "approval_required", exit 3, who Person, hint "an approver runs `interlock approve`; wait with `get_status`";
    /// A person has refused the plan.
    ApprovalRejected = "approval_rejected", exit 7, who Person, hint "read the reason, mend it in a new directive, or ask an approver to reopen";
    /// Nobody decided in time, or the approval was not used in time.
    ApprovalExpired = "approval_expired", exit 3, who Agent, hint "call `plan_deployment` again to open a new request";
    /// What the approval was bound to has changed; the field is named.
    ApprovalVoid = "approval_void", exit 7, who Agent, hint "call `plan_deployment` again; a person decides anew";
    /// The plan no longer starts from what serves.
    StalePlan = "stale_plan", exit 6, who Agent, hint "call `plan_deployment` again";
    /// The environment is frozen.
    Frozen = "frozen", exit 7, who Person, hint "wait for the freeze to end, or ask an approver to lift it";
    /// A decision does not count: wrong signature, used, expired, or not over these bytes.
    DecisionRefused = "decision_refused", exit 7, who Person, hint "decide again with `interlock approve`";
    /// Only a person may do this.
    DeniedByPolicy = "denied_by_policy", exit 7, who Person, hint "ask a person";
    /// The request bears no valid token, or comes from a foreign host or origin.
    Unauthorized = "unauthorized", exit 7, who Person, hint "send `Authorization: Bearer` with the content of `.interlock/token` from the same machine";
    /// A port that is needed is taken by another process.
    PortTaken = "port_taken", exit 1, who Person, hint "free the port, or change `listen`";
    /// An instance did not become healthy.
    Unhealthy = "unhealthy", exit 5, who Agent, hint "read the instance's log with `read_log`";
    /// An instance ended by itself.
    InstanceExited = "instance_exited", exit 5, who Agent, hint "read the instance's log with `read_log`";
    /// An instance shows another version than the one deployed.
    WrongVersion = "wrong_version", exit 5, who Agent, hint "build the artifact anew so that it shows its version";
    /// A smoke check was not answered as said.
    SmokeFailed = "smoke_failed", exit 5, who Agent, hint "read the report with `get_deployment` and the log with `read_log`";
    /// A watched measure crossed its threshold.
    ThresholdCrossed = "threshold_crossed", exit 5, who Agent, hint "read the incident with `get_deployment`";
    /// Somebody asked to go back.
    Aborted = "aborted", exit 5, who Agent, hint "read who asked and why with `get_deployment`";
    /// A step took longer than its limit.
    StepTimeout = "step_timeout", exit 5, who Agent, hint "read the instance's log with `read_log`";
    /// There is nothing to go back to.
    NothingToRollBack = "nothing_to_roll_back", exit 1, who Agent, hint "call `list_deployments`";
    /// The outcome is unknown or cannot be undone; a person chooses.
    Stuck = "stuck", exit 8, who Person, hint "`get_deployment` says what is known; a person chooses with `interlock resolve`";
    /// The target could not do what it was told.
    TargetFailed = "target_failed", exit 1, who Person, hint "see the message; `interlock doctor` checks the machine";
    /// The router could not do what it was told.
    RouterFailed = "router_failed", exit 1, who Person, hint "see the message; `interlock doctor` checks the machine";
    /// A lower epoch than one already seen: another server has taken over.
    StaleEpoch = "stale_epoch", exit 6, who Server, hint "the newer server goes on; nothing to do";
    /// The database cannot be used now; nothing was changed.
    DatabaseUnavailable = "database_unavailable", exit 75, who Server, hint "nothing was changed; call again later";
    /// The database is written by a newer Interlock.
    DatabaseNewer = "database_newer", exit 1, who Person, hint "start the newer version of interlock again";
    /// The disk is full or a size limit was hit; nothing was changed.
    DiskFull = "disk_full", exit 75, who Person, hint "free some space and call again";
    /// Another server runs in this workspace.
    ServerRunning = "server_running", exit 6, who Person, hint "use the running one, `interlock stop` it first, or wait for its end with `interlock serve --standby`";
    /// The server cannot be reached.
    ServerUnavailable = "server_unavailable", exit 75, who Server, hint "call again; the server is starting or was restarted";
    /// The record was altered from outside.
    AuditBroken = "audit_broken", exit 9, who Person, hint "`interlock audit verify` names the first entry that does not fit";
    /// A bug in Interlock.
    Internal = "internal", exit 1, who Person, hint "read the server's log in `.interlock/logs`, and report it";
    /// The record of this workspace is in another database.
    DatabaseElsewhere = "database_elsewhere", exit 1, who Person, hint "start the server with INTERLOCK_DATABASE_URL as before; for a new record, move `.interlock` away";
    /// The new release could not be judged in its time: a person decides whether it goes on.
    Inconclusive = "inconclusive", exit 8, who Person, hint "`get_deployment` says what is known and what it needs";
    /// A migration may break the release that serves, in the plan that brings its own.
    ContractMigration = "contract_migration", exit 4, who Agent, hint "deploy it with a later release, or ask a person to declare it a pivot";
    /// An earlier release may not work with the database as it is: traffic alone does not go back.
    PastMigration = "past_migration", exit 7, who Person, hint "an approver runs `interlock restore`";
    /// No backup is there that can be read back.
    BackupFailed = "backup_failed", exit 5, who Person, hint "mend `backup` in the configuration, or what it runs";
    /// Traffic did not go there and come back on a second listener.
    RehearsalFailed = "rehearsal_failed", exit 5, who Agent, hint "nothing has moved: look at the step `rehearse`, mend what it saw, plan again";
    /// The operation belongs to a toolset that is not offered to agents here.
    NotOffered = "not_offered", exit 7, who Person, hint "offer its toolset with `--toolsets`";
    /// A venture passes one stage at a time, when the server completes the stage's directive.
    StageSkipped = "stage_skipped", exit 6, who Agent, hint "call `get_venture` to see where it stands and what that stage needs";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// Returns an error with the code's own hint and who.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let after_seconds = matches!(code, Code::Conflict | Code::DatabaseUnavailable | Code::ServerUnavailable).then_some(2);
        Error { code, message: message.into(), hint: code.hint().into(), who: code.who(), after_seconds, details: None }
    }

    /// Returns `invalid_arguments`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Code::InvalidArguments, message)
    }

    /// Returns `not_found` for a thing and its name: ``no deployment `dep_9` ``.
    pub fn not_found(thing: &str, name: impl std::fmt::Display) -> Self {
        Error::new(Code::NotFound, format!("no {thing} `{}`", crate::model::text::visible_line(&name.to_string(), 120)))
    }

    /// Returns `internal`, and logs the whole chain of causes once.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let cause = cause.into();
        tracing::error!("internal error: {cause:#}");
        Error::new(Code::Internal, "something went wrong inside the server; its log says what")
    }

    /// Replaces the hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Replaces who can do something.
    pub fn who(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// Adds further facts.
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Says that the same call may work after this many seconds.
    pub fn after(mut self, seconds: u64) -> Self {
        self.after_seconds = Some(seconds);
        self
    }
}
