//! The outbox: what is told is what happened, once, by one server at a time, until it arrived or is given up.

use crate::world::*;
use interlock::model::notice::{Notice, NoticeKind};

fn notice(subject: &str) -> Notice {
    Notice {
        kind: NoticeKind::Frozen,
        about: "freeze".into(),
        subject: subject.into(),
        title: "staging takes no deployment".into(),
        service: None,
        environment: Some("staging".into()),
        version: None,
        code: None,
        verdict: None,
        by: None,
        said: None,
        page: "/freezes".into(),
        at: Timestamp(1),
    }
}

fn to(names: &[&str]) -> Vec<(EnvironmentName, String)> {
    names.iter().map(|name| ("staging".into(), (*name).to_owned())).collect()
}

async fn freeze(store: &Store) -> Freeze {
    store.add_freeze(&agent(), NewFreeze { reason: "holidays".into(), ..NewFreeze::default() }).await.unwrap()
}

/// A message that is on its way to these.
async fn on_its_way(store: &Store, names: &[&str]) -> Vec<Delivery> {
    freeze(store).await;
    let untold = store.untold(1).await.unwrap().remove(0);
    assert!(store.address(&untold.id, Some(&notice("frz")), None, &to(names)).await.unwrap());
    store.due_deliveries(Timestamp(i64::MAX)).await.unwrap().into_iter().filter(|delivery| delivery.id == untold.id).collect()
}

#[tokio::test]
async fn what_is_told_is_written_with_what_it_tells_of_and_addressed_once() {
    for database in databases().await {
        let (store, other) = (database.open().await, database.open().await);
        let made = freeze(&store).await;
        directive(&store, "web", "staging", "1").await;
        let untold = store.untold(10).await.unwrap();
        assert_eq!(untold.len(), 1, "{}: of a directive nobody is told", database.name);
        let entries = store.audit_entries(untold[0].entry.seq - 1, 2).await.unwrap();
        assert_eq!((&untold[0].entry, untold[0].entry.subject.as_str()), (&entries[0], made.id.as_str()));
        assert_eq!(untold[0].id, format!("msg_{}", &entries[1].previous_hash.0[..24]), "it is named by the entry's hash");

        // A change that was not made tells nobody: the text cannot be stored.
        let refused = store.add_freeze(&agent(), NewFreeze { reason: "a\0b".into(), ..NewFreeze::default() }).await;
        assert!(refused.is_err() && store.untold(10).await.unwrap().len() == 1);

        let (id, notice) = (&untold[0].id, notice("frz_1"));
        let pair = to(&["chat", "pager"]);
        let told = tokio::join!(store.address(id, Some(&notice), Some("frz"), &pair), other.address(id, Some(&notice), Some("frz"), &pair));
        assert_eq!(u8::from(told.0.unwrap()) + u8::from(told.1.unwrap()), 1, "{}: one of two servers", database.name);
        let due = store.due_deliveries(store.audit_entries(0, 1).await.unwrap()[0].at.plus(Duration::from_secs(1))).await.unwrap();
        assert_eq!(
            due.iter().map(|one| (one.destination.as_str(), one.tries, &one.notice)).collect::<Vec<_>>(),
            [("chat", 0, &notice), ("pager", 0, &notice)]
        );

        // What was told under a topic, and what there is nobody to tell of, goes.
        for (topic, to) in [(Some("frz"), pair), (Some("other"), vec![])] {
            freeze(&store).await;
            let next = store.untold(10).await.unwrap().remove(0);
            assert!(store.address(&next.id, Some(&notice), topic, &to).await.unwrap());
            assert!(!store.address(&next.id, Some(&notice), topic, &to).await.unwrap());
        }
        assert_eq!((store.untold(10).await.unwrap().len(), store.due_deliveries(Timestamp(i64::MAX)).await.unwrap().len()), (0, 2));
    }
}

#[tokio::test]
async fn one_server_at_a_time_has_a_message_in_hand() {
    for database in databases().await {
        let stores = [database.open().await, database.open().await];
        let mut won = [0; 2];
        for _ in 0..20 {
            let delivery = on_its_way(&stores[0], &["pager"]).await.remove(0);
            let (now, until) = (Timestamp(10), Timestamp(20));
            let take = |store: usize| stores[store].take_delivery(&delivery, now, until);
            let taken = tokio::join!(take(0), take(1), take(1), take(0));
            let taken = [taken.0, taken.1, taken.2, taken.3].map(|taken| taken.unwrap());
            assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{}: {taken:?}", database.name);
            won[usize::from(taken[1] || taken[2])] += 1;
            // Who had it ended: somebody else takes it, once the time is over, and sees that it was tried.
            let of_it = |due: Vec<Delivery>| due.into_iter().find(|one| one.id == delivery.id);
            let later = database.clock.now().plus(Duration::from_secs(9));
            assert!(!stores[1].take_delivery(&Delivery { tries: 1, ..delivery.clone() }, Timestamp(19), until).await.unwrap());
            let again = of_it(stores[1].due_deliveries(later).await.unwrap()).unwrap();
            assert_eq!(again.tries, 1);
            assert!(stores[1].take_delivery(&again, Timestamp(20), until).await.unwrap());
            stores[1].settle_delivery(&server(), &again, &Told::Delivered).await.unwrap();
            assert_eq!(of_it(stores[0].due_deliveries(later).await.unwrap()), None);
        }
        println!("figure: {}: of 20 messages {won:?} were taken by each", database.name);
    }
}

#[tokio::test]
async fn a_destination_that_takes_nothing_keeps_no_other_waiting() {
    for database in databases().await {
        let store = database.open().await;
        for _ in 0..60 {
            on_its_way(&store, &["down"]).await;
        }
        on_its_way(&store, &["up"]).await;
        let due = store.due_deliveries(database.clock.now()).await.unwrap();
        let count = |name: &str| due.iter().filter(|one| one.destination == name).count();
        assert_eq!((count("down"), count("up")), (50, 1), "{}", database.name);
        assert_eq!(due.last().unwrap().destination, "up", "oldest first");
    }
}

#[tokio::test]
async fn how_a_message_fares_is_counted_and_what_is_given_up_is_in_the_audit_log() {
    for database in databases().await {
        let store = database.open().await;
        let spec = Sha256::of(b"destination");
        let deliveries = on_its_way(&store, &["chat", "gone", "lost", "pager"]).await;
        let at = database.clock.now();
        let settle = async |number: usize, told: Told| store.settle_delivery(&server(), &deliveries[number], &told).await.unwrap();
        let sequence = store.sequence().await.unwrap();
        settle(0, Told::Delivered).await;
        settle(3, Told::Later { at: at.plus(Duration::from_secs(5)), said: "answered 500".into() }).await;
        assert_eq!(store.sequence().await.unwrap(), sequence, "{}: a try is no change of what was decided", database.name);
        settle(1, Told::Gone { spec_sha256: spec.clone(), said: "answered 410".into() }).await;
        settle(2, Told::GivenUp { said: "answered 500 again".into() }).await;
        // What is settled stays so.
        settle(2, Told::Delivered).await;
        settle(0, Told::GivenUp { said: "never".into() }).await;

        let entries = store.audit_entries(sequence, 10).await.unwrap();
        let given_up: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.detail["destination"].as_str().unwrap())).collect();
        assert_eq!(given_up, [("give_up_delivery", "gone"), ("give_up_delivery", "lost")], "{}", database.name);
        let tallies = store.tallies().await.unwrap();
        let seen: Vec<_> =
            tallies.iter().map(|one| (one.destination.as_str(), one.waiting, one.delivered, one.given_up, one.said.as_deref())).collect();
        let expected = [
            ("chat", 0, 1, 0, None),
            ("gone", 0, 0, 1, Some("answered 410")),
            ("lost", 0, 0, 1, Some("answered 500 again")),
            ("pager", 1, 0, 0, Some("answered 500")),
        ];
        assert_eq!(seen, expected, "{}", database.name);
        assert_eq!((tallies[0].delivered_at, tallies[0].waiting_since, tallies[3].waiting_since), (Some(at), None, Some(at)));
        assert_eq!(store.due_deliveries(at).await.unwrap(), []);
        assert_eq!(store.due_deliveries(at.plus(Duration::from_secs(5))).await.unwrap().len(), 1);

        // As it is configured it is gone; configured otherwise it is not, and it is not once it has answered.
        assert!(store.is_gone("gone", &spec).await.unwrap() && !store.is_gone("gone", &Sha256::of(b"other")).await.unwrap());
        assert!(store.is_back(&server(), "gone").await.unwrap() && !store.is_back(&server(), "gone").await.unwrap());
        assert!(!store.is_gone("gone", &spec).await.unwrap());

        // A message is forgotten when each of its deliveries has come to its end long ago.
        assert_eq!(store.forget_told(at.plus(Duration::from_secs(1))).await.unwrap(), 0, "{}: one still waits", database.name);
        assert_eq!(store.tallies().await.unwrap().len(), 1);
        settle(3, Told::Delivered).await;
        assert_eq!(store.forget_told(at).await.unwrap(), 0, "{}: it is not that old", database.name);
        assert_eq!(store.forget_told(at.plus(Duration::from_secs(1))).await.unwrap(), 1);
        assert_eq!(store.tallies().await.unwrap(), []);
        assert_eq!(store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn what_a_person_is_asked_by_a_gate_is_told_and_what_passes_is_not() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        let verdict = |gate: &str, verdict: Verdict, who: Option<Who>| GateResult {
            gate: gate.into(),
            verdict,
            rule: "uat".into(),
            value: None,
            reason: "nobody has".into(),
            needs: None,
            who,
            how: None,
            asked_by: "phase".into(),
            live: false,
            evidence_sha256: None,
            checked_at: Timestamp(1),
        };
        let record = async |results: &[GateResult]| store.record_verdicts(&agent(), &directive.id, results).await.unwrap();
        record(&[verdict("tests", Verdict::Fail, Some(Who::Agent)), verdict("uat", Verdict::Pass, Some(Who::Person))]).await;
        assert_eq!(store.untold(10).await.unwrap(), [], "{}", database.name);
        record(&[verdict("uat", Verdict::Inconclusive, Some(Who::Person))]).await;
        let untold = store.untold(10).await.unwrap();
        assert_eq!((untold.len(), untold[0].entry.action.as_str()), (1, "record_verdicts"));
    }
}
