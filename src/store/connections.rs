//! Connections: whoever asks something gets the one that was asked last. Its thread and its pages are warm, where the pool hands out the
//! one that has rested longest and looks at each it gets back; the pool is asked for changes, and for what more goes on at the same time.

use sqlx::{Any, AnyConnection, AnyPool, Transaction, pool::PoolConnection};
use std::sync::Mutex;

/// How many are kept, of [`super::open`]'s eight: what one call asks at the same time. The others are left to changes.
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
    pub(super) async fn begin(&self, statement: &'static str) -> sqlx::Result<Transaction<'static, Any>> {
        self.pool.begin_with(statement).await
    }

    /// Returns a connection that nobody else has.
    pub(super) async fn free(&self) -> sqlx::Result<PoolConnection<Any>> {
        let kept = self.kept.lock().expect("nothing panics here").pop();
        match kept {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    fn keep(&self, connection: PoolConnection<Any>) {
        let mut kept = self.kept.lock().expect("nothing panics here");
        if self.keeps && kept.len() < KEPT && !self.pool.is_closed() {
            kept.push(connection);
        }
    }

    /// Closes them all, and waits for those that are in use.
    pub(super) async fn close(&self) {
        // From here on none is kept.
        let closed = self.pool.close();
        self.kept.lock().expect("nothing panics here").clear();
        closed.await;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // It would go back to the pool in a task, and there may be no runtime any more.
        self.kept.get_mut().expect("nothing panics here").drain(..).for_each(|kept| drop(kept.detach()));
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
