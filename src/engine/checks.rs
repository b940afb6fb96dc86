//! Pre-deploy checks: makes the evidence that is missing by running the configured commands as a job, and evaluates every gate.

use super::{
    Engine,
    configuration::{Applied, service_of},
    gate_rules::{Binding, bindings},
    progression::{self, Step},
};
use crate::{
    config::{EnvironmentConfig, GateFeed, ReportFormat},
    error::{Code, Error, Result},
    gates::{
        self, EvidenceView, Measures,
        observe::{ObservedRun, observe},
    },
    model::{
        Caller, CallerKind, Directive, GateName, GateResult, Origin, ServiceSpec, Timestamp, Verdict, catalog::GateSource, service::fill,
    },
    store::{EvidenceRecord, Job, JobState, NewEvidence, Revisions},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long one observed command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30 * 60);
/// The kind under which the job is recorded.
pub const JOB: &str = "predeploy_checks";

/// What binds a directive, by one reading of the configuration in force.
pub struct Bound {
    pub(super) applied: Applied,
    pub(super) environment: EnvironmentConfig,
    pub(super) spec: ServiceSpec,
    /// The gates.
    pub bindings: Vec<Binding>,
}

impl Bound {
    /// Returns the gates that do not pass and have a command the server may run for evidence.
    fn wanting(&self, results: &[GateResult]) -> Vec<Binding> {
        let can_be_observed = |binding: &&Binding| binding.rule.has_command && binding.rule.accepted.contains(&Origin::Observed);
        let fails = |binding: &&Binding| results.iter().any(|result| result.gate == binding.rule.gate && result.verdict != Verdict::Pass);
        self.bindings.iter().filter(can_be_observed).filter(fails).cloned().collect()
    }
}

/// A report that is handed over.
pub struct HandedOver {
    /// The gate it is for.
    pub kind: String,
    /// Byte for byte.
    pub body: Vec<u8>,
    /// How it is to be read.
    pub format: ReportFormat,
}

impl Engine {
    /// Evaluates the gates; commands whose evidence is missing run as a job first, which is returned.
    pub async fn run_checks(self: &Arc<Self>, by: &Caller, directive: &Directive) -> Result<(Vec<GateResult>, Option<Job>)> {
        let step = Step::of("run_predeploy_checks", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        let bound = self.bound(directive).await?;
        let results = self.evaluate(directive, &bound).await?;
        let wanting = bound.wanting(&results);
        if wanting.is_empty() {
            self.store.record_verdicts(by, &directive.id, &results).await?;
            return Ok((results, None));
        }
        let job = self.observe_wanting(by, directive, wanting).await?;
        Ok((results, Some(job)))
    }

    /// Makes the evidence these gates want, as a job, which is returned.
    async fn observe_wanting(self: &Arc<Self>, by: &Caller, directive: &Directive, wanting: Vec<Binding>) -> Result<Job> {
        let names: Vec<String> = wanting.iter().map(|binding| binding.rule.gate.to_string()).collect();
        let (job, existing) = self.store.start_job(by, &directive.id, JOB, &json!({ "gates": names })).await?;
        if !existing {
            let (engine, by, directive, id) = (Arc::clone(self), by.clone(), directive.clone(), job.id.clone());
            self.spawn(async move {
                let outcome = engine.observe_all(&by, &directive, wanting).await;
                let (state, detail) = match outcome {
                    Ok(()) => (JobState::Done, json!({ "gates": names })),
                    Err(_) if engine.is_stopping() => (JobState::Interrupted, json!({ "gates": names })),
                    Err(error) => (JobState::Failed, json!({ "gates": names, "error": error })),
                };
                if let Err(error) = engine.store.finish_job(&by, &id, state, &detail).await {
                    tracing::warn!("recording the end of checks for `{}`: {error}", directive.id);
                }
            });
        }
        Ok(job)
    }

    /// Evaluates every gate and records the verdicts; runs nothing.
    pub(super) async fn judge(&self, by: &Caller, directive: &Directive) -> Result<Vec<GateResult>> {
        let results = self.evaluate_gates(directive).await?;
        self.store.record_verdicts(by, &directive.id, &results).await?;
        Ok(results)
    }

    /// Evaluates every gate that binds the directive's environment, from the record and the live world; runs nothing.
    pub async fn evaluate_gates(&self, directive: &Directive) -> Result<Vec<GateResult>> {
        self.evaluate(directive, &self.bound(directive).await?).await
    }

    /// Returns what binds a directive.
    pub async fn bound(&self, directive: &Directive) -> Result<Bound> {
        self.bound_by(directive, self.store.revisions_in(&directive.environment).await?).await
    }

    /// Returns [`Engine::bound`] by the revisions that count in the directive's environment.
    pub async fn bound_by(&self, directive: &Directive, revisions: Revisions) -> Result<Bound> {
        let applied = self.applied_by(&directive.environment, revisions).await?;
        let (environment, spec) = service_of(&applied.config, &directive.environment, &directive.service)?;
        let phase = self.phase_in(&applied.config, &directive.environment)?;
        let bindings = bindings(&applied.config, &environment, phase.as_ref(), &directive.id)?;
        Ok(Bound { applied, environment, spec, bindings })
    }

    async fn observe_all(&self, by: &Caller, directive: &Directive, wanting: Vec<Binding>) -> Result<()> {
        for binding in wanting {
            if let Some(feed) = &binding.feed {
                self.observe_one(by, directive, &binding, feed).await?;
            }
        }
        self.judge(by, directive).await.map(drop)
    }

    async fn observe_one(&self, by: &Caller, directive: &Directive, binding: &Binding, feed: &GateFeed) -> Result<()> {
        let (Some(command), Some(report), Some(format)) = (&feed.command, &feed.report, feed.format) else { return Ok(()) };
        let after = self.after_listener(directive).await?;
        let command: Vec<String> = match &after {
            Some((after, _)) => command.iter().map(|word| fill(word, &[("after.url", &after.url), ("after.host", &after.host)])).collect(),
            None => command.clone(),
        };
        let mut fault = match (&after, command.iter().any(|word| word.contains("{after."))) {
            (_, true) => Some("the command names {after.url}, but the environment has no `after` that serves".to_owned()),
            (Some((_, serves)), _) if uses_after(feed) && !serves => {
                Some("the environment in `after` does not serve these bytes".to_owned())
            }
            _ => None,
        };
        let mut evidence = NewEvidence {
            directive: directive.id.clone(),
            gate: binding.rule.gate.clone(),
            origin: Origin::Observed,
            format: word(format),
            commit: directive.commit.clone(),
            digest: directive.digest.clone(),
            measures: None,
            fault: None,
            exit_code: None,
            body: Vec::new(),
            detail: json!({ "command": command }),
        };
        if fault.is_none() {
            match (&directive.commit, self.run_observed(directive, command, report.clone()).await) {
                (None, _) => fault = Some("the workspace is no git repository: nothing can be observed at a commit".into()),
                (_, Err(reason)) => fault = Some(reason),
                (_, Ok(observation)) => {
                    evidence.exit_code = observation.exit_code.map(i64::from);
                    evidence.detail = json!({
                        "command": evidence.detail["command"], "duration_ms": observation.duration_ms,
                        "signal": observation.signal, "output": crate::model::text::visible(&observation.output_tail, 4000),
                    });
                    fault = observation.fault;
                    if let Some(body) = observation.report {
                        match gates::read_report(format, &body) {
                            Ok(measures) => {
                                evidence.detail["notes"] = json!(measures.notes);
                                evidence.measures = Some(measures.values);
                            }
                            Err(error) => fault = fault.or(Some(error.to_string())),
                        }
                        evidence.body = body;
                    }
                }
            }
            // The environment measured must still serve these bytes after the run.
            if uses_after(feed) && !self.after_listener(directive).await?.is_some_and(|(_, serves)| serves) {
                fault = Some("the environment in `after` changed while it was measured".into());
            }
        }
        evidence.fault = fault;
        self.store.add_evidence(by, evidence).await?;
        Ok(())
    }

    async fn run_observed(
        &self,
        directive: &Directive,
        command: Vec<String>,
        report: String,
    ) -> Result<gates::observe::Observation, String> {
        let Some(commit) = directive.commit.clone() else { return Err("no commit is known".into()) };
        let run = ObservedRun {
            workspace: self.workspace.root.clone(),
            commit,
            command,
            report,
            scratch: gates::observe::scratch_of(&self.workspace.root),
            timeout: COMMAND_LIMIT,
            cancel: self.stop.child_token(),
            environment: crate::command::allowed_environment(),
        };
        observe(run, |_, _| ()).await.map_err(|error| error.to_string())
    }

    /// Returns the listener's address in the environment named by `after`, and whether it serves these bytes.
    async fn after_listener(&self, directive: &Directive) -> Result<Option<(Earlier, bool)>> {
        let (_, environment, _) = self.service(&directive.environment, &directive.service).await?;
        let Some(after) = environment.after else { return Ok(None) };
        let (_, _, spec) = self.service(&after, &directive.service).await?;
        let serving = self.store.serving(&directive.service, &after).await?;
        let serves = serving.is_some_and(|set| set.digest == directive.digest);
        let listen = spec.router.listen().to_string();
        Ok(Some((Earlier { url: format!("http://{listen}"), host: spec.host().unwrap_or(listen) }, serves)))
    }

    async fn evaluate(&self, directive: &Directive, bound: &Bound) -> Result<Vec<GateResult>> {
        let own = self.own_results(directive, bound).await?;
        Ok(self.judged(directive, bound, own, &self.store.latest_evidence(&directive.id).await?))
    }

    /// Asks the gates that need no report.
    async fn own_results(&self, directive: &Directive, bound: &Bound) -> Result<BTreeMap<GateName, GateResult>> {
        let mut results = BTreeMap::new();
        for binding in bound.bindings.iter().filter(|binding| binding.source != GateSource::Evidence) {
            results.insert(binding.rule.gate.clone(), self.evaluate_own(directive, bound, binding).await?);
        }
        Ok(results)
    }

    /// Returns what every gate says: the server's own, as they were asked, and the others by the evidence, newest first.
    fn judged(
        &self,
        directive: &Directive,
        bound: &Bound,
        mut own: BTreeMap<GateName, GateResult>,
        evidence: &[EvidenceRecord],
    ) -> Vec<GateResult> {
        // What was vouched for before a clock was set back is not of the future.
        let now = self.present();
        let judge = |binding: &Binding| {
            let result = own.remove(&binding.rule.gate).unwrap_or_else(|| by_reports(directive, binding, evidence, now));
            GateResult { asked_by: binding.asked_by.clone(), checked_at: now, ..result }
        };
        bound.bindings.iter().map(judge).collect()
    }

    /// Records evidence an agent hands over, and returns what every gate says then; where `claimed` cannot count, it is refused and says who
    /// can supply what.
    pub async fn record_evidence(
        self: &Arc<Self>,
        by: &Caller,
        directive: &Directive,
        bound: &Bound,
        report: HandedOver,
    ) -> Result<Vec<GateResult>> {
        let environment = &bound.environment;
        if !environment.evidence.contains(&Origin::Claimed) {
            let counts: Vec<String> = environment.evidence.iter().map(ToString::to_string).collect();
            return Err(Error::new(
                Code::DeniedByPolicy,
                format!("evidence handed over does not count in `{}`: it takes {}", environment.name, counts.join(", ")),
            )
            .hint("call `run_predeploy_checks`: the server runs the configured command itself"));
        }
        let hint = match report.format {
            // What tools print of it by themselves says nothing of how much was looked at.
            ReportFormat::Outdated => {
                "hand over what Renovate writes, or `{\"tool\": …, \"examined\": 42, \"outdated\": [{\"name\": …, \"current\": …, \"latest\": …}]}`"
            }
            _ => "hand over the report as the tool wrote it",
        };
        let measures = gates::read_report(report.format, &report.body)
            .map_err(|error| Error::invalid(format!("the report cannot be read: {error}")).hint(hint))?;
        let evidence = NewEvidence {
            directive: directive.id.clone(),
            gate: report.kind.into(),
            origin: Origin::Claimed,
            format: word(report.format),
            commit: directive.commit.clone(),
            digest: directive.digest.clone(),
            measures: Some(measures.values),
            fault: None,
            exit_code: None,
            body: report.body,
            detail: json!({ "notes": measures.notes }),
        };
        // The world is looked at first: no other change waits for that.
        let own = self.own_results(directive, bound).await?;
        let judge = |evidence: &[EvidenceRecord]| self.judged(directive, bound, own, evidence);
        let results = self.store.add_judged_evidence(by, evidence, judge).await?;
        // Whoever may begin no step still hands over what counts, and is told what comes of it; commands run when a person begins the checks.
        let leaves_steps = by.kind == CallerKind::Agent && progression::is_manual(&bound.applied.config, &environment.name);
        let wanting = bound.wanting(&results);
        if !leaves_steps && !wanting.is_empty() {
            self.observe_wanting(by, directive, wanting).await?;
        }
        Ok(results)
    }
}

/// Returns what a gate says by the reports that were recorded for it.
fn by_reports(directive: &Directive, binding: &Binding, evidence: &[EvidenceRecord], now: Timestamp) -> GateResult {
    let measures: Vec<Option<Measures>> = evidence.iter().map(measures_of).collect();
    // Oldest first: of two recorded in the same millisecond the newer one counts.
    let views: Vec<EvidenceView<'_>> = evidence
        .iter()
        .zip(&measures)
        .rev()
        .filter(|(record, _)| record.gate == binding.rule.gate)
        .map(|(record, measures)| EvidenceView {
            origin: record.origin,
            sha256: &record.sha256,
            measures: measures.as_ref(),
            fault: record.fault.as_deref(),
            exit_code: record.exit_code.map(|code| code as i32),
            commit: record.commit.as_deref(),
            digest: &record.digest,
            recorded_at: record.recorded_at,
        })
        .collect();
    gates::evaluate(&binding.rule, &views, directive.commit.as_deref(), &directive.digest, now)
}

/// Where the environment in `after` is measured.
struct Earlier {
    /// The listener.
    url: String,
    /// The `Host` it knows the service by.
    host: String,
}

fn uses_after(feed: &GateFeed) -> bool {
    feed.command.iter().flatten().any(|word| word.contains("{after."))
}

/// Returns what a report said; of one recorded before notes were kept, the numbers alone.
fn measures_of(record: &EvidenceRecord) -> Option<Measures> {
    let notes = serde_json::from_value(record.detail["notes"].clone()).unwrap_or_default();
    Some(Measures { values: record.measures.clone()?, notes })
}

/// Returns the format as configuration writes it.
fn word(format: ReportFormat) -> String {
    let found = ReportFormat::ALL.iter().find(|(_, known)| *known == format);
    found.map_or_else(String::new, |(name, _)| (*name).to_owned())
}
