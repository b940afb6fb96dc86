//! The claim, transitions, the journal, leases, and what serves.

use crate::world::*;

/// How often 64 race for an environment, on each database.
const RACES: i64 = 100;

#[tokio::test]
async fn of_64_racers_exactly_one_gets_the_environment() {
    for database in databases().await {
        let store = database.open().await;
        let mut refusals = Vec::new();
        for race in 1..=RACES {
            // Half of them race for the same plan, half for another of the same environment.
            let version = race.to_string();
            let web = plan(&store, &directive(&store, "web", "staging", &version).await).await.id;
            let api = plan(&store, &directive(&store, "api", "staging", &version).await).await.id;
            let racers: Vec<_> = (0..64)
                .map(|racer| {
                    let (store, plan) = (store.clone(), if racer % 2 == 0 { web.clone() } else { api.clone() });
                    tokio::spawn(async move {
                        let asked = std::time::Instant::now();
                        let claim = store.claim_deployment(&agent(), &plan, &format!("server-{racer}")).await.unwrap();
                        (claim, asked.elapsed())
                    })
                })
                .collect();
            let (mut new, mut existing, mut busy) = (vec![], 0, 0);
            for racer in racers {
                let (claim, took) = racer.await.unwrap();
                match claim {
                    Claim::New { deployment, lease } => new.push((deployment, lease)),
                    Claim::Existing(_) => existing += 1,
                    Claim::Busy(_) => busy += 1,
                    other => panic!("{other:?}"),
                }
                refusals.push(took);
            }
            assert_eq!((new.len(), existing, busy), (1, 31, 32), "{}, race {race}", database.name);
            let (deployment, lease) = &new[0];
            assert_eq!(
                (deployment.id.0.clone(), deployment.state, deployment.epoch, lease.epoch),
                (format!("dep_{race}"), DeploymentState::Queued, Epoch(race), Epoch(race)),
                "{}",
                database.name
            );
            assert_eq!(store.lease(&"staging".into()).await.unwrap().as_ref(), Some(lease));
            assert_eq!(store.plan(&deployment.plan).await.unwrap().unwrap().state, PlanState::Used);
            let journal = store.journal(&deployment.id).await.unwrap();
            assert_eq!(journal.iter().map(|entry| entry.step.as_str()).collect::<Vec<_>>(), ["recheck", "start-1", "shift"]);
            assert!(journal.iter().all(|entry| entry.state == StepState::Pending && entry.attempt == 0 && entry.output.is_null()));
            walk(&store, deployment, SUCCESS).await;
        }
        refusals.sort();
        let (p50, p99) = (refusals[refusals.len() / 2], refusals[refusals.len() * 99 / 100]);
        println!("figure: {}: {RACES} races of 64, one winner each; answered p50 {p50:?}, p99 {p99:?}", database.name);
        assert_eq!(store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn two_servers_claim_through_the_database_alone() {
    for database in databases().await {
        let stores = [database.open().await, database.open().await];
        let plan = plan(&stores[0], &directive(&stores[0], "web", "staging", "1").await).await.id;
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let (store, plan) = (stores[racer % 2].clone(), plan.clone());
                tokio::spawn(async move { store.claim_deployment(&agent(), &plan, "server").await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for racer in racers {
            new += i32::from(matches!(racer.await.unwrap(), Claim::New { .. }));
        }
        assert_eq!(new, 1, "{}", database.name);
        assert_eq!(stores[1].audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn only_a_ready_plan_is_claimed() {
    for database in databases().await {
        let store = database.open().await;
        assert_eq!(store.claim_deployment(&agent(), &"plan_none".into(), "server").await.unwrap(), Claim::NoPlan);
        let directive = directive(&store, "web", "staging", "1").await;
        for (attempt, state) in
            [PlanState::AwaitingApproval, PlanState::Rejected, PlanState::Expired, PlanState::Void].into_iter().enumerate()
        {
            let (record, _) = store.save_plan(&agent(), &plan_of(&directive, attempt as u32), state, None).await.unwrap();
            let before = store.audit_head().await.unwrap();
            assert_eq!(store.claim_deployment(&agent(), &record.id, "server").await.unwrap(), Claim::PlanNotReady(state));
            assert_eq!(store.audit_head().await.unwrap(), before);
        }
        assert_eq!(store.lease(&"staging".into()).await.unwrap(), None, "{}", database.name);
    }
}

#[tokio::test]
async fn a_deployment_moves_only_under_the_newest_lease() {
    for database in databases().await {
        let store = database.open().await;
        let (queued, lease) = deployment(&store, "web", "staging", "1").await;
        use DeploymentState::*;
        let go = |epoch, from, event, change| {
            let (store, id) = (store.clone(), queued.id.clone());
            async move { store.transition(&server(), &id, epoch, from, event, change).await.unwrap() }
        };
        let none = DeploymentChange::default;
        assert_eq!(go(lease.epoch, Running, Event::Shifted, none()).await, None, "not in that state");
        assert_eq!(go(lease.epoch, Queued, Event::Shifted, none()).await, None, "no such move");
        assert_eq!(go(Epoch(9), Queued, Event::Started, none()).await, None, "no such epoch");
        let running = go(lease.epoch, Queued, Event::Started, none()).await.unwrap();
        assert!(running.state == Running && running.updated_at > queued.updated_at, "{}", database.name);

        // Another server takes over: the old epoch is refused from now on, everywhere.
        let taken = store.take_lease(&server(), &"staging".into(), "server-2").await.unwrap();
        assert_eq!(taken, Lease { environment: "staging".into(), holder: "server-2".into(), epoch: Epoch(2) });
        assert_eq!(go(lease.epoch, Running, Event::Shifted, none()).await, None);
        assert!(
            !store
                .write_step(&server(), &queued.id, lease.epoch, &"recheck".into(), &[StepState::Pending], StepState::Intent, None)
                .await
                .unwrap()
        );
        assert!(!store.set_epoch(&server(), &queued.id, lease.epoch).await.unwrap());
        assert!(store.set_epoch(&server(), &queued.id, taken.epoch).await.unwrap());

        let change = DeploymentChange { held_by: Some(Some("agent".into())), ..none() };
        let shifted = go(taken.epoch, Running, Event::Shifted, change).await.unwrap();
        assert_eq!((shifted.held_by.as_deref(), shifted.settled_at), (Some("agent"), None));
        let change = DeploymentChange {
            held_by: Some(None),
            undo_reason: Some("p95 too high".into()),
            failure_code: Some("threshold_crossed".into()),
        };
        let undoing = go(taken.epoch, Verifying, Event::Undo, change).await.unwrap();
        assert_eq!((undoing.held_by, undoing.undo_reason.as_deref()), (None, Some("p95 too high")));
        let undone = go(taken.epoch, RollingBack, Event::Undone, none()).await.unwrap();
        assert_eq!((undone.state, undone.failure_code.as_deref()), (RolledBack, Some("threshold_crossed")));
        assert!(undone.settled_at.is_some());
        assert!(!store.set_epoch(&server(), &queued.id, taken.epoch).await.unwrap(), "settled");
        assert_eq!(store.deployment(&queued.id).await.unwrap(), Some(undone));
        assert_eq!(store.deployment(&"dep_99".into()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_idle_lease_is_taken_only_where_nothing_is_deployed() {
    for database in databases().await {
        let store = database.open().await;
        let take = async || store.take_idle_lease(&server(), &"staging".into(), "server-1").await.unwrap();
        assert_eq!(take().await.map(|lease| lease.epoch), Some(Epoch(1)), "{}", database.name);
        let (queued, lease) = deployment(&store, "web", "staging", "1").await;
        assert_eq!(lease.epoch, Epoch(2));
        assert_eq!((take().await, store.occupying().await.unwrap().len()), (None, 1), "{}: occupied", database.name);
        for (from, event) in [(DeploymentState::Queued, Event::Undo), (DeploymentState::RollingBack, Event::Undone)] {
            store.transition(&server(), &queued.id, lease.epoch, from, event, DeploymentChange::default()).await.unwrap().unwrap();
        }
        assert_eq!(take().await.map(|lease| lease.epoch), Some(Epoch(3)));
        assert!(store.occupying().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_first_move_of_traffic_is_noted_under_the_lease() {
    for database in databases().await {
        let store = database.open().await;
        let (queued, lease) = deployment(&store, "web", "staging", "1").await;
        let note = async |epoch, moved| store.note_traffic(&server(), &queued.id, epoch, moved).await.unwrap();
        assert!(!note(Epoch(9), TrafficMove::To).await, "{}: no such epoch", database.name);
        assert!(note(lease.epoch, TrafficMove::To).await);
        let noted = store.deployment(&queued.id).await.unwrap().unwrap();
        assert!(noted.shifted_at.is_some() && noted.unshifted_at.is_none());
        assert!(note(lease.epoch, TrafficMove::To).await && note(lease.epoch, TrafficMove::Back).await);
        let back = store.deployment(&queued.id).await.unwrap().unwrap();
        assert!(back.shifted_at == noted.shifted_at && back.unshifted_at.is_some(), "the first note stays");
    }
}

#[tokio::test]
async fn a_step_is_journaled_before_and_after_it_happens() {
    for database in databases().await {
        let store = database.open().await;
        let (deployment, lease) = deployment(&store, "web", "staging", "1").await;
        use StepState::*;
        let step = StepId::from("start-1");
        let output = json!({ "address": "127.0.0.1:1", "zero": "\0" });
        let moves: [(&[StepState], StepState, Option<&Value>, bool); 7] = [
            (&[Intent], Done, None, false),
            (&[Pending, Unknown], Intent, None, true),
            (&[Intent], Executing, None, true),
            (&[Executing], Failed, Some(&output), true),
            (&[Failed], Intent, None, true),
            (&[Intent], Executing, None, true),
            (&[Executing], Done, None, true),
        ];
        for (from, to, output, expected) in moves {
            database.clock.advance(Duration::from_millis(10));
            let moved = store.write_step(&server(), &deployment.id, lease.epoch, &step, from, to, output).await.unwrap();
            assert_eq!(moved, expected, "{} {from:?} → {to:?}", database.name);
        }
        let entry = &store.journal(&deployment.id).await.unwrap()[1];
        assert_eq!((entry.state, entry.attempt, &entry.output), (Done, 2, &output));
        assert_eq!(entry.ended_at.unwrap().since(entry.started_at.unwrap()), Duration::from_millis(20));
        assert!(store.deployment(&deployment.id).await.unwrap().unwrap().updated_at > deployment.updated_at);
        assert!(!store.write_step(&server(), &deployment.id, lease.epoch, &"none".into(), &[Pending], Intent, None).await.unwrap());
    }
}

#[tokio::test]
async fn a_stuck_deployment_blocks_its_environment_until_it_has_ended() {
    for database in databases().await {
        let store = database.open().await;
        let (first, _) = deployment(&store, "web", "staging", "1").await;
        let other = plan(&store, &directive(&store, "web", "staging", "2").await).await.id;
        assert!(matches!(store.claim_deployment(&agent(), &other, "server").await.unwrap(), Claim::Busy(busy) if busy.id == first.id));
        let stuck = walk(&store, &first, &[Event::Started, Event::Lost]).await;
        assert!(store.unsettled().await.unwrap().is_empty(), "{}", database.name);
        assert!(matches!(store.claim_deployment(&agent(), &other, "server").await.unwrap(), Claim::Busy(busy) if busy.id == stuck.id));
        // Another environment was never in the way.
        deployment(&store, "web", "production", "1").await;
        walk(&store, &stuck, &[Event::ResumedBack, Event::Undone]).await;
        let (third, lease) = claim(&store, &other).await;
        assert_eq!((third.id.as_str(), lease.epoch), ("dep_3", Epoch(2)));
        assert_eq!(store.unsettled().await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn holds_and_undo_requests_count_once() {
    for database in databases().await {
        let store = database.open().await;
        let (first, _) = deployment(&store, "web", "staging", "1").await;
        assert!(!store.set_hold(&agent(), &first.id, Some("agent"), None).await.unwrap(), "{}: not held", database.name);
        assert!(store.set_hold(&agent(), &first.id, None, Some("agent")).await.unwrap());
        assert!(!store.set_hold(&agent(), &first.id, None, Some("operator")).await.unwrap(), "held already");
        assert_eq!(store.deployment(&first.id).await.unwrap().unwrap().held_by.as_deref(), Some("agent"));
        assert!(store.set_hold(&agent(), &first.id, Some("agent"), Some("operator")).await.unwrap(), "taken over");
        assert!(store.set_hold(&agent(), &first.id, Some("operator"), None).await.unwrap());

        assert_eq!(store.undo_request(&first.id).await.unwrap(), None);
        assert!(store.request_undo(&agent(), &first.id, "looks wrong", "aborted").await.unwrap());
        assert!(!store.request_undo(&server(), &first.id, "p95", "threshold_crossed").await.unwrap());
        let request = store.undo_request(&first.id).await.unwrap().unwrap();
        assert_eq!((request.by.as_str(), request.reason.as_str(), request.code.as_str()), ("agent", "looks wrong", "aborted"));

        walk(&store, &first, &[Event::Undo, Event::Undone]).await;
        let (second, _) = deployment(&store, "web", "staging", "2").await;
        walk(&store, &second, SUCCESS).await;
        assert!(!store.request_undo(&agent(), &second.id, "late", "aborted").await.unwrap(), "settled");
        assert!(!store.set_hold(&agent(), &second.id, None, Some("agent")).await.unwrap(), "settled");
    }
}

#[tokio::test]
async fn deployments_are_found_again() {
    for database in databases().await {
        let store = database.open().await;
        let mut succeeded = vec![];
        for version in ["1", "2", "3"] {
            let (queued, _) = deployment(&store, "web", "staging", version).await;
            succeeded.push(walk(&store, &queued, SUCCESS).await);
        }
        deployment(&store, "api", "production", "1").await;
        let ids = |found: &[Deployment]| found.iter().map(|one| one.id.0.clone()).collect::<Vec<_>>();

        let (page, next) = store.deployments(&DeploymentFilter { limit: 3, ..Default::default() }).await.unwrap();
        assert_eq!(ids(&page), ["dep_4", "dep_3", "dep_2"], "{}", database.name);
        let (page, next) = store.deployments(&DeploymentFilter { limit: 3, before: next, ..Default::default() }).await.unwrap();
        assert_eq!((ids(&page), next), (vec!["dep_1".to_owned()], None));
        let filter = DeploymentFilter {
            service: Some("web".into()),
            environment: Some("staging".into()),
            state: Some(DeploymentState::Succeeded),
            ..Default::default()
        };
        assert_eq!(store.deployments(&filter).await.unwrap().0.len(), 3);
        let none = DeploymentFilter { environment: Some("nowhere".into()), ..Default::default() };
        assert_eq!(store.deployments(&none).await.unwrap(), (vec![], None));

        // The way back from dep_3 is a deployment of its own, and brings no release forward.
        let (web, staging) = ("web".into(), "staging".into());
        let last = &succeeded[2];
        let mut back = plan_of(&store.directive(&last.directive).await.unwrap().unwrap(), 2);
        back.purpose = Purpose::Rollback { of: last.id.clone() };
        back.base = Some(Base { deployment: last.id.clone(), version: last.version.clone(), digest: last.digest.clone() });
        store.save_plan(&agent(), &back, PlanState::Planned, None).await.unwrap();
        assert_eq!(store.rollback_of(&last.id).await.unwrap(), None);
        let (rollback, _) = claim(&store, &back.id()).await;
        assert_eq!((&rollback.purpose, &rollback.base), (&back.purpose, &Some(last.id.clone())));
        assert_eq!(store.rollback_of(&last.id).await.unwrap().unwrap().id, rollback.id);
        assert_eq!(store.latest_forward(&web, &staging).await.unwrap().unwrap().id, last.id);
        assert_eq!(store.latest_forward(&web, &"nowhere".into()).await.unwrap(), None);

        assert_eq!(store.succeeded_with(&staging, &web, &last.digest).await.unwrap().unwrap().id, last.id);
        assert!(store.mark_rolled_back(&server(), &last.id, &rollback.id).await.unwrap());
        assert!(!store.mark_rolled_back(&server(), &last.id, &rollback.id).await.unwrap());
        assert_eq!(store.succeeded_with(&staging, &web, &last.digest).await.unwrap(), None);
        assert_eq!(store.deployment(&last.id).await.unwrap().unwrap().rolled_back_by, Some(rollback.id));
    }
}

#[tokio::test]
async fn what_went_back_leaves_its_directive_open_and_what_was_completed_stays_so() {
    for database in databases().await {
        let store = database.open().await;
        use DirectiveState::*;
        let state = async |id: &DirectiveId| store.directive(id).await.unwrap().unwrap().state;
        let put = async |id: &DirectiveId, to| store.set_directive_state(&server(), id, &[Active, InProgress], to, None).await.unwrap();

        let (failed, _) = deployment(&store, "web", "staging", "1").await;
        assert!(put(&failed.directive, InProgress).await);
        walk(&store, &failed, &[Event::Started, Event::Undo]).await;
        assert_eq!(state(&failed.directive).await, InProgress, "{}: still on its way back", database.name);
        let failed = store.deployment(&failed.id).await.unwrap().unwrap();
        walk(&store, &failed, &[Event::Undone]).await;
        assert_eq!(state(&failed.directive).await, Active);

        for (version, before, after) in [("2", InProgress, Active), ("3", Completed, Completed)] {
            let (queued, _) = deployment(&store, "web", "staging", version).await;
            let forward = walk(&store, &queued, SUCCESS).await;
            assert!(put(&forward.directive, before).await);
            let mut back = plan_of(&store.directive(&forward.directive).await.unwrap().unwrap(), 2);
            back.purpose = Purpose::Rollback { of: forward.id.clone() };
            store.save_plan(&agent(), &back, PlanState::Planned, None).await.unwrap();
            let (rollback, _) = claim(&store, &back.id()).await;
            walk(&store, &rollback, SUCCESS).await;
            assert_eq!(store.deployment(&forward.id).await.unwrap().unwrap().rolled_back_by, Some(rollback.id));
            assert_eq!(state(&forward.directive).await, after, "{}", database.name);
        }

        // A way back that itself went back has taken nothing back.
        let (queued, _) = deployment(&store, "web", "staging", "4").await;
        let forward = walk(&store, &queued, SUCCESS).await;
        assert!(put(&forward.directive, InProgress).await);
        let mut back = plan_of(&store.directive(&forward.directive).await.unwrap().unwrap(), 2);
        back.purpose = Purpose::Rollback { of: forward.id.clone() };
        store.save_plan(&agent(), &back, PlanState::Planned, None).await.unwrap();
        let (rollback, _) = claim(&store, &back.id()).await;
        walk(&store, &rollback, &[Event::Undo, Event::Undone]).await;
        assert_eq!(state(&forward.directive).await, InProgress);
        assert!(store.mark_rolled_back(&server(), &forward.id, &forward.id).await.unwrap());
        assert_eq!(state(&forward.directive).await, Active, "withdrawn");
    }
}

#[tokio::test]
async fn what_serves_is_written_under_the_lease_only() {
    for database in databases().await {
        let store = database.open().await;
        let (web, staging): (ServiceName, EnvironmentName) = ("web".into(), "staging".into());
        let set = |version: &str, base: Option<ServingSet>| ServingSet {
            service: web.clone(),
            environment: staging.clone(),
            deployment: "dep_1".into(),
            version: version.into(),
            digest: release("web", version).digest,
            commit: None,
            instances: vec!["staging-web-dep_1-1".into()],
            specs: json!([{ "port": 1 }]),
            verified_at: Timestamp(5),
            base: base.map(Box::new),
        };
        assert!(!store.set_serving(&server(), Epoch(1), &set("1", None)).await.unwrap(), "{}: no lease", database.name);
        let lease = store.take_lease(&server(), &staging, "server").await.unwrap();
        assert_eq!(store.serving(&web, &staging).await.unwrap(), None);
        assert!(store.set_serving(&server(), lease.epoch, &set("1", None)).await.unwrap());
        assert_eq!(store.serving(&web, &staging).await.unwrap(), Some(set("1", None)));
        assert!(store.set_serving(&server(), lease.epoch, &set("2", Some(set("1", None)))).await.unwrap());
        // The way back reaches one set: it does not grow with every deployment.
        assert!(store.set_serving(&server(), lease.epoch, &set("3", Some(set("2", Some(set("1", None)))))).await.unwrap());
        assert_eq!(store.all_serving().await.unwrap(), [set("3", Some(set("2", None)))]);
        let pinned = store.pinned_digests(&Default::default()).await.unwrap();
        assert_eq!(pinned, [release("web", "2").digest, release("web", "3").digest].into());

        let newer = store.take_lease(&server(), &staging, "server-2").await.unwrap();
        assert!(!store.set_serving(&server(), lease.epoch, &set("4", None)).await.unwrap());
        assert!(!store.withdraw_serving(&server(), lease.epoch, &web, &staging).await.unwrap());
        assert!(store.withdraw_serving(&server(), newer.epoch, &web, &staging).await.unwrap());
        assert!(!store.withdraw_serving(&server(), newer.epoch, &web, &staging).await.unwrap());
        assert_eq!(store.all_serving().await.unwrap(), []);
    }
}
