//! Verdicts: what gates said, each time they were asked.

use super::{
    Result, Store,
    query::{Read, json as text, sql, word},
};
use crate::model::*;
use serde_json::{Map, Value, json};

impl Store {
    /// Records what gates said.
    pub async fn record_verdicts(&self, by: &Caller, directive: &DirectiveId, results: &[GateResult]) -> Result<()> {
        let mut write = self.write().await?;
        let mut said = Map::new();
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
            said.insert(result.gate.0.clone(), json!(result.verdict));
        }
        write.commit(by, "record_verdicts", directive, Value::Object(said)).await
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
