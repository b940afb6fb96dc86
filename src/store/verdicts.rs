//! Verdicts: what gates said, each time they were asked.

use super::{
    Result, Store, Write,
    query::{Read, json as text, sql, sql_of_rows, word},
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
        // From one gate to the next by the index, and its newest: grouped, all that was ever said would be looked through.
        let rows = sql("WITH RECURSIVE gates(gate) AS (
                            SELECT MIN(gate) FROM verdicts WHERE directive_id = $1
                            UNION ALL
                            SELECT (SELECT MIN(gate) FROM verdicts WHERE directive_id = $1 AND gate > gates.gate) FROM gates
                            WHERE gates.gate IS NOT NULL)
                        SELECT (SELECT result FROM verdicts WHERE directive_id = $1 AND gate = gates.gate ORDER BY number DESC LIMIT 1)
                            AS result
                        FROM gates WHERE gates.gate IS NOT NULL ORDER BY gates.gate")
        .bind(directive)
        .all(self.pool())
        .await?;
        rows.iter().map(|row| row.json("result")).collect()
    }
}

pub(super) async fn insert(write: &mut Write, directive: &DirectiveId, results: &[GateResult]) -> Result<()> {
    if results.is_empty() {
        return Ok(());
    }
    let mut insert = sql_of_rows(
        "INSERT INTO verdicts (number, directive_id, gate, verdict, result, checked_at)
         SELECT (SELECT COALESCE(MAX(number), 0) FROM verdicts) + column1, column2, column3, column4, column5, column6
         FROM (VALUES {rows}) AS new",
        results.len(),
        6,
    );
    for (number, result) in (1_i64..).zip(results) {
        insert =
            insert.bind(number).bind(directive).bind(&result.gate).bind(word(&result.verdict)).bind(text(result)).bind(result.checked_at);
        write.is_told |= result.asks_a_person();
    }
    insert.run(write.on()).await?;
    Ok(())
}

/// What the audit log says of verdicts.
pub(super) fn entry_of(results: &[GateResult]) -> Value {
    results.iter().map(|result| (result.gate.0.clone(), json!(result.verdict))).collect()
}
