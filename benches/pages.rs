//! Pages while the record is large: every one there is, asked for over HTTP by a browser with a session, beside one indexed query by its
//! side, in turns.

use crate::{
    judge::{Verdicts, median, p99},
    options::Options,
    store::{lengthen, outside},
    support::{
        databases::Database,
        large::Model,
        pages::{Reader, Things},
        shop::{APPROVAL, Shop, text},
    },
};
use anyhow::ensure;
use interlock::web;
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use std::time::{Duration, Instant};

/// How often each page is asked for.
const CALLS: usize = 200;

/// What all but one of a hundred answers may take (the project's bar for its pages).
const MOST_MS: f64 = 50.0;

/// How far apart the deployments are: a hundred thousand of them are nearly three years' work.
const APART: Duration = Duration::from_secs(15 * 60);

/// How many of them are as young as what is remembered of the messages to people elsewhere: 30 days.
const REMEMBERED: u64 = 30 * 24 * 4;

/// Measures on both databases.
pub fn run(options: &Options) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::titled("Pages");
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        ask(&mut verdicts, "SQLite", Database::Sqlite, options.rows).await?;
        match Database::postgres().await {
            Some(database) => ask(&mut verdicts, "PostgreSQL", database, options.rows).await,
            None => {
                verdicts.say("PostgreSQL is not installed: not measured.");
                Ok(())
            }
        }
    })?;
    Ok(verdicts)
}

async fn ask(verdicts: &mut Verdicts, name: &str, database: Database, rows: u64) -> anyhow::Result<()> {
    let (mut shop, _) = Shop::signed(database, |shop| shop.configuration(APPROVAL)).await;
    shop.must("create_venture", json!({ "name": "Shop" })).await;
    let deployed = shop.deploy("1.0.0", &shop.build("1.0.0")).await;
    let model = Model::of(&deployed);
    let of = |name: &str| text(&deployed["deployment"][name]);
    shop.must("write_runbook", json!({ "deployment": of("id") })).await;
    let open = shop.directive("production", "2.0.0").await;
    let waiting = shop.plan(&open).await;
    let things =
        Things { deployment: of("id"), completed: of("directive"), used: of("plan"), open, waiting, runbook: "rb_staging_web".into() };
    shop.stop().await;

    let mut beside = outside(&shop).await?;
    model.goes_wrong(&mut beside).await?;
    model.repeat(&mut beside, 1, rows - 1, APART).await?;
    told(&mut beside, rows.min(REMEMBERED)).await?;
    lengthen(&shop, rows * 10).await?;
    shop.serve(&[]).await;

    let reader = Reader::enter(&shop).await;
    let mut shown = Vec::new();
    for address in web::addresses() {
        for page in things.behind(address)? {
            let (mut times, mut bare, mut bytes) = (Vec::new(), Vec::new(), 0);
            for number in 0..CALLS + CALLS / 10 {
                let began = Instant::now();
                let answer = reader.get(&page).await;
                let took = began.elapsed();
                ensure!(answer.status == 200, "{page}: {}", answer.body);
                let query = query(&mut beside, &things.deployment).await?;
                // The first ones fill caches.
                if number >= CALLS / 10 {
                    times.push(took.as_secs_f64() * 1e3);
                    bare.push(query.as_secs_f64() * 1e3);
                    bytes = answer.body.len();
                }
            }
            let page = things.shown(&page);
            let of = |times: &[f64]| [median(times.to_vec()), p99(times.to_vec())].map(|ms| format!("{ms:.2} ms"));
            let ([page_p50, page_p99], [bare_p50, bare_p99]) = (of(&times), of(&bare));
            eprintln!("{name} {page}: {page_p50}, {page_p99}; {bare_p50}, {bare_p99}");
            shown.push(vec![format!("`{page}`"), format!("{:.0} kB", bytes as f64 / 1e3), page_p50, page_p99, bare_p50, bare_p99]);
            verdicts.at_most(format_args!("{name}: `{page}` with {rows} deployments, p99"), MOST_MS, p99(times), " ms");
        }
    }
    verdicts.say(format_args!("{name}, {CALLS} requests each with {rows} deployments, and one query by primary key after each:"));
    verdicts.table(&["page", "size", "p50", "p99", "query p50", "query p99"], &shown);
    Ok(beside.close().await?)
}

/// Asks for one row by its key, as a peer.
async fn query(on: &mut AnyConnection, deployment: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    sqlx::query("SELECT * FROM deployments WHERE id = $1").bind(deployment).fetch_one(on).await?;
    Ok(began.elapsed())
}

/// Has somebody elsewhere told of so many deployments.
async fn told(on: &mut AnyConnection, rows: u64) -> anyhow::Result<()> {
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let numbers = format!("WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {rows})");
    let id = "'msg-' || CAST(i AS TEXT)";
    for statement in [
        format!("{numbers} INSERT INTO outbox (id, seq, addressed_at, notice) SELECT {id}, 1000000000 + i, {at}, '{{}}' FROM numbers"),
        format!(
            "{numbers} INSERT INTO deliveries (message_id, destination, environment, state, tries, queued_at, next_at, settled_at)
             SELECT {id}, 'ops', 'staging', 'delivered', 1, {at}, {at}, {at} FROM numbers"
        ),
    ] {
        on.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    }
    Ok(())
}
