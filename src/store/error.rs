//! Why the database could not do something, sorted by what a caller would do about it.

use crate::error::{Code, Error};

/// Why the database could not do something. In each case nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is locked, read-only, closed or cannot be reached: the same call may work later.
    #[error("the database cannot be used now: {0:#}")]
    Unavailable(anyhow::Error),
    /// It was written by a newer Interlock.
    #[error("the database has schema {found}, this interlock knows {known}")]
    Newer {
        /// The schema found.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// The disk is full, or a size limit was hit.
    #[error("the database cannot grow: {0:#}")]
    Full(anyhow::Error),
    /// What was read back is not what was written: somebody altered it from outside.
    #[error("{0} was altered from outside")]
    Altered(String),
    /// Anything else is a bug.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Result of anything that asks the database.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as Sql;
        let wrap = match &error {
            Sql::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => StoreError::Full,
            Sql::Io(_) | Sql::Tls(_) | Sql::PoolTimedOut | Sql::PoolClosed | Sql::WorkerCrashed | Sql::BeginFailed => {
                StoreError::Unavailable
            }
            Sql::Database(database) => match database.code().as_deref() {
                Some(code) if code.len() == 5 => of_sqlstate(code),
                Some(code) => code.parse().map_or(StoreError::Other as fn(_) -> _, of_sqlite),
                None => StoreError::Other,
            },
            _ => StoreError::Other,
        };
        wrap(anyhow::Error::new(error))
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as Migrate;
        match error {
            Migrate::Execute(error) | Migrate::ExecuteMigration(error, _) => error.into(),
            other => StoreError::Other(anyhow::Error::new(other).context("migrating the database")),
        }
    }
}

type Wrap = fn(anyhow::Error) -> StoreError;

// SQLite's extended result codes; the low byte is the primary one.
fn of_sqlite(code: i32) -> Wrap {
    const IOERR_WRITE: i32 = 778;
    const IOERR_SHMSIZE: i32 = 4874;
    match code {
        // A write cut by RLIMIT_FSIZE or a quota arrives as one of these two.
        IOERR_WRITE | IOERR_SHMSIZE => StoreError::Full,
        code => match code & 0xff {
            // busy, locked, read-only, I/O, cannot open, locking protocol
            5 | 6 | 8 | 10 | 14 | 15 => StoreError::Unavailable,
            13 => StoreError::Full,
            _ => StoreError::Other,
        },
    }
}

// PostgreSQL's SQLSTATE.
fn of_sqlstate(code: &str) -> Wrap {
    match code {
        "53100" => StoreError::Full,
        // lock not available, read-only, cancelled by a timeout, no such database, I/O
        "55P03" | "25006" | "57014" | "3D000" | "58030" => StoreError::Unavailable,
        // connection, authorization, serialization and deadlock, resources, operator intervention
        _ if ["08", "28", "40", "53", "57P"].iter().any(|class| code.starts_with(class)) => StoreError::Unavailable,
        _ => StoreError::Other,
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => {
                tracing::warn!("database unavailable: {cause:#}");
                Error::new(Code::DatabaseUnavailable, "the database cannot be used now")
            }
            StoreError::Newer { .. } => Error::new(Code::DatabaseNewer, error.to_string()),
            StoreError::Full(cause) => {
                tracing::warn!("database full: {cause:#}");
                Error::new(Code::DiskFull, "the database cannot grow: the disk is full or a size limit was hit")
            }
            StoreError::Altered(_) => Error::new(Code::AuditBroken, error.to_string()),
            StoreError::Other(cause) => Error::internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_a_caller_can_do() {
        let sqlite = |code| of_sqlite(code)(anyhow::anyhow!("x"));
        let postgres = |code| of_sqlstate(code)(anyhow::anyhow!("x"));
        for code in [5, 6, 261, 517, 8, 1032, 14] {
            assert!(matches!(sqlite(code), StoreError::Unavailable(_)), "{code}");
        }
        for code in [13, 778] {
            assert!(matches!(sqlite(code), StoreError::Full(_)), "{code}");
        }
        for code in [1, 19, 2067, 11] {
            assert!(matches!(sqlite(code), StoreError::Other(_)), "{code}");
        }
        for code in ["08006", "57P01", "55P03", "40001", "53300", "25006"] {
            assert!(matches!(postgres(code), StoreError::Unavailable(_)), "{code}");
        }
        assert!(matches!(postgres("53100"), StoreError::Full(_)));
        assert!(matches!(postgres("23505"), StoreError::Other(_)));
    }
}
