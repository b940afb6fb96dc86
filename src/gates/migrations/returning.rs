//! How far back one can go once a plan's migrations have run, and what it takes: computed beforehand, and printed in the plan.

use crate::model::migration::{Migration, MigrationClass};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a rollback has to move once everything in the plan has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReturnKind {
    /// Traffic alone: the base works with the database as it is then.
    Traffic,
    /// Traffic, after down-migrations gave the database its shape back. What was written since stays.
    Database,
    /// Traffic, after the backup was restored; the new set is ended first. What was written since is lost.
    Full,
    /// There is no way back: repairs go forward.
    ForwardOnly,
}

/// What is known of the backup that the plan takes before it migrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// There is none.
    #[default]
    None,
    /// It is taken, and nothing has checked that it can be read back; it counts as none.
    Unverified,
    /// It is taken and verified, and no command is configured that restores it; it counts as none.
    NotRestorable,
    /// It is verified, and can be restored.
    Verified,
}

/// The way back over a plan's migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// What it takes once everything has run.
    pub kind: ReturnKind,
    /// The first migration after which traffic alone is not enough.
    pub until: Option<String>,
    /// What the way back loses, if anything, for people.
    pub loses: Option<String>,
    /// One line for people: `can return to 1.3.9 until migration 0042_drop.sql`.
    pub summary: String,
}

impl Return {
    /// Tells whether going back past [`Return::until`] is a person's decision, unless the signed plan says otherwise.
    pub fn needs_person(&self) -> bool {
        self.kind != ReturnKind::Traffic
    }
}

/// Returns the way back to `base` after these migrations, given in the order they run; `downs` are the names of those that can be undone.
///
/// Down-migrations are preferred where they lose nothing. Where a migration takes data away, only the backup brings it back.
pub fn return_after(base: Option<&str>, migrations: &[Migration], downs: &BTreeSet<String>, backup: BackupState) -> Return {
    let Some(base) = base else { return withdrawal(migrations) };
    let to = format!("can return to {base}");
    let Some(at) = migrations.iter().position(|migration| migration.class.is_contract()) else {
        return additive(to, migrations);
    };
    // Undoing goes backwards, so everything from there on has to be undone.
    let (until, undone) = (migrations[at].name.clone(), &migrations[at..]);
    let limit = format!("{to} until migration {until}");
    let without: Vec<&str> = undone.iter().map(|migration| migration.name.as_str()).filter(|name| !downs.contains(*name)).collect();
    let losing: Vec<&str> = undone.iter().filter(|migration| migration.loses_data).map(|migration| migration.name.as_str()).collect();
    let is_verified = backup == BackupState::Verified;
    let found =
        |kind, loses: Option<String>, then: String| Return { kind, until: Some(until.clone()), loses, summary: format!("{limit}; {then}") };
    match () {
        () if without.is_empty() && losing.is_empty() => {
            found(ReturnKind::Database, None, "after it by down-migrations, which a person decides".into())
        }
        () if is_verified => found(
            ReturnKind::Full,
            Some("what was written since the backup".into()),
            "after it only by restoring the verified backup, which loses what was written since and a person decides".into(),
        ),
        () if without.is_empty() => {
            let loses = format!("what {} took away", list(&losing));
            let then = format!("after it by down-migrations, which do not bring back {loses}, and which a person decides");
            found(ReturnKind::Database, Some(loses), then)
        }
        () => {
            let backup = match backup {
                BackupState::Unverified => "the backup is not verified",
                BackupState::NotRestorable => "no command restores the backup",
                BackupState::None | BackupState::Verified => "there is no backup",
            };
            let then = format!("after it there is no way back: {} cannot be undone, and {backup}", list(&without));
            found(ReturnKind::ForwardOnly, None, then)
        }
    }
}

fn withdrawal(migrations: &[Migration]) -> Return {
    let summary = match migrations.len() {
        0 => "nothing served before: rollback withdraws the service".to_owned(),
        count => format!("nothing served before: rollback withdraws the service; what {count} migrations made stays"),
    };
    Return { kind: ReturnKind::Traffic, until: None, loses: None, summary }
}

fn additive(to: String, migrations: &[Migration]) -> Return {
    let filled: Vec<&str> = migrations
        .iter()
        .filter(|migration| migration.class == MigrationClass::Backfill)
        .map(|migration| migration.name.as_str())
        .collect();
    let summary = match filled.is_empty() {
        true => to,
        false => format!("{to}; the rows changed by {} stay as they are", list(&filled)),
    };
    Return { kind: ReturnKind::Traffic, until: None, loses: None, summary }
}

/// Returns `a, b and 3 more`.
fn list(names: &[&str]) -> String {
    let shown = names[..names.len().min(2)].join(", ");
    if names.len() > 2 { format!("{shown} and {} more", names.len() - 2) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(name: &str, class: MigrationClass, loses_data: bool) -> Migration {
        Migration { name: name.into(), class, reason: String::new(), loses_data, warnings: Vec::new(), statements: Vec::new() }
    }

    fn plan() -> Vec<Migration> {
        vec![
            migration("0041_add.sql", MigrationClass::Expand, false),
            migration("0042_rename.sql", MigrationClass::Contract, false),
            migration("0043_fill.sql", MigrationClass::Backfill, false),
        ]
    }

    fn downs(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn additions_need_traffic_alone() {
        let found = return_after(Some("1.3.9"), &plan()[..1], &downs(&[]), BackupState::None);
        assert_eq!((found.kind, found.until.as_deref(), found.summary.as_str()), (ReturnKind::Traffic, None, "can return to 1.3.9"));
        assert!(!found.needs_person());
        let filled = return_after(Some("1.3.9"), &plan()[2..], &downs(&[]), BackupState::None);
        assert_eq!(filled.summary, "can return to 1.3.9; the rows changed by 0043_fill.sql stay as they are");
        assert_eq!(return_after(Some("1.3.9"), &[], &downs(&[]), BackupState::None).kind, ReturnKind::Traffic);
    }

    #[test]
    fn what_takes_away_is_the_limit() {
        for (names, loses, backup, kind) in [
            (&["0042_rename.sql", "0043_fill.sql"][..], false, BackupState::None, ReturnKind::Database),
            (&["0042_rename.sql", "0043_fill.sql"], false, BackupState::Verified, ReturnKind::Database),
            (&["0042_rename.sql", "0043_fill.sql"], true, BackupState::Verified, ReturnKind::Full),
            (&["0042_rename.sql", "0043_fill.sql"], true, BackupState::Unverified, ReturnKind::Database),
            // The later one cannot be undone, so neither can what came before it.
            (&["0042_rename.sql"], false, BackupState::None, ReturnKind::ForwardOnly),
            (&["0042_rename.sql"], false, BackupState::Unverified, ReturnKind::ForwardOnly),
            (&["0042_rename.sql"], false, BackupState::NotRestorable, ReturnKind::ForwardOnly),
            (&["0042_rename.sql"], false, BackupState::Verified, ReturnKind::Full),
            // What adds needs no undoing.
            (&["0041_add.sql"], false, BackupState::None, ReturnKind::ForwardOnly),
        ] {
            let mut plan = plan();
            plan[1].loses_data = loses;
            let found = return_after(Some("1.3.9"), &plan, &downs(names), backup);
            assert_eq!(found.kind, kind, "{}", found.summary);
            assert_eq!(found.until.as_deref(), Some("0042_rename.sql"));
            assert!(found.summary.starts_with("can return to 1.3.9 until migration 0042_rename.sql; after it "), "{}", found.summary);
            assert!(found.needs_person());
        }
    }

    #[test]
    fn what_is_not_understood_is_a_limit_too() {
        let unknown = [migration("0042_do.sql", MigrationClass::Unknown, true)];
        let found = return_after(Some("1.3.9"), &unknown, &downs(&[]), BackupState::Unverified);
        assert_eq!(
            found.summary,
            "can return to 1.3.9 until migration 0042_do.sql; after it there is no way back: 0042_do.sql cannot be undone, and the backup \
             is not verified"
        );
        let lossy = return_after(Some("1.3.9"), &unknown, &downs(&["0042_do.sql"]), BackupState::None);
        assert_eq!(lossy.loses.as_deref(), Some("what 0042_do.sql took away"));
    }

    #[test]
    fn a_first_deployment_is_withdrawn() {
        let found = return_after(None, &plan(), &downs(&[]), BackupState::None);
        assert_eq!(found.summary, "nothing served before: rollback withdraws the service; what 3 migrations made stays");
    }
}
