//! What a deployment does to data: prepare, back up, migrate, take data back. Each is safe to do twice.

use super::{
    Engine,
    backups::hashed,
    commands::{Commands, Looked},
    data_plan::Foreseen,
    run::Run,
    steps::StepFailure,
};
use crate::{
    error::{Code, Result},
    model::{
        JournalEntry, ServiceSpec, Sha256, Step, StepState,
        data::{BackupEvidence, DataReturn, Migrations},
        text,
    },
};
use serde_json::{Value, json};

impl Engine {
    /// Looks at what stands before a release in its database.
    pub(crate) async fn foreseen(&self, spec: &ServiceSpec, digest: &Sha256, version: &str) -> Result<Foreseen> {
        let Some(migrations) = &spec.data.migrations else { return Ok(Foreseen::default()) };
        let looked = Commands { engine: self, spec, digest, version }.look(migrations).await?;
        Ok(Foreseen { migrations: looked.planned(migrations), undoable: looked.undoable(migrations) })
    }
}

/// Stands in the journal of `migrate` from the moment its backup is being restored.
const RESTORING: &str = "restoring";

/// Tells whether the restore that undoes a step has begun, and nobody knows that it ended.
pub fn is_restoring(journal: &[JournalEntry], step: &Step) -> bool {
    journal.iter().any(|entry| entry.step == step.id && entry.state == StepState::Undoing && entry.output[RESTORING] == true)
}

/// Returns the backup a deployment has taken, from its journal.
pub fn backup_of(journal: &[JournalEntry]) -> Option<BackupEvidence> {
    let entry = journal.iter().find(|entry| entry.step.as_str() == "backup" && entry.state == StepState::Done)?;
    serde_json::from_value(entry.output["backup"].clone()).ok()
}

impl Run {
    pub(super) fn commands(&self) -> Commands<'_> {
        Commands { engine: &self.engine, spec: &self.spec, digest: &self.plan.digest, version: &self.plan.version }
    }

    fn migrations(&self) -> Result<&Migrations, StepFailure> {
        let missing = || StepFailure::new(Code::InvalidConfiguration, "the configuration names no migrations any more");
        self.spec.data.migrations.as_ref().ok_or_else(missing)
    }

    pub(super) async fn prepare(&self) -> Result<Value, StepFailure> {
        let Some(prepare) = &self.spec.data.prepare else { return Ok(Value::Null) };
        let report = self.commands().run(&self.lease, &prepare.run, prepare.timeout_ms, &[]).await?;
        Ok(json!({ "prepared": report }))
    }

    /// Takes a backup, looks at it, and has it verified.
    pub(super) async fn back_up(&self) -> Result<Value, StepFailure> {
        let Some(backup) = &self.spec.data.backup else { return Ok(Value::Null) };
        let commands = self.commands();
        let (mut evidence, report) = commands.take_backup(Some(&self.lease), backup).await?;
        commands.verify_backup(Some(&self.lease), backup, &mut evidence).await?;
        Ok(json!({ "backup": evidence, "millis": report.millis, "left_running": report.left_running }))
    }

    /// Runs the migrations, and reads in the history that they have run.
    pub(super) async fn migrate(&self) -> Result<Value, StepFailure> {
        let migrations = self.migrations()?;
        let ran = self.commands().run(&self.lease, &migrations.run, migrations.timeout_ms, &[]).await;
        let names = self.planned_names();
        let looked = self.commands().look(migrations).await;
        let (applied, history) = match &looked {
            Ok(looked) => (json!(looked.applied(&names)), json!(looked.history)),
            Err(error) => (Value::Null, json!({ "unknown": error.message })),
        };
        let details = json!({ "applied": applied, "history": history });
        let missing = |looked: &Looked| names.iter().filter(|name| !looked.applied(&names).contains(name)).cloned().collect::<Vec<_>>();
        let after = match &looked {
            Ok(looked) if missing(looked).is_empty() => "`history` shows all of them".to_owned(),
            Ok(looked) => format!("`history` does not show {}", missing(looked).join(", ")),
            Err(error) => error.message.clone(),
        };
        match (ran, looked) {
            (Ok(report), Ok(looked)) if missing(&looked).is_empty() => {
                Ok(json!({ "applied": applied, "history": history, "millis": report.millis, "output": report.output }))
            }
            (Ok(_), Ok(_)) => {
                Err(StepFailure { code: Code::TargetFailed, message: format!("the migrations ended well, and {after}"), details })
            }
            (Ok(_), Err(error)) => Err(StepFailure { details, ..error.into() }),
            (Err(failure), _) => {
                Err(StepFailure { message: format!("the migrations failed, and {after}: {}", failure.message), details, ..failure })
            }
        }
    }

    /// Tells whether every planned migration is in the history.
    pub(super) async fn has_migrated(&self) -> Result<bool, StepFailure> {
        let names = self.planned_names();
        let looked = self.commands().look(self.migrations()?).await?;
        Ok(looked.applied(&names).len() == names.len())
    }

    /// Says what the history shows now, for people.
    pub(super) async fn history_seen(&self) -> String {
        let looked = match (self.taken_back().await, self.migrations()) {
            (Ok((of, spec)), _) => {
                let commands = Commands { engine: &self.engine, spec: &spec, digest: &of.digest, version: &of.version };
                match &spec.data.migrations {
                    Some(migrations) => commands.look(migrations).await,
                    None => return "the configuration names no migrations any more".into(),
                }
            }
            (Err(_), Ok(migrations)) => self.commands().look(migrations).await,
            (Err(_), Err(failure)) => return failure.message,
        };
        match looked {
            Ok(looked) if looked.history.is_empty() => "`history` shows no migration".into(),
            Ok(looked) => format!("`history` shows {}", text::visible_line(&looked.history.join(", "), 400)),
            Err(error) => text::visible_line(&error.message, 300),
        }
    }

    fn planned_names(&self) -> Vec<String> {
        self.plan.migrations.iter().map(|migration| migration.name.clone()).collect()
    }

    /// Undoes this deployment's own migrations, before what served before gets traffic again.
    pub(super) async fn undo_migrate(&self, step: &Step) -> Result<Value, StepFailure> {
        let Some(data) = &self.plan.rollback.data else { return Ok(Value::Null) };
        let journal = self.journal().await?;
        let restores = matches!(data, DataReturn::Restore { .. });
        let commands = self.commands();
        let looked = commands.look(self.migrations()?).await?;
        // A restore that was cut off is done again: the history alone does not show that it came to its end.
        let is_cut_off = restores && is_restoring(&journal, step);
        let output = if looked.applied(data.migrations()).is_empty() && !is_cut_off {
            json!({ "history": looked.history, "nothing_to_take_back": true })
        } else {
            if restores {
                self.write(step, &[StepState::Undoing], StepState::Undoing, Some(&json!({ RESTORING: true }))).await?;
                self.silence().await?;
            }
            self.take_data_back(&commands, data, backup_of(&journal)).await?
        };
        // Before traffic has moved nothing later on the way back gives what served its traffic again.
        if restores && self.moved_at(&journal).is_none() {
            self.serve_base_again().await?;
        }
        Ok(output)
    }

    /// Brings data back, as the plan of a way back says, before an earlier release is started.
    pub(super) async fn return_data(&self) -> Result<Value, StepFailure> {
        let Some(planned) = &self.plan.data_return else { return Ok(Value::Null) };
        let (of, spec) = self.taken_back().await?;
        let commands = Commands { engine: &self.engine, spec: &spec, digest: &of.digest, version: &of.version };
        if matches!(planned.data, DataReturn::Restore { .. }) {
            self.silence().await?;
        }
        self.take_data_back(&commands, &planned.data, planned.backup.clone()).await
    }

    /// Tells whether data was taken back already. A restore that was cut off is done again: the history alone does not show it.
    pub(super) async fn has_returned(&self) -> Result<bool, StepFailure> {
        let Some(planned) = &self.plan.data_return else { return Ok(true) };
        let DataReturn::Down { migrations } = &planned.data else { return Ok(false) };
        let (of, spec) = self.taken_back().await?;
        let commands = Commands { engine: &self.engine, spec: &spec, digest: &of.digest, version: &of.version };
        let Some(configured) = &spec.data.migrations else { return Ok(false) };
        Ok(commands.look(configured).await?.applied(migrations).is_empty())
    }

    /// Returns the plan of the deployment whose data is taken back, and the service as it ran.
    async fn taken_back(&self) -> Result<(crate::model::Plan, ServiceSpec), StepFailure> {
        let Some(planned) = &self.plan.data_return else {
            return Err(StepFailure::new(Code::WrongState, "the plan takes no data back"));
        };
        let of = self.engine.plan_of(&self.engine.deployment(&planned.of).await?).await?;
        let spec = self.engine.planned_spec(&of).await?;
        Ok((of, spec))
    }

    async fn take_data_back(&self, of: &Commands<'_>, data: &DataReturn, backup: Option<BackupEvidence>) -> Result<Value, StepFailure> {
        let missing = |what: &str| StepFailure::new(Code::InvalidConfiguration, format!("{what} is not known any more"));
        let migrations = of.spec.data.migrations.as_ref().ok_or_else(|| missing("`migrations`"))?;
        let mut done = Vec::new();
        match data {
            DataReturn::Down { migrations: names } => {
                let down = migrations.down.as_ref().ok_or_else(|| missing("`down`"))?;
                for name in names {
                    // Asked each time: what was undone before a crash is not undone again.
                    if of.look(migrations).await?.applied(std::slice::from_ref(name)).is_empty() {
                        continue;
                    }
                    of.run(&self.lease, down, migrations.timeout_ms, &[("migration", name.as_str())]).await?;
                    done.push(json!({ "undone": name }));
                }
            }
            DataReturn::Restore { .. } => {
                let configured = of.spec.data.backup.as_ref().ok_or_else(|| missing("`backup`"))?;
                let restore = configured.restore.as_ref().ok_or_else(|| missing("`restore`"))?;
                let backup = backup.ok_or_else(|| missing("where the backup is"))?;
                self.check_backup(&backup).await?;
                let report = of.run(&self.lease, restore, configured.timeout_ms, &[("location", backup.location.as_str())]).await?;
                done.push(json!({ "restored": backup, "millis": report.millis }));
            }
        }
        let looked = of.look(migrations).await?;
        let left = looked.applied(data.migrations());
        if !left.is_empty() {
            return Err(StepFailure {
                code: Code::TargetFailed,
                message: format!("data was taken back, and `history` still shows {left:?}"),
                details: json!({ "history": looked.history }),
            });
        }
        Ok(json!({ "data": done, "history": looked.history }))
    }

    /// Refuses to restore bytes that are not those that were taken.
    async fn check_backup(&self, backup: &BackupEvidence) -> Result<(), StepFailure> {
        let (Some(taken), true) = (&backup.sha256, backup.hashed_here) else { return Ok(()) };
        let path = self.engine.workspace.root.join(&backup.location);
        match self.engine.blocking(move || hashed(&path)).await? {
            Some((now, _)) if now == *taken => Ok(()),
            Some(_) => Err(StepFailure::new(Code::BackupFailed, format!("the backup at `{}` is not what was taken", backup.location))),
            None => Err(StepFailure::new(Code::BackupFailed, format!("the backup at `{}` cannot be read any more", backup.location))),
        }
    }
}
