//! What a deployment does to data, and around it: the configured commands, and what a plan and the record say of them.

use super::{
    digest::Sha256,
    ids::DeploymentId,
    migration::{MigrationClass, SqlDialect},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The commands of a service that prepare a deployment, keep and change its data, or hook into its course.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSpec {
    /// Runs before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<Prepare>,
    /// Takes a backup before data is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// Changes the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// Hooks into the deployment's course.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
}

impl DataSpec {
    /// Tells whether configuration says nothing of data: then it stands in no document, and in no hash.
    pub fn is_default(&self) -> bool {
        *self == DataSpec::default()
    }
}

/// `prepare = { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The argv.
    pub run: Vec<String>,
    /// How long it may take.
    pub timeout_ms: u64,
}

/// `backup = { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Takes it, and prints where it is.
    pub run: Vec<String>,
    /// Says with exit code 0 that `{location}` can be read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Vec<String>>,
    /// Brings `{location}` back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Vec<String>>,
    /// Restores `{location}` into the empty folder `{scratch}`, or elsewhere beside the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearse: Option<Vec<String>>,
    /// How long each of them may take.
    pub timeout_ms: u64,
    /// Who decides that data goes back.
    pub on_rollback: OnRollback,
}

/// Who decides that data goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRollback {
    /// A person, each time.
    #[default]
    Ask,
    /// Whoever signed the plan, with it.
    Automatic,
}

/// `migrations = { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrations {
    /// The folder inside the release.
    pub dir: String,
    /// Runs what is pending, and stops at the first error.
    pub run: Vec<String>,
    /// Prints the names or numbers of the migrations that have run, one a line.
    pub history: Vec<String>,
    /// Undoes `{migration}`, the last that has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Vec<String>>,
    /// Which SQL the files are written in.
    pub dialect: SqlDialect,
    /// Files that may take away what the serving release uses: past them traffic alone does not go back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pivots: Vec<String>,
    /// How long each of the commands may take.
    pub timeout_ms: u64,
}

/// `hooks = { … }`: at each point a list of argv.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before the first instance is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_start: Vec<Vec<String>>,
    /// Before traffic first moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_shift: Vec<Vec<String>>,
    /// Once all traffic is on the new set and was seen there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_shift: Vec<Vec<String>>,
    /// Once the new set is recorded as serving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_success: Vec<Vec<String>>,
    /// Once a deployment was taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_rollback: Vec<Vec<String>>,
    /// How long each argv may take.
    pub timeout_ms: u64,
}

/// Where hooks run in a deployment's course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before the first instance is started.
    BeforeStart,
    /// Before traffic first moves.
    BeforeShift,
    /// Once all traffic is on the new set and was seen there.
    AfterShift,
    /// Once the new set is recorded as serving.
    AfterSuccess,
    /// Once a deployment was taken back.
    AfterRollback,
}

impl HookPoint {
    /// Returns the name configuration writes.
    pub fn as_str(self) -> &'static str {
        match self {
            HookPoint::BeforeStart => "before_start",
            HookPoint::BeforeShift => "before_shift",
            HookPoint::AfterShift => "after_shift",
            HookPoint::AfterSuccess => "after_success",
            HookPoint::AfterRollback => "after_rollback",
        }
    }

    /// Tells whether a failure changes nothing of what serves: traffic has moved, and a hook is no reason to move it again.
    pub fn is_after_switch(self) -> bool {
        matches!(self, HookPoint::AfterShift | HookPoint::AfterSuccess | HookPoint::AfterRollback)
    }
}

impl Hooks {
    /// Returns the argvs of a point.
    pub fn at(&self, point: HookPoint) -> &[Vec<String>] {
        match point {
            HookPoint::BeforeStart => &self.before_start,
            HookPoint::BeforeShift => &self.before_shift,
            HookPoint::AfterShift => &self.after_shift,
            HookPoint::AfterSuccess => &self.after_success,
            HookPoint::AfterRollback => &self.after_rollback,
        }
    }
}

/// A migration that a plan runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMigration {
    /// The file's name in its folder.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// What it does to the release that serves.
    pub class: MigrationClass,
    /// Why it is that.
    pub reason: String,
    /// Whether what it takes away is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loses_data: bool,
    /// What it may block or slow while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl PlannedMigration {
    /// Returns a line for each, the worst first; of many only the first ten, and how many more there are.
    pub fn lines(migrations: &[PlannedMigration], line: impl Fn(&PlannedMigration) -> String) -> Vec<String> {
        const MOST: usize = 10;
        let mut sorted: Vec<&PlannedMigration> = migrations.iter().collect();
        sorted.sort_by_key(|migration| std::cmp::Reverse(migration.class));
        let more = sorted.len().saturating_sub(MOST);
        let more = (more > 0).then(|| format!("and {more} more"));
        sorted.into_iter().take(MOST).map(line).chain(more).collect()
    }
}

/// How data goes back to what an earlier release works with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum DataReturn {
    /// By down-migrations, in this order; what was written since stays.
    Down {
        /// The last that has run comes first.
        migrations: Vec<String>,
    },
    /// By restoring the backup that the deployment took; what was written since is lost.
    Restore {
        /// The migrations that are not in the history any more afterwards.
        migrations: Vec<String>,
    },
}

impl DataReturn {
    /// Returns the migrations that are not in the history any more afterwards.
    pub fn migrations(&self) -> &[String] {
        match self {
            DataReturn::Down { migrations } | DataReturn::Restore { migrations } => migrations,
        }
    }

    /// Says how, for people.
    pub fn title(&self) -> String {
        let names = self.migrations().join(", ");
        match self {
            DataReturn::Down { .. } => format!("undo {names} by down-migrations"),
            DataReturn::Restore { .. } => {
                format!("end the set that serves, and restore the backup taken before {names}; what was written since is lost")
            }
        }
    }
}

/// The way back over data that a rollback's plan takes: whoever signs the plan has read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedReturn {
    /// The deployment whose migrations are taken back.
    pub of: DeploymentId,
    /// By which means.
    pub data: DataReturn,
    /// What it loses, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
    /// What is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupEvidence>,
}

/// What is known of a backup that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupEvidence {
    /// Where it is, as its command says.
    pub location: String,
    /// SHA-256 of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Whether the server has hashed the bytes itself; otherwise its command says so.
    pub hashed_here: bool,
    /// Its size, where the server could read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// When it was there.
    pub taken_at: Timestamp,
    /// Whether a command has said that it can be read back.
    pub verified: bool,
    /// Whether that command has restored it somewhere: the restore is rehearsed.
    pub restore_rehearsed: bool,
}

impl BackupEvidence {
    /// Says what is known of it, on one line; the age is that at `now`.
    pub fn summary(&self, now: Timestamp) -> String {
        let sha256 = match (&self.sha256, self.hashed_here) {
            (Some(sha256), true) => format!("sha256 {sha256}"),
            (Some(sha256), false) => format!("sha256 {sha256} by its command's word"),
            (None, _) => "no checksum".to_owned(),
        };
        let size = self.size_bytes.map_or("size unknown".to_owned(), |bytes| format!("{bytes} bytes"));
        let checked = match (self.verified, self.restore_rehearsed) {
            (_, true) => "restore rehearsed",
            (true, false) => "verified",
            (false, false) => "not verified",
        };
        let age = now.since(self.taken_at).as_secs();
        format!("{}, {sha256}, {size}, taken at {} ({age} s ago), {checked}", super::text::visible_line(&self.location, 300), self.taken_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_migrations_the_worst_are_shown() {
        let migration = |number: usize, class| PlannedMigration {
            name: format!("{number:04}.sql"),
            sha256: Sha256::of(b""),
            class,
            reason: String::new(),
            loses_data: false,
            warnings: Vec::new(),
        };
        let mut all: Vec<PlannedMigration> = (1..=12).map(|number| migration(number, MigrationClass::Expand)).collect();
        all.push(migration(13, MigrationClass::Contract));
        let shown = PlannedMigration::lines(&all, |migration| migration.name.clone());
        assert_eq!((shown.len(), shown[0].as_str(), shown[10].as_str()), (11, "0013.sql", "and 3 more"));
    }
}
