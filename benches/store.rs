//! Reads while the record grows, and the audit chain walked from end to end: the real server, on both databases.

use crate::{
    judge::{Verdicts, median},
    options::Options,
    support::{databases::Database, large::Model, shop::Shop},
};
use anyhow::{Context, ensure};
use interlock::model::Sha256;
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Executor, Row, query::Query};
use std::time::{Duration, Instant};

/// How often each read is made at each size.
const CALLS: usize = 200;

/// At most so many times as long with the most deployments as with the fewest.
const FLAT: f64 = 1.5;

/// At most so long for ten audit entries a deployment.
const VERIFY: f64 = 10.0;

/// How many audit entries are written at a time.
const AT_ONCE: usize = 200;

/// Measures, and judges the growth.
pub fn run(options: &Options) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::titled("Record");
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        grow(&mut verdicts, "SQLite", Database::Sqlite, options.rows).await?;
        match Database::postgres().await {
            Some(database) => grow(&mut verdicts, "PostgreSQL", database, options.rows).await,
            None => {
                verdicts.say("PostgreSQL is not installed: not measured.");
                Ok(())
            }
        }
    })?;
    Ok(verdicts)
}

async fn grow(verdicts: &mut Verdicts, name: &str, database: Database, most: u64) -> anyhow::Result<()> {
    let mut shop = Shop::open(database).await;
    let deployed = shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    let model = Model::of(&deployed);
    let reads = [
        ("get_status", json!({})),
        ("get_status", json!({ "directive": model.directive })),
        ("get_deployment", json!({ "deployment": model.deployment })),
        // Pages that are full at every size, and some that nothing is on.
        ("list_deployments", json!({ "limit": 10 })),
        ("list_deployments", json!({ "service": "web", "environment": "staging", "limit": 10 })),
        ("list_deployments", json!({ "state": "stuck" })),
        ("list_deployments", json!({ "environment": "production" })),
    ];
    let sizes: Vec<u64> = (1..).map(|power| 10_u64.pow(power)).take_while(|size| *size <= most).collect();
    let mut times = vec![Vec::new(); reads.len()];
    let mut there = 1;
    for size in &sizes {
        shop.stop().await;
        let mut outside = outside(&shop).await?;
        model.repeat(&mut outside, there, size - 1, Duration::ZERO).await.with_context(|| format!("{size} deployments"))?;
        outside.close().await?;
        there = *size;
        shop.serve(&[]).await;
        for (read, times) in reads.iter().zip(&mut times) {
            times.push(time_of(&shop, read).await?);
        }
    }
    verdicts.say(format_args!("{name}, p50 of {CALLS} calls over `api.sock`, by the number of deployments:"));
    let head: Vec<String> = std::iter::once("call".to_owned()).chain(sizes.iter().map(u64::to_string)).collect();
    let called = |(method, params): &(&str, Value)| format!("`{method} {params}`");
    let rows: Vec<Vec<String>> = reads
        .iter()
        .zip(&times)
        .map(|(read, times)| std::iter::once(called(read)).chain(times.iter().map(|time| format!("{:.0} µs", time * 1e6))).collect())
        .collect();
    verdicts.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    for (read, times) in reads.iter().zip(&times) {
        let (Some(first), Some(last)) = (times.first(), times.last()) else { continue };
        verdicts.at_most(format_args!("{name}: {}, {most} deployments against 10", called(read)), FLAT, last / first, " ×");
    }
    shop.stop().await;
    let entries = lengthen(&shop, most * 10).await?;
    shop.serve(&[]).await;
    let began = Instant::now();
    let verified = shop.interlock(&["audit", "verify"]).output().await?;
    let took = began.elapsed();
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    verdicts.say(format_args!("{name}: {}", String::from_utf8_lossy(&verified.stdout).split(';').next().unwrap_or_default()));
    verdicts.at_most(format_args!("{name}: `interlock audit verify` of {entries} entries"), VERIFY, took.as_secs_f64(), " s");
    Ok(())
}

async fn time_of(shop: &Shop, (method, params): &(&str, Value)) -> anyhow::Result<f64> {
    let client = shop.client();
    let mut times = Vec::new();
    for number in 0..CALLS + CALLS / 10 {
        let began = Instant::now();
        client.call(method, params.clone()).await?;
        // The first ones fill caches.
        if number >= CALLS / 10 {
            times.push(began.elapsed());
        }
    }
    Ok(median(times.iter().map(Duration::as_secs_f64).collect()))
}

/// Connects to the record past the server.
pub async fn outside(shop: &Shop) -> anyhow::Result<AnyConnection> {
    sqlx::any::install_default_drivers();
    Ok(AnyConnection::connect(&shop.database.url(shop)).await?)
}

/// Lengthens the audit chain to so many entries, each as the server writes one.
pub async fn lengthen(shop: &Shop, entries: u64) -> anyhow::Result<u64> {
    let mut on = outside(shop).await?;
    let mut write = on.begin().await?;
    let head = write.fetch_one("SELECT seq, hash FROM audit_head WHERE id = 1").await?;
    let (mut seq, mut hash) = (head.get::<i64, _>("seq"), head.get::<String, _>("hash"));
    while seq < entries as i64 {
        let count = AT_ONCE.min((entries as i64 - seq) as usize);
        let rows: Vec<[String; 4]> = (0..count)
            .map(|_| {
                seq += 1;
                let (subject, detail) = (format!("dep_{seq}"), json!({ "deployment": format!("dep_{seq}"), "step": "shift", "state": "done" }));
                let (detail, previous) = (detail.to_string(), hash.clone());
                let entry = json!({
                    "seq": seq, "at": 1_760_000_000_000_i64 + seq, "principal": "agent", "kind": "agent", "via": "mcp_stdio", "client": null,
                    "action": "record_step", "subject": subject, "detail": detail, "previous_hash": previous,
                });
                hash = Sha256::of_canonical(&entry).0;
                [subject, detail, previous, hash.clone()]
            })
            .collect();
        let first = seq - count as i64 + 1;
        let values: Vec<String> = (0..count)
            .map(|row| {
                let (number, at) = (first + row as i64, row * 4);
                format!(
                    "({number}, {}, 'agent', 'agent', 'mcp_stdio', 'record_step', ${}, ${}, ${}, ${})",
                    1_760_000_000_000_i64 + number,
                    at + 1,
                    at + 2,
                    at + 3,
                    at + 4
                )
            })
            .collect();
        let statement = format!(
            "INSERT INTO audit_log (seq, at, principal, kind, via, action, subject, detail, previous_hash, hash) VALUES {}",
            values.join(", ")
        );
        let query: Query<'_, Any, _> = sqlx::query(AssertSqlSafe(statement)).persistent(false);
        rows.into_iter().flatten().fold(query, Query::bind).execute(&mut *write).await?;
    }
    sqlx::query("UPDATE audit_head SET seq = $1, hash = $2 WHERE id = 1").bind(seq).bind(hash).execute(&mut *write).await?;
    write.commit().await?;
    on.close().await?;
    Ok(seq as u64)
}
