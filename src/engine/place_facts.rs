//! Facts about where a release goes, how it got there, and whether there is anything to deploy at all: from the record, the applied
//! configuration, and the commits between what serves and what is to.

use super::{Engine, data::backup_of, facts::Seen, git, rehearsal::rehearsal_of};
use crate::{
    config,
    error::Result,
    model::{DeploymentState, Directive, DirectiveState, JournalEntry, Purpose, StepState},
};
use std::{path::Path, sync::Mutex};

/// A fact as it was computed; none where the record does not say.
pub(super) type Computed = (&'static str, Option<bool>);

impl Engine {
    pub(super) async fn facts_of_place(&self, directive: &Directive, seen: &Seen) -> Result<Vec<Computed>> {
        let (_, environment, spec) = self.service(&directive.environment, &directive.service).await?;
        let serving = self.store.serving(&directive.service, &directive.environment).await?;
        let is_first = match &seen.latest {
            Some(deployment) => self.plan_of(deployment).await?.base.is_none(),
            None => serving.is_none(),
        };
        let mut is_free = true;
        for id in &directive.depends_on {
            is_free &= self.directive(id).await?.state == DirectiveState::Completed;
        }
        let measured = match &seen.latest {
            Some(deployment) => self.has_measured(deployment, "settled").await?,
            None => false,
        };
        let written = |kind: &str| seen.artifacts.iter().any(|artifact| artifact.name == kind);
        let shifted = seen.latest.as_ref().is_some_and(|deployment| deployment.shifted_at.is_some() && deployment.unshifted_at.is_none());
        let rehearsed = rehearsal_of(&seen.journal).map(|rehearsal| rehearsal.proven);
        // A first deployment is withdrawn: there is nothing to go back to, and nothing to rehearse.
        let went_first = seen.latest.is_some() && is_first && shifted;
        let is_watched = self.coverage(&spec).await?.is_covered();
        let last = self.last_backup(&spec).await?.filter(|(proof, _)| proof.directive == directive.id);
        let backed_up = last.and_then(|(_, seen)| seen.backup).is_some_and(|backup| backup.verified);
        let keeps_data = spec.data.backup.is_some() || spec.data.migrations.is_some();
        let is_production = environment.is_production();

        let back = |deployment: &crate::model::Deployment| {
            let goes_back = matches!(deployment.purpose, Purpose::Rollback { .. }) || deployment.state == DeploymentState::RollingBack;
            goes_back && deployment.environment == directive.environment && deployment.service == directive.service
        };
        let going_back = self.store.occupying().await?.iter().any(back);
        // What this directive has itself brought to serve is no reason to skip it.
        let other = serving.filter(|set| seen.latest.as_ref().is_none_or(|deployment| deployment.id != set.deployment));
        let serves = other.as_ref().is_some_and(|set| set.digest == directive.digest);
        let paths = match (other.and_then(|set| set.commit), &directive.commit) {
            (Some(from), Some(to)) if from != *to => self.changed.between(&self.workspace.root, &from, to).await,
            _ => None,
        };
        // What cannot be read counts as code.
        let only = |is_it: &dyn Fn(&[String]) -> bool| Some(paths.as_deref().is_some_and(|paths| !paths.is_empty() && is_it(paths)));
        Ok(vec![
            ("ordered", Some(directive.id.as_str().starts_with("SD-DEPLOY-"))),
            ("dependencies_completed", Some(is_free)),
            ("production", Some(is_production)),
            ("environment_new", Some(is_first)),
            ("green_ready", green(&seen.journal)),
            ("traffic_moved", shifted.then_some(true)),
            ("rollback_tested", rehearsed.or(went_first.then_some(true))),
            ("backup_taken", backup_of(&seen.journal).map(|_| true).or(backed_up.then_some(true))),
            ("keeps_data", keeps_data.then_some(true)),
            ("monitoring_required", (is_production || !spec.metrics.is_empty()).then_some(true)),
            ("monitoring_active", is_watched.then_some(true)),
            ("baseline_recorded", measured.then_some(true)),
            ("documents_written", (written("deployment_plan") && written("status")).then_some(true)),
            ("documentation_only", only(&|paths| paths.iter().all(|path| is_document(path)))),
            (
                "configuration_only",
                only(&|paths| {
                    let is_configuration = |path: &String| path == config::FILE_NAME;
                    paths.iter().any(is_configuration) && paths.iter().all(|path| is_configuration(path) || is_document(path))
                }),
            ),
            ("development_only", Some(!is_production)),
            ("already_deployed", Some(serves)),
            ("emergency_rollback", Some(going_back)),
        ])
    }
}

/// Tells whether the new instances were found healthy; a rolling deployment checks them batch by batch.
fn green(journal: &[JournalEntry]) -> Option<bool> {
    let is_check = |entry: &&JournalEntry| entry.step.as_str().starts_with("verify-") && entry.step.as_str() != "verify-listener";
    let mut states = journal.iter().filter(is_check).map(|entry| entry.state);
    match states.clone().any(|state| state == StepState::Failed) {
        true => Some(false),
        false => states.any(|state| state == StepState::Done).then_some(true),
    }
}

/// Tells whether a path is documentation wherever it stands: prose that nothing is built from by its kind.
fn is_document(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    ["md", "adoc", "rst"].contains(&extension) || ["LICENSE", "NOTICE"].contains(&name)
}

/// What lies between commits, as git said a moment ago: commits do not change.
#[derive(Default)]
pub(super) struct Changed(Mutex<Vec<(String, Vec<String>)>>);

impl Changed {
    /// How many are kept.
    const MOST: usize = 32;

    async fn between(&self, workspace: &Path, from: &str, to: &str) -> Option<Vec<String>> {
        let between = format!("{from} {to}");
        let known = self.0.lock().expect("nothing panics here").iter().find(|(key, _)| *key == between).map(|(_, paths)| paths.clone());
        if known.is_some() {
            return known;
        }
        let paths = git::changed(workspace, from, to).await?;
        let mut kept = self.0.lock().expect("nothing panics here");
        if kept.len() == Self::MOST {
            kept.remove(0);
        }
        kept.push((between, paths.clone()));
        Some(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_told_by_its_kind() {
        assert!(["README.md", "docs/a/guide.adoc", "LICENSE", "notes.rst"].iter().all(|path| is_document(path)));
        assert!(
            !["src/main.rs", "docs/conf.py", "requirements.txt", "md", "LICENSES/x", "interlock.toml"].iter().any(|path| is_document(path))
        );
    }
}
