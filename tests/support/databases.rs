//! Both databases: for a server under test, and for tests of the store.

use super::postgres;
use interlock::{
    config::Workspace,
    model::{Clock, ManualClock, Timestamp},
    store::{Store, sqlite_url},
};
use sqlx::{AnyConnection, Connection, Executor};
use std::{path::PathBuf, sync::Arc};

/// Where a server under test keeps its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In its workspace.
    Sqlite,
    /// In the PostgreSQL database at this url.
    Postgres(String),
}

impl Database {
    /// Returns an empty PostgreSQL database; none where there is no PostgreSQL, which is said.
    pub async fn postgres() -> Option<Self> {
        postgres::fresh().await.map(Database::Postgres)
    }

    /// Returns an empty database of the same kind.
    pub async fn another(&self) -> Self {
        match self {
            Database::Sqlite => Database::Sqlite,
            Database::Postgres(_) => Database::postgres().await.expect("there was a PostgreSQL before"),
        }
    }

    /// Returns its url for the server of a workspace.
    pub fn url(&self, workspace: &Workspace) -> String {
        match self {
            Database::Sqlite => sqlite_url(&workspace.state_dir().join("interlock.db")).unwrap(),
            Database::Postgres(url) => url.clone(),
        }
    }
}

/// An empty database of its own.
pub struct TestDatabase {
    /// `sqlite` or `postgres`.
    pub name: &'static str,
    /// For `Store::open`.
    pub url: String,
    /// What the stores of this database take for the present.
    pub clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl TestDatabase {
    /// Opens the store, bringing the schema up to date.
    pub async fn open(&self) -> Store {
        Store::open(&self.url, self.clock.clone() as Arc<dyn Clock>).await.expect("opening the store")
    }

    /// Returns the SQLite file; none on PostgreSQL.
    pub fn file(&self) -> Option<PathBuf> {
        (self.name == "sqlite").then(|| self.folder.path().join("interlock.db"))
    }

    /// Connects past the store, as somebody from outside would.
    pub async fn outside(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = if self.name == "sqlite" { format!("{}?mode=rwc", self.url) } else { self.url.clone() };
        AnyConnection::connect(&url).await.expect("connecting to the database")
    }

    /// Runs statements past the store.
    pub async fn tamper(&self, statements: &str) {
        let mut connection = self.outside().await;
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))).await.expect(statements);
        connection.close().await.expect("closing");
    }
}

/// Returns an empty database of each kind there is.
pub async fn databases() -> Vec<TestDatabase> {
    let clock = || Arc::new(ManualClock::at(Timestamp(1_760_000_000_000)));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = sqlite_url(&folder.path().join("interlock.db")).expect("a url");
    let mut all = vec![TestDatabase { name: "sqlite", url, clock: clock(), folder }];
    if let Some(url) = postgres::fresh().await {
        all.push(TestDatabase { name: "postgres", url, clock: clock(), folder: tempfile::tempdir().expect("a temporary folder") });
    }
    all
}
