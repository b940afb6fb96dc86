//! Opening, bringing the schema up to date, and a database that cannot be used.

use crate::world::*;
use futures_util::FutureExt;
use interlock::error::{Code, Error};
use sqlx::{Connection, Executor, Row};
use std::{path::Path, time::Instant};

async fn migrate_to(database: &crate::support::databases::TestDatabase, version: i64) {
    let migrations = sqlx::migrate::Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))).await.unwrap();
    let mut connection = database.outside().await;
    migrations.run_to(version, &mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn an_older_schema_with_rows_is_brought_up_to_date() {
    for database in databases().await {
        migrate_to(&database, 1).await;
        let rows = "INSERT INTO ventures (id, name, status, current_workflow_stage, created_at, updated_at) VALUES ('v', 'V', 'active', 30, 1, 1);
            INSERT INTO ventures (id, name, created_at, updated_at) VALUES ('w', 'W', 1, 1);
            INSERT INTO strategic_directives_v2 (id, number, title, status, category, priority, description, rationale, scope, created_by, created_at,
                updated_at, service, environment, release_version, digest)
            VALUES ('SD-DEPLOY-001', 1, 'old', 'active', 'deployment', 'low', '', '', '', 'agent', 1, 1, 'web', 'staging', '1', 'd');";
        database.tamper(rows).await;
        // Two servers start at once.
        let (one, two) = tokio::join!(database.open(), database.open());
        assert_eq!(one.active_venture().await.unwrap().unwrap().id, "v", "{}", database.name);
        assert_eq!(two.directive(&"SD-DEPLOY-001".into()).await.unwrap().unwrap().title, "old");
        assert_eq!(directive(&one, "web", "staging", "2").await.id.as_str(), "SD-DEPLOY-002");
        let again = database.open().await;
        assert_eq!(again.audit_verify().await.unwrap().entries, 1, "opening again changes nothing");
        let newest = again.audit_entries(0, 10).await.unwrap()[0].at;
        assert_eq!((one.recorded_until(), again.recorded_until()), (Timestamp(0), newest), "{}", database.name);

        if let Some(file) = database.file() {
            let backup = file.with_extension("schema-1.db");
            let copy = sqlx::AnyConnection::connect(&format!("sqlite://{}", backup.display())).await;
            let row = copy.unwrap().fetch_one("SELECT COUNT(*) AS n FROM ventures").await.unwrap();
            assert_eq!(row.get::<i64, _>("n"), 2, "what was there before is in the copy");
        }
    }
}

#[tokio::test]
async fn a_freeze_of_an_older_schema_stays_in_force() {
    for database in databases().await {
        migrate_to(&database, 3).await;
        let rows = "INSERT INTO freezes (id, number, environment, reason, starts_at, ends_at, created_by)
                    VALUES ('frz_1', 1, NULL, 'old', 1, NULL, 'operator'), ('frz_2', 2, 'staging', 'older', 1, 2, 'operator')";
        database.tamper(rows).await;
        let store = database.open().await;
        let active = store.active_freezes(&"staging".into(), Timestamp(3)).await.unwrap();
        assert_eq!(active.iter().map(|active| active.freeze.id.as_str()).collect::<Vec<_>>(), ["frz_1"], "{}", database.name);
        assert_eq!((active[0].freeze.created_at, &active[0].freeze.recurrence), (None, &None));
        let new = store.add_freeze(&agent(), NewFreeze { reason: "new".into(), ..Default::default() }).await.unwrap();
        assert_eq!((new.id.as_str(), store.standing_freezes(Timestamp(3)).await.unwrap().len()), ("frz_3", 2));
    }
}

#[tokio::test]
async fn an_approver_of_an_older_schema_signs_as_before() {
    for database in databases().await {
        migrate_to(&database, 11).await;
        let key = crate::decisions::key(1);
        database
            .tamper(&format!(
                "INSERT INTO approvers (name, number, role, public_key, enrolled_at) VALUES ('ada', 1, 'chairman', '{}', 5);
                 INSERT INTO approvers (name, number, role, public_key, enrolled_by, enrolled_at) VALUES ('bob', 2, 'intern', '00', 'n1', 6)",
                key.0
            ))
            .await;
        let store = database.open().await;
        let approvers = store.approvers().await.unwrap();
        let seen: Vec<_> = approvers.iter().map(|one| (one.name.as_str(), one.keys.len(), one.keys[0].enrolled_by.as_deref())).collect();
        assert_eq!(seen, [("ada", 1, None), ("bob", 1, Some("n1"))], "{}", database.name);
        assert_eq!((&approvers[0].keys[0].key, approvers[0].keys[0].enrolled_at), (&key.into(), Timestamp(5)));
        let decision = crate::decisions::signed(&store, DecisionKind::SignOff, &Sha256::of(b"uat"), DecisionVerdict::Approve, "n2").await;
        assert!(approvers[0].has_signed(&decision) && !approvers[1].has_signed(&decision));
    }
}

#[tokio::test]
async fn a_fresh_database_needs_no_copy() {
    for database in databases().await {
        database.open().await;
        if let Some(file) = database.file() {
            let beside: Vec<_> = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(beside.iter().all(|name| !name.to_string_lossy().contains("schema")), "{beside:?}");
        }
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    for database in databases().await {
        database.open().await;
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     SELECT 9999, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
        database.tamper(newer).await;
        let refused = Store::open(&database.url, database.clock.clone()).await.map(drop).unwrap_err();
        let is_migration = |name: &str| name.ends_with(".sql").then(|| name.split('_').next()?.parse::<i64>().ok()).flatten();
        let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        let newest = migrations.filter_map(|entry| is_migration(entry.unwrap().file_name().to_str()?)).max().unwrap();
        let is_refused = matches!(refused, StoreError::Newer { found: 9999, known } if known == newest && known >= 6);
        assert!(is_refused, "{}: {refused:?}", database.name);
        assert_eq!(Error::from(refused).code, Code::DatabaseNewer);
    }
}

#[tokio::test]
async fn a_locked_database_is_unavailable_soon_and_only_for_changes() {
    for database in databases().await {
        let store = database.open().await;
        directive(&store, "web", "staging", "1").await;
        let mut other = database.outside().await;
        other.execute("BEGIN").await.unwrap();
        other.execute("UPDATE audit_head SET seq = seq WHERE id = 1").await.unwrap();
        let before = Instant::now();
        let refused = store.take_lease(&agent(), &"staging".into(), "server").await.unwrap_err();
        assert!(before.elapsed() < Duration::from_secs(15), "{}: {:?}", database.name, before.elapsed());
        assert!(matches!(refused, StoreError::Unavailable(_)), "{}: {refused:?}", database.name);
        assert_eq!(store.open_directives().await.unwrap().len(), 1, "reading goes on");
        other.execute("ROLLBACK").await.unwrap();
        store.take_lease(&agent(), &"staging".into(), "server").await.unwrap();
        assert_eq!(Error::from(refused).code, Code::DatabaseUnavailable);
    }
}

#[tokio::test]
async fn a_closed_or_lost_database_is_unavailable() {
    for database in databases().await {
        let store = database.open().await;
        store.close().await;
        assert!(matches!(store.sequence().await, Err(StoreError::Unavailable(_))), "{}", database.name);
        assert!(matches!(store.take_lease(&agent(), &"staging".into(), "server").await, Err(StoreError::Unavailable(_))));
        if database.name == "postgres" {
            let store = database.open().await;
            store.sequence().await.unwrap();
            let lost =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            database.tamper(lost).await;
            // Idle connections that were cut are noticed, and replaced.
            directive(&store, "web", "staging", "1").await;
        }
    }
    let nowhere = Store::open("postgres://nobody@127.0.0.1:1/none", std::sync::Arc::new(SystemClock)).await;
    assert!(matches!(nowhere, Err(StoreError::Unavailable(_))));
    assert!(matches!(Store::open("mysql://x", std::sync::Arc::new(SystemClock)).await, Err(StoreError::Other(_))));
}

#[tokio::test]
async fn a_look_sees_what_another_store_wrote_also_after_looks_nobody_waited_for() {
    for database in databases().await {
        let (store, other) = (database.open().await, database.open().await);
        let mut unheard = 0;
        for number in 1..=20 {
            unheard += usize::from(store.open_directives().now_or_never().is_none());
            directive(&other, "web", "staging", &number.to_string()).await;
            assert_eq!(store.open_directives().await.unwrap().len(), number, "{}", database.name);
        }
        assert!(unheard > 0, "{}: some answers take longer than nobody waits", database.name);
    }
}

#[test]
fn a_store_may_outlive_its_runtime() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (database, store) = runtime().block_on(async {
        let database = databases().await.remove(0);
        let store = database.open().await;
        assert_eq!(store.sequence().await.unwrap(), 0);
        (database, store)
    });
    drop(store);
    runtime().block_on(async { assert_eq!(database.open().await.sequence().await.unwrap(), 0) });
}

#[tokio::test]
async fn a_read_only_database_is_read_and_unavailable_for_changes() {
    for database in databases().await {
        let store = database.open().await;
        directive(&store, "web", "staging", "1").await;
        let url = match database.name {
            "sqlite" => format!("{}?mode=ro", database.url),
            _ => {
                let connection = &mut database.outside().await;
                let row = connection.fetch_one("SELECT CAST(current_database() AS TEXT) AS name").await.unwrap();
                let name: String = row.get("name");
                database.tamper(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
                database.url.clone()
            }
        };
        let reader = Store::open(&url, database.clock.clone()).await.unwrap();
        assert_eq!(reader.open_directives().await.unwrap().len(), 1, "{}: reading goes on", database.name);
        let refused = reader.take_lease(&agent(), &"staging".into(), "server").await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{}: {refused:?}", database.name);
        drop(store);
    }
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_half_done() {
    let database = databases().await.remove(0);
    let store = database.open().await;
    let work = directive(&store, "web", "staging", "1").await;
    let evidence = |size: usize| NewEvidence {
        directive: work.id.clone(),
        gate: "tests".into(),
        origin: Origin::Observed,
        format: "junit".into(),
        commit: None,
        digest: work.digest.clone(),
        measures: None,
        fault: None,
        exit_code: None,
        body: vec![b'x'; size],
        detail: Value::Null,
    };
    let small = Store::open(&format!("{}?max_page_count=200", database.url), database.clock.clone()).await.unwrap();
    let before = store.audit_head().await.unwrap();
    for _ in 0..20 {
        let refused = small.add_evidence(&agent(), evidence(2_000_000)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
        assert_eq!(Error::from(refused).code, Code::DiskFull);
    }
    assert_eq!(store.audit_head().await.unwrap(), before);
    assert_eq!(store.evidence_of(&work.id).await.unwrap(), []);
    // The positive control: what fits is written, also where SQLite has rolled back by itself, and what did not fit fits elsewhere.
    for _ in 0..20 {
        small.add_evidence(&agent(), evidence(10)).await.unwrap();
    }
    store.add_evidence(&agent(), evidence(2_000_000)).await.unwrap();
    assert_eq!(store.audit_verify().await.unwrap().broken, None);
}

/// Without them it works the same, and slower: so nobody would see them go.
#[tokio::test]
async fn sqlite_is_built_with_our_flags() {
    let database = databases().await.remove(0);
    let mut outside = database.outside().await;
    let options = sqlx::query_scalar::<_, String>("PRAGMA compile_options").fetch_all(&mut outside).await.unwrap();
    let has = |name: &str| options.iter().any(|option| option == name);
    assert!(has("ENABLE_QPSG") && has("DEFAULT_MEMSTATUS=0") && !has("ENABLE_FTS5"), "`.cargo/config.toml` is not in force: {options:?}");
}
