//! The phase files directives go by, and the directives whose phase left nothing to do.

use crate::world::*;

#[tokio::test]
async fn a_phase_is_kept_once_under_its_hash() {
    for database in databases().await {
        let store = database.open().await;
        let (one, other) = (Sha256::of(b"one"), Sha256::of(b"other"));
        store.keep_phase(&agent(), "own", &one, "one").await.unwrap();
        let before = store.sequence().await.unwrap();
        store.keep_phase(&agent(), "own", &one, "one").await.unwrap();
        assert_eq!(store.sequence().await.unwrap(), before, "{}: nothing changed, nothing recorded", database.name);
        store.keep_phase(&agent(), "own", &other, "other").await.unwrap();
        assert_eq!(store.phase_text(&one).await.unwrap().as_deref(), Some("one"));
        assert_eq!(store.phase_text(&other).await.unwrap().as_deref(), Some("other"));
        assert_eq!(store.phase_text(&Sha256::of(b"none")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_open_directive_is_skipped_once_and_says_why() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        assert_eq!(store.phase_skip(&directive.id).await.unwrap(), None);
        assert!(store.skip_phase(&agent(), &directive.id, "already_deployed", "dep_1 serves these bytes").await.unwrap());
        let skip = store.phase_skip(&directive.id).await.unwrap().unwrap();
        assert_eq!((skip.fact.as_str(), skip.reason.as_str(), skip.by.as_str()), ("already_deployed", "dep_1 serves these bytes", "agent"));
        assert_eq!(store.directive(&directive.id).await.unwrap().unwrap().state, DirectiveState::Completed, "{}", database.name);
        let before = store.sequence().await.unwrap();
        assert!(!store.skip_phase(&agent(), &directive.id, "already_deployed", "again").await.unwrap());
        assert_eq!(store.sequence().await.unwrap(), before);
        assert_eq!(store.phase_skip(&directive.id).await.unwrap(), Some(skip));
    }
}

#[tokio::test]
async fn what_is_being_deployed_is_not_skipped() {
    for database in databases().await {
        let store = database.open().await;
        // Whoever looked whether there is anything to do may have looked before the deployment was claimed.
        let (deployment, _) = deployment(&store, "web", "staging", "1").await;
        let directive = store.directive(&deployment.directive).await.unwrap().unwrap();
        assert!(directive.state.is_open());
        assert!(!store.skip_phase(&agent(), &directive.id, "already_deployed", "dep_0 serves these bytes").await.unwrap());
        assert_eq!(store.phase_skip(&directive.id).await.unwrap(), None, "{}", database.name);
        assert_eq!(store.directive(&directive.id).await.unwrap().unwrap(), directive);
    }
}
