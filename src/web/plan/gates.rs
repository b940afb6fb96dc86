//! The gates a plan rests on, each with its evidence; and what none of them has shown.

use super::{card::is_rehearsed, known::Known};
use crate::{
    model::{Origin, PlannedGate, Verdict, catalog},
    store::EvidenceRecord,
    web::shown::{self, Tone, chip, columns, count, line, moment, name, short, verdict},
};
use maud::{Markup, html};

/// Returns the gates as a table.
pub fn table(known: &Known) -> Markup {
    let plan = &known.record.plan;
    let live: Vec<&str> = plan.live_gates.iter().map(|gate| gate.as_str()).collect();
    html! {
        table class="list" {
            (columns(&["Gate", "Says", "Measured", "Asked for", "Origin", "Evidence"]))
            tbody {
                @for gate in &plan.gates {
                    @let evidence = evidence_of(known, gate);
                    tr {
                        th scope="row" { (name(&gate.gate)) }
                        td data-label="Says" { (verdict(gate.verdict)) }
                        td data-label="Measured" {
                            @match &gate.value { Some(value) => (line(value, 160)), None => span class="quiet" { "no value" } }
                        }
                        td data-label="Asked for" {
                            code { (line(&gate.rule, 120)) }
                            span class="quiet by" { " by " (line(&gate.asked_by, 80)) }
                        }
                        td data-label="Origin" {
                            @match evidence { Some(evidence) => (origin(evidence.origin)), None => span class="quiet" { "the record" } }
                        }
                        td data-label="Evidence" {
                            @match (evidence, &gate.evidence_sha256) {
                                (Some(evidence), _) => {
                                    a href={ "/evidence/" (evidence.sha256) } { (line(&evidence.format, 30)) " " (short(&evidence.sha256)) }
                                    span class="quiet by" {
                                        " " (count(evidence.size_bytes)) " bytes, "
                                        (moment(known.now, evidence.recorded_at)) ", by "
                                        (line(&evidence.recorded_by, 40))
                                    }
                                }
                                (None, Some(sha256)) => { a href={ "/evidence/" (sha256) } { (short(sha256)) } }
                                (None, None) => span class="quiet" { "none" },
                            }
                        }
                    }
                }
            }
        }
        p class="quiet" { "Looked at again when it is executed, and bound by no signature: " (line(&live.join(", "), 240)) "." }
    }
}

fn evidence_of<'a>(known: &'a Known, gate: &PlannedGate) -> Option<&'a EvidenceRecord> {
    let sha256 = gate.evidence_sha256.as_ref()?;
    let records = known.evidence.iter().filter(|record| record.sha256 == *sha256 && record.gate == gate.gate);
    // The same bytes may have been handed over and observed: the weakest origin is the honest one.
    records.min_by_key(|record| record.origin)
}

fn origin(origin: Origin) -> Markup {
    match origin {
        Origin::Observed => chip(Tone::Good, "observed by the server"),
        Origin::Person => chip(Tone::Good, "signed by a person"),
        Origin::Attested => chip(Tone::Good, "attested by CI"),
        Origin::Claimed => chip(Tone::Asks, "claimed by the agent"),
    }
}

/// Returns what nobody has proven, in plain words. There is always something.
pub fn unproven(known: &Known) -> Vec<Markup> {
    let plan = &known.record.plan;
    let mut said = vec![match &plan.commit {
        Some(commit) => {
            html! {
                "That these bytes were built from commit " (shown::commit(Some(commit)))
                ": no build has attested it."
            }
        }
        None => html! { "Which commit these bytes were built from: none is recorded." },
    }];
    for gate in &plan.gates {
        if evidence_of(known, gate).is_some_and(|evidence| evidence.origin == Origin::Claimed) {
            said.push(
                html! { "Gate " code { (name(&gate.gate)) } ": its report was handed over by the agent, and the server has not run it." },
            );
        }
        if gate.verdict != Verdict::Pass {
            said.push(html! { "Gate " code { (name(&gate.gate)) } " says " (gate.verdict.to_string()) "." });
        }
    }
    let asked =
        |gate: &str| plan.gates.iter().any(|one| one.gate.as_str() == gate) || plan.live_gates.iter().any(|one| one.as_str() == gate);
    let off: Vec<&str> = catalog::gate_names().filter(|gate| !asked(gate)).collect();
    if !off.is_empty() {
        said.push(html! { "Nothing asks here for: " (line(&off.join(", "), 300)) "." });
    }
    if plan.base.is_some() && !is_rehearsed(plan) {
        said.push(html! { "That the way back works: it is not rehearsed before customers move." });
    }
    if known.client.is_some() {
        said.push(html! { "What the asking client calls itself, and which model it runs: it says so, nobody checks." });
    }
    if plan.assessment.is_some() {
        said.push(html! { "Everything in the assessment: it is the agent's own words." });
    }
    said
}
