//! The outbox: what people elsewhere are to be told, written in the transaction of what it tells of, and how each delivery of it fares.
//!
//! A delivery changes nothing that was decided: the audit log has an entry of one that was given up, and of no other.

use super::{
    AuditEntry, Result, Store, Write,
    audit::entry_of,
    connections::Transaction,
    query::{Read, json as text, sql},
};
use crate::model::*;
use serde_json::json;
use sqlx::any::AnyRow;

/// An entry of the audit log that nobody was told of yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Untold {
    /// `msg_` and the first 24 hex digits of the entry's hash: no other message of any workspace has it.
    pub id: String,
    /// The entry.
    pub entry: AuditEntry,
}

/// A message on its way to one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The message.
    pub id: String,
    /// Whom.
    pub destination: String,
    /// The environment whose configuration names the destination.
    pub environment: EnvironmentName,
    /// How often it was tried.
    pub tries: u32,
    /// Since when it is on its way.
    pub queued_at: Timestamp,
    /// What is told.
    pub notice: Notice,
}

/// How a try went.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It arrived.
    Delivered,
    /// It did not, and is tried again.
    Later {
        /// When.
        at: Timestamp,
        /// What went wrong.
        said: String,
    },
    /// It did not, and is not tried again.
    GivenUp {
        /// What went wrong.
        said: String,
    },
    /// The destination wants nothing any more.
    Gone {
        /// The destination as it is configured: another one is another matter.
        spec_sha256: Sha256,
        /// What it said.
        said: String,
    },
}

/// How the messages to one destination fare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The destination.
    pub destination: String,
    /// How many wait.
    pub waiting: i64,
    /// How many have arrived.
    pub delivered: i64,
    /// How many were given up, also because it is gone.
    pub given_up: i64,
    /// When one arrived last.
    pub delivered_at: Option<Timestamp>,
    /// Since when the oldest waits.
    pub waiting_since: Option<Timestamp>,
    /// What went wrong last with one that waits or was given up.
    pub said: Option<String>,
}

/// Notes that the entry that was linked last is to be told.
pub(super) async fn note(write: &mut Write) -> Result<()> {
    let (id, seq) = (id_of(&write.previous), write.seq);
    sql("INSERT INTO outbox (id, seq) VALUES ($1, $2)").bind(id).bind(seq).run(write.on()).await?;
    Ok(())
}

fn id_of(hash: &Sha256) -> String {
    format!("msg_{}", &hash.0[..24])
}

impl Store {
    /// Returns the oldest entries that nobody was told of, at most so many.
    pub async fn untold(&self, limit: u32) -> Result<Vec<Untold>> {
        let rows = sql("SELECT audit_log.*, outbox.id AS message_id FROM outbox JOIN audit_log ON audit_log.seq = outbox.seq
                        WHERE outbox.addressed_at IS NULL ORDER BY outbox.seq LIMIT $1")
        .bind(limit)
        .all(self.pool())
        .await?;
        rows.iter().map(|row| Ok(Untold { id: row.read("message_id")?, entry: entry_of(row)? })).collect()
    }

    /// Puts a message on its way to each of these, or takes it out where there is nobody to tell; `false` when that was done before.
    /// A message is not sent again under a topic that was told of already.
    pub async fn address(&self, id: &str, notice: Option<&Notice>, topic: Option<&str>, to: &[(EnvironmentName, String)]) -> Result<bool> {
        let (mut tx, at, _turn) = self.begin().await?;
        let told: Option<i64> = match topic {
            Some(topic) => sql("SELECT seq FROM outbox WHERE topic = $1 LIMIT 1").bind(topic).value(&mut *tx, "seq").await?,
            None => None,
        };
        if to.is_empty() || told.is_some() {
            let removed = sql("DELETE FROM outbox WHERE id = $1 AND addressed_at IS NULL").bind(id).run(&mut *tx).await?;
            tx.commit().await?;
            return Ok(removed == 1);
        }
        let addressed = sql("UPDATE outbox SET addressed_at = $1, topic = $2, notice = $3 WHERE id = $4 AND addressed_at IS NULL")
            .bind(at)
            .bind(topic)
            .bind(notice.map(text))
            .bind(id)
            .run(&mut *tx)
            .await?;
        if addressed == 0 {
            return Ok(false);
        }
        for (environment, destination) in to {
            sql("INSERT INTO deliveries (message_id, destination, environment, state, queued_at, next_at)
                 VALUES ($1, $2, $3, 'waiting', $4, $4)")
            .bind(id)
            .bind(destination)
            .bind(environment)
            .bind(at)
            .run(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Returns what is to be sent now and nobody has in hand, oldest first: of each destination at most fifty, so that none that is slow
    /// keeps the others waiting.
    pub async fn due_deliveries(&self, now: Timestamp) -> Result<Vec<Delivery>> {
        let rows = sql("SELECT * FROM (SELECT deliveries.*, outbox.notice, outbox.seq,
                            ROW_NUMBER() OVER (PARTITION BY deliveries.destination ORDER BY outbox.seq) AS place
                            FROM deliveries JOIN outbox ON outbox.id = deliveries.message_id
                            WHERE deliveries.state = 'waiting' AND deliveries.next_at <= $1
                                AND (deliveries.held_until IS NULL OR deliveries.held_until <= $1)) due
                        WHERE place <= 50 ORDER BY seq, destination")
        .bind(now)
        .all(self.pool())
        .await?;
        rows.iter().map(delivery_of).collect()
    }

    /// Takes a delivery in hand until then, and counts the try; `false` when somebody else has it, or it waits no longer.
    pub async fn take_delivery(&self, delivery: &Delivery, now: Timestamp, until: Timestamp) -> Result<bool> {
        let (mut tx, _, _turn) = self.begin().await?;
        let taken = sql("UPDATE deliveries SET held_until = $1, tries = tries + 1 WHERE message_id = $2 AND destination = $3
                            AND state = 'waiting' AND tries = $4 AND (held_until IS NULL OR held_until <= $5)")
        .bind(until)
        .bind(&delivery.id)
        .bind(&delivery.destination)
        .bind(delivery.tries)
        .bind(now)
        .run(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken == 1)
    }

    /// Records how a try went of a delivery that waits; one that is given up stands in the audit log.
    pub async fn settle_delivery(&self, by: &Caller, delivery: &Delivery, told: &Told) -> Result<()> {
        let (Told::GivenUp { said } | Told::Gone { said, .. }) = told else {
            let (mut tx, at, _turn) = self.begin().await?;
            let query = match told {
                Told::Later { at: next_at, said } => sql("UPDATE deliveries SET held_until = NULL, next_at = $1, said = $2
                                                          WHERE message_id = $3 AND destination = $4 AND state = 'waiting'")
                .bind(*next_at)
                .bind(said),
                _ => sql("UPDATE deliveries SET held_until = NULL, said = NULL, state = $1, settled_at = $2
                          WHERE message_id = $3 AND destination = $4 AND state = 'waiting'")
                .bind("delivered")
                .bind(at),
            };
            query.bind(&delivery.id).bind(&delivery.destination).run(&mut *tx).await?;
            return Ok(tx.commit().await?);
        };
        let (state, spec) = match told {
            Told::Gone { spec_sha256, .. } => ("gone", Some(spec_sha256)),
            _ => ("given_up", None),
        };
        let mut write = self.write().await?;
        let at = write.at;
        let moved = sql("UPDATE deliveries SET held_until = NULL, state = $1, settled_at = $2, said = $3, spec_sha256 = $4
                         WHERE message_id = $5 AND destination = $6 AND state = 'waiting'")
        .bind(state)
        .bind(at)
        .bind(said)
        .bind(spec)
        .bind(&delivery.id)
        .bind(&delivery.destination)
        .run(write.on())
        .await?;
        let detail = json!({ "destination": delivery.destination, "state": state, "said": said, "subject": delivery.notice.subject });
        write.commit_moved(moved, by, "give_up_delivery", &delivery.id, detail).await.map(drop)
    }

    /// Tells whether a destination, as it is configured, has said that it wants nothing any more.
    pub async fn is_gone(&self, destination: &str, spec_sha256: &Sha256) -> Result<bool> {
        let gone = sql("SELECT message_id FROM deliveries WHERE destination = $1 AND state = 'gone' AND spec_sha256 = $2 LIMIT 1");
        Ok(gone.bind(destination).bind(spec_sha256).one(self.pool()).await?.is_some())
    }

    /// Lets a destination that was gone be told again: it has answered.
    pub async fn is_back(&self, by: &Caller, destination: &str) -> Result<bool> {
        let mut write = self.write().await?;
        let moved = sql("UPDATE deliveries SET state = 'given_up', spec_sha256 = NULL WHERE destination = $1 AND state = 'gone'")
            .bind(destination)
            .run(write.on())
            .await?;
        write.commit_moved(moved, by, "tell_again", destination, json!({})).await
    }

    /// Returns how the messages fare, by destination.
    pub async fn tallies(&self) -> Result<Vec<Tally>> {
        // From one destination to the next, and each number by itself, in one part of an index: only what has arrived is much.
        let rows = sql("WITH RECURSIVE told(destination) AS (SELECT MIN(destination) FROM deliveries UNION ALL
                            SELECT (SELECT MIN(destination) FROM deliveries one WHERE one.destination > told.destination) FROM told
                            WHERE told.destination IS NOT NULL)
                        SELECT destination,
                            (SELECT COUNT(*) FROM deliveries one WHERE one.destination = told.destination
                                AND one.state = 'waiting') AS waiting,
                            (SELECT COUNT(*) FROM deliveries one WHERE one.destination = told.destination
                                AND one.state = 'delivered') AS delivered,
                            (SELECT COUNT(*) FROM deliveries one WHERE one.destination = told.destination
                                AND one.state IN ('given_up', 'gone')) AS given_up,
                            (SELECT MAX(settled_at) FROM deliveries one WHERE one.destination = told.destination
                                AND one.state = 'delivered') AS delivered_at,
                            (SELECT MIN(queued_at) FROM deliveries one WHERE one.destination = told.destination
                                AND one.state = 'waiting') AS waiting_since,
                            (SELECT said FROM deliveries one WHERE one.destination = told.destination AND one.said IS NOT NULL
                                ORDER BY one.queued_at DESC, one.message_id LIMIT 1) AS said
                        FROM told WHERE destination IS NOT NULL ORDER BY destination")
        .all(self.pool())
        .await?;
        rows.iter().map(tally_of).collect()
    }

    /// Forgets what was told, or given up, before then; returns how many messages. What nobody was told of yet stays.
    pub async fn forget_told(&self, before: Timestamp) -> Result<u64> {
        let (mut tx, _, _turn) = self.begin().await?;
        let old = "DELETE FROM deliveries WHERE state <> 'waiting' AND state <> 'gone' AND settled_at < $1";
        sql(old).bind(before).run(&mut *tx).await?;
        let forgotten = sql("DELETE FROM outbox WHERE addressed_at < $1
                             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = outbox.id)")
        .bind(before)
        .run(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Begins a change of how messages fare, in its turn among the changes of this process.
    async fn begin(&self) -> Result<(Transaction, Timestamp, tokio::sync::OwnedMutexGuard<()>)> {
        let turn = self.turn().await?;
        Ok((self.shared.connections.begin(self.shared.kind.begin_write()).await?, self.now(), turn))
    }
}

fn delivery_of(row: &AnyRow) -> Result<Delivery> {
    Ok(Delivery {
        id: row.read("message_id")?,
        destination: row.read("destination")?,
        environment: row.read("environment")?,
        tries: row.read("tries")?,
        queued_at: row.read("queued_at")?,
        notice: row.json("notice")?,
    })
}

fn tally_of(row: &AnyRow) -> Result<Tally> {
    Ok(Tally {
        destination: row.read("destination")?,
        waiting: row.read("waiting")?,
        delivered: row.read("delivered")?,
        given_up: row.read("given_up")?,
        delivered_at: row.read("delivered_at")?,
        waiting_since: row.read("waiting_since")?,
        said: row.read("said")?,
    })
}
