//! Directives, releases and plans.

use crate::world::*;
use std::collections::BTreeMap;

#[tokio::test]
async fn a_directive_is_opened_once_for_the_same_release() {
    for database in databases().await {
        let store = database.open().await;
        let mut full = order("production");
        full.venture = Some("shop".into());
        full.depends_on = vec!["SD-DEPLOY-007".into()];
        full.phase = Some("phase-06".into());
        full.phase_sha256 = Some(Sha256::of(b"phase"));
        let (first, existing) = store.create_directive(&agent(), full.clone(), &release("web", "1.0.0")).await.unwrap();
        assert_eq!((first.id.as_str(), existing, first.state), ("SD-DEPLOY-001", false, DirectiveState::Active), "{}", database.name);
        assert_eq!(store.directive(&first.id).await.unwrap().unwrap(), first);
        assert_eq!(
            (first.venture.as_deref(), first.phase.as_deref(), first.created_by.as_str()),
            (Some("shop"), Some("phase-06"), "agent")
        );

        let before = store.sequence().await.unwrap();
        let (again, existing) = store.create_directive(&agent(), order("production"), &release("web", "1.0.0")).await.unwrap();
        assert_eq!((again, existing), (first.clone(), true));
        assert_eq!(store.sequence().await.unwrap(), before, "nothing changed, nothing recorded");

        // The same bytes elsewhere, and other bytes here, are other work.
        let bare = Release { commit: None, ..release("web", "1.0.0") };
        let (elsewhere, _) = store.create_directive(&agent(), order("staging"), &bare).await.unwrap();
        assert_eq!((elsewhere.id.as_str(), elsewhere.commit.as_deref(), elsewhere.venture.as_deref()), ("SD-DEPLOY-002", None, None));
        assert_eq!(directive(&store, "web", "production", "1.1.0").await.id.as_str(), "SD-DEPLOY-003");
        assert_eq!(store.open_directives().await.unwrap().len(), 3);
        let of_web: Vec<_> =
            store.directives_of(&"web".into(), &"production".into()).await.unwrap().into_iter().map(|one| one.id.0).collect();
        assert_eq!(of_web, ["SD-DEPLOY-003", "SD-DEPLOY-001"]);

        // A closed one is not reopened: the same release may be ordered anew.
        use DirectiveState::*;
        database.clock.advance(Duration::from_secs(1));
        assert!(!store.set_directive_state(&agent(), &first.id, &[InProgress], Completed, None).await.unwrap());
        assert!(store.set_directive_state(&agent(), &first.id, &[Active, InProgress], Cancelled, Some("changed our mind")).await.unwrap());
        let cancelled = store.directive(&first.id).await.unwrap().unwrap();
        assert_eq!(cancelled.state, Cancelled);
        assert!(cancelled.updated_at > first.updated_at);
        let (anew, existing) = store.create_directive(&agent(), full, &release("web", "1.0.0")).await.unwrap();
        assert_eq!((anew.id.as_str(), existing), ("SD-DEPLOY-004", false));
        assert_eq!(store.directive(&"SD-DEPLOY-999".into()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_failure_is_carried_by_a_draft_until_a_release_mends_it() {
    for database in databases().await {
        let store = database.open().await;
        let failed = directive(&store, "web", "staging", "1.0.0").await;
        let elsewhere = directive(&store, "web", "production", "1.0.0").await;
        assert!(store.follow_ups().await.unwrap().is_empty());
        let draft = store.open_follow_up(&agent(), &failed, &"dep_1".into(), "mend web", "dep_1: smoke").await.unwrap();
        let again = store.open_follow_up(&agent(), &failed, &"dep_1".into(), "mend web", "dep_1: smoke").await.unwrap();
        assert_eq!(again, draft, "one failure counts once");
        assert_eq!((draft.state, draft.follows.as_ref(), draft.depth), (DirectiveState::Draft, Some(&failed.id), 1));
        assert_eq!(store.directive(&draft.id).await.unwrap().unwrap(), draft);
        let deeper = store.open_follow_up(&agent(), &failed, &"dep_2".into(), "mend web", "dep_2: smoke again").await.unwrap();
        assert_eq!((&deeper.id, deeper.depth, deeper.description.as_str()), (&draft.id, 2, "dep_2: smoke again"));
        assert_eq!(store.follow_ups().await.unwrap().len(), 1, "one draft a place carries all of it");
        let standing: Vec<_> = store.standing(Timestamp(0)).await.unwrap().directives.into_iter().map(|one| (one.id, one.state)).collect();
        let active = |directive: &Directive| (directive.id.clone(), DirectiveState::Active);
        assert_eq!(standing, [(draft.id.clone(), DirectiveState::Draft), active(&elsewhere), active(&failed)], "{}", database.name);

        let mended = directive(&store, "web", "staging", "1.0.1").await;
        assert_eq!((&mended.id, mended.state, mended.depth), (&draft.id, DirectiveState::Active, 2), "{}", database.name);
        assert!(mended.description.contains("Mends dep_2: smoke again"));
        assert_eq!(store.directive(&mended.id).await.unwrap().unwrap(), mended);
        let again = store.open_follow_up(&agent(), &mended, &"dep_3".into(), "mend web", "dep_3: exits").await.unwrap();
        assert_eq!((again.depth, again.follows.as_ref()), (3, Some(&mended.id)));

        let good = directive(&store, "web", "staging", "1.0.2").await;
        let ended = store.close_follow_ups(&agent(), &good).await.unwrap();
        assert_eq!(ended.len(), 2, "{ended:?}: the first failure and the one that followed it");
        assert_eq!(store.close_follow_ups(&agent(), &good).await.unwrap(), []);
        assert_eq!(store.directive(&good.id).await.unwrap().unwrap().state, DirectiveState::Active);
        assert_eq!(store.directive(&elsewhere.id).await.unwrap().unwrap().state, DirectiveState::Active);
    }
}

#[tokio::test]
async fn releases_in_use_are_pinned() {
    for database in databases().await {
        let store = database.open().await;
        assert_eq!(store.release(&Sha256::of(b"nothing")).await.unwrap(), None);
        for version in ["1", "2", "3", "4"] {
            let (queued, _) = deployment(&store, "web", "staging", version).await;
            walk(&store, &queued, SUCCESS).await;
            let directive = &store.directives_of(&"web".into(), &"staging".into()).await.unwrap()[0];
            assert_eq!(store.release(&directive.digest).await.unwrap(), Some(release("web", version)));
            let open = [DirectiveState::Active];
            assert!(store.set_directive_state(&server(), &directive.id, &open, DirectiveState::Completed, None).await.unwrap());
        }
        let keep = |count| BTreeMap::from([(ServiceName::from("web"), count)]);
        let pinned = |count| {
            let (store, keep) = (store.clone(), keep(count));
            async move { store.pinned_digests(&keep).await.unwrap().into_iter().collect::<Vec<_>>() }
        };
        assert!(pinned(0).await.is_empty(), "{}", database.name);
        let mut last_two = vec![release("web", "3").digest, release("web", "4").digest];
        last_two.sort();
        assert_eq!(pinned(2).await, last_two);

        // What is open or on its way counts whatever `keep` says.
        directive(&store, "web", "staging", "5").await;
        assert_eq!(pinned(0).await, [release("web", "5").digest]);
    }
}

#[tokio::test]
async fn a_plan_is_kept_as_it_was_frozen() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        let plan = plan_of(&directive, 1);
        let expires = Timestamp(1_760_000_100_000);
        let (record, existing) = store.save_plan(&agent(), &plan, PlanState::AwaitingApproval, Some(expires)).await.unwrap();
        assert!(!existing);
        assert_eq!((&record.id, &record.plan, record.state), (&plan.id(), &plan, PlanState::AwaitingApproval));
        assert_eq!(
            (record.request_expires_at, record.approval_expires_at, &record.decided_by, &record.reason),
            (Some(expires), None, &None, &None)
        );
        assert_eq!(store.save_plan(&agent(), &plan, PlanState::Planned, None).await.unwrap(), (record.clone(), true));
        let (second, _) = store.save_plan(&agent(), &plan_of(&directive, 2), PlanState::Planned, None).await.unwrap();
        let ids: Vec<_> = store.plans_of(&directive.id).await.unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!(ids, [second.id.clone(), record.id.clone()]);
        assert_eq!(store.plans_in(PlanState::AwaitingApproval).await.unwrap(), std::slice::from_ref(&record));

        assert!(!store.move_plan(&server(), &record.id, &[PlanState::Approved], PlanState::Used, None).await.unwrap());
        assert!(!store.reopen_request(&server(), &record.id, expires).await.unwrap());
        assert!(
            store
                .move_plan(&server(), &record.id, &[PlanState::AwaitingApproval], PlanState::Expired, Some("nobody decided"))
                .await
                .unwrap()
        );
        assert_eq!(store.plan(&record.id).await.unwrap().unwrap().reason.as_deref(), Some("nobody decided"));
        assert!(store.reopen_request(&agent(), &record.id, expires.plus(Duration::from_secs(60))).await.unwrap());
        let reopened = store.plan(&record.id).await.unwrap().unwrap();
        assert_eq!((reopened.state, reopened.reason), (PlanState::AwaitingApproval, None));
        assert_eq!(store.plan(&"plan_none".into()).await.unwrap(), None);

        database.tamper("UPDATE plans SET body = REPLACE(body, 'staging', 'prod')").await;
        assert!(matches!(store.plan(&record.id).await, Err(StoreError::Altered(_))), "{}", database.name);
    }
}

#[tokio::test]
async fn an_order_without_a_build_keeps_what_was_claimed_and_leaves_a_draft_waiting() {
    for database in databases().await {
        let store = database.open().await;
        let failed = directive(&store, "web", "production", "1.0.0").await;
        assert!(!failed.nothing_built && failed.change.is_none());
        let draft = store.open_follow_up(&agent(), &failed, &"dep_1".into(), "mend web", "dep_1: smoke").await.unwrap();
        let said = NewDirective {
            change: Some(ChangeKind::Documentation),
            nothing_built: true,
            venture: Some("shop".into()),
            reaches_customers: true,
            ..order("production")
        };
        let (ordered, existing) = store.create_directive(&agent(), said, &release("web", "0.9.0")).await.unwrap();
        assert_eq!((existing, ordered.change, ordered.nothing_built), (false, Some(ChangeKind::Documentation), true), "{}", database.name);
        assert_eq!(store.directive(&ordered.id).await.unwrap().unwrap(), ordered);
        assert_eq!(store.follow_ups().await.unwrap(), std::slice::from_ref(&draft), "what brings nothing mends nothing");
        // What was built does take it over.
        let built = NewDirective { change: Some(ChangeKind::Code), ..order("production") };
        let (mended, _) = store.create_directive(&agent(), built, &release("web", "1.0.1")).await.unwrap();
        assert_eq!((&mended.id, mended.change, mended.nothing_built), (&draft.id, Some(ChangeKind::Code), false));
    }
}
