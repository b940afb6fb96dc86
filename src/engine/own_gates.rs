//! The server's own gates: reads the record and the live world, and lets the pure evaluators judge.

use super::{Engine, checks::Bound, gate_rules::Binding};
use crate::{
    config::EnvironmentConfig,
    error::{Code, Error, Result},
    gates::{
        Ask, alerts, artifact_digest, backup, ci, dependencies, freeze, logs, promoted_from, quota, rollback_ready, secrets, sign_off,
    },
    model::{Comparator, Directive, EnvironmentName, GateResult},
    shim,
    store::SignOff,
};
use std::collections::BTreeMap;

impl Engine {
    /// Evaluates one gate that needs no report.
    pub(crate) async fn evaluate_own(&self, directive: &Directive, bound: &Bound, binding: &Binding) -> Result<GateResult> {
        let Bound { applied, environment, spec, .. } = bound;
        let ask = Ask { directive: &directive.id, by: &binding.asked_by, now: self.present() };
        Ok(match binding.rule.gate.as_str() {
            artifact_digest::NAME => {
                let found = self.release_dir(&directive.digest).await.map_err(|error| error.message);
                artifact_digest::evaluate(ask, &directive.digest, found.as_ref().map(|_| &directive.digest).map_err(String::as_str))
            }
            secrets::NAME => {
                let references: Vec<_> = spec
                    .secrets()
                    .map(|(name, reference)| (name.to_owned(), reference))
                    .chain(spec.metrics.iter().flat_map(|metric| metric.secrets()))
                    .collect();
                let look = |(name, reference)| secrets::Looked { name, resolved: shim::secrets::check(&reference), reference };
                let looked = match references.is_empty() {
                    true => Vec::new(),
                    false => self.blocking(move || references.into_iter().map(look).collect()).await?,
                };
                secrets::evaluate(ask, &looked)
            }
            dependencies::NAME => dependencies::evaluate(ask, &dependencies::check(&spec.dependencies).await),
            backup::NAME => {
                let last = self.last_backup(spec).await?;
                let limits: Vec<_> = binding.rule.thresholds.values().map(|(limit, _)| *limit).collect();
                backup::evaluate(ask, &limits, backup::LastBackup::of(spec, last.as_ref().map(|(_, seen)| seen)))
            }
            freeze::NAME => {
                let freezes = self.store.active_freezes(&directive.environment, self.clock.now()).await?;
                let freezes: Vec<_> = freezes
                    .iter()
                    .map(|frozen| freeze::Freeze {
                        id: &frozen.freeze.id,
                        reason: &frozen.freeze.reason,
                        by: &frozen.freeze.created_by,
                        until: frozen.until,
                    })
                    .collect();
                freeze::evaluate(ask, &freezes)
            }
            rollback_ready::NAME => {
                let Some(base) = self.base(&directive.service, &directive.environment).await? else {
                    return Ok(rollback_ready::evaluate(ask, rollback_ready::WayBack::First));
                };
                let found = self.release_dir(&base.digest).await.map(|_| ()).map_err(|error| error.message);
                let on_disk = found.as_ref().map(|_| ()).map_err(String::as_str);
                rollback_ready::evaluate(ask, rollback_ready::WayBack::To { version: &base.version, on_disk })
            }
            promoted_from::NAME => {
                let after = after(environment, promoted_from::NAME)?;
                let succeeded = self.store.succeeded_with(after, &directive.service, &directive.digest).await?;
                let succeeded = succeeded.as_ref().map(|deployment| &deployment.id);
                promoted_from::evaluate(ask, promoted_from::Promotion { after, digest: &directive.digest, succeeded, latest_other: None })
            }
            ci::NAME => match applied.config.ci.as_ref().filter(|ci| !ci.checks.is_empty()) {
                Some(config) => ci::evaluate(ask, config, &super::ci::seen(config, directive.commit.as_deref()).await),
                None => ci::unconfigured(ask),
            },
            alerts::NAME => {
                let heard = super::alerts::heard(spec, super::alerts::ANSWER).await;
                let signed = self.store.sign_offs(&directive.id).await?;
                alerts::evaluate(ask, &heard, &directive.digest, &facts_signed(&signed))
            }
            quota::NAME => {
                let (needs, has) = self.room(directive, spec).await?;
                let signed = self.store.sign_offs(&directive.id).await?;
                let word = (&directive.digest, &facts_signed(&signed)[..]);
                quota::evaluate(ask, &limits(binding), &needs, has.as_ref().map(Option::as_ref).map_err(String::as_str), word)
            }
            logs::NAME => {
                let after = after(environment, logs::NAME)?;
                let succeeded = self.store.succeeded_with(after, &directive.service, &directive.digest).await?;
                let written = match &succeeded {
                    Some(deployment) => match self.written(deployment).await? {
                        Ok(read) => logs::Logs::Read(&deployment.id, read),
                        Err(why) => logs::Logs::Unreadable(&deployment.id, why),
                    },
                    None => logs::Logs::NotDeployed,
                };
                let signed = self.store.sign_offs(&directive.id).await?;
                logs::evaluate(ask, &limits(binding), after, &written, (&directive.digest, &facts_signed(&signed)))
            }
            sign_off::NAME => {
                let signed = self.store.sign_offs(&directive.id).await?;
                sign_off::evaluate(ask, "uat", &directive.digest, &facts_signed(&signed))
            }
            other => return Err(Error::not_found("gate", other)),
        })
    }
}

/// Returns the environment before, which a gate looks at.
fn after<'a>(environment: &'a EnvironmentConfig, gate: &str) -> Result<&'a EnvironmentName> {
    environment.after.as_ref().ok_or_else(|| {
        let message = format!("gate `{gate}` binds `{}`, which names no environment in `after`", environment.name);
        Error::new(Code::InvalidConfiguration, message)
    })
}

fn limits(binding: &Binding) -> BTreeMap<&str, Comparator> {
    binding.rule.thresholds.iter().map(|(measure, (limit, _))| (measure.as_str(), *limit)).collect()
}

fn facts_signed(signed: &[SignOff]) -> Vec<sign_off::SignedFact<'_>> {
    signed
        .iter()
        .map(|signed| sign_off::SignedFact {
            fact: &signed.fact,
            digest: &signed.digest,
            accepted: true,
            by: &signed.approver,
            at: signed.at,
        })
        .collect()
}
