//! The audit log: a hash chain, one entry for each change, appended in the change's own transaction.

use super::{
    Result, Store, StoreError,
    connections::Connections,
    query::{Read, sql, sql_of_rows, word},
};
use crate::model::{Caller, Sha256, Timestamp};
use serde::Serialize;
use serde_json::Value;
use sqlx::{AnyConnection, any::AnyRow};
use std::collections::BTreeSet;

/// The hash before the first entry.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const PAGE: i64 = 1000;

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who, and by which way.
    pub by: Caller,
    /// What was done: the store's function.
    pub action: String,
    /// To what: an id or a name.
    pub subject: String,
    /// Further facts.
    pub detail: Value,
    /// The hash of the entry before.
    pub previous_hash: Sha256,
}

/// What a walk along the whole chain found.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditReport {
    /// How many entries fit.
    pub entries: i64,
    /// The hash of the last one that fits.
    pub head: Sha256,
    /// The first thing that does not fit.
    pub broken: Option<Broken>,
}

/// The first thing that does not fit in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The number of the entry.
    pub seq: i64,
    /// Why.
    pub why: String,
}

/// Somebody who has changed something.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The verified name.
    pub principal: String,
    /// `agent`, `operator`, `server`.
    pub kind: String,
    /// What the client last called itself, unverified.
    pub client: Option<String>,
    /// When it first changed something.
    pub first_seen_at: Timestamp,
    /// When it last did.
    pub last_seen_at: Timestamp,
}

/// Appends the entries of one change.
pub(super) async fn append(on: &mut AnyConnection, entries: Vec<(Linked, Sha256)>) -> Result<()> {
    let mut insert = sql_of_rows(
        "INSERT INTO audit_log (seq, at, principal, kind, via, client, action, subject, detail, previous_hash, hash) VALUES {rows}",
        entries.len(),
        11,
    );
    for (entry, hash) in entries {
        insert = insert
            .bind(entry.seq)
            .bind(entry.at)
            .bind(entry.principal)
            .bind(entry.kind)
            .bind(entry.via)
            .bind(entry.client)
            .bind(entry.action)
            .bind(entry.subject)
            .bind(entry.detail)
            .bind(&entry.previous_hash)
            .bind(&hash);
    }
    insert.run(on).await?;
    Ok(())
}

/// Moves the head to the last entry of a change, and notes who made it.
pub(super) async fn finish(on: &mut AnyConnection, (seq, hash): (i64, &Sha256), by: &Caller, at: Timestamp) -> Result<()> {
    sql("UPDATE audit_head SET seq = $1, hash = $2 WHERE id = 1").bind(seq).bind(hash).run(&mut *on).await?;
    sql("INSERT INTO principals (principal, kind, client, first_seen_at, last_seen_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (principal, kind) DO UPDATE SET client = $3, last_seen_at = $4")
    .bind(&by.principal)
    .bind(word(&by.kind))
    .bind(by.client.as_deref())
    .bind(at)
    .run(on)
    .await?;
    Ok(())
}

/// Returns the number of the newest entry, and when it was made.
pub(super) async fn newest(on: &Connections) -> Result<(i64, Timestamp)> {
    let newest = sql("SELECT seq, CAST(COALESCE((SELECT at FROM audit_log ORDER BY seq DESC LIMIT 1), 0) AS BIGINT) AS at
                      FROM audit_head WHERE id = 1");
    let row = newest.one(on).await?.ok_or_else(|| StoreError::Altered("the audit log's head".into()))?;
    Ok((row.read("seq")?, row.read("at")?))
}

impl Store {
    /// Returns the number of the newest entry.
    pub async fn sequence(&self) -> Result<i64> {
        Ok(self.audit_head().await?.0)
    }

    /// Returns the number and the hash of the newest entry: what approvals sign.
    pub async fn audit_head(&self) -> Result<(i64, Sha256)> {
        let row = sql("SELECT seq, hash FROM audit_head WHERE id = 1").one(self.pool()).await?;
        let row = row.ok_or_else(|| StoreError::Altered("the audit log's head".into()))?;
        Ok((row.read("seq")?, row.read("hash")?))
    }

    /// Returns at most `limit` entries after `after_seq`, oldest first.
    pub async fn audit_entries(&self, after_seq: i64, limit: u32) -> Result<Vec<AuditEntry>> {
        let rows = sql("SELECT * FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2").bind(after_seq).bind(limit).all(self.pool()).await?;
        rows.iter().map(entry_of).collect()
    }

    /// Returns everybody who has changed something.
    pub async fn principals(&self) -> Result<Vec<Principal>> {
        let rows = sql("SELECT * FROM principals ORDER BY principal, kind").all(self.pool()).await?;
        let principal_of = |row: &AnyRow| {
            Ok(Principal {
                principal: row.read("principal")?,
                kind: row.read("kind")?,
                client: row.read("client")?,
                first_seen_at: row.read("first_seen_at")?,
                last_seen_at: row.read("last_seen_at")?,
            })
        };
        rows.iter().map(principal_of).collect()
    }

    /// Walks the whole chain: each entry's hash, no gaps, the head, and every head that a decision has signed.
    pub async fn audit_verify(&self) -> Result<AuditReport> {
        let mut tx = self.shared.connections.begin(self.shared.kind.begin_snapshot()).await?;
        let mut signed = BTreeSet::new();
        for row in sql("SELECT DISTINCT audit_head FROM decisions").all(&mut *tx).await? {
            signed.insert(row.read::<String>("audit_head")?);
        }
        signed.remove(GENESIS);
        let mut walk = Walk { report: AuditReport { entries: 0, head: Sha256(GENESIS.into()), broken: None }, signed };
        let mut after = 0_i64;
        let page = |after: i64| sql("SELECT * FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2").bind(after).bind(PAGE);
        let mut rows = page(after).all(&mut *tx).await?;
        while let Some(last) = rows.last() {
            after = last.read("seq")?;
            // The next page is read while this one is hashed.
            let walking = tokio::task::spawn_blocking(move || walk.along(&rows));
            rows = page(after).all(&mut *tx).await?;
            walk = walking.await.map_err(anyhow::Error::from)?;
            if walk.report.broken.is_some() {
                return Ok(walk.report);
            }
        }
        let Walk { mut report, signed } = walk;
        let count: i64 = sql("SELECT COUNT(*) AS entries FROM audit_log").value(&mut *tx, "entries").await?.unwrap_or(0);
        let head = sql("SELECT seq, hash FROM audit_head WHERE id = 1").one(&mut *tx).await?;
        let head = head.map(|row| Ok::<_, StoreError>((row.read::<i64>("seq")?, row.read::<Sha256>("hash")?))).transpose()?;
        let broken = |why: String| Some(Broken { seq: report.entries, why });
        report.broken = if count != report.entries {
            broken(format!("{count} entries are stored, {} of them stand in the chain", report.entries))
        } else if head != Some((report.entries, report.head.clone())) {
            broken("the head names another entry than the last one: entries were removed or added at the end".into())
        } else {
            signed
                .first()
                .and_then(|head| broken(format!("a decision has signed the head {}, which no entry has", &Sha256(head.clone()).short())))
        };
        Ok(report)
    }
}

/// What an entry's hash is of: RFC 8785 with these names in their order, so that nothing has to be sorted a million times.
///
/// `detail` goes in as the text that is stored: numbers in it are never read and written again on the way.
#[derive(Debug, Serialize)]
pub(super) struct Linked {
    action: String,
    at: Timestamp,
    client: Option<String>,
    detail: String,
    kind: String,
    previous_hash: Sha256,
    principal: String,
    seq: i64,
    subject: String,
    via: String,
}

impl Linked {
    pub(super) fn of(AuditEntry { seq, at, by, action, subject, detail, previous_hash }: AuditEntry) -> Self {
        let (kind, via, detail) = (word(&by.kind), word(&by.via), detail.to_string());
        Linked { action, at, client: by.client, detail, kind, previous_hash, principal: by.principal, seq, subject, via }
    }

    /// Returns the entry's hash.
    pub(super) fn hash(&self) -> Sha256 {
        Sha256::of(&serde_json::to_vec(self).expect("texts and whole numbers"))
    }
}

/// A walk along the chain, as far as it has come.
struct Walk {
    report: AuditReport,
    /// What decisions have signed and no entry had yet.
    signed: BTreeSet<String>,
}

impl Walk {
    /// Goes on along the next entries, up to the first that does not fit.
    fn along(mut self, rows: &[AnyRow]) -> Self {
        for row in rows {
            match fits(row, &self.report) {
                Ok(hash) => self.report.head = hash,
                Err(why) => {
                    self.report.broken = Some(Broken { seq: self.report.entries + 1, why });
                    break;
                }
            }
            self.report.entries += 1;
            self.signed.remove(self.report.head.0.as_str());
        }
        self
    }
}

/// Returns the entry's hash when it follows what came so far.
fn fits(row: &AnyRow, so_far: &AuditReport) -> Result<Sha256, String> {
    let read = || -> Result<_> {
        let linked = Linked {
            action: row.read("action")?,
            at: row.read("at")?,
            client: row.read("client")?,
            detail: row.read("detail")?,
            kind: row.read("kind")?,
            previous_hash: row.read("previous_hash")?,
            principal: row.read("principal")?,
            seq: row.read("seq")?,
            subject: row.read("subject")?,
            via: row.read("via")?,
        };
        Ok((linked, row.read::<Sha256>("hash")?))
    };
    let (linked, hash) = read().map_err(|error| format!("it cannot be read: {error}"))?;
    if linked.seq != so_far.entries + 1 {
        return Err(format!("the next entry has the number {}: entries are missing", linked.seq));
    }
    if linked.previous_hash != so_far.head {
        return Err("it does not follow the entry before".into());
    }
    if hash != linked.hash() {
        return Err("its hash is not the hash of its content".into());
    }
    Ok(hash)
}

pub(super) fn entry_of(row: &AnyRow) -> Result<AuditEntry> {
    Ok(AuditEntry {
        seq: row.read("seq")?,
        at: row.read("at")?,
        by: Caller { principal: row.read("principal")?, kind: row.word("kind")?, via: row.word("via")?, client: row.read("client")? },
        action: row.read("action")?,
        subject: row.read("subject")?,
        detail: row.read("detail")?,
        previous_hash: row.read("previous_hash")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entrys_hash_is_that_of_its_canonical_json(texts in prop::array::uniform7(any::<String>()), client: Option<String>, seq in 0..1_i64 << 53) {
            let [action, detail, kind, head, principal, subject, via] = texts;
            let (at, previous_hash) = (Timestamp(seq), Sha256(head));
            let linked = Linked { action, at, client, detail, kind, previous_hash, principal, seq, subject, via };
            prop_assert_eq!(linked.hash(), Sha256::of_canonical(&linked));
        }
    }
}
