//! Verdicts: what gates said, each time they were asked.

use super::{
    Result, Store, Write,
    query::{Read, json as text, sql, word},
};
use crate::model::*;
use serde_json::{Value, json};

impl Store {
    /// Records what gates said.
    pub async fn record_verdicts(&self, by: &Caller, directive: &DirectiveId, results: &[GateResult]) -> Result<()> {
        let mut write = self.write().await?;
        insert(&mut write, directive, results).await?;
        write.commit(by, "record_verdicts", directive, entry_of(results)).await
    }

    /// Returns what each gate said last, by name.
    pub async fn verdicts(&self, directive: &DirectiveId) -> Result<Vec<GateResult>> {
        let rows = sql("SELECT result FROM verdicts
                        WHERE number IN (SELECT MAX(number) FROM verdicts WHERE directive_id = $1 GROUP BY gate) ORDER BY gate")
        .bind(directive)
        .all(self.pool())
        .await?;
        rows.iter().map(|row| row.json("result")).collect()
    }
}

pub(super) async fn insert(write: &mut Write, directive: &DirectiveId, results: &[GateResult]) -> Result<()> {
    for result in results {
        sql("INSERT INTO verdicts (number, directive_id, gate, verdict, result, checked_at)
             SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, $4, $5 FROM verdicts")
        .bind(directive)
        .bind(&result.gate)
        .bind(word(&result.verdict))
        .bind(text(result))
        .bind(result.checked_at)
        .run(write.on())
        .await?;
        write.is_told |= result.asks_a_person();
    }
    Ok(())
}

/// What the audit log says of verdicts.
pub(super) fn entry_of(results: &[GateResult]) -> Value {
    results.iter().map(|result| (result.gate.0.clone(), json!(result.verdict))).collect()
}
