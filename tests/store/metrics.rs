//! What the metrics are computed from, on both databases.

use crate::world::*;

fn scope(from: i64, to: i64) -> MetricsScope {
    MetricsScope { from: Timestamp(from), to: Timestamp(to), service: None, environment: None }
}

#[tokio::test]
async fn what_settled_in_a_window_is_found_with_what_is_known_of_it() {
    for database in databases().await {
        let store = database.open().await;
        let everything = scope(0, i64::MAX);
        assert_eq!(store.settled_deployments(&everything, "traffic").await.unwrap(), [], "{}", database.name);

        let mut order = order("production");
        (order.committed_at, order.venture) = (Some(Timestamp(7)), Some("shop".into()));
        let (directive, _) = store.create_directive(&agent(), order, &release("web", "1.0.0")).await.unwrap();
        assert_eq!(store.directive(&directive.id).await.unwrap().unwrap().committed_at, Some(Timestamp(7)));
        let (first, _) = claim(&store, &plan(&store, &directive).await.id).await;
        store.note_traffic(&server(), &first.id, first.epoch, TrafficMove::To).await.unwrap();
        let first = walk(&store, &first, SUCCESS).await;
        let early = first.settled_at.unwrap();
        database.clock.advance(Duration::from_secs(60));
        let (second, _) = deployment(&store, "api", "staging", "2.0.0").await;
        store.request_undo(&server(), &second.id, "smoke", "smoke_failed").await.unwrap();
        let second = walk(&store, &second, &[Event::Started, Event::Undo, Event::Undone]).await;
        let (running, _) = deployment(&store, "web", "production", "1.1.0").await;
        store.add_incident(&server(), incident(&second.id)).await.unwrap();
        store.add_incident(&server(), incident(&running.id)).await.unwrap();
        store.add_measurement(&server(), &second.id, "traffic", &json!({ "downtime": 9 })).await.unwrap();
        store.add_measurement(&server(), &second.id, "traffic", &json!({ "downtime": 3 })).await.unwrap();
        store.add_measurement(&server(), &second.id, "watch", &json!({ "p95_ms": 3 })).await.unwrap();
        let step = "recheck".into();
        let from = [StepState::Pending];
        let decided = json!({ "decided": { "by": "ada", "choice": "retry" } });
        assert!(store.write_step(&server(), &running.id, running.epoch, &step, &from, StepState::Done, Some(&decided)).await.unwrap());

        let settled = store.settled_deployments(&everything, "traffic").await.unwrap();
        let [one, two] = &settled[..] else { panic!("{settled:?}") };
        assert_eq!((&one.id, one.state, one.shifted_at), (&first.id, DeploymentState::Succeeded, Some(early)));
        assert_eq!((one.committed_at, one.venture.as_deref(), one.mends), (Some(Timestamp(7)), Some("shop"), false));
        assert_eq!((one.rollback_of.as_ref(), one.taken_back_at, one.undo_requested_by.as_deref()), (None, None, None));
        assert_eq!((&two.id, two.state, two.undo_requested_by.as_deref()), (&second.id, DeploymentState::RolledBack, Some("server")));
        assert_eq!((two.committed_at, two.shifted_at, two.created_by.as_str()), (None, None, "agent"));
        assert!(!two.directive_completed && two.undo_requested_at.is_some());

        // What settled at the window's beginning is in it, what settled at its end is not.
        let ids = async |scope: MetricsScope| {
            store.settled_deployments(&scope, "traffic").await.unwrap().into_iter().map(|one| one.id.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(scope(early.0, early.0 + 1)).await, [first.id.as_str()]);
        assert_eq!(ids(scope(0, early.0)).await, [""; 0]);
        assert_eq!(ids(MetricsScope { service: Some("api".into()), ..everything.clone() }).await, [second.id.as_str()]);
        assert_eq!(ids(MetricsScope { environment: Some("production".into()), ..everything.clone() }).await, [first.id.as_str()]);

        assert_eq!(store.fired_triggers(&everything).await.unwrap(), [(second.id.clone(), "DEPLOY-001".into())]);
        assert_eq!((&one.measured, &two.measured), (&None, &Some(json!({ "downtime": 3 }))));
        let lately = async |service: &str, kind: &str, most: u32| {
            store.measured_lately(&service.into(), &"staging".into(), kind, most).await.unwrap()
        };
        let costs: Vec<_> = [9, 3].map(|downtime| (second.id.clone(), json!({ "downtime": downtime }))).into();
        assert_eq!(lately("api", "traffic", 1).await, costs);
        assert_eq!(
            (lately("api", "traffic", 0).await, lately("api", "smoke", 9).await, lately("web", "traffic", 9).await),
            Default::default()
        );

        // The newest of the window begin after the newest one that is too many.
        let most = async |scope: MetricsScope, most: u32| store.settled_most(&scope, most).await.unwrap();
        assert_eq!((most(everything.clone(), 2).await, most(everything.clone(), 1).await), (None, Some(Timestamp(early.0 + 1))));
        assert_eq!(most(everything.clone(), 0).await, second.settled_at.map(|at| Timestamp(at.0 + 1)));
        assert_eq!(most(MetricsScope { service: Some("api".into()), ..everything.clone() }, 1).await, None);
        assert_eq!(store.decided_by_people(&everything).await.unwrap(), [], "what runs has not settled");
        walk(&store, &running, SUCCESS).await;
        assert_eq!(store.decided_by_people(&everything).await.unwrap(), [running.id]);
    }
}

#[tokio::test]
async fn what_was_taken_back_says_when_and_what_was_withdrawn_does_not() {
    for database in databases().await {
        let store = database.open().await;
        let (first, _) = deployment(&store, "web", "staging", "1.0.0").await;
        let first = walk(&store, &first, SUCCESS).await;
        let directive = store.directive(&first.directive).await.unwrap().unwrap();
        let way_back = Plan { purpose: Purpose::Rollback { of: first.id.clone() }, ..plan_of(&directive, 2) };
        let record = store.save_plan(&agent(), &way_back, PlanState::Planned, None).await.unwrap().0;
        database.clock.advance(Duration::from_secs(5));
        let (back, _) = claim(&store, &record.id).await;
        store.note_traffic(&server(), &back.id, back.epoch, TrafficMove::To).await.unwrap();
        let back = walk(&store, &back, SUCCESS).await;
        let (withdrawn, _) = deployment(&store, "api", "staging", "1.0.0").await;
        store.note_traffic(&server(), &withdrawn.id, withdrawn.epoch, TrafficMove::To).await.unwrap();
        let withdrawn = walk(&store, &withdrawn, SUCCESS).await;
        store.mark_rolled_back(&agent(), &withdrawn.id, &withdrawn.id).await.unwrap();

        let settled = store.settled_deployments(&scope(0, i64::MAX), "traffic").await.unwrap();
        let [one, two, three] = &settled[..] else { panic!("{settled:?}") };
        assert_eq!((one.rolled_back_by.as_ref(), one.taken_back_at), (Some(&back.id), two.shifted_at), "{}", database.name);
        assert!(two.shifted_at.is_some());
        assert_eq!((&two.rollback_of, two.rolled_back_by.as_ref()), (&Some(first.id), None));
        assert_eq!((three.rolled_back_by.as_ref(), three.taken_back_at), (Some(&withdrawn.id), None));
    }
}

fn incident(deployment: &DeploymentId) -> NewIncident {
    NewIncident {
        deployment: deployment.clone(),
        rule: "DEPLOY-001".into(),
        severity: "P2".into(),
        summary: "it did not start".into(),
        action: "nothing moved".into(),
        evidence: Value::Null,
    }
}
