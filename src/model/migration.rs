//! What a database migration does to the release that still serves: add, fill, or take away.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a migration, or one statement of it, does to the release that still serves. The later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationClass {
    /// Adds only: the serving release does not notice.
    Expand,
    /// Changes rows; the shape stays.
    Backfill,
    /// Not understood; counts as [`MigrationClass::Contract`].
    Unknown,
    /// Takes away or forbids what the serving release may use.
    Contract,
}

/// Which SQL a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SqlDialect {
    /// Not said: a file must be readable as every one of them, and the worst reading counts.
    #[default]
    Any,
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
    /// MySQL, MariaDB.
    Mysql,
}

/// One migration file, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The file's name in its folder.
    pub name: String,
    /// The worst of its statements.
    pub class: MigrationClass,
    /// Why, in the words of the statement that made it so.
    pub reason: String,
    /// Whether what it takes away is gone: no down-migration brings rows back.
    pub loses_data: bool,
    /// What it may block or slow while it runs, one line each.
    pub warnings: Vec<String>,
    /// Its statements, in order.
    pub statements: Vec<MigrationStatement>,
}

/// One statement of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationStatement {
    /// The line it starts at, from 1.
    pub line: u64,
    /// Its beginning, on one line.
    pub text: String,
    /// What it does.
    pub class: MigrationClass,
    /// Why it is that.
    pub reason: String,
    /// Whether what it takes away is gone.
    pub loses_data: bool,
    /// What it may block or slow.
    pub warnings: Vec<String>,
}

impl MigrationClass {
    /// Tells whether the serving release may stop working with it: contract, and whatever was not understood.
    pub fn is_contract(self) -> bool {
        self >= MigrationClass::Unknown
    }
}

impl fmt::Display for MigrationClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MigrationClass::Expand => "expand",
            MigrationClass::Backfill => "backfill",
            MigrationClass::Unknown => "unknown",
            MigrationClass::Contract => "contract",
        })
    }
}

impl SqlDialect {
    /// Returns the dialect a database URL names: `postgres://…`, `sqlite:…`, `mysql://…`; anything else leaves it open.
    pub fn of_url(url: &str) -> Self {
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match scheme.split('+').next().unwrap_or_default() {
            "postgres" | "postgresql" => SqlDialect::Postgres,
            "sqlite" | "sqlite3" => SqlDialect::Sqlite,
            "mysql" | "mariadb" => SqlDialect::Mysql,
            _ => SqlDialect::Any,
        }
    }
}

impl fmt::Display for SqlDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SqlDialect::Any => "any SQL",
            SqlDialect::Postgres => "PostgreSQL",
            SqlDialect::Sqlite => "SQLite",
            SqlDialect::Mysql => "MySQL",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_counts_as_taking_away() {
        assert!(MigrationClass::Unknown.is_contract() && MigrationClass::Contract.is_contract());
        assert!(!MigrationClass::Expand.is_contract() && !MigrationClass::Backfill.is_contract());
    }

    #[test]
    fn a_database_url_names_its_dialect() {
        for (url, dialect) in [
            ("postgres://a@b/c", SqlDialect::Postgres),
            ("postgresql+asyncpg://a@b/c", SqlDialect::Postgres),
            ("sqlite::memory:", SqlDialect::Sqlite),
            ("MYSQL://a@b/c", SqlDialect::Mysql),
            ("env:DATABASE_URL", SqlDialect::Any),
            ("", SqlDialect::Any),
        ] {
            assert_eq!(SqlDialect::of_url(url), dialect, "{url}");
        }
    }
}
