//! What a plan does to data and around it: which migrations it may run, and how far back one can go afterwards. Pure.

use crate::{
    error::{Code, Error, Result},
    gates::migrations::{self as gate, BackupState, Return, ReturnKind},
    model::{
        Action, Base, JournalEntry, Plan, ServiceSpec, StepState,
        data::{DataReturn, DataSpec, OnRollback, PlannedMigration, PlannedReturn},
        migration::Migration,
        plan::{Rollback, RollbackKind},
        service::TargetKind,
    },
};
use std::collections::BTreeSet;

/// What stands before a deployment in its database.
#[derive(Debug, Clone, Default)]
pub struct Foreseen {
    /// What will run, in its order.
    pub migrations: Vec<PlannedMigration>,
    /// Those of the folder that can be undone one by one.
    pub undoable: BTreeSet<String>,
}

/// Refuses migrations that may break what serves in the plan that brings their release, unless a person has declared them.
///
/// Where nothing serves, there is nothing to break.
pub fn refuse_contract(spec: &ServiceSpec, base: Option<&Base>, migrations: &[PlannedMigration]) -> Result<()> {
    let (Some(base), Some(configured)) = (base, &spec.data.migrations) else { return Ok(()) };
    let refused = |migration: &&PlannedMigration| migration.class.is_contract() && !configured.pivots.contains(&migration.name);
    let refused: Vec<&PlannedMigration> = migrations.iter().filter(refused).collect();
    let Some(first) = refused.first() else { return Ok(()) };
    let names: Vec<&str> = refused.iter().map(|migration| migration.name.as_str()).collect();
    let message = format!(
        "migration `{}` is {}: {}; {}, which serves until traffic moves and is the way back, may not work once it has run",
        first.name, first.class, first.reason, base.version
    );
    let hint = format!(
        "deploy a release that no longer needs what it takes away, and it with a later release; or a person declares \
         pivots = {names:?} in [services.{}] migrations, and applies it",
        spec.service
    );
    let details = serde_json::json!({ "migrations": refused, "pivots": names });
    Err(Error::new(Code::ContractMigration, message).hint(hint).details(details))
}

/// Returns the way back of a deployment.
pub fn rollback(spec: &ServiceSpec, base: Option<&Base>, foreseen: &Foreseen) -> Rollback {
    let migrations: Vec<Migration> = foreseen.migrations.iter().map(read).collect();
    let way = gate::return_after(base.map(|base| base.version.as_str()), &migrations, &foreseen.undoable, backup_state(&spec.data));
    let to_version = base.map(|base| base.version.clone());
    let Some(until) = &way.until else {
        let (kind, summary) = match base {
            None if migrations.is_empty() && matches!(spec.target, TargetKind::Ci(_)) => {
                let summary = "nothing served before, and no run takes it away: a person does, where something answers";
                (RollbackKind::Withdraw, summary.into())
            }
            None if migrations.is_empty() => {
                (RollbackKind::Withdraw, "nothing served before: going back withdraws the service (503)".into())
            }
            None => (RollbackKind::Withdraw, way.summary),
            Some(base) => {
                let data = match way.summary.split_once("; ") {
                    _ if migrations.is_empty() => "no data is touched",
                    Some((_, rows)) => rows,
                    None => "what its migrations add stays",
                };
                (RollbackKind::Traffic, format!("can return to {} ({}); traffic only, {data}", base.version, base.deployment))
            }
        };
        return Rollback::without_data(kind, to_version, summary);
    };
    let data = data_return(&way, until, &migrations);
    let kind = match way.kind {
        ReturnKind::Traffic => RollbackKind::Traffic,
        ReturnKind::Database => RollbackKind::Database,
        ReturnKind::Full => RollbackKind::Full,
        ReturnKind::ForwardOnly => RollbackKind::ForwardOnly,
    };
    let wanted = spec.data.backup.as_ref().is_some_and(|backup| backup.on_rollback == OnRollback::Automatic);
    let automatic = wanted && data.is_some();
    let summary = match &data {
        Some(data) if automatic => {
            format!(
                "can return to {} until migration {until}; after it by itself, as this plan says: {}",
                to_version.as_deref().unwrap_or("nothing"),
                data.title()
            )
        }
        _ => way.summary,
    };
    Rollback { kind, to_version, summary, until: Some(until.clone()), loses: way.loses, data, automatic }
}

/// Returns the way back of a deployment that takes data back itself: there is none.
pub fn after_return(returned: &PlannedReturn, version: &str) -> Rollback {
    let summary =
        format!("once data is taken back there is no way back by itself: it is what {version} works with ({})", returned.data.title());
    Rollback { loses: returned.loses.clone(), ..Rollback::without_data(RollbackKind::ForwardOnly, None, summary) }
}

/// Returns how data goes back: from the last migration to the first that takes something away.
fn data_return(way: &Return, until: &str, migrations: &[Migration]) -> Option<DataReturn> {
    let names = migrations.iter().map(|migration| migration.name.clone());
    match way.kind {
        ReturnKind::Database => {
            let mut undone: Vec<String> = names.skip_while(|name| name != until).collect();
            undone.reverse();
            Some(DataReturn::Down { migrations: undone })
        }
        // A backup knows nothing of what ran after it.
        ReturnKind::Full => Some(DataReturn::Restore { migrations: names.collect() }),
        ReturnKind::Traffic | ReturnKind::ForwardOnly => None,
    }
}

fn read(planned: &PlannedMigration) -> Migration {
    Migration {
        name: planned.name.clone(),
        class: planned.class,
        reason: planned.reason.clone(),
        loses_data: planned.loses_data,
        warnings: planned.warnings.clone(),
        statements: Vec::new(),
    }
}

fn backup_state(data: &DataSpec) -> BackupState {
    match &data.backup {
        None => BackupState::None,
        Some(backup) => match (&backup.verify, &backup.restore) {
            (None, _) => BackupState::Unverified,
            (Some(_), None) => BackupState::NotRestorable,
            (Some(_), Some(_)) => BackupState::Verified,
        },
    }
}

/// Returns the way back of a deployment that has run, or begun to run, migrations past which traffic alone does not go back.
pub fn past_data<'a>(plan: &'a Plan, journal: &[JournalEntry]) -> Option<&'a Rollback> {
    let step = plan.steps.iter().find(|step| step.action == Action::Migrate)?;
    let state = journal.iter().find(|entry| entry.step == step.id)?.state;
    (plan.rollback.until.is_some() && !matches!(state, StepState::Pending | StepState::Undone)).then_some(&plan.rollback)
}

/// Returns the refusal of a way back that would leave an earlier release on data it cannot use.
pub fn refusal(deployment: &crate::model::DeploymentId, plan: &Plan, way: &Rollback) -> Error {
    let until = way.until.as_deref().unwrap_or("its migrations");
    let to = way.to_version.as_deref().unwrap_or("what served before");
    let message = format!("`{deployment}` has run migration `{until}`, and {to} may not work with the database as it is now");
    let who = plan.approval.as_ref().map_or("an approver".to_owned(), |approval| format!("the {}", approval.role));
    let hint = match &way.data {
        Some(data) => format!("{who} decides, with `interlock restore {deployment} --reason TEXT`: {}", data.title()),
        None => "there is no way back: repair it with a new release".to_owned(),
    };
    Error::new(Code::PastMigration, message).hint(hint).details(serde_json::json!({ "rollback": way }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::examples::{base, foreseen, migration, with_data as with},
        model::migration::MigrationClass,
    };

    #[test]
    fn what_takes_away_is_refused_beside_what_serves_unless_a_person_has_declared_it() {
        let (serves, found) = (base("dep_1"), foreseen().migrations);
        let refused = refuse_contract(&with(OnRollback::Ask, &[]), Some(&serves), &found).unwrap_err();
        assert_eq!((refused.code, refused.message.starts_with("migration `0042_drop.sql` is contract")), (Code::ContractMigration, true));
        assert!(refuse_contract(&with(OnRollback::Ask, &["0042_drop.sql"]), Some(&serves), &found).is_ok());
        assert!(refuse_contract(&with(OnRollback::Ask, &[]), None, &found).is_ok(), "nothing serves that could break");
        let unknown = [migration("0043_do.sql", MigrationClass::Unknown)];
        assert!(refuse_contract(&with(OnRollback::Ask, &["0042_drop.sql"]), Some(&serves), &unknown).is_err());
    }

    #[test]
    fn the_way_back_says_its_kind_its_limit_and_who_decides() {
        let serves = base("dep_1");
        let asked = rollback(&with(OnRollback::Ask, &[]), Some(&serves), &foreseen());
        assert_eq!((asked.kind, asked.until.as_deref(), asked.automatic), (RollbackKind::Full, Some("0042_drop.sql"), false));
        assert!(
            asked.summary.starts_with("can return to 1.0.0 until migration 0042_drop.sql; after it only by restoring"),
            "{}",
            asked.summary
        );
        let automatic = rollback(&with(OnRollback::Automatic, &[]), Some(&serves), &foreseen());
        assert!(automatic.automatic && automatic.summary.contains("after it by itself, as this plan says"), "{}", automatic.summary);
        let mut without = with(OnRollback::Ask, &[]);
        without.data.backup = None;
        assert_eq!(rollback(&without, Some(&serves), &foreseen()).kind, RollbackKind::ForwardOnly);
        let added = Foreseen { migrations: foreseen().migrations[..1].to_vec(), undoable: BTreeSet::new() };
        let additive = rollback(&without, Some(&serves), &added);
        assert_eq!(additive.summary, "can return to 1.0.0 (dep_1); traffic only, what its migrations add stays");
    }
}
