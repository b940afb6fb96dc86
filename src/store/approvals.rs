//! Approvals of one plan: how many were given since its request was opened, how many it needs, and the one that completes them.

use super::{
    Result, Store, Write,
    plans::{self, PlanRecord},
    query::{Read, sql},
};
use crate::model::{quorum::Given, *};
use sqlx::AnyConnection;
use std::collections::BTreeSet;

/// What a plan has of the approvals it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    /// Who has given one that counts, in their order.
    pub given: Vec<ApproverName>,
    /// How many different approvers must.
    pub needed: usize,
    /// Who has asked for the plan, or for its directive.
    pub asked_by: BTreeSet<String>,
}

impl Store {
    /// Returns what a plan has of the approvals it needs, by decisions of this kind.
    pub async fn approvals(&self, record: &PlanRecord, kind: DecisionKind) -> Result<Approvals> {
        let mut connection = self.pool().free().await?;
        approvals(&mut connection, record, kind).await
    }

    /// Returns the decisions over a plan since its request was last opened, oldest first: those from before count no longer.
    pub async fn decisions_in_request(&self, plan: &Plan) -> Result<Vec<SignedDecision>> {
        let rows = sql("SELECT body FROM decisions WHERE subject_sha256 = $1
                        AND number > COALESCE((SELECT decisions_before FROM plans WHERE id = $2), 0) ORDER BY number");
        let rows = rows.bind(&plan.sha256()).bind(&plan.id()).all(self.pool()).await?;
        rows.iter().map(|row| row.json("body")).collect()
    }
}

/// Takes an approval that was just recorded: the plan is approved with the last one it needs, and waits for further ones until then. 0 when it
/// does not wait for any, or is not what was signed.
pub(super) async fn approve(write: &mut Write, decision: &Decision, plan: &PlanId, expires_at: Timestamp) -> Result<u64> {
    let at = write.at;
    let Some(record) = plans::load(write.on(), plan).await? else { return Ok(0) };
    let approvals = approvals(write.on(), &record, decision.kind).await?;
    if approvals.given.len() < approvals.needed {
        return sql("UPDATE plans SET state = 'awaiting_approval', decided_by = NULL, reason = NULL, updated_at = $1
             WHERE id = $2 AND sha256 = $3 AND state IN ('awaiting_approval', 'rejected')")
        .bind(at)
        .bind(plan)
        .bind(&decision.subject_sha256)
        .run(write.on())
        .await;
    }
    sql("UPDATE plans SET state = 'approved', approval_expires_at = $1, decided_by = $2, reason = NULL, updated_at = $3
         WHERE id = $4 AND sha256 = $5 AND state IN ('awaiting_approval', 'rejected')")
    .bind(expires_at)
    .bind(&decision.approver)
    .bind(at)
    .bind(plan)
    .bind(&decision.subject_sha256)
    .run(write.on())
    .await
}

async fn approvals(on: &mut AnyConnection, record: &PlanRecord, kind: DecisionKind) -> Result<Approvals> {
    let directive = sql("SELECT created_by FROM strategic_directives_v2 WHERE id = $1").bind(&record.plan.directive);
    let directive: Option<String> = directive.value(&mut *on, "created_by").await?;
    let asked_by: BTreeSet<String> = directive.into_iter().chain([record.created_by.clone()]).collect();
    let Some(required) = &record.plan.approval else {
        return Ok(Approvals { given: Vec::new(), needed: 0, asked_by });
    };
    let rows = sql("SELECT kind, approver, verdict FROM decisions WHERE subject_sha256 = $1
                    AND number > (SELECT decisions_before FROM plans WHERE id = $2) ORDER BY number");
    let mut given: Vec<Given> = Vec::new();
    for row in rows.bind(&record.plan.sha256()).bind(&record.id).all(on).await? {
        let verdict: DecisionVerdict = row.word("verdict")?;
        // A no of any kind stops; a yes counts for what it was asked about.
        if verdict == DecisionVerdict::Reject || row.word::<DecisionKind>("kind")? == kind {
            given.push((row.read("approver")?, verdict));
        }
    }
    Ok(Approvals { needed: required.needed(&asked_by), given: required.counting(&asked_by, &given), asked_by })
}
