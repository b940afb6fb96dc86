//! Connections: whoever asks or changes something gets the one that was used last. Its thread and its pages are warm: after a change SQLite
//! reads its pages again on every connection but the one that made it. The pool hands out the one that has rested longest and looks at each
//! it gets back; it is asked for what more goes on at the same time.

use sqlx::{Any, AnyConnection, AnyPool, SqlSafeStr, pool::PoolConnection};
use sqlx_core::{any::AnyTransactionManager, transaction::TransactionManager};
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard},
};

/// How many connections there are at most.
pub(super) const MOST: u32 = 8;

/// How many of them are kept: what one call asks at the same time.
const KEPT: usize = 4;

/// The connections of a store.
pub(super) struct Connections {
    pool: AnyPool,
    /// Whether any is kept. A server may hang up on it, which only the pool notices; a file does not.
    keeps: bool,
    kept: Mutex<Vec<PoolConnection<Any>>>,
}

/// What a query is asked on.
pub(super) enum On<'a> {
    /// Whichever connection is free.
    Free(&'a Connections),
    /// The connection of a transaction.
    This(&'a mut AnyConnection),
}

/// A connection for one query.
pub(super) enum Held<'a> {
    Free(PoolConnection<Any>, &'a Connections),
    This(&'a mut AnyConnection),
}

impl Connections {
    pub(super) fn of(pool: AnyPool, keeps: bool) -> Self {
        Connections { pool, keeps, kept: Mutex::default() }
    }

    /// Begins a transaction, on a connection of its own.
    pub(super) async fn begin(self: &Arc<Self>, statement: &'static str) -> sqlx::Result<Transaction> {
        let mut transaction = Transaction { connection: Some(self.free().await?), is_answered: false, connections: self.clone() };
        let begun = AnyTransactionManager::begin(&mut transaction, Some(statement.into_sql_str())).await;
        transaction.is_answered = true;
        begun.map(|()| transaction)
    }

    /// Tells whether the pool has a connection for whoever asks next.
    fn is_one_left(&self) -> bool {
        self.pool.num_idle() > 0 || self.pool.size() < MOST
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PoolConnection<Any>>> {
        self.kept.lock().expect("nothing panics here")
    }

    /// Returns a connection that nobody else has.
    pub(super) async fn free(&self) -> sqlx::Result<PoolConnection<Any>> {
        let kept = self.kept().pop();
        match kept {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    fn keep(&self, connection: PoolConnection<Any>) {
        let mut kept = self.kept();
        // Where none is left in the pool, somebody may wait for this one there.
        if self.keeps && kept.len() < KEPT && self.is_one_left() && !self.pool.is_closed() {
            kept.push(connection);
        }
    }

    /// Closes them all, and waits for those that are in use.
    pub(super) async fn close(&self) {
        // From here on none is kept.
        let closed = self.pool.close();
        self.kept().clear();
        closed.await;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // It would go back to the pool in a task, and there may be no runtime any more.
        self.kept.get_mut().expect("nothing panics here").drain(..).for_each(|kept| drop(kept.detach()));
    }
}

/// A transaction in progress. Dropped without [`Transaction::commit`], it is rolled back.
pub(super) struct Transaction {
    /// None once it is committed.
    connection: Option<PoolConnection<Any>>,
    /// Whether the database has said that it began, or why not.
    is_answered: bool,
    connections: Arc<Connections>,
}

impl Transaction {
    /// Commits it; whoever asks next sees what it changed without reading it from the file.
    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        AnyTransactionManager::commit(&mut self).await?;
        if let Some(connection) = self.connection.take() {
            self.connections.keep(connection);
        }
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.connection.as_ref().expect("it is not committed")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("it is not committed")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        match &mut self.connection {
            // Before the pool, which gets the connection, hands it out again.
            Some(connection) if self.is_answered => AnyTransactionManager::start_rollback(connection),
            // Nobody waits for its beginning any more: the driver does not know yet that there is something to roll back.
            Some(connection) => connection.close_on_drop(),
            None => {}
        }
    }
}

impl<'a> On<'a> {
    pub(super) async fn hold(self) -> sqlx::Result<Held<'a>> {
        Ok(match self {
            On::Free(connections) => Held::Free(connections.free().await?, connections),
            On::This(connection) => Held::This(connection),
        })
    }
}

impl Held<'_> {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        match self {
            Held::Free(connection, _) => connection,
            Held::This(connection) => connection,
        }
    }

    /// Gives it back after an answer. One whose query failed, or nobody waited for, goes back to the pool, which looks at it.
    pub(super) fn answered(self) {
        if let Held::Free(connection, connections) = self {
            connections.keep(connection);
        }
    }
}

impl<'a> From<&'a Connections> for On<'a> {
    fn from(connections: &'a Connections) -> Self {
        On::Free(connections)
    }
}

impl<'a> From<&'a mut AnyConnection> for On<'a> {
    fn from(connection: &'a mut AnyConnection) -> Self {
        On::This(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use sqlx::any::AnyPoolOptions;
    use std::time::Duration;

    /// Ends where one waits that should not.
    const SOON: Duration = Duration::from_secs(2);

    async fn connections(folder: &tempfile::TempDir) -> Arc<Connections> {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("test.db").display());
        Arc::new(Connections::of(AnyPoolOptions::new().max_connections(MOST).acquire_timeout(SOON).connect(&url).await.unwrap(), true))
    }

    async fn held(connections: &Connections, count: u32) -> Vec<Held<'_>> {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(On::from(connections).hold().await.unwrap());
        }
        held
    }

    #[tokio::test]
    async fn what_is_kept_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder).await;
        held(&connections, 3).await.into_iter().for_each(Held::answered);
        assert_eq!(connections.kept().len(), 3);
        assert_eq!(held(&connections, 3).await.len(), 3);
        assert_eq!((connections.kept().len(), connections.pool.size()), (0, 3), "no further one was opened");
    }

    #[tokio::test]
    async fn a_change_is_made_and_looked_at_on_the_same_connection() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder).await;
        for _ in 0..3 {
            held(&connections, 1).await.into_iter().for_each(Held::answered);
            connections.begin("BEGIN IMMEDIATE").await.unwrap().commit().await.unwrap();
            assert_eq!((connections.kept().len(), connections.pool.size()), (1, 1), "no further one was opened");
        }
    }

    #[tokio::test]
    async fn what_is_not_committed_is_rolled_back_and_its_connection_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder).await;
        let mut change = connections.begin("BEGIN IMMEDIATE").await.unwrap();
        sqlx::query("CREATE TABLE t (n BIGINT)").execute(&mut *change).await.unwrap();
        change.commit().await.unwrap();
        let mut change = connections.begin("BEGIN IMMEDIATE").await.unwrap();
        sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *change).await.unwrap();
        drop(change);
        assert_eq!(connections.kept().len(), 0);
        let mut next = connections.begin("BEGIN IMMEDIATE").await.unwrap();
        assert!(sqlx::query("SELECT n FROM t").fetch_optional(&mut *next).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_beginning_that_nobody_waits_for_ends_its_connection() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder).await;
        held(&connections, 2).await.into_iter().for_each(Held::answered);
        let other = connections.begin("BEGIN IMMEDIATE").await.unwrap();
        assert!(connections.begin("BEGIN IMMEDIATE").now_or_never().is_none(), "it cannot begin beside the other");
        drop(other);
        let closed = async {
            while connections.pool.size() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, closed).await.unwrap();
        connections.begin("BEGIN IMMEDIATE").await.unwrap().commit().await.unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_beside_a_connection_that_is_kept_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let connections = connections(&folder).await;
        // All are in use, and half of them come back: what is begun then has them.
        let mut all = held(&connections, MOST).await;
        all.drain(..KEPT).for_each(Held::answered);
        let mut begun = Vec::new();
        for _ in 0..KEPT {
            begun.push(connections.begin("BEGIN").await.unwrap());
        }
        drop((all, begun));
        // As many as may be are kept, and all others have a transaction each.
        while connections.pool.num_idle() < MOST as usize - connections.kept().len() {
            tokio::task::yield_now().await;
        }
        held(&connections, KEPT as u32).await.into_iter().for_each(Held::answered);
        assert_eq!(connections.kept().len(), KEPT);
        let mut begun = Vec::new();
        for _ in 0..MOST {
            begun.push(connections.begin("BEGIN").await.unwrap());
        }
        assert_eq!(connections.kept().len(), 0);
    }
}
