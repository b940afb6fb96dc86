//! Evidence: the reports behind verdicts, kept raw and named by their SHA-256.

use super::{
    Result, Store, StoreError, Write,
    connections::On,
    query::{Read, json as text, sql, word},
    verdicts,
};
use crate::model::*;
use anyhow::Context;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A report on its way in.
#[derive(Debug, Clone)]
pub struct NewEvidence {
    /// The directive it is for.
    pub directive: DirectiveId,
    /// The gate it feeds.
    pub gate: GateName,
    /// Where it comes from.
    pub origin: Origin,
    /// `junit`, `lcov` …
    pub format: String,
    /// The commit it is bound to.
    pub commit: Option<String>,
    /// The release it is bound to.
    pub digest: Sha256,
    /// What was read from it; none when it could not be read.
    pub measures: Option<BTreeMap<String, f64>>,
    /// Why it cannot count, if so.
    pub fault: Option<String>,
    /// How the command ended.
    pub exit_code: Option<i64>,
    /// The report, byte for byte.
    pub body: Vec<u8>,
    /// Further facts: argv, duration, the command's last output.
    pub detail: Value,
}

/// A report as it was recorded, without its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceRecord {
    /// `ev_1`.
    pub id: EvidenceId,
    /// The directive it is for.
    pub directive: DirectiveId,
    /// The gate it feeds.
    pub gate: GateName,
    /// Where it comes from.
    pub origin: Origin,
    /// `junit`, `lcov` …
    pub format: String,
    /// The commit it is bound to.
    pub commit: Option<String>,
    /// The release it is bound to.
    pub digest: Sha256,
    /// The hash of its bytes.
    pub sha256: Sha256,
    /// How many bytes.
    pub size_bytes: u64,
    /// What was read from it.
    pub measures: Option<BTreeMap<String, f64>>,
    /// Why it cannot count, if so.
    pub fault: Option<String>,
    /// How the command ended.
    pub exit_code: Option<i64>,
    /// Further facts.
    pub detail: Value,
    /// Who recorded it.
    pub recorded_by: String,
    /// When.
    pub recorded_at: Timestamp,
}

impl Store {
    /// Records a report; the same bytes are stored once, however often they are recorded.
    pub async fn add_evidence(&self, by: &Caller, new: NewEvidence) -> Result<EvidenceRecord> {
        let mut write = self.write().await?;
        let record = insert(&mut write, by, new).await?;
        let detail = entry_of(&record);
        write.commit(by, "add_evidence", &record.id, detail).await?;
        Ok(record)
    }

    /// Records a report and what every gate says then, in one commit: `judge` is handed [`Store::latest_evidence`], this report included.
    /// Whoever records another report at the same time is judged before or after, never without this one.
    pub async fn add_judged_evidence(
        &self,
        by: &Caller,
        new: NewEvidence,
        judge: impl FnOnce(&[EvidenceRecord]) -> Vec<GateResult> + Send,
    ) -> Result<Vec<GateResult>> {
        let mut write = self.write().await?;
        let record = insert(&mut write, by, new).await?;
        write.go_on(by, "add_evidence", &record.id, entry_of(&record)).await?;
        let results = judge(&latest_for(write.on(), &record.directive).await?);
        verdicts::insert(&mut write, &record.directive, &results).await?;
        write.commit(by, "record_verdicts", &record.directive, verdicts::entry_of(&results)).await?;
        Ok(results)
    }

    /// Returns a directive's evidence, newest first.
    pub async fn evidence_of(&self, directive: &DirectiveId) -> Result<Vec<EvidenceRecord>> {
        let rows = sql("SELECT * FROM evidence WHERE directive_id = $1 ORDER BY number DESC").bind(directive).all(self.pool()).await?;
        rows.iter().map(record_of).collect()
    }

    /// Returns what gates judge a directive by, newest first: of each gate, origin, commit and artifact the report that was recorded last.
    /// One before it in these four counts no more, whatever it said.
    pub async fn latest_evidence(&self, directive: &DirectiveId) -> Result<Vec<EvidenceRecord>> {
        latest_for(self.pool(), directive).await
    }

    /// Returns a report's bytes; `Altered` when they no longer hash to their name.
    pub async fn evidence_body(&self, sha256: &Sha256) -> Result<Option<Vec<u8>>> {
        let body: Option<Vec<u8>> =
            sql("SELECT body FROM evidence_bodies WHERE sha256 = $1").bind(sha256).value(self.pool(), "body").await?;
        match body {
            Some(body) if Sha256::of(&body) != *sha256 => Err(StoreError::Altered(format!("the report {}", sha256.short()))),
            body => Ok(body),
        }
    }

    /// Forgets the bytes of reports that were all recorded before this instant and that no plan, verdict or decision rests on;
    /// returns their hashes. What was read from a report stays.
    pub async fn forget_evidence_bodies(&self, by: &Caller, before: Timestamp) -> Result<Vec<Sha256>> {
        // Looked at first: most of the time there is nothing to forget, and no change to wait for.
        if sql(UNREFERENCED).bind(before).one(self.pool()).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut write = self.write().await?;
        let mut forgotten: Vec<Sha256> = Vec::new();
        for row in sql(UNREFERENCED).bind(before).all(write.on()).await? {
            forgotten.push(row.read("sha256")?);
        }
        for sha256 in &forgotten {
            sql("DELETE FROM evidence_bodies WHERE sha256 = $1").bind(sha256).run(write.on()).await?;
        }
        if !forgotten.is_empty() {
            write.commit(by, "forget_evidence_bodies", forgotten.len(), json!({ "recorded_before": before, "sha256": forgotten })).await?;
        }
        Ok(forgotten)
    }
}

// What rests on a report names its hash, and belongs to the directive the report was recorded for.
const UNREFERENCED: &str = "SELECT sha256 FROM evidence_bodies
    WHERE sha256 IN (SELECT sha256 FROM evidence GROUP BY sha256 HAVING MAX(recorded_at) < $1)
        AND sha256 NOT IN (SELECT evidence.sha256 FROM evidence JOIN verdicts ON verdicts.directive_id = evidence.directive_id
            WHERE evidence.recorded_at < $1 AND verdicts.result LIKE '%' || evidence.sha256 || '%')
        AND sha256 NOT IN (SELECT evidence.sha256 FROM evidence JOIN plans ON plans.directive_id = evidence.directive_id
            WHERE evidence.recorded_at < $1 AND plans.body LIKE '%' || evidence.sha256 || '%')
        AND NOT EXISTS (SELECT 1 FROM decisions WHERE decisions.body LIKE '%' || evidence_bodies.sha256 || '%')
    ORDER BY sha256";

async fn insert(write: &mut Write, by: &Caller, new: NewEvidence) -> Result<EvidenceRecord> {
    let (at, sha256) = (write.at, Sha256::of(&new.body));
    sql("INSERT INTO evidence_bodies (sha256, body) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING")
        .bind(&sha256)
        .bind(new.body.as_slice())
        .run(write.on())
        .await?;
    let row =
        sql("INSERT INTO evidence (id, number, directive_id, gate, origin, format, commit_id, digest, sha256, size_bytes, measures, fault,
             exit_code, detail, recorded_by, recorded_at)
         SELECT 'ev_' || number, number, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
         FROM (SELECT COALESCE(MAX(number), 0) + 1 AS number FROM evidence) AS next
         RETURNING *")
        .bind(&new.directive)
        .bind(&new.gate)
        .bind(word(&new.origin))
        .bind(&new.format)
        .bind(new.commit.as_deref())
        .bind(&new.digest)
        .bind(&sha256)
        .bind(new.body.len())
        .bind(new.measures.as_ref().map(text))
        .bind(new.fault.as_deref())
        .bind(new.exit_code)
        .bind(&new.detail)
        .bind(&by.principal)
        .bind(at)
        .one(write.on())
        .await?;
    record_of(&row.context("reading back the report")?)
}

/// What the audit log says of a report.
fn entry_of(record: &EvidenceRecord) -> Value {
    json!({ "directive": record.directive, "gate": record.gate, "origin": record.origin, "sha256": record.sha256, "fault": record.fault })
}

async fn latest_for(on: impl Into<On<'_>>, directive: &DirectiveId) -> Result<Vec<EvidenceRecord>> {
    let rows = sql("SELECT * FROM evidence WHERE number IN
                        (SELECT MAX(number) FROM evidence WHERE directive_id = $1 GROUP BY gate, origin, commit_id, digest)
                    ORDER BY number DESC")
    .bind(directive)
    .all(on)
    .await?;
    rows.iter().map(record_of).collect()
}

fn record_of(row: &AnyRow) -> Result<EvidenceRecord> {
    let measures = row.read::<Option<String>>("measures")?.map(|_| row.json("measures")).transpose()?;
    Ok(EvidenceRecord {
        id: row.read("id")?,
        directive: row.read("directive_id")?,
        gate: row.read("gate")?,
        origin: row.word("origin")?,
        format: row.read("format")?,
        commit: row.read("commit_id")?,
        digest: row.read("digest")?,
        sha256: row.read("sha256")?,
        size_bytes: row.read("size_bytes")?,
        measures,
        fault: row.read("fault")?,
        exit_code: row.read("exit_code")?,
        detail: row.read("detail")?,
        recorded_by: row.read("recorded_by")?,
        recorded_at: row.read("recorded_at")?,
    })
}
