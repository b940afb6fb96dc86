//! What stands, by one reading each: a directive with what counts for it, the configuration, and what there is in places.

use crate::{
    decisions::{signed, with_ada},
    world::*,
};
use interlock::model::DecisionVerdict::Approve;

const NOW: Timestamp = Timestamp(1_760_000_000_000);

#[tokio::test]
async fn what_hangs_on_a_directive_is_counted_beside_what_counts_for_it() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let (deployed, _) = deployment(&store, "web", "production", "1").await;
        let directive = directive(&store, "web", "staging", "1").await;
        let of = async |id: &DirectiveId, now| store.survey(id, "checks", now).await.unwrap().unwrap();
        let nothing = Survey {
            directive: directive.clone(),
            revisions: Revisions::default(),
            jobs: 0,
            plans: 0,
            artifacts: 0,
            runbooks: 0,
            facts: 0,
            freezes: 0,
        };
        assert_eq!(of(&directive.id, NOW).await, nothing, "{}", database.name);
        assert_eq!(of(&deployed.directive, NOW).await.plans, 1, "each has its own");
        assert_eq!(store.survey(&"SD-DEPLOY-999".into(), "checks", NOW).await.unwrap(), None);

        for text in ["one", "two"] {
            store.add_revision(&agent(), text, &Sha256::of(text.as_bytes())).await.unwrap();
        }
        store.set_in_force(&server(), 1, &["staging".into()]).await.unwrap();
        store.set_pending(&server(), 2, &["staging".into()]).await.unwrap();
        let job = store.start_job(&agent(), &directive.id, "checks", &Value::Null).await.unwrap().0;
        store.start_job(&agent(), &directive.id, "other", &Value::Null).await.unwrap();
        plan(&store, &directive).await;
        plan(&store, &directive).await;
        let (name, sha256) = ("status".to_owned(), Sha256::of(b"status"));
        let artifact = NewArtifact { directive: directive.id.clone(), path: name.clone(), name, sha256, size_bytes: 6 };
        store.add_artifact(&server(), &artifact).await.unwrap();
        let runbook = NewRunbookVersion {
            runbook: "rb_staging_web".into(),
            service: "web".into(),
            environment: "staging".into(),
            directive: directive.id.clone(),
            deployment: None,
            text: "# one".into(),
            lint: json!([]),
            state: RunbookState::Draft,
        };
        store.save_runbook_version(&agent(), &runbook).await.unwrap();
        let decision = signed(&store, DecisionKind::SignOff, &Sha256::of(b"uat"), Approve, "n1").await;
        let effect = DecisionEffect::SignOff { directive: directive.id.clone(), fact: "uat".into(), digest: directive.digest.clone() };
        store.record_decision(&server(), &decision, effect).await.unwrap();
        let holidays = NewFreeze { reason: "holidays".into(), ends_at: Some(NOW.plus(Duration::from_secs(9))), ..Default::default() };
        store.add_freeze(&server(), holidays).await.unwrap();

        let revisions = Revisions { in_force: Some(1), pending: Some(2) };
        let counted = Survey { revisions, jobs: 1, plans: 2, artifacts: 1, runbooks: 1, facts: 1, freezes: 1, ..nothing };
        assert_eq!(of(&directive.id, NOW).await, counted, "{}", database.name);
        assert_eq!(store.revisions_in(&"staging".into()).await.unwrap(), revisions);
        store.finish_job(&server(), &job.id, JobState::Done, &Value::Null).await.unwrap();
        let later = NOW.plus(Duration::from_secs(9));
        assert_eq!(of(&directive.id, later).await, Survey { jobs: 0, freezes: 0, ..counted }, "what has ended is not counted");
        assert_eq!(of(&deployed.directive, NOW).await.revisions, Revisions::default(), "nothing counts there yet");
    }
}

#[tokio::test]
async fn the_newest_revision_stands_beside_what_is_in_force_anywhere() {
    for database in databases().await {
        let store = database.open().await;
        assert_eq!(store.configuration().await.unwrap(), None);
        for text in ["one", "two"] {
            store.add_revision(&agent(), text, &Sha256::of(text.as_bytes())).await.unwrap();
        }
        let nowhere = Configuration { newest: 2, environments: Default::default() };
        assert_eq!(store.configuration().await.unwrap(), Some(nowhere), "{}", database.name);
        store.set_in_force(&server(), 1, &["staging".into()]).await.unwrap();
        store.set_pending(&server(), 2, &["production".into()]).await.unwrap();
        store.add_freeze(&server(), NewFreeze { reason: "audit".into(), ..Default::default() }).await.unwrap();
        let environments = [("production".into(), None), ("staging".into(), Some(1))].into();
        let configuration = Some(Configuration { newest: 2, environments });
        assert_eq!(store.configuration().await.unwrap(), configuration);
        assert_eq!(store.standing(NOW).await.unwrap(), Standing { configuration, freezes: 1, ..Standing::default() });
    }
}

#[tokio::test]
async fn what_is_ordered_under_way_and_serves_is_told_apart() {
    for database in databases().await {
        let store = database.open().await;
        assert_eq!(store.standing(NOW).await.unwrap(), Standing::default());
        let (first, lease) = deployment(&store, "web", "staging", "1").await;
        let first = walk(&store, &first, SUCCESS).await;
        let set = ServingSet {
            service: first.service.clone(),
            environment: first.environment.clone(),
            deployment: first.id.clone(),
            version: first.version.clone(),
            digest: first.digest.clone(),
            commit: None,
            instances: Vec::new(),
            specs: Value::Null,
            verified_at: NOW,
            base: None,
        };
        assert!(store.set_serving(&server(), lease.epoch, &set).await.unwrap());
        let (second, _) = deployment(&store, "web", "staging", "2").await;
        let (third, _) = deployment(&store, "api", "production", "3").await;
        let stuck = walk(&store, &third, &[Event::Started, Event::Undo, Event::Lost]).await;
        let failed = store.directive(&first.directive).await.unwrap().unwrap();
        let open = directive(&store, "api", "staging", "4").await;
        let draft = store.open_follow_up(&agent(), &open, &"dep_9".into(), "mend api", "dep_9: smoke").await.unwrap();
        store.set_directive_state(&agent(), &failed.id, &[failed.state], DirectiveState::Cancelled, None).await.unwrap();

        let Standing { directives, under_way, serving, .. } = store.standing(NOW).await.unwrap();
        let of = |deployment: &Deployment| {
            (deployment.id.clone(), deployment.environment.0.clone(), deployment.version.clone(), deployment.state)
        };
        let seen = |found: Vec<InPlace<DeploymentId, DeploymentState>>| {
            found.into_iter().map(|one| (one.id, one.environment.0, one.version, one.state)).collect::<Vec<_>>()
        };
        assert_eq!((seen(under_way), seen(serving)), (vec![of(&stuck), of(&second)], vec![of(&first)]), "{}", database.name);
        let directives: Vec<_> = directives.into_iter().map(|one| (one.id, one.service.0, one.state)).collect();
        let active = |id: &DirectiveId, service: &str| (id.clone(), service.to_owned(), DirectiveState::Active);
        let draft = (draft.id, "api".to_owned(), DirectiveState::Draft);
        let expected = [draft, active(&open.id, "api"), active(&stuck.directive, "api"), active(&second.directive, "web")];
        assert_eq!(directives, expected, "the newest first, and what is over not at all");
    }
}
