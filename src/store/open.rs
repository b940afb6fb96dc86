//! Opening: connections as they must be, and the schema brought up to date under a lock, after a backup.

use super::{
    Kind, Result, Shared, Store, StoreError, audit,
    connections::{Connections, MOST},
    query::sql,
};
use crate::model::Clock;
use anyhow::{Context, anyhow};
use sqlx::{
    AnyConnection, AssertSqlSafe, Connection, Executor,
    any::AnyPoolOptions,
    migrate::{Migrate, Migration},
};
use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, watch};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

// Per connection, not per database: only journal_mode is remembered in the file. The time limits keep a lock held by
// somebody else from stopping us for longer than a caller waits.
const SQLITE_SESSION: &str = "PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
// No statement of ours takes as long as PostgreSQL takes to compile one (jit), which it does already where it expects a long one.
const POSTGRES_SESSION: &str =
    "SET lock_timeout = '2s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'; SET jit = off;";

/// How long to wait for another process that migrates the same database.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(30);

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…`, creates what is missing, and brings the schema up to date. A SQLite file is copied
    /// beside itself first, when there is something to bring up to date in it. A schema newer than this program is refused.
    /// `sqlite:PATH?max_page_count=N` keeps the file from growing beyond N pages.
    pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Store> {
        sqlx::any::install_default_drivers();
        let kind = match url.split(':').next() {
            Some("sqlite") => Kind::Sqlite,
            Some("postgres" | "postgresql") => Kind::Postgres,
            _ => return Err(anyhow!("a database url starts with `sqlite:` or `postgres:`").into()),
        };
        let (url, max_pages) = match kind {
            Kind::Sqlite => without_page_limit(url)?,
            Kind::Postgres => (url.to_owned(), None),
        };
        migrate(&url, kind).await?;
        let pool = AnyPoolOptions::new()
            .max_connections(MOST)
            .acquire_timeout(Duration::from_secs(5))
            // A file does not hang up, and to ask whether it has costs as much as most reads.
            .test_before_acquire(kind == Kind::Postgres)
            .after_connect(move |connection, _| Box::pin(async move { prepare(connection, kind, max_pages).await }))
            // A full disk makes SQLite roll back by itself, which the driver does not notice: such a connection
            // believes to be in a transaction for ever, and is not used again.
            .before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect(&url)
            .await?;
        let connections = Arc::new(Connections::of(pool, kind == Kind::Sqlite));
        let (newest, recorded_until) = audit::newest(&connections).await?;
        let (sequence, _) = watch::channel(newest);
        Ok(Store { shared: Arc::new(Shared { connections, kind, clock, turn: Arc::new(Mutex::new(())), sequence, recorded_until }) })
    }
}

async fn prepare(connection: &mut AnyConnection, kind: Kind, max_pages: Option<u32>) -> sqlx::Result<()> {
    connection
        .execute(sqlx::raw_sql(match kind {
            Kind::Sqlite => SQLITE_SESSION,
            Kind::Postgres => POSTGRES_SESSION,
        }))
        .await?;
    if let Some(max_pages) = max_pages {
        // A pragma takes no bound value; this one is a number.
        connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA max_page_count = {max_pages}")))).await?;
    }
    Ok(())
}

/// Takes our own parameter `max_page_count` off a SQLite url, and lets the file be created where nothing else is said.
fn without_page_limit(url: &str) -> Result<(String, Option<u32>)> {
    let (path, parameters) = url.split_once('?').unwrap_or((url, ""));
    let (limit, mut others): (Vec<_>, Vec<_>) =
        parameters.split('&').filter(|one| !one.is_empty()).partition(|one| one.starts_with("max_page_count="));
    if !others.iter().any(|one| one.starts_with("mode=")) {
        others.push("mode=rwc");
    }
    let limit =
        limit.first().map(|one| one["max_page_count=".len()..].parse()).transpose().context("`max_page_count` is a number of pages")?;
    Ok((format!("{path}?{}", others.join("&")), limit))
}

async fn migrate(url: &str, kind: Kind) -> Result<()> {
    let file = (kind == Kind::Sqlite).then(|| file_of(url)).flatten();
    // The migration lock of the driver is real on PostgreSQL, and does nothing on SQLite.
    let _lock = match &file {
        Some(file) => Some(lock_beside(file).await?),
        None => None,
    };
    let mut connection = AnyConnection::connect(url).await?;
    if kind == Kind::Sqlite {
        prepare(&mut connection, kind, None).await?;
    }
    let table = &MIGRATIONS.table_name;
    // Nothing is written where nothing is missing: PostgreSQL refuses even `IF NOT EXISTS` where it may only be read.
    let applied = match connection.list_applied_migrations(table).await {
        Ok(applied) => applied,
        Err(_) => {
            connection.ensure_migrations_table(table).await?;
            connection.list_applied_migrations(table).await?
        }
    };
    let found = applied.iter().map(|migration| migration.version).max().unwrap_or(0);
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if let Some(file) = file.filter(|_| (1..known).contains(&found)) {
        let backup = file.with_extension(format!("schema-{found}.db"));
        // What an interrupted start left behind is incomplete, or a copy of the same rows.
        let _ = std::fs::remove_file(&backup);
        sql("VACUUM INTO $1").bind(backup.to_string_lossy().into_owned()).run(&mut connection).await?;
    }
    let is_applied = |wanted: &Migration| applied.iter().any(|one| one.version == wanted.version && one.checksum == wanted.checksum);
    if !MIGRATIONS.iter().all(is_applied) || connection.dirty_version(table).await?.is_some() {
        MIGRATIONS.run_direct(None, &mut connection, false).await?;
    }
    connection.close().await?;
    Ok(())
}

async fn lock_beside(database: &std::path::Path) -> Result<File> {
    let path = database.with_extension("lock");
    let unavailable = |error: std::io::Error| StoreError::Unavailable(anyhow::Error::new(error).context("locking the database"));
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(unavailable)?;
    let deadline = tokio::time::Instant::now() + MIGRATION_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => return Err(StoreError::Unavailable(anyhow::Error::new(error).context("another process migrates the database"))),
        }
    }
}

/// Returns the file of a SQLite url, as the driver reads it; none for a database in memory.
pub fn file_of(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let is_file = path != ":memory:" && !parameters.contains("mode=memory");
    is_file.then(|| PathBuf::from(percent_decoded(path)))
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code =
            (first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the url of the SQLite database in this file, for [`Store::open`].
pub fn sqlite_url(file: &std::path::Path) -> Result<String> {
    let path = file.to_str().context("the database's path is not UTF-8")?;
    let escaped = path.chars().fold(String::new(), |escaped, character| match character {
        '%' | '?' | '#' | ' ' | '"' | '<' | '>' | '`' | '{' | '}' => format!("{escaped}%{:02X}", character as u32),
        _ => escaped + character.encode_utf8(&mut [0; 4]),
    });
    Ok(format!("sqlite://{escaped}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_its_own_url() {
        for path in ["/tmp/a/interlock.db", "/tmp/a b/100%/?#.db", "/tmp/ä/{x}.db"] {
            let url = sqlite_url(std::path::Path::new(path)).unwrap();
            assert_eq!(file_of(&format!("{url}?mode=rwc")).unwrap(), std::path::Path::new(path));
            assert_eq!(file_of(&url).unwrap().to_str(), Some(path));
        }
        assert_eq!(file_of("sqlite::memory:"), None);
    }

    #[test]
    fn our_own_parameter_never_reaches_the_driver() {
        let parsed = |url| without_page_limit(url).unwrap();
        assert_eq!(parsed("sqlite:a.db"), ("sqlite:a.db?mode=rwc".into(), None));
        assert_eq!(parsed("sqlite:a.db?mode=ro"), ("sqlite:a.db?mode=ro".into(), None));
        assert_eq!(parsed("sqlite:a.db?max_page_count=9&mode=rw"), ("sqlite:a.db?mode=rw".into(), Some(9)));
        assert!(without_page_limit("sqlite:a.db?max_page_count=x").is_err());
    }
}
