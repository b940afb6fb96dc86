//! The audit chain, and that nothing is done without it.

use crate::world::*;

async fn some_history(store: &Store) {
    for version in ["1", "2", "3"] {
        directive(store, "web", "staging", version).await;
    }
    let (deployment, _) = deployment(store, "api", "staging", "1").await;
    walk(store, &deployment, SUCCESS).await;
}

#[tokio::test]
async fn every_change_is_one_entry_of_the_chain() {
    for database in databases().await {
        let store = database.open().await;
        let empty = store.audit_verify().await.unwrap();
        assert_eq!((empty.entries, empty.broken), (0, None), "{}", database.name);
        let mut changes = store.changes();
        assert_eq!(*changes.borrow_and_update(), 0);
        some_history(&store).await;
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), 9);
        assert_eq!(database.open().await.changes().borrow().to_owned(), 9, "a second server starts from the record");

        let report = store.audit_verify().await.unwrap();
        assert_eq!((report.entries, report.broken), (9, None));
        assert_eq!(store.audit_head().await.unwrap(), (9, report.head));
        assert_eq!(store.sequence().await.unwrap(), 9);
        let entries = store.audit_entries(4, 3).await.unwrap();
        assert_eq!(
            entries.iter().map(|entry| (entry.seq, entry.action.as_str())).collect::<Vec<_>>(),
            [(5, "save_plan"), (6, "claim_deployment"), (7, "transition")]
        );
        assert_eq!((&entries[0].by, entries[1].subject.as_str(), &entries[2].by), (&agent(), "dep_1", &server()));
        assert_eq!(store.audit_entries(9, 3).await.unwrap(), []);
        let principals = store.principals().await.unwrap();
        assert_eq!(
            principals.iter().map(|one| (one.principal.as_str(), one.client.as_deref())).collect::<Vec<_>>(),
            [("agent", Some("claude-code 2.1")), ("server", None)]
        );
    }
}

#[tokio::test]
async fn every_kind_of_tampering_is_found() {
    let swap = "UPDATE audit_log SET seq = -1 WHERE seq = 3; UPDATE audit_log SET seq = 3 WHERE seq = 4; UPDATE audit_log SET seq = 4 WHERE seq = -1";
    let insert = "INSERT INTO audit_log SELECT 10, at, principal, kind, via, client, action, subject, detail, hash, hash FROM audit_log WHERE seq = 9";
    let before = "INSERT INTO audit_log SELECT 0, at, principal, kind, via, client, action, subject, detail, hash, hash FROM audit_log WHERE seq = 9";
    let cut = "DELETE FROM audit_log WHERE seq = 9; UPDATE audit_head SET seq = 8, hash = (SELECT hash FROM audit_log WHERE seq = 8)";
    let mut tamperings: Vec<(String, Option<i64>)> = vec![
        ("DELETE FROM audit_log WHERE seq = 5".into(), Some(5)),
        ("DELETE FROM audit_log WHERE seq = 1".into(), Some(1)),
        ("DELETE FROM audit_log WHERE seq = 9".into(), Some(8)),
        ("DELETE FROM audit_log".into(), Some(0)),
        ("DELETE FROM audit_head".into(), Some(9)),
        ("UPDATE audit_head SET seq = 8".into(), Some(9)),
        (swap.into(), Some(3)),
        (insert.into(), Some(10)),
        (before.into(), Some(9)),
        // Cutting the end off cleanly leaves a whole, shorter chain: only a signed head shows it (see `decisions.rs`).
        (cut.into(), None),
    ];
    let text = ["principal", "kind", "via", "action", "subject", "detail", "previous_hash", "hash"];
    tamperings.extend(text.map(|column| (format!("UPDATE audit_log SET {column} = {column} || 'x' WHERE seq = 4"), Some(4))));
    tamperings.push(("UPDATE audit_log SET at = at + 1 WHERE seq = 4".into(), Some(4)));
    tamperings.push(("UPDATE audit_log SET client = NULL WHERE seq = 4".into(), Some(4)));
    tamperings.push(("UPDATE audit_log SET detail = REPLACE(detail, '\"web\"', '\"wob\"') WHERE seq = 2".into(), Some(2)));

    for database in databases().await {
        let store = database.open().await;
        some_history(&store).await;
        database.tamper("CREATE TABLE log_copy AS SELECT * FROM audit_log; CREATE TABLE head_copy AS SELECT * FROM audit_head").await;
        for (tampering, found_at) in &tamperings {
            database.tamper(tampering).await;
            let broken = store.audit_verify().await.unwrap().broken;
            assert_eq!(broken.as_ref().map(|broken| broken.seq), *found_at, "{}: {tampering}: {broken:?}", database.name);
            database
                .tamper(
                    "DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM log_copy;
                     DELETE FROM audit_head; INSERT INTO audit_head SELECT * FROM head_copy",
                )
                .await;
            assert_eq!(store.audit_verify().await.unwrap().broken, None);
        }
    }
}

#[tokio::test]
async fn a_long_chain_is_walked_page_by_page() {
    for database in databases().await {
        let store = database.open().await;
        for number in 0..1100 {
            store.take_lease(&server(), &"staging".into(), &format!("server-{number}")).await.unwrap();
        }
        let report = store.audit_verify().await.unwrap();
        assert_eq!((report.entries, report.broken), (1100, None), "{}", database.name);
    }
}

#[tokio::test]
async fn a_change_given_up_half_way_leaves_no_trace() {
    for database in databases().await {
        let store = database.open().await;
        some_history(&store).await;
        let before = store.audit_head().await.unwrap();
        // U+0000 is refused at the edge; should it come this far, the change ends after it has begun.
        let mut order = order("staging");
        order.title = "a\0b".into();
        let refused = store.create_directive(&agent(), order, &release("web", "9")).await;
        assert!(matches!(refused, Err(StoreError::Other(_))), "{}", database.name);
        assert_eq!(store.release(&release("web", "9").digest).await.unwrap(), None, "the release went with it");
        assert_eq!(store.audit_head().await.unwrap(), before);

        // A caller that stops waiting, at any point: either the whole change is there, or nothing of it.
        let (agent, staging) = (agent(), "staging".into());
        for steps in 0..40 {
            let change = store.take_lease(&agent, &staging, "gone");
            tokio::pin!(change);
            for _ in 0..steps {
                if futures_util::poll!(&mut change).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        directive(&store, "web", "staging", "10").await;
        let report = store.audit_verify().await.unwrap();
        assert_eq!(report.broken, None);
        let taken = store.audit_entries(0, 1000).await.unwrap().iter().filter(|entry| entry.action == "take_lease").count() as i64;
        assert_eq!(store.lease(&"staging".into()).await.unwrap().unwrap().epoch, Epoch(taken + 1), "the claim, and each take-over");
    }
}
