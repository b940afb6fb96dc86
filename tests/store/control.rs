//! What people stop and let go on: freezes, where and while they are in force, and choices for a stuck deployment.

use crate::{
    decisions::{signed, with_ada},
    world::*,
};
use interlock::{model::DecisionVerdict::Approve, store::InForce};

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_760_000_000_000 + seconds * 1000)
}

async fn active(store: &Store, environment: &str, now: Timestamp) -> Vec<String> {
    let ids = |active: Vec<InForce>| active.into_iter().map(|active| active.freeze.id).collect::<Vec<_>>();
    let active = ids(store.active_freezes(&environment.into(), now).await.unwrap());
    assert_eq!(ids(store.frozen(now).await.unwrap().of(&environment.into()).cloned().collect()), active);
    active
}

#[tokio::test]
async fn freezes_count_where_and_while_they_are_in_force() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let production: EnvironmentName = "production".into();
        let holidays = NewFreeze { reason: "holidays".into(), starts_at: Some(at(10)), ends_at: Some(at(20)), ..Default::default() };
        let everywhere = store.add_freeze(&server(), holidays).await.unwrap();
        let audit = NewFreeze { environment: Some(production.clone()), reason: "audit".into(), ..Default::default() };
        let here = store.add_freeze(&server(), audit).await.unwrap();
        assert_eq!((here.starts_at, here.created_at), (at(0), Some(at(0))));
        assert_eq!(active(&store, "production", at(5)).await, ["frz_2"], "{}", database.name);
        assert_eq!(active(&store, "production", at(15)).await, ["frz_1", "frz_2"]);
        assert_eq!(active(&store, "staging", at(15)).await, ["frz_1"]);
        assert_eq!(active(&store, "staging", at(20)).await, [""; 0]);
        // A clock that is set back ends nothing that had begun, and begins nothing early.
        assert_eq!(active(&store, "production", at(-3600)).await, ["frz_2"]);
        assert_eq!(store.freeze(&everywhere.id).await.unwrap(), Some(everywhere));
        assert_eq!(store.standing_freezes(at(15)).await.unwrap().len(), 2);
        assert_eq!(store.standing_freezes(at(20)).await.unwrap(), std::slice::from_ref(&here));

        let subject = Sha256::of(b"freeze");
        let lift = async |id: &str, environment: Option<&str>, nonce: &str| {
            let decision = signed(&store, DecisionKind::Unfreeze, &subject, Approve, nonce).await;
            let effect = DecisionEffect::LiftFreeze { id: id.into(), environment: environment.map(Into::into) };
            store.record_decision(&server(), &decision, effect).await
        };
        // Only what freezes everywhere is lifted in one place.
        assert!(matches!(lift("frz_2", Some("production"), "n0").await, Err(RecordDecisionError::WrongState(_))));
        lift("frz_1", Some("staging"), "n1").await.unwrap();
        assert!(matches!(lift("frz_1", Some("staging"), "n2").await, Err(RecordDecisionError::WrongState(_))), "once");
        assert_eq!(store.freeze_lifts("frz_1").await.unwrap(), [("staging".into(), "ada".into())]);
        assert_eq!(store.freeze_lifts("frz_2").await.unwrap(), []);
        assert_eq!((active(&store, "staging", at(15)).await.len(), active(&store, "production", at(15)).await.len()), (0, 2));
        lift("frz_2", None, "n3").await.unwrap();
        assert_eq!(active(&store, "production", at(5)).await, [""; 0]);
        let lifted = store.freeze(&here.id).await.unwrap().unwrap();
        assert_eq!((lifted.lifted_by, lifted.lifted_at), (Some("ada".into()), Some(at(0))));
        for id in ["frz_2", "frz_99"] {
            assert!(matches!(lift(id, None, id).await, Err(RecordDecisionError::WrongState(_))), "{id}");
        }
        assert_eq!(store.freeze("frz_99").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_freeze_that_recurs_is_in_force_by_the_zones_clock() {
    for database in databases().await {
        let store = database.open().await;
        let now = recurrence::instant_of("2026-11-18T12:00:00Z", None).unwrap();
        let weekends = Recurrence::read("FREQ=WEEKLY;BYDAY=FR;BYHOUR=15", "65h", "Europe/Zurich", None, now).unwrap();
        let new = NewFreeze { reason: "weekend".into(), recurrence: Some(weekends.clone()), ..Default::default() };
        let freeze = store.add_freeze(&server(), new).await.unwrap();
        assert_eq!(store.freeze(&freeze.id).await.unwrap().unwrap().recurrence, Some(weekends), "{}", database.name);
        for (time, is_active) in [("2026-11-20T13:59:59Z", false), ("2026-11-20T14:00:00Z", true), ("2026-11-23T07:00:00Z", false)] {
            let now = recurrence::instant_of(time, None).unwrap();
            assert_eq!(active(&store, "staging", now).await.len(), usize::from(is_active), "{time}");
        }
        // A rule that can no longer be read is no permission.
        let text = r#"{"every":"FREQ=NEVER","lasts":"1h","zone":"Europe/Zurich","from":"2026-11-18T00:00:00"}"#;
        database.tamper(&format!("UPDATE freezes SET recurrence = '{text}'")).await;
        let frozen = store.active_freezes(&"staging".into(), now).await.unwrap();
        assert_eq!((frozen.len(), frozen[0].until), (1, None));
    }
}

#[tokio::test]
async fn a_choice_moves_a_stuck_deployment_that_is_as_it_was_seen() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let (queued, lease) = deployment(&store, "web", "staging", "1").await;
        let shift: StepId = "shift".into();
        let resolve = async |seen: &Deployment, event, step_to, nonce: &str| {
            let resolution = Resolution {
                deployment: seen.id.clone(),
                from: DeploymentState::Stuck,
                seen_at: seen.updated_at,
                event,
                step: shift.clone(),
                step_to,
                choice: Choice::MarkDone,
                reason: "looked".into(),
            };
            let decision = signed(&store, DecisionKind::Resolve, &Sha256::of(b"stuck"), Approve, nonce).await;
            store.record_decision(&server(), &decision, DecisionEffect::Resolve(resolution)).await
        };
        let early = resolve(&queued, Event::Resumed, StepState::Done, "n0").await;
        assert!(matches!(early, Err(RecordDecisionError::WrongState(_))), "{}: not stuck", database.name);
        let write = async |from, to, output: Option<&Value>| {
            store.write_step(&server(), &queued.id, lease.epoch, &shift, &[from], to, output).await.unwrap()
        };
        assert!(write(StepState::Pending, StepState::Intent, None).await);
        assert!(write(StepState::Intent, StepState::Failed, Some(&json!({ "before": 7 }))).await);
        store.request_undo(&server(), &queued.id, "it failed", "router_failed").await.unwrap();
        let stuck = walk(&store, &queued, &[Event::Started, Event::Lost]).await;
        assert!(stuck.settled_at.is_some());

        // What has changed since it was seen is not what was decided over.
        assert!(store.note_traffic(&server(), &stuck.id, lease.epoch, TrafficMove::To).await.unwrap());
        let stale = resolve(&stuck, Event::Resumed, StepState::Done, "n1").await;
        assert!(matches!(stale, Err(RecordDecisionError::WrongState(_))));
        let seen = store.deployment(&stuck.id).await.unwrap().unwrap();
        resolve(&seen, Event::Resumed, StepState::Done, "n2").await.unwrap();
        let goes_on = store.deployment(&stuck.id).await.unwrap().unwrap();
        assert_eq!((goes_on.state, goes_on.settled_at, &goes_on.undo_reason), (DeploymentState::Running, None, &None));
        assert_eq!(store.undo_request(&stuck.id).await.unwrap(), None, "it was seen, and decided against");
        let entry = store.journal(&stuck.id).await.unwrap().into_iter().find(|entry| entry.step == shift).unwrap();
        assert_eq!((entry.state, &entry.output["before"]), (StepState::Done, &json!(7)));
        assert_eq!((&entry.output["decided"]["by"], &entry.output["decided"]["choice"]), (&json!("ada"), &json!("mark_done")));
        let (end, _) = store.audit_head().await.unwrap();
        let audited = store.audit_entries(end - 1, 1).await.unwrap().remove(0);
        assert_eq!((audited.action.as_str(), &audited.detail["choice"]), ("record_decision", &json!("mark_done")));

        // Where the server asks: the same, and only while it asks.
        let asked = async |seen: &Deployment, event, step_to, nonce: &str| {
            let resolution = Resolution {
                deployment: seen.id.clone(),
                from: DeploymentState::Paused,
                seen_at: seen.updated_at,
                event,
                step: shift.clone(),
                step_to,
                choice: Choice::RollBack,
                reason: "nobody came".into(),
            };
            let decision = signed(&store, DecisionKind::Resolve, &Sha256::of(b"asks"), Approve, nonce).await;
            store.record_decision(&server(), &decision, DecisionEffect::Resolve(resolution)).await
        };
        let paused = walk(&store, &goes_on, &[Event::Held]).await;
        assert!(asked(&paused, Event::Undo, StepState::Pending, "n4").await.is_err(), "it is not the server's hold");
        assert!(store.set_hold(&server(), &paused.id, None, Some("server")).await.unwrap());
        assert!(asked(&paused, Event::Undo, StepState::Pending, "n5").await.is_err(), "it has changed");
        let asks = store.deployment(&paused.id).await.unwrap().unwrap();
        asked(&asks, Event::Undo, StepState::Pending, "n6").await.unwrap();
        let request = store.undo_request(&paused.id).await.unwrap().unwrap();
        assert_eq!((request.by.as_str(), request.reason.as_str(), request.code.as_str()), ("ada", "nobody came", "aborted"));
        let answered = store.deployment(&paused.id).await.unwrap().unwrap();
        assert_eq!((answered.state, &answered.held_by), (DeploymentState::Paused, &None));
        let goes_on = answered;

        // It can be stuck again, and blocks again.
        let again = walk(&store, &goes_on, &[Event::Undo, Event::Lost]).await;
        assert_eq!(store.occupying().await.unwrap(), std::slice::from_ref(&again));
        resolve(&again, Event::ResumedBack, StepState::Undone, "n3").await.unwrap();
        let back = store.deployment(&stuck.id).await.unwrap().unwrap();
        assert_eq!((back.state, back.undo_reason.as_deref()), (DeploymentState::RollingBack, Some("looked")));
        assert_eq!(store.audit_verify().await.unwrap().broken, None);
    }
}
