//! Gates: a typed rule over evidence or over the world, and its verdict. Everything here decides from what it is handed; only
//! [`observe`] and [`dependencies::check`] touch the world, and neither decides.
//!
//! [`evaluate`] judges reports ([`formats`]); each gate that the server answers from its own record is one file with one pure
//! function. To add one: a file with its `NAME` and its function, a row in [`crate::model::catalog`], and the engine hands it its inputs.

pub mod alerts;
pub mod artifact_digest;
pub mod backup;
pub mod ci;
pub mod dependencies;
mod evaluate;
pub mod formats;
pub mod freeze;
pub mod logs;
pub mod migrations;
pub mod observe;
pub mod promoted_from;
pub mod quota;
pub mod rollback_ready;
pub mod secrets;
pub mod sign_off;

pub use evaluate::{EvidenceView, GateRule, evaluate};
pub use formats::{Format, Measures, ReportError, read_any, read_report};

use crate::model::{DirectiveId, GateResult, Timestamp, Verdict, Who};

/// Who asks for a gate, for which directive, and when.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The directive the gate is asked for.
    pub directive: &'a DirectiveId,
    /// Which file asks: `phase phase-06`, `environments.production.gates`, `server`.
    pub by: &'a str,
    /// The present.
    pub now: Timestamp,
}

impl Ask<'_> {
    fn result(self, gate: &str, rule: impl Into<String>, verdict: Verdict, reason: impl Into<String>) -> GateResult {
        GateResult {
            gate: gate.into(),
            verdict,
            rule: rule.into(),
            value: None,
            reason: reason.into(),
            needs: None,
            who: None,
            how: None,
            asked_by: self.by.to_owned(),
            live: false,
            evidence_sha256: None,
            checked_at: self.now,
        }
    }
}

/// Returns the result with what would make it pass.
fn needing(result: GateResult, needs: impl Into<String>, who: Who, how: impl Into<String>) -> GateResult {
    GateResult { needs: Some(needs.into()), who: Some(who), how: Some(how.into()), ..result }
}
