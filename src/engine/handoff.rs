//! What passes from phase to phase: what this one was given, and what it hands on. Written from the record when a directive is completed,
//! and kept among its artifacts.

use super::{Engine, facts::Fact};
use crate::{
    error::{Error, Result},
    model::Directive,
    phases::Phase,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The name of its row in `artifacts`.
const KIND: &str = "handoff";

impl Engine {
    /// Writes what a directive hands on, where its phase names one that comes before or after it; the same record gives the same bytes.
    pub(super) async fn hand_on(&self, directive: &Directive, phase: &Phase, facts: &BTreeMap<String, Fact>) -> Result<()> {
        if phase.after.is_empty() && phase.next.is_empty() {
            return Ok(());
        }
        let verdicts = self.store.verdicts(&directive.id).await?;
        let gates: Vec<Value> = verdicts
            .iter()
            .filter(|verdict| phase.gates.contains_key(&verdict.gate))
            .map(|verdict| {
                json!({ "gate": verdict.gate, "verdict": verdict.verdict, "value": verdict.value, "evidence_sha256": verdict.evidence_sha256 })
            })
            .collect();
        let artifacts: Vec<Value> = self
            .store
            .artifacts(&directive.id)
            .await?
            .into_iter()
            .filter(|artifact| artifact.name != KIND)
            .map(|artifact| json!({ "name": artifact.name, "path": artifact.path, "sha256": artifact.sha256 }))
            .collect();
        let deployment = self.latest_deployment(directive).await?.map(|deployment| deployment.id);
        let handoff = json!({
            "generated_by": "interlock",
            "directive": directive.id,
            "service": directive.service,
            "environment": directive.environment,
            "version": directive.version,
            "commit": directive.commit,
            "artifact_sha256": directive.digest,
            "deployment": deployment,
            "phase": { "name": phase.name, "version": phase.version, "sha256": phase.sha256 },
            "received": { "from": phase.after, "inputs": inputs(phase, facts), "gates": gates },
            "handed_on": { "to": phase.next, "because": phase.exit, "artifacts": artifacts },
        });
        let text = serde_json::to_string_pretty(&handoff).map_err(Error::internal)? + "\n";
        self.write_artifact(&directive.id, KIND, &path(directive), &text).await.map(drop)
    }
}

fn path(directive: &Directive) -> String {
    format!("docs/handoff/{}-{}.json", directive.environment, directive.service)
}

/// Returns each input of a phase with who gives it, and whether the record shows it: `null` where no fact could.
fn inputs(phase: &Phase, facts: &BTreeMap<String, Fact>) -> Vec<Value> {
    let shown = |fact: &String| facts.get(fact) == Some(&Fact::True);
    phase
        .inputs
        .iter()
        .map(|input| json!({ "name": input.name, "from": input.from, "fact": input.fact, "shown": input.fact.as_ref().map(shown) }))
        .collect()
}
