//! Approvers, decisions with what they bring about, runbooks, configuration revisions.

use crate::world::*;
use ed25519_dalek::SigningKey;
use interlock::model::{
    decision::{ApproverKey, Enrolment, PublicKey, Signature},
    passkey::{Assertion, Passkey, base64url},
};

pub fn key(seed: u8) -> PublicKey {
    PublicKey::of(&SigningKey::from_bytes(&[seed; 32]))
}

fn new(name: &str, role: &str, seed: u8) -> Enrolment {
    Enrolment { name: name.into(), role: role.into(), public_key: key(seed).into(), further: false }
}

/// A passkey with this number, whose signatures nobody checks here.
fn passkey(name: &str, number: u8, sign_count: u32, further: bool) -> Enrolment {
    let (credential_id, public_key) = (base64url(&[number]), PublicKey(format!("{number:02x}")));
    let passkey = Passkey { credential_id, public_key, rp_id: "localhost".into(), sign_count };
    Enrolment { name: name.into(), role: "chairman".into(), public_key: ApproverKey::Passkey(passkey), further }
}

/// What the passkey with this number says at this count.
fn assertion(number: u8, count: u32) -> Assertion {
    let data = [&[0; 32][..], &[5], &count.to_be_bytes()].concat();
    Assertion {
        credential_id: base64url(&[number]),
        authenticator_data: base64url(&data),
        client_data_json: String::new(),
        signature: String::new(),
    }
}

pub async fn signed(store: &Store, kind: DecisionKind, subject: &Sha256, verdict: DecisionVerdict, nonce: &str) -> SignedDecision {
    let decision = Decision {
        kind,
        subject_sha256: subject.clone(),
        environment: (kind == DecisionKind::Plan).then(|| "production".into()),
        nonce: nonce.into(),
        expires_at: Timestamp(1_760_000_600_000),
        verdict,
        reason: (verdict == DecisionVerdict::Reject).then(|| "not today".into()),
        approver: "ada".into(),
        audit_head: store.audit_head().await.unwrap().1,
        origin: None,
    };
    SignedDecision::sign(decision, &SigningKey::from_bytes(&[1; 32]))
}

pub async fn with_ada(database: &crate::support::databases::TestDatabase) -> Store {
    let store = database.open().await;
    store.add_approver(&server(), &new("ada", "chairman", 1), None).await.unwrap();
    store
}

use DecisionVerdict::{Approve, Reject};

#[tokio::test]
async fn only_the_first_approver_enrols_without_a_decision() {
    for database in databases().await {
        let store = database.open().await;
        assert_eq!(store.approvers().await.unwrap(), []);
        store.add_approver(&server(), &new("ada", "chairman", 1), None).await.unwrap();
        let again = store.add_approver(&server(), &new("eve", "chairman", 2), None).await;
        assert!(matches!(again, Err(RecordDecisionError::WrongState(_))), "{}", database.name);
        let subject = Sha256::of(b"bob chairman key");
        let decision = signed(&store, DecisionKind::Approver, &subject, Approve, "n1").await;
        store.add_approver(&server(), &new("bob", "reviewer", 2), Some(&decision)).await.unwrap();
        // Neither a name nor a key counts twice, and the refused decision is not recorded.
        for (number, (name, seed)) in [("bob", 3), ("carl", 2)].into_iter().enumerate() {
            let decision = signed(&store, DecisionKind::Approver, &subject, Approve, &format!("m{number}")).await;
            let taken = store.add_approver(&server(), &new(name, "reviewer", seed), Some(&decision)).await;
            assert!(matches!(taken, Err(RecordDecisionError::WrongState(_))), "{name}");
        }
        assert_eq!(store.decisions_over(&subject).await.unwrap(), [decision]);
        let approvers = store.approvers().await.unwrap();
        assert_eq!(
            approvers.iter().map(|one| (one.name.as_str(), one.enrolled_by.as_deref())).collect::<Vec<_>>(),
            [("ada", None), ("bob", Some("n1"))]
        );
        let bob = store.approver(&"bob".into()).await.unwrap().unwrap();
        let held: Vec<_> = bob.keys.iter().map(|held| (&held.key, held.enrolled_by.as_deref(), held.cloned_at)).collect();
        assert_eq!((bob.role.as_str(), held), ("reviewer", vec![(&key(2).into(), Some("n1"), None)]));
        assert_eq!(store.approver(&"eve".into()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_decision_moves_exactly_the_plan_it_names_and_once() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let directive = directive(&store, "web", "production", "1").await;
        let plan = plan_of(&directive, 1);
        store.save_plan(&agent(), &plan, PlanState::AwaitingApproval, None).await.unwrap();
        let expires = Timestamp(1_760_000_060_000);
        let approve = DecisionEffect::ApprovePlan { plan: plan.id(), approval_expires_at: expires };
        let before = store.audit_head().await.unwrap();

        // Signed over another document, or over no plan: nothing happens, and the nonce is free still.
        let foreign = signed(&store, DecisionKind::Plan, &Sha256::of(b"another plan"), Approve, "n1").await;
        let refused = store.record_decision(&server(), &foreign, approve.clone()).await;
        assert!(matches!(refused, Err(RecordDecisionError::WrongState(_))), "{}", database.name);
        assert_eq!(store.audit_head().await.unwrap(), before);
        assert_eq!(store.plan(&plan.id()).await.unwrap().unwrap().state, PlanState::AwaitingApproval);

        let decision = signed(&store, DecisionKind::Plan, &plan.sha256(), Approve, "n1").await;
        store.record_decision(&server(), &decision, approve.clone()).await.unwrap();
        let approved = store.plan(&plan.id()).await.unwrap().unwrap();
        assert_eq!(
            (approved.state, approved.approval_expires_at, approved.decided_by.as_deref()),
            (PlanState::Approved, Some(expires), Some("ada"))
        );
        assert_eq!(store.decisions_over(&plan.sha256()).await.unwrap(), std::slice::from_ref(&decision));
        assert_eq!(store.decisions_after(0, 2).await.unwrap(), [(1, decision.clone())]);
        assert_eq!(store.decisions_after(1, 2).await.unwrap(), []);
        assert!(matches!(store.record_decision(&server(), &decision, approve).await, Err(RecordDecisionError::NonceUsed)));

        // An approval that has run out starts nothing; one that has not can be taken back.
        database.clock.advance(Duration::from_secs(61));
        assert_eq!(store.claim_deployment(&agent(), &plan.id(), "server").await.unwrap(), Claim::PlanNotReady(PlanState::Expired));
        let decision = signed(&store, DecisionKind::Plan, &plan.sha256(), Reject, "n2").await;
        let reject = DecisionEffect::RejectPlan { plan: plan.id(), reason: "not today".into() };
        store.record_decision(&server(), &decision, reject).await.unwrap();
        let rejected = store.plan(&plan.id()).await.unwrap().unwrap();
        assert_eq!((rejected.state, rejected.reason.as_deref()), (PlanState::Rejected, Some("not today")));
        // Approving after all reopens it, and the old reason is gone.
        let decision = signed(&store, DecisionKind::Plan, &plan.sha256(), Approve, "n3").await;
        let approve = DecisionEffect::ApprovePlan { plan: plan.id(), approval_expires_at: expires };
        store.record_decision(&server(), &decision, approve).await.unwrap();
        let reopened = store.plan(&plan.id()).await.unwrap().unwrap();
        assert_eq!((reopened.state, reopened.reason), (PlanState::Approved, None), "{}", database.name);
        assert_eq!(store.decisions_over(&Sha256::of(b"nothing")).await.unwrap(), []);
        assert_eq!(store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn an_approved_plan_is_claimed() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let directive = directive(&store, "web", "production", "1").await;
        let plan = plan_of(&directive, 1);
        store.save_plan(&agent(), &plan, PlanState::AwaitingApproval, None).await.unwrap();
        let decision = signed(&store, DecisionKind::Plan, &plan.sha256(), Approve, "n1").await;
        let effect = DecisionEffect::ApprovePlan { plan: plan.id(), approval_expires_at: Timestamp(1_760_000_060_000) };
        store.record_decision(&server(), &decision, effect).await.unwrap();
        let (deployment, _) = claim(&store, &plan.id()).await;
        assert_eq!(deployment.plan, plan.id(), "{}", database.name);
    }
}

#[tokio::test]
async fn signed_heads_anchor_the_chain() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let directive = directive(&store, "web", "production", "1").await;
        let decision = signed(&store, DecisionKind::SignOff, &Sha256::of(b"uat"), Approve, "n1").await;
        let effect = DecisionEffect::SignOff { directive: directive.id.clone(), fact: "uat".into(), digest: directive.digest.clone() };
        assert_eq!(store.sign_offs(&directive.id).await.unwrap(), []);
        store.record_decision(&server(), &decision, effect).await.unwrap();
        let sign_offs = store.sign_offs(&directive.id).await.unwrap();
        assert_eq!((sign_offs[0].fact.as_str(), &sign_offs[0].digest, sign_offs[0].approver.as_str()), ("uat", &directive.digest, "ada"));
        let nowhere = DecisionEffect::SignOff { directive: "SD-DEPLOY-999".into(), fact: "uat".into(), digest: directive.digest };
        let decision = signed(&store, DecisionKind::SignOff, &Sha256::of(b"uat"), Approve, "n2").await;
        assert!(matches!(store.record_decision(&server(), &decision, nowhere).await, Err(RecordDecisionError::WrongState(_))));
        assert_eq!(store.audit_verify().await.unwrap().broken, None);

        // The end of the chain is cut off cleanly, the entry whose hash was signed with it: the chain is whole, and yet not.
        database
            .tamper(
                "DELETE FROM audit_log WHERE seq >= 2; UPDATE audit_head SET seq = 1, hash = (SELECT hash FROM audit_log WHERE seq = 1)",
            )
            .await;
        let broken = store.audit_verify().await.unwrap().broken.unwrap();
        assert!(broken.why.contains("a decision has signed the head"), "{}: {broken:?}", database.name);
    }
}

#[tokio::test]
async fn a_runbook_is_published_as_it_was_read() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let directive = directive(&store, "web", "production", "1").await.id;
        let id: RunbookId = "rb_production_web".into();
        let version = |text: &str, state, deployment: Option<DeploymentId>| NewRunbookVersion {
            runbook: id.clone(),
            service: "web".into(),
            environment: "production".into(),
            directive: directive.clone(),
            deployment,
            text: text.into(),
            lint: json!([{ "rule": "RB001" }]),
            state,
        };
        use RunbookState::*;
        assert_eq!(store.runbook(&id).await.unwrap(), None);
        assert_eq!(store.save_runbook_version(&agent(), &version("# one", Draft, None)).await.unwrap(), 1);
        assert_eq!(
            store.save_runbook_version(&agent(), &version("# one", Draft, None)).await.unwrap(),
            1,
            "{}: the same text",
            database.name
        );
        assert!(!store.set_runbook_state(&server(), &id, 1, &[InReview], Draft).await.unwrap());
        assert!(store.set_runbook_state(&server(), &id, 1, &[Draft], InReview).await.unwrap());
        assert_eq!(store.save_runbook_version(&agent(), &version("# two", InReview, Some("dep_1".into()))).await.unwrap(), 2);
        let states = |store: Store, id: RunbookId| async move {
            store.runbook_versions(&id, i64::MAX, 20).await.unwrap().into_iter().map(|one| (one.version, one.state)).collect::<Vec<_>>()
        };
        assert_eq!(states(store.clone(), id.clone()).await, [(2, InReview), (1, Superseded)]);

        let review = |verdict, text: &'static str, nonce: &'static str, version| {
            let (store, id) = (store.clone(), id.clone());
            async move {
                let decision = signed(&store, DecisionKind::Runbook, &Sha256::of(text.as_bytes()), verdict, nonce).await;
                let effect = match verdict {
                    Approve => DecisionEffect::PublishRunbook { runbook: id, version },
                    Reject => DecisionEffect::ReturnRunbook { runbook: id, version, reason: "no owner".into() },
                };
                store.record_decision(&server(), &decision, effect).await
            }
        };
        assert!(matches!(review(Approve, "# another", "n0", 2).await, Err(RecordDecisionError::WrongState(_))), "signed over another text");
        review(Reject, "# two", "n1", 2).await.unwrap();
        assert!(matches!(review(Approve, "# two", "n2", 2).await, Err(RecordDecisionError::WrongState(_))));
        store.save_runbook_version(&agent(), &version("# three", InReview, None)).await.unwrap();
        review(Approve, "# three", "n3", 3).await.unwrap();
        assert_eq!(states(store.clone(), id.clone()).await, [(3, Published), (2, Returned), (1, Superseded)]);
        let head = store.runbook(&id).await.unwrap().unwrap();
        assert_eq!((head.latest_version, head.published_version, head.service.as_str()), (3, Some(3), "web"));
        let reviews = store.runbook_reviews(&id, 20).await.unwrap();
        assert_eq!(
            reviews.iter().map(|one| (one.version, one.verdict, one.reason.as_deref())).collect::<Vec<_>>(),
            [(2, Reject, Some("no owner")), (3, Approve, None)]
        );
        assert_eq!(store.runbook_reviews(&id, 1).await.unwrap(), reviews[1..], "the last one");
        let numbers = |versions: Vec<RunbookVersion>| versions.into_iter().map(|one| one.version).collect::<Vec<_>>();
        assert_eq!(numbers(store.runbook_versions(&id, 2, 1).await.unwrap()), [2], "up to the second, one of them");
        assert_eq!(numbers(store.runbook_version(&id, 2).await.unwrap().into_iter().collect()), [2]);
        assert_eq!((store.runbook_version(&id, 0).await.unwrap(), store.runbook_version(&id, 4).await.unwrap()), (None, None));
        assert_eq!(store.newest_runbook_version(&"rb_none_web".into()).await.unwrap(), None);
        let newest = store.newest_runbook_version(&id).await.unwrap().unwrap();
        assert_eq!(numbers(store.runbook_versions_for(&newest.directive).await.unwrap()), [3, 2, 1]);
        assert_eq!(store.runbook_versions_for(&"SD-DEPLOY-999".into()).await.unwrap(), []);
        assert_eq!((newest.text.as_str(), &newest.deployment, &newest.lint[0]["rule"]), ("# three", &None, &json!("RB001")));
    }
}

#[tokio::test]
async fn a_comment_is_on_the_newest_version_and_moves_nothing() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let directive = directive(&store, "web", "production", "1").await.id;
        let id: RunbookId = "rb_production_web".into();
        let version = |text: &str| NewRunbookVersion {
            runbook: id.clone(),
            service: "web".into(),
            environment: "production".into(),
            directive: directive.clone(),
            deployment: None,
            text: text.into(),
            lint: json!([]),
            state: RunbookState::InReview,
        };
        let comment =
            |version, text: &str| NewRunbookComment { runbook: id.clone(), version, line: 1, quote: "# one".into(), text: text.into() };
        let ada = Caller::on_page(&"ada".into());
        let add = async |new: NewRunbookComment| store.add_runbook_comment(&ada, &new).await.unwrap();
        assert_eq!(add(comment(1, "of nothing")).await, None, "{}: there is no runbook", database.name);
        store.save_runbook_version(&agent(), &version("# one")).await.unwrap();
        assert_eq!((add(comment(1, "why?")).await, add(comment(2, "too early")).await), (Some(1), None));
        store.save_runbook_version(&agent(), &version("# two")).await.unwrap();
        assert_eq!((add(comment(1, "too late")).await, add(comment(2, "'); DROP TABLE x; --")).await), (None, Some(2)));
        let said = store.runbook_comments(&id).await.unwrap();
        let short: Vec<_> = said.iter().map(|one| (one.number, one.version, one.text.as_str(), one.author.as_str())).collect();
        assert_eq!(short, [(1, 1, "why?", "ada"), (2, 2, "'); DROP TABLE x; --", "ada")]);
        for at in 1..MOST_COMMENTS {
            assert_eq!(add(comment(2, "more")).await, Some(2 + at));
        }
        assert_eq!(add(comment(2, "too much")).await, None);
        let states: Vec<_> = store.runbook_versions(&id, i64::MAX, 20).await.unwrap().into_iter().map(|one| one.state).collect();
        assert_eq!(states, [RunbookState::InReview, RunbookState::Superseded], "nothing was published or returned");
        assert_eq!(store.runbook_reviews(&id, 20).await.unwrap(), []);
        assert!(store.audit_verify().await.unwrap().broken.is_none());
    }
}

#[tokio::test]
async fn a_revision_is_in_force_where_it_was_put() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let (staging, production): (EnvironmentName, EnvironmentName) = ("staging".into(), "production".into());
        assert_eq!(store.latest_revision().await.unwrap(), None);
        let add = |text: &'static str| {
            let store = store.clone();
            async move { store.add_revision(&agent(), text, &Sha256::of(text.as_bytes())).await.unwrap() }
        };
        assert_eq!((add("one").await, add("one").await, add("two").await, add("one").await), (1, 1, 2, 3), "{}", database.name);
        assert_eq!(store.latest_revision().await.unwrap().unwrap().revision, 3);
        assert_eq!(store.revision(2).await.unwrap().unwrap().text, "two");
        assert_eq!(store.revision(9).await.unwrap(), None);

        let counts = async |environment: &EnvironmentName| {
            let revisions = store.revisions_in(environment).await.unwrap();
            (revisions.in_force, revisions.pending)
        };
        assert_eq!(counts(&staging).await, (None, None));
        store.set_in_force(&server(), 1, std::slice::from_ref(&staging)).await.unwrap();
        store.set_pending(&server(), 1, std::slice::from_ref(&production)).await.unwrap();
        assert_eq!(counts(&staging).await, (Some(1), None));
        assert_eq!(counts(&production).await, (None, Some(1)));
        assert_eq!(store.configured_environments().await.unwrap(), [(production.clone(), None), (staging, Some(1))].into());

        store.set_pending(&server(), 2, std::slice::from_ref(&production)).await.unwrap();
        let effect = |revision| DecisionEffect::ApplyConfiguration { revision, environments: vec![production.clone()] };
        let decision = signed(&store, DecisionKind::Configuration, &Sha256::of(b"two"), Approve, "n1").await;
        let foreign = store.record_decision(&server(), &decision, effect(1)).await;
        assert!(matches!(foreign, Err(RecordDecisionError::WrongState(_))), "signed over another revision");
        store.record_decision(&server(), &decision, effect(2)).await.unwrap();
        assert_eq!(counts(&production).await, (Some(2), None));
        store.set_pending(&server(), 3, std::slice::from_ref(&production)).await.unwrap();
        store.set_in_force(&server(), 2, std::slice::from_ref(&production)).await.unwrap();
        assert_eq!(counts(&production).await, (Some(2), Some(3)), "a newer one goes on waiting");
        assert!(store.set_in_force(&server(), 99, &[production]).await.is_err(), "no such revision");
    }
}

#[tokio::test]
async fn a_passkeys_counter_only_goes_on_and_one_that_was_cloned_counts_no_longer() {
    for database in databases().await {
        let store = with_ada(&database).await;
        let mut nonce = 0;
        let mut enrols = async |new: &Enrolment| {
            nonce += 1;
            let decision = signed(&store, DecisionKind::Approver, &Sha256::of(b"key"), Approve, &format!("e{nonce}")).await;
            store.add_approver(&server(), new, Some(&decision)).await
        };
        // A further key is of somebody who is there, in that role, and counts once, by whichever of its names.
        for nobody in [passkey("bob", 1, 0, true), Enrolment { role: "intern".into(), ..passkey("ada", 1, 0, true) }] {
            assert!(matches!(enrols(&nobody).await, Err(RecordDecisionError::WrongState(_))), "{}", database.name);
        }
        enrols(&passkey("ada", 1, 7, true)).await.unwrap();
        enrols(&passkey("ada", 2, 0, true)).await.unwrap();
        let Enrolment { public_key: ApproverKey::Passkey(known), .. } = passkey("ada", 1, 7, true) else { unreachable!() };
        for taken in [Passkey { credential_id: base64url(&[9]), ..known.clone() }, Passkey { public_key: PublicKey("09".into()), ..known }]
        {
            let taken = Enrolment { public_key: ApproverKey::Passkey(taken), ..new("ada", "chairman", 9) };
            assert!(matches!(enrols(&Enrolment { further: true, ..taken }).await, Err(RecordDecisionError::WrongState(_))));
        }
        let keys = store.approver(&"ada".into()).await.unwrap().unwrap().keys;
        assert_eq!(keys.iter().map(|held| held.key.kind()).collect::<Vec<_>>(), ["ed25519", "passkey", "passkey"]);

        let directive = directive(&store, "web", "production", "1").await;
        let effect = DecisionEffect::SignOff { directive: directive.id.clone(), fact: "uat".into(), digest: directive.digest.clone() };
        let decides = async |nonce: &str, assertion: Assertion| {
            let decision = signed(&store, DecisionKind::SignOff, &Sha256::of(b"uat"), Approve, nonce).await.decision;
            let signed = SignedDecision { decision, signature: Signature::Passkey(assertion) };
            store.record_decision(&server(), &signed, effect.clone()).await
        };
        decides("n1", assertion(1, 8)).await.unwrap();
        assert!(matches!(decides("n1", assertion(1, 3)).await, Err(RecordDecisionError::NonceUsed)), "a replay says nothing of the key");
        for (nonce, count) in [("n2", 8), ("n3", 7), ("n4", 0)] {
            assert!(matches!(decides(nonce, assertion(1, count)).await, Err(RecordDecisionError::Cloned)), "{count}");
        }
        decides("n2", assertion(1, 9)).await.expect("what was refused has not used its nonce");
        // Whoever signs in counts on, too.
        let (owner, held, cloned_at) = store.passkey(&base64url(&[1])).await.unwrap().unwrap();
        assert_eq!((owner.name.as_str(), held.sign_count, cloned_at), ("ada", 7, None));
        assert!(store.use_passkey(&server(), &owner.name, &assertion(1, 10)).await.unwrap());
        assert!(!store.use_passkey(&server(), &owner.name, &assertion(1, 10)).await.unwrap());
        assert_eq!(store.passkey(&base64url(&[3])).await.unwrap(), None, "nobody's");
        // One that counts nothing says 0 each time, and none that ever counted may.
        decides("n5", assertion(2, 0)).await.unwrap();
        decides("n6", assertion(2, 0)).await.unwrap();
        decides("n7", assertion(2, 1)).await.unwrap();
        assert!(matches!(decides("n8", assertion(2, 0)).await, Err(RecordDecisionError::Cloned)));
        assert!(matches!(decides("n9", assertion(3, 1)).await, Err(RecordDecisionError::Cloned)), "nobody's");

        let at = database.clock.now();
        assert!(store.note_cloned(&server(), &assertion(2, 0)).await.unwrap());
        assert!(!store.note_cloned(&server(), &assertion(2, 0)).await.unwrap(), "it is known");
        let (_, _, cloned_at) = store.passkey(&base64url(&[2])).await.unwrap().unwrap();
        assert!(cloned_at.is_some());
        assert_eq!((store.clones_of(&"ada".into()).await.unwrap(), store.clones_of(&"bob".into()).await.unwrap()), (1, 0));
        store.note_refused_sign_in(&server(), &"ada".into(), &assertion(2, 100)).await.unwrap();
        assert!(!store.note_cloned(&server(), &assertion(3, 0)).await.unwrap(), "it is nobody's");
        assert!(matches!(decides("n8", assertion(2, 5)).await, Err(RecordDecisionError::Cloned)));
        let keys = store.approvers().await.unwrap().remove(0).keys;
        assert_eq!(keys.iter().map(|held| held.cloned_at).collect::<Vec<_>>(), [None, None, Some(at)]);
        store.note_refused_decision(&server(), &"ada".into(), json!({ "why": "another origin" })).await.unwrap();
        let last = store.audit_entries(store.sequence().await.unwrap() - 1, 1).await.unwrap().remove(0);
        assert_eq!(
            (last.action.as_str(), last.subject.as_str(), &last.detail["why"]),
            ("refuse_decision", "ada", &json!("another origin"))
        );
        assert_eq!(store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn a_link_is_used_once_and_what_it_made_waits_unless_it_is_the_first() {
    for database in databases().await {
        let store = database.open().await;
        let link = |name: &str| EnrolmentLink {
            token_sha256: Sha256::of(name.as_bytes()),
            name: name.into(),
            role: "chairman".into(),
            expires_at: database.clock.now().plus(Duration::from_secs(600)),
            used_at: None,
        };
        for name in ["ada", "bob"] {
            store.add_enrolment_link(&server(), &link(name)).await.unwrap();
            assert_eq!(store.enrolment_link(&link(name).token_sha256).await.unwrap(), Some(link(name)));
        }
        assert_eq!(store.enrolment_link(&Sha256::of(b"nobody")).await.unwrap(), None);
        let uses = async |name: &str, new: &Enrolment| store.use_enrolment_link(&server(), &link(name).token_sha256, new).await.unwrap();
        assert_eq!(uses("nobody", &passkey("ada", 1, 0, false)).await, LinkUse::Spent);
        assert_eq!(store.approvers().await.unwrap(), []);
        assert_eq!(uses("ada", &passkey("ada", 1, 0, false)).await, LinkUse::Enrolled);
        assert_eq!(uses("ada", &passkey("ada", 2, 0, false)).await, LinkUse::Spent);
        let now = database.clock.now();
        assert_eq!(store.waiting_enrolments(now).await.unwrap(), []);
        let bob = passkey("bob", 3, 5, false);
        assert_eq!(uses("bob", &bob).await, LinkUse::Waits);
        assert_eq!(store.waiting_enrolments(now).await.unwrap(), std::slice::from_ref(&bob), "{}", database.name);
        assert_eq!(store.waiting_enrolments(now.plus(Duration::from_millis(1))).await.unwrap(), [], "not for ever");
        assert_eq!(store.enrolment_link(&link("bob").token_sha256).await.unwrap().unwrap().used_at, Some(now));
        assert_eq!(store.approvers().await.unwrap().len(), 1);
        let decision = signed(&store, DecisionKind::Approver, &Sha256::of(b"bob"), Approve, "n1").await;
        store.add_approver(&server(), &bob, Some(&decision)).await.unwrap();
        assert_eq!(store.waiting_enrolments(now).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_plan_waits_until_as_many_have_approved_as_it_needs() {
    for database in databases().await {
        let store = with_ada(&database).await;
        for (number, name) in ["bob", "cleo"].into_iter().enumerate() {
            let decision = signed(&store, DecisionKind::Approver, &Sha256::of(b"new"), Approve, &format!("e{number}")).await;
            store.add_approver(&server(), &new(name, "chairman", 2 + number as u8), Some(&decision)).await.unwrap();
        }
        let directive = directive(&store, "web", "production", "1").await;
        let required = plan::RequiredApproval { role: "chairman".into(), expires_ms: 60_000, signatures: 2, four_eyes: false };
        let (mut nonce, until) = (0, Timestamp(1_760_000_060_000));
        let mut by = async |name: &str, kind, plan: &Plan, verdict| {
            nonce += 1;
            let mut signed = signed(&store, kind, &plan.sha256(), verdict, &format!("n{nonce}")).await;
            signed.decision.approver = name.into();
            let effect = match (kind, verdict) {
                (DecisionKind::Rollback, _) => DecisionEffect::GoBack { plan: Box::new(plan.clone()), approval_expires_at: until },
                (_, Approve) => DecisionEffect::ApprovePlan { plan: plan.id(), approval_expires_at: until },
                (_, Reject) => DecisionEffect::RejectPlan { plan: plan.id(), reason: "no".into() },
            };
            store.record_decision(&server(), &signed, effect).await.unwrap();
            let record = store.plan(&plan.id()).await.unwrap().unwrap();
            let approvals = store.approvals(&record, kind).await.unwrap();
            let given: Vec<String> = approvals.given.iter().map(ToString::to_string).collect();
            (record.state, record.approval_expires_at, given.join(" "), approvals.needed)
        };
        let plan = Plan { approval: Some(required.clone()), ..plan_of(&directive, 1) };
        store.save_plan(&agent(), &plan, PlanState::AwaitingApproval, None).await.unwrap();
        let (waits, plans) = (PlanState::AwaitingApproval, DecisionKind::Plan);
        assert_eq!(by("ada", plans, &plan, Approve).await, (waits, None, "ada".into(), 2), "{}", database.name);
        assert_eq!(by("ada", plans, &plan, Approve).await, (waits, None, "ada".into(), 2), "twice the same is one");
        assert_eq!(by("bob", plans, &plan, Reject).await, (PlanState::Rejected, None, "".into(), 2));
        assert_eq!(by("cleo", plans, &plan, Approve).await, (waits, None, "cleo".into(), 2));
        assert_eq!(by("ada", plans, &plan, Approve).await, (PlanState::Approved, Some(until), "cleo ada".into(), 2));
        assert_eq!(store.decisions_in_request(&plan).await.unwrap().len(), 5);

        // What was not used in time is asked again, of everybody.
        store.move_plan(&server(), &plan.id(), &[PlanState::Approved], PlanState::Expired, None).await.unwrap();
        assert!(store.reopen_request(&agent(), &plan.id(), until).await.unwrap());
        assert_eq!(store.decisions_in_request(&plan).await.unwrap(), []);
        assert_eq!(by("bob", plans, &plan, Approve).await, (waits, None, "bob".into(), 2));
        let record = store.plan(&plan.id()).await.unwrap().unwrap();
        assert_eq!(store.approvals(&record, plans).await.unwrap().asked_by, ["agent".to_owned()].into());

        // A way back that is decided by signing its plan needs as many.
        let back = Plan { approval: Some(required), ..plan_of(&directive, 2) };
        assert_eq!(by("ada", DecisionKind::Rollback, &back, Approve).await.0, waits);
        assert_eq!(by("bob", DecisionKind::Rollback, &back, Approve).await, (PlanState::Approved, Some(until), "ada bob".into(), 2));
    }
}
